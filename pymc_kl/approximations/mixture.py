"""The Gaussian mixture; its forward-KL fit is weighted EM, its size the one that held-out draws support."""

from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.approximations.base import Family
from pymc_kl.approximations.components import Components
from pymc_kl.approximations.em import EMFit, fit_em
from pymc_kl.approximations.fit_data import FitData
from pymc_kl.approximations.held_out import MAX_ITERATIONS, Choice, choose_components

EXTRA_COMPONENTS = 12  # beyond one a mode: a banana takes 5 to 9, a funnel 7 to 10
FINAL_TOLERANCE = 1e-5  # nats a draw


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixture(Family):
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
    from_modes: ClassVar[bool] = True
    holds_out: ClassVar[bool] = True

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

        Weighted EM [1]_ starts from one component a mode; `pymc_kl.approximations.held_out` adds as many as
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
        limit = _limit(n_components, max_components, data.modes.size)
        loc, tril = data.frame()
        draws = data.whitened(loc, tril)
        choice = choose_components(
            draws,
            data.labels if data.modes.size <= limit else np.zeros_like(data.labels),
            data.blocks,
            n_components=n_components,
            max_components=limit,
            rng=np.random.default_rng(rng),
        )
        fit = fit_em(draws, choice.components, tolerance=FINAL_TOLERANCE, max_iterations=MAX_ITERATIONS)
        found = fit.components.affine(loc, tril)
        info = _info(choice, fit, float(np.log(np.diag(tril)).sum()))
        return cls(weights=found.weights, locs=found.locs, scale_trils=found.scale_trils, info=info)

    @property
    def d(self) -> int:
        """Number of unconstrained dimensions."""
        return int(self.locs.shape[1])

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


def _limit(n_components: int | None, max_components: int | None, n_modes: int) -> int:
    for name, size in {"n_components": n_components, "max_components": max_components}.items():
        if size is not None and size < 1:
            raise ValueError(f"{name} must be at least 1; got {size}.")
    return n_components or max_components or max(n_modes, 1) + EXTRA_COMPONENTS


def _info(choice: Choice, fit: EMFit, log_det: float) -> MappingProxyType[str, Any]:
    """Report the fit; scores are moved from whitened coordinates to those of the model."""
    unsettled = () if fit.converged else (f"EM had not settled after {MAX_ITERATIONS} iterations.",)
    return MappingProxyType(
        {
            "n_components": len(fit.components),
            "held_out_score": choice.score - log_det,
            "held_out_score_se": choice.score_se,
            "scores": {size: score - log_det for size, score in choice.scores.items()},
            "n_iterations": len(fit.objective),
            "converged": fit.converged,
            "warnings": (*choice.warnings, *unsettled),
        }
    )
