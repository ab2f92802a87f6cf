"""What approximations are compared with: draws of p with the mode and copy of each, masses, log Z, and their audit."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pymc as pm
import xarray as xr

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.interrupts import not_swallowed
from pymc_kl.model.draws import PosteriorDraws, as_posterior_draws
from pymc_kl.model.graphs import same_arithmetic
from pymc_kl.model.target import Target
from pymc_kl.modes.draws import ModeDraws
from pymc_kl.modes.masses import Masses
from pymc_kl.modes.modes import Modes
from pymc_kl.numerics.estimate import Estimate, effective_size, systematic
from pymc_kl.reference.audit import audit
from pymc_kl.reference.evidence import Evidence, LogMass
from pymc_kl.reference.posterior import N_FOLDS, ModewisePosterior, negligible
from pymc_kl.scores.draws import TailDraws, tail_of
from pymc_kl.scores.marginals import Source

N_DRAWS = 1000  # draws of each chain of `pm.sample`, where draws are taken as given and none are
N_CHAINS = 4  # chains of the same `pm.sample`
UNVISITED_DRAWS = 200  # draws of Laplace's approximation at each mode that no draw visited; our choice


@dataclass(frozen=True, eq=False)
class ReferenceSample:
    """Draws of p, as they lie and brought to the first copy of their mode.

    Attributes
    ----------
    posterior : PosteriorDraws
        Weighted, or Markov chains.
    canonical : ModeDraws
        The same draws in the same order, canonical, with mode, copy and fold of each.
    """

    posterior: PosteriorDraws
    canonical: ModeDraws

    @property
    def mode(self) -> IntArray:
        """Mode (n,) of each draw, -1 for elsewhere."""
        return self.canonical.mode

    @property
    def weighted(self) -> bool:
        """Whether the draws stand for every mode by its mass, not for where chains went."""
        return self.posterior.weights is not None

    @property
    def canonical_posterior(self) -> PosteriorDraws:
        """The canonical draws in the shape of the posterior's."""
        return replace(self.posterior, x=self.canonical.x.reshape(self.posterior.x.shape))

    def equal_rows(self, n: int, n_chains: int, rng: np.random.Generator) -> IntArray:
        """Choose draws (chain, draw) of equal weight, as ArviZ expects: chains as they are, or n by their weights."""
        weights = self.posterior.weights
        if weights is None:
            return np.arange(self.posterior.log_density.size).reshape(self.posterior.log_density.shape)
        w = weights.ravel()
        modes = np.unique(self.mode[w > 0])
        masses = np.array([w[self.mode == k].sum() for k in modes])
        counts = np.bincount(systematic(masses / masses.sum(), n, rng), minlength=len(modes))
        seed, parts = int(rng.integers(2**31)), []
        for k, mass, count in zip(modes, masses, counts, strict=True):  # in each mode, whatever others there are
            rows = np.flatnonzero(self.mode == k)
            parts.append(rows[systematic(w[rows] / mass, int(count), np.random.default_rng(seed))])
        return rng.permutation(np.concatenate(parts)).reshape(n_chains, -1)


@dataclass(frozen=True, eq=False)
class Reference:
    """The posterior as the scores see it.

    Attributes
    ----------
    draws : ReferenceSample
        Nearly independent, or whole chains: what is scored on.
    training : ReferenceSample
        Everything there is, in the order of the chains: what is fitted to.
    modes : Modes
    masses : Masses
    log_masses : tuple of LogMass
        How each mode was weighed.
    unvisited : mapping of int to (array (n, d), array (n,))
        Modes without draws that may hold mass: draws of Laplace's approximation there, and log p̃ at each.
    evidence : Evidence
        Log Z.
    audit : DataTree or None
        Of the user's draws.
    partial : bool
        The search or the sampling was interrupted.
    given : Source or None
        The user's draws, canonical, where they are not the reference itself: what they say by themselves, so that
        their errors are those of draws that moved between modes as freely as within them.
    """

    target: Target
    draws: ReferenceSample
    training: ReferenceSample
    modes: Modes
    masses: Masses
    log_masses: tuple[LogMass, ...]
    unvisited: Mapping[int, tuple[Array, Array]]
    evidence: Evidence
    audit: xr.DataTree | None
    partial: bool
    given: Source | None = None

    @property
    def log_evidence(self) -> Estimate:
        """Log Z in nats."""
        return self.evidence.log_evidence

    @cached_property
    def source(self) -> Source:
        """The canonical draws, as marginals and widths take them."""
        draws = self.draws.canonical
        if self.draws.weighted:
            return Source(draws.x, draws.weights / draws.weights.sum(), draws.mode, self.masses)
        return Source.of_chains(draws.x, draws.log_density, draws.mode, self.masses)

    @cached_property
    def tail(self) -> TailDraws:
        """Every draw that there is, by weight; their worth is that of log p̃ along the chains."""
        values, weights = self.training.posterior.log_density, self.training.posterior.flat_weights
        if weights is None:
            return tail_of(values, None)
        worth = 0.0
        for k in np.unique(self.training.mode):
            inside = self.training.mode == k
            worth += weights[inside].sum() ** 2 / effective_size(values.ravel()[inside][None])
        return TailDraws(values.ravel(), weights, 1 / worth)


