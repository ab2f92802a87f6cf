"""A reference and scored fits → the comparison's DataTree."""

from collections.abc import Iterable, Sequence

import numpy as np
import xarray as xr

from pymc_kl._typing import IntArray
from pymc_kl.approximations.wrapped import log_prob_on_circle
from pymc_kl.comparison.datatree import (
    CHAINS,
    SCORE_COLUMNS,
    approximation_tree,
    coverage_dataset,
    group_of_fit,
    line_dataset,
    scores_dataset,
)
from pymc_kl.comparison.described import described
from pymc_kl.comparison.failures import Attempts, describe
from pymc_kl.comparison.fit import FailedFit, ScoredFit
from pymc_kl.comparison.reference import Reference
from pymc_kl.fitting.optima import optima_of
from pymc_kl.modes.numbering import to_mode_number
from pymc_kl.quantities.asked import Quantity
from pymc_kl.quantities.describe import Told, describe_quantities
from pymc_kl.reference.datatree import describe_modes, evidence_dataset, reference_tree
from pymc_kl.scores.marginals import describe as describe_marginals
from pymc_kl.scores.marginals import describe_modes_alone, modes_alone, reference_label

DENSITY_POINTS = 2001  # points of the grid on which the densities of a one-dimensional model are stored; our choice
LINE_TAIL = 0.001  # part of an approximation's draws on either side that may lie outside that grid; our choice
COPIED = ("observed_data", "constant_data")  # groups of the given draws that a comparison keeps


def lay_out(
    reference: Reference, fits: Sequence[ScoredFit | FailedFit], given: object, n: int, rng: np.random.Generator
) -> xr.DataTree:
    """Lay out a comparison.

    Parameters
    ----------
    reference : Reference
    fits : sequence of ScoredFit or FailedFit
        In the order of the rows.
    given : object
        What the user gave as draws; data in a DataTree are copied.
    n : int
        Draws of the reference that are kept, where they are not chains.
    rng : Generator

    Returns
    -------
    DataTree
    """
    rows = reference.training.equal_rows(n, CHAINS if n % CHAINS == 0 else 1, rng)
    scored = [fit for fit in fits if isinstance(fit, ScoredFit)]
    attempts = {fit.name: Attempts(list(fit.failures)) for fit in fits}
    dt = _reference_tree(reference, rows)
    if isinstance(given, xr.DataTree):
        for name in COPIED:
            if name in given.children:
                dt[name] = given[name].copy()
    dt["modes"] = xr.DataTree(
        described(describe_modes(reference.target, reference.modes, reference.masses, reference.log_masses))
    )
    for fit in scored:
        with attempts[fit.name].kept("its draws, as a group of the comparison"):
            dt[f"approximations/{group_of_fit(fit.name)}"] = _approximation_tree(
                fit, reference, rows, attempts[fit.name]
            )
    if reference.audit is not None:
        dt["audit"] = reference.audit
        dt["audit"].attrs |= _divergences(given)
    line = _line(scored, reference, attempts) if reference.target.d == 1 else None
    errors = {name: describe(kept.failures) for name, kept in attempts.items()}
    dt["scores"] = xr.DataTree(described(scores_dataset(_score_rows(fits, errors), SCORE_COLUMNS)))
    coverage = {fit.name: fit.coverage if isinstance(fit, ScoredFit) else {} for fit in fits}
    dt["coverage"] = xr.DataTree(described(coverage_dataset(coverage, reference.modes.k)))
    dt["evidence"] = xr.DataTree(described(evidence_dataset(reference.evidence)))
    dt["parameters"] = xr.DataTree(_parameters(scored, reference))
    if reference.modes.k > 1 and (alone := modes_alone(reference.source, reference.modes.k)):
        dt["parameters_by_mode"] = xr.DataTree(describe_modes_alone(reference.target, alone))
    if line is not None:
        dt["line"] = xr.DataTree(line)
    return dt


