"""Parameters of a Gaussian in another package's order → the same Gaussian in the order of the target."""

from collections.abc import Collection, Mapping, Sequence
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
    sizes = {v.value_name: size_of(v) for v in target.variables}
    names = [_named(label, sizes) for label in labels]
    found = {name: np.array([i for i, own in enumerate(names) if own == name], dtype=int) for name in sizes}
    unknown = {label.partition("[")[0] for label, name in zip(labels, names, strict=True) if name is None}
    check_same_model({name: len(index) for name, index in found.items()} | dict.fromkeys(unknown, 0), sizes)
    return np.concatenate([*found.values()])


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


def _named(label: str, names: Collection[str]) -> str | None:
    """Find the variable that a label such as `mu[a]` is of; where `mu[a]` is one itself, it is that."""
    fitting = (name for name in names if label == name or label.startswith(f"{name}["))
    return max(fitting, key=len, default=None)
