"""Read what the audit of a comparison says of the draws that the user gave, as plain numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from arviz_base.labels import BaseLabeller

from pymc_kl._typing import Array
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.plots.parts.scalars import Scalars
from pymc_kl.reports.parameters import largest_mean_error


@dataclass(frozen=True)
class Agreement:
    """The scalar whose chains agree least: R-hat, bulk ESS; of all, the largest relabelled R-hat and the least ESS."""

    label: str
    rhat: float
    ess: float
    rhat_relabelled: float
    least_ess: float = float("nan")


@dataclass(frozen=True)
class Audit:
    """What the user's draws missed, whether they tell the masses of the modes, and where they are not of the posterior.

    `refusals` say of each mode, by its number, why its draws are not used. `in_mode` and `in_copy` (of a mode) name
    the chains most of whose draws lie there; `moves` counts how often chains went from mode to mode. `shares` are those
    of the draws in each mode, where they tell its mass.
    """

    missed: tuple[int, ...]
    missed_mass: Estimate
    alarm: bool
    masses_known: bool
    reason: str
    mean: tuple[str, float, Estimate] | None
    refusals: Mapping[int, str] = field(default_factory=dict)
    worst: Agreement | None = None
    in_mode: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    in_copy: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    moves: int = 0
    n_diverging: int = 0
    shares: Mapping[int, Estimate] = field(default_factory=dict)


def read_audit(dt: xr.DataTree) -> Audit | None:
    """Read the audit; None without given draws."""
    if "audit" not in dt.children:
        return None
    ds = dt["audit"].to_dataset()
    modes, n_draws = ds["mode"].values, ds["n_draws"].transpose("chain", "mode").values
    chains = list(map(str, ds["chain"].values))
    return Audit(
        missed=tuple(int(k) for k in modes[ds["missed"].values.astype(bool)]),
        missed_mass=Estimate(float(ds["missed_mass"]), float(ds["missed_mass_se"])),
        alarm=float(ds["alarm"]) == 1,
        masses_known=bool(int(ds.attrs.get("masses_known", 1))),
        reason=str(ds.attrs.get("reason", "")),
        mean=largest_mean_error(dt["audit/means"].to_dataset()) if "means" in dt["audit"].children else None,
        refusals=_refusals(ds),
        worst=_worst(dt),
        in_mode=_grouped(chains, modes[n_draws.argmax(axis=1)] if n_draws.size else modes[:0]),
        in_copy=_grouped(chains, ds["copy"].values if "copy" in ds else modes[:0]),
        moves=int(np.nansum(ds["crossings"].values)),
        n_diverging=int(ds.attrs.get("n_diverging", 0)),
        shares=_shares(ds),
    )


def _refusals(ds: xr.Dataset) -> dict[int, str]:
    if "refusal" not in ds:
        return {}
    return {int(k): str(text) for k, text in zip(ds["mode"].values, ds["refusal"].values, strict=True) if str(text)}


def _shares(ds: xr.Dataset) -> dict[int, Estimate]:
    if "share" not in ds:
        return {}
    columns = (ds[name].values for name in ("mode", "share", "share_se"))
    return {int(k): Estimate(float(share), float(se)) for k, share, se in zip(*columns, strict=True) if share == share}


def _grouped(chains: list[str], places: Array) -> dict[int, tuple[str, ...]]:
    """Group chains by the number of the place that they are in, in the order of the chains; 0 is none."""
    groups: dict[int, tuple[str, ...]] = {}
    for chain, place in zip(chains, places, strict=False):
        if place > 0:
            groups[int(place)] = (*groups.get(int(place), ()), chain)
    return groups


def _worst(dt: xr.DataTree) -> Agreement | None:
    if "convergence" not in dt["audit"].children:
        return None
    table = dt["audit/convergence"].to_dataset()
    scalars = Scalars(table.isel(quantity=0, drop=True))
    names = ("rhat", "rhat_relabelled", "ess_bulk", "ess_tail")
    rhat, relabelled, ess, tail = (scalars.matrix(table.sel(quantity=[name]), ["quantity"])[0] for name in names)
    if not np.isfinite(rhat).any():
        return None
    j = int(np.nanargmax(rhat))
    label = scalars.labels(range(scalars.n), BaseLabeller())[j]
    return Agreement(label, float(rhat[j]), float(ess[j]), float(np.nanmax(relabelled)), float(np.nanmin([ess, tail])))
