"""The symmetry of a posterior: a group of maps, the canonical form under it, and the copies that it makes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.modes.symmetry import copies
from pymc_kl.modes.symmetry.canonical import CanonicalForm
from pymc_kl.modes.symmetry.group import Element, Group


@dataclass(frozen=True, eq=False)
class Symmetry(Group):
    """A group of linear maps that leave a log density unchanged, with the canonical form and the copies of points.

    Build it with :func:`find_symmetry`, or :func:`trivial`; its parameters are those of :class:`Group`.
    """

    @cached_property
    def _form(self) -> CanonicalForm:
        return CanonicalForm(self)

    def canonical(self, x: Array) -> tuple[Array, Element]:
        """Bring each point to canonical form, one of its copies that is the same for all of them.

        Labels with equal keys keep their order.

        Parameters
        ----------
        x : array (n, d)
            Unconstrained space.

        Returns
        -------
        copies : array (n, d)
            Equal for any two points of one orbit, ties of keys excepted.
        element : Element
            What takes each point there: `apply(element, x)` are the copies.
        """
        return self._form(np.asarray(x, dtype=float))

    def symmetrised(self, point: Array, scale: Array) -> Array:
        """Average a canonical point (d,) over the symmetries that map it to itself up to rounding."""
        return copies.symmetrised(self._form, point, scale)

    def n_copies(self, x: Array, scale: Array) -> Array:
        """Count the distinct copies of each point.

        The count is a product over classes, of the ways to arrange labels some of which are equal, times two
        for every flip that moves the point, in canonical form. It is exact for generic points, and wherever
        classes and flips act on different coordinates; it is too large where two of them together, but neither
        alone, map the point to itself: a matrix, say, in which swapping two rows undoes swapping two columns.

        Parameters
        ----------
        x : array (P, d)
            Unconstrained space.
        scale : array (d, d)
            Lower Cholesky factor of the local covariance: copies closer than 1e-3 standard deviations are one.

        Returns
        -------
        array (P,)
            Sizes of the orbits; inf above the largest float.
        """
        return np.array([copies.orbit_size(self._form, point, scale) for point in self.canonical(x)[0]])

    def moving(self, x: Array, scale: Array) -> list[str]:
        """Name the classes and flips that move at least one of the points (P, d)."""
        return copies.moving(self._form, self.canonical(x)[0], scale)

    def images(self, x: Array, limit: int) -> Array:
        """List distinct copies of one point.

        Parameters
        ----------
        x : array (d,)
            Unconstrained space.
        limit : int
            How many copies to list at the most.

        Returns
        -------
        array (m, d)
            The point itself first; all of its copies where there are at most `limit`.
        """
        return copies.images(self, x, limit)


def trivial(d: int, angles: Sequence[int] | IntArray = ()) -> Symmetry:
    """Return the symmetry of a log density that has none.

    Parameters
    ----------
    d : int
        Number of unconstrained dimensions.
    angles : sequence of int
        Coordinates that have the period 2π.

    Returns
    -------
    Symmetry

    Examples
    --------
    >>> trivial(3).is_trivial
    True
    """
    return Symmetry(d, angles=np.asarray(angles, dtype=np.int64))
