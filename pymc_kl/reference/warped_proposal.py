"""A skewed proposal: a Gaussian whose whitened coordinates are each warped by a sinh-arcsinh transformation.

Jones, M. C. and Pewsey, A. (2009). Sinh-arcsinh distributions. Biometrika 96, 761-780. doi:10.1093/biomet/asp053
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import minimize

from pymc_kl._typing import Array
from pymc_kl.approximations.estimation.moments import weighted_moments
from pymc_kl.numerics.constants import LOG_2PI
from pymc_kl.reference.local_draws import LocalDraws

LARGEST_SKEW = 3.0  # of asinh of the standard normal, either way; bounds the maximiser; our choice
TAILS = (-1.1, 0.7)  # log tail weight: from exponential-like tails of z³ to lighter ones than normal; our choice


@dataclass(frozen=True, eq=False)
class WarpedGaussian:
    """x = loc + tril u with u_i = shift_i + spread_i sinh((asinh z_i + skew_i) / tail_i), z standard normal.

    Parameters
    ----------
    loc : array (d,)
    tril : array (d, d)
        Lower triangular.
    shift, spread, skew, tail : array (d,)
        Of each whitened coordinate; spread and tail are positive.
    """

    loc: Array
    tril: Array
    shift: Array
    spread: Array
    skew: Array
    tail: Array

    @property
    def name(self) -> str:
        """What was fitted."""
        return "skewed Gaussian"

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw (n, d)."""
        z = rng.standard_normal((n, len(self.loc)))
        u = self.shift + self.spread * np.sinh((np.arcsinh(z) + self.skew) / self.tail)
        return np.asarray(self.loc + u @ self.tril.T)

    def log_prob(self, x: Array) -> Array:
        """Evaluate the log density (n,) at x (n, d), in nats."""
        u = solve_triangular(self.tril, (x - self.loc).T, lower=True, check_finite=False).T
        parts = _log_sinh_arcsinh(u, self.shift, self.spread, self.skew, self.tail)
        return np.asarray(parts.sum(axis=1) - np.log(np.diag(self.tril)).sum())


def _log_sinh_arcsinh(u: Array, shift: Array, spread: Array, skew: Array, tail: Array) -> Array:
    """Log density of each coordinate of u (n, d), nats."""
    w = (u - shift) / spread
    bent = tail * np.arcsinh(w) - skew
    slope = np.log(tail) + np.log(np.cosh(bent)) - 0.5 * np.log1p(w**2) - np.log(spread)
    return np.asarray(slope - 0.5 * np.sinh(bent) ** 2 - 0.5 * LOG_2PI)


def fit_warped(draws: LocalDraws) -> WarpedGaussian | None:
    """Fit by maximum likelihood, coordinate by coordinate; None where draws lie on a hyperplane."""
    loc, covariance = weighted_moments(draws.x)
    try:
        tril = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return None
    u = np.linalg.solve(tril, (draws.x - loc).T)
    parameters = np.array([_fit_coordinate(row) for row in u]).T
    shift, log_spread, skew, log_tail = parameters
    return WarpedGaussian(loc, tril, shift, np.exp(log_spread), skew, np.exp(log_tail))


def _fit_coordinate(u: Array) -> Array:
    """Maximise the likelihood of whitened draws (n,): shift, log spread, skew and log tail."""

    def loss(t: Array) -> tuple[float, Array]:
        spread, tail = np.exp(t[1]), np.exp(t[3])
        w = (u - t[0]) / spread
        one = 1 + w**2
        bent = tail * np.arcsinh(w) - t[2]
        by_bent = np.tanh(bent) - np.sinh(bent) * np.cosh(bent)
        by_w = tail * by_bent / np.sqrt(one) - w / one
        slopes = [-by_w.mean() / spread, -(by_w * w).mean() - 1, -by_bent.mean(), 1 + (by_bent * (bent + t[2])).mean()]
        return -float(_log_sinh_arcsinh(u, t[0], spread, t[2], tail).mean()), -np.array(slopes)

    bounds = [(-5, 5), (-5, 2), (-LARGEST_SKEW, LARGEST_SKEW), TAILS]
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(minimize(loss, np.zeros(4), jac=True, bounds=bounds, method="L-BFGS-B").x)
