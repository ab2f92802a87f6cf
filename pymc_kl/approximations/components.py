"""Components of a mixture, Gaussian or Student-t, and weighted draws, as arrays.

Passes over the draws go chunk by chunk, so that memory stays bounded and each matrix product stays small enough for
one thread: a pool of threads costs more than such products do. Draws are (n, d), as everywhere; in memory, those that
many passes go over are stored coordinate by coordinate (Fortran order), as whitening reads them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, Self

import numpy as np
from scipy.linalg.lapack import dtrtri
from scipy.special import gammaln

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.numerics.constants import LOG_2PI

ONE_THREAD_FLOPS = 2**18  # largest matrix product that stays on one thread; OpenBLAS, interface/gemm.c
CACHE_DOUBLES = 2**17  # numbers that a chunk may hold, 1 MiB: about the second-level cache of a core
MIN_CHUNK = 16  # draws: least size of a chunk
MAX_CHUNK = 8192  # draws: largest size of a chunk
EFFECTIVE_ROUNDING = 1e-9  # effective draws: error of their number by rounding


class Passes(Protocol):
    """Weighted draws that are gone over part by part, any number of times."""

    @property
    def n_effective(self) -> float:
        """Kish's effective number of draws."""

    def parts(self, n_components: int) -> Iterator[tuple[Array, Array]]:
        """Yield draws (n, d) and their weights (n,), as few together as fit the cache; all weights sum to 1."""


@dataclass(frozen=True)
class WeightedDraws:
    """Distinct draws of p, x (n, d), and weights (n,) that sum to 1."""

    x: Array
    weights: Array

    @property
    def d(self) -> int:
        """Number of dimensions."""
        return int(self.x.shape[1])

    @cached_property
    def n_effective(self) -> float:
        """Kish's effective number of draws."""
        return effective_number(self.weights)

    def parts(self, n_components: int) -> Iterator[tuple[Array, Array]]:
        """Yield the draws and their weights, part by part."""
        return ((self.x[part], self.weights[part]) for part in chunks(len(self.x), n_components, self.d))

    def take(self, index: IntArray | BoolArray) -> Self:
        """Keep some of the draws and normalise their weights."""
        weights = self.weights[index]
        return type(self)(np.asfortranarray(self.x[index]), weights / weights.sum())


