"""The Gaussian mixture; its forward-KL fit is weighted EM, its size the one that held-out draws support."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.approximations.component_family import ComponentFamily, Sizes, fit_mixture, total_covariance
from pymc_kl.approximations.components import Components
from pymc_kl.approximations.estimation.fit_data import FitData


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixture(ComponentFamily):
    """Mixture of full-rank Gaussians.

    Parameters
    ----------
    weights : array (M,)
        Positive, sum to 1.
    locs : array (M, d)
        Means of the components, unconstrained space.
    scale_trils : array (M, d, d)
        Lower Cholesky factors of the components' covariances.

    Notes
    -----
    After `fit_forward`, `info` holds `n_components`; `scores`, a held-out score for each number of components
    that was tried; `held_out_score` and `held_out_score_se` of the chosen one; `n_iterations` and `converged`
    of the last EM; and `warnings`. Scores are the mean of log q, in nats a draw, over one half of the draws
    for a fit to the other half: NaN where draws are too few, with error inf where they are of one block.
    """

    family: ClassVar[str] = "mixture"

    @classmethod
    def fit_forward(
        cls,
        x: Array,
        weights: Array | None = None,
        *,
        labels: IntArray | None = None,
        blocks: IntArray | None = None,
        max_components: int | None = None,
        n_components: int | None = None,
        rng: np.random.Generator | None = None,
    ) -> Self:
        """Minimise KL(p‖q) over Gaussian mixtures, given draws of p.

        Weighted EM [1]_ starts from one component a mode; `pymc_kl.approximations.estimation.held_out` adds as many as
        improve the score of draws held out. It fails where a few draws in the tails carry the covariance.

        Parameters
        ----------
        x : array (n, d)
            Draws of p, unconstrained space. Copies count as one draw with their summed weight.
        weights : array (n,), optional
            Not negative; any scale.
        labels : array of int (n,), optional
            The mode of each draw, -1 elsewhere.
        blocks : array of int (n,), optional
            Contiguous blocks of autocorrelated draws: they are held out whole.
        max_components, n_components : int, optional
            At most this many (default: 12 more than there are modes), or exactly this many.
        rng : Generator, optional

        Returns
        -------
        Mixture
            The fit to all draws.

        Raises
        ------
        ValueError
            If there are fewer than d + 1 effective draws, or they lie on a hyperplane.

        References
        ----------
        .. [1] Dempster, A. P., Laird, N. M. and Rubin, D. B. (1977). doi:10.1111/j.2517-6161.1977.tb01600.x
        """
        data = FitData.check(x, weights, labels, blocks)
        sizes = Sizes.check(n_components, max_components, data.modes.size)
        return cls._from_components(*fit_mixture(data, data.frame(), sizes, rng=rng))

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
