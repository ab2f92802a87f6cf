"""Find the symmetry of a target: which labels are exchangeable and which signs can flip, by evaluating log p̃.

A map that leaves log p̃ unchanged at all of a few scattered points is a symmetry; the rest of this file chooses what
to try.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.model.target import Target
from pymc_kl.modes.symmetry.group import Element, Group
from pymc_kl.modes.symmetry.invariance import Check, Move
from pymc_kl.modes.symmetry.labels import Block, LabelClass, SignFlip, lay_out_blocks
from pymc_kl.modes.symmetry.names import check_known
from pymc_kl.modes.symmetry.sign_flips import find_flips, flip_signs, name_flip
from pymc_kl.modes.symmetry.symmetry import Symmetry

type Sites = frozenset[tuple[int, int]]

MAX_SUBSET_AXES = 6  # axes of one length, up to which every subset of them is a candidate; bounds 2^n; our choice
MAX_SWAPS = 2000  # swaps of labels tried for one candidate; bounds evaluations of log p̃; our choice
MAX_SWAPS_LENGTH = 10_000  # swaps of labels tried for all candidates of one length together; our choice
MAX_SCALARS = 20  # scalar variables tried as changing sign when two labels swap; our choice


def find_symmetry(target: Target, points: Array, names: str | Sequence[str] | None = None) -> Symmetry:
    """Find permutations of labels and flips of signs that leave a log density unchanged.

    Labels are looked for along every dim, and along axes of one length of any variables; labels of a simplex
    or a zero-sum variable are among them, those of a covariance are not. Where there are two labels, their
    swap may also turn the sign of a scalar. Sign flips are looked for without regard to axes; that of every
    coordinate at once, x to -x, only by name: where it is the whole symmetry, nothing says that a sign is mere
    convention, and two modes that mirror each other are two answers.

    Parameters
    ----------
    target : Target
        With its gradient.
    points : array (n, d)
        Unconstrained space; where to look, such as draws of the prior. Scattered points tell most.
    names : sequence of str, optional
        Look only for these: dims, whose labels are exchangeable, and variables, whose sign can flip together
        with what must flip with it. By default, all that is found.

    Returns
    -------
    Symmetry

    Raises
    ------
    ValueError
        If log p̃ is finite at none of the points, or if a name is unknown or is no symmetry.
    """
    search = _Search(target, lay_out_blocks(target), Check.at(target, points))
    if names is None:
        flips = [flip for flip in find_flips(target, search.blocks, search.check) if len(flip) < target.d]
        return search.join(search.classes(search.candidates), flips)
    wanted = dict.fromkeys([names] if isinstance(names, str) else names)
    variables = [v.name for v in target.variables]
    check_known(wanted, search.dims, variables)
    classes: list[LabelClass] = []
    for name in wanted:
        classes += search.classes_of(name, classes) if name in search.dims else []
    return search.join(classes, _flips_of(search, [name for name in wanted if name not in search.dims]))


def _flips_of(search: "_Search", names: Sequence[str]) -> list[IntArray]:
    """Find the flips that change the sign of any of the named variables."""
    flips = find_flips(search.target, search.blocks, search.check) if names else []
    kept: dict[int, IntArray] = {}
    for name in names:
        coordinates = next(v.coordinates for v in search.target.variables if v.name == name)
        inside = np.arange(coordinates.start, coordinates.stop)
        touching = {i: flip for i, flip in enumerate(flips) if np.isin(flip, inside).any()}
        if not touching:
            change = float(search.check.change(flip_signs([inside]), 1)[0])
            raise ValueError(
                f"expected that the sign of {name!r} can flip, alone or together with other variables; flipping it "
                f"alone changes log p̃ by up to {change:.3g} nats, and nothing was found that flips with it. "
                "Leave it out, or look for what breaks the symmetry (priors that aren't centred at 0, data)."
            )
        kept |= touching
    return list(kept.values())


@dataclass(frozen=True, eq=False)
class _Search:
    """The search for symmetries of one target: candidates, and the points at which they are checked."""

    target: Target
    blocks: tuple[Block, ...]
    check: Check

    @cached_property
    def dims(self) -> dict[str, Sites]:
        """Sites of each dim of the free variables."""
        sites = defaultdict(set)
        for b, v in enumerate(self.target.variables):
            for axis in self.blocks[b].axes:
                if axis < len(v.dims):
                    sites[v.dims[axis]].add((b, axis))
        return {dim: frozenset(found) for dim, found in sites.items()}

    @cached_property
    def candidates(self) -> set[Sites]:
        """Sets of axes, all of one length, that labels may share."""
        by_length = defaultdict(list)
        for b, block in enumerate(self.blocks):
            for axis in block.axes:
                by_length[block.shape[axis]].append((b, axis))
        found = set(self.dims.values())
        for sites in by_length.values():
            sizes = range(1, len(sites) + 1) if len(sites) <= MAX_SUBSET_AXES else (1, len(sites))
            found |= {frozenset(subset) for size in sizes for subset in combinations(sites, size)}
        return {sites for sites in found if self.length(sites) > 1}

    def length(self, sites: Sites) -> int:
        """Number of labels of the axes."""
        b, axis = min(sites)
        return self.blocks[b].shape[axis]

    def classes(self, candidates: Iterable[Sites], known: Sequence[LabelClass] = ()) -> list[LabelClass]:
        """Find classes of exchangeable labels along candidates, smallest sets of axes first.

        Where a subset of a candidate's axes is a symmetry, what the candidate adds to it is tried instead.
        """
        pending, done = set(candidates), set[Sites]()
        found = list(known)
        swaps_left: defaultdict[int, int] = defaultdict(lambda: MAX_SWAPS_LENGTH)
        while pending:
            sites = min(pending, key=lambda sites: (len(sites), sorted(sites)))
            pending.remove(sites)
            done.add(sites)
            length = self.length(sites)
            limit = max(min(MAX_SWAPS, swaps_left[length]), length - 1)
            classes, n_swaps = self._exchangeable(sites, _free_labels(length, sites, found), limit)
            swaps_left[length] -= n_swaps
            found += [LabelClass(self.name(sites, labels), tuple(sorted(sites)), labels) for labels in classes]
            if classes:
                pending |= {larger - sites for larger in pending if sites < larger} - done
        for sites in sorted(done, key=lambda sites: (len(sites), sorted(sites))):
            if self.length(sites) == 2 and len(_free_labels(2, sites, found)) == 2:
                found += self._swaps_with_flip(sites)
        return found[len(known) :]

    def classes_of(self, dim: str, known: Sequence[LabelClass]) -> list[LabelClass]:
        """Find the classes of labels along a dim; ValueError where there are none."""
        sites = self.dims[dim]
        if any(sites & set(labels.sites) for labels in known):
            return []
        found = self.classes([c for c in self.candidates if c & sites], known)
        found = [labels for labels in found if sites & set(labels.sites)]
        if not found:
            n = self.length(sites)
            changes = self.check.change(self._swap(sites, 0, np.arange(1, n)), n - 1)
            what = f"swapping two of them changes log p̃ by at least {changes.min():.3g} nats" if n > 1 else "it has one"
            raise ValueError(
                f"expected that labels of {dim!r} are exchangeable; {what}. "
                "Leave it out, or look for what tells its labels apart (unequal priors, ordered values, data)."
            )
        return found

    def _exchangeable(self, sites: Sites, labels: IntArray, limit: int) -> tuple[list[IntArray], int]:
        """Sort labels into classes by swapping each with one of every class; also count the swaps tried."""
        classes, n_swaps = [], 0
        while len(labels) > 1 and n_swaps < limit:
            first, others = labels[0], labels[1:][: limit - n_swaps]
            same = self.check.passes(self._swap(sites, int(first), others), len(others))
            n_swaps += len(others)
            if same.any():
                classes.append(np.concatenate([[first], others[same]]))
            labels = np.setdiff1d(labels[1:], others[same])
        return classes, n_swaps

    def _swap(self, sites: Sites, first: int, others: IntArray, odd_flips: IntArray | None = None) -> Move:
        """Swap one label with each of others."""
        labels = np.arange(self.length(sites))
        orders = np.tile(labels, (len(others), 1))
        orders[np.arange(len(others)), first] = others
        orders[np.arange(len(others)), others] = first
        odd_flips = np.empty(0, dtype=np.int64) if odd_flips is None else odd_flips
        group = Group(self.target.d, (LabelClass("", tuple(sorted(sites)), labels, odd_flips),), (), self.blocks)

        def move(point: Array, rows: IntArray) -> Array:
            return group.apply_each(Element((orders[rows],), np.ones((len(rows), 0))), point)

        return move

    def _swaps_with_flip(self, sites: Sites) -> list[LabelClass]:
        """Try swapping two labels together with the sign of a scalar variable."""
        used = {b for b, _ in sites}
        scalars = [v for b, v in enumerate(self.target.variables) if v.value_shape == () and b not in used]
        for scalar in scalars[:MAX_SCALARS]:
            odd_flips = np.array([scalar.coordinates.start])
            if self.check.passes(self._swap(sites, 0, np.array([1]), odd_flips), 1)[0]:
                labels = np.arange(2)
                return [LabelClass(self.name(sites, labels), tuple(sorted(sites)), labels, odd_flips)]
        return []

    def name(self, sites: Sites, labels: IntArray) -> str:
        """Name a class after its dim, or after its axes."""
        part = "" if len(labels) == self.length(sites) else f" {labels.tolist()}"
        for dim, all_sites in self.dims.items():
            if sites <= all_sites:
                return dim + ("" if sites == all_sites else f" of {self._variables(sites)}") + part
        axes = sorted({axis for _, axis in sites})
        return "; ".join(f"axis {a} of {self._variables(s for s in sites if s[1] == a)}" for a in axes) + part

    def _variables(self, sites: Iterable[tuple[int, int]]) -> str:
        return ", ".join(self.blocks[b].name for b in sorted({b for b, _ in sites}))

    def join(self, classes: Sequence[LabelClass], flips: Sequence[IntArray]) -> Symmetry:
        """Make one symmetry of classes and flips; leave out flips that don't fit the classes."""
        named = tuple(SignFlip(name_flip(self.target, flip), flip) for flip in flips)
        symmetry = Symmetry(self.target.d, tuple(classes), named, self.blocks)
        if not classes or not flips:
            return symmetry
        return replace(symmetry, flips=tuple(named[f] for f in _fitting_flips(symmetry)))


