"""Normalised densities fitted to the draws of a mode: the other end of a bridge."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import gammaln, logsumexp

from pymc_kl._typing import Array, IntArray
from pymc_kl.approximations import Approximation, LowRank, Mixture, StudentTMixture
from pymc_kl.approximations.estimation.moments import weighted_moments
from pymc_kl.numerics.constants import LOG_2PI
from pymc_kl.reference.local_draws import LocalDraws

HEAVY_DF = 5.0  # degrees of freedom of heavy-tailed proposals, whose variance is finite; our choice
GAIN = 0.01  # nats a draw that a mixture must gain over one component; our choice
N_BLOCKS = 20  # runs of neighbouring draws that a mixture is cross-validated on; our choice


class NormalisedDensity(Protocol):
    """What a bridge needs of its other end."""

    @property
    def name(self) -> str:
        """What was fitted."""

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw (n, d)."""

    def log_prob(self, x: Array) -> Array:
        """Evaluate the log density (n,) at x (n, d), in nats."""


def log_kernel(square: Array, d: int, df: float) -> Array:
    """Log density of the standard normal or Student-t in d dimensions at squared distances (n,)."""
    if np.isinf(df):
        return np.asarray(-0.5 * square - 0.5 * d * LOG_2PI)
    half = (df + d) / 2
    constant = gammaln(half) - gammaln(df / 2) - 0.5 * d * np.log(df * np.pi)
    return np.asarray(constant - half * np.log1p(square / df))


@dataclass(frozen=True, eq=False)
class Proposal:
    """Mixture of Gaussians, or of Student-t's with the same covariances.

    Parameters
    ----------
    name : str
        What was fitted.
    weights : array (M,)
    locs : array (M, d)
    scale_trils : array (M, d, d)
        Of the components' covariances.
    df : float
        Degrees of freedom; infinite for Gaussians.
    """

    name: str
    weights: Array
    locs: Array
    scale_trils: Array
    df: float = np.inf

    @property
    def _trils(self) -> Array:
        return self.scale_trils * (1.0 if np.isinf(self.df) else np.sqrt((self.df - 2) / self.df))

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw (n, d)."""
        component = rng.choice(len(self.weights), n, p=self.weights)
        z = rng.standard_normal((n, self.locs.shape[1]))
        if np.isfinite(self.df):
            z /= np.sqrt(rng.chisquare(self.df, n) / self.df)[:, None]
        x = np.empty_like(z)
        for k, tril in enumerate(self._trils):
            rows = component == k
            x[rows] = self.locs[k] + z[rows] @ tril.T
        return x

    def log_prob(self, x: Array) -> Array:
        """Evaluate the log density (n,) at x (n, d), in nats."""
        d = x.shape[1]
        parts = np.empty((len(self.weights), len(x)))
        for k, tril in enumerate(self._trils):
            z = solve_triangular(tril, (x - self.locs[k]).T, lower=True, check_finite=False)
            log_det = np.log(np.diag(tril)).sum()
            parts[k] = log_kernel((z**2).sum(axis=0), d, self.df) - log_det + np.log(self.weights[k])
        return np.asarray(logsumexp(parts, axis=0))

    def with_df(self, df: float) -> "Proposal":
        """Return the proposal with other tails."""
        name = self.name if np.isinf(df) else f"{self.name}, t with {df:g} degrees of freedom"
        return Proposal(name, self.weights, self.locs, self.scale_trils, df)


def fit_proposal(
    x: Array, maximum: IntArray, laplace: tuple[Array, Array] | None, rng: np.random.Generator
) -> Proposal:
    """Fit the family that scores best on draws held out, then fit it to all.

    Parameters
    ----------
    x : array (n, d)
        Draws of one mode, in the order of their chains.
    maximum : array (n,) of int
        Maximum that each draw is assigned to: where a mode has several, a mixture starts from them.
    laplace : tuple of array (d,) and array (d, d), optional
        Location and covariance of Laplace's approximation.
    rng : Generator

    Returns
    -------
    Proposal
        A Gaussian with shrunk covariance, Laplace's approximation or a mixture, with normal or heavy tails.
    """
    half = len(x) // 2
    train, held_out = x[:half], x[half:]
    fixed = [] if laplace is None else [_single("Laplace", *laplace)]
    best = _best([*fixed, shrunk_gaussian(train, laplace)], held_out)
    mixture = _mixture(x, maximum, rng)
    if mixture is not None and mixture[1] > _score(best, held_out) + GAIN:
        return _best([mixture[0]], x)
    return best if best.name.startswith("Laplace") else shrunk_gaussian(x, laplace).with_df(best.df)


def _best(tries: list[Proposal], held_out: Array) -> Proposal:
    """Choose by mean log density; each is tried with heavy tails as well."""
    return max((t.with_df(df) for t in tries for df in (np.inf, HEAVY_DF)), key=lambda q: _score(q, held_out))


def _score(q: Proposal, x: Array) -> float:
    return float(q.log_prob(x).mean())


def _single(name: str, loc: Array, covariance: Array) -> Proposal:
    return Proposal(name, np.ones(1), loc[None], np.linalg.cholesky(covariance)[None])


def shrunk_gaussian(x: Array, laplace: tuple[Array, Array] | None) -> Proposal:
    """Fit a Gaussian, its covariance shrunk towards Laplace's or the diagonal as draws are few."""
    n, d = x.shape
    mean, covariance = weighted_moments(x)
    towards = np.diag(np.diag(covariance)) if laplace is None else laplace[1]
    share = (d + 1) / (n + d + 1)
    return _single("Gaussian", mean, (1 - share) * covariance + share * towards)


@dataclass(frozen=True, eq=False)
class _Fitted:
    """An approximation as the other end of a bridge."""

    name: str
    q: Approximation

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        return self.q.sample(n, random_seed=rng)

    def log_prob(self, x: Array) -> Array:
        return self.q.log_prob(x)


def fit_low_rank(draws: LocalDraws, rng: np.random.Generator) -> NormalisedDensity | None:
    """Fit a low-rank plus diagonal Gaussian, which needs fewer draws than dimensions; None where it fails."""
    blocks = np.arange(len(draws)) * N_BLOCKS // len(draws)
    try:
        fit = LowRank.fit_forward(draws.x, blocks=blocks, rng=rng)
    except (ValueError, np.linalg.LinAlgError):
        return None
    return _Fitted(f"Gaussian of rank {fit.rank}", fit)


def fit_student_mixture(draws: LocalDraws, rng: np.random.Generator) -> NormalisedDensity | None:
    """Fit a mixture of Student-t's, each with tails of its own; None where draws are too few for one."""
    blocks = np.arange(len(draws)) * N_BLOCKS // len(draws)
    try:
        fit = StudentTMixture.fit_forward(draws.x, mode=draws.maximum, blocks=blocks, rng=rng)
    except (ValueError, np.linalg.LinAlgError):
        return None
    return _Fitted(f"mixture of {fit.n_components} Student-t's", fit)


def _mixture(x: Array, maximum: IntArray, rng: np.random.Generator) -> tuple[Proposal, float] | None:
    """Fit a Gaussian mixture; also its held-out score (nats a draw). None where draws are too few for one."""
    blocks = np.arange(len(x)) * N_BLOCKS // len(x)
    try:
        fit = Mixture.fit_forward(x, mode=maximum, blocks=blocks, rng=rng)
    except (ValueError, np.linalg.LinAlgError):
        return None
    name = f"mixture of {fit.n_components}"
    return Proposal(name, fit.weights, fit.locs, fit.scale_trils), float(fit.info["held_out_score"])
