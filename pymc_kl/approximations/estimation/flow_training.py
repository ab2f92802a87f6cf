"""Normalising flows of flowjax, trained from the standard normal until draws held out stop gaining.

This module alone imports flowjax, the smallest well-kept library of flows for JAX: 3 MB with all that it needs beside
JAX. Every call runs in double precision, whatever JAX's own setting, and the shapes of its arrays do not depend on the
number of draws, so that XLA compiles once for each number of dimensions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import equinox as eqx
import jax
import numpy as np
import optax
import paramax
from flowjax.bijections import RationalQuadraticSpline
from flowjax.distributions import StandardNormal
from flowjax.flows import coupling_flow, masked_autoregressive_flow

from pymc_kl._typing import Array
from pymc_kl.approximations.components import WeightedDraws

KNOTS = 8  # knots of each spline; our choice
INTERVAL = 6.0  # standard deviations from 0 beyond which a spline is the identity; our choice
STEPS = 50  # steps of Adam in an epoch, after which the held-out draws are scored; our choice
BATCH = 256  # draws of each step of Adam; our choice
LAYERS = 6  # number of coupling layers; our choice
HIDDEN_UNITS = 32  # units of the hidden layer of each network; our choice
MAX_EPOCHS = 200  # most epochs at one learning rate; our choice
RATES = (1e-3, 2e-4)  # learning rates of Adam; the second takes over when the first stops gaining; our choice
EPOCH_PATIENCE = 4  # epochs without gain after which a learning rate is given up; our choice
ROWS = 2048  # draws that one call evaluates; bounds memory and the shapes that XLA compiles; our choice
OPTIMISER = optax.chain(optax.clip_by_global_norm(5.0), optax.scale_by_adam())


@dataclass(frozen=True)
class Trained:
    """A flow, its mean log density of draws held out (nats) after each epoch, and whether it stopped by itself."""

    flow: Any
    history: tuple[float, ...]
    converged: bool


@cache
def build(d: int) -> Any:
    """Make a flow on R^d that is the standard normal: rational-quadratic splines in coupling layers.

    In one dimension there is nothing to couple; the layers are unconditional. There is one object for each d, since
    XLA compiles anew for another one.
    """
    make = coupling_flow if d > 1 else masked_autoregressive_flow
    with jax.enable_x64(True):
        flow = make(
            jax.random.key(0),
            base_dist=StandardNormal((d,)),
            transformer=RationalQuadraticSpline(knots=KNOTS, interval=INTERVAL),
            flow_layers=LAYERS,
            nn_width=HIDDEN_UNITS,
            nn_depth=1,
            nn_activation=jax.nn.tanh,
        )
        return jax.tree_util.tree_map_with_path(_silence, flow)


def _silence(path: Any, leaf: Any) -> Any:
    """Set the last layer of each network to zero, so that its spline is the identity."""
    last = ".layers[1]" in jax.tree_util.keystr(path)
    return 0 * leaf if last and eqx.is_inexact_array(leaf) else leaf


def train(start: Any, draws: WeightedDraws, held_out: WeightedDraws, rng: np.random.Generator) -> Trained:
    """Maximise the log density of weighted draws by Adam (Kingma and Ba 2015), with early stopping on draws held out.

    Each step sees draws sampled by their weights. The result is the flow that scored best.

    Parameters
    ----------
    start : Transformed
    draws, held_out : WeightedDraws
    rng : Generator

    Returns
    -------
    Trained
    """

    def score(params: Any) -> float:
        return float(held_out.weights @ log_prob(eqx.combine(params, static), held_out.x))

    with jax.enable_x64(True):
        params, static = eqx.partition(start, eqx.is_inexact_array, is_leaf=_is_fixed)
        best, history = params, [score(params)]
        for rate in RATES:
            params, state, since = best, OPTIMISER.init(best), 0
            while since < EPOCH_PATIENCE:
                if len(history) > MAX_EPOCHS:
                    return Trained(eqx.combine(best, static), tuple(history), False)
                batches = draws.x[rng.choice(draws.weights.size, (STEPS, BATCH), p=draws.weights)]
                params, state = _epoch(params, static, state, batches, rate)
                history.append(score(params))
                best, since = (params, 0) if history[-1] > max(history[:-1]) else (best, since + 1)
        return Trained(eqx.combine(best, static), tuple(history), True)


def _is_fixed(leaf: Any) -> bool:
    return isinstance(leaf, paramax.NonTrainable)


@eqx.filter_jit
def _epoch(params: Any, static: Any, state: Any, batches: Any, rate: Any) -> tuple[Any, Any]:
    def loss(params: Any, batch: Any) -> Any:
        return -paramax.unwrap(eqx.combine(params, static)).log_prob(batch).mean()

    def step(carry: Any, batch: Any) -> tuple[Any, None]:
        params, state = carry
        updates, state = OPTIMISER.update(jax.grad(loss)(params, batch), state, params)
        return (eqx.apply_updates(params, jax.tree.map(lambda u: -rate * u, updates)), state), None

    (params, state), _ = jax.lax.scan(step, (params, state), batches)
    return params, state


def log_prob(flow: Any, z: Array) -> Array:
    """Evaluate the log density (n,) at z (n, d), nats."""
    return _by_rows(_log_prob, flow, z)[:, 0]


def transform(flow: Any, z: Array) -> Array:
    """Map draws of the standard normal (n, d) to draws of the flow."""
    return _by_rows(_transform, flow, z)


@eqx.filter_jit
def _log_prob(flow: Any, z: Any) -> Any:
    return paramax.unwrap(flow).log_prob(z)[:, None]


@eqx.filter_jit
def _transform(flow: Any, z: Any) -> Any:
    return jax.vmap(paramax.unwrap(flow).bijection.transform)(z)


def _by_rows(function: Any, flow: Any, z: Array) -> Array:
    with jax.enable_x64(True):
        return np.concatenate([np.asarray(function(flow, block))[:n] for block, n in _blocks(z)])


def _blocks(z: Array) -> Iterator[tuple[Array, int]]:
    """Cut rows in blocks of one size, the last padded with its first row; yield each with its number of rows."""
    for start in range(0, len(z), ROWS):
        part = z[start : start + ROWS]
        yield np.concatenate([part, np.repeat(part[:1], ROWS - len(part), axis=0)]), len(part)
