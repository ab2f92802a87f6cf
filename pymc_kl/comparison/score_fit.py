"""Draws of p and of one fit → its scores by name, each computed by itself, so that one that fails costs no other."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np

from pymc_kl._typing import Array
from pymc_kl.approximations import Approximation
from pymc_kl.approximations.functions import SampleAndDensityFunction
from pymc_kl.approximations.wrapped import log_prob_on_circle
from pymc_kl.comparison.failures import Attempts, Failure
from pymc_kl.comparison.fit import AssignedFit, FailedFit, ScoredFit
from pymc_kl.comparison.reference import Reference
from pymc_kl.comparison.relabelled import at_reference, averaged_over_symmetries, relabelled_scores, shapes
from pymc_kl.fitting.cross_fitting import IN_SAMPLE, HeldOut
from pymc_kl.interrupts import Interrupts
from pymc_kl.modes.assign import MAX_COPY_LABELS, CanonicalPoints
from pymc_kl.modes.modes import Modes
from pymc_kl.modes.numbering import to_region
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.scores.chain_rule import ChainRule, forward_chain_rule, reverse_chain_rule
from pymc_kl.scores.coverage import (
    MISSED_BELOW,
    entropic_coverage,
    hdr_coverage,
    mass_jsd,
    mass_ratio,
    mass_tv,
    verdicts,
    within_reach,
)
from pymc_kl.scores.divergences import elbo, eubo, forward_kl, reverse_kl
from pymc_kl.scores.draws import ApproximationDraws, ReferenceDraws
from pymc_kl.scores.missed_modes import Missed, missed
from pymc_kl.scores.own_density import why_no_divergence
from pymc_kl.scores.reliability import (
    ess_forward,
    ess_reverse,
    khat,
    khat_error,
    khat_reference,
    khat_reference_error,
    spill,
)
from pymc_kl.scores.stein import SteinIdentities, stein_identities, stein_spread

REACHED = 0.01  # share of an approximation's draws in a mode from which on it reaches a copy

LEAST_STEIN_DRAWS = 100  # draws from which on Stein's identities have normal errors; our choice
WITHOUT_ERROR = {
    "eubo": "Its forward KL may be infinite and has no error: log p̃ - log q has too heavy a tail over draws of p.",
    "elbo": "Its reverse KL may be infinite and has no error: log p̃ - log q has too heavy a tail over draws of q.",
    "elbo_gap": "Its ELBO gap has no error: log p̃ has too heavy a tail over draws of q.",
}  # what is said of estimates whose error is infinite
STEIN_DRAWS = 2000  # draws of an approximation at which the gradient is evaluated; bounds its cost; our choice

type Parts[T] = dict[str, Callable[[], T]]


@dataclass(frozen=True, eq=False)
class FitScores:
    """The scores of one approximation q beside p, with log Z in nats."""

    p: ReferenceDraws
    q: ApproximationDraws
    log_evidence: Estimate

    @cached_property
    def forward(self) -> ChainRule:
        """KL(p‖q), split over modes."""
        return forward_chain_rule(self.p, self.q, self.log_evidence)

    @cached_property
    def reverse(self) -> ChainRule:
        """KL(q‖p), split over modes."""
        return reverse_chain_rule(self.p, self.q, self.log_evidence)

    @cached_property
    def verdicts(self) -> list[str]:
        """How q covers each mode."""
        return verdicts(self.p.masses, self.q.masses)

    @cached_property
    def alarm(self) -> Missed:
        """The mass of the modes that q misses, or has surely too little of and, as far as draws tell, misses."""
        verdict, v, w = np.array(self.verdicts), self.q.masses.mass[:-1], self.p.masses.mass[:-1]
        return missed(self.p.masses, (verdict == "missed") | ((v < MISSED_BELOW * w) & (verdict == "under")))

    def estimates(self) -> Parts[Estimate]:
        """Scores with a standard error."""
        p, q, log_z = self.p, self.q, self.log_evidence
        return {
            "forward_kl": lambda: forward_kl(p, log_z),
            "reverse_kl": lambda: reverse_kl(q, p.masses, log_z),
            "elbo": lambda: elbo(q, p.masses, log_z),
            "eubo": lambda: eubo(p),
            "forward_kl_between": lambda: self.forward.between,
            "forward_kl_within": lambda: self.forward.within,
            "reverse_kl_between": lambda: self.reverse.between,
            "reverse_kl_within": lambda: self.reverse.within,
            "ess_forward": lambda: ess_forward(p, log_z),
            "ess_reverse": lambda: ess_reverse(q),
            "spill": lambda: spill(p, q),
            "emc": lambda: entropic_coverage(q.masses),
            "emc_reference": lambda: entropic_coverage(p.masses),
            "mode_jsd": lambda: mass_jsd(p.masses, q.masses),
            "mode_tv": lambda: mass_tv(p.masses, q.masses),
            "missed_mass": lambda: self.alarm.mass,
        }

    def numbers(self) -> Parts[float]:
        """Scores without a standard error; 0 and 1 are no and yes."""
        return {
            "alarm": lambda: float(self.alarm.sounds),
            "forward_kl_is_bound": lambda: float(self.forward.is_bound),
            "reverse_kl_is_bound": lambda: float(self.reverse.is_bound),
            "khat": lambda: khat(self.q),
            "khat_se": lambda: khat_error(self.q),
            "khat_reference": lambda: khat_reference(self.p),
            "khat_reference_se": lambda: khat_reference_error(self.p),
        }

    def coverage(self) -> Parts[Array | list[str]]:
        """What is said of each of the K modes."""
        p, q = self.p, self.q
        return {
            "mass": lambda: q.masses.mass[:-1],
            "mass_se": lambda: q.masses.se[:-1],
            "mass_lower": lambda: q.masses.lower[:-1],
            "mass_upper": lambda: q.masses.upper[:-1],
            "ratio": lambda: mass_ratio(p.masses, q.masses)[0][:-1],
            "ratio_se": lambda: mass_ratio(p.masses, q.masses)[1][:-1],
            "forward_kl_within": lambda: self.forward.within_each[:-1],
            "forward_kl_within_se": lambda: self.forward.within_each_se[:-1],
            "reverse_kl_within": lambda: self.reverse.within_each[:-1],
            "reverse_kl_within_se": lambda: self.reverse.within_each_se[:-1],
            "hdr_coverage": lambda: hdr_coverage(p, q)[:-1],
            "verdict": lambda: self.verdicts,
        }


def score_all(
    fits: Sequence[AssignedFit | FailedFit], reference: Reference, interrupts: Interrupts
) -> list[ScoredFit | FailedFit]:
    """Score each fit; a first Ctrl-C leaves those without scores that have none by then."""
    scored: list[ScoredFit | FailedFit] = [_unscored(fit) for fit in fits]
    try:
        for i, fit in enumerate(fits):
            scored[i] = fit if isinstance(fit, FailedFit) else score_fit(fit, reference)
    except KeyboardInterrupt:
        interrupts.note("the scores")
    return scored


def _unscored(fit: AssignedFit | FailedFit) -> FailedFit:
    """Tell of a fit that an interrupt came before its scores."""
    if isinstance(fit, FailedFit):
        return fit
    return FailedFit(fit.name, (*fit.failures, Failure("", "not scored: the run was interrupted")), fit.fit.seconds)


def score_fit(fit: AssignedFit, reference: Reference) -> ScoredFit:
    """Score one fit: its columns of `/scores` and of `/coverage`.

    A user's density that gives a negative divergence is not that of the fit's draws and is left out.
    """
    attempts = Attempts(list(fit.failures))
    found = _side_by_side(fit, reference, attempts)
    if isinstance(q := fit.fit.approximation, SampleAndDensityFunction):
        with suppress(Exception):  # what fails here fails again, and is told, below
            both = forward_kl(found.p, found.log_evidence), reverse_kl(found.q, found.p.masses, found.log_evidence)
            if reason := why_no_divergence(*both):
                return score_fit(fit.without_density(q.without_density(), reason), reference)
    return _scored(fit, reference, found, attempts)


def _scored(fit: AssignedFit, reference: Reference, found: FitScores, attempts: Attempts) -> ScoredFit:
    convergence, q = fit.convergence, fit.fit.approximation
    averaged = averaged_over_symmetries(fit, reference, found.p)
    estimates = found.estimates() | relabelled_scores(fit, reference, found.q, found.log_evidence, averaged)
    numbers = found.numbers()
    # Where the density has steps, its gradient tells nothing.
    if not reference.modes.reason and len(fit.x) >= LEAST_STEIN_DRAWS:
        stein = _stein(fit, reference)
        estimates |= {"stein_spread": lambda: stein_spread(stein())}
        numbers |= {"stein_z": lambda: stein().greatest_z}
    if convergence is not None:
        estimates |= {"elbo_gap": lambda: convergence.elbo_gap, "elbo_gradient": lambda: convergence.gradient}
    found_estimates = attempts.each(estimates)
    scores: dict[str, Any] = _with_errors(found_estimates) | attempts.each(numbers)
    scores |= {
        "converged": "" if convergence is None else convergence.converged,
        "kind": q.kind,
        "family": q.family,
        "note": " ".join((*(q.info.warnings or ()), *_in_sample(fit), *_without_error(found_estimates))),
    }
    coverage: dict[str, Any] = attempts.each(found.coverage())
    coverage["elsewhere"], coverage["elsewhere_se"] = found.q.masses.mass[-1], found.q.masses.se[-1]
    with attempts.kept("copies_reached"):
        coverage["copies_reached"] = _copies_reached(reference.modes, fit.x, fit.canonical)
    with attempts.kept("the shape within modes"):
        p = averaged() if averaged else found.p
        forward = forward_chain_rule(p, found.q, found.log_evidence) if averaged else found.forward
        coverage |= shapes(fit, reference, p, forward, up_to_labels=averaged is not None)
    known = vars(fit) | {"failures": tuple(attempts.failures)}
    return ScoredFit(**known, scores=scores, coverage=coverage)


def _side_by_side(fit: AssignedFit, reference: Reference, attempts: Attempts) -> FitScores:
    """Put the draws of p and of one fit side by side; log q is left out where it can't be evaluated."""
    k, draws = reference.modes.k, reference.draws
    held_out = HeldOut(None)
    with attempts.kept("log q at draws of the posterior"):
        held_out = at_reference(fit, reference, log_prob_on_circle)
    p = ReferenceDraws(
        draws.posterior.log_density,
        held_out.log_prob,
        to_region(draws.mode, k).reshape(draws.posterior.log_density.shape),
        draws.posterior.weights,
        reference.masses,
        _at_unvisited(fit.fit.approximation, reference, attempts),
        reference.tail,
        held_out.fit_variance,
    )
    own = [_log_density_within(reference, j) for j in range(k)]
    mode = within_reach(fit.canonical.mode, fit.log_density, own, reference.modes.log_density)
    q = ApproximationDraws(fit.log_density, fit.log_prob, to_region(mode, k), fit.masses(mode, k))
    return FitScores(p, q, reference.log_evidence)


