"""Normals and mixtures of normals, with everything about them in closed form."""

from dataclasses import dataclass

import numpy as np
import pymc as pm
from scipy.special import logsumexp, ndtr

from .line import Line, line_masses, line_optima
from .problem import LOG_2PI, Array, Optimum, Problem, Tensor, cancelled_prior, logsumexp_graph


def gaussian_kl(mean_p: Array, cov_p: Array, mean_q: Array, cov_q: Array) -> float:
    """KL(N(mean_p, cov_p)‖N(mean_q, cov_q)) in nats."""
    inner = np.linalg.solve(cov_q, cov_p)
    shift = mean_q - mean_p
    distance = shift @ np.linalg.solve(cov_q, shift)
    return float(0.5 * (np.trace(inner) + distance - len(shift) - np.linalg.slogdet(inner)[1]))


def _gaussian_optima(mean: Array, cov: Array) -> tuple[dict[str, Optimum], dict[str, Optimum]]:
    """Best normals of a normal: mean-field ones match the precisions (reverse) or variances (forward)."""

    def optimum(best: Array) -> Optimum:
        return Optimum(mean, best, gaussian_kl(mean, best, mean, cov), gaussian_kl(mean, cov, mean, best))

    exact = Optimum(mean, cov, 0.0, 0.0)
    narrow, wide = np.diag(1 / np.diag(np.linalg.inv(cov))), np.diag(np.diag(cov))
    return {"meanfield": optimum(narrow), "fullrank": exact}, {"meanfield": optimum(wide), "fullrank": exact}


@dataclass(frozen=True)
class Gaussians:
    """A mixture of normals: weights (K,), locs (K, d), covs (K, d, d)."""

    weights: Array
    locs: Array
    covs: Array

    @property
    def d(self) -> int:
        return int(self.locs.shape[1])

    @property
    def whitening(self) -> Array:
        return np.linalg.inv(np.linalg.cholesky(self.covs))

    @property
    def log_constants(self) -> Array:
        log_scales = np.log(np.diagonal(self.whitening, axis1=1, axis2=2)).sum(-1)
        return np.log(self.weights) + log_scales - self.d * LOG_2PI / 2

    def log_terms(self, x: Array) -> Array:
        z = [(x - loc) @ white.T for loc, white in zip(self.locs, self.whitening, strict=True)]
        return np.stack([c - 0.5 * (u**2).sum(-1) for c, u in zip(self.log_constants, z, strict=True)], axis=1)

    def log_density(self, x: Array) -> Array:
        return np.asarray(logsumexp(self.log_terms(x), axis=1))

    def graph(self, x: Tensor) -> Tensor:
        # Sums of products and no dot: PyTensor takes twenty seconds to compile its first dot.
        z = (self.whitening * (x - self.locs)[:, None, :]).sum(-1)
        return logsumexp_graph(self.log_constants - 0.5 * (z**2).sum(-1))

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        which = rng.choice(len(self.weights), size=n, p=self.weights)
        x = rng.standard_normal((n, self.d))
        for k, (loc, factor) in enumerate(zip(self.locs, np.linalg.cholesky(self.covs), strict=True)):
            x[which == k] = loc + x[which == k] @ factor.T
        return x

    @property
    def mean(self) -> Array:
        return self.weights @ self.locs

    @property
    def cov(self) -> Array:
        shifts = self.locs - self.mean
        within = np.einsum("k,kij->ij", self.weights, self.covs)
        return within + np.einsum("k,ki,kj->ij", self.weights, shifts, shifts)

    def climb(self, x: Array) -> Array:
        """Go uphill from (n, d) starts by the mean-shift iteration, which has the modes as fixed points."""
        precisions = np.linalg.inv(self.covs)
        pulls = np.einsum("kij,kj->ki", precisions, self.locs)
        for _ in range(20_000):
            terms = self.log_terms(x)
            shares = np.exp(terms - logsumexp(terms, axis=1, keepdims=True))
            step = np.linalg.solve(np.tensordot(shares, precisions, 1), (shares @ pulls)[..., None])[..., 0]
            if np.allclose(step, x, rtol=0, atol=1e-14):
                break
            x = step
        return x


def spherical(locs: Array, sds: Array) -> Array:
    return np.asarray(sds)[:, None, None] ** 2 * np.eye(locs.shape[1])


def gaussian_problem(name: str, mean: Array, cov: Array) -> Problem:
    """State one normal, under a prior three times as wide as its widest direction."""
    target = Gaussians(np.ones(1), mean[None], cov[None])
    reverse, forward = _gaussian_optima(mean, cov)
    scale = float(3 * np.sqrt(np.linalg.eigvalsh(cov)[-1]))
    return Problem(
        name=name,
        model=cancelled_prior(len(mean), scale, target.graph),
        log_density=target.log_density,
        d=len(mean),
        locations=mean[None],
        log_z=0.0,
        mean=mean,
        cov=cov,
        sample=target.sample,
        reverse=reverse,
        forward=forward,
    )


def line_mixture(name: str, weights: Array, locs: Array, sds: Array, *, starts: Array | None = None) -> Problem:
    """State a mixture of normals on the line as a `pm.NormalMixture`, locations in ascending order."""
    target = Gaussians(weights, locs[:, None], spherical(locs[:, None], sds))
    modes = target.climb(locs[:, None] if starts is None else starts[:, None])
    line = Line.tabulate(target.log_density, float((locs - 12 * sds).min()), float((locs + 12 * sds).max()))
    broad = [[line.mean, np.sqrt(line.var)]]
    reverse, forward = line_optima(line, target.log_density, np.vstack([np.stack([locs, sds], 1), broad]))

    def build() -> pm.Model:
        with pm.Model() as model:
            pm.NormalMixture("x", w=weights, mu=locs, sigma=sds)
        return model

    def cdf(x: Array) -> Array:
        return np.asarray(ndtr((x[:, None] - locs) / sds) @ weights)

    return Problem(
        name=name,
        model=build,
        log_density=target.log_density,
        d=1,
        masses=line_masses(target.log_density, cdf, modes[:, 0]),
        locations=modes,
        log_z=0.0,
        mean=target.mean,
        cov=target.cov,
        sample=target.sample,
        reverse=reverse,
        forward=forward,
    )
