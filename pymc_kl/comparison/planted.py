"""Modes planted into the density of a comparison: its group `/planted`."""

import numpy as np
import xarray as xr

from pymc_kl.comparison.reference import Reference
from pymc_kl.modes.planted import SECONDS, Planting, plant_modes
from pymc_kl.modes.planting import Search
from pymc_kl.numerics.random_streams import RandomStreams
from pymc_kl.progress import Report


def planted_group(
    reference: Reference, search: Search, seconds: bool | float, rng: np.random.Generator, report: Report
) -> xr.DataTree:
    """Plant modes for some seconds, or as long as is usual; where none can be, `summary` says why."""
    log_z = reference.log_evidence.value
    known = log_z if np.isfinite(log_z) else None
    streams, planting = RandomStreams.of(rng), Planting(seconds=SECONDS if seconds is True else seconds)
    try:
        table = plant_modes(reference.target, reference.modes, search, planting, known, streams=streams, report=report)
    except ValueError as error:
        table = xr.Dataset(attrs={"summary": f"No modes were planted to test the search: {error}", "partial": 0})
    return xr.DataTree(table)
