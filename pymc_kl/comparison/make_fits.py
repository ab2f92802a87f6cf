"""The fits of a comparison, each a row: those it is given, those it makes, their draws, and whether they converged."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pymc as pm

from pymc_kl.adapters import as_approximation
from pymc_kl.approximations import FullRank, MeanField
from pymc_kl.approximations.choice import AUTO
from pymc_kl.approximations.symmetrise import MAX_COPIES
from pymc_kl.comparison.layout import Row
from pymc_kl.comparison.reference import Yardstick
from pymc_kl.fitting.cross_fitting import CrossFit, cross_fit
from pymc_kl.fitting.elbo_gap import check_convergence
from pymc_kl.fitting.forward import takes_modes
from pymc_kl.fitting.optima import mixture_of
from pymc_kl.fitting.reverse import REVERSE_FAMILIES, fit_from_modes
from pymc_kl.model.graphs import same_arithmetic
from pymc_kl.model.target import Target
from pymc_kl.modes.modes import Modes
from pymc_kl.modes.symmetry.enumerate import group_order

PYMC_METHODS = {"advi": "ADVI", "fullrank_advi": "full-rank ADVI"}
REVERSE = PYMC_METHODS | {name: f"reverse {name}" for name in (AUTO, *REVERSE_FAMILIES)}
ADVI_STEPS = 30_000
ALL_OPTIMA = "all optima"  # the row of the mixture of all that a reverse fit's starts settled in


def given_rows(approximations: Mapping[str, Any], target: Target) -> list[Row]:
    """Adapt the user's fits, and the parts that they are made of, such as Pathfinder's paths.

    One of another model is an error at once, since it can't be what they meant.
    """
    rows = []
    for name, fit in approximations.items():
        approximation = replace(as_approximation(fit, model=target), target=target)
        rows.append(Row(name, approximation))
        parts = approximation.info.parts or {}
        rows += [Row(f"{name} ({part})", replace(q, target=target)) for part, q in parts.items()]
    names = [row.name for row in rows]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{twice} names both a fit and a part of one; give the fit another name.")
    return rows


def pymc_row(method: str, target: Target, rng: np.random.Generator) -> Row:
    """Fit with `pm.fit`."""
    row, seed = Row(REVERSE[method]), int(rng.integers(2**31))
    with _timed(row), same_arithmetic(), target.model:
        fit = pm.fit(ADVI_STEPS, method=method, random_seed=seed, progressbar=False)
        row.approximation = as_approximation(fit, model=target)
    return row


def reverse_rows(family: str, target: Target, yardstick: Yardstick, rng: np.random.Generator) -> list[Row]:
    """Fit with our own `fit_reverse`, from the modes; beside the best optimum stands the mixture of all."""
    row = Row(REVERSE[family])
    with _timed(row):
        row.approximation = fit_from_modes(target, yardstick.modes, family, rng=rng)
    rows = [row]
    if row.approximation is not None:
        mixture = mixture_of(row.approximation)
        if mixture is not None and mixture.n_components > 1:
            rows.append(Row(f"{row.name} ({ALL_OPTIMA})", mixture))
    return rows


def forward_row(family: str, yardstick: Yardstick, rng: np.random.Generator) -> Row:
    """Fit to the reference, and without each fifth of it."""
    row = Row(f"forward {family}")
    with _timed(row):
        row.cross_fit = _cross_fit(family, yardstick, rng)
        row.approximation = row.cross_fit.approximation
    return row


@contextmanager
def _timed(row: Row) -> Iterator[None]:
    """Time a fit; one that fails must not lose the others, so its error is what is kept of it."""
    start = time.perf_counter()
    with row.failures.kept():
        yield
    row.seconds = time.perf_counter() - start


def _cross_fit(family: str, yardstick: Yardstick, rng: np.random.Generator) -> CrossFit:
    """Fit to the whole posterior; a mixture to one copy of each mode if it can be spread over all of them."""
    draws, symmetry = yardstick.training, yardstick.modes.symmetry
    is_canonical = takes_modes(family) and draws.weighted and yardstick.modes.has_copies
    if is_canonical and group_order(symmetry) <= MAX_COPIES:
        return cross_fit(family, draws.home, draws.label, draws.fold, symmetry=symmetry, rng=rng)
    return cross_fit(family, draws.reference, draws.copy, draws.fold, rng=rng)


def fill_draws(rows: Sequence[Row], target: Target, n: int, rng: np.random.Generator) -> None:
    """Draw from every approximation that has no draws yet and evaluate both log densities."""
    for row in rows:
        q = row.approximation
        if q is None or row.x is not None:
            continue
        with row.failures.kept():
            x = q.sample(n, random_seed=rng)
            row.log_density = target.log_density(x)
            row.log_prob = q.log_prob(x) if q.has_log_prob else None
            row.x = x
        if row.x is None:
            row.approximation = None


def assign_draws(rows: Sequence[Row], modes: Modes) -> None:
    """Find the mode of every draw of each approximation."""
    for row in rows:
        if row.x is not None:
            with row.failures.kept("modes of its draws"):
                row.canonical = modes.canonical(row.x)


def check_convergence_rows(rows: list[Row], target: Target, rng: np.random.Generator) -> None:
    """Polish every Gaussian reverse-KL fit; one that had not arrived gets its polished fit as a row beside it."""
    for row in [*rows]:
        q = row.approximation
        if q is None or q.kind != "reverse" or not isinstance(q, MeanField | FullRank):
            continue
        start = time.perf_counter()
        with row.failures.kept("convergence not checked"):
            row.convergence = check_convergence(target.log_density_and_grad, q, random_seed=rng)
        if row.convergence is not None and not row.convergence.converged:
            name = f"{row.name} (polished)"
            if name not in {other.name for other in rows}:
                polished = Row(name, row.convergence.polished, time.perf_counter() - start)
                rows.insert(rows.index(row) + 1, polished)
