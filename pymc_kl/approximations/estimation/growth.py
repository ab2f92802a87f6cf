"""Starting values of EM: one component for each mode, then one more at a time, by a split or by new clusters."""

import warnings
from typing import NamedTuple

import numpy as np
from scipy.cluster.vq import kmeans2

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.approximations.components import (
    Components,
    WeightedDraws,
    covariance,
    effective_number,
    min_draws,
    moments,
)
from pymc_kl.approximations.estimation.em import fit_em, regularise
from pymc_kl.approximations.estimation.student_ml import START_DF, fit_student
from pymc_kl.numerics.constants import LOG_2PI

SPLIT_ITERATIONS = 3  # iterations of EM on a split, enough to rank the splits; our choice
SPLIT_TOLERANCE = 1e-3  # nats a draw: the same EM stops when an iteration gains less; our choice
ROUGH_ITERATIONS = 10  # most iterations of ECME for the Student-t that EM starts from; our choice
ROUGH_GAIN = 1e-3  # nats a draw: the same ECME stops when an iteration gains less; our choice
NEARLY = 0.5  # part of the largest gain above which another component is split as well; our choice


def large_clusters(draws: WeightedDraws, cluster: IntArray) -> list[int]:
    """List the clusters that hold at least d + 1 effective draws; `cluster` (n,) is -1 for none."""
    names = np.unique(cluster[cluster >= 0])
    needed = min_draws(draws.d)
    return [int(k) for k in names if effective_number(draws.weights[cluster == k]) >= needed]


def from_clusters(draws: WeightedDraws, cluster: IntArray, *, heavy: bool = False) -> Components:
    """Fit one component to each large cluster, or to all draws if none is large; a Student-t if `heavy`."""
    clusters = [cluster == k for k in large_clusters(draws, cluster)] or [np.ones(cluster.size, dtype=bool)]
    fits = [_single(draws.take(c), heavy) for c in clusters]
    weights = np.array([draws.weights[c].sum() for c in clusters])
    counts = np.array([effective_number(draws.weights[c]) for c in clusters])
    covariances = regularise(np.stack([fit.covariance for fit in fits]), counts)
    dfs = np.array([fit.df for fit in fits]) if heavy else None
    return Components(
        weights / weights.sum(), np.stack([fit.loc for fit in fits]), np.linalg.cholesky(covariances), dfs
    )


class _Single(NamedTuple):
    """Location (d,), covariance or scale matrix (d, d) and degrees of freedom of one component."""

    loc: Array
    covariance: Array
    df: float


def _single(draws: WeightedDraws, heavy: bool) -> _Single:
    """Fit a Gaussian, or a rough Student-t, to all draws."""
    if not heavy:
        return _Single(*covariance(draws.x, draws.weights), np.inf)
    try:
        fit = fit_student(draws.x, draws.weights, tolerance=ROUGH_GAIN, max_iterations=ROUGH_ITERATIONS)
    except ValueError:  # a cluster on a hyperplane: `regularise` gives it the shape of the others
        return _Single(*covariance(draws.x, draws.weights), START_DF)
    return _Single(fit.loc, fit.scale_tril @ fit.scale_tril.T, fit.df)


def split_masks(z: Array, weights: Array) -> list[BoolArray]:
    """Cut whitened draws (n, d) in two by fourth-order blind identification (Cardoso 1989 [1]_), skewness and radius.

    The cuts are across the directions of least and of most kurtosis, across the direction of skewness, and between
    core and tail.

    References
    ----------
    .. [1] Cardoso, J.-F. (1989). Source separation using higher order moments. ICASSP, 2109-2112.
       doi:10.1109/ICASSP.1989.266878
    """
    radii = np.einsum("nd,nd->n", z, z)
    skewness, kurtosis = moments(z, weights * radii)
    axes = np.linalg.eigh(kurtosis)[1]
    directions = [axes[:, 0], axes[:, -1], skewness] if z.shape[1] > 1 else [np.ones(1)]
    return [*(z @ v > 0 for v in directions), radii > np.median(radii)]


