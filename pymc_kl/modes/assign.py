"""Assign points to modes: climb from each point, and look up the mode of the maximum that the climb ends at."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.model.periodic import PERIOD
from pymc_kl.modes.climbs import ASSIGN_STEPS, end_maxima
from pymc_kl.modes.maxima import Maxima
from pymc_kl.modes.numbering import ELSEWHERE
from pymc_kl.modes.regions import CLIMBED_ALL, SAMPLE, maximum_by_sample
from pymc_kl.modes.symmetry.symmetry import Symmetry
from pymc_kl.numerics.lbfgs import ValueAndGrad
from pymc_kl.numerics.whitening import whiten

ASSIGN_ENTRIES = 4_000_000  # coordinates of points climbed from together, by maxima; bounds memory; our choice
LEAST_ROWS = 1024  # points climbed from together, at the least: the last few of a batch take most steps; our choice
MAX_COPY_LABELS = 60  # copies of one maximum that are numbered; bounds distances computed; our choice
SAME_COPY = 1e-2  # local standard deviations within which two copies of a maximum are one; our choice


@dataclass(frozen=True, eq=False)
class CanonicalPoints:
    """Points brought to the first copy of their mode.

    Attributes
    ----------
    x : array (n, d)
        The image of each point in its mode's first copy; a point of no mode stays where it is.
    mode : array (n,) of int
        -1 for elsewhere.
    maximum : array (n,) of int
        Which of a mode's maxima, since a mode may have merged several; -1 for elsewhere.
    n_copies : array (n,)
        Copies of that maximum: the density of canonical draws is `n_copies` times p̃.
    is_canonical : array (n,) of bool
        Whether the point was in the first copy already.
    """

    x: Array
    mode: IntArray
    maximum: IntArray
    n_copies: Array
    is_canonical: BoolArray

    @classmethod
    def where_they_are(cls, x: Array, mode: IntArray, maximum: IntArray) -> "CanonicalPoints":
        """Return points (n, d) unchanged, as where there is no symmetry: each is in its mode's first and only copy."""
        return cls(x, mode, maximum, np.ones(len(x)), np.ones(len(x), dtype=bool))

    def split(self, lengths: Sequence[int]) -> "list[CanonicalPoints]":
        """Cut the points into runs of these lengths."""
        ends = np.cumsum(lengths)[:-1]
        return [
            CanonicalPoints(*part)
            for part in zip(*(np.split(column, ends) for column in vars(self).values()), strict=True)
        ]


