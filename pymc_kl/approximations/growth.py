"""Where EM starts: one component a mode, then one more at a time, by splitting or by clustering anew."""

import warnings

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
from pymc_kl.approximations.em import fit_em, regularise
from pymc_kl.approximations.fullrank import LOG_2PI

SPLIT_ITERATIONS = 3  # enough to rank the splits: more don't find better ones
SPLIT_TOLERANCE = 1e-3
NEARLY = 0.5  # of the largest gain


def large_clusters(draws: WeightedDraws, owner: IntArray) -> list[int]:
    """List the clusters that hold at least d + 1 effective draws; `owner` (n,) is -1 for none."""
    names = np.unique(owner[owner >= 0])
    needed = min_draws(draws.d)
    return [int(k) for k in names if effective_number(draws.weights[owner == k]) >= needed]


def from_clusters(draws: WeightedDraws, owner: IntArray) -> Components:
    """Make one component of each large cluster, or of all draws where none is large."""
    clusters = [owner == k for k in large_clusters(draws, owner)] or [np.ones(owner.size, dtype=bool)]
    fits = [covariance(draws.x[:, c], draws.weights[c]) for c in clusters]
    weights = np.array([draws.weights[c].sum() for c in clusters])
    counts = np.array([effective_number(draws.weights[c]) for c in clusters])
    covariances = regularise(np.stack([fit[1] for fit in fits]), counts)
    return Components(weights / weights.sum(), np.stack([fit[0] for fit in fits]), np.linalg.cholesky(covariances))


def split_masks(z: Array, weights: Array) -> list[BoolArray]:
    """Cut whitened draws (d, n) in two, in the few ways that matter when they are not Gaussian.

    The cuts are across the directions of least and of most kurtosis, found by fourth-order blind
    identification [1]_, across the direction of skewness, and between core and tail.

    References
    ----------
    .. [1] Cardoso, J.-F. (1989). Source separation using higher order moments. ICASSP, 2109-2112.
       doi:10.1109/ICASSP.1989.266878
    """
    radii = np.einsum("dn,dn->n", z, z)
    skewness, kurtosis = moments(z, weights * radii)
    axes = np.linalg.eigh(kurtosis)[1]
    directions = [axes[:, 0], axes[:, -1], skewness] if len(z) > 1 else [np.ones(1)]
    return [*(v @ z > 0 for v in directions), radii > np.median(radii)]


def split(draws: WeightedDraws) -> tuple[float, Components] | None:
    """Fit two components to the draws of one; return the gain (nats a draw) and the pair, if one holds."""
    whole = from_clusters(draws, np.zeros(draws.weights.size, dtype=np.int64))
    local = WeightedDraws(whole.whiten(draws.x)[0], draws.weights)
    starts = [from_clusters(local, mask.astype(np.int64)) for mask in split_masks(local.x, local.weights)]
    fits = [fit_em(local, start, tolerance=SPLIT_TOLERANCE, max_iterations=SPLIT_ITERATIONS) for start in starts]
    pairs = [fit for fit in fits if len(fit.components) == 2 and fit.objective]
    if not pairs:
        return None
    best = max(pairs, key=lambda fit: fit.objective[-1])
    gain = best.objective[-1] + 0.5 * draws.d * (1 + LOG_2PI)
    return gain, best.components.affine(whole.locs[0], whole.scale_trils[0])


def grow(draws: WeightedDraws, components: Components, at_most: int = 1) -> Components | None:
    """Split the component whose split gains most, and others that gain nearly as much.

    None where no component has draws enough for two.
    """
    owner = components.assign(draws.x)
    splits: list[tuple[float, int, Components]] = []
    for k in range(len(components)):
        mine = owner == k
        if mine.any() and effective_number(draws.weights[mine]) >= 2 * min_draws(draws.d):
            gain, pair = split(draws.take(mine)) or (0.0, None)
            splits += [(gain * draws.weights[mine].sum(), k, pair)] if pair else []
    if not splits:
        return None
    splits.sort(key=lambda found: found[0], reverse=True)
    chosen = {k: pair for gain, k, pair in splits[:at_most] if gain >= NEARLY * splits[0][0]}
    return _replace(components, chosen)


def _replace(components: Components, pairs: dict[int, Components]) -> Components:
    """Put pairs in the place, and the weight, of the components that they were split from."""
    rest = np.setdiff1d(np.arange(len(components)), list(pairs))
    weights = [components.weights[k] * pair.weights for k, pair in pairs.items()]
    return Components(
        np.concatenate([components.weights[rest], *weights]),
        np.concatenate([components.locs[rest], *(pair.locs for pair in pairs.values())]),
        np.concatenate([components.scale_trils[rest], *(pair.scale_trils for pair in pairs.values())]),
    )


def add_modes(draws: WeightedDraws, components: Components, modes: IntArray, named: list[int]) -> Components:
    """Give a component to each mode that is named and in which no component is at home."""
    known = modes >= 0
    votes = np.zeros((len(components), modes.max() + 1))
    np.add.at(votes, (components.assign(draws.x[:, known]), modes[known]), draws.weights[known])
    homeless = np.setdiff1d(named, votes.argmax(axis=1))
    if homeless.size == 0:
        return components
    mine = np.isin(modes, homeless)
    extra, share = from_clusters(draws.take(mine), modes[mine]), draws.weights[mine].sum()
    return Components(
        np.r_[(1 - share) * components.weights, share * extra.weights],
        np.concatenate([components.locs, extra.locs]),
        np.concatenate([components.scale_trils, extra.scale_trils]),
    )


def reseed(draws: WeightedDraws, size: int, rng: np.random.Generator) -> Components:
    """Start M components anew from k-means clusters of all draws."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="One of the clusters is empty")
        _, owner = kmeans2(draws.x.T, size, minit="++", rng=rng)
    return from_clusters(draws, owner.astype(np.int64))
