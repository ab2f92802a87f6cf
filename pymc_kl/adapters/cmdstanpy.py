"""CmdStanPy's results: draws by the names of the Stan program's parameters.

ArviZ converts those of its NUTS; its Pathfinder, Laplace and ADVI give draws of the same names, without a density.
"""

from typing import Any

import arviz_base
import numpy as np

from pymc_kl.adapters import draws
from pymc_kl.adapters.origins import comes_from
from pymc_kl.approximations import Approximation
from pymc_kl.model.target import Target

WITHOUT_CHAINS: dict[str, dict[str, Any]] = {
    "CmdStanPathfinder": {},
    "CmdStanLaplace": {},
    "CmdStanVB": {"mean": False},
}


def accepts(fit: Any) -> bool:
    """Whether `fit` is what `sample`, `pathfinder`, `laplace_sample` or `variational` returned."""
    return any(comes_from(fit, "cmdstanpy", name) for name in ("CmdStanMCMC", *WITHOUT_CHAINS))


def convert(fit: Any, target: Target) -> Approximation:
    """Read the draws of the parameters that bear the names of the model's variables."""
    if comes_from(fit, "cmdstanpy", "CmdStanMCMC"):
        return draws.convert(arviz_base.from_cmdstanpy(fit), target)
    options = next(options for name, options in WITHOUT_CHAINS.items() if comes_from(fit, "cmdstanpy", name))
    posterior = {name: np.asarray(values)[None] for name, values in fit.stan_variables(**options).items()}
    return draws.convert(arviz_base.from_dict({"posterior": posterior}), target)
