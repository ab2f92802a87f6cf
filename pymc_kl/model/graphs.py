"""A model's graphs as functions of one vector: its log density, and the maps to and from its own variables."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from pymc.model.transform import remove_minibatched_nodes, remove_value_transforms
from pymc.pytensorf import replace_vars_in_graphs
from pytensor.compile.mode import Mode
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace, vectorize_graph
from pytensor.graph.rewriting.db import RewriteDatabaseQuery
from pytensor.graph.rewriting.utils import rewrite_graph
from pytensor.graph.traversal import ancestors, graph_inputs
from pytensor.link.vm import VMLinker
from pytensor.tensor.random.type import RandomType
from pytensor.tensor.variable import TensorConstant

from pymc_kl._typing import Array

# PyTensor changes its settings as it compiles, a compiled function keeps its arguments in one place, and a model its
# random numbers: whoever uses them, or PyMC, holds this lock.
PYTENSOR = threading.RLock()

# Transforms run in Python, as numpy calls on whole batches: nothing has to be compiled.
MAP_MODE = Mode(
    VMLinker(use_cloop=False, c_thunks=False),
    RewriteDatabaseQuery(
        include=["fast_run", "py_only"], exclude=["fusion", "cxx_only", "BlasOpt", "c_blas", "inplace"]
    ),
)


def one_at_a_time[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Run a function that compiles with PyTensor, or calls what it compiled, in one thread at a time."""

    @wraps(function)
    def alone(*args: P.args, **kwargs: P.kwargs) -> R:
        with PYTENSOR:
            return function(*args, **kwargs)

    return alone


@contextmanager
def same_arithmetic() -> Iterator[None]:
    """Open a context in which functions compile to the same arithmetic, to the last bit, in every process and thread.

    PyTensor lets numba reorder floating-point sums ("fast maths"). The order depends on which functions numba compiles
    and which it reads from its cache on disk, so it may differ between two processes. A difference in the last bit is
    enough for two chains with the same seed to drift apart.
    """
    with PYTENSOR, pytensor.config.change_flags(numba__fastmath=False):
        yield


STABLE = ("stabilize", "local_check_parameter_to_ninf_switch")  # rewrites of a graph before it is differentiated
CANONICAL = ("canonicalize", *STABLE)  # those of a graph that has no gradient else, as that of a SkewNormal's tail


@dataclass(frozen=True)
class Variables:
    """One free variable of the model: its names, shapes and coordinates in the flat vector."""

    name: str
    value_name: str
    shape: tuple[int, ...]
    value_shape: tuple[int, ...]
    dims: tuple[str, ...]
    coordinates: slice


def initial_point(model: pm.Model, variables: Sequence[Variables]) -> Array:
    """Return the model's initial point (d,)."""
    point = model.initial_point(0)
    return np.concatenate([np.ravel(point[v.value_name]) for v in variables]).astype(float)


def without_minibatches(model: pm.Model) -> pm.Model:
    """Restore the full data behind pm.Minibatch, so that the density is that of all the data."""
    graph = ancestors([*model.basic_RVs, *model.potentials])
    is_minibatch = any(
        type(v.owner.op).__name__ in ("MinibatchOp", "MinibatchIndexRV") for v in graph if v.owner is not None
    )
    return remove_minibatched_nodes(model) if is_minibatch else model


def data_size(model: pm.Model) -> int:
    """Count the numbers of data that the model's variables and potentials read, observed values among them."""
    values = [model.rvs_to_values[rv] for rv in model.observed_RVs]
    return sum(np.size(value) for _, value in data_read_by([*model.basic_RVs, *model.potentials, *values]))


def data_read_by(
    graphs: Sequence[Variable], blockers: Sequence[Variable] | None = None
) -> Iterator[tuple[str | None, Array]]:
    """Yield names (None for constants) and values of the data that graphs read, not by way of `blockers`."""
    for v in set(graph_inputs(graphs, blockers)):
        if isinstance(v, SharedVariable) and not isinstance(v.type, RandomType):
            yield v.name, np.asarray(v.get_value(borrow=True))  # not masked, as pm.set_data stores NaN
        elif isinstance(v, TensorConstant):
            yield None, v.data


def values_by_name(model: pm.Model, names: Sequence[str]) -> list[Variable]:
    """Return the value variables of those names: a model that was derived from another may have reordered them."""
    by_name = {v.name: v for v in model.value_vars}
    return [by_name[name] for name in names]