def _log_density_within(reference: Reference, k: int) -> Array:
    """Return log p̃ at the draws of one mode, or of Laplace's approximation there if it has none."""
    own = reference.draws.posterior.log_density.ravel()[reference.draws.mode == k]
    return own if len(own) or k not in reference.unvisited else reference.unvisited[k][1]


def _at_unvisited(q: Approximation, reference: Reference, attempts: Attempts) -> Array:
    """Average log p̃ - log q (K + 1,) over the draws at each mode that no draw of p visited; NaN for the others."""
    means = np.full(reference.modes.k + 1, np.nan)
    if q.has_log_prob:
        for j, (x, log_density) in reference.unvisited.items():
            with attempts.kept("log q at modes without draws"):
                means[j] = (log_density - log_prob_on_circle(q, x)).mean()
    return means


def _stein(fit: AssignedFit, reference: Reference) -> Callable[[], SteinIdentities]:
    """Return what evaluates Stein's identities at draws of q, once."""

    @cache
    def identities() -> SteinIdentities:
        x = fit.x[:STEIN_DRAWS]
        return stein_identities(x, reference.target.log_density_and_grad(x)[1], chains=False)

    return identities


def _in_sample(fit: AssignedFit) -> tuple[str, ...]:
    cross_fit = fit.fit.cross_fit
    return (IN_SAMPLE,) if cross_fit is not None and not cross_fit.others else ()


def _without_error(estimates: dict[str, Estimate]) -> tuple[str, ...]:
    """Say which estimates have no finite error, and why."""
    return tuple(text for name, text in WITHOUT_ERROR.items() if name in estimates and np.isinf(estimates[name].se))


def _with_errors(estimates: dict[str, Estimate]) -> dict[str, float]:
    """Lay out estimates as a row has them: each value, and its error under `<name>_se`."""
    columns: dict[str, float] = {}
    for name, estimate in estimates.items():
        columns[name], columns[f"{name}_se"] = estimate
    return columns


def _copies_reached(modes: Modes, x: Array, canonical: CanonicalPoints) -> Array:
    """Count the copies of each mode (K,) that hold a hundredth of the draws in it; NaN where there are too many."""
    label = modes.copy_labels(x, canonical.maximum)
    reached = np.full(modes.k, np.nan)
    for k in range(modes.k):
        inside = (canonical.mode == k) & (label >= 0)
        counts = np.bincount(np.unique(label[inside] % MAX_COPY_LABELS, return_inverse=True)[1]) if inside.any() else ()
        if modes.copies[k] <= MAX_COPY_LABELS:
            reached[k] = min(sum(c > REACHED * inside.sum() for c in counts), modes.copies[k])
    return reached
