"""The fits of a comparison, each from one step to the next: given or made, drawn from, checked, assigned to modes."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np
import pymc as pm

from pymc_kl._typing import Array
from pymc_kl.adapters import as_approximation
from pymc_kl.approximations import Approximation, FitInfo, FullRank, MeanField
from pymc_kl.approximations.choice import AUTO
from pymc_kl.approximations.draws import Draws
from pymc_kl.approximations.functions import SampleAndDensityFunction
from pymc_kl.approximations.symmetrise import MAX_COPIES
from pymc_kl.approximations.wrapped import log_prob_on_circle
from pymc_kl.comparison.allowance import Allowance
from pymc_kl.comparison.failures import Attempts, Failure
from pymc_kl.comparison.fit import AssignedFit, DrawnFit, FailedFit, Fit
from pymc_kl.comparison.reference import Reference
from pymc_kl.fitting.cross_fitting import CrossFit, cross_fit
from pymc_kl.fitting.elbo_gap import check_convergence
from pymc_kl.fitting.forward import takes_modes
from pymc_kl.fitting.optima import mixture_of
from pymc_kl.fitting.reverse import REVERSE_FAMILIES, fit_from_modes
from pymc_kl.interrupts import Interrupts
from pymc_kl.model.graphs import same_arithmetic
from pymc_kl.model.target import Target
from pymc_kl.modes.assign import CanonicalPoints
from pymc_kl.modes.modes import Modes
from pymc_kl.modes.symmetry.enumerate import group_order
from pymc_kl.numerics.random_streams import RandomStreams
from pymc_kl.progress import Alarm, TimeIsUp
from pymc_kl.scores.own_density import why_not_its_density

PYMC_METHODS = {"advi": "ADVI", "fullrank_advi": "full-rank ADVI"}
REVERSE = PYMC_METHODS | {name: f"reverse {name}" for name in (AUTO, *REVERSE_FAMILIES)}
ADVI_STEPS = 30_000  # of `pm.fit`
POLISHED = " (polished)"  # at the end of a polished fit's name
NOT_MADE = Failure("", "not made: the run was interrupted before")
UNCHECKED = "convergence not checked"
INTERRUPTED = "the run was interrupted"
ALL_OPTIMA = "all optima"  # in the name of the mixture of all optima that a reverse fit's starts settled in


def given_fits(approximations: Mapping[str, Any], target: Target) -> list[Fit]:
    """Adapt the user's fits, and the parts that they are made of, such as Pathfinder's paths.

    A fit of another model is an error at once, since it can't be what they meant.
    """
    fits = []
    for name, given in approximations.items():
        approximation = _adapted(name, given, target)
        fits.append(Fit(name, approximation))
        parts = approximation.info.parts or {}
        fits += [Fit(f"{name} ({part})", replace(q, target=target)) for part, q in parts.items()]
    names = [fit.name for fit in fits]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{twice} names both a fit and a part of one; give the fit another name.")
    beside = {polished_name(fit.name) for fit in fits if _can_be_polished(fit.approximation)}
    if taken := sorted(beside & set(names)):
        raise ValueError(
            f"{taken} is what compare() calls the polished fit that may stand beside "
            f"{taken[0].removesuffix(POLISHED)!r}; give yours another name."
        )
    return fits


def _adapted(name: str, given: Any, target: Target) -> Approximation:
    """Adapt one of the user's fits; an error says which."""
    try:
        return replace(as_approximation(given, model=target), target=target)
    except Exception as error:
        for kind in (FileNotFoundError, ImportError, TypeError, ValueError):
            if isinstance(error, kind):
                raise kind(f"approximation {name!r}: {error}") from error
        error.add_note(f"This was raised for the approximation {name!r}.")
        raise


def polished_name(name: str) -> str:
    """Name the polished fit that stands beside one that had not converged."""
    return f"{name}{POLISHED}"


def _can_be_polished(q: Approximation) -> bool:
    return q.kind == "reverse" and isinstance(q, MeanField | FullRank)


def pymc_fit(method: str, target: Target, streams: RandomStreams, interrupts: Interrupts) -> Fit | FailedFit:
    """Fit with `pm.fit`, which returns what it has when it is interrupted: that is said, and nothing is no fit."""
    name = REVERSE[method]

    def fit() -> Approximation:
        seed = int(streams(f"fit {name}").integers(2**31))
        with same_arithmetic(), target.model:
            made = pm.fit(ADVI_STEPS, method=method, random_seed=seed, progressbar=False)
        if not len(made.hist):
            raise KeyboardInterrupt
        q = as_approximation(made, model=target)
        return q if len(made.hist) == ADVI_STEPS else _cut_short(q, len(made.hist))

    return _made(name, fit, interrupts)


