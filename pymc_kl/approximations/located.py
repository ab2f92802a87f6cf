"""Base classes of families with a centre, and of those whose draws are an affine map of standard draws."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.linalg import solve_triangular

from pymc_kl._typing import Array
from pymc_kl.approximations.family import Family


@dataclass(frozen=True, kw_only=True, eq=False)
class Located(Family):
    """A family with a centre, `loc` (d,), on the unconstrained space."""

    shapes: ClassVar[dict[str, str]] = {"loc": "d"}

    loc: Array

    @property
    def d(self) -> int:
        """Number of unconstrained dimensions."""
        return self.loc.size


@dataclass(frozen=True, kw_only=True, eq=False)
class Affine(Located):
    """x = loc + L z, where z is standard and L = `scale_tril` (d, d) is lower triangular."""

    shapes: ClassVar[dict[str, str]] = {"loc": "d", "scale_tril": "dd"}

    scale_tril: Array

    def _to_standard(self, x: Array) -> Array:
        """Map x (n, d) to z (n, d)."""
        return solve_triangular(self.scale_tril, (x - self.loc).T, lower=True, check_finite=False).T

    def _from_standard(self, z: Array) -> Array:
        """Map z (n, d) to x (n, d)."""
        return self.loc + z @ self.scale_tril.T

    @property
    def _log_det(self) -> float:
        """Log determinant of the map."""
        return float(np.log(np.diag(self.scale_tril)).sum())