def lay_out(model: pm.Model, values: Sequence[Variable]) -> tuple[Variables, ...]:
    """Give every value variable its coordinates in the flat vector."""
    point = model.initial_point(0)
    shapes = model.eval_rv_shapes()
    variables, start = [], 0
    for value in values:
        name = model.values_to_rvs[value].name
        size = int(np.size(point[value.name]))
        variables.append(
            Variables(
                name=name,
                value_name=value.name,
                shape=tuple(int(n) for n in shapes[name]),
                value_shape=np.shape(point[value.name]),
                dims=tuple(model.named_vars_to_dims.get(name) or ()),
                coordinates=slice(start, start + size),
            )
        )
        start += size
    if not start:
        raise ValueError("the model's free variables have no elements; there is no posterior to compare with.")
    return tuple(variables)


def _freeze_data(graphs: Sequence[Variable]) -> list[Variable]:
    """Replace shared data by constants: a target doesn't change when pm.set_data is called later."""
    frozen = {
        v: v.type.filter_variable(v.get_value(borrow=False))
        for v in graph_inputs(graphs)
        if isinstance(v, SharedVariable) and not isinstance(v.type, RandomType)
    }
    return list(graph_replace(list(graphs), frozen, strict=False)) if frozen else list(graphs)


def _lower(graphs: Sequence[Variable], *include: str) -> list[Variable]:
    """Rewrite graphs to plain tensors, with the named rewrites."""
    tensors = [pt.as_tensor(g, allow_xtensor_conversion=True) for g in graphs]
    return list(rewrite_graph(tensors, include=("ShapeOpt", "lower_xtensor", *include)))


def _split(x: Variable, values: Sequence[Variable], variables: Sequence[Variables]) -> dict[Variable, Variable]:
    """Map each value variable to its part of the flat vector."""
    parts = (x[v.coordinates].reshape(v.value_shape) for v in variables)
    return {
        value: value.type.filter_variable(pt.cast(part, value.type.dtype))
        for value, part in zip(values, parts, strict=True)
    }


def flat_log_density(
    model: pm.Model,
    values: Sequence[Variable],
    variables: Sequence[Variables],
    rewrites: Sequence[str] = STABLE,
) -> tuple[Variable, Variable]:
    """Write the log density as a graph of one vector.

    Stabilise it before it is differentiated: the gradient of Bernoulli(logit_p) is NaN otherwise.
    """
    x = pt.vector("x", shape=(variables[-1].coordinates.stop,), dtype="float64")
    with model:
        graphs = _freeze_data([model.logp()])
    graphs = graph_replace(graphs, _split(x, values, variables), strict=False)
    (log_density,) = _lower(graphs, *rewrites)
    return x, log_density


def evaluate(graphs: Sequence[Variable], inputs: Sequence[Variable] = (), point: Mapping[str, Any] = {}) -> list[Array]:
    """Evaluate graphs at one point, without compiling."""
    lowered = _lower(_freeze_data(graphs), "canonicalize", "local_check_parameter_to_ninf_switch")
    function = pytensor.function(list(inputs), lowered, mode=MAP_MODE, on_unused_input="ignore")
    with np.errstate(all="ignore"):
        return [np.asarray(value) for value in function(**point)]


def term_at_initial_point(model: pm.Model, term: Variable) -> Array:
    """Evaluate the log density of one variable or potential, element by element, at the model's initial point."""
    with model:
        graphs = model.logp(vars=[term], sum=False)
    return evaluate(graphs, model.value_vars, model.initial_point(0))[0]


def affine_model(model: pm.Model, variables: Sequence[Variables], rewrites: Sequence[str] = STABLE) -> pm.Model:
    """Make a model of z with a flat prior, whose density is p̃(centre + factor z)^beta N(z; 0, I)^(1 - beta).

    `centre`, `factor` and `beta` are pm.Data, so that they can be changed without compiling anew.
    """
    full = without_minibatches(model)
    values = values_by_name(full, [v.value_name for v in variables])
    x, log_density = flat_log_density(full, values, variables, rewrites)
    d = variables[-1].coordinates.stop
    with pm.Model(model=None) as affine:  # no child of a model that the user is inside of
        centre, factor = pm.Data("centre", np.zeros(d)), pm.Data("factor", np.eye(d))
        beta = pm.Data("beta", np.float64(1.0))
        z = pm.Flat("z", shape=d)
        point = pt.specify_shape(centre + (factor * z).sum(axis=1), (d,))
        (moved,) = graph_replace([log_density], {x: x.type.filter_variable(point)}, strict=False)
        pm.Potential("target", beta * moved - 0.5 * (1 - beta) * (z**2).sum())
    return affine


