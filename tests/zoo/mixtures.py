"""Mixtures of normals and of Student t: several modes, most of them far apart."""

from dataclasses import dataclass

import numpy as np
import pytensor.tensor as pt
from scipy import stats
from scipy.special import gammaln, logsumexp, ndtr

from .gaussians import Gaussians, line_mixture, spherical
from .problem import Array, Optimum, Problem, Tensor, cancelled_prior, logsumexp_graph, moment_optima
from .regions import mass_below, separatrix


def two_modes() -> Problem:
    """0.3 N(-3, 0.6) + 0.7 N(3, 1)."""
    return line_mixture("two_modes", np.array([0.3, 0.7]), np.array([-3.0, 3.0]), np.array([0.6, 1.0]))


def two_normals(delta: float = 10.0) -> Problem:
    """½ N(0, 1) + ½ N(delta, 1): one normal misses half the mass and every usual check stays green."""
    return line_mixture("two_normals", np.full(2, 0.5), np.array([0.0, delta]), np.ones(2))


def switch(s: float = 6.0) -> Problem:
    """½ N(-s/2, 1) + ½ N(s/2, 1): the broad reverse optimum is global for s < 5.6002."""
    starts = np.zeros(1) if s <= 2 else None
    locs = np.array([-s / 2, s / 2])
    return line_mixture(f"switch_{s:g}", np.full(2, 0.5), locs, np.ones(2), starts=starts)


def quickstart() -> Problem:
    """0.2 N(-0.3, 0.1) + 0.8 N(0.5, 0.1), the example of PyMC's variational quickstart."""
    return line_mixture("quickstart", np.array([0.2, 0.8]), np.array([-0.3, 0.5]), np.full(2, 0.1))


TEXTBOOK = Gaussians(
    np.full(2, 0.5),
    np.array([[-1.0, -1.0], [1.0, 1.0]]),
    np.array([[[0.5, 0.25], [0.25, 1.0]], [[0.5, -0.25], [-0.25, 1.0]]]),
)
TURN = np.array([[1.0, 1.0], [-1.0, 1.0]]) / np.sqrt(2)


def textbook_plane(uv: Array) -> Array:
    """Log density where u runs along and v across the line that joins the components, (n, 2) -> (n,)."""
    return TEXTBOOK.log_density(uv @ TURN)


def _textbook_masses() -> Array:
    border = separatrix(textbook_plane, np.zeros(2), 9.0)

    def joint(v: Array, b: Array) -> Array:
        total = np.zeros_like(v)
        for weight, loc, cov in zip(
            TEXTBOOK.weights, TEXTBOOK.locs @ TURN.T, TURN @ TEXTBOOK.covs @ TURN.T, strict=True
        ):
            centre = loc[0] + cov[0, 1] / cov[1, 1] * (v - loc[1])
            spread = np.sqrt(cov[0, 0] - cov[0, 1] ** 2 / cov[1, 1])
            total += weight * stats.norm.pdf(v, loc[1], np.sqrt(cov[1, 1])) * ndtr((b - centre) / spread)
        return total

    left = mass_below(border, joint)
    return np.array([left, 1 - left])


def textbook_figure() -> Problem:
    """The usual picture of forward against reverse KL: two normals in the plane, close to each other.

    The best full-rank reverse normal is one and covers both modes. Figures have six digits.
    """
    target = TEXTBOOK
    broad = np.array([[1.234806, 0.859538], [0.859538, 1.745467]])
    narrow = np.diag([0.998593, 1.281520])
    return Problem(
        name="textbook_figure",
        model=cancelled_prior(2, 4.0, target.graph),
        log_density=target.log_density,
        d=2,
        masses=_textbook_masses(),
        locations=target.climb(target.locs),
        log_z=0.0,
        mean=target.mean,
        cov=target.cov,
        sample=target.sample,
        reverse={
            "fullrank": Optimum(np.array([-0.156078, -0.103235]), broad, 0.200711, 0.192106),
            "meanfield": Optimum(np.array([0.453056, 0.475195]), narrow, 0.425219, 0.664609),
        },
        forward={
            "fullrank": Optimum(target.mean, target.cov, 0.238690, 0.165606),
            "meanfield": Optimum(target.mean, np.diag(np.diag(target.cov)), forward_kl=0.368339),
        },
    )


