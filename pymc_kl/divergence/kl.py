"""KL(p‖q) of two distributions, in nats, by the most exact method that applies, with its error."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import rel_entr

from pymc_kl._typing import Array, RandomSeed
from pymc_kl.arguments import check_arguments, real_array, renamed
from pymc_kl.divergence.closed_forms import closed_form
from pymc_kl.divergence.densities import Density, as_density
from pymc_kl.divergence.numerical import average_log_ratio, integrate_log_ratio, sum_log_ratio

type Method = Literal["closed form", "quadrature", "sum", "monte carlo"]

WEIGHTS_TOLERANCE = 1e-6  # largest error of the sum of probabilities


@dataclass(frozen=True)
class Divergence:
    """A Kullback-Leibler divergence.

    Parameters
    ----------
    value : float
        The divergence in nats: 0 for equal distributions, inf where p has mass and q has none. A Monte
        Carlo estimate may be negative, and is NaN where a draw of p was rounded onto a pole of its density.
    se : float
        The error of `value` in nats: 0 for a closed form, the estimated error of a quadrature, the size of
        the last terms of a sum, the standard error of a Monte Carlo average.
    method : {"closed form", "quadrature", "sum", "monte carlo"}
    """

    value: float
    se: float
    method: Method

    def __float__(self) -> float:
        return self.value


@renamed(n="draws")
def kl_divergence(p: object, q: object, *, draws: int = 100_000, random_seed: RandomSeed = None) -> Divergence:
    """Compute KL(p‖q), the forward divergence of q from p.

    Pairs of one family, and all Gaussians, have a closed form [1]_. Other pairs of scalars are integrated, or
    summed where they are discrete. The rest is the average of log p - log q over draws of p, whose error is
    right only if the draws reach every region where q is much smaller than p.

    Parameters
    ----------
    p, q : PyMC distribution, approximation or array of probabilities
        A variable such as `pm.Normal.dist(0, 2)` whose parameters are constants, of any shape: the entries of
        an array of independent variables add up. An approximation is compared in the unconstrained space.
        Probabilities come in two arrays of one shape, each of which sums to 1.
    draws : int
        Draws of p where Monte Carlo is the method.
    random_seed : int, Generator, SeedSequence or None
        The same seed gives the same Monte Carlo estimate.

    Returns
    -------
    Divergence
        The value and its error in nats, and the method that gave them; `float()` of it is the value.

    Raises
    ------
    TypeError
        If p or q is none of the above. Call `.dist(...)` on a distribution's class first.
    ValueError
        If p and q differ in shape, or one is discrete and the other is not; if probabilities don't sum to 1;
        if a parameter is out of its range or depends on a random variable; if a continuous variable has
        point masses.

    References
    ----------
    .. [1] Kullback, S. and Leibler, R. A. (1951). On information and sufficiency. Annals of Mathematical
       Statistics 22(1), 79-86. https://doi.org/10.1214/aoms/1177729694

    Examples
    --------
    The divergence isn't symmetric: a q that is too narrow costs more than one that is too wide.

    >>> import pymc as pm
    >>> from pymc_kl.divergence import kl_divergence
    >>> narrow, wide = pm.Normal.dist(0, 2), pm.Normal.dist(0, 3)
    >>> round(float(kl_divergence(narrow, wide)), 6)
    0.127687
    >>> round(float(kl_divergence(wide, narrow)), 6)
    0.219535
    >>> kl_divergence([0.5, 0.5], [1.0, 0.0])
    Divergence(value=inf, se=0.0, method='sum')
    """
    check_arguments(locals())
    if _is_array(p) and _is_array(q):
        return Divergence(_discrete(_probabilities(p, "p"), _probabilities(q, "q")), 0.0, "sum")
    density_p, density_q = as_density(p, "p"), as_density(q, "q")
    _require_comparable(density_p, density_q)
    exact = closed_form(density_p, density_q)
    if exact is not None:
        return Divergence(exact, 0.0, "closed form")
    return _numerical(density_p, density_q, draws, np.random.default_rng(random_seed))


def _numerical(p: Density, q: Density, n: int, rng: np.random.Generator) -> Divergence:
    """Integrate or sum in one dimension; average over draws otherwise, or where some of p's mass isn't found."""
    if p.d == 1 and p.discrete and (estimate := sum_log_ratio(p, q, rng)):
        return Divergence(*estimate, "sum")
    if p.d == 1 and not p.discrete and (estimate := integrate_log_ratio(p, q, rng)):
        return Divergence(*estimate, "quadrature")
    if n < 2:
        raise ValueError(f"draws must be at least 2, to have a standard error; got {n}.")
    _require_common_space(p, q, rng)
    return Divergence(*average_log_ratio(p, q, int(n), rng), "monte carlo")


def _require_comparable(p: Density, q: Density) -> None:
    """Raise where p and q differ in kind or in shape."""
    kind_p, kind_q = ("discrete" if density.discrete else "continuous" for density in (p, q))
    if kind_p != kind_q:
        raise ValueError(
            f"p and q must both be discrete or both be continuous; got p {kind_p} ({p.name}) and q {kind_q} ({q.name})."
        )
    if p.shape != q.shape:
        raise ValueError(
            f"p and q must have the same shape; expected {p.shape} as of p ({p.name}), "
            f"got {q.shape} for q ({q.name}). Give the smaller one shape=..."
        )


def _require_common_space(p: Density, q: Density, rng: np.random.Generator) -> None:
    """Raise where one density lives on a subspace, such as the simplex, and the other doesn't."""
    if p.discrete or p.d == 1:
        return
    rank_p, rank_q = (_affine_rank(density.sample(2 * p.d + 20, rng)) for density in (p, q))
    if rank_p != rank_q:
        raise ValueError(
            "p and q must have densities over the same space; "
            f"draws of p ({p.name}) span {rank_p} dimensions and draws of q ({q.name}) span {rank_q}."
        )


def _affine_rank(x: Array) -> int:
    """Count the dimensions that draws (n, d) span around their mean."""
    centred = x - x.mean(axis=0)
    scale = np.abs(centred).max(axis=0)
    return int(np.linalg.matrix_rank(centred / np.where(scale > 0, scale, 1.0)))


def _is_array(candidate: object) -> bool:
    return isinstance(candidate, np.ndarray | list | tuple)


def _probabilities(weights: Any, argument: str) -> Array:
    """Check one array of probabilities."""
    probabilities = real_array(argument, weights)
    if not (probabilities >= 0).all():
        raise ValueError(f"weights must be 0 or more; {argument} holds {probabilities.min():g}.")
    total = probabilities.sum()
    if abs(total - 1) > WEIGHTS_TOLERANCE:
        raise ValueError(f"weights must sum to 1; got {total:.8g}. Normalise {argument}: divide it by its sum.")
    return probabilities


def _discrete(p: Array, q: Array) -> float:
    """Sum p log(p/q), where 0 log 0 is 0."""
    if p.shape != q.shape:
        raise ValueError(
            f"p and q must have the same shape; expected {p.shape} as of p, got {q.shape} for q. "
            "Give a category that one of them lacks the probability 0."
        )
    return float(rel_entr(p, q).sum())
