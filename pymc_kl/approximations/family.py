"""The base class of families that can be fitted to draws of p, all with one signature."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.approximations.base import Approximation
from pymc_kl.approximations.training import Training


@dataclass(frozen=True, kw_only=True, eq=False)
class Family(Approximation):
    """An approximation with a density that can be fitted to draws of p.

    A family writes `fit`; each class says how it fits and what `info` reports.

    Examples
    --------
    >>> import numpy as np
    >>> from pymc_kl.approximations import FAMILIES
    >>> x = np.array([[-1.0], [0.0], [1.0]])
    >>> FAMILIES["meanfield"].fit_forward(x, weights=np.array([1.0, 2.0, 1.0])).covariance.round(6).tolist()
    [[0.5]]
    """

    @classmethod
    @abstractmethod
    def fit(cls, draws: Training) -> Self:
        """Minimise KL(p‖q) over the family, given draws of p; some families take their size by keyword."""

    @classmethod
    def fit_forward(
        cls,
        x: Array,
        weights: Array | None = None,
        *,
        mode: IntArray | None = None,
        blocks: IntArray | None = None,
        rng: np.random.Generator | None = None,
        **size: int | None,
    ) -> Self:
        """Minimise KL(p‖q) over the family, given draws of p.

        Parameters
        ----------
        x : array (n, d)
            Draws of p, unconstrained space. Copies count as one draw with their summed weight.
        weights : array (n,), optional
            Not negative; any scale.
        mode : array of int (n,), optional
            The mode of each draw, -1 elsewhere: mixtures start from one component for each.
        blocks : array of int (n,), optional
            Contiguous blocks of autocorrelated draws: a family that holds out draws holds out whole blocks.
        rng : Generator, optional
        **size : int
            `rank` of a low-rank Gaussian, `n_components` or `max_components` of a mixture.

        Returns
        -------
        Family
            The fit to all draws.

        Raises
        ------
        ValueError
            If draws are too few for the family, or lie on a hyperplane.
        TypeError
            If the family has no such size.
        """
        fit: Callable[..., Self] = cls.fit
        return fit(Training(x, weights, mode, blocks, np.random.default_rng(rng)), **size)
