"""The targets that were compiled of a model, kept with it until the model or its data change."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pymc as pm

from pymc_kl.model.graphs import data_read_by, one_at_a_time

ATTRIBUTE = "_pymc_kl_targets"  # of a model; what it holds lives as long as the model does


class KeptTargets(dict[str, tuple[Any, Any]]):
    """By backend: the fingerprint of the model as it was compiled, and the target. A copy of the model has none."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Pickle as an empty dict, so that what reads the model needs neither what was compiled nor this package."""
        return dict, ()


@one_at_a_time
def kept_target[T](model: pm.Model, backend: str, compiled: Callable[..., T]) -> T:
    """Return the target that was compiled of the model as it is now; compile it first if there is none."""
    kept = vars(model).get(ATTRIBUTE)
    if not isinstance(kept, KeptTargets):
        kept = vars(model)[ATTRIBUTE] = KeptTargets()
    as_it_is = _fingerprint(model)
    if backend not in kept or kept[backend][0] != as_it_is:
        kept[backend] = as_it_is, compiled(model, backend=backend)
    return kept[backend][1]


def _fingerprint(model: pm.Model) -> tuple[object, ...]:
    """Tell what the density and the names of a model are made of: its variables, their transforms, data and labels."""
    values = [model.rvs_to_values[rv] for rv in model.observed_RVs]
    variables = [*model.value_vars, *model.basic_RVs, *model.potentials, *model.deterministics]
    transforms = [model.rvs_to_transforms[rv] for rv in model.free_RVs]
    data = sorted(_digest(array) for _, array in data_read_by([*model.basic_RVs, *model.potentials, *values]))
    return (
        tuple(map(id, (*variables, *values, *transforms))),
        tuple(data),
        repr(model.coords),
        repr(model.named_vars_to_dims),
        repr(sorted(model.rvs_to_initial_values.items(), key=lambda item: item[0].name)),
    )


def _digest(array: np.ndarray[Any, Any]) -> str:
    content = repr(array.tolist()).encode() if array.dtype.hasobject else np.ascontiguousarray(array).data
    return hashlib.blake2b(content, digest_size=16).hexdigest() + str((array.shape, array.dtype))
