"""The Gaussian mixture; its forward-KL fit is weighted EM, with as many components as held-out draws support."""

from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.approximations.base import Approximation
from pymc_kl.approximations.em import Components, EMFit, WeightedDraws, effective_number, fit_em
from pymc_kl.approximations.held_out import MAX_ITERATIONS, Choice, choose_components

EXTRA_COMPONENTS = 12  # beyond one a mode
FINAL_TOLERANCE = 1e-5  # nats a draw
FLAT = 1e-7  # about the square root of the machine precision: a covariance this flat is not known


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixture(Approximation):
    """Mixture of full-rank Gaussians.

    Parameters
    ----------
    weights : array (M,)
        Positive, sum to 1.
    locs : array (M, d)
        Means of the components, unconstrained space.
    scale_trils : array (M, d, d)
        Lower Cholesky factors of the components' covariances.
    """

    family: ClassVar[str] = "mixture"

    weights: Array
    locs: Array
    scale_trils: Array

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

        Weighted EM [1]_ starts from one component a mode and adds components one at a time, by splitting
        the one that gains most or by clustering anew. The number of components is the smallest whose log score
        on held-out draws is within one paired standard error of the best; the last fit uses all draws. A weak
        inverse-Wishart prior [2]_ keeps components from collapsing. It fails where tails are so heavy that
        a few draws carry the covariance.

        Parameters
        ----------
        x : array (n, d)
            Draws of p, unconstrained space. Copies of a draw count as one with their summed weight.
        weights : array (n,), optional
            Not negative; any scale.
        labels : array of int (n,), optional
            The mode of each draw, -1 elsewhere.
        blocks : array of int (n,), optional
            Contiguous block of each draw, for autocorrelated draws: blocks are held out whole.
        max_components : int, optional
            Default: 12 more than there are modes.
        n_components : int, optional
            Fix the number instead of choosing it.
        rng : Generator, optional

        Returns
        -------
        Mixture
            `info` holds `n_components`, `held_out_score` and `held_out_score_se` (nats a draw, of the chosen
            size fitted to half of the draws), `scores` ({size: score}), `n_iterations` and `converged` of the last fit,
            and `warnings`.

        Raises
        ------
        ValueError
            If there are fewer than d + 1 effective draws, or they lie on a hyperplane.

        References
        ----------
        .. [1] Dempster, A. P., Laird, N. M. and Rubin, D. B. (1977). doi:10.1111/j.2517-6161.1977.tb01600.x
        .. [2] Fraley, C. and Raftery, A. E. (2007). doi:10.1007/s00357-007-0004-5
        """
        data = _Data.check(x, weights, labels, blocks)
        limit = n_components or max_components or data.n_modes + EXTRA_COMPONENTS
        if limit < 1:
            raise ValueError(f"the number of components must be at least 1; got {limit}.")
        strata = data.labels if data.n_modes <= limit else np.zeros_like(data.labels)
        loc, tril = data.frame()
        draws = WeightedDraws(np.linalg.solve(tril, (data.x - loc).T), data.weights)
        choice = choose_components(
            draws,
            strata,
            data.blocks,
            n_components=n_components,
            max_components=limit,
            rng=np.random.default_rng(rng),
        )
        fit = fit_em(draws, choice.components, tolerance=FINAL_TOLERANCE, max_iterations=MAX_ITERATIONS)
        log_det = float(np.log(np.diag(tril)).sum())
        components = fit.components.affine(loc, tril)
        return cls(
            weights=components.weights,
            locs=components.locs,
            scale_trils=components.scale_trils,
            info=_info(choice, fit, log_det),
        )

    @property
    def d(self) -> int:
        return self.locs.shape[1]

    @property
    def n_components(self) -> int:
        """Number of components, M."""
        return self.weights.size

    @cached_property
    def loc(self) -> Array:
        """Mean of the whole mixture (d,), unconstrained space."""
        return self.weights @ self.locs

    @cached_property
    def covariance(self) -> Array:
        """Covariance of the whole mixture (d, d), unconstrained space."""
        centred = self.locs - self.loc
        between = (centred * self.weights[:, None]).T @ centred
        return between + np.tensordot(self.weights, self._components.covariances, axes=1)

    @cached_property
    def _components(self) -> Components:
        return Components(self.weights, self.locs, self.scale_trils)

    def _sample(self, n: int, rng: np.random.Generator) -> Array:
        owner = rng.choice(self.n_components, size=n, p=self.weights)
        x = rng.standard_normal((n, self.d))
        for k in range(self.n_components):
            mine = owner == k
            x[mine] = self.locs[k] + x[mine] @ self.scale_trils[k].T
        return x

    def _log_prob(self, x: Array) -> Array:
        return self._components.log_prob(x.T)


def _info(choice: Choice, fit: EMFit, log_det: float) -> MappingProxyType[str, Any]:
    """Report the fit; scores are moved from whitened coordinates to those of the model."""
    return MappingProxyType(
        {
            "n_components": len(fit.components),
            "held_out_score": choice.score - log_det,
            "held_out_score_se": choice.score_se,
            "scores": {size: score - log_det for size, score in choice.scores.items()},
            "n_iterations": len(fit.objective),
            "converged": fit.converged,
            "warnings": choice.warnings,
        }
    )


@dataclass(frozen=True)
class _Data:
    """Distinct draws (n, d) with weights that sum to 1, modes 0 to K - 1 (-1 for none) and blocks."""

    x: Array
    weights: Array
    labels: IntArray
    blocks: IntArray | None

    @classmethod
    def check(
        cls, x: Array, weights: Array | None, labels: IntArray | None, blocks: IntArray | None
    ) -> "_Data":
        x = np.asarray(x, dtype=float)
        n = len(x)
        weights = np.ones(n) if weights is None else np.asarray(weights, dtype=float)
        labels = np.zeros(n, dtype=np.int64) if labels is None else np.asarray(labels)
        index, weights = merge_copies(x, weights)
        labels = labels[index]
        data = cls(x[index], weights / weights.sum(), labels, None if blocks is None else blocks[index])
        return data

    @property
    def n_modes(self) -> int:
        return np.unique(self.labels[self.labels >= 0]).size

    def frame(self) -> tuple[Array, Array]:
        """Find the mean (d,) and the Cholesky factor (d, d) of the covariance within modes."""
        mean = self.weights @ self.x
        residual = self.x - mean
        for k in np.unique(self.labels[self.labels >= 0]):
            mine = self.labels == k
            residual[mine] -= self.weights[mine] @ residual[mine] / self.weights[mine].sum()
        scale = np.sqrt(self.weights @ residual**2)
        residual /= scale
        return mean, scale[:, None] * np.linalg.cholesky((residual * self.weights[:, None]).T @ residual)


def merge_copies(x: Array, weights: Array) -> tuple[IntArray, Array]:
    """Find the first copy of each distinct draw (n, d) and the summed weight of all its copies."""
    _, first, owner = np.unique(x, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return first[order], np.bincount(owner.ravel(), weights)[order]
