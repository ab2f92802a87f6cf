"""Reverse-KL fits from many starts: every optimum that they lead to, the best of them, and their mixture."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy.special import softmax

from pymc_kl._typing import Array, IntArray
from pymc_kl.approximations import Approximation, FitInfo, Mixture
from pymc_kl.approximations.symmetrise import MAX_COPIES, symmetrised_mixture
from pymc_kl.fitting.climbers import Ascent, Climbers, n_copies
from pymc_kl.fitting.gaussian_elbo import Gaussian, rows_of
from pymc_kl.fitting.gaussian_starts import gaussian_starts, narrow
from pymc_kl.fitting.maximise import points_for
from pymc_kl.fitting.mixture_growth import grow_mixture
from pymc_kl.fitting.mixture_weights import weighed
from pymc_kl.fitting.successive_halving import LEVELS, SAME, settle
from pymc_kl.model.target import Target
from pymc_kl.modes.modes import Modes
from pymc_kl.modes.symmetry import Symmetry
from pymc_kl.modes.symmetry.enumerate import group_order, matrices
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.numerics.tails import tailed_mean
from pymc_kl.progress import Report, silent

CHECK_DRAWS = 4000  # fresh draws on which an ELBO, or a gap between two, is measured
ROUGH_DRAWS = 1000  # the same for fits that were left on their way
FINE_NUMBERS = 2**21  # numbers (points times dimensions and data) on which the best optimum is maximised, at the most
NEGLIGIBLE = 1e-4  # weight up to which a mixture of all optima leaves one out
_WITHOUT_ELBO = (
    "KL(q‖p) is infinite for every fit: each has mass where the model's density is 0. Is there an edge that no "
    "transform takes out, as of a Potential or pt.switch that is -inf? Bound the variable by its distribution "
    "(pm.Truncated, pm.Uniform, ...), or fit by forward KL, which does not mind: fit_forward()."
)


@dataclass(frozen=True, eq=False)
class Optimum:
    """A local optimum of the ELBO within a Gaussian family, with all its copies under the symmetries of the posterior.

    Attributes
    ----------
    approximation : MeanField, LowRank or FullRank
    elbo : Estimate
        Nats, on draws that had no part in finding it or putting it in order.
    n_starts : int
        Starts that settled there.
    converged : bool
        False where the fit fell behind the best and was left on its way.
    """

    approximation: Gaussian
    elbo: Estimate
    n_starts: int
    converged: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class ReverseInfo(FitInfo):
    """What a reverse-KL fit from many starts reports of itself.

    Attributes
    ----------
    optima : tuple of Optimum
        All that the starts led to, best first.
    settled : array of int (n_starts,)
        The optimum that each start settled in.
    elbo, elbo_se : float
        Nats, on fresh draws.
    mixture : Mixture
        All optima, weighted by their ELBOs and numbers of copies; None where the fit is a mixture itself.
    family_elbos : mapping of str to Estimate
        The ELBO of each family that "auto" fitted, nats.
    """

    not_stored: ClassVar[frozenset[str]] = FitInfo.not_stored | {"optima", "mixture"}

    optima: tuple[Optimum, ...]
    settled: IntArray
    elbo: float
    elbo_se: float
    mixture: Mixture | None = None
    family_elbos: Mapping[str, Estimate] | None = None


def optima_of(q: Approximation) -> tuple[Optimum, ...]:
    """Return the optima that the starts of a reverse fit led to, best first; none for any other fit."""
    return q.info.optima if isinstance(q.info, ReverseInfo) else ()


def mixture_of(q: Approximation) -> Mixture | None:
    """Return the mixture of all optima of a reverse fit; None for any other fit, and for a mixture."""
    return q.info.mixture if isinstance(q.info, ReverseInfo) else None


@dataclass(frozen=True, eq=False)
class Optima:
    """What the starts led to: optima, best first, and the optimum that each start settled in (n_starts,).

    `symmetry` is that of the posterior; `seed` that of the draws on which ELBOs are compared, the same for all fits.
    """

    target: Target
    symmetry: Symmetry
    optima: tuple[Optimum, ...]
    settled: IntArray
    seed: int

    def report(self, q: Approximation, elbo: Estimate, *, mixture: Mixture | None = None) -> Approximation:
        """Return a fit whose `info` holds its ELBO and the optima that the starts led to."""
        info = ReverseInfo(optima=self.optima, settled=self.settled, elbo=elbo.value, elbo_se=elbo.se, mixture=mixture)
        return replace(q, target=self.target, kind="reverse", info=info)

    def mixture(self) -> Mixture:
        """Weight one copy of all optima by exp(ELBO) times the number of copies: best where all copies are apart."""
        maps = _copies(self.symmetry, self.target.d)
        copies = [n_copies(optimum.approximation, maps, SAME) for optimum in self.optima]
        weights = softmax([optimum.elbo.value for optimum in self.optima] + np.log(copies))
        kept = [optimum.approximation for optimum, w in zip(self.optima, weights, strict=True) if w > NEGLIGIBLE]
        weights = weights[weights > NEGLIGIBLE]
        return Mixture(
            weights=weights / weights.sum(),
            locs=np.stack([fit.loc for fit in kept]),
            scale_trils=np.stack([fit.scale_tril for fit in kept]),
            kind="reverse",
            target=self.target,
        )

    def symmetrised(self, mixture: Mixture) -> Mixture:
        """Spread a mixture over all copies of the posterior, if it has any and they are not too many."""
        if self.symmetry.is_trivial or group_order(self.symmetry) > MAX_COPIES:
            return mixture
        rng = np.random.default_rng(self.seed)
        best = weighed(self.target.log_density, mixture, matrices(self.symmetry, mixture.d), rng)
        return symmetrised_mixture(best, self.symmetry)

    def best_mixture(
        self, start: Mixture, n_components: int | None, rng: np.random.Generator, report: Report = silent
    ) -> tuple[Mixture, Estimate]:
        """Maximise and grow a mixture of one copy, and spread it over all; the start stays if that is better."""
        grown = grow_mixture(self.target.log_density_and_grad, start, n_components, rng, report)
        best = max(map(self.symmetrised, (start, grown)), key=lambda q: elbo_terms(self.target, q, self.seed).mean())
        return best, tailed_mean(elbo_terms(self.target, best, fresh(self.seed)), heavy="lower")


def find_optima(
    target: Target, modes: Modes, family: str, n_starts: int, rank: int | None, rng: np.random.Generator
) -> Optima:
    """Find the local optima of the ELBO among Gaussians of a family that many starts lead to."""
    starts = gaussian_starts(target, modes, family, n_starts, rank, rng)
    starts = narrow(target, starts, points_for(rows_of(starts), LEVELS[0].n_draws, rng, coarse=True))
    ascent = Ascent(target.log_density_and_grad, _copies(modes.symmetry, target.d), rng)
    found = settle(ascent, starts, FINE_NUMBERS // (target.d + target.n_data))
    seed = int(rng.integers(2**31))
    order = np.argsort([-elbo.value for elbo in _elbos(target, found, seed)], kind="stable")
    optima, settled = _sorted(found, order, _elbos(target, found, fresh(seed)))
    return Optima(target, modes.symmetry, optima, settled, seed)


def _copies(symmetry: Symmetry, d: int) -> Array:
    """Maps (m, d, d) up to which fits are one optimum: all symmetries, or the identity alone where they are many."""
    return matrices(symmetry, d) if group_order(symmetry) <= MAX_COPIES else np.eye(d)[None]


def fresh(seed: int) -> int:
    """Derive the seed of draws that are independent of those of `seed`."""
    return int(np.random.SeedSequence(seed).generate_state(1)[0])


def elbo_terms(target: Target, q: Approximation, seed: int, n_draws: int = CHECK_DRAWS) -> Array:
    """Evaluate log p̃ - log q (n,), nats, whose mean is the ELBO, on draws made of the same numbers for all fits."""
    x = q.sample(n_draws, random_seed=seed)
    return np.asarray(target.log_density(x) - q.log_prob(x))


def _elbos(target: Target, found: Climbers, seed: int) -> list[Estimate]:
    """Estimate the ELBO of each fit; raise a ValueError if none is finite."""
    elbos = [
        tailed_mean(elbo_terms(target, fit, seed, CHECK_DRAWS if there else ROUGH_DRAWS), heavy="lower")
        for fit, there in zip(found.fits, found.converged, strict=True)
    ]
    if not any(np.isfinite(elbo.value) for elbo in elbos):
        raise ValueError(_WITHOUT_ELBO)
    return elbos


def _sorted(found: Climbers, order: IntArray, elbos: list[Estimate]) -> tuple[tuple[Optimum, ...], IntArray]:
    """Put the optima in this order, best first, and number them anew for the starts (n_starts,)."""
    n_starts = np.bincount(found.settled, minlength=len(order))
    optima = tuple(Optimum(found.fits[i], elbos[i], int(n_starts[i]), found.converged[i]) for i in order)
    return optima, np.argsort(order)[found.settled]