def _cut_short(q: Approximation, n: int) -> Approximation:
    """Say of a fit that `pm.fit` was interrupted after n steps."""
    text = f"pm.fit was interrupted after {n:,} of {ADVI_STEPS:,} steps."
    return replace(q, info=FitInfo.of(q.info).with_warnings(text))


def reverse_fits(
    family: str, target: Target, modes: Modes, streams: RandomStreams, interrupts: Interrupts
) -> list[Fit | FailedFit]:
    """Fit with `fit_reverse`, from the modes; beside the best optimum stands the mixture of all."""
    name = REVERSE[family]
    best = _made(name, lambda: fit_from_modes(target, modes, family, rng=streams(f"fit {name}")), interrupts)
    mixture = mixture_of(best.approximation) if isinstance(best, Fit) else None
    if mixture is None or mixture.n_components == 1:
        return [best]
    return [best, Fit(f"{name} ({ALL_OPTIMA})", mixture)]


def forward_fit(family: str, reference: Reference, streams: RandomStreams, interrupts: Interrupts) -> Fit | FailedFit:
    """Fit to the reference, and without each fold of it."""
    name = f"forward {family}"
    return _made(name, lambda: _cross_fit(family, reference, streams(f"fit {name}")), interrupts)


def _cross_fit(family: str, reference: Reference, rng: np.random.Generator) -> CrossFit:
    """Fit to the whole posterior; a mixture to one copy of each mode if it can be spread over all of them."""
    draws, symmetry = reference.training, reference.modes.symmetry
    fold = draws.canonical.fold
    by_copy = takes_modes(family) and draws.weighted and reference.modes.has_copies
    if by_copy and group_order(symmetry) <= MAX_COPIES:
        return cross_fit(family, draws.canonical_posterior, draws.mode, fold, symmetry=symmetry, rng=rng)
    return cross_fit(family, draws.posterior, draws.canonical.copy, fold, rng=rng)


def _made(name: str, make: Callable[[], Approximation | CrossFit], interrupts: Interrupts) -> Fit | FailedFit:
    """Make a fit and time it; one that fails must not lose the others, so its error is what is kept of it."""
    if interrupts.came:
        return FailedFit(name, (NOT_MADE,), float("nan"))
    start = time.perf_counter()
    try:
        made = make()
    except KeyboardInterrupt:
        interrupts.note(f"the fit {name}")
        return FailedFit(name, (Failure("", "not made: interrupted"),), time.perf_counter() - start)
    except Exception as error:  # noqa: BLE001 any failure of one fit is told in its row
        return FailedFit(name, (Failure.of("", error),), time.perf_counter() - start)
    seconds = time.perf_counter() - start
    return Fit(name, made.approximation, seconds, made) if isinstance(made, CrossFit) else Fit(name, made, seconds)


def draw_from(
    fits: Iterable[Fit | FailedFit], *, target: Target, n: int, streams: RandomStreams, interrupts: Interrupts
) -> list[DrawnFit | FailedFit]:
    """Draw n times from every fit and evaluate both log densities.

    A log q that fails at the fit's own draws, or is not finite there, costs the scores that need it and no more.
    """

    def draw() -> list[DrawnFit | FailedFit]:
        return [fit if isinstance(fit, FailedFit) else _drawn(fit, target, n, streams) for fit in fits]

    return interrupts.once_more("draws of fits", draw)


def _drawn(fit: Fit, target: Target, n: int, streams: RandomStreams) -> DrawnFit | FailedFit:
    q = fit.approximation
    try:
        n = min(n, len(q.x)) if isinstance(q, Draws) else n
        x = q.sample(n, random_seed=streams(f"draws of {fit.name}"))
        log_density = target.log_density(x)
    except Exception as error:  # noqa: BLE001 a fit that cannot be drawn from must not lose the others
        return FailedFit(fit.name, (Failure.of("", error),), fit.seconds)
    attempts, log_prob = Attempts(), None
    with attempts.kept("log q at its own draws"):
        log_prob = _own_log_prob(q, x) if q.has_log_prob else None
    drawn = DrawnFit(fit=fit, x=x, log_density=log_density, log_prob=log_prob, failures=tuple(attempts.failures))
    return _with_its_own_density(drawn, streams(f"density of {fit.name}"))


def _own_log_prob(q: Approximation, x: Array) -> Array:
    """Evaluate log q at draws of q (n, d), where it must be finite."""
    log_prob = log_prob_on_circle(q, x)
    if n_bad := int((~np.isfinite(log_prob)).sum()):
        raise ValueError(
            f"log_prob must be finite at draws of q itself; at {n_bad} of {len(x)} it is not. Is it the density of "
            "what sample draws?"
        )
    return log_prob


