"""Weighted EM for Gaussian mixtures, in coordinates where the draws have a scale near one.

Draws are columns here, (d, n). They are passed over chunk by chunk, so that memory stays bounded and each
matrix product stays small enough for one thread: a pool of threads costs more than such products do.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
from scipy.linalg.lapack import dtrtri

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.approximations.fullrank import LOG_2PI

ONE_THREAD_FLOPS = 2**18  # OpenBLAS interface/gemm.c: products up to this size stay on one thread
CACHE_DOUBLES = 2**17  # 1 MiB, about the second-level cache of a core
MIN_CHUNK, MAX_CHUNK = 16, 8192
JITTER = 1e-12  # of a component's own variance, for clusters that are flat to rounding
PRIOR_DRAWS = 2.0  # pseudo-draws behind each covariance; measured: 0.1 to 4 score alike, 8 and more do worse


@dataclass(frozen=True)
class WeightedDraws:
    """Distinct draws of p, as columns x (d, n), and weights (n,) that sum to 1."""

    x: Array
    weights: Array

    @property
    def d(self) -> int:
        """Number of dimensions."""
        return int(self.x.shape[0])

    @cached_property
    def n_effective(self) -> float:
        """Kish's effective number of draws."""
        return effective_number(self.weights)

    def take(self, index: IntArray | BoolArray) -> Self:
        """Keep some of the draws, their weights normalised again."""
        weights = self.weights[index]
        return type(self)(np.ascontiguousarray(self.x[:, index]), weights / weights.sum())


@dataclass(frozen=True)
class Components:
    """Weights (M,), locs (M, d) and lower Cholesky factors (M, d, d) of a Gaussian mixture."""

    weights: Array
    locs: Array
    scale_trils: Array

    def __len__(self) -> int:
        return self.weights.size

    @property
    def d(self) -> int:
        """Number of dimensions."""
        return int(self.locs.shape[1])

    @cached_property
    def covariances(self) -> Array:
        """Covariances (M, d, d)."""
        return np.asarray(self.scale_trils @ self.scale_trils.swapaxes(1, 2))

    @cached_property
    def whiteners(self) -> Array:
        """Inverse Cholesky factors (M, d, d)."""
        return np.stack([dtrtri(tril, lower=1)[0] for tril in self.scale_trils])

    @cached_property
    def log_peaks(self) -> Array:
        """Log of weight times density at the mean, (M,)."""
        log_dets = np.log(np.diagonal(self.scale_trils, axis1=1, axis2=2)).sum(axis=1)
        return np.log(self.weights) - log_dets - 0.5 * self.d * LOG_2PI

    def affine(self, loc: Array, tril: Array) -> Self:
        """Map the mixture of z to that of loc + tril @ z."""
        return type(self)(self.weights, loc + self.locs @ tril.T, tril @ self.scale_trils)

    def keep(self, index: IntArray | BoolArray) -> Self:
        """Keep some of the components, their weights normalised again."""
        weights = self.weights[index]
        return type(self)(weights / weights.sum(), self.locs[index], self.scale_trils[index])

    def whiten(self, x: Array) -> Array:
        """Map x (d, n) to each component's own coordinates, (M, d, n)."""
        return np.asarray(self.whiteners @ (x[None] - self.locs[:, :, None]))

    def log_joint(self, whitened: Array) -> Array:
        """Evaluate the log of weight times density, (M, n), at whitened draws (M, d, n)."""
        squares = np.einsum("mdn,mdn->mn", whitened, whitened)
        return np.asarray(self.log_peaks[:, None] - 0.5 * squares)

    def log_prob(self, x: Array) -> Array:
        """Evaluate the log density of the mixture, (n,) in nats, at x (d, n)."""
        log_prob = np.empty(x.shape[1])
        for part in chunks(x.shape[1], len(self), self.d):
            joint = self.log_joint(self.whiten(np.ascontiguousarray(x[:, part])))
            top = joint.max(axis=0)
            log_prob[part] = top + np.log(np.exp(joint - top).sum(axis=0))
        return log_prob

    def assign(self, x: Array) -> IntArray:
        """Find the component with the largest responsibility for each draw, (n,)."""
        owner = np.empty(x.shape[1], dtype=np.int64)
        for part in chunks(x.shape[1], len(self), self.d):
            owner[part] = self.log_joint(self.whiten(x[:, part])).argmax(axis=0)
        return owner


class Expectation(NamedTuple):
    """What the M-step needs: sums over draws of responsibility times whitened powers."""

    log_prob: float
    counts: Array
    n_effective: Array
    first: Array
    second: Array


@dataclass(frozen=True)
class EMFit:
    """Components, the penalised log likelihood (nats a draw) before each M-step, and whether it settled."""

    components: Components
    objective: tuple[float, ...]
    converged: bool


def effective_number(weights: Array) -> float:
    """Compute Kish's effective number of draws, (sum w)² / sum w²."""
    return float(weights.sum() ** 2 / (weights @ weights))


def min_draws(d: int) -> float:
    """Effective draws that a covariance needs, d + 1, less a margin for rounding."""
    return d + 1 - 1e-9


