"""The ELBO of a mixture of full-rank Gaussians on fixed points, its exact gradient, and how the mixture grows.

Every component draws at the same standard normal points, and its draws count by its weight (stratified sampling):
ELBO = Σ_m w_m E_z[log p̃(x_m(z)) - log q(x_m(z))]. Since points are fixed, the gradient is that of this very sum, with
respect to log q's own parameters as well, not only along the paths of the draws.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logsumexp, softmax

from pymc_kl._typing import Array, IntArray
from pymc_kl.approximations import Mixture
from pymc_kl.approximations.fullrank import unpack_factor
from pymc_kl.fitting.gaussian_elbo import GAIN_TOLERANCE, LOWEST, balanced_normals
from pymc_kl.fitting.maximise import MAX_STEPS, MEMORY
from pymc_kl.numerics.constants import LOG_2PI
from pymc_kl.numerics.lbfgs import Climbs, RowsValueAndGrad, ValueAndGrad

TRIAL_DRAWS = 64  # points of a component on which sizes are tried, at least; 6 a dimension if that is more
TRIAL_GAIN, TRIAL_STEPS = 1e-3, 100  # nats that a step must be expected to gain, and most steps
FINE_NUMBERS = 2**15  # points of all components times dimensions on which the mixture that is chosen is maximised
WORTH = 0.01  # nats of ELBO, on points that no fit has seen, that one more component must gain
PATIENCE = 2  # components, those that fit worst, of which one must gain by its split
MOST_COMPONENTS = 12
SPREAD = 0.6  # share of the variance by which a wide half is wider, and a narrow one narrower


@dataclass(frozen=True, eq=False)
class MixtureParameters:
    """Log weights (M,), whitened shifts (M, d), and lower factors of the Cholesky factors, their diagonals in logs."""

    start: Mixture

    @property
    def size(self) -> int:
        """Number of parameters."""
        m, d = self.start.locs.shape
        return m * (1 + d + d * (d + 1) // 2)

    def unpack(self, theta: Array) -> tuple[Array, Array, Array, Array]:
        """Map theta to weights (M,), means (M, d), Cholesky factors (M, d, d) and factors relative to the start."""
        m, d = self.start.locs.shape
        logits, shifts, packed = np.split(theta, [m, m * (1 + d)])
        factors = unpack_factor(packed.reshape(m, -1), d)
        locs = self.start.locs + np.einsum("mij,mj->mi", self.start.scale_trils, shifts.reshape(m, d))
        return softmax(np.log(self.start.weights) + logits), locs, self.start.scale_trils @ factors, factors

    def pull_back(self, factors: Array, by_logits: Array, by_locs: Array, by_trils: Array) -> Array:
        """Map gradients to theta."""
        d = by_locs.shape[1]
        upper = self.start.scale_trils.swapaxes(1, 2)
        by_factors = upper @ by_trils
        by_factors[:, *np.diag_indices(d)] *= factors[:, *np.diag_indices(d)]
        by_shifts = np.einsum("mij,mj->mi", upper, by_locs)
        return np.concatenate([by_logits, by_shifts.ravel(), by_factors[:, *np.tril_indices(d)].ravel()])

    def on(self, value_and_grad: ValueAndGrad, z: Array) -> RowsValueAndGrad:
        """Fix the points: ELBO (1,) and gradient (1, P) of one row of theta."""

        def function(theta: Array, rows: IntArray) -> tuple[Array, Array]:  # noqa: ARG001 there is one row
            with np.errstate(all="ignore"):  # a step may lead out of all bounds, and is taken back
                value, slope = self._evaluate(value_and_grad, z, theta[0])
            return np.array([value]), slope[None]

        return function

    def _evaluate(self, value_and_grad: ValueAndGrad, z: Array, theta: Array) -> tuple[float, Array]:
        weights, locs, trils, factors = self.unpack(theta)
        m, d = locs.shape
        x = (locs[:, None] + z @ trils.swapaxes(1, 2)).reshape(-1, d)
        log_p, grad_p = value_and_grad(x)
        good = np.isfinite(log_p) & np.isfinite(grad_p).all(axis=1)
        log_p, grad_p = np.where(good, log_p, LOWEST), np.where(good[:, None], grad_p, 0.0)
        inverses = np.linalg.inv(trils)
        u = (x[None] - locs[:, None]) @ inverses.swapaxes(1, 2)  # (M, M n, d), whitened by each component
        half_log_dets = np.log(np.diagonal(trils, axis1=1, axis2=2)).sum(axis=1)
        joint = (np.log(weights) - half_log_dets)[:, None] - 0.5 * (u**2).sum(axis=2) - 0.5 * d * LOG_2PI
        log_q = logsumexp(joint, axis=0)
        share = np.exp(joint - log_q)
        solved = u @ inverses  # Σ_k⁻¹ (x - μ_k)
        path = grad_p + (share[:, :, None] * solved).sum(axis=0)  # ∇ log p̃ - ∇ log q
        gains = (log_p - log_q).reshape(m, -1).mean(axis=1)
        each = np.repeat(weights / len(z), len(z))  # what each draw counts
        counted = share * each
        path = (path * each[:, None]).reshape(m, -1, d)
        by_locs = path.sum(axis=1) - (counted[:, None] @ solved)[:, 0]
        outer = (solved * counted[:, :, None]).swapaxes(1, 2) @ u
        diagonal = np.zeros_like(outer)
        diagonal[:, *np.diag_indices(d)] = counted.sum(axis=1)[:, None] / np.diagonal(trils, axis1=1, axis2=2)
        by_trils = path.swapaxes(1, 2) @ z - outer + diagonal
        by_logits = weights * (gains - weights @ gains) - (counted.sum(axis=1) - weights)
        return float(weights @ gains), self.pull_back(factors, by_logits, by_locs, by_trils)

    def gains(self, value_and_grad: ValueAndGrad, z: Array) -> Array:
        """Evaluate log p̃ - log q at each component's draws where it stands, (M, n), nats."""
        m, d = self.start.locs.shape
        x = (self.start.locs[:, None] + z @ self.start.scale_trils.swapaxes(1, 2)).reshape(-1, d)
        log_p = value_and_grad(x)[0]
        return np.asarray(np.where(np.isfinite(log_p), log_p, LOWEST) - self.start.log_prob(x)).reshape(m, -1)

    def fit(self, theta: Array) -> Mixture:
        """Make the mixture."""
        weights, locs, trils, _ = self.unpack(theta)
        return replace(self.start, weights=weights, locs=locs, scale_trils=trils)


