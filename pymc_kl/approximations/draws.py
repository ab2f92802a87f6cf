"""An approximation known by its draws alone, such as particles of SVGD."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pymc_kl._typing import Array, IntArray, Kind
from pymc_kl.approximations.base import Approximation


@dataclass(frozen=True, kw_only=True, eq=False)
class Draws(Approximation):
    """Draws without a density.

    Parameters
    ----------
    x : array (n, d)
        Unconstrained space.
    n_chains : int
        Chains of equal length that the draws are, one after another; 0 where they are independent.

    Examples
    --------
    >>> import numpy as np
    >>> from pymc_kl.approximations import Draws
    >>> q = Draws(x=np.array([[1.0], [2.0], [3.0]]))
    >>> sorted(q.sample(3, random_seed=1).ravel().tolist()), q.has_log_prob
    ([1.0, 2.0, 3.0], False)
    """

    family: ClassVar[str] = "draws"
    has_log_prob: ClassVar[bool] = False
    shapes: ClassVar[dict[str, str]] = {"x": "nd"}

    x: Array
    n_chains: int = 0
    kind: Kind = "draws"

    @property
    def d(self) -> int:
        """Number of unconstrained dimensions."""
        return self.x.shape[1]

    def _sample(self, n: int, rng: np.random.Generator) -> Array:
        """Take the draws in random order, each once before any comes twice; fewer are evenly spread over chains."""
        whole, rest = divmod(n, len(self.x))
        rows = [rng.permutation(len(self.x)) for _ in range(whole)]
        spread = self._spread(rest).ravel()
        others = np.setdiff1d(np.arange(len(self.x)), spread)
        last = np.append(spread, rng.permutation(others)[: rest - len(spread)])
        return self.x[np.concatenate([*rows, rng.permutation(last)])]

    def _spread(self, n: int) -> IntArray:
        """Choose at most n rows (chain, draw), evenly spread over each chain; none of independent draws."""
        chains = np.arange(len(self.x)).reshape(max(self.n_chains, 1), -1)
        length = min(n // self.n_chains, chains.shape[1]) if self.n_chains else 0
        return chains[:, np.linspace(0, chains.shape[1] - 1, length).round().astype(int)]

    def in_chains(self, drawn: Array) -> IntArray | None:
        """Find the rows (chain, draw) in which `drawn`, a sample of these draws, has those of each chain in order.

        None where the draws are independent, or `drawn` has none of some chain.
        """
        rows = self._spread(len(drawn))
        if not rows.size:
            return None
        _, same = np.unique(np.concatenate([drawn, self.x[rows.ravel()]]), axis=0, return_inverse=True)
        row = np.empty(same.max() + 1, dtype=np.int64)
        row[same[: len(drawn)]] = np.arange(len(drawn))
        return row[same[len(drawn) :]].reshape(rows.shape)

    def _log_prob(self, x: Array) -> Array:
        raise NotImplementedError
