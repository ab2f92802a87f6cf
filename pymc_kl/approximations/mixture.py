"""The Gaussian mixture; its forward-KL fit is weighted EM, its size the one that held-out draws support."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from pymc_kl._typing import Array
from pymc_kl.approximations.component_family import ComponentFamily, total_covariance
from pymc_kl.approximations.components import Components


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixture(ComponentFamily):
    """q(x) = Σ_m weights_m N(x; locs_m, L_m L_mᵀ) with L = scale_trils: a mixture of full-rank Gaussians.

    The forward fit is weighted EM [1]_. It fails where a few draws in the tails carry the covariance. Parameters and
    `info` are those of :class:`~pymc_kl.approximations.component_family.ComponentFamily`.

    Examples
    --------
    >>> import numpy as np
    >>> from pymc_kl.approximations import Mixture
    >>> weights, scales = np.array([0.3, 0.7]), np.array([0.6, 1.0])
    >>> q = Mixture(weights=weights, locs=np.array([[-3.0], [3.0]]), scale_trils=scales[:, None, None])
    >>> q.loc.round(6), q.covariance.round(3)
    (array([1.2]), array([[8.368]]))

    References
    ----------
    .. [1] Dempster, A. P., Laird, N. M. and Rubin, D. B. (1977). Maximum likelihood from incomplete data via the EM
       algorithm. Journal of the Royal Statistical Society B 39, 1-38. doi:10.1111/j.2517-6161.1977.tb01600.x
    """

    family: ClassVar[str] = "mixture"

    @cached_property
    def loc(self) -> Array:
        """Mean of the whole mixture (d,), unconstrained space."""
        return self.weights @ self.locs

    @cached_property
    def covariance(self) -> Array:
        """Covariance of the whole mixture (d, d), unconstrained space."""
        return total_covariance(self.weights, self.locs, self._components.covariances)

    @cached_property
    def _components(self) -> Components:
        return Components(self.weights, self.locs, self.scale_trils)
