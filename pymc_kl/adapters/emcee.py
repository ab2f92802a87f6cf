"""emcee's `EnsembleSampler`: draws by `parameter_names`, or of a density on the unconstrained space, in its order.

Without names, the draws are checked by the log density that emcee stored: it must be this model's, in this order.
"""

import warnings
from typing import Any

import arviz_base
import numpy as np

from pymc_kl._typing import Array
from pymc_kl.adapters import draws
from pymc_kl.adapters.origins import comes_from
from pymc_kl.approximations import Approximation, Draws
from pymc_kl.model.target import Target

COMPARED_DRAWS = 100  # most draws at which the stored log density is compared with the model's; our choice
SAME_UP_TO = 1e-3  # nats between the two log densities; more where their size makes single precision coarser


def accepts(fit: Any) -> bool:
    """Whether `fit` is an ensemble sampler."""
    return comes_from(fit, "emcee", "EnsembleSampler")


def convert(fit: Any, target: Target) -> Approximation:
    """Read every step that the sampler holds, all walkers."""
    if names := getattr(fit, "parameter_names", None):
        with warnings.catch_warnings():  # it warns that there are more walkers than steps, which is common
            warnings.filterwarnings("ignore", message="Found chain dimension")
            tree = arviz_base.from_emcee(fit, var_names=list(names), slices=list(names.values()))
        return draws.convert(tree, target)
    x = np.swapaxes(np.asarray(fit.get_chain(), dtype=float), 0, 1)
    log_prob = np.asarray(fit.get_log_prob(), dtype=float).T.ravel()
    flat = x.reshape(-1, x.shape[-1])
    _check_density(flat, log_prob, target)
    return Draws(x=flat, n_chains=len(x), target=target)


def _check_density(x: Array, log_prob: Array, target: Target) -> None:
    """Raise unless the sampler's log density is the model's, up to a constant."""
    if x.shape[1] != target.d:
        raise ValueError(f"the sampler has {x.shape[1]} dimensions and the unconstrained space {target.d}. {_CURE}")
    rows = np.unique(np.linspace(0, len(x) - 1, COMPARED_DRAWS).astype(int))
    ours, theirs = target.log_density(x[rows]), log_prob[rows]
    difference = float(np.ptp(ours - theirs))
    if not difference < SAME_UP_TO * (1 + np.abs(theirs).max() / 1000):
        raise ValueError(
            "the log density that the sampler stored must be that of the model on its unconstrained space, up to a "
            f"constant; over {len(rows)} of its draws they differ by a range of {difference:.3g} nats. {_CURE}"
        )


_CURE = (
    "Sample Target.log_density, or name the coordinates: EnsembleSampler(..., parameter_names={'mu': [0, 1]}), or "
    "arviz.from_emcee(sampler, var_names=..., slices=...)."
)
