"""The ELBO of a mixture of full-rank Gaussians on fixed points, its exact gradient, and its maximum.

Every component draws at the same standard normal points, and its draws count by its weight (stratified sampling):
ELBO = Σ_m w_m E_z[log p̃(x_m(z)) - log q(x_m(z))]. Since points are fixed, the gradient is that of this very sum, with
respect to log q's own parameters as well, not only along the paths of the draws.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp, softmax

from pymc_kl._typing import Array, IntArray
from pymc_kl.approximations import Mixture
from pymc_kl.approximations.fullrank import unpack_factor
from pymc_kl.fitting.gaussian_elbo import GAIN_TOLERANCE
from pymc_kl.fitting.maximise import CLIMB_MEMORY, MAX_CLIMB_STEPS
from pymc_kl.fitting.points import LOWEST, finite_value_and_grad
from pymc_kl.numerics.constants import LOG_2PI
from pymc_kl.numerics.lbfgs import Climbs, RowsValueAndGrad, ValueAndGrad


class Unpacked(NamedTuple):
    """Weights (M,), means (M, d) and Cholesky factors (M, d, d), and the latter relative to those at the start."""

    weights: Array
    locs: Array
    trils: Array
    factors: Array

    def draws(self, z: Array) -> Array:
        """Draw from each component at points z (n, d): (M n, d)."""
        return _component_draws(self.locs, self.trils, z)


class LogQ(NamedTuple):
    """Log q (N,) at draws of all components, and the intermediate results that its gradient needs.

    `responsibilities` are (M, N); `whitened` and `solved` (M, N, d) are L⁻¹(x - μ) and Σ⁻¹(x - μ) of each component.
    """

    value: Array
    responsibilities: Array
    whitened: Array
    solved: Array


@dataclass(frozen=True, eq=False)
class MixtureParameters:
    """Log weights (M,), whitened shifts (M, d), and lower factors of the Cholesky factors, their diagonals in logs."""

    start: Mixture

    @property
    def size(self) -> int:
        """Number of parameters, P."""
        m, d = self.start.locs.shape
        return m * (1 + d + d * (d + 1) // 2)

    def unpack(self, theta: Array) -> Unpacked:
        """Map theta (P,) to the mixture's parameters."""
        m, d = self.start.locs.shape
        logits, shifts, packed = np.split(theta, [m, m * (1 + d)])
        factors = unpack_factor(packed.reshape(m, -1), d)
        locs = self.start.locs + np.einsum("mij,mj->mi", self.start.scale_trils, shifts.reshape(m, d))
        weights = softmax(np.log(self.start.weights) + logits)
        return Unpacked(weights, locs, self.start.scale_trils @ factors, factors)

    def pull_back(self, factors: Array, by_logits: Array, by_locs: Array, by_trils: Array) -> Array:
        """Map gradients by the mixture's parameters to that by theta (P,)."""
        d = by_locs.shape[1]
        upper = self.start.scale_trils.swapaxes(1, 2)
        by_factors = upper @ by_trils
        by_factors[:, *np.diag_indices(d)] *= factors[:, *np.diag_indices(d)]
        by_shifts = np.einsum("mij,mj->mi", upper, by_locs)
        return np.concatenate([by_logits, by_shifts.ravel(), by_factors[:, *np.tril_indices(d)].ravel()])

    def on(self, value_and_grad: ValueAndGrad, z: Array) -> RowsValueAndGrad:
        """Fix the points: ELBO (1,) and gradient (1, P) of one row of theta."""

        def function(theta: Array, rows: IntArray) -> tuple[Array, Array]:  # noqa: ARG001 there is one row
            with np.errstate(all="ignore"):  # a step may overflow: it is then shortened
                value, slope = self._elbo_and_grad(value_and_grad, z, theta[0])
            return np.array([value]), slope[None]

        return function

    def _elbo_and_grad(self, value_and_grad: ValueAndGrad, z: Array, theta: Array) -> tuple[float, Array]:
        at = self.unpack(theta)
        x = at.draws(z)
        log_p, grad_p = finite_value_and_grad(value_and_grad, x)
        log_q = _log_q(at, x)
        gains = (log_p - log_q.value).reshape(len(at.weights), -1).mean(axis=1)
        grads = _gradients(at, z, log_q, gains, grad_p)
        return float(at.weights @ gains), self.pull_back(at.factors, *grads)

    def gains(self, value_and_grad: ValueAndGrad, z: Array) -> Array:
        """Evaluate log p̃ - log q at each component's draws at the start, (M, n), nats."""
        x = _component_draws(self.start.locs, self.start.scale_trils, z)
        log_p = value_and_grad(x)[0]
        log_ratio = np.where(np.isfinite(log_p), log_p, LOWEST) - self.start.log_prob(x)
        return np.asarray(log_ratio).reshape(self.start.n_components, -1)

    def fit(self, theta: Array) -> Mixture:
        """Make the mixture."""
        at = self.unpack(theta)
        return replace(self.start, weights=at.weights, locs=at.locs, scale_trils=at.trils)


