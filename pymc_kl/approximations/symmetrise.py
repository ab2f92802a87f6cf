"""A density averaged over the symmetries of the posterior, to score an approximation up to labels and signs.

Where p̃ is symmetric, q and its average over the group differ only in how they spread over the copies of a mode. A fit
to one of K! labellings has a reverse KL up to log K! larger than its average, and a forward KL that may be far larger,
although both are equally good for all functions that do not depend on the labels.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import logsumexp

from pymc_kl._typing import Array
from pymc_kl.approximations import (
    Approximation,
    ComponentFamily,
    FullRank,
    LowRank,
    MeanField,
    Mixture,
    StudentT,
    StudentTMixture,
)
from pymc_kl.modes.symmetry import Symmetry
from pymc_kl.modes.symmetry.enumerate import elements, group_order, matrices

MAX_ORDER = 720  # elements of the largest group that a density is averaged over, that of 6 labels; our choice
MAX_COPIES = 120  # copies of a mixture that are made at the most, those of 5 labels; bounds its components; our choice


def symmetrised_log_prob(log_prob: Callable[[Array], Array], symmetry: Symmetry, x: Array) -> Array | None:
    """Evaluate the log density of q averaged over the group.

    Parameters
    ----------
    log_prob : callable
        (n, d) -> (n,), nats.
    symmetry : Symmetry
    x : array (n, d)
        Unconstrained space.

    Returns
    -------
    array (n,) or None
        log of the mean over all elements g of q(g x), nats; None where the group has more than 720.
    """
    if group_order(symmetry) > MAX_ORDER:
        return None
    every = elements(symmetry)
    terms = [log_prob(symmetry.apply(every.take(np.full(len(x), i)), x)) for i in range(len(every))]
    return np.asarray(logsumexp(terms, axis=0) - np.log(len(every)))


def symmetrised_mixture[M: ComponentFamily](mixture: M, symmetry: Symmetry) -> M:
    """Spread a mixture that was fitted to one copy of each mode over all copies: the mean of its images."""
    return mixture.images(matrices(symmetry, mixture.d))


def symmetrised_fit(fit: Approximation, symmetry: Symmetry) -> Approximation:
    """Spread a fit to one copy of each mode over all copies; a normal or Student-t is taken as a mixture of one."""
    common: dict[str, Any] = {"target": fit.target, "info": fit.info}
    if isinstance(fit, StudentT):
        common |= {"scale_trils": fit.scale_tril[None], "dfs": np.array([fit.df])}
        fit = StudentTMixture(weights=np.ones(1), locs=fit.loc[None], **common)
    elif isinstance(fit, MeanField | LowRank | FullRank):
        fit = Mixture(weights=np.ones(1), locs=fit.loc[None], scale_trils=fit.scale_tril[None], **common)
    return symmetrised_mixture(fit, symmetry) if isinstance(fit, ComponentFamily) else fit
