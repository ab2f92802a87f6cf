"""Log density graphs → batched functions: a loop over PyTensor's compiled function, or JAX's vmap."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
import pytensor.tensor as pt
from pymc.pytensorf import compile as compile_pymc
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.traversal import ancestors

from pymc_kl._typing import Array

JAX_SMALL, JAX_LARGE = 64, 2048  # rows a call: XLA compiles once a shape, so there are only two
JAX_MAX_BYTES = 2**28  # of temporaries that one call may need, estimated from the model's largest constant


class Evaluator(Protocol):
    """A batched density: values (n,) and, if it was compiled with them, gradients (n, d)."""

    def value(self, x: Array) -> Array:
        """Evaluate (n, d) -> (n,)."""

    def value_and_grad(self, x: Array) -> tuple[Array, Array]:
        """Evaluate (n, d) -> (n,), (n, d)."""


def make_evaluator(
    x: Variable, log_density: Variable, *, backend: str = "auto", gradient: bool = True
) -> tuple[Evaluator, str]:
    """Compile a scalar graph of the vector `x`; returns the evaluator and the backend that made it.

    "auto" takes JAX where it is installed and has every operation of the graph, else numba: JAX compiles in
    seconds what takes numba up to a minute cold, and is seldom slower by more than its import when warm.
    """
    if backend not in ("auto", *BACKENDS):
        raise ValueError(f"backend must be one of {['auto', *BACKENDS]}; got {backend!r}.")
    if backend == "auto" and find_spec("jax") is not None:
        try:
            return BACKENDS["jax"](x, log_density, gradient), "jax"
        except NotImplementedError:
            pass
    backend = "numba" if backend == "auto" else backend
    return BACKENDS[backend](x, log_density, gradient), backend


@dataclass(frozen=True, eq=False)
class LoopEvaluator:
    """Calls a compiled scalar function row by row."""

    function: Callable[[Array], Any]
    has_gradient: bool

    @classmethod
    def compile(cls, x: Variable, log_density: Variable, gradient: bool) -> "LoopEvaluator":
        """Compile with PyTensor's default mode (numba), value and gradient in one function."""
        outputs = [log_density, pt.grad(log_density, x)] if gradient else [log_density]
        return cls(compile_pymc([x], outputs, trust_input=True), gradient)

    def value(self, x: Array) -> Array:
        """Evaluate (n, d) -> (n,)."""
        return np.array([self.function(row)[0] for row in x], dtype=float)

    def value_and_grad(self, x: Array) -> tuple[Array, Array]:
        """Evaluate (n, d) -> (n,), (n, d)."""
        _require_gradient(self.has_gradient)
        values, grads = np.empty(len(x)), np.empty(x.shape)
        for i, row in enumerate(x):
            values[i], grads[i] = self.function(row)
        return values, grads


@dataclass(frozen=True, eq=False)
class JaxEvaluator:
    """Maps a jitted function over blocks of rows of two fixed sizes."""

    value_function: Callable[[Array], Any]
    grad_function: Callable[[Array], Any] | None
    max_rows: int

    @classmethod
    def compile(cls, x: Variable, log_density: Variable, gradient: bool) -> "JaxEvaluator":
        """Translate the graph to JAX; NotImplementedError where JAX lacks one of its operations."""
        import jax
        from pytensor.compile.mode import get_mode
        from pytensor.graph.fg import FunctionGraph
        from pytensor.link.jax.dispatch import jax_funcify

        graph = FunctionGraph(inputs=[x], outputs=[log_density], clone=True)
        get_mode("JAX").including("local_check_parameter_to_ninf_switch").optimizer.rewrite(graph)
        translated = jax_funcify(graph)

        def scalar(row: Any) -> Any:
            return translated(row)[0].reshape(())

        jax.eval_shape(scalar, np.zeros(x.type.shape))
        grad = jax.jit(jax.vmap(jax.value_and_grad(scalar))) if gradient else None
        return cls(jax.jit(jax.vmap(scalar)), grad, _max_rows(log_density))

    def value(self, x: Array) -> Array:
        """Evaluate (n, d) -> (n,)."""
        if self.grad_function is not None:
            return self.value_and_grad(x)[0]
        return self._map(self.value_function, x)

    def value_and_grad(self, x: Array) -> tuple[Array, Array]:
        """Evaluate (n, d) -> (n,), (n, d)."""
        _require_gradient(self.grad_function is not None)
        if not len(x):
            return np.empty(0), np.empty(x.shape)
        parts = [
            [np.asarray(out)[:n] for out in self.grad_function(block)]  # type: ignore[misc]
            for block, n in self._blocks(x)
        ]
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

    def _map(self, function: Callable[[Array], Any], x: Array) -> Array:
        parts = [np.asarray(function(block))[:n] for block, n in self._blocks(x)]
        return np.concatenate(parts) if parts else np.empty(0)

    def _blocks(self, x: Array) -> list[tuple[Array, int]]:
        """Cut rows into blocks of one of the two sizes; the last is filled up with copies of its last row."""
        rows = min(JAX_SMALL if len(x) <= JAX_SMALL else JAX_LARGE, self.max_rows)
        blocks = [x[i : i + rows] for i in range(0, len(x), rows)]
        return [(np.pad(b, ((0, rows - len(b)), (0, 0)), mode="edge"), len(b)) for b in blocks]


def _max_rows(graph: Variable) -> int:
    sizes = [v.data.size for v in ancestors([graph]) if isinstance(v, Constant) and hasattr(v.data, "size")]
    return int(np.clip(JAX_MAX_BYTES // (64 * max(sizes, default=1)), 1, JAX_LARGE))


def _require_gradient(has_gradient: bool) -> None:
    if not has_gradient:
        raise ValueError("this target was compiled with gradient=False; compile it with gradient=True.")


BACKENDS: dict[str, Callable[[Variable, Variable, bool], Evaluator]] = {
    "jax": JaxEvaluator.compile,
    "numba": LoopEvaluator.compile,
}
