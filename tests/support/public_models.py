"""Models of the kinds that public examples have, and what `compare` says of each: an answer, or why not."""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pymc as pm
import pymc.dims as pmd
import pytensor
import pytensor.tensor as pt
from pymc.distributions import transforms

import pymc_kl as pkl
from support import bambi_models, likelihood_models, prior_models

BUDGET = 10.0  # seconds that search and sampling of a model may take
LETTERS = 160  # of an answer that the table shows
RNG = np.random.default_rng(1)
X = np.linspace(-1, 1, 20)
Y = 0.5 + X + 0.3 * RNG.standard_normal(20)
COUNTS = RNG.poisson(3, 20)
BINARY = (Y > 0.5).astype(int)


def dims() -> None:
    pm.modelcontext(None).add_coord("at", np.arange(20))
    x = pmd.Data("seen", X, dims="at")
    pmd.Normal(
        "y",
        pmd.Normal("a") + pmd.Normal("b") * x,
        pmd.HalfNormal("s"),
        dims="at",
        observed=pmd.as_xtensor(Y, dims=("at",)),
    )


def dims_hierarchy() -> None:
    pm.modelcontext(None).add_coords({"group": ["a", "b", "c", "d"], "at": np.arange(5)})
    groups = pmd.Normal("groups", pmd.Normal("mu"), pmd.HalfNormal("tau"), dims="group")
    pmd.StudentT(
        "y",
        nu=4,
        mu=groups,
        sigma=0.5,
        dims=("at", "group"),
        observed=pmd.as_xtensor(Y.reshape(5, 4), dims=("at", "group")),
    )


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


def imputed_covariate() -> None:
    x = pm.Normal("x", observed=np.where(np.arange(20) < 3, np.nan, X))
    pm.Normal("y", pm.Normal("a") + pm.Normal("b") * x, 0.5, observed=Y)


def ordered_probit() -> None:
    cuts = pm.Normal("cuts", [-1, 1], 1, transform=transforms.ordered)
    pm.OrderedProbit("y", eta=pm.Normal("b") * X, cutpoints=cuts, sigma=1.0, observed=np.clip(COUNTS, 0, 2))


def ordered_multinomial() -> None:
    cuts = pm.Normal("cuts", [-1, 1], 1, transform=transforms.ordered)
    pm.OrderedMultinomial("y", eta=pm.Normal("b"), cutpoints=cuts, n=10, observed=[3, 4, 3])


def multinomial() -> None:
    pm.Multinomial("y", n=10, p=pm.Dirichlet("p", np.ones(3)), observed=[3, 4, 3])


def dirichlet_multinomial() -> None:
    pm.DirichletMultinomial("y", n=10, a=pm.Gamma("a", 2, 1, shape=3), observed=[3, 4, 3])


def mixture_of_many() -> None:
    mu = pm.Normal("mu", 0, 2, shape=3)
    pm.NormalMixture("y", w=pm.Dirichlet("w", np.ones(3)), mu=mu, sigma=pm.HalfNormal("s", shape=3), observed=Y)


def marginal_mixture() -> None:
    pm.Mixture("x", w=pm.Dirichlet("w", np.ones(2)), comp_dists=[pm.Normal.dist(-2), pm.Laplace.dist(2, 1)])


def truncated_prior() -> None:
    pm.Normal("y", pm.Truncated("x", pm.StudentT.dist(4), lower=-1.0), 1.0, observed=0.5)


def student_process() -> None:
    f = pm.gp.TP(scale_func=pm.gp.cov.ExpQuad(1, ls=0.5), nu=5).prior("f", X=X[::4, None])
    pm.Normal("y", f, 0.3, observed=Y[::4])


def sparse_process() -> None:
    gp = pm.gp.MarginalApprox(cov_func=pm.HalfNormal("eta") ** 2 * pm.gp.cov.ExpQuad(1, ls=0.5))
    gp.marginal_likelihood("y", X=X[:, None], Xu=X[::5, None], y=Y, sigma=pm.HalfNormal("s"))


def autoregression() -> None:
    pm.AR("y", rho=pm.Normal("rho", 0, 0.5, shape=2), sigma=pm.HalfNormal("s"), init_dist=pm.Normal.dist(), observed=Y)


def volatility() -> None:
    rate = pm.Beta("alpha", 1, 3)
    pm.GARCH11("y", omega=pm.HalfNormal("omega"), alpha_1=rate, beta_1=0.2, initial_vol=1.0, observed=Y - Y.mean())


def survival() -> None:
    rate = pm.Gamma("rate", 2, 1)
    pm.Potential("log_survival", (np.log(2) + pt.log(rate) - rate * np.abs(Y)).sum())


WITH_DATA = (
    censored, truncated, mixture, mixture_of_kinds, zero_inflated, hurdle, negative_binomial, regression,
    robust_regression, logistic_regression, ordered_logistic, softmax_regression, beta_binomial, hierarchy,
    missing_data, minibatch, gaussian_process, latent_process, hilbert_space_process, scan, differential_equation,
    stochastic_volatility, potential, step, change_point, custom, covariance, spatial, intrinsic, flat_with_data,
    survival, dims, dims_hierarchy, imputed_covariate, ordered_probit, ordered_multinomial, multinomial,
    dirichlet_multinomial, mixture_of_many, marginal_mixture, truncated_prior, student_process, sparse_process,
    autoregression, volatility,
)  # fmt: skip


def builders() -> dict[str, Callable[[], pm.Model]]:
    """Return what builds each model, by the model's name."""
    added = prior_models.adders() | {build.__name__.replace("_", " "): build for build in WITH_DATA}
    here = {name: partial(_model_of, add) for name, add in added.items()}
    return here | likelihood_models.builders() | bambi_models.builders()


def _model_of(add: Callable[[], object]) -> pm.Model:
    with pm.Model() as model:
        add()
    return model


@dataclass(frozen=True)
class Outcome:
    """What `compare` said of a model: answered, refused (for a reason of its own), or neither."""

    kind: str
    said: str
    seconds: float


def outcome(build: Callable[[], pm.Model]) -> Outcome:
    """Build a model and compare a forward fit of it."""
    with warnings.catch_warnings(action="ignore"):  # of what builds models, such as Bambi
        model = build()
    start = time.perf_counter()
    kind, said = _tried(model)
    line = " ".join(said.replace("|", "/").split())
    return Outcome(kind, line if len(line) <= LETTERS else f"{line[:LETTERS]}…", time.perf_counter() - start)


def _tried(model: pm.Model) -> tuple[str, str]:
    try:
        with warnings.catch_warnings(action="ignore"):
            made = pkl.compare(
                model=model, reverse=(), forward="meanfield", draws=200, n_starts=256, budget=BUDGET, random_seed=1,
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
