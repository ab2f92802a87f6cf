"""How far a peak reaches: by its Hessian where log p̃ falls as that says, else by where log p̃ has fallen.

A Hessian says nothing of a cusp (it is infinite) and of a flat top (it is zero). There the width along a principal
axis is half the distance at which log p̃ has fallen by 2 nats, as it does two standard deviations from the maximum of
a Gaussian. Of a spike on a hill the Hessian sees the spike; rays from the maximum tell what lies further out, for as
long as log p̃ falls along them.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh, eigvalsh
from scipy.special import logsumexp

from pymc_kl._typing import Array, BoolArray
from pymc_kl.modes.local_scale import local_scale
from pymc_kl.numerics.lbfgs import Climbed, ValueAndGrad, climb
from pymc_kl.numerics.whitening import unwhiten, whiten

FLAT = 1e-6  # least curvature along an axis that counts, relative to the largest; bounds rounding; our choice
LEVEL = 2.0  # nats below the maximum where a width is measured: two standard deviations of a Gaussian
NEAR, FAR = 1.0, 4.0  # standard deviations by the Hessian between which log p̃ falls by LEVEL if it is right; our choice
RISE = 1e-3  # nats that log p̃ may rise on the way from a maximum; bounds the error of where a climb ended; our choice
RADII = 2.0 ** np.arange(-14, 15)  # local standard deviations at which log p̃ is looked at; our choice
FLOOR = 1e-12  # nats: smaller falls are rounding
RIDGE = 0.5  # part of the way from a flat axis back that a climb may leave; if more, it is a ridge; our choice
N_RAYS = 8  # random directions, each with its opposite, along which mass further out is looked for; our choice
RAY_RADII = 2.0 ** (np.arange(-4, 27) / 2)  # distances along a ray over √d standard deviations; our choice
N_BESIDE = 16  # ends of climbs beside which the local scale is measured; our choice
AT_ONCE = 2**22  # coordinates of points evaluated together; bounds memory; our choice
HILL = 16.0  # mean square distance per dimension, in standard deviations, from which there is a hill; our choice


@dataclass(frozen=True, eq=False)
class Axes:
    """A maximum and orthogonal directions about it, in whitened coordinates.

    Attributes
    ----------
    value_and_grad : callable
        (n, d) -> log p̃ (n,) and its gradient (n, d), unconstrained space.
    x : array (d,)
        The maximum, unconstrained space.
    value : float
        log p̃ there, nats.
    scale : array (d, d)
        Lower Cholesky factor of the local covariance, which whitens.
    axes : array (m, d)
        Unit vectors.
    """

    value_and_grad: ValueAndGrad
    x: Array
    value: float
    scale: Array
    axes: Array

    def points(self, radii: Array) -> Array:
        """Points (m, 2, r, d), unconstrained space, at distances (m, r) on both sides along each axis."""
        away = self.axes[:, None, None] * np.stack([radii, -radii], axis=1)[..., None]
        return self.x + unwhiten(away, self.scale)

    def falls(self, radii: Array) -> Array:
        """Nats (m, 2, r) by which log p̃ has fallen there; infinite outside the support."""
        n = max(AT_ONCE // (2 * radii.shape[1] * len(self.x)), 1)
        value = np.empty((len(radii), 2, radii.shape[1]))
        with np.errstate(invalid="ignore", over="ignore"):
            for i in range(0, len(radii), n):
                x = self.take(slice(i, i + n)).points(radii[i : i + n])
                value[i : i + n] = self.value_and_grad(x.reshape(-1, len(self.x)))[0].reshape(x.shape[:-1])
        return np.where(np.isfinite(value), self.value - value, np.inf)

    def take(self, rows: BoolArray | slice) -> "Axes":
        """Return some of the axes."""
        return Axes(self.value_and_grad, self.x, self.value, self.scale, self.axes[rows])


@dataclass(frozen=True, eq=False)
class Peak:
    """The shape of a peak.

    Attributes
    ----------
    precision : array (d, d)
        That of a Gaussian as wide as the peak, unconstrained space.
    log_volume : float
        Log of the integral of p̃ over its basin, less log p̃ at the maximum, as far as lines and rays tell.
    misled : bool
        The Hessian misleads along some axis, so that a climb may end anywhere near the top.
    """

    precision: Array
    log_volume: float
    misled: bool = False


def peak_shape(value_and_grad: ValueAndGrad, x: Array, curvature: Array, scale: Array) -> Peak | None:
    """Find the shape of a peak; None where x (d,) is no maximum, or one point of a ridge.

    Parameters
    ----------
    value_and_grad : callable
    x : array (d,)
        Where a climb ended.
    curvature : array (d, d)
        Minus the Hessian there, in whitened coordinates; it need not be finite or positive.
    scale : array (d, d)
        Lower Cholesky factor of the local covariance, which whitens.
    """
    value = float(value_and_grad(x[None])[0][0])
    eigen = _principal_axes(value_and_grad, x, value, curvature, scale)
    if eigen is None:
        return None
    eigenvalues, vectors, misled = eigen
    inverse = np.linalg.inv(scale)
    precision = inverse.T @ (vectors * eigenvalues @ vectors.T) @ inverse
    laplace = -0.5 * float(np.linalg.slogdet(precision / (2 * np.pi))[1])
    width, more = _further_out(value_and_grad, x, value, scale @ vectors / np.sqrt(eigenvalues))
    return Peak(precision / width**2, laplace + more, misled)


def _principal_axes(
    value_and_grad: ValueAndGrad, x: Array, value: float, curvature: Array, scale: Array
) -> tuple[Array, Array, bool] | None:
    """Find a peak's whitened precisions (d,) along axes, the columns of (d, d), and whether the Hessian misleads."""
    eigenvalues, vectors = eigh(curvature if np.isfinite(curvature).all() else np.zeros_like(curvature))
    peak = Axes(value_and_grad, x, value, scale, vectors.T)
    curved = eigenvalues > FLAT * max(eigenvalues[-1], FLAT)
    doubtful = ~curved
    doubtful[curved] = _contradicted(peak.take(curved), eigenvalues[curved])
    if not doubtful.any():
        return eigenvalues, vectors, False
    widths = _widths(peak.take(doubtful))
    unknown = np.isnan(widths)
    flat = ~curved[doubtful]
    if (unknown & flat).any() or _on_a_ridge(peak.take(doubtful).take(flat), 2 * widths[flat]):
        return None
    if (secant := _secant_curvature(value_and_grad, x, value, scale)) is not None:
        return *eigh(secant), True
    eigenvalues[doubtful] = np.where(unknown, eigenvalues[doubtful], 1 / widths**2)
    return eigenvalues, vectors, True


