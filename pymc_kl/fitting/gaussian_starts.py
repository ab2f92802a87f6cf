"""Gaussians that reverse fits start from: Laplace's approximation at each mode, then some about draws of the prior."""

from dataclasses import replace
from typing import Any

import numpy as np

from pymc_kl._typing import Array
from pymc_kl.approximations import FullRank, LowRank, MeanField
from pymc_kl.fitting.gaussian_elbo import Gaussian, rows_of
from pymc_kl.model.target import Target
from pymc_kl.modes.modes import Modes
from pymc_kl.modes.starts import prior_starts

NARROWINGS = 20  # most halvings of a start's width, while some of its draws leave the support; our choice
LEAST_VARIANCE = 1e-6  # least variance of a start as wide as the prior, whose draws may all be equal; our choice
LEAST_SHARE = 0.1  # least part of a dimension's variance for each factor, and its own, in low-rank starts; our choice

type Moments = tuple[Array, Array]


def gaussian_starts(
    target: Target, modes: Modes, family: str, n: int, rank: int | None, rng: np.random.Generator
) -> list[Gaussian]:
    """Make n fits of a family to start from, those at the modes first."""
    moments = _laplace(modes)[:n]
    if len(moments) < n:
        moments += _about_prior_draws(target, modes, n - len(moments), rng)
    if family == LowRank.family:
        fits: list[Gaussian] = [_lowrank(*both, rank) for both in moments]
    else:
        fits = [_meanfield(*both) if family == MeanField.family else _fullrank(*both) for both in moments]
    return [replace(fit, kind="reverse", target=target) for fit in fits]


def _laplace(modes: Modes) -> list[Moments]:
    """Location and covariance of Laplace's approximation at each mode, heaviest first; none without proper modes."""
    if not modes.proper:
        return []
    order = np.argsort(-modes.log_mass_laplace, kind="stable")
    return [(modes.x[k], modes.covariances[k]) for k in order]


def _about_prior_draws(target: Target, modes: Modes, n: int, rng: np.random.Generator) -> list[Moments]:
    """Draws of the prior, with covariances as wide as a mode and as wide as the prior in turn."""
    prior = prior_starts(target, max(n, 2), rng)
    wide = np.diag(np.maximum(prior.var(axis=0), LEAST_VARIANCE))
    local = modes.local_scale @ modes.local_scale.T
    return [(x, wide if i % 2 else local) for i, x in enumerate(prior[:n])]


def _meanfield(loc: Array, covariance: Array) -> MeanField:
    """Make the mean-field Gaussian nearest in reverse KL to a normal: its variances are 1 / (Σ⁻¹)_ii."""
    return MeanField(loc=loc, scale=1 / np.sqrt(np.diag(np.linalg.inv(covariance))))


def _fullrank(loc: Array, covariance: Array) -> FullRank:
    return FullRank(loc=loc, scale_tril=np.linalg.cholesky(covariance))


def _lowrank(loc: Array, covariance: Array, rank: int | None) -> LowRank:
    """Make a low-rank Gaussian from the first principal components of the correlations, by default √d of them."""
    rank = min(rank or max(round(np.sqrt(len(loc))), 1), len(loc))
    scale = np.sqrt(np.diag(covariance))
    size, axes = np.linalg.eigh(covariance / np.outer(scale, scale))
    loadings = axes[:, -rank:] * np.sqrt(np.maximum(size[-rank:] - 1, LEAST_SHARE))
    own = np.sqrt(np.maximum(1 - (loadings**2).sum(axis=1), LEAST_SHARE))
    return LowRank(loc=loc, factor=scale[:, None] * loadings, scale=scale * own)


def narrow(target: Target, fits: list[Gaussian], z: Array) -> list[Gaussian]:
    """Halve the width of starts while some of their draws at points z (n, n_noise) leave the support."""
    for _ in range(NARROWINGS):
        rows = rows_of(fits)
        x, _ = rows.draw(np.zeros((len(fits), rows.size)), np.arange(len(fits)), z)
        inside = np.isfinite(target.log_density(x.reshape(-1, target.d))).reshape(len(fits), -1).all(axis=1)
        if inside.all():
            break
        fits = [fit if fine else _halved(fit) for fit, fine in zip(fits, inside, strict=True)]
    return fits


def _halved(fit: Gaussian) -> Gaussian:
    widths = [name for name in ("scale", "scale_tril", "factor") if name in fit.__dataclass_fields__]
    changes: dict[str, Any] = {name: getattr(fit, name) / 2 for name in widths}
    return replace(fit, **changes)
