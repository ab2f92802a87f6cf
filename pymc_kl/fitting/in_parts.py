"""Forward fits to draws larger than memory: from a fit to a sample of them to one to all, part by part."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pymc_kl._typing import Array
from pymc_kl.approximations import Approximation, ComponentFamily, FullRank, MeanField
from pymc_kl.approximations.components import chunks
from pymc_kl.model.large_draws import LargeDraws


@dataclass(frozen=True)
class _Moments:
    """Mean (d,) of weighted draws, their covariance (d, d) or variances (d,), and Kish's number of draws."""

    loc: Array
    second: Array
    total: float
    n_effective: float


def refined(fit: Approximation, draws: LargeDraws) -> Approximation:
    """Fit to all draws a family whose fit to a sample of them is known; others stay fitted to the sample, and say so.

    Gaussians match the moments of all draws exactly, in one pass. Mixtures keep their number of components, which the
    sample chose, and EM passes over all draws until it settles.
    """
    known: dict[type[Any], Callable[[Any, LargeDraws], Approximation]] = {
        MeanField: _meanfield,
        FullRank: _fullrank,
        ComponentFamily: _mixture,
    }
    for family, refine in known.items():
        if isinstance(fit, family):
            return refine(fit, draws)
    return replace(fit, info=fit.info.with_warnings(f"this family was fitted to a sample: {draws.told}."))


def _moments(draws: LargeDraws, *, full: bool) -> _Moments:
    """Sum moments about the first draw, in one pass: all of them, or without covariances."""
    d = draws.target.d
    total, squares, offset = 0.0, 0.0, np.full(d, np.nan)
    first, second = np.zeros(d), np.zeros((d, d) if full else d)
    for x, weights in draws.parts():
        offset = x[0].copy() if np.isnan(offset[0]) else offset
        x -= offset
        weighted = x * weights[:, None]
        total += float(weights.sum())
        squares += float(weights @ weights)
        first += weighted.sum(axis=0)
        second += weighted.T @ x if full else np.einsum("nd,nd->d", weighted, x)
    mean = first / total
    second = second / total - (np.outer(mean, mean) if full else mean**2)
    return _Moments(offset + mean, second, total, total**2 / squares)


def _meanfield(fit: MeanField, draws: LargeDraws) -> Approximation:
    moments = _moments(draws, full=False)
    return replace(fit, loc=moments.loc, scale=np.sqrt(moments.second))


def _fullrank(fit: FullRank, draws: LargeDraws) -> Approximation:
    moments = _moments(draws, full=True)
    return replace(fit, loc=moments.loc, scale_tril=np.linalg.cholesky(moments.second))


@dataclass(frozen=True)
class _Scaled:
    """All draws, in the coordinates in which they have mean 0 and standard deviation 1, as EM takes them."""

    draws: LargeDraws
    loc: Array
    scale: Array
    total: float
    n_effective: float

    def parts(self, n_components: int) -> Iterator[tuple[Array, Array]]:
        """Yield draws and weights that sum to 1 over all draws."""
        for x, weights in self.draws.parts():
            z = np.asfortranarray((x - self.loc) / self.scale)
            for part in chunks(len(z), n_components, len(self.loc)):
                yield z[part], weights[part] / self.total


def _mixture(fit: ComponentFamily, draws: LargeDraws) -> Approximation:
    moments = _moments(draws, full=False)
    scale = np.sqrt(moments.second)
    scaled = _Scaled(draws, moments.loc, scale, moments.total, moments.n_effective)
    return fit.fit_on(scaled, moments.loc, np.diag(scale))
