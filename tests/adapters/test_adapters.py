"""Fits of the real PyMC come in exactly, whatever the order of their variables."""

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy import stats

import pymc_kl as pkl
from pymc_kl import as_approximation, to_pymc
from pymc_kl.adapters.gaussians import as_cholesky
from pymc_kl.approximations import Draws, FullRank, Functions, LowRank, MeanField, Mixture
from pymc_kl.model.target import Target


@pytest.fixture(scope="module")
def model():
    with pm.Model(coords={"g": ["a", "b", "c"]}) as model:
        pm.Beta("share", 2.0, 3.0)
        scale = pm.HalfNormal("scale", 1.0)
        pm.Normal("mu", 0.0, scale, dims="g")
        pm.Normal("y", model["mu"], 1.0, observed=np.array([0.5, -0.3, 2.0]))
    return model


@pytest.fixture(scope="module")
def target(model):
    return Target.from_model(model)


@pytest.fixture(scope="module")
def fits(model):
    with model:
        return {
            method: pm.fit(50, method=method, random_seed=1, progressbar=False)
            for method in ("advi", "fullrank_advi", "svgd")
        }


def moments_of(fit, target):
    """Mean and covariance of many of the fit's own draws, read by name."""
    draws = fit.sample_dict_fn(100_000, random_seed=1)
    x = np.concatenate([draws[v.value_name].reshape(100_000, -1) for v in target.variables], axis=1)
    return x.mean(axis=0), np.cov(x.T)


@pytest.mark.parametrize(("method", "family"), [("advi", MeanField), ("fullrank_advi", FullRank)])
def test_gaussian_fits_are_exact(method, family, fits, target):
    q = as_approximation(fits[method], model=target)
    assert isinstance(q, family)
    assert q.kind == "reverse"
    assert len(q.info["history"]) == 50
    order = [fits[method].ordering[v.value_name][1] for v in target.variables]
    index = np.concatenate([np.arange(s.start, s.stop) for s in order])
    mean, cov = fits[method].mean.eval()[index], fits[method].cov.eval()[np.ix_(index, index)]
    np.testing.assert_allclose(q.loc, mean, atol=1e-12)
    np.testing.assert_allclose(q.covariance, cov, atol=1e-10)
    x = q.sample(5, random_seed=1)
    np.testing.assert_allclose(q.log_prob(x), stats.multivariate_normal(mean, cov).logpdf(x), atol=1e-9)


@pytest.mark.parametrize("method", ["advi", "fullrank_advi"])
def test_draws_agree_with_pymc_s_own(method, fits, target):
    q = as_approximation(fits[method], model=target)
    mean, cov = moments_of(fits[method], target)
    sd = np.sqrt(np.diag(cov))
    np.testing.assert_allclose((q.loc - mean) / sd, 0, atol=5 / np.sqrt(100_000))
    np.testing.assert_allclose(q.covariance / np.outer(sd, sd), cov / np.outer(sd, sd), atol=0.03)


