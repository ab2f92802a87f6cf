"""What was asked for as quantities of interest → functions of draws in the model's own space, tried before any work.

Shapes: n draws, Q scalars, which are the elements of all that a quantity returns.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import xarray as xr
from arviz_base import xarray_sel_iter
from arviz_base.labels import BaseLabeller

from pymc_kl._typing import Array
from pymc_kl.arguments import choices, quoted, shown
from pymc_kl.model.draws import PosteriorDraws
from pymc_kl.model.table_names import distinct
from pymc_kl.model.target import Target

CHECKED_DRAWS = 100  # given draws, evenly spaced, on which quantities are tried; bounds time; our choice
SAME_VALUE = 1e-6  # relative difference up to which a value is the same; our choice
FUNCTION = "a function"  # what is stored as the name of one that has none
TRIED_STARTS = 4  # draws of the prior on which they are tried where no draws are given; our choice

type Function = Callable[[xr.Dataset], Any]
type Asked = str | Sequence[str] | Function | Mapping[str, str | Function]


@dataclass(frozen=True, eq=False)
class Quantity:
    """A variable, or a function of the posterior's Dataset (chain, draw, ...) with the names of its elements.

    A function of a mapping has a `name`, that of its DataArray; the one function that is given alone names its results.
    """

    name: str
    compute: Function
    labels: tuple[str, ...] = ()

    def values(self, posterior: xr.Dataset) -> Array:
        """Compute the quantity on draws of one chain; returns (n, Q), finite.

        Raises
        ------
        ValueError
            If it has other elements than before, or values that are not finite.
        """
        labels, values = self.labelled(posterior)
        if tuple(labels) != self.labels:
            raise ValueError(f"it gave {quoted(labels[:3])} in place of {quoted(self.labels[:3])}.")
        if n_bad := int((~np.isfinite(values).all(axis=1)).sum()):
            raise ValueError(f"its values at {n_bad} of {len(values)} draws are not finite.")
        return values

    def labelled(self, posterior: xr.Dataset) -> tuple[list[str], Array]:
        """Compute the quantity; returns the names of its elements and their values (n, Q)."""
        ds = self._as_dataset(self.compute(posterior.copy()))  # a function may add to what it is given
        labels, columns = [], []
        for name, values in ds.data_vars.items():
            if any(values.sizes.get(dim) != posterior.sizes[dim] for dim in ("chain", "draw")):
                raise ValueError(
                    f"{name!r} must have the dims chain and draw of the draws it is computed from, "
                    f"{dict(posterior.sizes)}; it has {dict(values.sizes)}. Compute it draw by draw, without "
                    "averaging over them."
                )
            if values.dtype.kind not in "biuf":
                raise TypeError(f"{name!r} must hold real numbers; got dtype {values.dtype}.")
            columns.append(values.transpose("chain", "draw", ...).values.astype(float).reshape(_n(posterior), -1))
        for name, at, index in xarray_sel_iter(ds, skip_dims={"chain", "draw"}):
            labels.append(str(BaseLabeller().make_label_flat(str(name), at, index)))
        return distinct(labels), np.concatenate(columns, axis=1) if columns else np.empty((_n(posterior), 0))

    def _as_dataset(self, result: Any) -> xr.Dataset:
        if isinstance(result, xr.DataArray):
            return result.drop_vars(["chain", "draw"], errors="ignore").to_dataset(
                name=self.name or result.name or "quantity"
            )
        if (
            not self.name
            and isinstance(result, xr.Dataset | Mapping)
            and all(isinstance(each, xr.DataArray) for each in result.values())
        ):
            return xr.Dataset({str(name): each for name, each in result.items()})
        kinds = "a DataArray" if self.name else "a DataArray, a Dataset or a dict of DataArrays"
        raise TypeError(f"it must return {kinds}, draw by draw; got {shown(result)}.")


def _n(posterior: xr.Dataset) -> int:
    return int(posterior.sizes["chain"] * posterior.sizes["draw"])


def check_asked(name: str, value: Any) -> None:
    """Allow names of variables, a function, and a mapping from names to either."""
    if isinstance(value, str) or callable(value):
        return
    entries = value.values() if isinstance(value, Mapping) and not isinstance(value, xr.Dataset) else None
    if entries is not None and all(isinstance(key, str) and key for key in value):
        if value and all(isinstance(each, str) or callable(each) for each in entries):
            return
    elif isinstance(value, list | tuple) and value and all(isinstance(each, str) for each in value):
        return
    raise TypeError(
        f"{name} must be names of variables, such as ['effect', 'mu'], a function of the posterior Dataset, or a dict "
        f"of such functions by name; got {shown(value)}."
    )


def asked_quantities(asked: Asked | None, target: Target, given: PosteriorDraws | None) -> tuple[Quantity, ...]:
    """Read what was asked for, and try it on given draws, or on some of the prior, whose values need not be finite.

    Raises
    ------
    ValueError
        If a name comes twice, or a function raises or returns anything but numbers draw by draw.
    """
    if asked is None:
        return ()
    if given is None:
        points = target.initial_points(TRIED_STARTS, np.random.default_rng(0))
    else:
        points = given.flat[np.unique(np.linspace(0, len(given.flat) - 1, CHECKED_DRAWS).astype(int))]
    posterior = target.to_dataset(points[None])
    tried = [_tried(quantity, posterior, finite=given is not None) for quantity in _read(asked)]
    _check_once([label for quantity in tried for label in quantity.labels])
    return tuple(tried)


def _check_once(labels: Sequence[str]) -> None:
    if twice := [label for label in dict.fromkeys(labels) if labels.count(label) > 1]:
        raise ValueError(f"each of quantities may be asked for once; {quoted(twice)} came more than once.")


def check_known(asked: Asked | None, known: Sequence[str]) -> None:
    """Raise if a variable that was asked for by its name is none of those known."""
    names = [each for _, each in _pairs(() if asked is None else asked) if isinstance(each, str)]
    choices(*known, what="variable")("quantities", names)
    _check_once([name for name, _ in _pairs(() if asked is None else asked)])


def _read(asked: Asked) -> list[Quantity]:
    return [Quantity(name, itemgetter(each) if isinstance(each, str) else each) for name, each in _pairs(asked)]


def _pairs(asked: Asked) -> list[tuple[str, str | Function]]:
    """Pair each name with what was asked for by it; a function alone has none."""
    if isinstance(asked, Mapping):
        return [*asked.items()]
    if callable(asked):
        return [("", asked)]
    return [(name, name) for name in ([asked] if isinstance(asked, str) else asked)]


def _check_draw_by_draw(quantity: Quantity, posterior: xr.Dataset) -> None:
    """Raise if a quantity has other values on half of the draws than the same draws have among all."""
    half = posterior.sizes["draw"] // 2
    whole, part = (quantity.labelled(draws)[1] for draws in (posterior, posterior.isel(draw=slice(half))))
    if part.shape != whole[:half].shape or not np.allclose(part, whole[:half], rtol=SAME_VALUE, equal_nan=True):
        raise ValueError(
            "its value at a draw depends on the other draws. Compute it draw by draw: without means, standard "
            "deviations or random numbers over them."
        )


def _tried(quantity: Quantity, posterior: xr.Dataset, *, finite: bool) -> Quantity:
    """Name the elements of a quantity; raise if it can't be computed on these draws."""
    which = f"the quantity {quantity.name!r}" if quantity.name else "the function given as quantities"
    try:
        with np.errstate(all="ignore"):
            tried = Quantity(quantity.name, quantity.compute, tuple(quantity.labelled(posterior)[0]))
            if finite:
                tried.values(posterior)
            _check_draw_by_draw(tried, posterior)
    except Exception as error:
        raise ValueError(
            f"{which} can't be computed on draws of this model: {type(error).__name__}: {error}"
        ) from error
    if not tried.labels:
        raise ValueError(f"{which} returned nothing.")
    return tried
