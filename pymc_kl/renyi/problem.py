"""The inputs that all fits of a path have in common, and importance sampling from the mixture of p and q.

References
----------
Owen, A. and Zhou, Y. (2000). Safe and effective importance sampling. Journal of the American Statistical Association
95(449), 135-143. doi:10.1080/01621459.2000.10473909
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from pymc_kl._typing import Array
from pymc_kl.approximations import FullRank, MeanField
from pymc_kl.fitting.points import LOWEST
from pymc_kl.model.draws import PosteriorDraws
from pymc_kl.model.target import Target
from pymc_kl.numerics.estimate import Estimate

type PathFit = MeanField | FullRank


@dataclass(frozen=True, eq=False)
class PathProblem:
    """The inputs that all fits of a path have in common.

    p is represented by draws of the reference, q by fixed standard normal points z (n, d). `log_evidence` is in nats.
    """

    target: Target
    reference: PosteriorDraws
    z: Array
    log_evidence: Estimate

    def log_density(self, x: Array) -> Array:
        """Evaluate log p̃ (n,), in nats; where it is not finite, return a very low value."""
        value = self.target.log_density(x)
        return np.where(np.isfinite(value), value, LOWEST)

    def draws_of(self, fit: PathFit) -> Array:
        """Draw from a fit at the fixed points, (n, d)."""
        return np.asarray(fit.loc + self.z @ fit.scale_tril.T)


@dataclass(frozen=True, eq=False)
class MixtureDraws:
    """Draws x (n, d) of p and q together as draws of their mixture α p + (1-α) q (Owen and Zhou 2000).

    Attributes
    ----------
    x : array (n, d)
    log_p : array (n,)
        Normalised, nats.
    log_base : array (n,)
        Log of the mass of each draw over the mixture's density.
    """

    x: Array
    log_p: Array
    log_base: Array

    @classmethod
    def of(cls, fit: PathFit, alpha: float, problem: PathProblem) -> "MixtureDraws":
        """Join the reference, of mass α in all, and draws of a fit, of mass 1-α."""
        reference, at_q = problem.reference, problem.draws_of(fit)
        n, weights = len(reference.flat), reference.flat_weights
        mass_p = alpha * (np.full(n, 1 / n) if weights is None else weights)
        mass = np.concatenate([mass_p, np.full(len(at_q), (1 - alpha) / len(at_q))])
        x = np.concatenate([reference.flat, at_q])
        log_density = np.concatenate([reference.log_density.ravel(), problem.log_density(at_q)])
        log_p = log_density - problem.log_evidence.value
        with np.errstate(divide="ignore"):
            mixture = np.logaddexp(np.log(alpha) + log_p, np.log1p(-alpha) + fit.log_prob(x))
            log_base = np.log(mass) - mixture
        kept = mass > 0
        return cls(x[kept], log_p[kept], log_base[kept])

    def weights(self, fit: PathFit, alpha: float) -> Array:
        """Weight the draws (n,) as draws of the density proportional to p^α q^(1-α)."""
        return softmax(self.log_base + alpha * self.log_p + (1 - alpha) * fit.log_prob(self.x))
