"""Reverse-KL fits from many starts: every optimum that they lead to, the best of them, and their mixture."""

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy.special import softmax

from pymc_kl._typing import Array, IntArray
from pymc_kl.approximations import Approximation, FullRank, LowRank, MeanField, Mixture
from pymc_kl.approximations.symmetrise import MAX_COPIES, symmetrised_mixture
from pymc_kl.fitting.gaussian_elbo import Gaussian, rows_of
from pymc_kl.fitting.maximise import points_for
from pymc_kl.fitting.mixture_elbo import grow_mixture
from pymc_kl.fitting.successive_halving import LEVELS, Race
from pymc_kl.model.target import Target
from pymc_kl.modes.modes import Modes
from pymc_kl.modes.starts import prior_starts
from pymc_kl.modes.symmetry import Symmetry
from pymc_kl.modes.symmetry.enumerate import group_order, matrices
from pymc_kl.numerics.estimate import Estimate, mean_estimate

CHECK_DRAWS, ROUGH_DRAWS = 4000, 1000  # fresh draws on which ELBOs are measured, and those of starts left behind
FINE_NUMBERS = 2**21  # of points times dimensions and data: what the best optimum may cost
NARROWINGS = 20  # times that a start is halved in width while some of its draws leave the support
NEGLIGIBLE = 1e-4  # weight of an optimum that a mixture of all leaves out
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
        Nats, on fresh draws.
    n_starts : int
        Starts that settled there.
    converged : bool
        False where the fit fell behind the best and was left on its way.
    """

    approximation: Gaussian
    elbo: Estimate
    n_starts: int
    converged: bool


@dataclass(frozen=True, eq=False)
class Optima:
    """What the starts led to: optima, best first, and the optimum (n_starts,) that each settled in."""

    target: Target
    symmetry: Symmetry
    optima: tuple[Optimum, ...]
    settled: IntArray
    seed: int

    @classmethod
    def find(
        cls, target: Target, modes: Modes, family: str, n_starts: int, rank: int | None, rng: np.random.Generator
    ) -> "Optima":
        """Follow all starts on few points, the better ones on more and more, and the best to their optimum."""
        symmetry = modes.symmetry
        maps = matrices(symmetry, target.d) if group_order(symmetry) <= MAX_COPIES else np.eye(target.d)[None]
        starts = _narrowed(target, _starts(target, modes, family, n_starts, rank, rng), rng)
        race = Race(target.log_density_and_grad, maps, rng, starts, FINE_NUMBERS // (target.d + target.n_data))
        race.run()
        empty = cls(target, symmetry, (), race.settled, int(rng.integers(2**31)))
        elbos = [
            empty.elbo(fit, CHECK_DRAWS if there else ROUGH_DRAWS)
            for fit, there in zip(race.fits, race.converged, strict=True)
        ]
        if not any(np.isfinite(e.value) for e in elbos):
            raise ValueError(_WITHOUT_ELBO)
        best = np.argsort([-e.value for e in elbos], kind="stable")
        n_there = np.bincount(race.settled, minlength=len(best))
        optima = tuple(Optimum(race.fits[i], elbos[i], int(n_there[i]), bool(race.converged[i])) for i in best)
        return replace(empty, optima=optima, settled=np.argsort(best)[race.settled])

    def elbo(self, q: Approximation, n_draws: int = CHECK_DRAWS) -> Estimate:
        """Measure an ELBO on fresh draws, made of the same random numbers for all fits."""
        x = q.sample(n_draws, random_seed=self.seed)
        return mean_estimate(self.target.log_density(x) - q.log_prob(x))

    def finished(self, q: Approximation, elbo: Estimate, **more: Any) -> Approximation:
        """Say of a fit what its starts led to."""
        info = {"optima": self.optima, "settled": self.settled, "elbo": elbo.value, "elbo_se": elbo.se, **more}
        return replace(q, target=self.target, kind="reverse", info=MappingProxyType(info))

    def mixture(self) -> Mixture:
        """Weigh all optima by their ELBOs: the best mixture of them where they are apart."""
        weights = softmax([optimum.elbo.value for optimum in self.optima])
        kept = [optimum.approximation for optimum, w in zip(self.optima, weights, strict=True) if w > NEGLIGIBLE]
        weights = weights[weights > NEGLIGIBLE]
        return Mixture(
            weights=weights / weights.sum(),
            locs=np.stack([fit.loc for fit in kept]),
            scale_trils=np.stack([fit.scale_tril for fit in kept]),
            kind="reverse",
            target=self.target,
        )

    def spread(self, mixture: Mixture) -> Mixture:
        """Spread a mixture over all copies of the posterior, if it has any."""
        if self.symmetry.is_trivial or group_order(self.symmetry) > MAX_COPIES:
            return mixture
        return symmetrised_mixture(mixture, self.symmetry)

    def polished_mixture(
        self, start: Mixture, n_components: int | None, rng: np.random.Generator
    ) -> tuple[Mixture, Estimate]:
        """Polish and grow one copy and spread it over all; the start stays if that is better."""
        grown = grow_mixture(self.target.log_density_and_grad, start, n_components, rng)
        both = [(q, self.elbo(q)) for q in map(self.spread, (start, grown))]
        return max(both, key=lambda fit: fit[1].value)


def _starts(
    target: Target, modes: Modes, family: str, n: int, rank: int | None, rng: np.random.Generator
) -> list[Gaussian]:
    """Laplace's approximation at each mode, heaviest first, then draws of the prior, as wide as the prior or less."""
    places: list[tuple[Array, Array]] = []
    if modes.proper:
        order = np.argsort(-modes.log_mass_laplace, kind="stable")
        places = [(modes.x[k], modes.covariances[k]) for k in order[:n]]
    if len(places) == n:
        return [_gaussian(family, loc, covariance, target, rank) for loc, covariance in places]
    prior = prior_starts(target, max(n - len(places), 2), rng)
    wide = np.diag(np.maximum(prior.var(axis=0), 1e-6))
    local = modes.local_scale @ modes.local_scale.T
    places += [(x, wide if i % 2 else local) for i, x in enumerate(prior[: n - len(places)])]
    return [_gaussian(family, loc, covariance, target, rank) for loc, covariance in places]


