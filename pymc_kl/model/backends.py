"""Log density graphs → batched functions: a loop over PyTensor's compiled function, or JAX's vmap."""

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.pytensorf import compile as compile_pymc
from pytensor.gradient import NullTypeGradError
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.traversal import ancestors
from pytensor.scalar import Softplus
from pytensor.tensor.elemwise import Elemwise

from pymc_kl._typing import Array
from pymc_kl.model.graphs import (
    CANONICAL,
    STABLE,
    Variables,
    flat_log_density,
    one_at_a_time,
    same_arithmetic,
    values_by_name,
)

TYPICAL = 16  # points at which a gradient is looked for once it is compiled; our choice
LEAST_SLOPED = 0.9  # share of typical points at which there has to be a gradient; our choice
JAX_ROWS = 1024  # rows that one call takes at the most; bounds memory; our choice
JAX_NUMBERS = 2**18  # numbers that they may hold: a call passes all of them even for one row; our choice
JAX_MAX_BLOCK = 16  # rows that one step of the compiled loop evaluates together, few enough for the cache; our choice
LARGE_GRAPH = 500  # operations, above which XLA would take minutes to optimise what it compiles; our choice
UNOPTIMISED = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
JAX_BLOCK_SIZE = 2**21  # numbers of the model's largest constant times rows that one step may hold; our choice


FORKED = (
    "This process was forked from one that had used JAX, in which JAX would wait for ever for threads that were not "
    "forked: start processes with multiprocessing.get_context('spawn')."
)
_started_by: list[int] = []  # the process that used JAX first; a fork inherits it


def _forked_from_jax() -> bool:
    return bool(_started_by) and _started_by[0] != os.getpid()


def _refuse_after_fork() -> None:
    if _forked_from_jax():
        raise RuntimeError(FORKED)


class Evaluator(Protocol):
    """A batched density: values (n,) and, if it was compiled with them, gradients (n, d)."""

    def value(self, x: Array, /) -> Array:
        """Evaluate (n, d) -> (n,)."""

    def value_and_grad(self, x: Array, /) -> tuple[Array, Array]:
        """Evaluate (n, d) -> (n,), (n, d)."""


def make_evaluator(
    x: Variable, log_density: Variable, *, backend: str = "auto", gradient: bool = True
) -> tuple[Evaluator, str]:
    """Compile a scalar graph of the vector `x`; return the evaluator and the backend that made it.

    "auto" takes JAX where it is installed and has every operation of the graph, else numba: JAX compiles in
    seconds what takes numba up to a minute cold, and is seldom slower by more than its import when warm.
    """
    if backend not in ("auto", *BACKENDS):
        raise ValueError(f"backend must be one of {['auto', *BACKENDS]}; got {backend!r}.")
    if backend == "auto" and _forked_from_jax():
        warnings.warn(f"{FORKED} The density is compiled with numba instead.", UserWarning, stacklevel=2)
        backend = "numba"
    if backend == "auto" and find_spec("jax") is not None:
        try:
            return BACKENDS["jax"](x, log_density, gradient), "jax"
        except NotImplementedError:
            pass
    backend = "numba" if backend == "auto" else backend
    return BACKENDS[backend](x, log_density, gradient), backend


def compile_density(
    model: pm.Model, variables: Sequence[Variables], start: Array, *, backend: str = "auto", gradient: bool = True
) -> tuple[Evaluator, str, tuple[str, ...]]:
    """Compile a model's log density; return the evaluator, the backend and the rewrites of its graph.

    More rewrites come where without them there is no gradient at most points about the start (d,).
    """
    values = values_by_name(model, [v.value_name for v in variables])
    points = start + np.random.default_rng(0).uniform(-1, 1, (TYPICAL, len(start)))
    for rewrites in (STABLE, CANONICAL):
        x, log_density = flat_log_density(model, values, variables, rewrites)
        evaluator, used = make_evaluator(x, log_density, backend=backend, gradient=gradient)
        if not gradient or _has_slope(evaluator, points):
            break
    return evaluator, used, rewrites


def _has_slope(evaluator: Evaluator, points: Array) -> bool:
    """Tell whether the gradient is finite at most of the points (n, d) where the density is."""
    values, grads = evaluator.value_and_grad(points)
    grads = grads[np.isfinite(values)]
    return bool(np.isfinite(grads).all(axis=1).mean() > LEAST_SLOPED) if len(grads) else True


@dataclass(frozen=True, eq=False)
class LoopEvaluator:
    """Call a compiled scalar function row by row."""

    function: Callable[[Array], Any]
    has_gradient: bool

    @classmethod
    def compile(cls, x: Variable, log_density: Variable, gradient: bool) -> "LoopEvaluator":
        """Compile with PyTensor's default mode (numba), value and gradient in one function."""
        outputs = [log_density, *([_gradient(log_density, x)] if gradient else [])]
        with same_arithmetic():
            return cls(compile_pymc([x], outputs, trust_input=True), gradient)

    @one_at_a_time
    def value(self, x: Array) -> Array:
        """Evaluate (n, d) -> (n,)."""
        return np.array([self.function(row)[0] for row in x], dtype=float)

    @one_at_a_time
    def value_and_grad(self, x: Array) -> tuple[Array, Array]:
        """Evaluate (n, d) -> (n,), (n, d)."""
        _require_gradient(self.has_gradient)
        values, grads = np.empty(len(x)), np.empty(x.shape)
        for i, row in enumerate(x):
            values[i], grads[i] = self.function(row)
        return values, grads


