"""Draws, labels and fits → every score of every approximation → the comparison's DataTree."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from pymc_kl._typing import Array, IntArray
from pymc_kl.approximations import Approximation
from pymc_kl.approximations.symmetrise import MAX_ORDER, symmetrised_log_prob
from pymc_kl.comparison.datatree import (
    CHAINS,
    SCORE_COLUMNS,
    approximation_tree,
    coverage_dataset,
    line_dataset,
    scores_dataset,
)
from pymc_kl.comparison.failures import Failures
from pymc_kl.comparison.reference import Yardstick
from pymc_kl.comparison.score_fit import FitScores, copies_reached, with_errors
from pymc_kl.fitting.cross_fitting import IN_SAMPLE, CrossFit
from pymc_kl.fitting.elbo_gap import Convergence
from pymc_kl.fitting.optima import optima_of
from pymc_kl.modes.assign import CanonicalPoints
from pymc_kl.modes.masses import masses_from_independent
from pymc_kl.modes.numbering import to_mode_number, to_region
from pymc_kl.modes.symmetry.enumerate import group_order
from pymc_kl.numerics.estimate import Estimate, effective_size, systematic
from pymc_kl.reference.datatree import describe_modes, evidence_dataset, reference_tree
from pymc_kl.scores.divergences import forward_kl, reverse_kl
from pymc_kl.scores.draws import ApproximationDraws, ReferenceDraws, TailDraws, tail_of
from pymc_kl.scores.marginals import Source, describe

EQUAL_DRAWS = 2000  # of the reference where there is no approximation to match
LOCAL_DRAWS = 200  # of Laplace's approximation at a mode that no draw visited
LINE_POINTS = 2001  # on which densities in one dimension are kept
LINE_TAIL = 0.001  # of an approximation's draws on either side that need not be on it


@dataclass(eq=False)
class Row:
    """One approximation on its way through the comparison."""

    name: str
    approximation: Approximation | None = None
    seconds: float = float("nan")
    failures: Failures = field(default_factory=Failures)
    convergence: Convergence | None = None
    x: Array | None = None
    log_density: Array | None = None
    log_prob: Array | None = None
    cross_fit: CrossFit | None = None
    canonical: CanonicalPoints | None = None

    def at_draws(
        self, x: Array, fold: IntArray, evaluate: Callable[[Approximation, Array], Array | None]
    ) -> Array | None:
        """Evaluate q at draws of p (n, d); a forward fit by fits that have not seen the draw."""
        assert self.approximation is not None
        if self.cross_fit is None:
            return evaluate(self.approximation, x)
        return self.cross_fit.at_draws(x, fold, evaluate)


@dataclass(frozen=True, eq=False)
class Result:
    """Everything that the scores need, once every fit is made and every draw assigned."""

    yardstick: Yardstick
    rows: list[Row]

    def to_datatree(self, given: Any, rng: np.random.Generator) -> xr.DataTree:
        """Score every row and lay out the comparison."""
        score_rows: dict[str, dict[str, Any]] = {}
        coverage_rows: dict[str, dict[str, Any]] = {}
        groups: dict[str, xr.DataTree] = {}
        local, rows = self._local_draws(rng), self._equal_rows(rng)
        for row in self.rows:
            score_rows[row.name], coverage_rows[row.name] = self._scored(row, local)
            if row.canonical is not None:
                with row.failures.kept("its draws, as a group of the comparison"):
                    groups[row.name] = self._approximation_tree(row, rows)
        dt = self._reference_tree(rows)
        for name in ("observed_data", "constant_data"):
            if isinstance(given, xr.DataTree) and name in given.children:
                dt[name] = given[name].copy()
        yardstick = self.yardstick
        dt["modes"] = xr.DataTree(
            describe_modes(yardstick.draws.reference.target, yardstick.modes, yardstick.masses, yardstick.log_masses)
        )
        for name, group in groups.items():
            dt[f"approximations/{name}"] = group
        if yardstick.audit is not None:
            dt["audit"] = yardstick.audit
        line = self._line() if yardstick.draws.reference.target.d == 1 else None
        for row in self.rows:
            score_rows[row.name] |= {"error": str(row.failures), "seconds": row.seconds}
        dt["scores"] = xr.DataTree(scores_dataset(score_rows, SCORE_COLUMNS))
        dt["coverage"] = xr.DataTree(coverage_dataset(coverage_rows, yardstick.modes.k))
        dt["evidence"] = xr.DataTree(evidence_dataset(*yardstick.evidence))
        dt["parameters"] = xr.DataTree(self._parameters())
        if line is not None:
            dt["line"] = xr.DataTree(line)
        return dt

    def _reference_log_prob(self, row: Row, evaluate: Callable[[Approximation, Array], Array | None]) -> Array | None:
        """Evaluate log q (chain, draw) at the draws of p that are scored on."""
        assert row.approximation is not None
        draws = self.yardstick.draws
        if not row.approximation.has_log_prob:
            return None
        values = row.at_draws(draws.reference.flat, draws.fold, evaluate)
        return None if values is None else values.reshape(draws.reference.log_density.shape)

    @property
    def log_evidence(self) -> Estimate:
        """Log Z in nats."""
        return self.yardstick.evidence[0]

    @cached_property
    def _tail(self) -> TailDraws:
        """Every draw that there is, by weight; their worth is that of log p̃ along the chains."""
        draws = self.yardstick.training
        values, weights = draws.reference.log_density, draws.reference.flat_weights
        if weights is None:
            return tail_of(values, None)
        worth = 0.0
        for k in np.unique(draws.label):
            inside = draws.label == k
            worth += weights[inside].sum() ** 2 / effective_size(values.ravel()[inside][None])
        return TailDraws(values.ravel(), weights, 1 / worth)

    def _local_draws(self, rng: np.random.Generator) -> dict[int, tuple[Array, Array]]:
        """Draws (n, d) and log p̃ (n,) of Laplace's approximation at each mode that no draw visited."""
        local = {}
        for k in self.yardstick.unvisited:
            x = rng.multivariate_normal(self.yardstick.modes.x[k], self.yardstick.modes.covariances[k], LOCAL_DRAWS)
            local[int(k)] = (x, self.yardstick.draws.reference.target.log_density(x))
        return local

    def _scored(self, row: Row, local: Mapping[int, tuple[Array, Array]]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Score one fit: its row of `/scores` and of `/coverage`; what fails is not in them."""
        if row.approximation is None or row.x is None or row.canonical is None:
            return {}, {}
        found = self._fit_scores(row, local)
        estimates = found.estimates() | self._relabelled(row, found)
        if (arrived := row.convergence) is not None:
            estimates |= {"elbo_gap": lambda: arrived.elbo_gap, "elbo_gradient": lambda: arrived.gradient}
        scored: dict[str, Any] = with_errors(row.failures.each(estimates)) | row.failures.each(found.numbers())
        scored |= {
            "converged": float("nan") if arrived is None else float(arrived.converged),
            "kind": row.approximation.kind,
            "family": row.approximation.family,
            "note": " ".join((*(row.approximation.info.warnings or ()), *_in_sample(row))),
        }
        covered: dict[str, Any] = row.failures.each(found.coverage())
        covered["elsewhere"], covered["elsewhere_se"] = found.q.masses.mass[-1], found.q.masses.se[-1]
        with row.failures.kept("copies_reached"):
            covered["copies_reached"] = copies_reached(self.yardstick.modes, row.x, row.canonical)
        return scored, covered

    def _fit_scores(self, row: Row, local: Mapping[int, tuple[Array, Array]]) -> FitScores:
        """Put the draws of p and of one fit side by side; log q is left out where it can't be evaluated."""
        assert row.canonical is not None and row.log_density is not None
        k, draws = self.yardstick.modes.k, self.yardstick.draws
        reference_log_prob = None
        with row.failures.kept("log q at draws of the posterior"):
            reference_log_prob = self._reference_log_prob(row, _log_prob)
        p = ReferenceDraws(
            draws.reference.log_density,
            reference_log_prob,
            to_region(draws.label, k).reshape(draws.reference.log_density.shape),
            draws.reference.weights,
            self.yardstick.masses,
            _unvisited(row, local, k),
            self._tail,
        )
        mode = to_region(row.canonical.mode, k)
        masses = masses_from_independent(row.canonical.mode, k)
        return FitScores(p, ApproximationDraws(row.log_density, row.log_prob, mode, masses), self.log_evidence)

    def _relabelled(self, row: Row, found: FitScores) -> dict[str, Callable[[], Estimate]]:
        """Both divergences of q averaged over the symmetries of p; nothing without any."""
        q, x, symmetry = row.approximation, row.x, self.yardstick.modes.symmetry
        assert q is not None and x is not None
        if not self.yardstick.modes.has_copies or not q.has_log_prob or group_order(symmetry) > MAX_ORDER:
            return {}

        def averaged(fit: Approximation, x: Array) -> Array | None:
            return symmetrised_log_prob(fit.log_prob, symmetry, x)

        def forward() -> Estimate:
            return forward_kl(replace(found.p, log_prob=self._reference_log_prob(row, averaged)), self.log_evidence)

        def reverse() -> Estimate:
            return reverse_kl(replace(found.q, log_prob=averaged(q, x)), self.log_evidence)

        return {"forward_kl_relabelled": forward, "reverse_kl_relabelled": reverse}

    def _approximation_tree(self, row: Row, rows: IntArray) -> xr.DataTree:
        assert row.approximation is not None and row.x is not None
        assert row.log_density is not None and row.canonical is not None
        reference_log_prob = None
        if row.approximation.has_log_prob:
            draws = self.yardstick.training
            with row.failures.kept("log q at the draws that are kept"):
                flat = row.at_draws(draws.reference.flat[rows.ravel()], draws.fold[rows.ravel()], _log_prob)
                reference_log_prob = None if flat is None else flat.reshape(rows.shape)
        centres = [optimum.approximation.loc for optimum in optima_of(row.approximation)]
        optimum_mode = to_mode_number(self.yardstick.modes.assign(np.reshape(centres, (-1, row.x.shape[1]))))
        return approximation_tree(
            row.approximation,
            row.x,
            row.log_density,
            row.log_prob,
            to_mode_number(row.canonical.mode),
            reference_log_prob,
            optimum_mode,
        )

    def _equal_rows(self, rng: np.random.Generator) -> IntArray:
        """Choose draws (chain, draw) of equal weight, as ArviZ expects: all, or by their weights in random order."""
        reference = self.yardstick.training.reference
        if reference.weights is None:
            return np.arange(reference.log_density.size).reshape(reference.log_density.shape)
        n = max((len(row.x) for row in self.rows if row.x is not None), default=EQUAL_DRAWS)
        chains = CHAINS if n % CHAINS == 0 else 1
        return rng.permutation(systematic(reference.weights.ravel(), n, rng)).reshape(chains, -1)

    def _reference_tree(self, rows: IntArray) -> xr.DataTree:
        reference, label = self.yardstick.training.reference, self.yardstick.training.label
        return reference_tree(
            reference.target, reference.flat[rows], reference.log_density.ravel()[rows], to_mode_number(label[rows])
        )

    def _parameters(self) -> xr.Dataset:
        """Tabulate every variable on draws brought to one copy of their mode."""
        yardstick = self.yardstick
        home, weights = yardstick.draws.home.flat, yardstick.draws.home.flat_weights
        rows = np.arange(len(home))
        if weights is None:  # chains: as many draws as they are worth
            size = int(np.clip(effective_size(yardstick.draws.reference.log_density), 1, len(home)))
            rows = np.linspace(0, len(home) - 1, size).astype(int)
            weights = np.ones(len(home))
        reference = Source(
            home[rows], weights[rows] / weights[rows].sum(), yardstick.draws.label[rows], yardstick.masses
        )
        others = {
            row.name: Source(row.canonical.x, np.full(len(row.canonical.x), 1 / len(row.canonical.x)))
            for row in self.rows
            if row.canonical is not None
        }
        return describe(yardstick.draws.reference.target, reference, others)

    def _line(self) -> xr.Dataset:
        """Both log densities along the one dimension that there is."""
        target, x = self.yardstick.draws.reference.target, self.yardstick.draws.reference.flat
        ends = [np.array([x.min(), x.max()])]
        ends += [np.quantile(row.x, (LINE_TAIL, 1 - LINE_TAIL)) for row in self.rows if row.x is not None]
        low, high = np.min(ends), np.max(ends)
        grid = np.linspace(low - 0.1 * (high - low), high + 0.1 * (high - low), LINE_POINTS)
        log_prob = {}
        for row in self.rows:
            if row.approximation is not None and row.x is not None and row.approximation.has_log_prob:
                with row.failures.kept("log q along the line"):
                    log_prob[row.name] = row.approximation.log_prob(grid[:, None])
        return line_dataset(target.labels[0], grid, target.log_density(grid[:, None]), log_prob)


def _log_prob(fit: Approximation, x: Array) -> Array:
    return fit.log_prob(x)


def _unvisited(row: Row, local: Mapping[int, tuple[Array, Array]], k: int) -> Array:
    """Mean of log p̃ - log q (K + 1,) over the local draws of each mode that no draw visited; NaN for the others."""
    means = np.full(k + 1, np.nan)
    assert row.approximation is not None
    if row.approximation.has_log_prob:
        for j, (x, log_density) in local.items():
            with row.failures.kept("log q at modes without draws"):
                means[j] = (log_density - row.approximation.log_prob(x)).mean()
    return means


def _in_sample(row: Row) -> tuple[str, ...]:
    return (IN_SAMPLE,) if row.cross_fit is not None and not row.cross_fit.others else ()