def _secant_curvature(value_and_grad: ValueAndGrad, x: Array, value: float, scale: Array) -> Array | None:
    """Whitened curvature (d, d) by gradients a width away along each coordinate; None where it is not positive.

    Cusps lie along coordinates mostly. Steps along whitened axes cross several of them at once, and a Hessian by such
    steps mixes narrow directions into all others. Along each coordinate the curvature is that of the width.
    """
    lines = Axes(value_and_grad, x, value, np.diag(np.linalg.norm(scale, axis=1)), np.eye(len(x)))
    widths = _widths(lines)
    if not np.isfinite(widths).all():
        return None
    points = lines.points(widths[:, None])[:, :, 0]
    grads = value_and_grad(points.reshape(-1, len(x)))[1].reshape(points.shape)
    across = np.diagonal(points[:, 0] - points[:, 1])
    secant = (grads[:, 1] - grads[:, 0]) / across[:, None]
    if not np.isfinite(secant).all() or (np.diag(secant) <= 0).any():
        return None
    to_width = 2 / across / np.sqrt(np.diag(secant))
    secant = scale.T @ (to_width[:, None] * (secant + secant.T) / 2 * to_width) @ scale
    eigenvalues = eigvalsh(secant)
    return secant if eigenvalues[0] > FLAT * eigenvalues[-1] else None


def scale_beside(value_and_grad: ValueAndGrad, ends: Climbed, scale: Array) -> Array:
    """Estimate the local scale (d, d) where climbs stopped short: on a ridge of which they knew nothing but the width.

    It is that of gradients on both sides of the highest ends, where log p̃ has fallen by half a nat along each axis.
    """
    highest = np.argsort(-np.nan_to_num(ends.log_density, nan=-np.inf), kind="stable")[:N_BESIDE]
    beside = []
    for x, value in zip(ends.x[highest], ends.log_density[highest], strict=True):
        lines = Axes(value_and_grad, x, float(value), scale, np.eye(len(x)))
        widths = _widths(lines)
        beside.append(lines.take(np.isfinite(widths)).points(widths[np.isfinite(widths), None]).reshape(-1, len(x)))
    grads = value_and_grad(np.concatenate(beside))[1]
    return local_scale(grads) if len(grads) else scale