@pytest.mark.parametrize("method", ["advi", "fullrank_advi"])
def test_there_and_back_is_the_identity(method, fits, target):
    q = as_approximation(fits[method], model=target)
    native = to_pymc(q)
    assert type(native) is type(fits[method])
    assert native.ordering.keys() == fits[method].ordering.keys()
    for name, parameter in fits[method].params_dict.items():
        np.testing.assert_allclose(native.params_dict[name].eval(), parameter.eval(), rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(native.hist, fits[method].hist)
    again = as_approximation(native, model=target)
    np.testing.assert_allclose(again.loc, q.loc, atol=1e-10)
    np.testing.assert_allclose(again.covariance, q.covariance, atol=1e-10)
    draws = [fit.sample(5, random_seed=2)["posterior"].to_dataset() for fit in (native, fits[method])]
    xr.testing.assert_allclose(*draws, rtol=1e-9)


def test_a_forward_fit_becomes_a_native_one(target, rng):
    """Log q, mean and draws of the native object are those of ours, with the variables in PyMC's order."""
    tril = np.tril(rng.normal(size=(5, 5)), -1) + np.diag(rng.uniform(0.5, 2.0, 5))
    q = FullRank(loc=rng.normal(size=5), scale_tril=tril, target=target)
    native = to_pymc(q)
    mean, cov = moments_of(native, target)
    sd = np.sqrt(np.diag(q.covariance))
    np.testing.assert_allclose((mean - q.loc) / sd, 0, atol=5 / np.sqrt(100_000))
    np.testing.assert_allclose(cov / np.outer(sd, sd), q.covariance / np.outer(sd, sd), atol=0.03)
    order = np.concatenate(
        [np.arange(s.start, s.stop) for s in (native.ordering[v.value_name][1] for v in target.variables)]
    )
    np.testing.assert_allclose(native.cov.eval()[np.ix_(order, order)], q.covariance, atol=1e-10)


@pytest.mark.parametrize("columns", [4, 7])
def test_any_factor_becomes_that_of_cholesky(columns, rng):
    for _ in range(20):
        factor = rng.normal(size=(4, columns))
        np.testing.assert_allclose(as_cholesky(factor), np.linalg.cholesky(factor @ factor.T), atol=1e-10)


def test_a_low_rank_fit_becomes_a_full_rank_one(target, rng):
    q = LowRank(loc=rng.normal(size=5), factor=rng.normal(size=(5, 2)), scale=rng.uniform(0.5, 2.0, 5), target=target)
    again = as_approximation(to_pymc(q), model=target)
    np.testing.assert_allclose(again.loc, q.loc, atol=1e-10)
    np.testing.assert_allclose(again.covariance, q.covariance, atol=1e-10)


def test_what_pymc_has_no_class_for_is_refused(target):
    mixture = Mixture(weights=np.ones(1), locs=np.zeros((1, 5)), scale_trils=np.eye(5)[None], target=target)
    with pytest.raises(
        TypeError, match=r"PyMC has no mixture approximation; the Gaussian ones \(meanfield, lowrank, fullrank\)"
    ):
        to_pymc(mixture)
    with pytest.raises(ValueError, match="2 dimensions and the model 5"):
        to_pymc(MeanField(loc=np.zeros(2), scale=np.ones(2)), model=target)


def test_particles_have_no_density(fits, target):
    q = as_approximation(fits["svgd"], model=target)
    assert isinstance(q, Draws)
    assert not q.has_log_prob
    x = q.sample(len(q.x), random_seed=0)
    np.testing.assert_allclose(np.sort(x, axis=0), np.sort(q.x, axis=0))


@pytest.mark.slow
def test_amortised_svgd_comes_in(target):
    with target.model, pytest.warns(UserWarning, match="experimental"):
        fit = pm.fit(20, method="asvgd", random_seed=1, progressbar=False)
    assert as_approximation(fit, model=target).d == target.d


@pytest.mark.slow
def test_an_approximation_of_several_groups_is_draws(model, target):
    with model:
        groups = [pm.variational.opvi.Group([model["mu"]], vfam="mf"), pm.variational.opvi.Group(None, vfam="fr")]
        fit = pm.variational.opvi.Approximation(groups)
    q = as_approximation(fit, model=target)
    assert isinstance(q, Draws)
    assert q.d == target.d


def test_draws_and_own_approximations_come_in(target, rng):
    x = rng.normal(size=(2, 10, target.d))
    q = as_approximation(target.to_dataset(x), model=target)
    np.testing.assert_allclose(q.x, x.reshape(20, -1), atol=1e-10)
    assert as_approximation(q, model=target) is q


def test_fits_of_another_model_are_refused_by_name(fits):
    with pm.Model() as other:
        pm.Normal("mu", 0, 1, shape=2)
    for method in ("advi", "svgd"):
        with pytest.raises(ValueError, match=r"another model: .*'scale_log__' has shape \(\) there and none here"):
            as_approximation(fits[method], model=other)
    with pytest.raises(TypeError, match="cannot read a fit of type dict; known are"):
        as_approximation({}, model=other)


def test_inside_a_model_context(fits, model):
    with model:
        assert as_approximation(fits["advi"]).d == 5
    assert isinstance(as_approximation(xr.Dataset({"x": (("chain", "draw"), np.zeros((1, 4)))}), model=_one()), Draws)


def _one() -> pm.Model:
    with pm.Model() as model:
        pm.Normal("x")
    return model


# Any pair of functions
NORMAL = stats.multivariate_normal(np.arange(5.0), np.diag([1.0, 2.0, 3.0, 4.0, 5.0]))


def sample(n, rng):
    return NORMAL.rvs(n, random_state=rng)


@pytest.mark.parametrize("fit", [(sample, NORMAL.logpdf), Functions(sample=sample, log_prob=NORMAL.logpdf, d=5)])
def test_a_pair_of_functions(fit, target):
    q = as_approximation(fit, model=target)
    assert (q.d, q.kind, q.family, q.target) == (5, "other", "functions", target)
    np.testing.assert_array_equal(q.sample(7, random_seed=3), NORMAL.rvs(7, random_state=np.random.default_rng(3)))
    x = q.sample(7, random_seed=3)
    np.testing.assert_array_equal(q.log_prob(x), NORMAL.logpdf(x))
    tree = q.to_datatree(50, random_seed=1)
    np.testing.assert_allclose(
        tree["sample_stats"]["log_prob"].values[0], q.log_prob(target.unconstrain(tree["posterior"].to_dataset())[0])
    )


def test_what_was_minimised_and_what_is_known_is_kept(target):
    functions = Functions(sample=sample, log_prob=NORMAL.logpdf, kind="reverse", info={"history": [3.0, 2.0]})
    q = as_approximation(functions, model=target)
    assert q.kind == "reverse"
    assert q.info["history"] == [3.0, 2.0]


def test_functions_may_be_infinite_off_their_support(target):
    """A density that is zero at a draw of p is a fact of q, not an error."""
    box = Functions(
        sample=lambda n, rng: rng.uniform(size=(n, 5)),
        log_prob=lambda x: np.where(((x > 0) & (x < 1)).all(axis=1), 0.0, -np.inf),
    )
    assert as_approximation(box, model=target).log_prob(np.full((1, 5), 2.0)) == -np.inf


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ({"sample": lambda n, rng: rng.normal(size=(n, 4))}, r"must have shape \(8, 5\); got \(8, 4\)"),
        ({"sample": lambda n, rng: np.full((n, 5), np.nan)}, r"must hold finite values; 40 of 40 are not"),
        ({"sample": lambda n, rng: np.random.default_rng().normal(size=(n, 5))}, "must give the same draws"),
        ({"sample": lambda n, rng: np.ones((n, 5))}, "must give other draws for another state of rng"),
        ({"log_prob": lambda x: x}, r"log_prob\(x\) for x of shape \(8, 5\) must have shape \(8,\); got \(8, 5\)"),
        ({"log_prob": lambda x: 0.0}, r"must have shape \(8,\); got \(\)"),
        ({"log_prob": lambda x: np.full(len(x), np.nan)}, r"must hold no NaN and no \+inf; 8 of 8 are not"),
        ({"log_prob": lambda x: np.full(len(x), np.inf)}, r"must hold no NaN and no \+inf; 8 of 8 are not"),
        ({"log_prob": lambda x: NORMAL.logpdf(x) + 0j}, "must be an array of real numbers"),
        ({"log_prob": lambda x: np.full(len(x), -np.inf)}, "must be finite at draws of q itself; at 8 of 8 it is not"),
        ({"d": 4}, "the functions have d=4 and the model 5 dimensions"),
    ],
)  # fmt: skip
def test_functions_are_tried_before_they_are_taken(functions, message, target):
    with pytest.raises((TypeError, ValueError), match=message):
        as_approximation(Functions(**{"sample": sample, "log_prob": NORMAL.logpdf, **functions}), model=target)


