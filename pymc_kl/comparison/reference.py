"""What approximations are measured by: draws of p with the mode and copy of each, masses, log Z, and their audit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pymc as pm
import xarray as xr

from pymc_kl._typing import Array, IntArray
from pymc_kl.model.draws import PosteriorDraws, as_posterior_draws
from pymc_kl.model.graphs import same_arithmetic
from pymc_kl.model.target import Target
from pymc_kl.modes.masses import Masses
from pymc_kl.modes.modes import Modes
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.progress import Stages
from pymc_kl.reference.audit import audit
from pymc_kl.reference.bridge_sampling import LogMass
from pymc_kl.reference.build import complete
from pymc_kl.reference.posterior import N_FOLDS, ModewisePosterior, Weighted, negligible
from pymc_kl.reference.settings import Sampling

DRAWS, CHAINS = 1000, 4  # of pm.sample where a plain reference is asked for and none is given


@dataclass(frozen=True, eq=False)
class Labelled:
    """Draws of p, with what is known of each.

    Attributes
    ----------
    reference : PosteriorDraws
        Weighted or Markov chains.
    canonical : PosteriorDraws
        The same draws brought to one copy of their mode.
    label : array (n,) of int
        Mode of each draw, -1 for elsewhere.
    copy : array (n,) of int
        A number for the copy of a peak that each draw lies at: where a mixture starts.
    fold : array (n,) of int
        Which of five parts, each of neighbours in their chains, a draw belongs to.
    """

    reference: PosteriorDraws
    home: PosteriorDraws
    label: IntArray
    copy: IntArray
    fold: IntArray

    @property
    def weighted(self) -> bool:
        """Whether the draws stand for every mode by its mass, not for where chains went."""
        return self.reference.weights is not None


@dataclass(frozen=True, eq=False)
class Yardstick:
    """The posterior as the scores see it.

    Attributes
    ----------
    draws : Labelled
        Nearly independent, or whole chains: what is scored on.
    training : Labelled
        Everything there is, in the order of the chains: what is fitted to.
    modes : Modes
    masses : Masses
    log_masses : tuple of LogMass
        How each mode was weighed.
    unvisited : array of int
        Modes without draws that may hold mass.
    evidence : tuple
        log Z (Estimate, nats), how it was found, and why it is NaN if it is.
    audit : DataTree or None
        Of the user's draws.
    partial : bool
    """

    draws: Labelled
    training: Labelled
    modes: Modes
    masses: Masses
    log_masses: tuple[LogMass, ...]
    unvisited: IntArray
    evidence: tuple[Estimate, str, str]
    audit: xr.DataTree | None
    partial: bool


def completed_yardstick(completed: ModewisePosterior, rng: np.random.Generator) -> Yardstick:
    """Measure by draws of every mode, weighted by its mass and spread over its copies."""
    completed.require_draws()
    drawn = completed.thinned.take(rng.permutation(len(completed.thinned.weights)))
    without = np.array([not len(draws) for draws in completed.local])
    n_draws = np.append(np.bincount(drawn.mode, minlength=completed.modes.k), 0)
    return Yardstick(
        draws=_labelled(drawn, completed, rng),
        training=_labelled(completed.every, completed, rng),
        modes=completed.modes,
        masses=replace(completed.masses, n_draws=n_draws),
        log_masses=completed.log_masses,
        unvisited=np.flatnonzero(without & ~negligible(completed.modes)),
        evidence=(completed.log_evidence, "bridge sampling", completed.reason),
        audit=audit(completed),
        partial=completed.partial,
    )


def _labelled(drawn: Weighted, completed: ModewisePosterior, rng: np.random.Generator) -> Labelled:
    reference, copy = drawn.whole(completed.modes, completed.target, rng)
    return Labelled(reference, replace(reference, x=drawn.x[None]), drawn.mode, copy, drawn.fold)


def given_yardstick(
    target: Target,
    given: PosteriorDraws | None,
    starts: Mapping[str, Array],
    sampling: Sampling,
    *,
    visitors: Sequence[Array],
    rng: np.random.Generator,
    stage: Stages,
) -> Yardstick:
    """Measure by the draws as they are, or by those of a plain `pm.sample`; masses come from counting them."""
    if given is None:
        with stage("reference draws"):
            given = _plain_draws(target, rng)
    completed = complete(
        target, given, starts, replace(sampling, as_given=True), visitors=visitors, rng=rng, stage=stage
    )
    masses, canonical = completed.given_masses(), completed.canonical
    assert masses is not None
    assert canonical is not None
    home = replace(given, x=canonical.x.reshape(given.x.shape))
    copy = completed.modes.copy_labels(given.flat, canonical.maximum)
    draws = Labelled(given, home, canonical.mode, copy, given.blocks() % N_FOLDS)
    return Yardstick(
        draws=draws,
        training=draws,
        modes=completed.modes,
        masses=masses,
        log_masses=completed.log_masses,
        unvisited=np.flatnonzero((masses.n_draws[:-1] == 0) & ~negligible(completed.modes)),
        evidence=(completed.log_evidence, "bridge sampling", completed.reason),
        audit=audit(completed),
        partial=completed.partial,
    )


def _plain_draws(target: Target, rng: np.random.Generator) -> PosteriorDraws:
    with target.model, same_arithmetic():
        idata = pm.sample(
            DRAWS,
            chains=CHAINS,
            random_seed=int(rng.integers(2**31)),
            progressbar=False,
            idata_kwargs={"include_transformed": True},
        )
    return as_posterior_draws(idata, target)
