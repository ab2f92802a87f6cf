"""A density averaged over the symmetries of the posterior: what an approximation is worth up to labels and signs.

Where p̃ is symmetric, q and its average over the group differ only in how they spread over copies of a mode: a fit
to one of K! labellings pays up to log K! nats, or far more where copies are far apart, and is not the worse for it.
"""

from collections.abc import Callable
from itertools import permutations, product
from math import factorial, prod

import numpy as np
from scipy.special import logsumexp

from pymc_kl._typing import Array
from pymc_kl.approximations import ComponentFamily
from pymc_kl.symmetry import Element, Symmetry

MAX_ORDER = 720  # elements of a group that are averaged over: 6 labels
MAX_COPIES = 120  # of a mixture that are spread out: 5 labels


def group_order(symmetry: Symmetry) -> int:
    """Count the elements of the group."""
    return prod(factorial(len(c.labels)) for c in symmetry.classes) * 2 ** len(symmetry.flips)


def elements(symmetry: Symmetry) -> Element:
    """List every element of the group, a row each, the identity first."""
    labels = [list(permutations(range(len(c.labels)))) for c in symmetry.classes]
    signs = list(product((1.0, -1.0), repeat=len(symmetry.flips)))
    rows = list(product(*labels, signs))
    orders = (np.array([row[c] for row in rows], dtype=np.int64) for c in range(len(labels)))
    return Element(tuple(orders), np.array([row[-1] for row in rows], dtype=float).reshape(len(rows), -1))


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
    terms = []
    for i in range(len(every)):
        one = Element(
            tuple(o[[i]].repeat(len(x), axis=0) for o in every.orders), every.signs[[i]].repeat(len(x), axis=0)
        )
        terms.append(log_prob(symmetry.apply(one, x)))
    return np.asarray(logsumexp(terms, axis=0) - np.log(len(every)))


def matrices(symmetry: Symmetry, d: int) -> Array:
    """List every element of the group as the matrix (order, d, d) by which it maps R^d, the identity first."""
    order, every = group_order(symmetry), elements(symmetry)
    repeated = Element(tuple(o.repeat(d, axis=0) for o in every.orders), every.signs.repeat(d, axis=0))
    return symmetry.apply(repeated, np.tile(np.eye(d), (order, 1))).reshape(order, d, d).transpose(0, 2, 1)


def symmetrised_mixture[M: ComponentFamily](mixture: M, symmetry: Symmetry) -> M:
    """Spread a mixture that was fitted to one copy of each mode over all copies: the mean of its images."""
    return mixture.images(matrices(symmetry, mixture.d))