def split(draws: WeightedDraws, *, heavy: bool = False) -> tuple[float, Components] | None:
    """Fit two components to the draws of one; return the gain (nats a draw) and the pair, None if EM drops one."""
    whole = from_clusters(draws, np.zeros(draws.weights.size, dtype=np.int64), heavy=heavy)
    local = WeightedDraws(whole.whiten(draws.x)[0], draws.weights)
    masks = split_masks(local.x, local.weights)
    starts = [from_clusters(local, mask.astype(np.int64), heavy=heavy) for mask in masks]
    fits = [fit_em(local, start, tolerance=SPLIT_TOLERANCE, max_iterations=SPLIT_ITERATIONS) for start in starts]
    pairs = [fit for fit in fits if len(fit.components) == 2 and fit.objective]
    if not pairs:
        return None
    best = max(pairs, key=lambda fit: fit.objective[-1])
    frame = (whole.locs[0], whole.scale_trils[0])
    return best.objective[-1] - _log_prob_of_one(local, whole), best.components.affine(*frame)


def _log_prob_of_one(local: WeightedDraws, whole: Components) -> float:
    """Average the log density of draws under the component, in its own coordinates."""
    if whole.dfs is None:
        return -0.5 * local.d * (1 + LOG_2PI)
    unit = Components(np.ones(1), np.zeros((1, local.d)), np.eye(local.d)[None], whole.dfs)
    return float(local.weights @ unit.log_prob(local.x))


def grow(draws: WeightedDraws, components: Components, at_most: int = 1) -> Components | None:
    """Split the component whose split gains most, and up to `at_most` that gain nearly as much.

    Returns None if no component has draws enough for two.
    """
    component = components.assign(draws.x)
    splits: list[tuple[float, int, Components]] = []
    for k in range(len(components)):
        rows = component == k
        if rows.any() and effective_number(draws.weights[rows]) >= 2 * min_draws(draws.d):
            gain, pair = split(draws.take(rows), heavy=components.dfs is not None) or (0.0, None)
            splits += [(gain * draws.weights[rows].sum(), k, pair)] if pair else []
    if not splits:
        return None
    splits.sort(key=lambda found: found[0], reverse=True)
    chosen = {k: pair for gain, k, pair in splits[:at_most] if gain >= NEARLY * splits[0][0]}
    return _replace(components, chosen)


def _replace(components: Components, pairs: dict[int, Components]) -> Components:
    """Replace components by the pairs that they were split into, at the same weight."""
    rest = np.setdiff1d(np.arange(len(components)), list(pairs))
    weights = [components.weights[k] * pair.weights for k, pair in pairs.items()]
    parts = [components.keep(rest), *pairs.values()] if rest.size else list(pairs.values())
    return Components.join(np.concatenate([components.weights[rest], *weights]), parts)


def add_modes(draws: WeightedDraws, components: Components, mode: IntArray, named: list[int]) -> Components:
    """Add a component for each named mode that is not the main mode of any component."""
    known = mode >= 0
    votes = np.zeros((len(components), mode.max() + 1))
    np.add.at(votes, (components.assign(draws.x[known]), mode[known]), draws.weights[known])
    missing = np.setdiff1d(named, votes.argmax(axis=1))
    if missing.size == 0:
        return components
    rows = np.isin(mode, missing)
    extra = from_clusters(draws.take(rows), mode[rows], heavy=components.dfs is not None)
    mass = draws.weights[rows].sum()
    return Components.join(np.r_[(1 - mass) * components.weights, mass * extra.weights], [components, extra])


def reseed(draws: WeightedDraws, size: int, rng: np.random.Generator, *, heavy: bool = False) -> Components:
    """Start M components anew from k-means++ clusters of all draws (Arthur and Vassilvitskii 2007)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="One of the clusters is empty")
        _, cluster = kmeans2(draws.x, size, minit="++", rng=rng)
    return from_clusters(draws, cluster.astype(np.int64), heavy=heavy)