def _gaussian(family: str, loc: Array, covariance: Array, target: Target, rank: int | None) -> Gaussian:
    """Begin with a covariance; the mean-field one with the variances that are best for it."""
    if family == "meanfield":
        scale = 1 / np.sqrt(np.diag(np.linalg.inv(covariance)))
        return MeanField(loc=loc, scale=scale, kind="reverse", target=target)
    if family == "fullrank":
        return FullRank(loc=loc, scale_tril=np.linalg.cholesky(covariance), kind="reverse", target=target)
    rank = min(rank or max(round(np.sqrt(len(loc))), 1), len(loc))
    scale = np.sqrt(np.diag(covariance))
    size, axes = np.linalg.eigh(covariance / np.outer(scale, scale))
    loadings = axes[:, -rank:] * np.sqrt(np.maximum(size[-rank:] - 1, 0.1))
    own = np.sqrt(np.maximum(1 - (loadings**2).sum(axis=1), 0.1))
    return LowRank(loc=loc, factor=scale[:, None] * loadings, scale=scale * own, kind="reverse", target=target)


def _narrowed(target: Target, fits: list[Gaussian], rng: np.random.Generator) -> list[Gaussian]:
    """Halve the width of starts while some of their draws leave the support."""
    z = points_for(rows_of(fits), LEVELS[0][0], rng, coarse=True)
    for _ in range(NARROWINGS):
        rows = rows_of(fits)
        x, _ = rows.place(np.zeros((len(fits), rows.size)), np.arange(len(fits)), z)
        inside = np.isfinite(target.log_density(x.reshape(-1, target.d))).reshape(len(fits), -1).all(axis=1)
        if inside.all():
            break
        fits = [fit if fine else _halved(fit) for fit, fine in zip(fits, inside, strict=True)]
    return fits


def _halved(fit: Gaussian) -> Gaussian:
    widths = [name for name in ("scale", "scale_tril", "factor") if name in fit.__dataclass_fields__]
    changes: dict[str, Any] = {name: getattr(fit, name) / 2 for name in widths}
    return replace(fit, **changes)
