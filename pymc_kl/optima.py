"""Reverse-KL fits from many starts: every optimum of a Gaussian family that they lead to, and the best of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import pymc as pm

from pymc_kl._typing import Array, RandomSeed
from pymc_kl.approximations import Approximation, FullRank, MeanField
from pymc_kl.estimates import Estimate, mean_estimate
from pymc_kl.modes import Modes
from pymc_kl.progress import stages
from pymc_kl.reverse import Gaussian, polish
from pymc_kl.search import search_target
from pymc_kl.starts import prior_starts
from pymc_kl.target import Target, as_target

N_STARTS = 32
FINE_NUMBERS = 2**18  # points times dimensions on which each distinct optimum is maximised again
FINE_MOST = 6  # optima that are maximised again, those with the highest ELBO
CHECK_DRAWS = 20_000  # fresh draws on which ELBOs are measured
SAME = 0.02  # nats of both divergences together between two fits that are one optimum
REVERSE_FAMILIES: dict[str, type[MeanField] | type[FullRank]] = {"meanfield": MeanField, "fullrank": FullRank}


@dataclass(frozen=True, eq=False)
class Optimum:
    """A local optimum of the ELBO within a family.

    Attributes
    ----------
    approximation : Approximation
    elbo : Estimate
        Nats, on fresh draws, the same for all optima of a fit.
    n_starts : int
        Starts that settled there.
    """

    approximation: Gaussian
    elbo: Estimate
    n_starts: int


def fit_reverse(
    family: str = "fullrank",
    *,
    model: pm.Model | Target | None = None,
    n_starts: int = N_STARTS,
    modes: Modes | None = None,
    random_seed: RandomSeed = None,
    progressbar: bool = True,
) -> Approximation:
    """Minimise KL(q‖p) over a Gaussian family, deterministically and from many starts.

    The ELBO is maximised on fixed, evenly spread normal points by a quasi-Newton method [1]_, from the modes of the
    posterior and from draws of the prior; fits that agree are one optimum, and the best six are maximised again on more
    points.

    Parameters
    ----------
    family : {"meanfield", "fullrank"}
    model : pm.Model or Target, optional
        Defaults to the model of the enclosing `with` block.
    n_starts : int
        Modes, with Laplace's approximation as the start, come first; the rest are draws of the prior.
    modes : Modes, optional
        What :func:`find_modes` returned; searched for if not given.
    random_seed : int, Generator, SeedSequence or None
    progressbar : bool

    Returns
    -------
    Approximation
        The optimum with the highest ELBO, on the unconstrained space. `info["optima"]` lists all, best first, each
        with its `approximation`, its `elbo` (nats, with standard error) and the number of starts that settled there.

    References
    ----------
    .. [1] Giordano, R., Ingram, M. and Broderick, T. (2024). Black box variational inference with a deterministic
       objective. JMLR 25(18). https://jmlr.org/papers/v25/23-1015.html

    Examples
    --------
    >>> import pymc as pm, pymc_kl as pkl
    >>> with pm.Model() as model:
    ...     x = pm.NormalMixture("x", w=[0.3, 0.7], mu=[-3, 3], sigma=[0.6, 1])
    ...     q = pkl.fit_reverse("meanfield", n_starts=8, random_seed=1, progressbar=False)
    >>> [optimum.approximation.loc.round(1).tolist() for optimum in q.info["optima"]]
    [[3.0], [-3.0]]
    """
    if family not in REVERSE_FAMILIES:
        raise ValueError(f"unknown family {family!r}; known are {', '.join(map(repr, REVERSE_FAMILIES))}.")
    if n_starts < 1:
        raise ValueError(f"n_starts must be at least 1; got {n_starts}.")
    target, rng = as_target(model), np.random.default_rng(random_seed)
    with stages(progressbar) as stage:
        with stage("search for modes") as report:
            if modes is None:
                modes = search_target(target, None, {}, rng=rng, report=report)
        with stage("reverse-KL fits") as report:
            fits = []
            for i, start in enumerate(_starts(target, modes, family, n_starts, rng)):
                fits.append(polish(target.log_density_and_grad, start, rng=rng))
                report(f"{i + 1} of {n_starts} starts")
            groups = sorted(_grouped(fits), key=lambda group: group[0].info["loss"])
            n = FINE_NUMBERS // target.d
            fine = [
                polish(target.log_density_and_grad, group[0], rng=rng, n_draws=n) if i < FINE_MOST else group[0]
                for i, group in enumerate(groups)
            ]
    optima = _measured(target, fine, [len(group) for group in groups], rng)
    best = optima[0]
    info = {"optima": tuple(optima), "elbo": best.elbo.value, "elbo_se": best.elbo.se, "n_starts": n_starts}
    return replace(best.approximation, target=target, kind="reverse", info=MappingProxyType(info))


def _starts(target: Target, modes: Modes, family: str, n: int, rng: np.random.Generator) -> list[Gaussian]:
    """Laplace's approximation at each mode, heaviest first, then draws of the prior, as wide as the prior or less."""
    places: list[tuple[Array, Array]] = []
    if modes.proper:
        order = np.argsort(-modes.log_mass_laplace, kind="stable")
        places = [(modes.x[k], modes.covariances[k]) for k in order[:n]]
    prior = prior_starts(target, max(n - len(places), 2), rng)
    wide = np.diag(np.maximum(prior.var(axis=0), 1e-6))
    local = modes.local_scale @ modes.local_scale.T
    places += [(x, wide if i % 2 else local) for i, x in enumerate(prior[: n - len(places)])]
    return [_gaussian(family, loc, covariance, target) for loc, covariance in places]


def _gaussian(family: str, loc: Array, covariance: Array, target: Target) -> Gaussian:
    """Begin with a covariance; the mean-field one with the variances that are best for it."""
    if family == "meanfield":
        scale = 1 / np.sqrt(np.diag(np.linalg.inv(covariance)))
        return MeanField(loc=loc, scale=scale, kind="reverse", target=target)
    return FullRank(loc=loc, scale_tril=np.linalg.cholesky(covariance), kind="reverse", target=target)


def _grouped(fits: Sequence[Gaussian]) -> list[list[Gaussian]]:
    """Put fits that are one optimum together, in the order in which they were found."""
    groups: list[list[Gaussian]] = []
    for fit in fits:
        same = next((group for group in groups if _divergence(group[0], fit) < SAME), None)
        if same is None:
            groups.append([fit])
        else:
            same.append(fit)
    return groups


def _divergence(one: Gaussian, two: Gaussian) -> float:
    """KL in both directions between two normals, added, in nats."""
    step = one.loc - two.loc
    total = -2.0 * one.d
    for first, second in ((one, two), (two, one)):
        whitened = np.linalg.solve(second.scale_tril, np.column_stack([first.scale_tril, step]))
        total += float((whitened**2).sum())
    return 0.5 * total


def _measured(
    target: Target, fits: Sequence[Gaussian], n_starts: Sequence[int], rng: np.random.Generator
) -> list[Optimum]:
    """Measure every ELBO on the same fresh draws, and join what turned out to be one optimum; best first."""
    z = rng.standard_normal((CHECK_DRAWS, target.d))
    optima: list[Optimum] = []
    for group in _grouped(fits):
        fit = group[0]
        x = fit.loc + z @ fit.scale_tril.T
        elbo = mean_estimate(target.log_density(x) - fit.log_prob(x))
        settled = sum(n for other, n in zip(fits, n_starts, strict=True) if any(other is f for f in group))
        optima.append(Optimum(fit, elbo, settled))
    return sorted(optima, key=lambda optimum: -optimum.elbo.value)
