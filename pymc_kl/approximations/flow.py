"""The normalising flow of flowjax, which is imported when used: `pip install pymc_kl[flow]`."""

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, ClassVar, Self

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.approximations.base import FitInfo
from pymc_kl.approximations.components import effective_number
from pymc_kl.approximations.estimation.fit_data import FitData
from pymc_kl.approximations.estimation.halves import HeldOut
from pymc_kl.approximations.located import Affine
from pymc_kl.approximations.training import Training

N_PARTS = 5  # parts of the draws, one of which is held out; our choice
LEAST_EFFECTIVE_DRAWS = 20  # effective draws: with fewer, held-out draws cannot tell when to stop; our choice


@dataclass(frozen=True, kw_only=True, eq=False)
class Flow(Affine):
    """``q(x) = f(L⁻¹(x - loc)) / |L|`` with L = scale_tril: a normalising flow f in standardised coordinates.

    `flow`, a `flowjax.distributions.Transformed` on R^d, maps a standard normal by smooth invertible functions;
    tails are Gaussian. `loc` (d,) and `scale_tril` (d, d) are the mean and Cholesky factor of the draws that it was
    fitted to, on the unconstrained space.

    The forward fit takes coupling layers of rational-quadratic splines [1]_. Adam climbs their likelihood from the
    full-rank Gaussian, which the flow is at first, until draws held out stop gaining: so it is never worse on these
    than the Gaussian. It takes seconds to a minute, most of it compiling. It needs flowjax, 20 effective draws and
    d + 1 of them that do not lie on a hyperplane.

    Notes
    -----
    After `fit_forward`, `info` holds `held_out_score` (the mean of log q over a fifth of the draws, nats a draw, the
    best that was seen there and so a little high) and `held_out_score_se`; `scores`, that after each epoch;
    `converged`; and `warnings`.

    References
    ----------
    .. [1] Durkan, C., Bekasov, A., Murray, I. and Papamakarios, G. (2019). Neural spline flows. Advances in
       Neural Information Processing Systems 32, 7511-7522. arXiv:1906.04032
    """

    family: ClassVar[str] = "flow"

    flow: Any

    @classmethod
    def fit(cls, draws: Training) -> Self:
        """Climb the likelihood by Adam until draws held out stop gaining, which minimises KL(p‖q)."""
        training = load_training()
        data = FitData.check(draws.x, draws.weights, blocks=draws.blocks)
        if (n := effective_number(data.weights)) < LEAST_EFFECTIVE_DRAWS:
            raise ValueError(
                f"a flow needs at least {LEAST_EFFECTIVE_DRAWS} effective draws; got {n:.1f}. Give more draws."
            )
        loc, tril = data.frame()
        whole = data.whitened(loc, tril)
        train_rows, test_rows = _parts(data, draws.rng)
        train, test = whole.take(train_rows), whole.take(test_rows)
        trained = training.train(training.build(data.d), train, test, draws.rng)
        blocks = None if data.blocks is None else data.blocks[test_rows]
        info = _info(trained, HeldOut.of(test, blocks), training.log_prob(trained.flow, test.x), tril)
        return cls(loc=loc, scale_tril=tril, flow=trained.flow, info=info)

    def _sample(self, n: int, rng: np.random.Generator) -> Array:
        z: Array = load_training().transform(self.flow, rng.standard_normal((n, self.d)))
        return self._from_standard(z)

    def _log_prob(self, x: Array) -> Array:
        log_q: Array = load_training().log_prob(self.flow, np.ascontiguousarray(self._to_standard(x)))
        return log_q - self._log_det


def load_training() -> ModuleType:
    """Import the module that needs flowjax; say how to install it where it is missing."""
    try:
        return import_module("pymc_kl.approximations.estimation.flow_training")
    except ImportError as error:
        raise ImportError(
            f"the family 'flow' needs flowjax, which could not be imported ({error}): pip install pymc_kl[flow]"
        ) from error


def _parts(data: FitData, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Hold out every fifth block; a random fifth where there are no blocks, the last fifth where they are too few."""
    names, codes = np.unique(np.arange(data.weights.size) if data.blocks is None else data.blocks, return_inverse=True)
    if names.size < N_PARTS:
        codes = np.arange(data.weights.size) * N_PARTS // data.weights.size
    elif data.blocks is None:
        codes = rng.permutation(codes)
    test = codes % N_PARTS == N_PARTS - 1
    return np.flatnonzero(~test), np.flatnonzero(test)


def _info(trained: Any, held_out: HeldOut, log_q: Array, tril: Array) -> FitInfo:
    """Report the fit; scores are moved from the frame to the coordinates of the model."""
    log_det = float(np.log(np.diag(tril)).sum())
    score, score_se = held_out.score(log_q)
    unsettled = () if trained.converged else (f"training had not settled after {len(trained.history) - 1} epochs.",)
    return FitInfo(
        held_out_score=score - log_det,
        held_out_score_se=score_se,
        scores=tuple(value - log_det for value in trained.history),
        converged=trained.converged,
        warnings=unsettled,
    )