def _divergences(given: object) -> dict[str, int]:
    """Count the divergent transitions of given draws, where they tell."""
    if not isinstance(given, xr.DataTree) or "diverging" not in given.children.get("sample_stats", xr.DataTree()):
        return {}
    return {"n_diverging": int(given["sample_stats"]["diverging"].sum())}


def _score_rows(fits: Iterable[ScoredFit | FailedFit], errors: dict[str, str]) -> dict[str, dict[str, object]]:
    """Build the rows of `/scores`; a fit that failed has its error and its seconds alone."""
    return {
        fit.name: {
            **(fit.scores if isinstance(fit, ScoredFit) else {}),
            "error": errors[fit.name],
            "seconds": fit.fit.seconds if isinstance(fit, ScoredFit) else fit.seconds,
        }
        for fit in fits
    }


def _reference_tree(reference: Reference, rows: IntArray) -> xr.DataTree:
    posterior, mode = reference.training.posterior, reference.training.mode
    return reference_tree(
        reference.target, posterior.flat[rows], posterior.log_density.ravel()[rows], to_mode_number(mode[rows])
    )


def _approximation_tree(fit: ScoredFit, reference: Reference, rows: IntArray, attempts: Attempts) -> xr.DataTree:
    """Build the groups of a fit, with log q at the draws of the reference that are kept."""
    q = fit.fit.approximation
    reference_log_prob = None
    if q.has_log_prob:
        training = reference.training
        with attempts.kept("log q at the draws that are kept"):
            x, fold = training.posterior.flat[rows.ravel()], training.canonical.fold[rows.ravel()]
            reference_log_prob = fit.fit.at_draws(x, fold, log_prob_on_circle).reshaped(rows.shape).log_prob
    centres = np.reshape([optimum.approximation.loc for optimum in optima_of(q)], (-1, fit.x.shape[1]))
    optimum_mode = to_mode_number(reference.modes.assign(centres))
    return approximation_tree(reference.target, fit, reference_log_prob, optimum_mode)


def quantities_dataset(
    quantities: Sequence[Quantity], reference: Reference, fits: Iterable[ScoredFit | FailedFit]
) -> xr.Dataset:
    """Tabulate quantities of interest under the reference, the given draws, each fit, and each mode by itself."""
    scored = {fit.name: fit for fit in fits if isinstance(fit, ScoredFit)}
    k = reference.modes.k
    told = {reference_label(list(scored)): Told("reference", reference.source)}
    if reference.given is not None:
        told[reference_label(list(scored), "given draws")] = Told("given", reference.given)
    told |= {name: Told("approximation", fit.source(k)) for name, fit in scored.items()}
    if k > 1:
        alone = modes_alone(reference.source, k)
        told |= {reference_label([*told], f"mode {number}"): Told("mode", each) for number, each in alone.items()}
    draws = reference.draws
    return describe_quantities(reference.target, quantities, told, (draws.posterior.flat, draws.canonical.x))


def _parameters(fits: Iterable[ScoredFit], reference: Reference) -> xr.Dataset:
    """Tabulate every variable on canonical draws."""
    others = {fit.name: fit.source(reference.modes.k) for fit in fits}
    return describe_marginals(reference.target, reference.source, others)


def _line(fits: Sequence[ScoredFit], reference: Reference, attempts: dict[str, Attempts]) -> xr.Dataset:
    """Evaluate log p̃ and each log q on a grid, for a model of one dimension."""
    target, x = reference.target, reference.draws.posterior.flat
    ends = [np.array([x.min(), x.max()])]
    ends += [np.quantile(fit.x, (LINE_TAIL, 1 - LINE_TAIL)) for fit in fits]
    low, high = np.min(ends), np.max(ends)
    grid = np.linspace(low - 0.1 * (high - low), high + 0.1 * (high - low), DENSITY_POINTS)
    log_prob = {}
    for fit in fits:
        q = fit.fit.approximation
        if q.has_log_prob:
            with attempts[fit.name].kept("log q along the line"):
                log_prob[fit.name] = log_prob_on_circle(q, grid[:, None])
    return line_dataset(target.labels[0], grid, target.log_density(grid[:, None]), log_prob)
