"""Draws larger than memory, such as those of a Zarr store: an even sample of them, or all of them, part by part."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from pymc_kl._typing import Array
from pymc_kl.model import files
from pymc_kl.model.named_draws import groups_of

if TYPE_CHECKING:
    from pymc_kl.model.target import Target

SAMPLED = 20_000  # draws that are loaded, of all chains together, where all are larger than `LARGE`; our choice
LEAST_OF_CHAIN = 100  # draws of each chain that are loaded, at the least; our choice
PART_NUMBERS = 2**22  # numbers, 32 MB of them, that a part holds, unless a chunk on disk holds more; our choice


@dataclass(frozen=True, eq=False)
class LargeDraws:
    """Draws of a posterior that are read part by part, wherever they lie: on disk, in Dask's chunks or in memory.

    Attributes
    ----------
    target : Target
    groups : mapping of str to Dataset
        Those in which draws and weights lie.
    """

    target: "Target"
    groups: dict[str, xr.Dataset]

    @classmethod
    def of(cls, draws: Any, target: "Target") -> "LargeDraws | None":
        """Take draws whose free variables hold more than `LARGE` numbers; None where they hold fewer."""
        known = groups_of(draws)
        groups = dict(zip(("posterior", "unconstrained_posterior"), known, strict=False))
        if isinstance(draws, xr.DataTree) and "sample_stats" in draws.children:
            stats = draws["sample_stats"].to_dataset()
            groups |= {"sample_stats": stats[["weight"]]} if "weight" in stats else {}
        large = cls(target, groups)
        return large if large.n_chains * large.n_draws * target.d > files.LARGE else None

    @property
    def n_chains(self) -> int:
        """Number of chains."""
        return int(self.groups["posterior"].sizes.get("chain", 0))

    @property
    def n_draws(self) -> int:
        """Number of draws of a chain."""
        return int(self.groups["posterior"].sizes.get("draw", 0))

    @property
    def step(self) -> int:
        """Every how many draws of a chain one is loaded."""
        wanted = max(SAMPLED // self.n_chains, LEAST_OF_CHAIN)
        return max(-(-self.n_draws // wanted), 1)

    @property
    def told(self) -> str:
        """Say how many draws there are and which of them are loaded."""
        n, d = self.n_chains * self.n_draws, self.target.d
        loaded = self.n_chains * len(range(0, self.n_draws, self.step))
        return (
            f"{n:,} draws of {d} numbers take {8e-9 * n * d:.1f} GB, and are not loaded as a whole: one "
            f"draw in {self.step:,} of each chain is, {loaded:,} in all"
        )

    def sample(self) -> xr.DataTree:
        """Load draws at even distances of each chain, as :attr:`told` says."""
        return self._cut(draw=slice(None, None, self.step))

    def parts(self) -> Iterator[tuple[Array, Array]]:
        """Yield all draws (n, d) on the unconstrained space, with weights (n,) of any scale, in whole chunks."""
        chains, rows = self._chunk("chain"), self._chunk("draw")
        rows *= max(PART_NUMBERS // (chains * rows * self.target.d), 1)
        for chain in range(0, self.n_chains, chains):
            for first in range(0, self.n_draws, rows):
                part = self._cut(chain=slice(chain, chain + chains), draw=slice(first, first + rows))
                x = self.target.unconstrain(part).reshape(-1, self.target.d)
                yield x, self._weights(part, len(x))

    def _cut(self, **index: slice) -> xr.DataTree:
        return xr.DataTree.from_dict({name: group.isel(index) for name, group in self.groups.items()})

    def _chunk(self, dim: str) -> int:
        """Return how many chains or draws lie together, by the largest free variable; 1 where all are in memory."""
        largest = max(self.target.variables, key=lambda v: v.coordinates.stop - v.coordinates.start)
        array = next((group[largest.name] for group in self.groups.values() if largest.name in group), None)
        if array is None:
            return 1
        lazy = array.encoding.get("preferred_chunks", {}).get(dim, 1)
        return int(min(array.chunksizes[dim][0] if dim in array.chunksizes else lazy, array.sizes.get(dim, 1)))

    def _weights(self, part: xr.DataTree, n: int) -> Array:
        if "sample_stats" not in part.children:
            return np.ones(n)
        weights = np.asarray(part["sample_stats"]["weight"].transpose("chain", "draw").values, dtype=float).ravel()
        if not np.isfinite(weights).all() or (weights < 0).any():
            raise ValueError("sample_stats['weight'] must hold finite weights >= 0; some are not.")
        return weights
