"""The arguments of `kl_divergence` as densities that can be sampled and evaluated.

Points are rows of a float array (n, d) whatever the shape of the variable; log densities are in nats.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from pymc.distributions.censored import CensoredRV
from pymc.distributions.distribution import DiracDeltaRV, SymbolicRandomVariable
from pymc.distributions.mixture import MixtureRV
from pymc.distributions.shape_utils import change_dist_size
from pymc.logprob.utils import CheckParameterValue
from pymc.pytensorf import rvs_in_graph
from pytensor.compile.mode import Mode
from pytensor.graph.basic import Constant
from pytensor.graph.replace import clone_replace, vectorize_graph
from pytensor.graph.rewriting.db import RewriteDatabaseQuery
from pytensor.graph.traversal import ancestors, graph_inputs
from pytensor.tensor.random.basic import BernoulliRV
from pytensor.tensor.random.op import RandomVariable
from pytensor.tensor.variable import TensorConstant, TensorVariable

from pymc_kl._typing import Array
from pymc_kl.approximations.base import Approximation
from pymc_kl.approximations.fullrank import FullRank

# One vectorised call on an array needs no compiler, but it does need the stabilising rewrites.
NUMPY_MODE = Mode(
    linker="py",
    optimizer=RewriteDatabaseQuery(
        include=["fast_run", "py_only"], exclude=["fusion", "cxx_only", "c_blas", "inplace"]
    ),
)
# PyTensor stores constants in the smallest dtype that holds them, and computes in it.
WIDE_DTYPES = {
    "int8": "int64",
    "int16": "int64",
    "int32": "int64",
    "float16": "float64",
    "float32": "float64",
}
ACCEPTED = (
    "a PyMC distribution such as pm.Normal.dist(0, 2), an approximation of this package, "
    "or an array of probabilities (both p and q)"
)


@dataclass(frozen=True, eq=False)
class Density(ABC):
    """A distribution over arrays of `shape`; a scalar has shape (1,), so that d is always their product."""

    name: str
    family: type
    shape: tuple[int, ...]
    ndim_supp: int
    discrete: bool

    @property
    def d(self) -> int:
        """Number of entries of one draw."""
        return prod(self.shape)

    @cached_property
    @abstractmethod
    def parameters(self) -> tuple[Array, ...]:
        """The family's parameters as constants, in the order of its closed form."""

    @abstractmethod
    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw (n, d)."""

    @abstractmethod
    def log_prob(self, x: Array) -> Array:
        """Evaluate (n, d) -> (n,); -inf outside the support."""


@dataclass(frozen=True, eq=False)
class ApproximationDensity(Density):
    """An approximation of this package, over the unconstrained space."""

    approximation: Approximation

    @cached_property
    def parameters(self) -> tuple[Array, ...]:
        """Location and scale, or Cholesky factor."""
        scale = "scale_tril" if isinstance(self.approximation, FullRank) else "scale"
        return self.approximation.loc, getattr(self.approximation, scale)  # type: ignore[attr-defined]

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw (n, d)."""
        return self.approximation.sample(n, random_seed=rng)

    def log_prob(self, x: Array) -> Array:
        """Evaluate (n, d) -> (n,)."""
        return self.approximation.log_prob(x)


