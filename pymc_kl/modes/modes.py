"""The modes of a posterior, and which of them any point belongs to.

A mode here is a basin of attraction of log p̃ on the unconstrained space, after merging basins between which
log p̃ need not fall by `min_barrier` nats, and with all its copies under the symmetries of log p̃. Where climbs
run away (a funnel's neck, where log p̃ has no maximum) the posterior is one region, and its draws stand for it.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.modes.maxima import Maxima, end_maxima
from pymc_kl.modes.symmetry.symmetry import Symmetry
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.numerics.lbfgs import ValueAndGrad

ASSIGN_ROWS = 1024  # points climbed together, to bound memory
ELSEWHERE = -1
MAX_COPY_LABELS = 60
SAME_COPY = 1e-2  # standard deviations of a peak within which two copies of it are one


@dataclass(frozen=True, eq=False)
class CanonicalPoints:
    """Points brought to one copy of their mode.

    Attributes
    ----------
    x : array (n, d)
        The copy of each point in the mode's first copy; a point of no mode stays where it is.
    mode : array (n,) of int
        -1 for elsewhere.
    maximum : array (n,) of int
        Which of a mode's peaks, since a mode may have merged several; -1 for elsewhere.
    n_copies : array (n,)
        Copies of that peak: the density of the folded draws is `n_copies` times p̃.
    is_canonical : array (n,) of bool
        The point was in the first copy already.
    """

    x: Array
    mode: IntArray
    maximum: IntArray
    n_copies: Array
    is_canonical: BoolArray


@dataclass(frozen=True, eq=False)
class Modes:
    """The modes of a posterior, highest first, and the means to assign points to them.

    Attributes
    ----------
    x : array (K, d)
        Location of each mode's first copy: its highest peak, or a central draw where log p̃ has no proper
        maximum.
    log_density : array (K,)
        log p̃ there, nats.
    covariances : array (K, d, d)
        Inverse of minus the Hessian there; NaN without a proper maximum.
    copies : array (K,)
        Points that the symmetries of log p̃ make of the location, itself included.
    barrier : array (K,)
        Nats from the lower of two peaks to the pass, on the best path found to any other mode or to another
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
        and is not in this list: modes found once, over starts. It knows only what such starts can reach.
    proper : bool
        False where the posterior is one region without a proper maximum.
    partial : bool
        The search was interrupted.
    symmetry : Symmetry
        What maps copies to each other.
    dispersed : array (n, d)
        Where there is no proper maximum: starts from which chains must agree that this is one region.
    """

    x: Array
    log_density: Array
    covariances: Array
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
    symmetry: Symmetry
    dispersed: Array
    _maxima: Maxima = field(repr=False)
    _maximum_copies: Array = field(repr=False)
    _group: IntArray = field(repr=False)
    _scale: Array = field(repr=False)
    _value_and_grad: ValueAndGrad = field(repr=False)

    @property
    def k(self) -> int:
        """Number of modes."""
        return len(self.x)

    @property
    def has_copies(self) -> bool:
        """Whether the symmetries make copies of any mode, and do not only leave each in place."""
        return bool((self.copies > 1).any())

    @property
    def local_scale(self) -> Array:
        """Lower Cholesky factor (d, d) of the covariance that the posterior has about a typical point of a mode."""
        return self._scale

    @property
    def symmetries(self) -> list[str]:
        """Names of the symmetries that make copies of any mode."""
        return self.symmetry.moving(self.x, self._scale)

    @property
    def log_mass_laplace(self) -> Array:
        """Laplace's approximation of log ∫ p̃ over each mode and its copies (K,), in nats: no estimate."""
        if not self.proper:
            return np.full(self.k, np.nan)
        log_det = np.linalg.slogdet(2 * np.pi * self.covariances)[1]
        return self.log_density + 0.5 * log_det + np.log(self.copies)

    @cached_property
    def _symmetric_maxima(self) -> Array:
        """Peaks (P, d), exactly in place under the symmetries that leave them there."""
        return np.array([self.symmetry.symmetrised(x, self._scale) for x in self._maxima.x])

    def assign(self, x: Array) -> IntArray:
        """Assign points to modes by climbing from each.

        Parameters
        ----------
        x : array (n, d)
            Unconstrained space.

        Returns
        -------
        array (n,) of int
            Mode of each point, or -1 where the climb reaches none of them. The label of a point does not
            depend on the points beside it.
        """
        return self.canonical(x).mode

    def canonical(self, x: Array) -> CanonicalPoints:
        """Assign points (n, d) to modes and bring each to the first copy of its mode."""
        if not self.proper:
            blank = np.zeros(len(x), dtype=np.int64)
            return CanonicalPoints(x, blank, blank - 1, np.ones(len(x)), np.ones(len(x), dtype=bool))
        parts = [self._canonical(x[i : i + ASSIGN_ROWS]) for i in range(0, max(len(x), 1), ASSIGN_ROWS)]
        names = ("x", "mode", "maximum", "n_copies", "is_canonical")
        return CanonicalPoints(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def _canonical(self, x: Array) -> CanonicalPoints:
        maximum, element = end_maxima(self._value_and_grad, self._maxima, x, self._scale)
        mode = np.where(maximum >= 0, self._group[maximum], ELSEWHERE) if len(self._maxima) else maximum
        maximum = np.where(mode >= 0, maximum, ELSEWHERE)
        if self.symmetry.is_trivial:
            return CanonicalPoints(x, mode, maximum, np.ones(len(x)), np.ones(len(x), dtype=bool))
        # The element is known up to those that leave the peak in place: take it from the peak's copy alone, so
        # that it is the same for all points of one copy.
        summits = self._symmetric_maxima[maximum]
        copies = self.symmetry.undo(element, summits)
        away = np.linalg.solve(self._scale, (copies - summits).T).T
        is_canonical = (np.linalg.norm(away, axis=1) < SAME_COPY) | (mode < 0)
        element = self.symmetry.canonical(copies)[1]
        first = np.where(is_canonical[:, None], x, self.symmetry.apply(element, x))
        return CanonicalPoints(
            first, mode, maximum, np.where(mode >= 0, self._maximum_copies[maximum], 1.0), is_canonical
        )

    def scatter(self, x: Array, maximum: IntArray, rng: np.random.Generator) -> tuple[Array, IntArray]:
        """Take folded points (n, d) of peaks (n,) to a random copy each; return them and a number for the copy."""
        if self.symmetry.is_trivial or not len(self._maxima):
            return x, np.maximum(maximum, 0)
        element = self.symmetry.random(len(x), rng)
        summits = self.symmetry.apply(element, self._symmetric_maxima[maximum])
        cells = np.round(np.linalg.solve(self._scale, summits.T).T / SAME_COPY).astype(np.int64)
        copy = np.unique(np.column_stack([maximum, cells // 10]), axis=0, return_inverse=True)[1]
        return self.symmetry.apply(element, x), copy.astype(np.int64).ravel()

    def copy_labels(self, x: Array, maximum: IntArray) -> IntArray:
        """Number the copies of peaks (n,) that points x (n, d) are nearest to; -1 where the peak is."""
        labels = np.full(len(x), ELSEWHERE, dtype=np.int64)
        if not len(self._maxima):
            return np.zeros(len(x), dtype=np.int64)
        for p in np.unique(maximum[maximum >= 0]):
            images = self.symmetry.images(self._maxima.x[p], MAX_COPY_LABELS)
            mine = maximum == p
            away = np.linalg.solve(self._scale, (x[mine][:, None] - images).reshape(-1, x.shape[1]).T)
            nearest = (away**2).sum(axis=0).reshape(mine.sum(), -1).argmin(axis=1)
            labels[mine] = MAX_COPY_LABELS * p + nearest
        return labels

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
        return replace(
            self,
            x=self.x[rows],
            log_density=self.log_density[rows],
            covariances=self.covariances[rows],
            copies=self.copies[rows],
            barrier=self.barrier[rows],
            passes=self.passes[np.ix_(rows, rows)],
            hits=self.hits[rows],
            found_by=tuple(self.found_by[i] for i in rows),
            _group=np.where(self._group >= 0, new[self._group], ELSEWHERE),
        )
