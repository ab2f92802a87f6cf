"""The ELBO of a mixture of full-rank Gaussians on fixed points, its exact gradient, and how the mixture grows.

Every component draws at the same standard normal points, and its draws count by its weight (stratified sampling):
ELBO = Σ_m w_m E_z[log p̃(x_m(z)) - log q(x_m(z))]. Since points are fixed, the gradient is that of this very sum, with
respect to log q's own parameters as well, not only along the paths of the draws.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logsumexp, softmax

from pymc_kl._typing import Array, IntArray
from pymc_kl.approximations import Mixture
from pymc_kl.climb import Climbs, RowsValueAndGrad, ValueAndGrad
from pymc_kl.elbo import LOWEST, balanced_normals
from pymc_kl.reverse import GAIN_TOLERANCE, MAX_STEPS, MEMORY

COARSE_DRAWS, FINE_NUMBERS, FINE_DRAWS = 64, 2**16, 8192  # points of a component; FINE_NUMBERS counts points times d
COARSE_GAIN = 1e-4  # nats
WORTH = 0.01  # nats of ELBO that one more component must gain
MOST_COMPONENTS = 12


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
        factors = np.zeros((m, d, d))
        factors[:, *np.tril_indices(d)] = packed.reshape(m, -1)
        factors[:, *np.diag_indices(d)] = np.exp(factors[:, *np.diag_indices(d)])
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
        joint = (np.log(weights) - half_log_dets)[:, None] - 0.5 * (u**2).sum(axis=2) - 0.5 * d * np.log(2 * np.pi)
        log_q = logsumexp(joint, axis=0)
        share = np.exp(joint - log_q)
        solved = u @ inverses  # Σ_k⁻¹ (x - μ_k)
        path = grad_p + np.einsum("kn,knd->nd", share, solved)  # ∇ log p̃ - ∇ log q
        gains = (log_p - log_q).reshape(m, -1).mean(axis=1)
        each = np.repeat(weights / len(z), len(z))  # what each draw counts
        counted = share * each
        path = (path * each[:, None]).reshape(m, -1, d)
        by_locs = path.sum(axis=1) - np.einsum("kn,knd->kd", counted, solved)
        outer = np.einsum("knd,kne->kde", solved * counted[:, :, None], u)
        diagonal = np.zeros_like(outer)
        diagonal[:, *np.diag_indices(d)] = counted.sum(axis=1)[:, None] / np.diagonal(trils, axis1=1, axis2=2)
        by_trils = path.swapaxes(1, 2) @ z - outer + diagonal
        by_logits = weights * (gains - weights @ gains) - (counted.sum(axis=1) - weights)
        return float(weights @ gains), self.pull_back(factors, by_logits, by_locs, by_trils)

    def fit(self, theta: Array) -> Mixture:
        """Make the mixture."""
        weights, locs, trils, _ = self.unpack(theta)
        return replace(self.start, weights=weights, locs=locs, scale_trils=trils)


def maximise_mixture(
    value_and_grad: ValueAndGrad, mixture: Mixture, z: Array, tolerance: float = GAIN_TOLERANCE
) -> tuple[Mixture, float]:
    """Maximise the ELBO from where a mixture stands, on points (n, d); returns the mixture and its ELBO there."""
    parameters = MixtureParameters(mixture)
    climbs = Climbs.begin(parameters.on(value_and_grad, z), np.zeros((1, parameters.size)), memory=MEMORY)
    for _ in range(MAX_STEPS):
        if not len(active := climbs.active()):
            break
        climbs.step(active, tolerance)
    return parameters.fit(climbs.y[0]), float(climbs.value[0])


def grow_mixture(
    value_and_grad: ValueAndGrad, mixture: Mixture, n_components: int | None, rng: np.random.Generator
) -> Mixture:
    """Polish a mixture; split components while that gains, or up to `n_components`; then polish on more points."""
    d = mixture.d
    z = balanced_normals(2 ** int(np.ceil(np.log2(max(COARSE_DRAWS, 6 * d)))), d, rng)
    best, elbo = maximise_mixture(value_and_grad, mixture, z, COARSE_GAIN)
    while best.n_components < (n_components or MOST_COMPONENTS):
        trials = [
            maximise_mixture(value_and_grad, split(best, k), z, COARSE_GAIN)
            for k in range(best.n_components)
            if best.weights[k] > 0.02
        ]
        grown, gained = max(trials, key=lambda trial: trial[1])
        if n_components is None and gained - elbo < WORTH:
            break
        best, elbo = grown, gained
    n = 2 ** int(np.log2(np.clip(FINE_NUMBERS // d, len(z), FINE_DRAWS)))
    return maximise_mixture(value_and_grad, best, balanced_normals(n, d, rng))[0]


def split(mixture: Mixture, k: int) -> Mixture:
    """Cut component k in two halves along its longest axis; together they keep its mean and covariance."""
    axis, length, _ = np.linalg.svd(mixture.scale_trils[k])
    step = 0.5 * length[0] * axis[:, 0]
    covariance = mixture.scale_trils[k] @ mixture.scale_trils[k].T - np.outer(step, step)
    tril = np.linalg.cholesky(covariance)
    rest = np.arange(mixture.n_components) != k
    return replace(
        mixture,
        weights=np.concatenate([mixture.weights[rest], np.full(2, mixture.weights[k] / 2)]),
        locs=np.concatenate([mixture.locs[rest], mixture.locs[k] + np.outer([1, -1], step)]),
        scale_trils=np.concatenate([mixture.scale_trils[rest], tril[None].repeat(2, axis=0)]),
    )
