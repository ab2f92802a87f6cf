"""`fit_laplace` of pymc-extras: a Gaussian at the maximum, in the coordinate order of a frozen model.

What it maximises has no Jacobian terms: for transformed variables its centre is the mode of the model's own space,
and its curvature is not that of the density on the unconstrained space.
"""

from typing import Any

import numpy as np
import xarray as xr

from pymc_kl._typing import Array
from pymc_kl.adapters.gaussians import positions
from pymc_kl.adapters.origins import holds
from pymc_kl.approximations import Approximation, FitInfo, FullRank
from pymc_kl.model.target import Target

NO_JACOBIAN = (
    "pymc-extras' Laplace approximation leaves out the Jacobian of the transforms: it is not the quadratic "
    "approximation of the unconstrained density."
)


def accepts(fit: Any) -> bool:
    """Whether `fit` holds the mean vector that `fit_laplace` and `find_MAP` write."""
    return holds(fit, "fit", "mean_vector")


def convert(fit: xr.DataTree, target: Target) -> Approximation:
    """Read mean and covariance by label."""
    group = fit["fit"].to_dataset()
    if "covariance_matrix" not in group:
        raise ValueError("a maximum alone is no approximation; expected a covariance_matrix too. Call fit_laplace.")
    order = positions([str(label) for label in group["rows"].values], target)
    covariance = np.asarray(group["covariance_matrix"].values, dtype=float)[np.ix_(order, order)]
    transformed = any(v.name != v.value_name for v in target.variables)
    return FullRank(
        loc=np.asarray(group["mean_vector"].values, dtype=float)[order],
        scale_tril=_cholesky(covariance),
        target=target,
        kind="laplace",
        info=FitInfo(warnings=(NO_JACOBIAN,) if transformed else None),
    )


def _cholesky(covariance: Array) -> Array:
    try:
        return np.linalg.cholesky((covariance + covariance.T) / 2)
    except np.linalg.LinAlgError as error:
        least = float(np.linalg.eigvalsh(covariance)[0])
        raise ValueError(
            f"the covariance of a Laplace approximation must be positive definite; its least eigenvalue is "
            f"{least:.3g}. The optimiser did not end at a maximum: start it elsewhere, or take another optimize_method."
        ) from error
