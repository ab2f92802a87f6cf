"""Time the mixture's forward fit beside scikit-learn's EM: the same draws, the same process, seconds and fit.

Run `python benchmarks/mixture.py`; scikit-learn is in the `bench` dependency group. Mean log-likelihoods are
nats a draw over the draws that were fitted: more is better.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.mixture import GaussianMixture

from pymc_kl.approximations import Mixture

type Array = np.ndarray[Any, np.dtype[np.float64]]

N_DRAWS, D, N_COMPONENTS, SEEDS = 100_000, 20, 8, 3
SPREADS = {"well separated": 4.0, "touching": 1.0, "overlapping": 0.5}
TYPICAL = ((4000, 1), (4000, 8), (4000, 30), (20_000, 8))
ROW = "{:16} {:>4} {:>10} {:>10} {:>12} {:>12} {:>6}"


@dataclass(frozen=True)
class Timed:
    """Seconds of a fit and its mean log-likelihood."""

    seconds: float
    log_likelihood: float


def draw(n: int, d: int, n_components: int, spread: float, rng: np.random.Generator) -> Array:
    """Draw from a mixture with random weights and covariances; `spread` is the sd of its means."""
    weights = rng.dirichlet(np.full(n_components, 5.0))
    covariances = [np.atleast_2d(np.cov(rng.standard_normal((d, 3 * d + 3)))) for _ in weights]
    return Mixture(
        weights=weights,
        locs=spread * rng.standard_normal((n_components, d)),
        scale_trils=np.linalg.cholesky(np.stack(covariances)),
    ).sample(n, random_seed=rng)


def timed(fit: Callable[[], Callable[[Array], Array]], x: Array) -> Timed:
    """Time a fit, which returns its log density."""
    start = time.perf_counter()
    log_prob = fit()
    return Timed(time.perf_counter() - start, float(log_prob(x).mean()))


def ours(x: Array, seed: int) -> Timed:
    """Fit `Mixture` with a given number of components."""
    rng = np.random.default_rng(seed)
    return timed(lambda: Mixture.fit_forward(x, n_components=N_COMPONENTS, rng=rng).log_prob, x)


def theirs(x: Array, seed: int) -> Timed:
    """Fit scikit-learn's `GaussianMixture` with its defaults."""
    return timed(lambda: GaussianMixture(N_COMPONENTS, random_state=seed).fit(x).score_samples, x)


def compare() -> None:
    """Print both fits, side by side, for each kind of data and seed."""
    print(f"n = {N_DRAWS:,}, d = {D}, M = {N_COMPONENTS}")
    print(ROW.format("data", "seed", "pymc_kl s", "sklearn s", "pymc_kl LL", "sklearn LL", "times"))
    for name, spread in SPREADS.items():
        for seed in range(SEEDS):
            x = draw(N_DRAWS, D, N_COMPONENTS, spread, np.random.default_rng(seed))
            mine, other = ours(x, seed), theirs(x, seed)
            seconds = f"{mine.seconds:.2f}", f"{other.seconds:.2f}"
            fits = f"{mine.log_likelihood:.4f}", f"{other.log_likelihood:.4f}"
            print(ROW.format(name, seed, *seconds, *fits, f"{other.seconds / mine.seconds:.1f}"))


def choose() -> None:
    """Print how long the choice of the number of components takes for references of usual size."""
    print("\nchoosing the number of components, 5 in truth")
    for n, d in TYPICAL:
        x = draw(n, d, 5, 1.5, np.random.default_rng(0))
        start = time.perf_counter()
        q = Mixture.fit_forward(x, rng=np.random.default_rng(0))
        seconds = time.perf_counter() - start
        print(f"n = {n:6,}, d = {d:2}: {seconds:.2f} s, M = {q.n_components}, tried {len(q.info['scores'])}")


if __name__ == "__main__":
    compare()
    choose()