def completed_reference(posterior: ModewisePosterior, rng: np.random.Generator) -> Reference:
    """Compare with draws of every mode, weighted by its mass and spread over its copies."""
    posterior.require_draws()
    thinned = posterior.shuffled(posterior.thinned, rng)
    n_draws = np.append(np.bincount(thinned.mode, minlength=posterior.modes.k), 0)
    draws, training = _spread(thinned, posterior, rng), _spread(posterior.every, posterior, rng)
    without = np.array([not len(draws) for draws in posterior.local])
    masses = replace(posterior.masses, n_draws=n_draws)
    return replace(_reference(posterior, draws, training, masses, without, rng), given=_by_themselves(posterior))


def _by_themselves(posterior: ModewisePosterior) -> Source | None:
    """Return the user's draws as a source that has no masses but by its own count."""
    given, canonical, masses = posterior.given, posterior.canonical, posterior.given_masses()
    if given is None or canonical is None or masses is None:
        return None
    if given.weights is not None:
        return Source(canonical.x, given.weights.ravel() / given.weights.sum())
    return replace(Source.of_chains(canonical.x, given.log_density.ravel(), canonical.mode, masses), masses=None)


def given_reference(posterior: ModewisePosterior, rng: np.random.Generator) -> Reference:
    """Compare with the draws as they were given; masses come from counting them."""
    given, canonical, masses = posterior.given, posterior.canonical, posterior.given_masses()
    if given is None or canonical is None or masses is None:
        raise ValueError("there are no given draws to compare with.")
    weights = np.full(len(canonical.x), 1 / len(canonical.x)) if given.weights is None else given.weights.ravel()
    copy = posterior.modes.copy_labels(given.flat, canonical.maximum)
    fold = given.blocks() % N_FOLDS
    in_modes = ModeDraws(canonical.x, given.log_density.ravel(), weights, canonical.mode, copy, fold)
    draws = ReferenceSample(given, in_modes)
    return _reference(posterior, draws, draws, masses, masses.n_draws[:-1] == 0, rng)


def _reference(
    posterior: ModewisePosterior,
    draws: ReferenceSample,
    training: ReferenceSample,
    masses: Masses,
    without: BoolArray,
    rng: np.random.Generator,
) -> Reference:
    """Gather a reference; `without` (K,) tells which modes have no draws."""
    modes, target = posterior.modes, posterior.target
    unvisited = {}
    streams = modes.streams(rng)
    for k in np.flatnonzero(without & ~negligible(modes)):
        x = streams[k].multivariate_normal(modes.x[k], modes.covariances[k], UNVISITED_DRAWS)
        unvisited[int(k)] = (x, target.log_density(x))
    return Reference(
        target, draws, training, modes, masses, posterior.log_masses, unvisited, posterior.evidence, audit(posterior),
        posterior.partial,
    )  # fmt: skip


def _spread(drawn: ModeDraws, posterior: ModewisePosterior, rng: np.random.Generator) -> ReferenceSample:
    """Spread canonical draws over the copies of their modes."""
    spread = posterior.over_copies(drawn, rng)
    whole = PosteriorDraws(posterior.target, spread.x[None], spread.log_density[None], spread.weights[None])
    return ReferenceSample(whole, replace(drawn, copy=spread.copy))


def sample_plainly(target: Target, rng: np.random.Generator) -> PosteriorDraws:
    """Draw with a plain `pm.sample`, where draws are to be taken as given and none are."""
    with target.model, same_arithmetic(), not_swallowed():
        idata = pm.sample(
            N_DRAWS,
            chains=N_CHAINS,
            random_seed=int(rng.integers(2**31)),
            progressbar=False,
            idata_kwargs={"include_transformed": True},
        )
    return as_posterior_draws(idata, target)
