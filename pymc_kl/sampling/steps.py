"""Step methods of PyMC for several modes, which leave p invariant: NUTS with a metric for each mode, and jumps.

Each copy of a mode has a normal, whose covariance is the metric of NUTS there. With an index j ~ r_j(x), where r_j is
the responsibility of component j in the mixture of those normals, p(x) becomes the joint density p(x) r_j(x). Drawing j
given x, then x given j by NUTS with the metric of j, leaves that density invariant, and so p, whatever the normals are.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, ClassVar

import numpy as np
import pymc as pm
from pymc.blocking import DictToArrayBijection, RaveledVars
from pymc.step_methods.arraystep import ArrayStepShared
from pymc.step_methods.compound import BlockedStep, CompoundStep, StepMethodState

from pymc_kl._typing import Array, IntArray
from pymc_kl.approximations import Approximation
from pymc_kl.approximations.components import Components
from pymc_kl.model.graphs import same_arithmetic
from pymc_kl.model.target import Target
from pymc_kl.sampling.chain_starts import order_of
from pymc_kl.sampling.local_normals import reordered

TARGET_ACCEPT = 0.8  # acceptance probability that NUTS tunes its step size to; PyMC's own default
BLOCK = 1000  # proposals that are drawn and evaluated in one call; our choice


class SharedDensity:
    """Value and gradient of log p̃ + log r_j, in the form that NUTS takes from PyMC; `component` is j.

    Parameters
    ----------
    density : ValueGradFunction
        PyMC's, of its vector x (d,).
    normals : Components
        In the order of PyMC's vector.
    """

    _raveled_inputs: ClassVar[bool] = True
    _extra_vars_shared: ClassVar[dict[str, Any]] = {}

    def __init__(self, density: Any, normals: Components) -> None:
        self.density, self.normals, self.component = density, normals, 0
        self.dtype = density.dtype

    def responsibilities(self, x: Array) -> Array:
        """Responsibility of each component at x, (M,)."""
        return self._responsibilities_and_gradients(x)[0]

    def _responsibilities_and_gradients(self, x: Array) -> tuple[Array, Array]:
        """Responsibilities (M,), and gradients (M, d) of the log densities of the normals."""
        z = np.einsum("mij,mj->mi", self.normals.whiteners, x - self.normals.locs)
        log_joint = self.normals.log_peaks - 0.5 * (z * z).sum(axis=1)
        joint = np.exp(log_joint - log_joint.max())
        return joint / joint.sum(), -np.einsum("mij,mi->mj", self.normals.whiteners, z)

    def _pytensor_function(self, x: Array) -> tuple[Any, Array]:
        value, gradient = self.density._pytensor_function(x)
        responsibilities, normals = self._responsibilities_and_gradients(x)
        j = self.component
        with np.errstate(divide="ignore"):
            return value + np.log(responsibilities[j]), gradient + normals[j] - responsibilities @ normals


class LocalNUTS(CompoundStep):
    """Step method of PyMC: one transition of NUTS, with the metric and the step size of a component drawn given x.

    Parameters
    ----------
    shared : SharedDensity
    methods : list of pm.NUTS
        One for each component, each of `shared`.
    """

    name = "local_nuts"

    def __init__(self, shared: SharedDensity, methods: list[Any]) -> None:
        super().__init__(methods)
        self.shared = shared
        self.rng = np.random.default_rng()
        self.stats_dtypes, self.stats_dtypes_shapes = methods[0].stats_dtypes, methods[0].stats_dtypes_shapes

    def setup_chain(self, rng: Any, tune: int, draws: int) -> None:
        """Give the choice of a component, and each NUTS, a random stream of its own."""
        self.rng, rest = rng.spawn(2)
        super().setup_chain(rest, tune, draws)

    def step(self, point: Any) -> Any:
        """Draw a component, and move by its NUTS."""
        responsibilities = self.shared.responsibilities(DictToArrayBijection.map(point).data)
        self.shared.component = int(self.rng.choice(len(responsibilities), p=responsibilities))
        return self.methods[self.shared.component].step(point)

    def _progressbar_config(self, n_chains: int = 1) -> Any:
        return self.methods[0]._progressbar_config(n_chains)

    def _make_progressbar_update_functions(self) -> Any:
        return self.methods[0]._make_progressbar_update_functions()


def make_nuts(density: Any, normals: Components, target_accept: float) -> "pm.NUTS | LocalNUTS":
    """Make a NUTS for the model of the context, with the metric of each component; plain where there is one."""
    shared = density if len(normals) == 1 else SharedDensity(density, normals)
    methods = [
        pm.NUTS(logp_dlogp_func=shared, scaling=covariance, is_cov=True, target_accept=target_accept)
        for covariance in normals.covariances
    ]
    return methods[0] if len(normals) == 1 else LocalNUTS(shared, methods)


@dataclass(frozen=True, eq=False)
class Point:
    """A point x (d,) of the chain with both log densities, in nats."""

    x: Array
    log_density: float
    log_prob: float


class JumpStep(ArrayStepShared):
    """Step method of PyMC: independence Metropolis-Hastings (Tierney 1994), whose jumps an approximation proposes.

    Parameters
    ----------
    vars : sequence of value variables
    density : callable
        PyMC's vector (d,) -> log p̃ in nats.
    proposal : Approximation
        q, with a density.
    order : array (d,) of int
        Where PyMC's vector has each coordinate of q.
    jumps : int
        Jumps in one step.
    """

    name = "jump"
    stats_dtypes_shapes: ClassVar[dict[str, Any]] = {
        "jump_accepted": (bool, []),
        "jump_acceptance_rate": (np.float64, []),
        "model_logp": (np.float64, []),
    }
    _state_class = StepMethodState

    def __init__(
        self,
        vars: Sequence[Any],  # noqa: A002 PyMC's own name
        *,
        density: Callable[[Array], float],
        proposal: Approximation,
        order: IntArray,
        jumps: int,
        model: pm.Model | None = None,  # noqa: ARG002 what PyMC passes
        blocked: bool = True,
        rng: np.random.Generator | None = None,
    ) -> None:
        super().__init__(list(vars), {}, blocked=blocked, rng=rng)
        self.density, self.proposal, self.order, self.jumps = density, proposal, order, jumps
        self._proposals: Iterator[Point] = iter(())

    def setup_chain(self, rng: Any, tune: int, draws: int) -> None:
        """Forget the proposals of the chain before."""
        super().setup_chain(rng, tune, draws)
        self._proposals = self._propose()

    def _propose(self) -> Iterator[Point]:
        """Yield proposals without end; q draws and evaluates a block of them together."""
        while True:
            x = self.proposal.sample(BLOCK, random_seed=self.rng)
            log_prob = self.proposal.log_prob(x)
            for row, log_q in zip(x, log_prob, strict=True):
                own = np.empty_like(row)
                own[self.order] = row
                yield Point(own, self.density(own), float(log_q))

    def astep(self, q0: RaveledVars) -> tuple[RaveledVars, list[dict[str, Any]]]:
        """Propose `jumps` jumps, one after the other."""
        x = np.asarray(q0.data)
        point = Point(x, self.density(x), float(self.proposal.log_prob(x[self.order][None])[0]))
        start, probabilities = point, []
        for proposed in islice(self._proposals, self.jumps):
            probabilities.append(np.exp(log_acceptance(point, proposed)))
            if self.rng.random() < probabilities[-1]:
                point = proposed
        stats = {
            "jump_accepted": point is not start,
            "jump_acceptance_rate": float(np.mean(probabilities)),
            "model_logp": point.log_density,
        }
        return RaveledVars(point.x, q0.point_map_info), [stats]


def log_acceptance(current: Point, proposed: Point) -> float:
    """Log of the probability to accept a draw of q: min(0, log p̃(x') + log q(x) - log p̃(x) - log q(x'))."""
    log_ratio = proposed.log_density - proposed.log_prob - (current.log_density - current.log_prob)
    return min(0.0, log_ratio) if log_ratio > -np.inf else -np.inf


def make_steps(
    model: pm.Model,
    target: Target,
    approximation: Approximation,
    normals: Components,
    *,
    jumps: int,
    target_accept: float = TARGET_ACCEPT,
) -> tuple[BlockedStep | CompoundStep, JumpStep]:
    """Make NUTS with the metrics of normals, in the target's order, and the jumps; both share one compiled density."""
    order = order_of(target, [v.name for v in model.value_vars])
    with model:
        with same_arithmetic():
            function = model.logp_dlogp_function(ravel_inputs=True)
        function.trust_input = True
        jump = JumpStep(
            model.value_vars,
            density=LogDensity(function),
            proposal=replace(approximation, target=None),  # a target cannot follow to other processes
            order=np.argsort(order),
            jumps=jumps,
        )
        return make_nuts(function, reordered(normals, order), target_accept), jump


@dataclass(frozen=True, eq=False)
class LogDensity:
    """PyMC's compiled value and gradient as log p̃ of its vector (d,); where it is NaN there is no density."""

    function: Any

    def __call__(self, x: Array) -> float:
        """Evaluate log p̃ in nats."""
        value = float(self.function([x], extra_vars={})[0])
        return -np.inf if np.isnan(value) else value
