"""Every continuous distribution of PyMC by itself, and every transform."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pymc as pm
from pymc.distributions import transforms

PAIR = pm.MvNormal.dist(np.zeros(2), np.eye(2))
ONE: dict[str, tuple[str, dict[str, object]]] = {
    f"a priori, {name}": (name, arguments)
    for name, arguments in {
        "Normal": {}, "Cauchy": {"alpha": 0, "beta": 1}, "Laplace": {"mu": 0, "b": 1}, "StudentT": {"nu": 4},
        "Logistic": {"mu": 0, "s": 1}, "Gumbel": {"mu": 0, "beta": 1}, "SkewNormal": {"alpha": 3},
        "AsymmetricLaplace": {"kappa": 2, "mu": 0, "b": 1}, "ExGaussian": {"mu": 0, "sigma": 1, "nu": 1},
        "Moyal": {"mu": 0, "sigma": 1}, "HalfNormal": {}, "HalfCauchy": {"beta": 1}, "HalfStudentT": {"nu": 3},
        "Exponential": {"lam": 1}, "Gamma": {"alpha": 2, "beta": 1}, "InverseGamma": {"alpha": 3, "beta": 1},
        "LogNormal": {}, "Weibull": {"alpha": 2, "beta": 1}, "Wald": {"mu": 1, "lam": 1}, "ChiSquared": {"nu": 3},
        "Rice": {"nu": 1, "sigma": 1}, "Pareto": {"alpha": 3, "m": 1}, "Beta": {"alpha": 2, "beta": 3},
        "Kumaraswamy": {"a": 2, "b": 3}, "LogitNormal": {}, "Uniform": {"lower": -1, "upper": 2},
        "Triangular": {"lower": 0, "c": 1, "upper": 3}, "TruncatedNormal": {"lower": -1, "upper": 2},
        "VonMises": {"mu": 0, "kappa": 2}, "PolyaGamma": {"h": 1.0, "z": 0.0}, "Flat": {}, "HalfFlat": {},
        "Dirichlet": {"a": np.ones(3)}, "MvNormal": {"mu": np.zeros(2), "cov": np.eye(2)},
        "MvStudentT": {"nu": 5, "mu": np.zeros(2), "scale": np.eye(2)}, "LKJCorr": {"n": 3, "eta": 2},
        "StickBreakingWeights": {"alpha": 1.0, "K": 3}, "ZeroSumNormal": {"shape": 3}, "Poisson": {"mu": 3},
        "Bernoulli": {"p": 0.5}, "GaussianRandomWalk": {"init_dist": pm.Normal.dist(), "steps": 4},
        "AR": {"rho": [0.5], "sigma": 1.0, "init_dist": pm.Normal.dist(), "steps": 4},
        "MatrixNormal": {"mu": np.zeros((2, 2)), "rowcov": np.eye(2), "colcov": np.eye(2)},
        "Wishart": {"nu": 4, "V": np.eye(2)}, "SkewStudentT": {"a": 2, "b": 3},
        "KroneckerNormal": {"mu": np.zeros(4), "covs": [np.eye(2), np.eye(2)], "sigma": 0.5},
        "LKJCholeskyCov": {"n": 2, "eta": 2, "sd_dist": pm.HalfNormal.dist(1, shape=2), "compute_corr": True},
        "WishartBartlett": {"S": np.eye(2), "nu": 4},
        "CAR": {"mu": np.zeros(4), "W": np.eye(4, k=1) + np.eye(4, k=-1), "alpha": 0.5, "tau": 1.0},
        "RandomWalk": {"init_dist": pm.Normal.dist(), "innovation_dist": pm.StudentT.dist(5), "steps": 4},
        "MvGaussianRandomWalk": {"mu": np.zeros(2), "chol": np.eye(2), "init_dist": PAIR, "steps": 3},
        "MvStudentTRandomWalk": {"nu": 5, "mu": np.zeros(2), "scale": np.eye(2), "init_dist": PAIR, "steps": 3},
        "EulerMaruyama": {
            "dt": 0.1, "sde_fn": lambda x, theta: (-theta * x, 0.5), "sde_pars": (1.0,), "init_dist": pm.Normal.dist(),
            "steps": 4,
        },
        "GARCH11": {"omega": 0.3, "alpha_1": 0.2, "beta_1": 0.2, "initial_vol": 1.0, "steps": 4},
        "Interpolated": {"x_points": np.linspace(-3, 3, 50), "pdf_points": np.exp(-np.linspace(-3, 3, 50) ** 2)},
    }.items()
}  # fmt: skip
TRANSFORMS: dict[str, tuple[object, dict[str, object]]] = {  # with a distribution whose own transform is another
    "log": (transforms.log, {"name": "Gamma", "alpha": 2, "beta": 1}),
    "log_exp_m1": (transforms.log_exp_m1, {"name": "Gamma", "alpha": 2, "beta": 1}),
    "logodds": (transforms.logodds, {"name": "Beta", "alpha": 2, "beta": 3}),
    "Interval": (transforms.Interval(0, 1), {"name": "Beta", "alpha": 2, "beta": 3}),
    "circular": (transforms.circular, {"name": "VonMises", "mu": 0, "kappa": 2}),
    "ordered": (transforms.ordered, {"name": "Normal", "mu": [-1, 0, 1]}),
    "simplex": (transforms.simplex, {"name": "Dirichlet", "a": np.ones(3)}),
    "ZeroSumTransform": (transforms.ZeroSumTransform((-1,)), {"name": "ZeroSumNormal", "shape": 3}),
    "Chain": (transforms.Chain([transforms.log, transforms.ordered]), {"name": "Gamma", "alpha": [2, 3], "beta": 1}),
    "none": (None, {"name": "Gamma", "alpha": 2, "beta": 1}),
}  # fmt: skip


def transformed(transform: object, name: str, **given: object) -> None:
    getattr(pm, name)("x", **given, default_transform=transform)


def adders() -> dict[str, Callable[[], object]]:
    """Return what adds the variable of each model, by its name."""
    added: dict[str, Callable[[], object]] = {
        name: partial(getattr(pm, kind), "x", **given) for name, (kind, given) in ONE.items()
    }
    for name, (transform, given) in TRANSFORMS.items():
        added[f"transform, {name}"] = partial(transformed, transform, **given)
    return added