def chunks(n: int, n_components: int, d: int) -> Iterator[slice]:
    """Cut n draws into slices that fit the cache, and one thread, for M components in d dimensions."""
    length = min(ONE_THREAD_FLOPS // d**2, CACHE_DOUBLES // (n_components * d), MAX_CHUNK)
    length = max(length, MIN_CHUNK)
    return (slice(start, start + length) for start in range(0, n, length))


def moments(x: Array, weights: Array) -> tuple[Array, Array]:
    """Compute mean (d,) and second moment about zero (d, d) of columns x (d, n) with any weights (n,)."""
    d = x.shape[0]
    first, second = np.zeros(d), np.zeros((d, d))
    for part in chunks(x.shape[1], 1, d):
        weighted = x[:, part] * weights[part]
        first += weighted.sum(axis=1)
        second += weighted @ x[:, part].T
    return first / weights.sum(), second / weights.sum()


def covariance(x: Array, weights: Array) -> tuple[Array, Array]:
    """Compute mean (d,) and covariance (d, d) of columns x (d, n)."""
    offset = x[:, :1]
    mean, second = moments(x - offset, weights)
    return mean + offset[:, 0], second - np.outer(mean, mean)


def regularise(covariances: Array, counts: Array) -> Array:
    """Shrink covariances (M, d, d) of few draws towards the pooled one: the shape, and the log of the size.

    The pooled covariance counts as d + 2 draws, Fraley and Raftery's degrees of freedom [1]_. Size is apart
    from shape so that a narrow component of many draws stays narrow while one of few draws can't collapse.

    References
    ----------
    .. [1] Fraley, C. and Raftery, A. E. (2007). doi:10.1007/s00357-007-0004-5
    """
    d = covariances.shape[1]
    pooled = np.tensordot(counts / counts.sum(), covariances, axes=1)
    pooled += JITTER * np.trace(pooled) / d * np.eye(d)
    own = (counts / (counts + d + 2))[:, None, None]
    sizes = np.trace(np.linalg.solve(pooled, covariances), axis1=1, axis2=2)[:, None, None] / d
    return own * covariances + (1 - own) * sizes**own * pooled + JITTER * sizes * np.eye(d)


def expect(draws: WeightedDraws, components: Components) -> Expectation:
    """Run the E-step and collect the sums that the M-step needs, in one pass over the draws."""
    size, d = components.locs.shape
    log_prob, counts, squares = 0.0, np.zeros(size), np.zeros(size)
    first, second = np.zeros((size, d)), np.zeros((size, d, d))
    for part in chunks(draws.weights.size, size, d):
        weights = draws.weights[part]
        whitened = components.whiten(draws.x[:, part])
        share = components.log_joint(whitened)
        top = share.max(axis=0)
        share -= top
        np.exp(share, out=share)
        total = share.sum(axis=0)
        log_prob += float(weights @ (top + np.log(total)))
        share *= weights / total
        counts += share.sum(axis=1)
        squares += np.einsum("mn,mn->m", share, share)
        weighted = whitened * share[:, None]
        first += weighted.sum(axis=2)
        second += weighted @ whitened.swapaxes(1, 2)
    n_effective = counts**2 / np.maximum(squares, np.finfo(float).tiny)
    return Expectation(log_prob, counts, n_effective, first, second)


def maximise(
    components: Components, expectation: Expectation, prior: Array, n_effective: float
) -> Components:
    """Run the M-step: the posterior mode of weights, means and covariances, in whitened coordinates."""
    counts = expectation.counts[:, None]
    shift = expectation.first / counts
    scatter = expectation.second / counts[:, :, None] - shift[:, :, None] * shift[:, None, :]
    whiteners = components.whiteners
    prior = whiteners @ prior @ whiteners.swapaxes(1, 2)
    n = n_effective * counts[:, :, None]
    factors = np.linalg.cholesky((n * scatter + PRIOR_DRAWS * prior) / (n + PRIOR_DRAWS))
    return Components(
        expectation.counts / expectation.counts.sum(),
        components.locs + np.einsum("mij,mj->mi", components.scale_trils, shift),
        components.scale_trils @ factors,
    )


def log_prior(components: Components, prior: Array) -> float:
    """Evaluate the inverse-Wishart log density of all covariances, up to a constant."""
    log_dets = 2 * np.log(np.diagonal(components.scale_trils, axis1=1, axis2=2)).sum()
    whitened = components.whiteners @ np.linalg.cholesky(prior)
    return float(-0.5 * PRIOR_DRAWS * (log_dets + (whitened**2).sum()))


def fit_em(draws: WeightedDraws, start: Components, *, tolerance: float, max_iterations: int) -> EMFit:
    """Climb the penalised likelihood of a Gaussian mixture from where it starts.

    Each covariance has an inverse-Wishart prior [1]_ whose mode is that component's covariance at the start
    and which weighs as much as `PRIOR_DRAWS` draws, so no component can collapse; one that holds fewer than
    d + 1 effective draws is dropped.

    Parameters
    ----------
    draws : WeightedDraws
    start : Components
    tolerance : float
        Stop when an iteration gains less than this, in nats a draw.
    max_iterations : int

    Returns
    -------
    EMFit
        `objective` never decreases; it starts anew when a component is dropped.

    References
    ----------
    .. [1] Fraley, C. and Raftery, A. E. (2007). Bayesian regularization for normal mixture estimation and
       model-based clustering. Journal of Classification 24, 155-181. doi:10.1007/s00357-007-0004-5
    """
    components = start
    prior = regularise(start.covariances, draws.n_effective * start.weights)
    objective: list[float] = []
    for _ in range(max_iterations):
        expectation = expect(draws, components)
        alive = expectation.n_effective >= min(min_draws(draws.d), expectation.n_effective.max())
        if not alive.all():
            components, prior, objective = components.keep(alive), prior[alive], []
            continue
        objective.append(expectation.log_prob + log_prior(components, prior) / draws.n_effective)
        if len(objective) > 1 and objective[-1] - objective[-2] < tolerance:
            return EMFit(components, tuple(objective), True)
        components = maximise(components, expectation, prior, draws.n_effective)
    return EMFit(components, tuple(objective), False)
