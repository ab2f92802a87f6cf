"""NumPyro's `MCMC`: draws by the names of its sample sites, through ArviZ's converter."""

from typing import Any

import arviz_base

from pymc_kl.adapters import draws
from pymc_kl.adapters.origins import comes_from
from pymc_kl.approximations import Approximation
from pymc_kl.model.target import Target


def accepts(fit: Any) -> bool:
    """Whether `fit` is NumPyro's `MCMC`."""
    return comes_from(fit, "numpyro", "MCMC")


def convert(fit: Any, target: Target) -> Approximation:
    """Read the draws of the sites that bear the names of the model's variables."""
    return draws.convert(arviz_base.from_numpyro(fit, log_likelihood=False), target)
