"""Read a comparison as the plain numbers that sentences are made from, every one with its standard error.

Nothing is judged here. Masses are probabilities, divergences are in nats; NaN is a number that is not known.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from pymc_kl.comparison.datatree import ESTIMATES, fit_groups
from pymc_kl.comparison.io import check_comparison
from pymc_kl.comparison.ranking import ranked
from pymc_kl.numerics.estimate import UNKNOWN, Estimate
from pymc_kl.reports.correlation import MissedCorrelation, missed_correlation
from pymc_kl.reports.given import Audit, read_audit
from pymc_kl.reports.parameters import LargestError, parameter_errors, parameters_of
from pymc_kl.scores.shape import shape_verdicts

LEAST_COUNTED_MASS = 0.01  # mass: a mode whose upper bound is below it is left out of all sentences; our choice


@dataclass(frozen=True)
class Mode:
    """One mode, all its copies together, as its row of `/modes` has it."""

    number: int
    mass: Estimate
    upper: float
    copies: float
    overlap: float
    reason: str
    lower: float = float("nan")

    @property
    def matters(self) -> bool:
        """Whether it may hold a hundredth of the posterior; a mode of unknown mass may."""
        return not self.upper <= LEAST_COUNTED_MASS


@dataclass(frozen=True)
class ModeCoverage:
    """How an approximation covers a mode, as its row of `/coverage` has it."""

    mode: Mode
    verdict: str
    mass: Estimate
    upper: float
    reverse_within: Estimate
    copies_reached: float
    shape: str = ""
    width: Estimate = UNKNOWN
    width_of: str = ""
    forward_within: Estimate = UNKNOWN
    lower: float = float("nan")


@dataclass(frozen=True, eq=False)
class FitFacts:
    """One approximation, as its row of `/scores` has it, and how it covers each mode."""

    name: str
    kind: str
    family: str
    error: str
    note: str
    n_components: int
    scores: dict[str, Estimate]
    khat: float
    converged: str
    bounds: tuple[bool, bool]
    coverage: tuple[ModeCoverage, ...]
    elsewhere: Estimate
    mean_error: LargestError | None
    sd_error: LargestError | None
    tail_error: LargestError | None
    sd_ratios: Mapping[str, Estimate]
    khat_se: float = float("nan")
    misses: MissedCorrelation | None = None

    @property
    def scored(self) -> bool:
        """Whether it was scored."""
        return any(cover.verdict for cover in self.coverage)

    @property
    def is_polished(self) -> bool:
        """Whether it is the polished companion of a fit that had not converged."""
        return self.name.endswith(" (polished)")

    def whole(self, direction: str) -> Estimate:
        """Return a divergence in nats; up to relabelling where the posterior has symmetries."""
        relabelled = self.scores[f"{direction}_kl_relabelled"]
        return self.scores[f"{direction}_kl"] if np.isnan(relabelled.value) else relabelled

    def that_matter(self, *verdicts: str) -> tuple[ModeCoverage, ...]:
        """Return how it covers the modes that matter, where the verdict is one of these or any."""
        return tuple(c for c in self.coverage if c.mode.matters and (not verdicts or c.verdict in verdicts))


@dataclass(frozen=True, eq=False)
class Facts:
    """Everything that the first page of a report is made from; `fits` from the recommended one down.

    `asked` are the variables that the errors of parameters are of, where that is not all.
    """

    modes: tuple[Mode, ...]
    fits: tuple[FitFacts, ...]
    audit: Audit | None
    symmetries: tuple[str, ...]
    masses_known: bool
    masses_reason: str
    completed: bool
    proper: bool
    partial: bool
    interrupted: str
    unseen: Estimate
    log_evidence: Estimate
    evidence_reason: str
    asked: tuple[str, ...] = ()

    @cached_property
    def that_matter(self) -> tuple[Mode, ...]:
        """Return the modes that may hold a hundredth of the posterior."""
        return tuple(mode for mode in self.modes if mode.matters)

    @cached_property
    def small(self) -> tuple[int, ...]:
        """Return the numbers of the modes below a hundredth of the posterior and of every fit, if there are several.

        Tables have one row for all of them.
        """
        held = {c.mode.number for fit in self.fits for c in fit.coverage if c.mass.value > LEAST_COUNTED_MASS}
        small = tuple(mode.number for mode in self.modes if not mode.matters and mode.number not in held)
        return small if 1 < len(small) < len(self.modes) else ()

    @property
    def n_copies(self) -> float:
        """Count the modes with all their copies."""
        return float(sum(mode.copies for mode in self.modes))

    def held(self, numbers: Collection[int]) -> Estimate:
        """Return the mass of some modes together, with the smaller of its error and that of the others.

        All masses sum to 1, so both errors hold.
        """
        inside, rest = ([m.mass for m in self.modes if (m.number in numbers) is side] for side in (True, False))
        error = min(float(np.linalg.norm([mass.se for mass in part])) for part in (inside, rest))
        return Estimate(float(sum(mass.value for mass in inside)), error)

    def polished(self, fit: FitFacts) -> FitFacts | None:
        """Return the polished companion of a fit, if there is one."""
        return next((other for other in self.fits if other.name == f"{fit.name} (polished)"), None)


def read_facts(comparison: xr.DataTree, variables: Mapping[str, Any] | None = None) -> Facts:
    """Read a comparison.

    Parameters
    ----------
    comparison : DataTree
        What :func:`pymc_kl.compare` returned, or `load` read.
    variables : mapping, optional
        `var_names`, `filter_vars` and `coords` that choose the parameters whose errors count; all free ones if none
        is given.

    Returns
    -------
    Facts
    """
    dt = ranked(check_comparison(comparison))
    chosen = {name: value for name, value in (variables or {}).items() if value is not None}
    attrs, evidence = dt["modes"].attrs, dt["evidence"]
    modes = _modes(dt["modes"].to_dataset())
    settings, interrupted = json.loads(dt.attrs.get("settings", "{}")), str(dt.attrs.get("interrupted", ""))
    return Facts(
        modes=modes,
        fits=tuple(_fit(dt, str(name), modes, chosen) for name in dt["scores"].to_dataset()["approximation"].values),
        audit=read_audit(dt),
        symmetries=tuple(json.loads(attrs.get("symmetries", "[]"))),
        masses_known=bool(int(attrs.get("masses_known", 1))),
        masses_reason=str(attrs.get("reason", "")),
        completed=settings.get("reference", "complete") == "complete",
        proper=bool(int(attrs.get("proper", 1))),
        partial=bool(int(attrs.get("partial", 0)) or (int(dt.attrs.get("partial", 0)) and not interrupted)),
        interrupted=interrupted,
        unseen=Estimate(float(attrs.get("unseen", np.nan)), float(attrs.get("unseen_se", np.nan))),
        log_evidence=_estimate(evidence.to_dataset(), "log_evidence"),
        evidence_reason=str(evidence.attrs.get("reason", "")),
        asked=tuple(map(str, parameters_of(dt, chosen).data_vars)) if chosen else (),
    )


def _estimate(ds: xr.Dataset, name: str) -> Estimate:
    if name not in ds:
        return UNKNOWN
    return Estimate(float(ds[name]), float(ds[f"{name}_se"]) if f"{name}_se" in ds else float("nan"))


def _modes(ds: xr.Dataset) -> tuple[Mode, ...]:
    rows = (ds.sel(mode=number) for number in ds["mode"].values)
    return tuple(
        Mode(
            number=int(row["mode"]),
            mass=_estimate(row, "mass"),
            upper=float(row["mass_upper"]),
            copies=float(row["copies"]) if "copies" in row else 1.0,
            overlap=float(row["overlap"]) if "overlap" in row else float("nan"),
            reason=str(row["reason"].item()) if "reason" in row else "",
            lower=_number(row, "mass_lower"),
        )
        for row in rows
    )


def _fit(dt: xr.DataTree, name: str, modes: tuple[Mode, ...], chosen: Mapping[str, Any]) -> FitFacts:
    row = dt["scores"].to_dataset().sel(approximation=name)
    coverage = dt["coverage"].to_dataset().sel(approximation=name)
    errors = parameter_errors(dt, name, chosen)
    return FitFacts(
        name=name,
        kind=_text(row, "kind"),
        family=_text(row, "family"),
        error=_text(row, "error"),
        note=_text(row, "note"),
        n_components=_n_components(dt, name),
        scores={score: _estimate(row, score) for score in ESTIMATES},
        khat=_number(row, "khat"),
        converged=_text(row, "converged"),
        bounds=(_number(row, "forward_kl_is_bound") == 1, _number(row, "reverse_kl_is_bound") == 1),
        coverage=tuple(_mode_coverage(coverage.sel(mode=mode.number), mode) for mode in modes),
        elsewhere=_estimate(coverage, "elsewhere"),
        mean_error=errors.mean,
        sd_error=errors.sd,
        tail_error=errors.tail,
        sd_ratios=(parameter_errors(dt, name) if chosen else errors).sd_ratios,
        khat_se=_number(row, "khat_se"),
        misses=missed_correlation(dt, name),
    )


def _n_components(dt: xr.DataTree, name: str) -> int:
    """Return the number of components of a mixture, 0 for any other approximation."""
    group = fit_groups(dt).get(name, xr.DataTree())
    info = json.loads(group["fit"].attrs.get("info", "{}")) if "fit" in group.children else {}
    return int(info.get("n_components", 0))


def _text(row: xr.Dataset, name: str) -> str:
    return str(row[name].item()) if name in row else ""


def _number(row: xr.Dataset, name: str) -> float:
    return float(row[name]) if name in row else float("nan")


def _mode_coverage(row: xr.Dataset, mode: Mode) -> ModeCoverage:
    return ModeCoverage(
        mode=mode,
        verdict=_text(row, "verdict"),
        mass=_estimate(row, "mass"),
        upper=_number(row, "mass_upper"),
        reverse_within=_estimate(row, "reverse_kl_within"),
        copies_reached=_number(row, "copies_reached"),
        shape=_shape(row, mode),
        width=_estimate(row, "width"),
        width_of=_text(row, "width_of"),
        forward_within=_estimate(row, "forward_kl_within"),
        lower=_number(row, "mass_lower"),
    )


def _shape(row: xr.Dataset, mode: Mode) -> str:
    """Return how a fit fits within a mode; files from before that was stored tell it of modes without copies."""
    if "shape" in row or mode.copies != 1:
        return _text(row, "shape")
    kl = _estimate(row, "forward_kl_within")
    return shape_verdicts(np.array([kl.value]), np.array([kl.se]), [UNKNOWN])[0]
