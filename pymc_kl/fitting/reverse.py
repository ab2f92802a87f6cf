"""Reverse-KL fits: choose a family by name or by its ELBO, and minimise KL(q‖p) from many starts."""

from dataclasses import replace

import numpy as np
import pymc as pm

from pymc_kl._typing import RandomSeed
from pymc_kl.approximations import Approximation, Family, FullRank, LowRank, MeanField, Mixture
from pymc_kl.approximations.choice import AUTO, LOWRANK_FROM, explain
from pymc_kl.arguments import check_arguments, choice, optional, whole
from pymc_kl.fitting.mixture_growth import MOST_SPLIT, most_components
from pymc_kl.fitting.optima import Optima, ReverseInfo, elbo_terms, find_optima
from pymc_kl.interrupts import keeping
from pymc_kl.model.target import Target, as_target
from pymc_kl.modes.modes import FOUND_MODES, Modes
from pymc_kl.modes.search import search_whole
from pymc_kl.numerics.estimate import Estimate, mean_estimate
from pymc_kl.progress import Report, silent, stages

MOST_STARTS = 10_000  # most starts of a reverse fit: all are climbed together, so memory holds them; our choice
N_REVERSE_STARTS = 32  # starts of a reverse fit, all fitted together; our choice
REVERSE_FAMILIES: dict[str, type[Family]] = {
    family.family: family for family in (MeanField, LowRank, FullRank, Mixture)
}  # the simplest first
FULLRANK_TO = 100  # dimensions up to which "auto" fits full covariances; bounds time; our choice
FAMILY_WORTH = 0.05  # nats of ELBO: a smaller gain does not justify a less simple family; our choice
N_ERRORS = 2  # standard errors of a gain in ELBO within which it counts as none; our choice


def fit_reverse(
    family: str = "fullrank",
    *,
    model: pm.Model | Target | None = None,
    n_starts: int = N_REVERSE_STARTS,
    rank: int | None = None,
    n_components: int | None = None,
    modes: Modes | None = None,
    random_seed: RandomSeed = None,
    progressbar: bool = True,
) -> Approximation:
    """Minimise KL(q‖p) over a family, deterministically and from many starts that are fitted together.

    The ELBO is maximised on fixed, evenly spread normal points by a quasi-Newton method [1]_, from the modes of the
    posterior and from draws of the prior. Fits that agree are one optimum, up to relabelling; those that fall behind
    are left, and the best are maximised on more points. A mixture starts from all optima, weighted by their ELBOs and
    numbers of copies, and splits components while that gains.

    Parameters
    ----------
    family : {"auto", "meanfield", "lowrank", "fullrank", "mixture"}
        "auto" fits those that the number of dimensions allows and takes the simplest whose ELBO is within 0.05 nats,
        or two standard errors, of the best; `info["choice"]` says why, `info["family_elbos"]` has the ELBO of each.
    model : pm.Model or Target, optional
        Defaults to the model of the enclosing `with` block.
    n_starts : int
        Modes, with Laplace's approximation as the start, come first; the rest are draws of the prior.
    rank : int, optional
        Of "lowrank"; the square root of the number of dimensions, rounded, if not given.
    n_components : int, optional
        Of "mixture": at the least, unless fewer have a higher ELBO, and up to 100 in up to 5 dimensions, down to 12 in
        50: as many as take a minute or two, which the progress bar estimates. As many as raise the ELBO by a hundredth
        of a nat, up to 12, if not given.
    modes : Modes, optional
        What :func:`find_modes` returned; searched for if not given.
    random_seed : int, Generator, SeedSequence or None
    progressbar : bool

    Returns
    -------
    Approximation
        The optimum with the highest ELBO, or the mixture, on the unconstrained space. In `info`: `elbo` and `elbo_se`
        (nats, on fresh draws); `optima`, all that were found among Gaussians, best first, each with its
        `approximation`, its `elbo`, the number of starts that settled there, and `converged`, False where they were
        left on the way; `settled`, the optimum of each start; and, of a Gaussian family, `mixture`, all optima
        weighted by their ELBOs and numbers of copies.

    Raises
    ------
    KeyboardInterrupt
        At Ctrl-C, with the `modes` found by then in its attribute `kept`: they can be given again.

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
    >>> q.info["mixture"].weights.round(2)
    array([0.7, 0.3])
    """
    check_arguments(
        locals(), family=choice(AUTO, *REVERSE_FAMILIES, what="family"), modes=FOUND_MODES, rank=optional(whole()),
        n_components=optional(whole(most=MOST_SPLIT)), n_starts=whole(most=MOST_STARTS),
    )  # fmt: skip
    for name, size, of in (("rank", rank, "lowrank"), ("n_components", n_components, "mixture")):
        if size is not None and family != of:
            raise ValueError(f"{name} is of the family {of!r}; got it with {family!r}.")
    target = as_target(model)
    if rank is not None and rank >= target.d:
        raise ValueError(
            f"rank must be below the {target.d} dimensions of the model; got {rank}. Fit 'fullrank' instead."
        )
    if n_components is not None and n_components > (most := most_components(target.d)):
        raise ValueError(
            f"n_components must be at most {most} in {target.d} dimensions, since components are split one by one and "
            f"the time for all grows as the cube of their number; got {n_components}."
        )
    rng = np.random.default_rng(random_seed)
    with stages(progressbar) as stage:
        with stage("search for modes") as report:
            if modes is None:
                modes = search_whole(target, None, {}, rng=rng, report=report)
        with stage("reverse-KL fits") as report, keeping(modes=modes):
            return fit_from_modes(
                target, modes, family, n_starts=n_starts, rank=rank, n_components=n_components, rng=rng, report=report
            )