def _far_normals(d: int, weights: Array, sds: Array) -> Problem:
    """State two spherical normals at -2·1 and 2·1 under a cancelled N(0, 4) prior.

    From d = 10 on, the components are so far apart that masses and reverse optima are theirs to nine digits.
    """
    locs = np.stack([np.full(d, -2.0), np.full(d, 2.0)])
    target = Gaussians(weights, locs, spherical(locs, sds))
    optima = [
        Optimum(loc, cov, float(-np.log(weight)))
        for weight, loc, cov in zip(target.weights, target.locs, target.covs, strict=True)
    ]
    best, other = sorted(optima, key=lambda optimum: optimum.reverse_kl)
    return Problem(
        name=f"two_normals_{d}d",
        model=cancelled_prior(d, 4.0, target.graph),
        log_density=target.log_density,
        d=d,
        masses=target.weights,
        masses_error=1e-9,
        locations=target.climb(target.locs),
        log_z=0.0,
        mean=target.mean,
        cov=target.cov,
        sample=target.sample,
        reverse={"meanfield": best, "fullrank": best, "local_1": other},
        forward=moment_optima(target.mean, target.cov),
    )


def two_normals_10d() -> Problem:
    """0.7 N(-2·1, I) + 0.3 N(2·1, 0.5² I) in ten dimensions."""
    return _far_normals(10, np.array([0.7, 0.3]), np.array([1.0, 0.5]))


def two_normals_50d() -> Problem:
    """0.4 N(-2·1, I) + 0.6 N(2·1, I) in fifty dimensions."""
    return _far_normals(50, np.array([0.4, 0.6]), np.ones(2))


@dataclass(frozen=True)
class Students:
    """Equal weights, spherical multivariate t of unit scale: locs (K, d), degrees of freedom df."""

    locs: Array
    df: float

    @property
    def log_constant(self) -> float:
        d = self.locs.shape[1]
        half = gammaln((self.df + d) / 2) - gammaln(self.df / 2)
        return float(half - d / 2 * np.log(self.df * np.pi) - np.log(len(self.locs)))

    @property
    def power(self) -> float:
        return (self.df + self.locs.shape[1]) / 2

    def log_density(self, x: Array) -> Array:
        squares = np.stack([((x - loc) ** 2).sum(1) for loc in self.locs], axis=1)
        return np.asarray(logsumexp(self.log_constant - self.power * np.log1p(squares / self.df), axis=1))

    def graph(self, x: Tensor) -> Tensor:
        squares = ((x - self.locs) ** 2).sum(-1)
        return logsumexp_graph(self.log_constant - self.power * pt.log1p(squares / self.df))

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        scale = np.sqrt(rng.chisquare(self.df, n) / self.df)[:, None]
        return (
            rng.permutation(self.locs[np.arange(n) % len(self.locs)])
            + rng.standard_normal((n, self.locs.shape[1])) / scale
        )

    def climb(self, x: Array) -> Array:
        """Go uphill from (n, d) starts by the mean-shift iteration of t mixtures."""
        for _ in range(500):
            squares = np.stack([((x - loc) ** 2).sum(1) for loc in self.locs], axis=1)
            shares = np.exp(-(self.power + 1) * np.log1p(squares / self.df))
            step = shares @ self.locs / shares.sum(1, keepdims=True)
            if np.allclose(step, x, rtol=0, atol=1e-13):
                break
            x = step
        return x


def two_students(d: int = 5) -> Problem:
    """½ t₃(-4·1, I) + ½ t₃(4·1, I): masses ½ by symmetry, tails where normals fit badly."""
    target = Students(np.stack([np.full(d, -4.0), np.full(d, 4.0)]), 3.0)
    mean, cov = np.zeros(d), 3.0 * np.eye(d) + 16.0
    return Problem(
        name="two_students",
        model=cancelled_prior(d, 10.0, target.graph),
        log_density=target.log_density,
        d=d,
        masses=np.full(2, 0.5),
        locations=target.climb(target.locs),
        log_z=0.0,
        mean=mean,
        cov=cov,
        sample=target.sample,
        forward=moment_optima(mean, cov),
    )


def heavy_tails(d: int = 10, seed: int = 0) -> Problem:
    """Ten multivariate t₂ at U(-10, 10)^d: no second moments, so a forward normal must refuse or warn.

    From d = 5 on, the components are ten modes and their basins have mass 1/10 to 0.002; below, some merge.
    """
    if d < 5:
        raise ValueError(f"d must be at least 5, or the components merge into fewer modes; got {d}.")
    target = Students(np.random.default_rng(seed).uniform(-10, 10, (10, d)), 2.0)
    return Problem(
        name="heavy_tails",
        model=cancelled_prior(d, 10.0, target.graph),
        log_density=target.log_density,
        d=d,
        masses=np.full(10, 0.1),
        masses_error=2e-3,
        locations=target.climb(target.locs),
        log_z=0.0,
        mean=target.locs.mean(0),
        sample=target.sample,
    )
