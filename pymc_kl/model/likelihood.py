"""A model's pointwise log likelihood at draws in its own space, many draws at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from arviz_base import xarray_sel_iter
from arviz_base.labels import BaseLabeller
from pymc.backends.arviz import coords_and_dims_for_inferencedata

from pymc_kl._typing import Array
from pymc_kl.arguments import did_you_mean, quoted
from pymc_kl.model.graphs import Variables, compile_log_likelihood
from pymc_kl.model.named_draws import read_values
from pymc_kl.model.table_names import distinct, plain_labels

MOST_AT_ONCE = 2**22  # numbers, 32 MB of them, that one call of the graph returns at the most; our choice


@dataclass(frozen=True, eq=False)
class LogLikelihood:
    """The log likelihood of each observation of a model.

    Attributes
    ----------
    names : tuple of str
        The observed variables, one after another.
    variables : tuple of Variables
        The free variables that it is computed from.
    """

    names: tuple[str, ...]
    variables: tuple[Variables, ...]
    _coords: Mapping[str, Any]
    _dims: Mapping[str, Sequence[str]]
    _function: Callable[..., list[Array]]

    @classmethod
    def of_model(cls, model: pm.Model, var_name: str | None = None) -> "LogLikelihood":
        """Compile the log likelihood of all observed variables, or of one.

        Raises
        ------
        ValueError
            If the model has none, or none of that name.
        """
        names = observed_names(model, var_name)
        variables, function = compile_log_likelihood(model, names)
        coords, dims = coords_and_dims_for_inferencedata(model)
        return cls(names, variables, plain_labels(coords), dims, function)

    def __call__(self, draws: xr.Dataset) -> xr.DataArray:
        """Compute the log likelihood (sample, observation) in nats at draws (chain, draw, ...), chain by chain.

        Observations are named as ArviZ names elements, such as `y[0]`.

        Raises
        ------
        ValueError
            If the draws lack a free variable, or hold one of another shape.
        """
        values = [read_values([draws], v, self._coords) for v in self.variables]
        flat = [each.reshape(-1, *each.shape[2:]) for each in values]
        parts = self._evaluate([each[:1] for each in flat])
        step = max(MOST_AT_ONCE // max(sum(part.size for part in parts), 1), 1)
        batches = [self._evaluate([each[i : i + step] for each in flat]) for i in range(0, len(flat[0]), step)]
        table = np.concatenate([np.concatenate([_rows(part) for part in batch], axis=1) for batch in batches])
        labels = self._labels([part.shape[1:] for part in parts])
        return xr.DataArray(table, {"observation": labels}, ["sample", "observation"])

    def _evaluate(self, values: Sequence[Array]) -> list[Array]:
        with np.errstate(all="ignore"):
            return [np.asarray(part, dtype=float) for part in self._function(*values)]

    def _labels(self, shapes: Sequence[tuple[int, ...]]) -> list[str]:
        labels = []
        for name, shape in zip(self.names, shapes, strict=True):
            known = list(self._dims.get(name) or ())
            dims = known if len(known) == len(shape) else [f"{name}_dim_{i}" for i in range(len(shape))]
            coords = {dim: list(self._coords[dim]) for dim in dims if dim in self._coords}
            one = xr.Dataset({name: (dims, np.zeros(shape))}, coords)
            labels += [str(BaseLabeller().make_label_flat(*at)) for at in xarray_sel_iter(one, skip_dims=set())]
        return distinct(labels)


def _rows(part: Array) -> Array:
    return part.reshape(len(part), -1)


def observed_names(model: pm.Model, var_name: str | None) -> tuple[str, ...]:
    """Name all observed variables of a model, or the one asked for; raise if there are none, or none of that name."""
    known = tuple(str(rv.name) for rv in model.observed_RVs)
    if not known:
        raise ValueError(
            "the model has no observed variables, so nothing to predict: a potential is no likelihood of single "
            "observations."
        )
    if var_name is not None and var_name not in known:
        raise ValueError(
            f"unknown observed variable {var_name!r} in var_name; known are {quoted(known)}."
            f"{did_you_mean(var_name, known)}"
        )
    return known if var_name is None else (var_name,)
