"""The density of a model of many rows of data, estimated from some of them; a difference estimator, with its error."""

import warnings
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.data import MinibatchOp
from pymc.model.fgraph import fgraph_from_model, model_from_fgraph
from pytensor.graph.basic import Apply
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.replace import clone_replace
from scipy.optimize import minimize

from pymc_kl._typing import Array, IntArray, RandomSeed
from pymc_kl.arguments import OURS, check_arguments, whole
from pymc_kl.model.backends import Evaluator
from pymc_kl.model.context import model_in_context
from pymc_kl.model.cost import seconds_a_point
from pymc_kl.model.graphs import one_at_a_time
from pymc_kl.model.target import Target

SEARCH_EVALUATIONS = 50_000  # evaluations that a comparison of a few parameters needs, by which time is foretold
CHECKED = 64  # draws of Laplace's approximation at which the estimate is checked on all rows; our choice
WHOLE_WITHIN = 4.0  # standard deviations beyond √d, as far as the expansion is taken for what all rows say; our choice
ESTIMATE_OFF = 0.1  # nats: an estimate that is off by more changes what a divergence says; our choice
FULL_STEPS = 30  # steps of a climb on all rows, from the maximum on some; our choice
CURVATURE_STEP = 0.1  # standard deviations between gradients whose difference is the curvature; our choice


class Subsampled(NamedTuple):
    """A target, its error and what to know of it.

    Attributes
    ----------
    target : Target
        With the estimated density.
    error : float
        Root mean square of how far log p̃ is off, in nats, at draws of Laplace's approximation; 0 on all rows.
    told : str
        On how many rows the density rests, its error, how far from the maximum it holds, and its cost.
    """

    target: Target
    error: float
    told: str


def subsampled(
    model: pm.Model | None = None,
    *,
    n_rows: int = 20_000,
    budget: float | None = None,
    random_seed: RandomSeed = None,
) -> Subsampled:
    """Estimate a density of many rows from some of them, where all of them would take too long.

    A difference estimator [1]_: log p̃ on `n_rows` rows, scaled, plus the difference of two second-order expansions
    about the maximum, on all rows and on these. It is smooth, and the same rows serve every point. It is good near
    that maximum, where data are many; where the posterior has other modes, use all rows. Some standard deviations from
    it, as many as `told` says, the difference grows no more: far out the density is that of the prior and these rows,
    scaled, and as proper as it.

    Parameters
    ----------
    model : pm.Model, optional
        Of which `pm.Minibatch` says what rows are. Defaults to the model of the enclosing `with` block.
    n_rows : int
        Rows that the estimate takes, without replacement.
    budget : float, optional
        Seconds that 50,000 evaluations, as of a comparison of a few parameters, may take: if they take fewer on all
        rows, all are used. Without it, some are.
    random_seed : int, Generator, SeedSequence or None

    Returns
    -------
    Subsampled

    Raises
    ------
    ValueError
        If no data are given by pm.Minibatch, or the model has no proper maximum.

    Warns
    -----
    UserWarning
        If the estimate is off by more than 0.1 nats.

    References
    ----------
    .. [1] Quiroz, M., Kohn, R., Villani, M. and Tran, M.-N. (2019). Speeding up MCMC by efficient data subsampling.
       Journal of the American Statistical Association 114, 831-843. doi:10.1080/01621459.2018.1448827

    Examples
    --------
    >>> import numpy as np, pymc as pm
    >>> from pymc_kl.model import subsampled
    >>> y = np.random.default_rng(1).normal(1.0, 2.0, 5000)
    >>> with pm.Model() as model:
    ...     batch = pm.Minibatch(y, batch_size=100)
    ...     y_seen = pm.Normal("y", pm.Normal("mu", 0, 10), 2.0, observed=batch, total_size=len(y))
    >>> density = subsampled(model, n_rows=500, random_seed=1)
    >>> density.error < 1e-6  # a normal likelihood is its expansion
    True
    >>> density.told.partition(", and")[0]
    'log p̃ is estimated from 500 of 5,000 rows'
    """
    check_arguments(locals(), n_rows=whole())
    model = model_in_context(model)
    total = _n_rows(model)
    full = Target.from_model(model)
    cost = seconds_a_point(full)
    if n_rows >= total or (budget is not None and cost * SEARCH_EVALUATIONS <= budget):
        told = f"log p̃ is that of all {total:,} rows, and takes {1e3 * cost:.2g} ms a point with its gradient"
        return Subsampled(replace(full, about=told), 0.0, told)
    rng = np.random.default_rng(random_seed)
    rows = np.sort(rng.choice(total, n_rows, replace=False))
    some = Target.from_model(_of_rows(model, rows))
    order = np.array([full.labels.index(label) for label in some.labels])
    estimate, factor = _corrected(full, _Ordered(some, order))
    target = full.with_density(estimate)
    x = estimate.at + rng.standard_normal((CHECKED, full.d)) @ factor.T
    error = float(np.sqrt(np.mean((target.log_density(x) - full.log_density(x)) ** 2)))
    told = (
        f"log p̃ is estimated from {n_rows:,} of {total:,} rows, and off by {error:.2g} nats (root mean square at "
        f"{CHECKED} draws of Laplace's approximation); it corrects what these rows say as far as "
        f"{estimate.reach:.0f} standard deviations from the maximum, and no more beyond. A point with its gradient "
        f"took {1e3 * seconds_a_point(target):.2g} ms, on all rows {1e3 * cost:.2g} ms"
    )
    if not error <= ESTIMATE_OFF:
        warnings.warn(f"{told}. Take more n_rows, or all of them.", UserWarning, skip_file_prefixes=OURS)
    return Subsampled(replace(target, about=told), error, told)


