"""Where the search for modes starts: the prior at several scales, the neighbourhood of modes, the user's points."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from pymc_kl._typing import Array, IntArray
from pymc_kl.arguments import real_array
from pymc_kl.model.target import Target

SCALES = (1.0, 0.5, 2.0, 0.25)  # widths relative to the prior; from wide starts alone all climbs end in the widest mode
JUMP_LENGTH = (2.0, 12.0)  # least and greatest length of a jump, in standard deviations of a mode; our choice
SHIFT_LENGTH = (2.0, 32.0)  # the same of a coordinate of a variable that is shifted; our choice
LARGEST = 1e100  # size of a prior draw at the most, and its inverse at the least; double precision ends at 1e308
SHOWN_COORDINATES = 4  # most coordinates of a point that an error shows


@dataclass(eq=False)
class PriorStarts:
    """Starts from the prior, handed out in order; those that are needed early are drawn before the search.

    Parameters
    ----------
    target : Target
    n_starts : int
        How many are handed out in all.
    rng : Generator
    ready : array (n, d)
        Those drawn and not handed out yet.
    """

    target: Target
    n_starts: int
    rng: np.random.Generator
    ready: Array

    @classmethod
    def draw(cls, target: Target, n_starts: int, rng: np.random.Generator, *, ahead: int) -> "PriorStarts":
        """Draw up to `ahead` starts; the rest are drawn once they are needed."""
        return cls(target, n_starts, rng, prior_starts(target, min(n_starts, ahead), rng))

    def take(self, n: int) -> Array:
        """Hand out the next n starts (n, d)."""
        if n > len(self.ready):
            more = prior_starts(self.target, self.n_starts - len(self.ready), self.rng)
            self.ready = np.concatenate([self.ready, more])
        taken, self.ready = self.ready[:n], self.ready[n:]
        return taken


def prior_starts(target: Target, n: int, rng: np.random.Generator) -> Array:
    """Draw n starts (n, d) from the prior, spread about its centre at several scales in turn."""
    x = target.initial_points(n, rng)
    check_scale(x, target)
    centre = np.median(x, axis=0)
    scale = np.resize(SCALES, n)[:, None]
    return np.asarray(centre + scale * (x - centre))


def jumps(x: Array, covariances: Array, n: int, rng: np.random.Generator) -> Array:
    """Jump n times from modes (K, d) by several of their standard deviations, in random directions."""
    from_mode = rng.integers(len(x), size=n)
    factors = np.linalg.cholesky(covariances)
    direction = rng.standard_normal((n, x.shape[1]))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    length = _lengths(JUMP_LENGTH, n, rng) * np.sqrt(x.shape[1])
    step = np.einsum("nij,nj->ni", factors[from_mode], direction * length)
    return np.asarray(x[from_mode] + step)


def shifts(x: Array, covariances: Array, variables: IntArray, n: int, rng: np.random.Generator) -> Array:
    """Shift whole variables n times from modes (K, d): all coordinates of one by as many of their sds.

    In many dimensions a jump in a random direction ends nowhere; vectors of a model often move as one. Variables
    (d,) are numbered from 0; each is shifted up, down or, about half of the time, not at all.
    """
    from_mode = rng.integers(len(x), size=n)
    shape = n, int(variables.max()) + 1
    moves = rng.random(shape) < 0.5
    moves[np.arange(n), rng.integers(shape[1], size=n)] = True
    signs = np.where(moves, rng.choice([-1.0, 1.0], shape), 0.0)[:, variables]
    sds = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))[from_mode]
    return np.asarray(x[from_mode] + signs * sds * _lengths(SHIFT_LENGTH, n, rng))


def _lengths(ends: tuple[float, float], n: int, rng: np.random.Generator) -> Array:
    """Draw lengths (n, 1) that are uniform in log."""
    return np.exp(rng.uniform(*np.log(ends), size=(n, 1)))


def start_points(name: str, value: Any) -> None:
    """Allow draws, and points that are finite numbers."""
    if isinstance(value, xr.DataTree | xr.Dataset):
        return
    x = real_array(name, value)
    if x.ndim > 2 or not x.size:
        raise ValueError(f"{name} must have shape (n, d), points of the unconstrained space; got {x.shape}.")
    if n_bad := int((~np.isfinite(x)).sum()):
        raise ValueError(f"{name} must be finite; {n_bad} of {x.size} numbers are not.")


def user_starts(starts: xr.DataTree | xr.Dataset | Array, target: Target) -> Array:
    """Take the user's starts to the unconstrained space (n, d) and check that the model allows them."""
    if isinstance(starts, xr.DataTree | xr.Dataset):
        x = target.unconstrain(starts).reshape(-1, target.d)
    else:
        x = np.atleast_2d(real_array("starts", starts))
    if x.shape[1] != target.d:
        raise ValueError(f"starts must have shape (n, {target.d}); got {x.shape}.")
    value = target.log_density(x)
    check_density(value, x, target)
    if (outside := ~np.isfinite(value)).any():
        raise ValueError(
            f"{outside.sum()} of {len(x)} starts lie outside the support of the model (the first is row "
            f"{int(outside.argmax())}). An array is taken as points of the unconstrained space; for points of "
            "the model's own space give a Dataset with dims (chain, draw, ...)."
        )
    return x


def check_density(value: Array, x: Array, target: Target) -> None:
    """Raise where a log density (n,) at points (n, d) is +inf: such a posterior has no masses to compare."""
    if not len(bad := np.flatnonzero(value == np.inf)):
        return
    point = zip(target.labels[:SHOWN_COORDINATES], x[bad[0], :SHOWN_COORDINATES], strict=False)
    where = ", ".join(f"{label} = {value:.4g}" for label, value in point)
    raise ValueError(
        f"the log density is +inf at {where}{', …' if target.d > SHOWN_COORDINATES else ''}: the model's density is "
        "unbounded there, and masses of modes mean nothing. Bound the parameter away from that point (a prior that "
        "keeps a scale off zero, say)."
    )


def check_scale(x: Array, target: Target) -> None:
    """Raise where draws of the prior (n, d) are so large or so small that their squares can't be held."""
    size = np.abs(x).max(axis=0)
    if len(bad := np.flatnonzero((size > LARGEST) | ((size > 0) & (size < 1 / LARGEST)))):
        raise ValueError(
            f"the prior puts `{target.labels[bad[0]]}` at {size[bad[0]]:.1g}, and squares of such numbers can't be "
            "held. Give that parameter another unit."
        )


def check_initial_point(target: Target) -> None:
    """Raise if the log density is NaN at the model's initial point: something in the model is undefined."""
    x = target.initial_point()[None]
    value = target.log_density(x)
    check_density(value, x, target)
    if np.isnan(value[0]):
        raise ValueError(
            "the model's log density is NaN at its initial point. Find the term with model.point_logps() or "
            "model.debug(): a NaN in the data, a negative scale or log of zero are the usual causes."
        )
