"""Models of the kinds that public examples have, and what `compare` says of each: an answer, or why not."""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt

import pymc_kl as pkl

BUDGET = 10.0  # seconds that search and sampling of a model may take
LETTERS = 160  # of an answer that the table shows
RNG = np.random.default_rng(1)
X = np.linspace(-1, 1, 20)
Y = 0.5 + X + 0.3 * RNG.standard_normal(20)
COUNTS = RNG.poisson(3, 20)
BINARY = (Y > 0.5).astype(int)

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
        "Wishart": {"nu": 4, "V": np.eye(2)},
        "Interpolated": {"x_points": np.linspace(-3, 3, 50), "pdf_points": np.exp(-np.linspace(-3, 3, 50) ** 2)},
    }.items()
}  # fmt: skip


def censored() -> None:
    pm.Censored("y", pm.Normal.dist(pm.Normal("mu"), pm.HalfNormal("s")), lower=None, upper=1.0, observed=Y.clip(max=1))


def truncated() -> None:
    pm.Truncated("y", pm.Normal.dist(pm.Normal("mu"), 1.0), lower=0.0, observed=np.abs(Y))


def mixture() -> None:
    mu = pm.Normal("mu", [-1, 1], 1, transform=pm.distributions.transforms.ordered)
    pm.NormalMixture("y", w=pm.Dirichlet("w", np.ones(2)), mu=mu, sigma=0.5, observed=Y)


def mixture_of_kinds() -> None:
    parts = [pm.Normal.dist(pm.Normal("mu"), 1.0), pm.StudentT.dist(3, mu=0.0, sigma=1.0)]
    pm.Mixture("y", w=[0.5, 0.5], comp_dists=parts, observed=Y)


def zero_inflated() -> None:
    pm.ZeroInflatedPoisson("y", pm.Beta("psi", 1, 1), pm.Gamma("mu", 2, 1), observed=COUNTS)


def hurdle() -> None:
    pm.HurdlePoisson("y", pm.Beta("psi", 1, 1), pm.Gamma("mu", 2, 1), observed=COUNTS + 1)


def negative_binomial() -> None:
    pm.NegativeBinomial("y", mu=pm.Gamma("mu", 2, 1), alpha=pm.Exponential("alpha", 1), observed=COUNTS)


def regression() -> None:
    pm.Normal("y", pm.Normal("a") + pm.Normal("b") * X, pm.HalfNormal("s"), observed=Y)


def robust_regression() -> None:
    mu = pm.Normal("a") + pm.Normal("b") * X
    pm.StudentT("y", pm.Gamma("nu", 2, 0.1), mu=mu, sigma=pm.HalfNormal("s"), observed=Y)


def logistic_regression() -> None:
    pm.Bernoulli("y", logit_p=pm.Normal("a") + pm.Normal("b") * X, observed=BINARY)


def ordered_logistic() -> None:
    cuts = pm.Normal("cuts", [-1, 1], 1, transform=pm.distributions.transforms.ordered)
    pm.OrderedLogistic("y", eta=pm.Normal("b") * X, cutpoints=cuts, observed=np.clip(COUNTS, 0, 2))


def softmax_regression() -> None:
    pm.Categorical("y", logit_p=pm.Normal("b", shape=3) * X[:, None], observed=np.clip(COUNTS, 0, 2))


def beta_binomial() -> None:
    pm.BetaBinomial("y", pm.HalfNormal("a", 5), pm.HalfNormal("b", 5), n=20, observed=COUNTS)


def hierarchy() -> None:
    groups = pm.Normal("groups", pm.Normal("mu"), pm.HalfNormal("tau"), shape=4)
    pm.Normal("y", groups[np.arange(20) % 4], 0.5, observed=Y)


def missing_data() -> None:
    pm.Normal("y", pm.Normal("a") + X, 0.5, observed=np.where(np.arange(20) < 3, np.nan, Y))


def minibatch() -> None:
    x, y = pm.Minibatch(X, Y, batch_size=5)
    pm.Normal("y", pm.Normal("a") + pm.Normal("b") * x, 0.5, observed=y, total_size=20)


def gaussian_process() -> None:
    cov = pm.HalfNormal("eta") ** 2 * pm.gp.cov.ExpQuad(1, ls=pm.InverseGamma("ell", 3, 1))
    pm.gp.Marginal(cov_func=cov).marginal_likelihood("y", X=X[:, None], y=Y, sigma=pm.HalfNormal("s"))


def latent_process() -> None:
    f = pm.gp.Latent(cov_func=pm.gp.cov.Matern52(1, ls=0.5)).prior("f", X=X[::4, None])
    pm.Normal("y", f, 0.3, observed=Y[::4])


def hilbert_space_process() -> None:
    f = pm.gp.HSGP(m=[5], c=1.5, cov_func=pm.gp.cov.ExpQuad(1, ls=0.5)).prior("f", X=X[:, None])
    pm.Normal("y", f, 0.3, observed=Y)


def scan() -> None:
    rate = pm.Beta("rate", 2, 2)
    states, _ = pytensor.scan(
        lambda s, r: s * r, outputs_info=[pt.constant(1.0, dtype="float64")], non_sequences=[rate], n_steps=5
    )
    pm.Normal("y", states, 0.1, observed=0.7 ** np.arange(1, 6))