def test_functions_without_a_density_are_scored_as_far_as_draws_go():
    q = stats.norm(0.5, 1.1)
    with pm.Model() as model:
        pm.Normal("x")
    rng = np.random.default_rng(1)
    draws = xr.Dataset({"x": (("chain", "draw"), rng.normal(size=(4, 500)))})
    fits = {
        "density": (lambda n, rng: q.rvs((n, 1), random_state=rng), lambda x: q.logpdf(x)[:, 0]),
        "draws": (lambda n, rng: q.rvs((n, 1), random_state=rng), None),
    }
    comparison = pkl.compare(draws, fits, model=model, reference="as given", forward=(), n_starts=4, random_seed=1)
    scores = comparison["scores"].to_dataset()
    assert scores["error"].values.tolist() == ["", ""]
    known, unknown = (scores.sel(approximation=name) for name in fits)
    exact = np.log(1.1) + (1 + 0.5**2) / (2 * 1.1**2) - 0.5
    assert abs(float(known["forward_kl"]) - exact) < 5 * float(known["forward_kl_se"])
    assert np.isnan(float(unknown["forward_kl"])) and np.isnan(float(unknown["elbo"]))
    assert unknown["note"] == "No log_prob was given: scores that need a density are NaN."
    assert unknown["kind"] == "draws"
    assert known["kind"] == "other"
    assert known["note"] == ""
    with pytest.raises(TypeError, match="is known by its draws alone"):
        as_approximation(fits["draws"], model=model).log_prob(np.zeros((1, 1)))
