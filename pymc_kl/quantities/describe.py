"""Quantities of interest × sources of draws → estimates with errors, and whether each changes the conclusion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from pymc_kl._typing import Array, BoolArray
from pymc_kl.model.target import Target
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.numerics.intervals import EXACT, binomial_interval
from pymc_kl.quantities.asked import SAME_VALUE, Quantity
from pymc_kl.quantities.judge import changes_of_interval, changes_of_mean, either, zero_is
from pymc_kl.scores.marginals import Source, mean_se, moments

type Kind = Literal["reference", "given", "approximation", "mode"]

MOMENTS = ("mean", "mean_se", "sd", "sd_se", "lower", "lower_se", "upper", "upper_se")
SHARES = ("positive", "positive_se", "positive_lower", "positive_upper", "below", "below_se", "above", "above_se")
NUMBERS = (*MOMENTS, *SHARES, "off", "off_se")
TRIED_IMAGES = 100  # draws of whose images a quantity is computed; bounds time; our choice
CONSTANT_WITHIN = 1e-12  # of a mean: a standard deviation up to which values are a constant; our choice
ANSWERS = ("zero", "changes_interval", "changes_mean", "changes")


@dataclass(frozen=True, eq=False)
class Told:
    """Draws that say something of each quantity, and what they are draws of."""

    kind: Kind
    source: Source


def describe_quantities(
    target: Target, quantities: Sequence[Quantity], told: Mapping[str, Told], images: tuple[Array, Array]
) -> xr.Dataset:
    """Tabulate quantities under the posterior and whatever else there are draws of.

    Parameters
    ----------
    target : Target
    quantities : sequence of Quantity
    told : mapping of str to Told
        The first is the reference. Draws are canonical: brought to the first copy of their mode.
    images : pair of arrays (n, d)
        Draws of the reference as they lie, and the same brought there.

    Returns
    -------
    Dataset
        Over (quantity, source), in each quantity's own unit: `mean`, `sd`, the ends `lower` and `upper` of the central
        90 % interval; the probabilities `positive`, of a value above 0, with the ends of its 95 % interval, and `below`
        and `above`, of a value beyond the ends of the reference's interval; `off`, the mean less the reference's in
        standard deviations of the reference; each with its standard error `<name>_se`. In words: `zero`, where it lies
        of the 90 % interval; `changes_interval`, `changes_mean` and, of both, `changes`: whether the conclusion is
        another than the reference's; `error`, why there are no numbers. `kind` is that of each source, and
        `depends_on_copy` of each quantity, 1 where it differs between the copies of a mode.
    """
    labels = [label for quantity in quantities for label in quantity.labels]
    dims = ("quantity", "source")
    rows: list[dict[str, Array]] = []
    for each in told.values():
        rows.append(_row(target, quantities, each.source.thinned(), rows[0] if rows else None))
    ds = xr.Dataset({name: (dims, np.stack([row[name] for row in rows], axis=1)) for name in (*NUMBERS, "error")})
    ds["depends_on_copy"] = ("quantity", _depend_on_copy(target, quantities, images))
    kinds = np.array([each.kind for each in told.values()], dtype=object)
    ds = ds.assign_coords(quantity=labels, source=list(told), kind=("source", kinds))
    return ds.assign({name: (dims, text) for name, text in _answers(ds).items()})


def _row(
    target: Target, quantities: Sequence[Quantity], source: Source, reference: dict[str, Array] | None
) -> dict[str, Array]:
    """Estimate every quantity (Q,) under one source; those that fail there are NaN, with the `error`."""
    posterior, parts, start = target.to_dataset(source.x[None]), [], 0
    for quantity in quantities:
        n, error = len(quantity.labels), ""
        here = None if reference is None else {name: reference[name][start : start + n] for name in NUMBERS}
        try:
            with np.errstate(all="ignore"):
                part = _estimates(quantity.values(posterior), source, here)
        except Exception as failed:  # noqa: BLE001 whatever a user's function fails of, other rows must be there
            part, error = {name: np.full(n, np.nan) for name in NUMBERS}, f"{type(failed).__name__}: {failed}"
        parts.append(part | {"error": np.full(n, error, dtype=object)})
        start += n
    return {name: np.concatenate([part[name] for part in parts]) for name in (*NUMBERS, "error")}


def _estimates(values: Array, source: Source, reference: dict[str, Array] | None) -> dict[str, Array]:
    """Estimate everything of values (n, Q) of one source; without a reference it is the reference."""
    found = moments(values, source)
    p = found if reference is None else reference
    found["positive"], found["positive_se"] = _share(values > 0, source)
    found["positive_lower"], found["positive_upper"] = _interval(found["positive"], found["positive_se"], source)
    found["below"], found["below_se"] = _share(values < p["lower"], source)
    found["above"], found["above_se"] = _share(values > p["upper"], source)
    found["off"], error = _off(found, p)
    found["off_se"] = np.zeros_like(error) if reference is None else error
    return found


def _off(found: dict[str, Array], reference: dict[str, Array]) -> tuple[Array, Array]:
    """How far means (Q,) are from the reference's, in its standard deviations, and the errors; of a constant, 0.

    That an event was seen in no draw, or in all, is no constant: how far off it is is not known.
    """
    rounding = CONSTANT_WITHIN * np.maximum(np.abs(found["mean"]), np.abs(reference["mean"]))
    distance, sd = found["mean"] - reference["mean"], reference["sd"]
    constant = (sd <= rounding) & (found["sd"] <= rounding) & ~np.isin(reference["mean"], (0.0, 1.0))
    same = constant & (np.abs(distance) <= rounding)
    error = np.hypot(found["mean_se"], reference["mean_se"])
    return np.where(same, 0.0, distance / sd), np.where(same, 0.0, error / sd)


def _share(inside: BoolArray, source: Source) -> tuple[Array, Array]:
    """Estimate the probability of an event, by which draws (n, Q) are in it, with its standard error."""
    share = np.clip(source.weights @ inside.astype(float), 0, 1)
    share = np.where(inside.all(axis=0), 1.0, np.where(inside.any(axis=0), share, 0.0))
    return share, mean_se(inside.astype(float), source)


def _interval(share: Array, se: Array, source: Source) -> tuple[Array, Array]:
    """Return the ends of a 95 % interval of a probability, as of the count that has its error.

    Where all draws or none are in the event, of as many draws as the weights are worth.
    """
    worth = 1 / (source.weights**2).sum()
    n = np.where((se > EXACT) & (share > 0) & (share < 1), share * (1 - share) / np.maximum(se, EXACT) ** 2, worth)
    return binomial_interval(share, n)


def _answers(ds: xr.Dataset) -> dict[str, Array]:
    """Judge each source (Q, S) against the first."""
    numbers = {name: ds[name].values for name in ("positive_lower", "positive_upper", "off", "off_se")}
    failed = ds["error"].values != ""
    answers = {name: np.full(failed.shape, "", dtype=object) for name in ANSWERS}

    def interval(i: int, j: int) -> tuple[float, float]:
        return float(numbers["positive_lower"][i, j]), float(numbers["positive_upper"][i, j])

    for i, j in zip(*np.nonzero(~failed), strict=True):
        answers["zero"][i, j] = zero_is(*interval(i, j))
        if j and not failed[i, 0]:
            of_interval = changes_of_interval(interval(i, 0), interval(i, j))
            of_mean = changes_of_mean(Estimate(float(numbers["off"][i, j]), float(numbers["off_se"][i, j])))
            answers["changes_interval"][i, j], answers["changes_mean"][i, j] = of_interval, of_mean
            answers["changes"][i, j] = either(of_interval, of_mean)
    return answers


def _depend_on_copy(target: Target, quantities: Sequence[Quantity], images: tuple[Array, Array]) -> Array:
    """Tell of each quantity (Q,), 1 or 0, if it is another at draws as they lie than at their images; NaN if it fails.

    It is then no quantity of the posterior, in which the copies of a mode are alike, until a copy is chosen.
    """
    moved = np.flatnonzero((images[0] != images[1]).any(axis=1))[:TRIED_IMAGES]
    if not len(moved):
        return np.zeros(sum(len(quantity.labels) for quantity in quantities))
    spaces = [target.to_dataset(x[moved][None]) for x in images]
    found = []
    for quantity in quantities:
        try:
            with np.errstate(all="ignore"):
                lie, canonical = (quantity.values(space) for space in spaces)
            size = np.abs(canonical).max(axis=0)
            found.append((np.abs(lie - canonical) > SAME_VALUE * size).any(axis=0).astype(float))
        except Exception:  # noqa: BLE001 its error is told in the row of the reference
            found.append(np.full(len(quantity.labels), np.nan))
    return np.concatenate(found)
