"""The modes of a posterior, and which of them any point belongs to.

A mode here is a basin of attraction of log p̃ on the unconstrained space, after merging basins between which
log p̃ need not fall by `min_barrier` nats, and with all its copies under the symmetries of log p̃. Where climbs
run away (a funnel's neck, where log p̃ has no maximum) the posterior is one region, and its draws stand for it.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.arguments import Rule, instance, optional
from pymc_kl.modes.assign import Basins, CanonicalPoints
from pymc_kl.modes.numbering import ELSEWHERE
from pymc_kl.modes.symmetry.symmetry import Symmetry
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.numerics.random_streams import RandomStreams


@dataclass(frozen=True, eq=False)
class Modes:
    """The modes of a posterior, highest first, and the means to assign points to them.

    Attributes
    ----------
    x : array (K, d)
        Location of each mode's first copy: its highest maximum, or a central draw where log p̃ has no proper
        maximum.
    log_density : array (K,)
        log p̃ there, nats.
    covariances : array (K, d, d)
        Of a Gaussian as wide as the peak: the inverse of minus the Hessian, unless lines about the maximum contradict
        it (a cusp, a flat top, a spike on a hill); NaN without a proper maximum.
    log_volumes : array (K,)
        Log of the integral of p̃ over one copy of each basin, less log p̃ at its maximum, as that Gaussian has it.
    copies : array (K,)
        Points that the symmetries of log p̃ make of the location, itself included.
    barrier : array (K,)
        Nats from the lower of two maxima to the pass, on the best path found to any other mode or to another
        copy; NaN where there is none.
    passes : array (K, K)
        log p̃ in nats at the highest pass found between two modes, or to another copy of a mode; NaN where no
        path was found. A lower bound of the true pass.
    hits : array (K,)
        Starts that climbed there.
    found_by : tuple of str
        Kinds of starts that reached each mode, joined by "+".
    n_starts, n_lost : int
        Starts in all, and those that reached no proper maximum.
    unseen : Estimate
        Good and Turing's estimate of the chance that one more draw of the prior climbs to a mode that matters
        and is not in this list: modes found once, and draws that reached no proper maximum where a mode could
        matter, over draws. A value of 0 means at most three standard errors. It knows only what such starts can reach.
    proper : bool
        False where the posterior is one region without a proper maximum.
    partial : bool
        The search was interrupted.
    dispersed : array (n, d)
        Where there is no proper maximum: starts from which chains must agree that this is one region.
    basins : Basins
        What assigns points to the modes.
    reason : str
        Why nothing was searched for and the given draws stand for one region; empty after a search.

    Examples
    --------
    With the `model` in the example of :func:`pymc_kl.compare`:

    >>> modes = pkl.find_modes(model=model, n_starts=100, random_seed=1, progressbar=False)
    >>> modes.x.round(1).ravel().tolist(), modes.copies.tolist()
    ([3.0, -3.0], [1.0, 1.0])
    """

    x: Array
    log_density: Array
    covariances: Array
    log_volumes: Array
    copies: Array
    barrier: Array
    passes: Array
    hits: IntArray
    found_by: tuple[str, ...]
    n_starts: int
    n_lost: int
    unseen: Estimate
    proper: bool
    partial: bool
    dispersed: Array
    basins: Basins = field(repr=False)
    reason: str = ""

    @property
    def k(self) -> int:
        """Number of modes."""
        return len(self.x)

    @property
    def has_copies(self) -> bool:
        """Whether the symmetries make copies of any mode, and do not only leave each in place."""
        return bool((self.copies > 1).any())

    @property
    def symmetry(self) -> Symmetry:
        """What maps copies to each other."""
        return self.basins.symmetry

    @property
    def local_scale(self) -> Array:
        """Lower Cholesky factor (d, d) of the covariance that the posterior has about a typical point of a mode."""
        return self.basins.scale

    @property
    def symmetries(self) -> list[str]:
        """Names of the symmetries that make copies of any mode."""
        return self.symmetry.moving(self.x, self.local_scale)

    @property
    def log_mass_laplace(self) -> Array:
        """Laplace's approximation of log ∫ p̃ over each mode and its copies (K,), in nats: no estimate."""
        return self.log_density + self.log_volumes + np.log(self.copies)

    def assign(self, x: Array) -> IntArray:
        """Assign points to modes by climbing from each.

        Parameters
        ----------
        x : array (n, d)
            Unconstrained space.

        Returns
        -------
        array (n,) of int
            Mode of each point, or -1 where the climb reaches none of them. The mode of a point does not
            depend on the points beside it, unless there are more than 20 dimensions and no symmetry: points that lie
            among those of a sample that climb to one maximum, and clear of all others', are its without a climb.
        """
        return self.canonical(x).mode

    def canonical(self, x: Array) -> CanonicalPoints:
        """Assign points (n, d) to modes and bring each to the first copy of its mode."""
        return self.basins.canonical(x)

    def streams(self, rng: np.random.Generator) -> list[np.random.Generator]:
        """Open a random stream for each mode, which does not depend on what modes there are besides.

        Its name is the number of the mode's first maximum in the order in which the search found them.
        """
        streams, maxima = RandomStreams.of(rng), self.basins.mode_of_maximum
        first = [int((maxima == k).argmax()) if len(maxima) else 0 for k in range(self.k)]
        return [streams(f"mode {number}") for number in first]

    def scatter(self, x: Array, maximum: IntArray, rng: np.random.Generator) -> tuple[Array, IntArray]:
        """Move canonical points (n, d) of maxima (n,) to a random copy each; also number the copies (n,)."""
        return self.basins.scatter(x, maximum, rng)

    def copy_labels(self, x: Array, maximum: IntArray) -> IntArray:
        """Number the copies of maxima (n,) that points x (n, d) are nearest to; -1 where the maximum is."""
        return self.basins.copy_labels(x, maximum)

    def keep(self, kept: BoolArray) -> "Modes":
        """Return the modes where `kept` (K,) is true; points of the others are assigned elsewhere."""
        new = np.where(kept, np.cumsum(kept) - 1, ELSEWHERE)
        return self._take(np.flatnonzero(kept), new)

    def reorder(self, order: IntArray) -> "Modes":
        """Return the modes in another order (K,)."""
        new = np.empty_like(order)
        new[order] = np.arange(len(order))
        return self._take(order, new)

    def _take(self, rows: IntArray, new: IntArray) -> "Modes":
        """Return the modes of some rows; `new` (K,) is the number that each mode gets, or -1."""
        return replace(
            self,
            x=self.x[rows],
            log_density=self.log_density[rows],
            covariances=self.covariances[rows],
            log_volumes=self.log_volumes[rows],
            copies=self.copies[rows],
            barrier=self.barrier[rows],
            passes=self.passes[np.ix_(rows, rows)],
            hits=self.hits[rows],
            found_by=tuple(self.found_by[i] for i in rows),
            basins=self.basins.renumber(new),
        )


FOUND_MODES: Rule = optional(instance(Modes, cure="what find_modes() returned"))