@dataclass(frozen=True, eq=False)
class JaxEvaluator:
    """Map a jitted function over rows, block by block, in one compiled loop whose length is an argument.

    XLA compiles once a shape. So every call passes the same number of rows, of which the loop visits the
    blocks that are in use: any number of rows costs what it needs and compiles nothing new.
    """

    function: Callable[[Array, int], Any]
    has_gradient: bool
    rows: int
    block: int

    @classmethod
    def compile(cls, x: Variable, log_density: Variable, gradient: bool) -> "JaxEvaluator":
        """Translate the graph to JAX; NotImplementedError where JAX lacks one of its operations."""
        import jax

        _started_by.append(os.getpid())
        _refuse_after_fork()
        scalar = _to_jax(x, log_density)
        block = _block_rows(log_density)
        d = x.type.shape[0]
        each = jax.vmap(jax.value_and_grad(scalar) if gradient else lambda row: (scalar(row), row[:0]))

        def run(points: Any, n_blocks: Any) -> Any:
            def visit(i: Any, out: Any) -> Any:
                first = i * block
                values, grads = each(jax.lax.dynamic_slice(points, (first, 0), (block, d)))
                return (
                    jax.lax.dynamic_update_slice(out[0], values, (first,)),
                    jax.lax.dynamic_update_slice(out[1], grads, (first, 0)),
                )

            blank = jax.numpy.zeros(len(points)), jax.numpy.zeros((len(points), d if gradient else 0))
            return jax.lax.fori_loop(0, n_blocks, visit, blank)

        rows = min(JAX_ROWS, max(JAX_NUMBERS // max(d, 1), 1))
        n_operations = sum(v.owner is not None for v in ancestors([log_density]))
        options = UNOPTIMISED if n_operations > LARGE_GRAPH else None  # such as of the steps of an ODE, written out
        return cls(jax.jit(run, compiler_options=options), gradient, block * (-(-rows // block)), block)

    def value(self, x: Array) -> Array:
        """Evaluate (n, d) -> (n,)."""
        return self._map(x)[0]

    def value_and_grad(self, x: Array) -> tuple[Array, Array]:
        """Evaluate (n, d) -> (n,), (n, d)."""
        _require_gradient(self.has_gradient)
        return self._map(x)

    def _map(self, x: Array) -> tuple[Array, Array]:
        _refuse_after_fork()
        values, grads = np.empty(len(x)), np.empty(x.shape if self.has_gradient else (len(x), 0))
        points = np.empty((self.rows, x.shape[1]))
        for start in range(0, len(x), self.rows):
            part = x[start : start + self.rows]
            n, n_blocks = len(part), -(-len(part) // self.block)
            points[:n], points[n : n_blocks * self.block] = part, part[-1]  # rows of the last block must be valid
            out = self.function(points, n_blocks)
            values[start : start + n], grads[start : start + n] = (np.asarray(o)[:n] for o in out)
        return values, grads


def _stable_softplus(graph: FunctionGraph) -> None:
    """Write log(1 + e^u) so that no branch of it overflows: the gradient of PyTensor's is NaN in JAX beyond 709."""
    for node in graph.toposort():
        if isinstance(node.op, Elemwise) and isinstance(node.op.scalar_op, Softplus):
            u = node.inputs[0]
            stable = pt.switch(u > 0, u, 0.0) + pt.log1p(pt.exp(pt.switch(u > 0, -u, u)))
            graph.replace(node.outputs[0], stable, import_missing=True)


def _to_jax(x: Variable, log_density: Variable) -> Callable[[Any], Any]:
    """Translate a graph to a JAX function of one row; parameters that are invalid give -inf, as in PyMC."""
    import jax
    import jax.numpy as jnp
    from pytensor.compile.mode import get_mode
    from pytensor.link.jax.dispatch import jax_funcify

    graph = FunctionGraph(inputs=[x], outputs=[log_density], clone=True)
    get_mode("JAX").including("local_check_parameter_to_ninf_switch").optimizer.rewrite(graph)
    _stable_softplus(graph)
    translated = jax_funcify(graph)

    def scalar(row: Any) -> Any:
        return jnp.asarray(translated(row)[0]).reshape(())  # a constant density is a number

    jax.eval_shape(scalar, np.zeros(x.type.shape))
    return scalar


def _block_rows(graph: Variable) -> int:
    """Choose how many rows one step of the loop evaluates together."""
    sizes = [v.data.size for v in ancestors([graph]) if isinstance(v, Constant) and hasattr(v.data, "size")]
    return int(np.clip(JAX_BLOCK_SIZE // max([1, *sizes]), 1, JAX_MAX_BLOCK))


def _gradient(log_density: Variable, x: Variable) -> Variable:
    """Differentiate a density; raise for one that has an operation without a derivative."""
    try:
        return pt.grad(log_density, x, disconnected_inputs="ignore")
    except (NotImplementedError, NullTypeGradError) as error:
        raise ValueError(
            f"the model's log density has no gradient, which the search for modes needs: {error}. Write that part of "
            "the model with operations that have one, or take it out."
        ) from error


def _require_gradient(has_gradient: bool) -> None:
    if not has_gradient:
        raise ValueError("this target was compiled with gradient=False; compile it with gradient=True.")


BACKENDS: dict[str, Callable[[Variable, Variable, bool], Evaluator]] = {
    "jax": JaxEvaluator.compile,
    "numba": LoopEvaluator.compile,
}
