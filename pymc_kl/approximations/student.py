"""The multivariate Student-t."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np

from pymc_kl._typing import Array
from pymc_kl.approximations.base import FitInfo, raised
from pymc_kl.approximations.components import log_height
from pymc_kl.approximations.estimation.fit_data import FitData
from pymc_kl.approximations.estimation.student_ml import MAX_DF, MIN_DF, StudentFit, fit_student
from pymc_kl.approximations.located import Affine
from pymc_kl.approximations.training import Training

ECME_TOLERANCE = 1e-9  # nats a draw: ECME stops when an iteration gains less; our choice
MAX_ECME_ITERATIONS = 1000  # most iterations of ECME; our choice
NEAR_BOUND = 1.01  # ratio to a bound up to which degrees of freedom count as being at the bound; our choice


@dataclass(frozen=True, kw_only=True, eq=False)
class StudentT(Affine):
    """``q(x) ∝ (1 + |L⁻¹(x - loc)|² / df)^(-(df + d) / 2)`` with L = scale_tril: a multivariate t.

    `loc` (d,) is the centre, `scale_tril` (d, d) the lower Cholesky factor of the scale matrix, both on the
    unconstrained space, and `df` the degrees of freedom, positive: the smaller, the heavier the tails.

    The forward fit maximises the likelihood by ECME [1]_, which needs no moments of p. Degrees of freedom are fitted
    too, from 0.3 to 1000; the lower bound is higher where draws are so few that the t could collapse on one of them.
    It needs d + 1 effective draws that do not lie on a hyperplane. `info` then holds `df`, `n_iterations`,
    `converged` and `warnings`.

    References
    ----------
    .. [1] Liu, C. and Rubin, D. B. (1995). ML estimation of the t distribution using EM and its extensions, ECM and
       ECME. Statistica Sinica 5, 19-39.

    Examples
    --------
    >>> q = StudentT(loc=np.zeros(1), scale_tril=np.eye(1), df=4.0)
    >>> q.covariance
    array([[2.]])
    >>> q.log_prob(np.array([[0.0], [3.0]])).round(4)
    array([-0.9808, -3.9275])
    """

    family: ClassVar[str] = "studentt"
    shapes: ClassVar[dict[str, str]] = {"loc": "d", "scale_tril": "dd", "df": ""}

    df: float

    @classmethod
    def fit(cls, draws: Training) -> Self:
        """Maximise the likelihood by ECME, which minimises KL(p‖q)."""
        data = FitData.check(draws.x, draws.weights)
        data.check_varies()
        fit = fit_student(
            np.asfortranarray(data.x), data.weights, tolerance=ECME_TOLERANCE, max_iterations=MAX_ECME_ITERATIONS
        )
        info = FitInfo(df=fit.df, n_iterations=fit.n_iterations, converged=fit.converged, warnings=_doubts(fit))
        return cls(loc=fit.loc, scale_tril=fit.scale_tril, df=fit.df, info=info)

    @cached_property
    def covariance(self) -> Array:
        """Covariance (d, d), unconstrained space; NaN where it does not exist, for `df` of 2 and less."""
        factor = self.df / (self.df - 2) if self.df > 2 else np.nan
        return np.asarray(factor * self.scale_tril @ self.scale_tril.T)

    def _sample(self, n: int, rng: np.random.Generator) -> Array:
        z = rng.standard_normal((n, self.d)) / np.sqrt(rng.chisquare(self.df, n) / self.df)[:, None]
        return self._from_standard(z)

    def _log_prob(self, x: Array) -> Array:
        squares = (self._to_standard(x) ** 2).sum(axis=1)
        tail = 0.5 * (self.df + self.d) * np.log1p(squares / self.df)
        return np.asarray(log_height(self.df, self.d) - self._log_det - tail)


def _doubts(fit: StudentFit) -> tuple[str, ...]:
    conditions = {
        f"degrees of freedom are at their lower bound, {MIN_DF}: tails may be heavier than the fit's.": (
            fit.df < MIN_DF * NEAR_BOUND
        ),
        f"degrees of freedom are at their upper bound, {MAX_DF:g}: tails are no heavier than a Gaussian's, and "
        "fullrank does as well.": fit.df > MAX_DF / NEAR_BOUND,
        f"ECME had not settled after {MAX_ECME_ITERATIONS} iterations.": not fit.converged,
    }
    return raised(conditions)
