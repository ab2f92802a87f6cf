"""Draws, labels and fits → every score of every approximation → the comparison's DataTree."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from pymc_kl import scores, tree
from pymc_kl._typing import Array, IntArray
from pymc_kl.alarm import missed
from pymc_kl.approximations import Approximation
from pymc_kl.estimates import Estimate
from pymc_kl.masses import masses_from_independent
from pymc_kl.reverse import Convergence
from pymc_kl.yardstick import Yardstick

EQUAL_CHAINS = 4  # that resampled draws are laid out in
LOCAL_DRAWS = 200  # of Laplace's approximation at a mode that no draw visited


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
    mode: IntArray | None = None


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
        local = self._local_draws(rng)
        for row in self.rows:
            score_rows[row.name], coverage_rows[row.name] = {"error": row.error, "seconds": row.seconds}, {}
            if row.approximation is None or row.x is None:
                continue
            try:
                reference_log_prob = self._reference_log_prob(row.approximation)
                scored, covered = self._score(row, reference_log_prob, local)
                groups[row.name] = self._approximation_tree(row, reference_log_prob)
            except Exception as error:  # noqa: BLE001 one score that fails must not lose the others
                score_rows[row.name]["error"] = f"{type(error).__name__}: {error}"
                continue
            score_rows[row.name] |= scored
            coverage_rows[row.name] |= covered
        dt = self._reference_tree(rng)
        for name in ("observed_data", "constant_data"):
            if isinstance(given, xr.DataTree) and name in given.children:
                dt[name] = given[name].copy()
        dt["modes"] = xr.DataTree(
            tree.describe_modes(self.yardstick.reference.target, self.yardstick.modes, self.yardstick.masses)
        )
        for name, group in groups.items():
            dt[f"approximations/{name}"] = group
        if self.yardstick.audit is not None:
            dt["audit"] = self.yardstick.audit
        dt["scores"] = xr.DataTree(tree.scores_dataset(score_rows, tree.SCORE_COLUMNS))
        dt["coverage"] = xr.DataTree(tree.coverage_dataset(coverage_rows, self.yardstick.modes.k))
        dt["evidence"] = xr.DataTree(tree.evidence_dataset(*self.yardstick.evidence))
        return dt

    def _reference_log_prob(self, q: Approximation) -> Array | None:
        if not q.has_log_prob:
            return None
        return q.log_prob(self.yardstick.reference.flat).reshape(self.yardstick.reference.log_density.shape)

    def _local_draws(self, rng: np.random.Generator) -> dict[int, tuple[Array, Array]]:
        """Draws (n, d) and log p̃ (n,) of Laplace's approximation at each mode that no draw visited."""
        local = {}
        for k in self.yardstick.unvisited:
            x = rng.multivariate_normal(self.yardstick.modes.x[k], self.yardstick.modes.covariances[k], LOCAL_DRAWS)
            local[int(k)] = (x, self.yardstick.reference.target.log_density(x))
        return local

    def _score(
        self, row: Row, reference_log_prob: Array | None, local: Mapping[int, tuple[Array, Array]]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        assert row.approximation is not None and row.mode is not None and row.log_density is not None
        k, log_z = self.yardstick.modes.k, self.yardstick.evidence[0]
        unvisited = np.full(k + 1, np.nan)
        if row.approximation.has_log_prob:
            for j, (x, log_density) in local.items():
                unvisited[j] = (log_density - row.approximation.log_prob(x)).mean()
        shape = self.yardstick.reference.log_density.shape
        label = np.where(self.yardstick.label < 0, k, self.yardstick.label).reshape(shape)
        p = scores.PosteriorDraws(
            self.yardstick.reference.log_density,
            reference_log_prob,
            label,
            self.yardstick.reference.weights,
            self.yardstick.masses,
            unvisited,
        )
        mode = np.where(row.mode < 0, k, row.mode)
        q = scores.ApproximationDraws(row.log_density, row.log_prob, mode, masses_from_independent(row.mode, k))
        forward = scores.forward_chain_rule(p, q, log_z)
        reverse = scores.reverse_chain_rule(p, q, log_z)
        return self._score_row(row, p, q, forward, reverse), _coverage_row(p, q, forward, reverse)

    def _score_row(
        self,
        row: Row,
        p: scores.PosteriorDraws,
        q: scores.ApproximationDraws,
        forward: scores.ChainRule,
        reverse: scores.ChainRule,
    ) -> dict[str, Any]:
        assert row.approximation is not None
        log_z = self.yardstick.evidence[0]
        estimates: dict[str, Estimate] = {
            "forward_kl": scores.forward_kl(p, log_z),
            "reverse_kl": scores.reverse_kl(q, log_z),
            "elbo": scores.elbo(q),
            "eubo": scores.eubo(p),
            "forward_kl_between": forward.between,
            "forward_kl_within": forward.within,
            "reverse_kl_between": reverse.between,
            "reverse_kl_within": reverse.within,
            "ess_forward": scores.ess_forward(p, log_z),
            "ess_reverse": scores.ess_reverse(q),
            "spill": scores.spill(p, q),
            "emc": scores.entropic_coverage(q.masses),
            "emc_reference": scores.entropic_coverage(p.masses),
            "mode_jsd": scores.mass_jsd(p.masses, q.masses),
            "mode_tv": scores.mass_tv(p.masses, q.masses),
        }
        alarm = missed(p.masses, np.array(scores.verdicts(p.masses, q.masses)) == "missed")
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
            "khat": scores.khat(q),
            "khat_reference": scores.khat_reference(p),
            "kind": row.approximation.kind,
            "family": row.approximation.family,
            "note": " ".join(row.approximation.info.get("warnings", ())),
        }

    def _approximation_tree(self, row: Row, reference_log_prob: Array | None) -> xr.DataTree:
        assert row.approximation is not None and row.x is not None
        assert row.log_density is not None and row.mode is not None
        return tree.approximation_tree(
            row.approximation, row.x, row.log_density, row.log_prob, row.mode + 1, reference_log_prob
        )

    def _reference_tree(self, rng: np.random.Generator) -> xr.DataTree:
        """Lay out the draws; weighted ones are resampled to equal weight, as ArviZ expects them."""
        reference, label = (
            self.yardstick.reference,
            self.yardstick.label.reshape(self.yardstick.reference.log_density.shape),
        )
        if reference.weights is None:
            return tree.reference_tree(reference.target, reference.x, reference.log_density, label + 1)
        n = label.size - label.size % EQUAL_CHAINS
        rows = np.searchsorted(np.cumsum(reference.weights.ravel()), (np.arange(n) + rng.random()) / n)
        rows = rng.permutation(np.minimum(rows, label.size - 1)).reshape(EQUAL_CHAINS, -1)
        return tree.reference_tree(
            reference.target, reference.flat[rows], reference.log_density.ravel()[rows], label.ravel()[rows] + 1
        )


def _coverage_row(
    p: scores.PosteriorDraws, q: scores.ApproximationDraws, forward: scores.ChainRule, reverse: scores.ChainRule
) -> dict[str, Any]:
    ratio, ratio_se = scores.mass_ratio(p.masses, q.masses)
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
        "hdr_coverage": scores.hdr_coverage(p, q),
    }
    row: dict[str, Any] = {name: values[:-1] for name, values in arrays.items()}
    row["verdict"] = scores.verdicts(p.masses, q.masses)
    row["elsewhere"], row["elsewhere_se"] = q.masses.mass[-1], q.masses.se[-1]
    return row