def _free_labels(length: int, sites: Sites, found: Sequence[LabelClass]) -> IntArray:
    """Labels that no class holds yet along any of the sites."""
    held = [labels.labels for labels in found if sites & set(labels.sites)]
    return np.setdiff1d(np.arange(length), np.concatenate([np.empty(0, dtype=np.int64), *held]))


def _fitting_flips(group: Group) -> list[int]:
    """Flips that every swap of labels maps to flips, and that aren't a swap themselves."""
    x = np.random.default_rng(0).normal(size=(1, group.d))
    flipped = group.apply_each(group.single_flips(), x[0])
    fits = set(range(len(group.flips)))
    images = defaultdict(set)
    for c in range(len(group.classes)):
        swaps = group.all_swaps(c)
        for row in range(len(swaps)):
            swap = swaps.take(np.array([row]))
            if len(swaps) == 1:
                fits -= set(np.flatnonzero(np.isclose(flipped, group.apply(swap, x)).all(axis=1)).tolist())
            for flip, image in _images_of_flips(group, swap, x).items():
                images[flip].add(image)
    while broken := {flip for flip in fits if not images[flip] <= fits}:
        fits -= broken
    return sorted(fits)


def _images_of_flips(group: Group, swap: Element, x: Array) -> dict[int, int]:
    """Map each flip that a swap doesn't leave as it is to the flip that it becomes, or to -1; x (1, d) is generic."""
    number = {flip.coordinates.tobytes(): f for f, flip in enumerate(group.flips)}
    swapped = group.apply(swap, x)
    moved = (swapped != x)[0]
    images = {}
    for f, flip in enumerate(group.flips):
        if moved[flip.coordinates].any():
            y = swapped.copy()
            y[:, flip.coordinates] *= -1
            ratio = (group.apply(swap, y) / x)[0]
            is_flip = np.allclose(np.abs(ratio), 1)
            images[f] = number.get(np.flatnonzero(ratio < 0).tobytes(), -1) if is_flip else -1
    return images