def _with_its_own_density(drawn: DrawnFit, rng: np.random.Generator) -> DrawnFit:
    """Leave out a user's density that is proven not to be that of the draws; one that can't be tested stays."""
    q = drawn.fit.approximation
    if not isinstance(q, SampleAndDensityFunction) or drawn.log_prob is None:
        return drawn
    with suppress(Exception):  # what fails here fails again, and is told, where scores need it
        if reason := why_not_its_density(drawn.x, q.log_prob, rng):
            return drawn.without_density(q.without_density(), reason)
    return drawn


def check_all(
    fits: Sequence[DrawnFit | FailedFit],
    allowance: Allowance,
    *,
    target: Target,
    n: int,
    streams: RandomStreams,
    interrupts: Interrupts,
) -> list[DrawnFit | FailedFit]:
    """Polish every Gaussian reverse-KL fit; beside one that had not converged stands its polished fit."""
    checked: list[DrawnFit | FailedFit] = []
    check = partial(_checked, target=target, streams=streams, interrupts=interrupts, clock=allowance.alarm())
    for fit in fits:
        start = time.perf_counter()
        checked.append(fit if isinstance(fit, FailedFit) else check(fit, late=allowance.late))
        polished = _polished(checked[-1], time.perf_counter() - start)
        if polished is not None:
            (drawn,) = draw_from([polished], target=target, n=n, streams=streams, interrupts=interrupts)
            checked.append(_not_optimal(drawn, checked[-1]))
    return checked


def _not_optimal(polished: DrawnFit | FailedFit, fit: DrawnFit | FailedFit) -> DrawnFit | FailedFit:
    """Say of a polished fit what one more climb gained, where that is so much that it is no optimum either."""
    if isinstance(polished, FailedFit) or isinstance(fit, FailedFit) or fit.convergence is None:
        return polished
    return polished if fit.convergence.is_optimum else replace(polished, convergence=fit.convergence.of_polished())


def _checked(
    drawn: DrawnFit, target: Target, streams: RandomStreams, interrupts: Interrupts, clock: Alarm, late: str
) -> DrawnFit:
    """Check convergence, unless an interrupt comes or the time is over, which is told."""
    q = drawn.fit.approximation
    if not isinstance(q, MeanField | FullRank) or not _can_be_polished(q):
        return drawn

    def unchecked(reason: str) -> DrawnFit:
        return replace(drawn, failures=(*drawn.failures, Failure(UNCHECKED, reason)))

    if interrupts.came or clock.over:
        return unchecked(INTERRUPTED if interrupts.came else late)
    rng, density = streams(f"convergence of {drawn.name}"), clock.watch(target.log_density_and_grad)
    try:
        return replace(drawn, convergence=check_convergence(density, q, random_seed=rng))
    except TimeIsUp:
        return unchecked(late)
    except KeyboardInterrupt:
        interrupts.note("the check of convergence")
        return unchecked(INTERRUPTED)
    except Exception as error:  # noqa: BLE001 the fit can be scored all the same
        return replace(drawn, failures=(*drawn.failures, Failure.of(UNCHECKED, error)))


def _polished(fit: DrawnFit | FailedFit, seconds: float) -> Fit | None:
    """Take the polished fit of one that had not converged."""
    if isinstance(fit, FailedFit) or fit.convergence is None or fit.convergence.converged != "no":
        return None
    return Fit(polished_name(fit.name), fit.convergence.polished, seconds)


def assign_draws(fits: Sequence[DrawnFit | FailedFit], modes: Modes) -> list[AssignedFit | FailedFit]:
    """Find the mode of every draw of each fit: all at once or, if that fails, a fit at a time."""
    drawn = [fit for fit in fits if not isinstance(fit, FailedFit)]
    together: Iterator[CanonicalPoints | None] = repeat(None)
    if drawn:
        with suppress(Exception):  # what fails here fails again, and is told, for its fit alone
            points = modes.canonical(np.concatenate([fit.x for fit in drawn]))
            together = iter(points.split([len(fit.x) for fit in drawn]))
    return [fit if isinstance(fit, FailedFit) else _assigned(fit, modes, next(together)) for fit in fits]


def _assigned(drawn: DrawnFit, modes: Modes, canonical: CanonicalPoints | None) -> AssignedFit | FailedFit:
    try:
        return AssignedFit(**vars(drawn), canonical=modes.canonical(drawn.x) if canonical is None else canonical)
    except Exception as error:  # noqa: BLE001 a fit whose draws have no modes must not lose the others
        return FailedFit(drawn.name, (*drawn.failures, Failure.of("modes of its draws", error)), drawn.fit.seconds)
