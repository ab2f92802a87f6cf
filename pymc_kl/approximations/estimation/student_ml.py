"""Maximum likelihood for one multivariate t, degrees of freedom included."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import minimize_scalar

from pymc_kl._typing import Array
from pymc_kl.approximations.components import log_height
from pymc_kl.approximations.estimation.fit_data import checked_cholesky

MIN_DF = 0.3  # least degrees of freedom: with fewer, half of the mass is spread over decades; our choice
MAX_DF = 1e3  # largest degrees of freedom: with more, a t is a Gaussian to 1e-5 nats; our choice
START_DF = 4.0  # degrees of freedom that ECME starts from; our choice
IQR = 1.349  # interquartile range of a standard normal


@dataclass(frozen=True)
class StudentFit:
    """Location (d,), lower Cholesky factor (d, d) of the scale matrix, and degrees of freedom.

    `log_prob` is the mean log density of the draws (nats); `converged` says whether the last iteration gained little.
    """

    loc: Array
    scale_tril: Array
    df: float
    log_prob: float
    n_iterations: int
    converged: bool


def fit_student(x: Array, weights: Array, *, tolerance: float, max_iterations: int) -> StudentFit:
    """Fit a multivariate t by ECME (Liu and Rubin 1995 [1]_), from medians and interquartile ranges.

    Each draw gets its expected precision. Location and scale are then weighted moments, divided by the sum of
    precisions rather than their number, which converges far faster [2]_. The degrees of freedom maximise the
    likelihood itself.

    Parameters
    ----------
    x : array (n, d)
        Draws; in Fortran order they are read as they are stored.
    weights : array (n,)
        Sum to 1.
    tolerance : float
        Stop when an iteration gains less than this, in nats a draw.
    max_iterations : int

    Returns
    -------
    StudentFit

    Raises
    ------
    ValueError
        If the draws lie on a hyperplane.

    References
    ----------
    .. [1] Liu, C. and Rubin, D. B. (1995). ML estimation of the t distribution using EM and its extensions, ECM and
       ECME. Statistica Sinica 5, 19-39.
    .. [2] Kent, J. T., Tyler, D. E. and Vardi, Y. (1994). A curious likelihood identity for the multivariate
       t-distribution. Communications in Statistics - Simulation and Computation 23, 441-453.
       doi:10.1080/03610919408813180
    """
    d = x.shape[1]
    least = least_df(weights, d)
    loc, scale = _middle(x, weights)
    tril, df, last = np.diag(scale), START_DF, -np.inf
    for i in range(max_iterations):
        z = solve_triangular(tril, (x - loc).T, lower=True, check_finite=False)
        squares = np.einsum("dn,dn->n", z, z)
        df = _best_df(squares, weights, d, least)
        log_prob = _log_prob(squares, weights, d, df) - float(np.log(np.diag(tril)).sum())
        if log_prob - last < tolerance:
            return StudentFit(loc, tril, df, log_prob, i, True)
        last = log_prob
        w = weights / (df + squares)
        w /= w.sum()
        shift = z @ w
        scatter = (z * w) @ z.T - np.outer(shift, shift)
        loc = loc + tril @ shift
        tril = tril @ _factor(scatter)
    return StudentFit(loc, tril, df, last, max_iterations, False)


def least_df(weights: Array, d: int) -> float:
    """Return the least degrees of freedom for which the likelihood has a maximum, with a margin of two.

    It has none where one draw weighs more than df / (df + d): the t would collapse on it.
    """
    top = float(weights.max())
    return float(np.clip(2 * d * top / max(1 - top, np.finfo(float).eps), MIN_DF, MAX_DF))


def _middle(x: Array, weights: Array) -> tuple[Array, Array]:
    """Find medians (d,) and deviations (d,), by interquartile ranges or, where these are zero, by second moments."""
    low, middle, high = np.quantile(x, [0.25, 0.5, 0.75], axis=0, weights=weights, method="inverted_cdf")
    deviations = np.sqrt(((x - middle) ** 2).T @ weights)
    return middle, np.where(high > low, (high - low) / IQR, deviations)


def _factor(scatter: Array) -> Array:
    """Compute the Cholesky factor (d, d); raise a ValueError if the matrix is singular."""
    deviation = np.sqrt(np.diag(scatter))
    return deviation[:, None] * checked_cholesky(scatter / np.outer(deviation, deviation))


def _log_prob(squares: Array, weights: Array, d: int, df: float) -> float:
    """Average the log density, for unit scale, of draws of given squared lengths (n,)."""
    return float(log_height(df, d) - 0.5 * (df + d) * (weights @ np.log1p(squares / df)))


def _best_df(squares: Array, weights: Array, d: int, least: float) -> float:
    """Find the degrees of freedom that maximise the likelihood, given squared lengths (n,)."""
    found = minimize_scalar(
        lambda log_df: -_log_prob(squares, weights, d, float(np.exp(log_df))),
        bounds=(np.log(least), np.log(MAX_DF)),
        method="bounded",
        options={"xatol": 1e-5},
    )
    return float(np.exp(found.x))