@dataclass(frozen=True, eq=False)
class Basins:
    """The basins of attraction of log p̃: its maxima, and the mode that each was merged into.

    Attributes
    ----------
    maxima : Maxima
        None of them where the posterior is one region without a proper maximum.
    mode_of_maximum : array (P,) of int
        -1 for a maximum of no mode in the list.
    n_copies : array (P,)
        Copies of each maximum under the symmetry.
    scale : array (d, d)
        Lower Cholesky factor of the local covariance.
    value_and_grad : callable
        (n, d) -> log p̃ (n,) and its gradient (n, d).
    max_steps : int
        Of the climb from a point, at the most.
    """

    maxima: Maxima
    mode_of_maximum: IntArray
    n_copies: Array
    scale: Array
    value_and_grad: ValueAndGrad
    max_steps: int = ASSIGN_STEPS

    @property
    def symmetry(self) -> Symmetry:
        """What maps copies to each other."""
        return self.maxima.symmetry

    def renumber(self, new: IntArray) -> "Basins":
        """Renumber the modes: mode k becomes `new[k]`, or elsewhere where that is -1."""
        old = self.mode_of_maximum
        return replace(self, mode_of_maximum=np.where(old >= 0, new[old], ELSEWHERE))

    def canonical(self, x: Array) -> CanonicalPoints:
        """Assign points (n, d) to modes and bring each to the first copy of its mode.

        In many dimensions climbs are long, and are made from a sample of the points, and from those that do not lie
        among the sample points of one maximum alone.
        """
        if not len(self.maxima):
            blank, within = np.zeros(len(x), dtype=np.int64), self.symmetry.in_one_turn(x)
            canonical = CanonicalPoints.where_they_are(within, blank, blank + ELSEWHERE)
            return replace(canonical, is_canonical=(within == x).all(axis=1))
        if x.shape[1] > CLIMBED_ALL and len(x) > 2 * SAMPLE and self.symmetry.is_trivial:
            return self._by_sample(x)
        return self._climbing(x)

    def _by_sample(self, x: Array) -> CanonicalPoints:
        """Assign points (n, d) by a sample of them, and by climbs from those that it leaves open."""
        rows = np.arange(0, len(x), len(x) // SAMPLE)
        sample = self._climbing(x[rows]).maximum
        maximum = maximum_by_sample(x, self.value_and_grad(x)[0], rows, sample)
        left = np.flatnonzero(maximum < 0)
        maximum[left] = self._climbing(x[left]).maximum
        mode = np.where(maximum >= 0, self.mode_of_maximum[maximum], ELSEWHERE)
        return CanonicalPoints.where_they_are(x, mode, maximum)

    def _climbing(self, x: Array) -> CanonicalPoints:
        """Assign points (n, d) by a climb from each."""
        rows = max(ASSIGN_ENTRIES // (x.shape[1] * len(self.maxima)), LEAST_ROWS)
        parts = [self._canonical(x[i : i + rows]) for i in range(0, max(len(x), 1), rows)]
        names = (f.name for f in fields(CanonicalPoints))
        return CanonicalPoints(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def _canonical(self, x: Array) -> CanonicalPoints:
        maximum, element = end_maxima(self.value_and_grad, self.maxima, x, self.scale, self.max_steps)
        mode = np.where(maximum >= 0, self.mode_of_maximum[maximum], ELSEWHERE)
        maximum = np.where(mode >= 0, maximum, ELSEWHERE)
        if self.symmetry.is_trivial:
            return CanonicalPoints.where_they_are(x, mode, maximum)
        # Several elements may map the maximum to the same copy. Choose the one that brings that copy of the maximum to
        # canonical form: it does not depend on the point, so all points of one copy are mapped alike.
        first = self._symmetric_maxima[maximum]
        copies = self.symmetry.undo(element, first)
        away = np.linalg.norm(whiten(copies - first, self.scale), axis=1)
        same_turn = (np.abs(copies - first)[:, self.symmetry.angles] < PERIOD / 2).all(axis=1)  # a turn may be short
        is_canonical = ((away < SAME_COPY) & same_turn) | (mode < 0)
        element = self.symmetry.canonical(copies)[1]
        moved = np.where(is_canonical[:, None], x, self.symmetry.apply(element, x))
        n_copies = np.where(mode >= 0, self.n_copies[maximum], 1.0)
        return CanonicalPoints(moved, mode, maximum, n_copies, is_canonical)

    def scatter(self, x: Array, maximum: IntArray, rng: np.random.Generator) -> tuple[Array, IntArray]:
        """Move canonical points (n, d) of maxima (n,) to a random copy each; also number the copies (n,).

        Those of a maximum with one copy stay, so that what is fitted to them is scored on the same.
        """
        if self.symmetry.is_trivial or not len(self.maxima):
            return x, np.maximum(maximum, 0)
        element = self.symmetry.random(len(x), rng)
        moved = self.symmetry.in_one_turn(self.symmetry.apply(element, self._symmetric_maxima[maximum]))
        cells = np.round(whiten(moved, self.scale) / SAME_COPY).astype(np.int64)
        copy = np.unique(np.column_stack([maximum, cells // 10]), axis=0, return_inverse=True)[1]
        alone = self.n_copies[maximum] == 1
        return np.where(alone[:, None], x, self.symmetry.apply(element, x)), copy.astype(np.int64).ravel()

    def copy_labels(self, x: Array, maximum: IntArray) -> IntArray:
        """Number the copies of maxima (n,) that points x (n, d) are nearest to; -1 where the maximum is."""
        if not len(self.maxima):
            return np.zeros(len(x), dtype=np.int64)
        number = np.full(len(x), ELSEWHERE, dtype=np.int64)
        for p in np.unique(maximum[maximum >= 0]):
            images = self.symmetry.images(self.maxima.x[p], MAX_COPY_LABELS)
            inside = maximum == p
            repeated = np.repeat(x[inside], len(images), axis=0)
            away = whiten(self.symmetry.away(repeated, np.tile(images, (inside.sum(), 1))), self.scale)
            nearest = (away**2).sum(axis=1).reshape(inside.sum(), -1).argmin(axis=1)
            number[inside] = MAX_COPY_LABELS * p + nearest
        return number

    @cached_property
    def _symmetric_maxima(self) -> Array:
        """Maxima (P, d), averaged over the symmetries that map each to itself up to rounding, so that it is exact."""
        return np.array([self.symmetry.symmetrised(x, self.scale) for x in self.maxima.x])
