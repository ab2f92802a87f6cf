"""Every distribution of PyMC with continuous parameters, as the likelihood of data, with all of these free."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pymc as pm

N = 15  # observations
TRUE = {"real": 0.5, "positive": 1.5, "share": 0.4}  # parameters that the data are drawn with
PRIORS: dict[str, Callable[[str], Any]] = {
    "real": lambda name: pm.Normal(name, 0, 2), "positive": lambda name: pm.Gamma(name, 3, 2),
    "share": lambda name: pm.Beta(name, 2, 2),
}  # fmt: skip
PARAMETERS = {  # a kind for each free one, a number for a fixed one
    "AsymmetricLaplace": "kappa=positive mu=real b=positive", "Bernoulli": "p=share",
    "Beta": "alpha=positive beta=positive", "BetaBinomial": "n=10 alpha=positive beta=positive",
    "Binomial": "n=10 p=share", "Cauchy": "alpha=real beta=positive", "ChiSquared": "nu=positive",
    "DiscreteWeibull": "q=share beta=positive", "ExGaussian": "mu=real sigma=positive nu=positive",
    "Exponential": "lam=positive", "Gamma": "alpha=positive beta=positive", "Geometric": "p=share",
    "Gumbel": "mu=real beta=positive", "HalfCauchy": "beta=positive", "HalfNormal": "sigma=positive",
    "HalfStudentT": "nu=positive sigma=positive", "HurdleGamma": "psi=share alpha=positive beta=positive",
    "HurdleLogNormal": "psi=share mu=real sigma=positive",
    "HurdleNegativeBinomial": "psi=share mu=positive alpha=positive", "HurdlePoisson": "psi=share mu=positive",
    "InverseGamma": "alpha=positive beta=positive", "Kumaraswamy": "a=positive b=positive",
    "Laplace": "mu=real b=positive", "LogNormal": "mu=real sigma=positive", "Logistic": "mu=real s=positive",
    "LogitNormal": "mu=real sigma=positive", "Moyal": "mu=real sigma=positive",
    "NegativeBinomial": "mu=positive alpha=positive", "Normal": "mu=real sigma=positive",
    "Pareto": "alpha=positive m=1", "Poisson": "mu=positive",
    "Rice": "nu=positive sigma=positive",
    "SkewNormal": "mu=real sigma=positive alpha=real",
    "SkewStudentT": "a=positive b=positive mu=real sigma=positive", "StudentT": "nu=positive mu=real sigma=positive",
    "Triangular": "lower=0 c=share upper=2", "TruncatedNormal": "mu=real sigma=positive lower=-2 upper=3",
    "Uniform": "lower=0 upper=positive", "VonMises": "mu=real kappa=positive", "Wald": "mu=positive lam=positive",
    "Weibull": "alpha=positive beta=positive", "ZeroInflatedBinomial": "psi=share n=10 p=share",
    "ZeroInflatedNegativeBinomial": "psi=share mu=positive alpha=positive",
    "ZeroInflatedPoisson": "psi=share mu=positive",
}  # fmt: skip


def build(name: str) -> pm.Model:
    """Build the model of a distribution."""
    kinds = dict(each.split("=") for each in PARAMETERS[name].split())
    distribution = getattr(pm, name)
    true = {parameter: TRUE.get(kind) or int(kind) for parameter, kind in kinds.items() if kind != "0"}
    fixed = {parameter: int(kind) for parameter, kind in kinds.items() if kind not in TRUE}
    y = pm.draw(distribution.dist(**fixed | true, shape=N), random_seed=1)
    with pm.Model() as model:
        free = {parameter: PRIORS[kind](parameter) for parameter, kind in kinds.items() if kind in TRUE}
        distribution("y", **free, **fixed, observed=np.asarray(y))
    return model


def builders() -> dict[str, Callable[[], pm.Model]]:
    """Return what builds each model, by its name."""
    return {f"likelihood, {name}": partial(build, name) for name in PARAMETERS}