@dataclass(frozen=True)
class Components:
    """Weights (M,), locs (M, d) and lower Cholesky factors (M, d, d) of a mixture.

    With degrees of freedom `dfs` (M,) its components are Student-t's, without them Gaussians.
    """

    weights: Array
    locs: Array
    scale_trils: Array
    dfs: Array | None = None

    def __len__(self) -> int:
        return self.weights.size

    @property
    def d(self) -> int:
        """Number of dimensions."""
        return int(self.locs.shape[1])

    @cached_property
    def covariances(self) -> Array:
        """Covariances (M, d, d) of Gaussians; scale matrices of Student-t's."""
        return np.asarray(self.scale_trils @ self.scale_trils.swapaxes(1, 2))

    @cached_property
    def whiteners(self) -> Array:
        """Inverse Cholesky factors (M, d, d)."""
        return np.stack([dtrtri(tril, lower=1)[0] for tril in self.scale_trils])

    @cached_property
    def log_peaks(self) -> Array:
        """Log of weight times density at the centre, (M,)."""
        log_dets = np.log(np.diagonal(self.scale_trils, axis1=1, axis2=2)).sum(axis=1)
        height = -0.5 * self.d * LOG_2PI if self.dfs is None else log_height(self.dfs, self.d)
        return np.asarray(np.log(self.weights) - log_dets + height)

    def affine(self, loc: Array, tril: Array) -> Self:
        """Map the mixture of z to that of loc + tril @ z."""
        return replace(self, locs=loc + self.locs @ tril.T, scale_trils=tril @ self.scale_trils)

    def keep(self, index: IntArray | BoolArray) -> Self:
        """Keep some of the components and normalise their weights."""
        weights, dfs = self.weights[index], None if self.dfs is None else self.dfs[index]
        return type(self)(weights / weights.sum(), self.locs[index], self.scale_trils[index], dfs)

    @classmethod
    def join(cls, weights: Array, parts: Sequence[Self]) -> Self:
        """Join the components of several mixtures, all Gaussian or all Student-t, in one with these weights."""
        dfs = [part.dfs for part in parts if part.dfs is not None]
        return cls(
            weights,
            np.concatenate([part.locs for part in parts]),
            np.concatenate([part.scale_trils for part in parts]),
            np.concatenate(dfs) if dfs else None,
        )

    def images(self, maps: Array) -> Self:
        """Average the images of the mixture under linear maps (g, d, d)."""
        n, d = maps.shape[:2]
        factors = np.einsum("gij,mjk->gmik", maps, self.scale_trils).reshape(-1, d, d)
        return type(self)(
            np.tile(self.weights / n, n),
            np.einsum("gij,mj->gmi", maps, self.locs).reshape(-1, d),
            np.linalg.cholesky(factors @ factors.transpose(0, 2, 1)),
            None if self.dfs is None else np.tile(self.dfs, n),
        )

    def whiten(self, x: Array) -> Array:
        """Map x (n, d) to each component's own coordinates, (M, n, d), where it is standard."""
        return np.asarray(self.whiteners @ (x.T[None] - self.locs[:, :, None])).swapaxes(1, 2)

    def log_joint(self, squares: Array) -> Array:
        """Evaluate the log of weight times density, (M, n), at squared lengths (M, n) of whitened draws."""
        if self.dfs is None:
            return np.asarray(self.log_peaks[:, None] - 0.5 * squares)
        dfs = self.dfs[:, None]
        return np.asarray(self.log_peaks[:, None] - 0.5 * (dfs + self.d) * np.log1p(squares / dfs))

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw (n, d)."""
        component = rng.choice(len(self), size=n, p=self.weights)
        x = rng.standard_normal((n, self.d))
        if self.dfs is not None:
            x /= np.sqrt(rng.chisquare(self.dfs[component]) / self.dfs[component])[:, None]
        for k in range(len(self)):
            rows = component == k
            x[rows] = self.locs[k] + x[rows] @ self.scale_trils[k].T
        return x

    def log_prob(self, x: Array) -> Array:
        """Evaluate the log density of the mixture, (n,) in nats, at x (n, d)."""
        log_prob = np.empty(len(x))
        for part in chunks(len(x), len(self), self.d):
            joint = self.log_joint(squared_lengths(self.whiten(np.asfortranarray(x[part]))))
            top = joint.max(axis=0)
            log_prob[part] = top + np.log(np.exp(joint - top).sum(axis=0))
        return log_prob

    def assign(self, x: Array) -> IntArray:
        """Find the component with the largest responsibility for each draw (n,)."""
        component = np.empty(len(x), dtype=np.int64)
        for part in chunks(len(x), len(self), self.d):
            component[part] = self.log_joint(squared_lengths(self.whiten(x[part]))).argmax(axis=0)
        return component


def squared_lengths(whitened: Array) -> Array:
    """Compute |z|² (M, n) of whitened draws (M, n, d)."""
    return np.asarray(np.einsum("mnd,mnd->mn", whitened, whitened))


def log_height(df: Array | float, d: int) -> Array:
    """Evaluate the log density of a multivariate t of unit scale at its centre."""
    return np.asarray(gammaln((df + d) / 2) - gammaln(df / 2) - 0.5 * d * np.log(df * np.pi))


def effective_number(weights: Array) -> float:
    """Compute Kish's effective number of draws, (sum w)² / sum w²."""
    return float(weights.sum() ** 2 / (weights @ weights))


def min_draws(d: int) -> float:
    """Return how many effective draws a covariance needs: d + 1, less a margin for rounding."""
    return d + 1 - EFFECTIVE_ROUNDING


def chunks(n: int, n_components: int, d: int) -> Iterator[slice]:
    """Cut n draws into slices whose products with M components in d dimensions fit the cache and one thread."""
    length = min(ONE_THREAD_FLOPS // d**2, CACHE_DOUBLES // (n_components * d), MAX_CHUNK)
    length = max(length, MIN_CHUNK)
    return (slice(start, start + length) for start in range(0, n, length))


def moments(x: Array, weights: Array) -> tuple[Array, Array]:
    """Compute mean (d,) and second moment about zero (d, d) of draws x (n, d) with any weights (n,)."""
    n, d = x.shape
    first, second = np.zeros(d), np.zeros((d, d))
    for part in chunks(n, 1, d):
        weighted = x[part] * weights[part, None]
        first += weighted.sum(axis=0)
        second += weighted.T @ x[part]
    return first / weights.sum(), second / weights.sum()


def covariance(x: Array, weights: Array) -> tuple[Array, Array]:
    """Compute mean (d,) and covariance (d, d) of draws x (n, d)."""
    offset = x[0]
    mean, second = moments(x - offset, weights)
    return mean + offset, second - np.outer(mean, mean)
