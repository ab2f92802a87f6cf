"""Scores of a fit up to the symmetries of the posterior, and its shape within modes, where copies count as one."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import numpy as np

from pymc_kl._typing import Array
from pymc_kl.approximations import Approximation
from pymc_kl.approximations.symmetrise import MAX_ORDER, symmetrised_log_prob
from pymc_kl.approximations.wrapped import log_prob_on_circle
from pymc_kl.comparison.fit import AssignedFit
from pymc_kl.comparison.reference import Reference
from pymc_kl.fitting.cross_fitting import Evaluate, HeldOut
from pymc_kl.modes.modes import Modes
from pymc_kl.modes.symmetry.enumerate import group_order
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.scores.chain_rule import ChainRule
from pymc_kl.scores.divergences import forward_kl, reverse_kl
from pymc_kl.scores.draws import ApproximationDraws, ReferenceDraws
from pymc_kl.scores.shape import shape_verdicts, sharper, widths


def at_reference(fit: AssignedFit, reference: Reference, evaluate: Evaluate) -> HeldOut:
    """Evaluate log q (chain, draw) at the draws of p that are scored on."""
    posterior, fold = reference.draws.posterior, reference.draws.canonical.fold
    if not fit.fit.approximation.has_log_prob:
        return HeldOut(None)
    return fit.fit.at_draws(posterior.flat, fold, evaluate, posterior.flat_weights).reshaped(
        posterior.log_density.shape
    )


def averaged_over_symmetries(
    fit: AssignedFit, reference: Reference, p: ReferenceDraws
) -> Callable[[], ReferenceDraws] | None:
    """Return what evaluates q, averaged over the symmetries of p, at draws of p, once; None without any."""
    has_density, order = fit.fit.approximation.has_log_prob, group_order(reference.modes.symmetry)
    if not reference.modes.has_copies or not has_density or order > MAX_ORDER:
        return None

    @cache
    def averaged() -> ReferenceDraws:
        held_out = at_reference(fit, reference, partial(_log_average, reference.modes))
        return replace(p, **held_out._asdict())

    return averaged


def _log_average(modes: Modes, q: Approximation, x: Array) -> Array | None:
    return symmetrised_log_prob(partial(log_prob_on_circle, q), modes.symmetry, x)


def relabelled_scores(
    fit: AssignedFit,
    reference: Reference,
    q: ApproximationDraws,
    log_evidence: Estimate,
    averaged: Callable[[], ReferenceDraws] | None,
) -> dict[str, Callable[[], Estimate]]:
    """Both divergences of q averaged over the symmetries of p; nothing without any."""
    if averaged is None:
        return {}

    def reverse() -> Estimate:
        log_prob = _log_average(reference.modes, fit.fit.approximation, fit.x)
        return reverse_kl(replace(q, log_prob=log_prob), reference.masses, log_evidence)

    return {"forward_kl_relabelled": lambda: forward_kl(averaged(), log_evidence), "reverse_kl_relabelled": reverse}


def shapes(
    fit: AssignedFit, reference: Reference, p: ReferenceDraws, forward: ChainRule, *, up_to_labels: bool
) -> dict[str, Array | list[str]]:
    """Say how q fits within each mode and how wide it is there; where there are copies, by q averaged over them."""
    k = reference.modes.k
    kl, kl_se = sharper(forward.within_each[:-1], forward.within_each_se[:-1], p)
    if reference.modes.has_copies and not up_to_labels:
        kl, kl_se = np.full((2, k), np.nan)
    ratio, coordinate = widths(reference.source, fit.source(k), k)
    return {
        "shape": shape_verdicts(kl, kl_se, ratio),
        "width": np.array([each.value for each in ratio]),
        "width_se": np.array([each.se for each in ratio]),
        "width_of": ["" if j < 0 else reference.target.shown_labels[j] for j in coordinate],
    }
