"""Weighted EM for mixtures of Gaussians or Student-t's, with a prior on each covariance."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma

from pymc_kl._typing import Array, BoolArray
from pymc_kl.approximations.components import Components, Passes, min_draws, squared_lengths
from pymc_kl.approximations.estimation.student_ml import MAX_DF, MIN_DF

JITTER = 1e-12  # part of a component's variance that is added where its draws are flat to rounding; our choice
PRIOR_DRAWS = 2.0  # pseudo-draws behind each covariance; measured: 0.1 to 4 score alike, 8 and more do worse


class Expectation(NamedTuple):
    """What the M-step needs: sums over draws of responsibility times powers of whitened draws.

    `counts` (M,) are sums of weight times responsibility. `n_effective` (M,) is Kish's effective number of
    draws, or the plain sum of responsibilities where that is less, as in a component that vanishes. For
    Student-t's, `first`, `second` and `precisions` (M,) count a draw by its expected precision u as well, which is
    small in the tails, and `log_precisions` (M,) are sums of responsibility times log u - u.
    """

    log_prob: float
    counts: Array
    n_effective: Array
    first: Array
    second: Array
    precisions: Array
    log_precisions: Array


class Prior(NamedTuple):
    """Inverse-Wishart priors: the mode of each covariance (M, d, d), and the draws (M,) it counts as."""

    modes: Array
    draws: Array

    def keep(self, index: BoolArray) -> Self:
        """Keep some of the components."""
        return type(self)(self.modes[index], self.draws[index])

    def log_density(self, components: Components) -> float:
        """Evaluate the log density of all covariances, up to a constant."""
        log_dets = 2 * np.log(np.diagonal(components.scale_trils, axis1=1, axis2=2)).sum(axis=1)
        whitened = components.whiteners @ np.linalg.cholesky(self.modes)
        return float(-0.5 * self.draws @ (log_dets + (whitened**2).sum(axis=(1, 2))))


@dataclass(frozen=True)
class EMFit:
    """Components, the penalised log likelihood (nats a draw) before each M-step, and whether it settled."""

    components: Components
    objective: tuple[float, ...]
    converged: bool


def regularise(covariances: Array, counts: Array) -> Array:
    """Shrink covariances (M, d, d) towards the pooled one (Fraley and Raftery 2007 [1]_), shape apart from size.

    The pooled covariance counts as d + 2 draws, their degrees of freedom. The log of the size is shrunk apart from
    the shape, so that a narrow component of many draws stays narrow while one of few draws cannot collapse.

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


def expect(draws: Passes, components: Components) -> Expectation:
    """Run the E-step and collect the sums that the M-step needs, in one pass over the draws."""
    size, d = components.locs.shape
    log_prob, counts, squares, totals = 0.0, np.zeros(size), np.zeros(size), np.zeros(size)
    first, second = np.zeros((size, d)), np.zeros((size, d, d))
    precisions, log_precisions = np.zeros(size), np.zeros(size)
    for x, weights in draws.parts(size):
        whitened = components.whiten(x)
        lengths = squared_lengths(whitened)
        responsibility = components.log_joint(lengths)
        top = responsibility.max(axis=0)
        responsibility -= top
        np.exp(responsibility, out=responsibility)
        total = responsibility.sum(axis=0)
        log_prob += float(weights @ (top + np.log(total)))
        responsibility /= total
        totals += responsibility.sum(axis=1)
        responsibility *= weights
        counts += responsibility.sum(axis=1)
        squares += np.einsum("mn,mn->m", responsibility, responsibility)
        if components.dfs is not None:
            precision = (components.dfs[:, None] + d) / (components.dfs[:, None] + lengths)
            log_precisions += np.einsum("mn,mn->m", responsibility, np.log(precision) - precision)
            responsibility *= precision
            precisions += responsibility.sum(axis=1)
        weighted = whitened * responsibility[:, :, None]
        first += weighted.sum(axis=1)
        second += weighted.swapaxes(1, 2) @ whitened
    kish = counts**2 / np.maximum(squares, np.finfo(float).tiny)
    if components.dfs is None:
        precisions, log_precisions = counts, -counts
    return Expectation(log_prob, counts, np.minimum(kish, totals), first, second, precisions, log_precisions)


