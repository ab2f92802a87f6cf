"""Draws, labels and fits → every score of every approximation → the comparison's DataTree."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from pymc_kl._typing import Array, IntArray
from pymc_kl.approximations import Approximation
from pymc_kl.approximations.symmetrise import symmetrised_log_prob
from pymc_kl.comparison.datatree import (
    CHAINS,
    SCORE_COLUMNS,
    approximation_tree,
    coverage_dataset,
    line_dataset,
    scores_dataset,
)
from pymc_kl.comparison.reference import Yardstick
from pymc_kl.fitting.cross_fitting import IN_SAMPLE, CrossFit
from pymc_kl.fitting.elbo_gap import Convergence
from pymc_kl.modes.assign import MAX_COPY_LABELS, CanonicalPoints
from pymc_kl.modes.masses import masses_from_independent
from pymc_kl.modes.modes import Modes
from pymc_kl.modes.numbering import to_mode_number, to_region
from pymc_kl.numerics.estimate import Estimate, effective_size, systematic
from pymc_kl.reference.datatree import describe_modes, evidence_dataset, reference_tree
from pymc_kl.scores.coverage import entropic_coverage, hdr_coverage, mass_jsd, mass_ratio, mass_tv, verdicts
from pymc_kl.scores.divergences import (
    ChainRule,
    ReferenceDraws,
    elbo,
    eubo,
    forward_chain_rule,
    forward_kl,
    reverse_chain_rule,
    reverse_kl,
)
from pymc_kl.scores.draws import ApproximationDraws
from pymc_kl.scores.marginals import Source, describe
from pymc_kl.scores.missed_modes import missed
from pymc_kl.scores.reliability import TailDraws, ess_forward, ess_reverse, khat, khat_reference, spill, tail_of

EQUAL_DRAWS = 2000  # of the reference where there is no approximation to match
LOCAL_DRAWS = 200  # of Laplace's approximation at a mode that no draw visited
REACHED = 0.01  # share of an approximation's draws in a mode from which on it reaches a copy
LINE_POINTS = 2001  # on which densities in one dimension are kept
LINE_TAIL = 0.001  # of an approximation's draws on either side that need not be on it


@dataclass(eq=False)
class Row:
    """One approximation on its way through the comparison."""

    name: str
    approximation: Approximation | None = None
    seconds: float = float("nan")
    error: str = ""
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
            score_rows[row.name], coverage_rows[row.name] = {"error": row.error, "seconds": row.seconds}, {}
            if row.approximation is None or row.x is None:
                continue
            try:
                reference_log_prob = self._reference_log_prob(row, _log_prob)
                scored, covered = self._score(row, reference_log_prob, local)
                groups[row.name] = self._approximation_tree(row, rows)
            except Exception as error:  # noqa: BLE001 one score that fails must not lose the others
                score_rows[row.name]["error"] = f"{type(error).__name__}: {error}"
                continue
            score_rows[row.name] |= scored
            coverage_rows[row.name] |= covered
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
        dt["scores"] = xr.DataTree(scores_dataset(score_rows, SCORE_COLUMNS))
        dt["coverage"] = xr.DataTree(coverage_dataset(coverage_rows, yardstick.modes.k))
        dt["evidence"] = xr.DataTree(evidence_dataset(*yardstick.evidence))
        dt["parameters"] = xr.DataTree(self._parameters())
        if yardstick.draws.reference.target.d == 1:
            dt["line"] = xr.DataTree(self._line())
        return dt

    def _reference_log_prob(self, row: Row, evaluate: Callable[[Approximation, Array], Array | None]) -> Array | None:
        """Evaluate log q (chain, draw) at the draws of p that are scored on."""
        assert row.approximation is not None
        draws = self.yardstick.draws
        if not row.approximation.has_log_prob:
            return None
        values = row.at_draws(draws.reference.flat, draws.fold, evaluate)
        return None if values is None else values.reshape(draws.reference.log_density.shape)

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

    def _score(
        self, row: Row, reference_log_prob: Array | None, local: Mapping[int, tuple[Array, Array]]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        assert row.approximation is not None and row.canonical is not None and row.log_density is not None
        k, log_z, canonical = self.yardstick.modes.k, self.yardstick.evidence[0], row.canonical
        unvisited = np.full(k + 1, np.nan)
        if row.approximation.has_log_prob:
            for j, (x, log_density) in local.items():
                unvisited[j] = (log_density - row.approximation.log_prob(x)).mean()
        shape = self.yardstick.draws.reference.log_density.shape
        label = to_region(self.yardstick.draws.label, k).reshape(shape)
        p = ReferenceDraws(
            self.yardstick.draws.reference.log_density,
            reference_log_prob,
            label,
            self.yardstick.draws.reference.weights,
            self.yardstick.masses,
            unvisited,
            self._tail,
        )
        mode = to_region(canonical.mode, k)
        q = ApproximationDraws(row.log_density, row.log_prob, mode, masses_from_independent(canonical.mode, k))
        forward = forward_chain_rule(p, q, log_z)
        reverse = reverse_chain_rule(p, q, log_z)
        scored = self._score_row(row, p, q, forward, reverse) | self._relabelled(row, p, q)
        covered = _coverage_row(p, q, forward, reverse)
        covered["copies_reached"] = _copies_reached(self.yardstick.modes, row.x, canonical)
        return scored, covered

    def _relabelled(self, row: Row, p: ReferenceDraws, q: ApproximationDraws) -> dict[str, float]:
        """Both divergences of q averaged over the symmetries of p; nothing without any."""
        symmetry, log_z = self.yardstick.modes.symmetry, self.yardstick.evidence[0]
        assert row.approximation is not None and row.x is not None
        if not self.yardstick.modes.has_copies or not row.approximation.has_log_prob:
            return {}

        def averaged(fit: Approximation, x: Array) -> Array | None:
            return symmetrised_log_prob(fit.log_prob, symmetry, x)

        log_prob = averaged(row.approximation, row.x)
        if log_prob is None:
            return {}
        forward = forward_kl(replace(p, log_prob=self._reference_log_prob(row, averaged)), log_z)
        reverse = reverse_kl(replace(q, log_prob=log_prob), log_z)
        return {
            "forward_kl_relabelled": forward.value,
            "forward_kl_relabelled_se": forward.se,
            "reverse_kl_relabelled": reverse.value,
            "reverse_kl_relabelled_se": reverse.se,
        }

    def _score_row(
        self,
        row: Row,
        p: ReferenceDraws,
        q: ApproximationDraws,
        forward: ChainRule,
        reverse: ChainRule,
    ) -> dict[str, Any]:
        assert row.approximation is not None
        log_z = self.yardstick.evidence[0]
        estimates: dict[str, Estimate] = {
            "forward_kl": forward_kl(p, log_z),
            "reverse_kl": reverse_kl(q, log_z),
            "elbo": elbo(q),
            "eubo": eubo(p),
            "forward_kl_between": forward.between,
            "forward_kl_within": forward.within,
            "reverse_kl_between": reverse.between,
            "reverse_kl_within": reverse.within,
            "ess_forward": ess_forward(p, log_z),
            "ess_reverse": ess_reverse(q),
            "spill": spill(p, q),
            "emc": entropic_coverage(q.masses),
            "emc_reference": entropic_coverage(p.masses),
            "mode_jsd": mass_jsd(p.masses, q.masses),
            "mode_tv": mass_tv(p.masses, q.masses),
        }
        alarm = missed(p.masses, np.array(verdicts(p.masses, q.masses)) == "missed")
        estimates["missed_mass"] = alarm.mass
        if row.convergence is not None:
            estimates["elbo_gap"] = row.convergence.elbo_gap
            estimates["elbo_gradient"] = row.convergence.gradient
        scored: dict[str, Any] = {}
        for name, estimate in estimates.items():
            scored[name], scored[f"{name}_se"] = estimate
        return scored | {
            "alarm": float(alarm.sounds),
            "forward_kl_is_bound": float(forward.is_bound),
            "reverse_kl_is_bound": float(reverse.is_bound),
            "converged": float("nan") if row.convergence is None else float(row.convergence.converged),
            "khat": khat(q),
            "khat_reference": khat_reference(p),
            "kind": row.approximation.kind,
            "family": row.approximation.family,
            "note": " ".join((*row.approximation.info.get("warnings", ()), *_in_sample(row))),
        }

    def _approximation_tree(self, row: Row, rows: IntArray) -> xr.DataTree:
        assert row.approximation is not None and row.x is not None
        assert row.log_density is not None and row.canonical is not None
        reference_log_prob = None
        if row.approximation.has_log_prob:
            draws = self.yardstick.training
            flat = row.at_draws(draws.reference.flat[rows.ravel()], draws.fold[rows.ravel()], _log_prob)
            reference_log_prob = None if flat is None else flat.reshape(rows.shape)
        centres = [optimum.approximation.loc for optimum in row.approximation.info.get("optima", ())]
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
        log_prob = {
            row.name: row.approximation.log_prob(grid[:, None])
            for row in self.rows
            if row.approximation is not None and row.x is not None and row.approximation.has_log_prob
        }
        return line_dataset(target.labels[0], grid, target.log_density(grid[:, None]), log_prob)


def _log_prob(fit: Approximation, x: Array) -> Array:
    return fit.log_prob(x)


def _in_sample(row: Row) -> tuple[str, ...]:
    return (IN_SAMPLE,) if row.cross_fit is not None and not row.cross_fit.others else ()


def _copies_reached(modes: Modes, x: Array | None, canonical: CanonicalPoints) -> Array:
    """Count the copies of each mode (K,) that hold a hundredth of the draws in it; NaN where there are too many."""
    assert x is not None
    label = modes.copy_labels(x, canonical.maximum)
    reached = np.full(modes.k, np.nan)
    for k in range(modes.k):
        inside = (canonical.mode == k) & (label >= 0)
        counts = np.bincount(np.unique(label[inside] % MAX_COPY_LABELS, return_inverse=True)[1]) if inside.any() else ()
        if modes.copies[k] <= MAX_COPY_LABELS:
            reached[k] = min(sum(c > REACHED * inside.sum() for c in counts), modes.copies[k])
    return reached


def _coverage_row(p: ReferenceDraws, q: ApproximationDraws, forward: ChainRule, reverse: ChainRule) -> dict[str, Any]:
    ratio, ratio_se = mass_ratio(p.masses, q.masses)
    arrays = {
        "mass": q.masses.mass,
        "mass_se": q.masses.se,
        "mass_upper": q.masses.upper,
        "ratio": ratio,
        "ratio_se": ratio_se,
        "forward_kl_within": forward.within_each,
        "forward_kl_within_se": forward.within_each_se,
        "reverse_kl_within": reverse.within_each,
        "reverse_kl_within_se": reverse.within_each_se,
        "hdr_coverage": hdr_coverage(p, q),
    }
    row: dict[str, Any] = {name: values[:-1] for name, values in arrays.items()}
    row["verdict"] = verdicts(p.masses, q.masses)
    row["elsewhere"], row["elsewhere_se"] = q.masses.mass[-1], q.masses.se[-1]
    return row