def differential_equation() -> None:
    ode = pm.ode.DifferentialEquation(lambda y, t, p: -p[0] * y[0], np.linspace(0.2, 1, 5), n_states=1, n_theta=1)
    solution = ode(y0=[1.0], theta=[pm.HalfNormal("k")])
    pm.Normal("y", solution[:, 0], 0.1, observed=np.exp(-np.linspace(0.2, 1, 5)))


def stochastic_volatility() -> None:
    walk = pm.GaussianRandomWalk("walk", sigma=0.2, init_dist=pm.Normal.dist(), steps=6)
    pm.StudentT("y", 5, mu=0, sigma=pt.exp(walk), observed=Y[:7])


def potential() -> None:
    x = pm.Normal("x", shape=2)
    pm.Potential("ring", -10 * (pt.sqrt((x**2).sum()) - 1) ** 2)


def step() -> None:
    pm.Normal("y", pt.switch(pm.Normal("x") > 0, 1.0, -1.0), 1.0, observed=Y)


def change_point() -> None:
    at = pm.DiscreteUniform("at", 0, 19)
    pm.Poisson("y", pt.switch(np.arange(20) < at, pm.Exponential("a", 1), pm.Exponential("b", 1)), observed=COUNTS)


def custom() -> None:
    pm.CustomDist(
        "x", 1.0, logp=lambda value, s: -pt.abs(value) / s, random=lambda s, rng=None, size=None: rng.laplace(size=size)
    )


def covariance() -> None:
    chol, _, _ = pm.LKJCholeskyCov("chol", n=2, eta=2, sd_dist=pm.HalfNormal.dist(1, shape=2))
    pm.MvNormal("y", np.zeros(2), chol=chol, observed=RNG.standard_normal((20, 2)))


def spatial() -> None:
    near = np.eye(4, k=1) + np.eye(4, k=-1)
    pm.Normal("y", pm.CAR("phi", np.zeros(4), near, alpha=0.5, tau=1.0), 0.5, observed=Y[:4])


def intrinsic() -> None:
    near = np.eye(4, k=1) + np.eye(4, k=-1)
    pm.Normal("y", pm.ICAR("phi", near), 0.5, observed=Y[:4])


def flat_with_data() -> None:
    pm.Normal("y", pm.Flat("mu"), pm.HalfFlat("s"), observed=Y)


def survival() -> None:
    rate = pm.Gamma("rate", 2, 1)
    pm.Potential("log_survival", (np.log(2) + pt.log(rate) - rate * np.abs(Y)).sum())


WITH_DATA = (
    censored, truncated, mixture, mixture_of_kinds, zero_inflated, hurdle, negative_binomial, regression,
    robust_regression, logistic_regression, ordered_logistic, softmax_regression, beta_binomial, hierarchy,
    missing_data, minibatch, gaussian_process, latent_process, hilbert_space_process, scan, differential_equation,
    stochastic_volatility, potential, step, change_point, custom, covariance, spatial, intrinsic, flat_with_data,
    survival,
)  # fmt: skip


def builders() -> dict[str, Callable[[], object]]:
    """Return what adds the variables of each model, by the model's name."""
    alone = {
        name: lambda kind=kind, given=given: getattr(pm, kind)("x", **given) for name, (kind, given) in ONE.items()
    }
    return alone | {build.__name__.replace("_", " "): build for build in WITH_DATA}


@dataclass(frozen=True)
class Outcome:
    """What `compare` said of a model: answered, refused (for a reason of its own), or neither."""

    kind: str
    said: str
    seconds: float


def outcome(build: Callable[[], object]) -> Outcome:
    """Build a model and compare a forward fit of it."""
    with pm.Model() as model:
        build()
    start = time.perf_counter()
    kind, said = _tried(model)
    line = " ".join(said.replace("|", "/").split())
    return Outcome(kind, line if len(line) <= LETTERS else f"{line[:LETTERS]}…", time.perf_counter() - start)


def _tried(model: pm.Model) -> tuple[str, str]:
    try:
        with warnings.catch_warnings(action="ignore"):
            made = pkl.compare(
                model=model, reverse=(), forward="meanfield", n_draws=200, n_starts=256, budget=BUDGET, random_seed=1,
                progressbar=False,
            )  # fmt: skip
    except (ValueError, TypeError) as error:
        return "refused", str(error)
    except RuntimeError as error:
        return ("refused" if "before the work was stopped" in str(error) else "failed"), str(error)
    except Exception as error:  # noqa: BLE001 that is what is looked for
        return "failed", f"{type(error).__name__}: {error}"
    return "answered", _answer(made)


def _answer(made: object) -> str:
    k, evidence = made["modes"].sizes["mode"], float(made["evidence"]["log_evidence"])
    failed = str(made["scores"]["error"].values[0])
    log_z = f"log Z {evidence:.2f}" if np.isfinite(evidence) else f"no log Z: {made['evidence'].attrs['reason']}"
    return f"{k} mode{'s' if k > 1 else ''}, {log_z}{'; the fit: ' if failed else ''}{failed}"