@dataclass(frozen=True, eq=False)
class _Ordered:
    """A target whose coordinates are in the order (d,) of another."""

    target: Target
    order: IntArray

    def value(self, x: Array, /) -> Array:
        return self.target.log_density(x[:, self.order])

    def value_and_grad(self, x: Array, /) -> tuple[Array, Array]:
        value, grad = self.target.log_density_and_grad(x[:, self.order])
        return value, grad[:, np.argsort(self.order)]


@dataclass(frozen=True, eq=False)
class _Corrected:
    """A density plus a quadratic function about a point, which is bounded: it is evaluated at points pulled back.

    At r standard deviations from the point, by the `precision` (d, d) of Laplace's approximation, points within the
    `reach` stay, and those beyond are pulled to where they never reach twice of it: ρ = R (2 - exp(1 - r/R)).
    """

    density: Evaluator
    at: Array
    constant: float
    slope: Array
    curvature: Array
    precision: Array
    reach: float

    def value(self, x: Array, /) -> Array:
        near = (x - self.at) * self._pull(x - self.at)[0][:, None]
        return self.density.value(x) + self.constant + near @ self.slope + 0.5 * ((near @ self.curvature) * near).sum(1)

    def value_and_grad(self, x: Array, /) -> tuple[Array, Array]:
        away = x - self.at
        pull, stretch, inward = self._pull(away)
        near = away * pull[:, None]
        value, grad = self.density.value_and_grad(x)
        bent = near @ self.curvature
        value = value + self.constant + near @ self.slope + 0.5 * (bent * near).sum(1)
        steep = self.slope + bent
        return value, grad + pull[:, None] * steep + ((away * steep).sum(1) * stretch)[:, None] * inward

    def _pull(self, away: Array) -> tuple[Array, Array, Array]:
        """Return ρ/r (n,), its derivative by r over r (n,), and the gradient of r²/2 (n, d)."""
        inward = away @ self.precision
        r = np.maximum(np.sqrt((inward * away).sum(1)), self.reach)
        fall = np.exp(1 - r / self.reach)
        pull = self.reach * (2 - fall) / r
        return pull, (fall - pull) / r**2, inward