def _further_out(value_and_grad: ValueAndGrad, x: Array, value: float, factor: Array) -> tuple[float, float]:
    """Look along rays for a hill under the peak: how many times as wide it is, and how many nats more mass it holds.

    The integral over shells about the maximum is compared with that of the Gaussian that has the covariance
    `factor factorᵀ`; a ray ends where log p̃ rises again, since what lies beyond is another basin's.
    """
    d = len(x)
    rays = np.random.default_rng(0).standard_normal((N_RAYS, d))  # the same rays whatever was drawn before
    radii = np.sqrt(d) * RAY_RADII
    lines = Axes(value_and_grad, x, value, factor, rays / np.linalg.norm(rays, axis=1, keepdims=True))
    falls = lines.falls(np.broadcast_to(radii, (N_RAYS, len(radii)))).reshape(-1, len(radii))
    highest = np.maximum.accumulate(falls, axis=1)
    falls = np.where(np.maximum.accumulate(falls < highest - RISE, axis=1), np.inf, falls)
    shells = d * np.log(radii) + logsumexp(-falls, axis=0) - np.log(len(falls))
    more = float(logsumexp(shells) - logsumexp(d * np.log(radii) - 0.5 * radii**2))
    width = float(np.exp(0.5 * (logsumexp(shells + 2 * np.log(radii)) - logsumexp(shells)))) / np.sqrt(d)
    return (width, more) if more > 0 and width**2 > HILL else (1.0, 0.0)


def _contradicted(peak: Axes, eigenvalues: Array) -> BoolArray:
    """Tell along which axes (m,) log p̃ falls far sooner or far later than the curvature says."""
    sd = 1 / np.sqrt(eigenvalues)
    fall = peak.falls(sd[:, None] * np.array([NEAR, FAR])).mean(axis=1)
    return np.asarray((fall[:, 0] > LEVEL) | (fall[:, 1] < LEVEL))


def _widths(peak: Axes) -> Array:
    """Half the distance (m,) at which log p̃ has fallen by LEVEL; NaN where it rises before it has on both sides."""
    falls = peak.falls(np.broadcast_to(RADII, (len(peak.axes), len(RADII))))
    sides = _crossings(falls.reshape(-1, len(RADII))).reshape(-1, 2)
    known = np.isfinite(sides)
    total = np.where(known, sides, 0.0).sum(axis=1)
    n = known.sum(axis=1)
    return np.asarray(np.where(n > 0, total / np.maximum(n, 1), np.nan) / 2)


def _crossings(falls: Array) -> Array:
    """Distance (m,) at which falls (m, r) at RADII cross LEVEL; NaN where none does or log p̃ rises before."""
    crossed = falls >= LEVEL
    first = np.where(crossed.any(axis=1), crossed.argmax(axis=1), -1)
    rows = np.arange(len(falls))
    before = np.arange(falls.shape[1]) < first[:, None]
    highest = np.maximum.accumulate(np.maximum(falls, 0.0), axis=1)
    rises = (before & (falls < highest - RISE)).any(axis=1)
    low = np.maximum(falls[rows, np.maximum(first - 1, 0)], FLOOR)
    high = np.minimum(falls[rows, first], 1 / FLOOR)
    with np.errstate(invalid="ignore", divide="ignore"):  # of rows that never cross
        part = np.log(LEVEL / low) / np.log(high / low)  # log p̃ falls as a power of the distance between two radii
    distance = RADII[np.maximum(first - 1, 0)] * 2.0**part
    return np.where((first > 0) & ~rises, distance, np.nan)


def _on_a_ridge(peak: Axes, radii: Array) -> bool:
    """Tell whether a climb from either end of any axis stays away from the maximum, as high as it: along a ridge."""
    if not len(radii):
        return False
    starts = peak.points(radii[:, None]).reshape(-1, len(peak.x))
    ends = climb(peak.value_and_grad, starts, peak.scale)
    away = np.linalg.norm(whiten(ends.x - peak.x, peak.scale), axis=1)
    as_high = ends.log_density > peak.value - RISE
    return bool((as_high & (away > RIDGE * np.repeat(radii, 2))).any())