@dataclass(frozen=True, eq=False)
class VariableDensity(Density):
    """A PyMC variable and the graph of its log density at `value`."""

    variable: Any
    value: Any
    log_prob_graph: Any

    @cached_property
    def parameters(self) -> tuple[Array, ...]:
        """The operator's parameters; of a Bernoulli the probabilities of 1 and of 0."""
        node = self.variable.owner
        parameters = tuple(node.op.dist_params(node))
        if isinstance(node.op, BernoulliRV):
            parameters = (*parameters, _complement(parameters[0]))
        return tuple(np.asarray(parameter, dtype=float) for parameter in _evaluate(parameters))

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw (n, d)."""
        draws = change_dist_size(self.variable, (n,), expand=True)
        function = _compile([], draws, random_seed=int(rng.integers(2**31)))
        with np.errstate(all="ignore"):
            return np.asarray(function(), dtype=float).reshape(n, self.d)

    @cached_property
    def _log_prob_function(self) -> Any:
        batch = pt.tensor(dtype=self.value.dtype, shape=(None, *self.value.type.shape))
        if isinstance(self.variable.owner.op, MixtureRV):
            # vectorize_graph would call a mixture's log-sum-exp once a row.
            variable = change_dist_size(self.variable, (batch.shape[0],), expand=True)
            [log_prob] = _widen([pm.logp(variable, batch, warn_rvs=False)])
            return _compile([batch], log_prob.reshape((batch.shape[0], -1)).sum(axis=1))
        [log_prob] = _widen([self.log_prob_graph])
        return _compile([batch], vectorize_graph(log_prob.sum(), {self.value: batch}))

    def log_prob(self, x: Array) -> Array:
        """Evaluate (n, d) -> (n,)."""
        shape = self.shape if self.value.ndim else ()
        with np.errstate(all="ignore"):
            log_prob = self._log_prob_function(x.reshape(len(x), *shape).astype(self.value.dtype))
        return np.broadcast_to(np.asarray(log_prob, dtype=float), len(x))


def as_density(distribution: object, argument: str) -> Density:
    """Adapt an approximation or a PyMC variable; `argument` names it in errors."""
    if isinstance(distribution, Approximation):
        return ApproximationDensity(
            name=type(distribution).__name__,
            family=type(distribution),
            shape=(distribution.d,),
            ndim_supp=int(isinstance(distribution, FullRank)),
            discrete=False,
            approximation=distribution,
        )
    if isinstance(distribution, TensorVariable) and isinstance(
        getattr(distribution.owner, "op", None), RandomVariable | SymbolicRandomVariable
    ):
        return _from_variable(distribution, argument)
    raise TypeError(f"{argument} must be {ACCEPTED}; got {_describe(distribution)}.")


def _from_variable(variable: Any, argument: str) -> VariableDensity:
    """Build the log density of a PyMC variable; raise a ValueError if it has none with constant parameters."""
    op = variable.owner.op
    value = variable.type()
    graph = pm.logp(variable, value, warn_rvs=False)
    name = type(op).__name__.removesuffix("RV")
    if name in ("Flat", "HalfFlat"):
        raise ValueError(f"{argument} must integrate to 1, which no pm.{name} does. Give a proper distribution.")
    discrete = not variable.dtype.startswith("float")
    _require_constant(graph, value, f"{argument} ({name})")
    _require_valid(graph, value, f"{argument} ({name})")
    if not discrete:
        _require_no_point_mass(variable, f"{argument} ({name})")
    density = VariableDensity(
        name=name,
        family=type(op),
        shape=_shape(variable) or (1,),
        ndim_supp=op.ndim_supp,
        discrete=discrete,
        variable=variable,
        value=value,
        log_prob_graph=graph,
    )
    _require_finite(density, f"{argument} ({name})")
    return density


def _shape(variable: Any) -> tuple[int, ...]:
    """Read the static shape, or draw once where it depends on data."""
    static = variable.type.shape
    if None not in static:
        return tuple(static)
    draw: Array = _compile([], change_dist_size(variable, (1,), expand=True))()
    return draw.shape[1:]


def _require_constant(graph: Any, value: Any, who: str) -> None:
    """Raise where the log density depends on another random variable or on a free input."""
    unknown = [str(v) for v in rvs_in_graph([graph])] or [
        str(v)
        for v in graph_inputs([graph])
        if v is not value and not isinstance(v, Constant | pytensor.compile.SharedVariable)
    ]
    if unknown:
        raise ValueError(
            f"the parameters of {who} must be constants; they depend on {', '.join(sorted(unknown))}. "
            "Give numbers, for instance a draw of those variables."
        )


def _require_valid(graph: Any, value: Any, who: str) -> None:
    """Raise where PyMC's own checks of the parameters, such as sigma > 0, fail."""
    for variable in ancestors([graph]):
        if variable.owner is None or not isinstance(variable.owner.op, CheckParameterValue):
            continue
        conditions = variable.owner.inputs[1:]
        if value not in ancestors(conditions) and not np.all(_evaluate(conditions)):
            raise ValueError(f"the parameters of {who} must satisfy {variable.owner.op.msg}.")


def _require_finite(density: VariableDensity, who: str) -> None:
    """Raise where draws are infinite, as with mu=inf; infinite bounds and degrees of freedom may do no harm."""
    numbers = [v.data for v in graph_inputs([density.variable]) if isinstance(v, TensorConstant)]
    if all(np.isfinite(number).all() for number in numbers):
        return
    if not np.isfinite(density.sample(100, np.random.default_rng(0))).all():
        raise ValueError(f"draws of {who} must be finite, and are not: one of its parameters is infinite.")


def _require_no_point_mass(variable: Any, who: str) -> None:
    """Raise for a continuous variable with atoms: it has no density to compare."""
    atomic = (CensoredRV, DiracDeltaRV)
    if any(v.owner is not None and isinstance(v.owner.op, atomic) for v in ancestors([variable])):
        raise ValueError(
            f"{who} must have a density everywhere; it is continuous with point masses. "
            "Compare the continuous part and the probabilities of the points apart."
        )


def _complement(probability: Any) -> Any:
    """Compute 1 - p, without rounding to 0 where p was given as a logit."""
    if probability.owner is not None and probability.owner.op == pt.sigmoid:
        return pt.sigmoid(-probability.owner.inputs[0])
    return 1 - probability


def _widen(graphs: Sequence[Any]) -> Sequence[Any]:
    """Store constants in 64 bits: of an int8, PyTensor takes the logarithm in single precision."""
    wide = {
        constant: pt.constant(constant.data.astype(WIDE_DTYPES[constant.dtype]))
        for constant in graph_inputs(graphs)
        if isinstance(constant, TensorConstant) and constant.dtype in WIDE_DTYPES
    }
    replaced: Sequence[Any] = clone_replace(list(graphs), wide, rebuild_strict=False)
    return replaced


def _evaluate(graphs: Sequence[Any]) -> list[Any]:
    """Evaluate graphs without inputs, once and without compiling."""
    function = pytensor.function([], _widen(graphs), mode=Mode(linker="py", optimizer=None))
    with np.errstate(all="ignore"):
        results: list[Any] = function()
    return results


def _compile(inputs: list[Any], output: Any, random_seed: int | None = None) -> Any:
    """Compile for vectorised calls, without a C compiler: constant folding would call one."""
    with pytensor.config.change_flags(cxx=""):
        return pm.compile(inputs, output, mode=NUMPY_MODE, random_seed=random_seed)


def _describe(distribution: object) -> str:
    """Name what was passed instead of a distribution."""
    owner = getattr(distribution, "owner", None)
    if isinstance(distribution, type):
        return f"the class {distribution.__name__}; call its .dist(...)"
    if owner is not None:
        return f"a variable computed by {owner.op}; wrap the computation in pm.CustomDist.dist"
    return type(distribution).__name__