def _corrected(full: Target, some: _Ordered) -> tuple[_Corrected, Array]:
    """Expand both densities about the maximum; also return the factor (d, d) of Laplace's covariance there."""
    start = _climbed(some, full.initial_point())
    width = 1 / np.sqrt(np.maximum(-np.diag(_curvature(some, start, np.full(full.d, 1e-4))), 1e-12))
    density = _Ordered(full, np.arange(full.d))
    at = _climbed(density, start, width, FULL_STEPS)
    curvature, of_some = _curvature(density, at, CURVATURE_STEP * width), _curvature(some, at, CURVATURE_STEP * width)
    try:
        factor = np.linalg.inv(np.linalg.cholesky(-curvature)).T
    except np.linalg.LinAlgError as error:
        raise ValueError("the model has no proper maximum to expand its density about; use all rows.") from error
    # The maximum of some rows lies standard deviations away, and must not become one of the density.
    reach = max(np.sqrt(full.d) + WHOLE_WITHIN, 2 * np.linalg.norm(np.linalg.solve(factor, start - at)))
    (value,), (grad,) = density.value_and_grad(at[None])
    (own,), (own_grad,) = some.value_and_grad(at[None])
    parts = float(value - own), grad - own_grad, curvature - of_some, -curvature
    return _Corrected(some, at, *parts, float(reach)), factor


def _climbed(density: Evaluator, start: Array, width: Array | float = 1.0, steps: int = 1000) -> Array:
    """Climb from a point (d,), in steps of these widths."""

    def loss(z: Array) -> tuple[float, Array]:
        (value,), (grad,) = density.value_and_grad((start + width * z)[None])
        return (-float(value), -grad * width) if np.isfinite(value) else (np.inf, np.zeros_like(grad))

    found = minimize(loss, np.zeros_like(start), jac=True, method="L-BFGS-B", options={"maxiter": steps})
    return np.asarray(start + width * found.x)


def _curvature(density: Evaluator, at: Array, step: Array) -> Array:
    """Difference gradients about a point: second derivatives (d, d)."""
    moves = np.diag(step)
    grad = density.value_and_grad(np.concatenate([at + moves, at - moves]))[1]
    ahead, behind = np.split(grad, 2)
    curvature = (ahead - behind) / (2 * step[:, None])
    return np.asarray((curvature + curvature.T) / 2)


@one_at_a_time
def _n_rows(model: pm.Model) -> int:
    """Count the rows that pm.Minibatch draws from."""
    lengths = {len(data.eval()) for node in _minibatches(fgraph_from_model(model)[0]) for data in node.inputs[:-1]}
    if len(lengths) != 1:
        raise ValueError(
            "the model must say by pm.Minibatch what its rows are, all data of the same number of rows; got "
            f"{sorted(lengths) or 'no Minibatch'}. Write pm.Minibatch(X, y, batch_size=...) and total_size=len(y)."
        )
    return lengths.pop()


@one_at_a_time
def _of_rows(model: pm.Model, rows: IntArray) -> pm.Model:
    """Put these rows where pm.Minibatch drew some: `total_size` scales what they say, as it does there."""
    graph, _ = fgraph_from_model(model)
    pairs = [pair for node in _minibatches(graph) for pair in zip(node.inputs[:-1], node.outputs[:-1], strict=True)]
    replaced = {out: pt.as_tensor(data.eval()[rows]) for data, out in pairs}
    kept = FunctionGraph(outputs=clone_replace(graph.outputs, replaced, rebuild_strict=False), clone=False)
    kept._coords, kept._dim_lengths = graph._coords, graph._dim_lengths
    return model_from_fgraph(kept, mutate_fgraph=True)


def _minibatches(graph: FunctionGraph) -> list[Apply[MinibatchOp]]:
    return [node for node in graph.apply_nodes if isinstance(node.op, MinibatchOp)]
