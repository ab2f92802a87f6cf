"""What a problem is, and how its PyMC model is stated without a trace of the prior."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

type Array = npt.NDArray[np.float64]
type LogDensity = Callable[[Array], Array]
type Sampler = Callable[[int, np.random.Generator], Array]
type Tensor = TensorVariable[Any, Any]
type Graph = Callable[[Tensor], Tensor]

LOG_2PI = float(np.log(2 * np.pi))


@dataclass(frozen=True, eq=False)
class Optimum:
    """The normal that minimises a divergence, or a local minimum of it.

    Parameters
    ----------
    mean : array (d,)
    cov : array (d, d)
        Diagonal for mean-field optima.
    reverse_kl, forward_kl : float
        KL(q‖p) and KL(p‖q) at this normal, in nats. NaN where not known.
    """

    mean: Array
    cov: Array
    reverse_kl: float = np.nan
    forward_kl: float = np.nan


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """A posterior with exact truth; every array is in the flat unconstrained space R^d.

    Parameters
    ----------
    name : str
        Its key in `ALL`, for the default arguments.
    model : callable
        Builds the PyMC model afresh. The flat vector joins `model.value_vars` in their order.
    log_density : callable
        (n, d) -> (n,), in nats; equals the model's log density with Jacobians.
    d : int
    masses : array (K,)
        Masses of the basins of attraction, in the order of `locations`; (1,) means one mode.
    masses_error : float
        Largest error of a mass; 0 where the masses are exact to the accuracy of quadrature.
    locations : array (K, d) or None
        Modes. None where a mode is no point, or where the density's maximum does not represent the mass.
    log_z : float
        Log evidence in nats; NaN where not known.
    log_z_error : float
        Largest error of `log_z`; 0 where it is exact to the accuracy of quadrature.
    mean : array (d,) or None
    cov : array (d, d) or None
        None where not known or not finite.
    sample : callable or None
        (n, rng) -> (n, d) exact independent draws.
    reverse, forward : mapping of str to Optimum
        Best normals, KL(q‖p) and KL(p‖q). Keys are "meanfield", "fullrank" and, for some further minima of
        the reverse divergence, "local_1", "local_2", … in order of their divergence.
    """

    name: str
    model: Callable[[], pm.Model]
    log_density: LogDensity
    d: int
    masses: Array = field(default_factory=lambda: np.ones(1))
    masses_error: float = 0.0
    locations: Array | None = None
    log_z: float = np.nan
    log_z_error: float = 0.0
    mean: Array | None = None
    cov: Array | None = None
    sample: Sampler | None = None
    reverse: Mapping[str, Optimum] = field(default_factory=dict)
    forward: Mapping[str, Optimum] = field(default_factory=dict)

    @property
    def unimodal(self) -> bool:
        """Whether the posterior has one mode only."""
        return len(self.masses) == 1


def moment_optima(mean: Array, cov: Array) -> dict[str, Optimum]:
    """Best forward normals: those with the moments of the target, their divergences not known."""
    return {"meanfield": Optimum(mean, np.diag(np.diag(cov))), "fullrank": Optimum(mean, cov)}


def cancelled_prior(d: int, scale: float, log_density: Graph) -> Callable[[], pm.Model]:
    """State a target as x ~ N(0, scale) and a Potential, the log density of the target less that of x."""

    def build() -> pm.Model:
        with pm.Model() as model:
            # PyTensor holds a plain 4.0 in single precision, and its log with it.
            x = pm.Normal("x", 0.0, np.float64(scale), shape=d)
            prior = -0.5 * ((x / scale) ** 2).sum() - d * (np.log(scale) + LOG_2PI / 2)
            pm.Potential("target", log_density(x) - prior)
        return model

    return build


def logsumexp_graph(terms: Tensor) -> Tensor:
    """Log-sum-exp that needs no rewrite to be stable."""
    top = terms.max()
    return top + pt.log(pt.exp(terms - top).sum())