@one_at_a_time
def compile_constrain(
    model: pm.Model, names: Sequence[str], values: Sequence[Variable], variables: Sequence[Variables]
) -> Callable[[Array], list[Array]]:
    """Compile the map (n, d) -> arrays (n, *shape) of the named variables of the model's own space."""
    x = pt.vector("x", shape=(variables[-1].coordinates.stop,), dtype="float64")
    by_name = {rv.name: rv for rv in (*model.free_RVs, *model.deterministics)}
    outputs = model.replace_rvs_by_values([by_name[name] for name in names])
    graphs = graph_replace(_freeze_data(outputs), _split(x, values, variables), strict=False)
    batch = pt.matrix("x_batch", shape=(None, variables[-1].coordinates.stop), dtype="float64")
    lowered = _lower(graphs, "canonicalize")
    batched = [
        out if batch in set(ancestors([out])) else pt.broadcast_to(out, (batch.shape[0], *out.shape))
        for out in vectorize_graph(lowered, {x: batch})
    ]
    return one_at_a_time(pytensor.function([batch], batched, mode=MAP_MODE))


@one_at_a_time
def compile_unconstrain(
    model: pm.Model, values: Sequence[Variable], variables: Sequence[Variables]
) -> Callable[..., list[Array]]:
    """Compile the map from arrays (n, *shape), one a free variable, to their unconstrained values."""
    rvs = [model.values_to_rvs[value] for value in values]
    # Nameless: pt.tensor takes some names, such as half, for a dtype.
    plain = [pt.tensor(shape=v.shape, dtype=rv.type.dtype) for v, rv in zip(variables, rvs, strict=True)]
    typed = [rv.type.filter_variable(p) for rv, p in zip(rvs, plain, strict=True)]
    outputs = [
        t if (transform := model.rvs_to_transforms[rv]) is None else transform.forward(t, *rv.owner.inputs)
        for rv, t in zip(rvs, typed, strict=True)
    ]
    outputs = replace_vars_in_graphs(outputs, dict(zip(rvs, typed, strict=True)))
    batches = [pt.tensor(shape=(None, *v.shape), dtype=p.type.dtype) for v, p in zip(variables, plain, strict=True)]
    batched = vectorize_graph(_lower(_freeze_data(outputs), "canonicalize"), dict(zip(plain, batches, strict=True)))
    return one_at_a_time(pytensor.function(batches, batched, mode=MAP_MODE, on_unused_input="ignore"))


@one_at_a_time
def compile_log_likelihood(model: pm.Model, names: Sequence[str]) -> tuple[tuple[Variables, ...], Callable[..., Any]]:
    """Compile the map from arrays (n, *shape), one a free variable, to log p(y|x) (n, *shape) of observed variables.

    Returns what the arrays are of, in their order, and the function.
    """
    plain = remove_value_transforms(without_minibatches(model))
    variables = lay_out(plain, plain.value_vars)
    with plain:
        graphs = _freeze_data(plain.logp(vars=[plain.named_vars[name] for name in names], sum=False))
    inputs = [pt.tensor(shape=(None, *value.type.shape), dtype=value.type.dtype) for value in plain.value_vars]
    single = [pt.tensor(shape=value.type.shape, dtype=value.type.dtype) for value in plain.value_vars]
    typed = [value.type.filter_variable(s) for value, s in zip(plain.value_vars, single, strict=True)]
    graphs = graph_replace(graphs, dict(zip(plain.value_vars, typed, strict=True)), strict=False)
    lowered = _lower(graphs, "canonicalize", "stabilize", "local_check_parameter_to_ninf_switch")
    batched = [
        out if set(inputs) & set(ancestors([out])) else pt.broadcast_to(out, (inputs[0].shape[0], *out.shape))
        for out in vectorize_graph(lowered, dict(zip(single, inputs, strict=True)))
    ]
    return variables, one_at_a_time(pytensor.function(inputs, batched, mode=MAP_MODE, on_unused_input="ignore"))