def fit_from_modes(
    target: Target,
    modes: Modes,
    family: str,
    *,
    n_starts: int = N_REVERSE_STARTS,
    rank: int | None = None,
    n_components: int | None = None,
    rng: np.random.Generator,
    report: Report = silent,
) -> Approximation:
    """Fit one family, or "auto", once the modes are known."""
    if family == AUTO:
        return _choose(target, modes, n_starts, rng, report)
    found = find_optima(target, modes, _starting(family), n_starts, rank, rng)
    return _best_fit(found, family, n_components, rng, report)


def _starting(family: str) -> str:
    """Return the Gaussian family whose optima the fit of a family starts from."""
    return FullRank.family if family == Mixture.family else family


def _best_fit(
    found: Optima, family: str, n_components: int | None, rng: np.random.Generator, report: Report
) -> Approximation:
    """Return the best optimum, or the mixture that is grown from all."""
    if family == Mixture.family:
        return found.report(*found.best_mixture(found.mixture(), n_components, rng, report))
    best = found.optima[0]
    return found.report(best.approximation, best.elbo, mixture=found.symmetrised(found.mixture()))


def _choose(target: Target, modes: Modes, n_starts: int, rng: np.random.Generator, report: Report) -> Approximation:
    """Fit the families that the dimension allows, and take the simplest whose ELBO is nearly the best."""
    names = _candidates(target.d)
    bases = dict.fromkeys(map(_starting, names))
    found = {base: find_optima(target, modes, base, n_starts, None, rng) for base in bases}
    fits = {name: _best_fit(found[_starting(name)], name, None, rng, report) for name in names}
    infos = {name: fit.info for name, fit in fits.items() if isinstance(fit.info, ReverseInfo)}
    seed = int(rng.integers(2**31))  # draws to choose by are not those that tell the ELBO of what is chosen
    elbos = {name: mean_estimate(elbo_terms(target, fit, seed)) for name, fit in fits.items()}

    def gain(one: str, two: str) -> Estimate:
        return Estimate(elbos[one].value - elbos[two].value, float(np.hypot(elbos[one].se, elbos[two].se)))

    best = max(elbos, key=lambda name: elbos[name].value)
    gaps = {name: gain(best, name) for name in names}
    chosen = next(name for name, gap in gaps.items() if not gap.value > max(FAMILY_WORTH, N_ERRORS * gap.se))
    why = explain(names, {name: elbo.value for name, elbo in elbos.items()}, chosen, "nats of ELBO", gain)
    return replace(fits[chosen], info=replace(infos[chosen], choice=why, family_elbos=elbos))


def _candidates(d: int) -> list[str]:
    """List the families that "auto" fits in d dimensions, the simplest first."""
    candidates = {
        "meanfield": True,
        "lowrank": d >= LOWRANK_FROM,
        "fullrank": 1 < d <= FULLRANK_TO,
        "mixture": d <= FULLRANK_TO,
    }
    return [name for name, is_candidate in candidates.items() if is_candidate]
