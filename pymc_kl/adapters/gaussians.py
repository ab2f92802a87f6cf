"""Parameters of a Gaussian in another package's order → the same Gaussian in the order of the target."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.model.graphs import Variables
from pymc_kl.model.target import Target


def as_cholesky(rows: Array) -> Array:
    """Turn any factor (d, k) of a covariance, k at least d, into its Cholesky factor (d, d)."""
    factor = np.linalg.qr(rows.T, mode="r").T
    return np.asarray(factor * np.sign(np.diag(factor)))


def positions(labels: Sequence[str], target: Target) -> IntArray:
    """Find where each coordinate of the target stands among labels such as `mu[a]` of another order."""
    found = {v.value_name: _labelled(labels, v.value_name) for v in target.variables}
    sizes = {v.value_name: size_of(v) for v in target.variables}
    place = np.concatenate([*found.values()])
    unknown = {label.partition("[")[0] for i, label in enumerate(labels) if i not in set(place.tolist())}
    check_same_model({name: len(index) for name, index in found.items()} | dict.fromkeys(unknown, 0), sizes)
    return place


def size_of(variable: Variables) -> int:
    """Count the unconstrained coordinates of a variable."""
    return variable.coordinates.stop - variable.coordinates.start


def check_same_model(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    """Raise where a fit has not the variables of the model, or others in size; say which."""
    differing = [name for name in {**mine, **theirs} if name not in mine or theirs.get(name) != mine[name]]
    if differing:
        raise ValueError(
            "the fit belongs to another model: "
            + "; ".join(
                f"{name!r} is unknown here"
                if name not in mine
                else f"{name!r} has {theirs.get(name, 0)} coordinates there and {mine[name]} here"
                for name in differing
            )
            + ". Fit it to this model."
        )


def _labelled(labels: Sequence[str], name: str) -> IntArray:
    return np.array([i for i, label in enumerate(labels) if label == name or label.startswith(f"{name}[")], dtype=int)
