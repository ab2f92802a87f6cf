"""log Z by importance sampling from the forward mixture or a heavy-tailed version of it, or NaN with a reason."""

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp
from scipy.stats import multivariate_t

from pymc_kl._typing import Array, IntArray
from pymc_kl.approximations import Mixture
from pymc_kl.estimates import UNKNOWN, Estimate, pareto_k
from pymc_kl.modes import Modes
from pymc_kl.target import Target

DRAWS = 10_000
DEGREES_OF_FREEDOM = (np.inf, 7.0)  # of the components: normal ones first, then heavier tails
KHAT_SURE = 0.5  # beyond it the weights have no finite variance, and their standard error would be wrong
LAPLACE_EFFICIENCY = 0.7  # of draws near a mode without draws; a normal mode keeps nearly all
UNVISITED_SHARE = (0.05, 0.5)  # of the proposal for modes that no draw visited, at least and at most


@dataclass(frozen=True, eq=False)
class Evidence:
    """log Z in nats with its standard error, the k-hat of its weights, and why it is NaN if it is."""

    log_evidence: Estimate
    khat: float
    method: str
    reason: str


@dataclass(frozen=True, eq=False)
class _Weighted:
    """Draws (n, d) of a proposal with their log weights log p̃ - log q (n,) and k-hat."""

    proposal: Mixture
    df: float
    x: Array
    log_weights: Array
    khat: float

    @classmethod
    def draw(cls, target: Target, proposal: Mixture, df: float, rng: np.random.Generator) -> "_Weighted":
        x = _sample(proposal, df, rng)
        log_weights = target.log_density(x) - _log_prob(proposal, df, x)
        log_weights = np.where(np.isnan(log_weights), -np.inf, log_weights)
        return cls(proposal, df, x, log_weights, pareto_k(log_weights))


def estimate_evidence(
    target: Target, mixture: Mixture | None, modes: Modes, unvisited: IntArray, *, rng: np.random.Generator
) -> Evidence:
    """Estimate log Z = log ∫ p̃.

    Parameters
    ----------
    target : Target
    mixture : Mixture or None
        Forward fit to the reference draws; None if that fit failed.
    modes : Modes
    unvisited : array of int
        Modes without draws; Laplace's approximation stands for them in the proposal.
    rng : Generator

    Returns
    -------
    Evidence
        NaN where k-hat of the weights is above 0.5, or where Laplace's approximation has to stand for a mode
        without draws and fits it badly: a proposal that is too narrow there hides mass from its own k-hat.
    """
    if mixture is None:
        return Evidence(UNKNOWN, float("nan"), "none", "the forward mixture could not be fitted")
    proposal = _with_laplace(mixture, modes, unvisited) if len(unvisited) else mixture
    tries = [_Weighted.draw(target, proposal, df, rng) for df in DEGREES_OF_FREEDOM]
    best = min(tries, key=lambda t: t.khat)
    final = _Weighted.draw(target, best.proposal, best.df, rng)
    khat, estimate = max(best.khat, final.khat), _log_mean_exp(final.log_weights)
    if khat > KHAT_SURE or not np.isfinite(estimate.value):
        reason = f"importance sampling from the forward mixture is not reliable (k-hat {khat:.2f} > {KHAT_SURE})"
        return Evidence(UNKNOWN, khat, "none", reason)
    if _laplace_efficiency(final, len(unvisited)) < LAPLACE_EFFICIENCY:
        reason = f"{len(unvisited)} modes have no draws, and Laplace's approximation is too poor to stand for them"
        return Evidence(UNKNOWN, khat, "none", reason)
    return Evidence(estimate, khat, "importance sampling from the forward mixture", "")


def _laplace_efficiency(weighted: _Weighted, n_laplace: int) -> float:
    """Least share of draws that importance sampling keeps near any of the last `n_laplace` components."""
    owner = _component_log_probs(weighted.proposal, weighted.df, weighted.x).argmax(axis=0)
    size = weighted.proposal.n_components
    kept = [1.0]
    for k in range(size - n_laplace, size):
        log_weights = weighted.log_weights[owner == k]
        if len(log_weights):
            w = np.exp(log_weights - log_weights.max())
            kept.append(float(w.sum() ** 2 / (len(w) * (w**2).sum())))
    return min(kept)


def _log_mean_exp(log_weights: Array) -> Estimate:
    value = float(logsumexp(log_weights) - np.log(len(log_weights)))
    relative = np.exp(log_weights - value)
    return Estimate(value, float(relative.std(ddof=1) / np.sqrt(len(relative))))


def _with_laplace(mixture: Mixture, modes: Modes, unvisited: IntArray) -> Mixture:
    log_mass = modes.log_mass_laplace
    share = np.exp(log_mass[unvisited] - logsumexp(log_mass))
    total = float(np.clip(share.sum(), *UNVISITED_SHARE))
    share = np.maximum(share / share.sum(), 1e-3)
    return Mixture(
        weights=np.concatenate([(1 - total) * mixture.weights, total * share / share.sum()]),
        locs=np.concatenate([mixture.locs, modes.x[unvisited]]),
        scale_trils=np.concatenate([mixture.scale_trils, np.linalg.cholesky(modes.covariances[unvisited])]),
    )


def _sample(proposal: Mixture, df: float, rng: np.random.Generator) -> Array:
    component = rng.choice(len(proposal.weights), DRAWS, p=proposal.weights)
    z = rng.standard_normal((DRAWS, proposal.d))
    if np.isfinite(df):
        z /= np.sqrt(rng.chisquare(df, DRAWS) / df)[:, None]
    x = np.empty_like(z)
    for k in range(len(proposal.weights)):
        rows = component == k
        x[rows] = proposal.locs[k] + z[rows] @ proposal.scale_trils[k].T
    return x


def _log_prob(proposal: Mixture, df: float, x: Array) -> Array:
    if not np.isfinite(df):
        return proposal.log_prob(x)
    return np.asarray(logsumexp(_component_log_probs(proposal, df, x), axis=0))


def _component_log_probs(proposal: Mixture, df: float, x: Array) -> Array:
    """Weighted log densities (M, n) of the components, as Student-t's or, for infinite df, normals."""
    parts = [
        multivariate_t(loc, tril @ tril.T, df).logpdf(x)  # type: ignore[call-overload]  # stub: int df
        for loc, tril in zip(proposal.locs, proposal.scale_trils, strict=True)
    ]
    return np.asarray(parts) + np.log(proposal.weights)[:, None]
