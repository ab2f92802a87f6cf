"""Whether log q is the density of q's own draws, and normalised: what no score can tell apart from a good fit.

Two facts hold for any density q and its draws, whatever its shape. Metropolis steps by q carry as much mass forth as
back (:func:`~pymc_kl.scores.stein.balance_z`), which no constant changes. And for a window h, E_q[h f] = ∫ q h f, where
the right side is a mean of q over draws of h. With f the indicator of q ≤ T that mean has a relative variance of at
most T / (n ∫ q h f), so that spikes of q that no draw of h meets can raise no alarm.
"""

from collections.abc import Callable

import numpy as np

from pymc_kl._typing import Array
from pymc_kl.numerics.constants import LOG_2PI
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.scores.stein import STEP, Whitening, balance_z

NOT_ITS_DENSITY = "its draws and its log_prob do not belong together"
MOST_ERRORS = 5.0  # standard errors beyond which chance is ruled out: 6e-7 for one test; our choice
TEST_DRAWS = 2000  # draws of q for each test; bounds evaluations of log q; our choice
TEST_COORDINATES = 5  # along which steps are taken, each two evaluations of log q a draw; our choice
MAX_LOG = 700.0  # of a number whose exponential is finite
LEAST_SIZE = 100.0  # effective draws on either side of the test by a window: its error is a tenth then; our choice


def why_not_its_density(x: Array, log_prob: Callable[[Array], Array], rng: np.random.Generator) -> str:
    """Say why `log_prob` can't be the normalised density of independent draws x (n, d); nothing where it can be.

    Unnoticed go wrong weights of modes that are far apart, and a wrong constant where windows see few draws: a factor
    of three from about 15 dimensions on, any from about 20 on.
    """
    x = x[:TEST_DRAWS]
    here = log_prob(x)
    if len(x) < LEAST_SIZE:
        return ""
    whitening = Whitening.of(x)
    z = _balance(x, here, log_prob, whitening, rng)
    if z > MOST_ERRORS:
        return f"{NOT_ITS_DENSITY}: Metropolis steps by log_prob carry them away, by {z:.0f} standard errors"
    ratio = _total(x, here, log_prob, whitening, rng)
    if abs(ratio.value - 1) > MOST_ERRORS * ratio.se:
        return (
            f"{NOT_ITS_DENSITY}, or log_prob is not normalised: exp(log_prob) comes to {ratio.value:.3g} times the "
            f"share of draws where they are (± {ratio.se:.2g} by chance)"
        )
    return ""


def why_no_divergence(forward_kl: Estimate, reverse_kl: Estimate) -> str:
    """Say which divergence is negative by more than its error, which is so of no density; nothing where none is."""
    for name, kl in (("KL(p‖q)", forward_kl), ("KL(q‖p)", reverse_kl)):
        if kl.value < -MOST_ERRORS * kl.se:
            return (
                f"{NOT_ITS_DENSITY}, or log_prob is not normalised, or log Z is too low: {name} would be "
                f"{kl.value:.2f} ± {kl.se:.2f} nats, and no density has less than 0"
            )
    return ""


def _balance(
    x: Array, here: Array, log_prob: Callable[[Array], Array], whitening: Whitening, rng: np.random.Generator
) -> float:
    """Return the greatest |z| of detailed balance along a few whitened coordinates."""
    d = x.shape[1]
    z = [0.0]
    for j in rng.permutation(d)[:TEST_COORDINATES]:
        step = STEP * whitening.factor[:, j]
        z += balance_z(whitening.u[:, j], here, log_prob(x + step), log_prob(x - step)).tolist()
    return float(np.abs(z).max())


def _total(
    x: Array, here: Array, log_prob: Callable[[Array], Array], whitening: Whitening, rng: np.random.Generator
) -> Estimate:
    """Divide ∫ q h f by E_q[h f], with the error that it has if that is 1; unit with an infinite error if unknown.

    h is a normal about the draw where q is highest, as wide as the draws; T is the highest for which both sides are
    worth :data:`LEAST_SIZE` draws.
    """
    n, d = x.shape
    centre, order = x[here.argmax()], np.argsort(here)
    away = np.linalg.solve(whitening.factor, (x - centre).T)
    log_h = -0.5 * (away**2).sum(axis=0) - 0.5 * d * LOG_2PI - np.linalg.slogdet(whitening.factor)[1]
    h, log_top = np.exp(log_h[order]), here[order]
    log_q = np.sort(log_prob(centre + rng.standard_normal((n, d)) @ whitening.factor.T))
    highest = max(log_q[-1], log_top[-1])  # so that no exponential overflows
    right = np.append(0.0, np.cumsum(np.exp(log_q - highest)))[np.searchsorted(log_q, log_top, side="right")] / n
    left = np.cumsum(h) / n
    with np.errstate(divide="ignore", invalid="ignore"):
        by_window = n * right / np.exp(log_top - highest)
        by_draws = n * left**2 / (np.cumsum(h**2) / n)
    enough = np.flatnonzero((by_window >= LEAST_SIZE) & (by_draws >= LEAST_SIZE))
    if not len(enough):
        return Estimate(1.0, float("inf"))
    t = enough[-1]
    ratio = np.exp(min(np.log(right[t] / left[t]) + highest, MAX_LOG))
    return Estimate(float(ratio), float(np.sqrt(1 / by_window[t] + 1 / by_draws[t])))