def maximise_mixture(
    value_and_grad: ValueAndGrad,
    mixture: Mixture,
    z: Array,
    *,
    tolerance: float = GAIN_TOLERANCE,
    max_steps: int = MAX_STEPS,
) -> Mixture:
    """Maximise the ELBO from where a mixture stands, on points (n, d) for each component."""
    parameters = MixtureParameters(mixture)
    climbs = Climbs.begin(parameters.on(value_and_grad, z), np.zeros((1, parameters.size)), memory=MEMORY)
    climbs.run(tolerance, max_steps)
    return parameters.fit(climbs.y[0])


def grow_mixture(
    value_and_grad: ValueAndGrad, mixture: Mixture, n_components: int | None, rng: np.random.Generator
) -> Mixture:
    """Maximise a mixture's ELBO; split components while that gains, or up to `n_components`; end on more points.

    The component that is split is the one within which log p̃ - log q varies most, by weight: it fits worst. Its halves
    begin side by side or one within the other, whichever comes to more.
    """
    d = mixture.d
    n = 2 ** int(np.ceil(np.log2(max(TRIAL_DRAWS, 6 * d))))
    z, fresh = balanced_normals(n, d, rng), balanced_normals(4 * n, d, rng)

    def tried(start: Mixture) -> tuple[Mixture, Array]:
        found = maximise_mixture(value_and_grad, start, z, tolerance=TRIAL_GAIN, max_steps=TRIAL_STEPS)
        return found, MixtureParameters(found).gains(value_and_grad, fresh)

    def elbo(trial: tuple[Mixture, Array]) -> float:
        return float(trial[0].weights @ trial[1].mean(axis=1))

    best, gains = tried(mixture)
    for _ in range(best.n_components, n_components or MOST_COMPONENTS):
        worst = np.argsort(-best.weights * gains.var(axis=1))[:PATIENCE]
        trials = (max((tried(split(best, int(k), how)) for how in SPLITS), key=elbo) for k in worst)
        least = elbo((best, gains)) + (WORTH if n_components is None else -np.inf)
        grown = next((trial for trial in trials if elbo(trial) > least), None)
        if grown is None:
            break
        best, gains = grown
    n = max(2 ** int(np.log2(FINE_NUMBERS / (d * best.n_components))), 2 * n)
    return maximise_mixture(value_and_grad, best, balanced_normals(n, d, rng))


def _apart(loc: Array, tril: Array) -> tuple[Array, Array]:
    """Halve a normal along its longest axis."""
    axis, length, _ = np.linalg.svd(tril)
    step = 0.5 * length[0] * axis[:, 0]
    half = np.linalg.cholesky(tril @ tril.T - np.outer(step, step))
    return loc + np.outer([1, -1], step), half[None].repeat(2, axis=0)


def _concentric(loc: Array, tril: Array) -> tuple[Array, Array]:
    """Halve a normal into a narrow and a wide one, as heavy tails ask for."""
    return loc[None].repeat(2, axis=0), np.sqrt(1 + np.array([-1, 1]) * SPREAD)[:, None, None] * tril


SPLITS = (_apart, _concentric)


def split(mixture: Mixture, k: int, how: Callable[[Array, Array], tuple[Array, Array]]) -> Mixture:
    """Cut component k in two halves that together keep its mean and covariance."""
    locs, trils = how(mixture.locs[k], mixture.scale_trils[k])
    rest = np.arange(mixture.n_components) != k
    return replace(
        mixture,
        weights=np.concatenate([mixture.weights[rest], np.full(2, mixture.weights[k] / 2)]),
        locs=np.concatenate([mixture.locs[rest], locs]),
        scale_trils=np.concatenate([mixture.scale_trils[rest], trils]),
    )