def maximise(components: Components, expectation: Expectation, prior: Prior, n_effective: float) -> Components:
    """Run the M-step: the posterior mode of all parameters, in whitened coordinates."""
    counts, precisions = expectation.counts, expectation.precisions
    shift = expectation.first / precisions[:, None]
    about = precisions[:, None, None] * shift[:, :, None] * shift[:, None, :]
    scatter = (expectation.second - about) / counts[:, None, None]
    whiteners = components.whiteners
    modes = whiteners @ prior.modes @ whiteners.swapaxes(1, 2)
    shrinkage = prior.draws / (n_effective * counts + prior.draws)
    factors = np.linalg.cholesky(scatter + shrinkage[:, None, None] * (modes - scatter))
    return Components(
        counts / counts.sum(),
        components.locs + np.einsum("mij,mj->mi", components.scale_trils, shift),
        components.scale_trils @ factors,
        None if components.dfs is None else maximise_dfs(components.dfs, components.d, expectation),
    )


def maximise_dfs(dfs: Array, d: int, expectation: Expectation) -> Array:
    """Find the degrees of freedom (M,) that maximise the expected log likelihood, within their bounds."""
    half = (dfs + d) / 2
    constants = 1 + expectation.log_precisions / expectation.counts + digamma(half) - np.log(half)

    def slope(df: float, constant: float) -> float:
        return float(np.log(df / 2) - digamma(df / 2) + constant)

    return np.array([_root(slope, constant) for constant in constants])


def _root(slope: Callable[[float, float], float], constant: float) -> float:
    """Find the degrees of freedom at which a decreasing slope is zero, or the bound nearest to that."""
    if slope(MIN_DF, constant) <= 0:
        return MIN_DF
    if slope(MAX_DF, constant) >= 0:
        return MAX_DF
    return float(brentq(slope, MIN_DF, MAX_DF, args=(constant,), rtol=1e-9))


def set_prior(components: Components, expectation: Expectation, n_effective: float) -> Prior:
    """Give each covariance a prior that counts as `PRIOR_DRAWS` effective draws of its component."""
    draws = PRIOR_DRAWS * n_effective * expectation.counts / expectation.n_effective
    return Prior(regularise(components.covariances, expectation.n_effective), draws)


def fit_em(draws: Passes, start: Components, *, tolerance: float, max_iterations: int) -> EMFit:
    """Fit a mixture by EM (Dempster, Laird and Rubin 1977), of Student-t's by ECM (Peel and McLachlan 2000 [2]_).

    Each covariance has an inverse-Wishart prior [1]_ whose mode is that component's covariance at the start,
    shrunk by `regularise`, and which counts as `PRIOR_DRAWS` of its draws, so that no component can collapse. A
    component that holds fewer than d + 1 effective draws is dropped.

    Parameters
    ----------
    draws : WeightedDraws, or others that are gone over in parts
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
    .. [2] Peel, D. and McLachlan, G. J. (2000). Robust mixture modelling using the t distribution. Statistics and
       Computing 10, 339-348. doi:10.1023/A:1008981510081
    """
    components, prior = start, None
    objective: list[float] = []
    for _ in range(max_iterations):
        expectation = expect(draws, components)
        alive = expectation.n_effective >= min(min_draws(components.d), expectation.n_effective.max())
        if not alive.all():
            components, prior, objective = components.keep(alive), prior and prior.keep(alive), []
            continue
        prior = prior or set_prior(components, expectation, draws.n_effective)
        objective.append(expectation.log_prob + prior.log_density(components) / draws.n_effective)
        if len(objective) > 1 and objective[-1] - objective[-2] < tolerance:
            return EMFit(components, tuple(objective), True)
        components = maximise(components, expectation, prior, draws.n_effective)
    return EMFit(components, tuple(objective), False)
