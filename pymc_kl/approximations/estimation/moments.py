"""Mean and covariance of weighted draws, as every Gaussian forward fit needs them."""

import numpy as np

from pymc_kl._typing import Array


def weighted_moments(x: Array, weights: Array | None = None) -> tuple[Array, Array]:
    """Compute the mean (d,) and the maximum-likelihood covariance (d, d) of draws (n, d)."""
    w = np.ones(len(x)) if weights is None else weights
    if not w.sum() > 0:
        raise ValueError(f"x must hold at least one draw of positive weight; got none of {len(x)}. Give more draws.")
    w = w / w.sum()
    mean = w @ x
    centred = x - mean
    return mean, (centred * w[:, None]).T @ centred
