"""The weights of a mixture's components for which its ELBO is greatest, once it is spread over copies."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.special import logsumexp, softmax

from pymc_kl._typing import Array
from pymc_kl.approximations import Mixture
from pymc_kl.fitting.points import LOWEST, balanced_normals

WEIGHT_DRAWS = 512  # points of each component on which weights are found; our choice
WEIGHT_ROUNDS = 200  # of weighing anew; one is exact where components are apart
WEIGHTS_SETTLED = 1e-6  # change of a log weight times the weight, nats, below which weights are final
WITHOUT_WEIGHT = 1e-8  # weight below which a component is left out


def weighed(log_density: Callable[[Array], Array], mixture: Mixture, maps: Array, rng: np.random.Generator) -> Mixture:
    """Weigh the components of a mixture so that the ELBO of the mean of its images under `maps` (m, d, d) is greatest.

    Blahut and Arimoto's algorithm [1]_: each round multiplies the weight of a component by exp(E[log p̃ - log q]) over
    it, and no round lowers the ELBO. Images that are the same component count once, whatever the number of maps.

    References
    ----------
    .. [1] Blahut, R. E. (1972). Computation of channel capacity and rate-distortion functions. IEEE Transactions on
       Information Theory 18(4), 460-473. doi:10.1109/TIT.1972.1054855
    """
    m, d = mixture.locs.shape
    z = balanced_normals(max(WEIGHT_DRAWS, 4 * d), d, rng)
    x = (mixture.locs[:, None] + z @ mixture.scale_trils.swapaxes(1, 2)).reshape(-1, d)
    log_p = log_density(x)
    log_p = np.where(np.isfinite(log_p), log_p, LOWEST)
    log_each = np.stack([_component(mixture, k).images(maps).log_prob(x) for k in range(m)])
    log_w = np.log(mixture.weights)
    for _ in range(WEIGHT_ROUNDS):
        gains = (log_p - logsumexp(log_each + log_w[:, None], axis=0)).reshape(m, -1).mean(axis=1)
        previous, log_w = log_w, log_w + gains - logsumexp(log_w + gains)
        if np.abs(np.exp(log_w) * (log_w - previous)).max() < WEIGHTS_SETTLED:
            break
    kept = log_w > np.log(WITHOUT_WEIGHT)
    return replace(
        mixture, weights=softmax(log_w[kept]), locs=mixture.locs[kept], scale_trils=mixture.scale_trils[kept]
    )


def _component(mixture: Mixture, k: int) -> Mixture:
    """Take one component alone."""
    return replace(
        mixture, weights=np.ones(1), locs=mixture.locs[k : k + 1], scale_trils=mixture.scale_trils[k : k + 1]
    )
