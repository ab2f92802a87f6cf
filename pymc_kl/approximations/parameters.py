"""Rules that the arrays of an approximation must keep, told by their names when it is made."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pymc_kl._typing import Array
from pymc_kl.arguments import real_array, shown

WEIGHTS_TOLERANCE = 1e-6  # largest error of the sum of weights; our choice


def checked_arrays(given: Mapping[str, Any], shapes: Mapping[str, str]) -> dict[str, Array]:
    """Return the arrays of an approximation by name; `shapes` has a letter for each dim, d for parameters.

    Raises
    ------
    TypeError, ValueError
        If one is no array of real, finite numbers of that shape, where one letter is one size; if scales or degrees of
        freedom are not positive, weights do not sum to 1, or a Cholesky factor is none.
    """
    sizes: dict[str, int] = {}
    arrays = {name: _checked(name, given[name], dims, sizes) for name, dims in shapes.items()}
    for name, array in arrays.items():
        if name in ("scale", "df", "dfs") and not (array > 0).all():
            raise ValueError(f"{name} must be positive; got {shown(array)}.")
        if name == "weights" and ((array < 0).any() or abs(array.sum() - 1) > WEIGHTS_TOLERANCE):
            raise ValueError(f"weights must be at least 0 and sum to 1; got {shown(array)}. Divide them by their sum.")
        if name.startswith("scale_tril") and not _is_factor(array):
            raise ValueError(
                f"{name} must be lower triangular, with a positive diagonal; got {shown(array)}. Of a covariance, give "
                "numpy.linalg.cholesky(covariance)."
            )
    return arrays


def _checked(name: str, value: Any, dims: str, sizes: dict[str, int]) -> Array:
    array = real_array(name, value)
    if array.ndim != len(dims) or any(sizes.setdefault(dim, n) != n for dim, n in zip(dims, array.shape, strict=True)):
        known = ", ".join(f"{dim} = {n}" for dim, n in sizes.items() if dim in dims)
        raise ValueError(f"{name} must have shape ({', '.join(dims)}){known and f' with {known}'}; got {array.shape}.")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite; got {shown(array)}.")
    return array


def _is_factor(tril: Array) -> bool:
    """Tell whether matrices (..., d, d) are lower triangular with a positive diagonal."""
    diagonal = np.diagonal(tril, axis1=-2, axis2=-1)
    return bool((diagonal > 0).all() and not np.triu(tril, 1).any())