def _component_draws(locs: Array, trils: Array, z: Array) -> Array:
    """Draw from each component at points z (n, d): (M n, d)."""
    return np.asarray((locs[:, None] + z @ trils.swapaxes(1, 2)).reshape(-1, z.shape[1]))


def _log_q(at: Unpacked, x: Array) -> LogQ:
    """Evaluate log q at x (N, d), nats."""
    inverses = np.linalg.inv(at.trils)
    whitened = (x[None] - at.locs[:, None]) @ inverses.swapaxes(1, 2)
    half_log_dets = np.log(np.diagonal(at.trils, axis1=1, axis2=2)).sum(axis=1)
    heights = (np.log(at.weights) - half_log_dets)[:, None]
    joint = heights - 0.5 * (whitened**2).sum(axis=2) - 0.5 * x.shape[1] * LOG_2PI
    value = logsumexp(joint, axis=0)
    return LogQ(value, np.exp(joint - value), whitened, whitened @ inverses)


def _gradients(at: Unpacked, z: Array, log_q: LogQ, gains: Array, grad_p: Array) -> tuple[Array, Array, Array]:
    """Differentiate the ELBO by logits (M,), means (M, d) and Cholesky factors (M, d, d)."""
    m, d = at.locs.shape
    each = np.repeat(at.weights / len(z), len(z))  # the weight of each draw
    counted = log_q.responsibilities * each
    path = grad_p + (log_q.responsibilities[:, :, None] * log_q.solved).sum(axis=0)  # ∇ log p̃ - ∇ log q
    path = (path * each[:, None]).reshape(m, -1, d)
    by_locs = path.sum(axis=1) - (counted[:, None] @ log_q.solved)[:, 0]
    outer = (log_q.solved * counted[:, :, None]).swapaxes(1, 2) @ log_q.whitened
    diagonal = np.zeros_like(outer)
    diagonal[:, *np.diag_indices(d)] = counted.sum(axis=1)[:, None] / np.diagonal(at.trils, axis1=1, axis2=2)
    by_trils = path.swapaxes(1, 2) @ z - outer + diagonal
    by_logits = at.weights * (gains - at.weights @ gains) - (counted.sum(axis=1) - at.weights)
    return by_logits, by_locs, by_trils


def maximise_mixture(
    value_and_grad: ValueAndGrad,
    mixture: Mixture,
    z: Array,
    *,
    tolerance: float = GAIN_TOLERANCE,
    max_steps: int = MAX_CLIMB_STEPS,
) -> Mixture:
    """Maximise the ELBO from where a mixture stands, on points (n, d) for each component."""
    parameters = MixtureParameters(mixture)
    climbs = Climbs.begin(parameters.on(value_and_grad, z), np.zeros((1, parameters.size)), memory=CLIMB_MEMORY)
    climbs.run(tolerance, max_steps)
    return parameters.fit(climbs.y[0])
