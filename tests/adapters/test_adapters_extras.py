"""Fits of the real pymc-extras come in with their exact density, whatever order their vectors have."""

from dataclasses import replace

import numpy as np
import pymc as pm
import pymc_extras as pmx
import pytest
from pymc.model.transform.optimization import freeze_dims_and_data
from pymc_extras.inference.advi import (
    AutoDiagonalNormal,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    Trainer,
    fit_advi,
)
from scipy import stats
from support.adapter_models import assert_moments, assert_same_draws, build_model, other_model, quickly, unconstrained

from pymc_kl import as_approximation
from pymc_kl.approximations import Draws, FullRank, LowRank, MeanField
from pymc_kl.model.target import Target

N_DRAWS = 2000
GUIDES = {
    AutoDiagonalNormal: MeanField,
    AutoMultivariateNormal: FullRank,
    AutoLowRankMultivariateNormal: LowRank,
}


@pytest.fixture(scope="module")
def target():
    return Target.from_model(build_model())


@pytest.fixture(scope="module")
def fit_with(target):
    """Fit once a method and a module."""
    done = {}

    def fit(method, **kwargs):
        key = (method, *kwargs.items())
        if key not in done:
            with target.model, quickly():
                done[key] = pmx.fit(method=method, random_seed=1, progressbar=False, **kwargs)
        return done[key]

    return fit


@pytest.fixture(scope="module")
def laplace(fit_with):
    return fit_with("laplace", draws=N_DRAWS)


@pytest.fixture(scope="module")
def dadvi(fit_with):
    return fit_with("dadvi", n_draws=N_DRAWS)


@pytest.fixture(scope="module")
def paths(fit_with):
    return fit_with("pathfinder", num_paths=3, importance_sampling=None, parallel=False, num_draws_per_path=200)


@pytest.fixture(scope="module", params=GUIDES, ids=lambda guide: guide.__name__)
def trained(request, target):
    trainer = Trainer(guide=request.param)
    with target.model, quickly():
        trainer.fit(60, random_seed=1)
    return trainer


@pytest.fixture
def family(request):
    return GUIDES[request.node.callspec.params["trained"]]


def exact_log_prob(q):
    return stats.multivariate_normal(q.loc, q.covariance).logpdf


def test_the_order_of_a_frozen_model_is_another(target):
    """Without this, the tests below would pass with no order restored."""
    frozen = [v.name for v in freeze_dims_and_data(target.model).value_vars]
    assert frozen != [v.value_name for v in target.variables]


def test_laplace(laplace, target):
    q = as_approximation(laplace, model=target)
    assert isinstance(q, FullRank)
    assert q.kind == "laplace"
    assert_moments(unconstrained(laplace, target), q.loc, q.covariance)
    x = q.sample(5, random_seed=1)
    np.testing.assert_allclose(q.log_prob(x), exact_log_prob(q)(x), rtol=1e-10)
    assert "leaves out the Jacobian" in q.info["warnings"][0]


def test_laplace_is_centred_at_the_mode_of_the_models_own_space(laplace, target):
    """share ~ Beta(5 + 8, 4 + 12): its mode is 12/27, and that of its logit, with the Jacobian, is at 13/29."""
    q = as_approximation(laplace, model=target)
    share = target.constrain(q.loc[None])["share"]
    assert share == pytest.approx(12 / 27, abs=1e-4)


def test_laplace_of_a_model_without_transforms_has_no_warning():
    with pm.Model() as model, quickly():
        x = pm.Normal("x", 1.0, 2.0)
        pm.Normal("y", x, 1.0, observed=3.0)
        fit = pmx.fit(method="laplace", random_seed=1, progressbar=False)
    q = as_approximation(fit, model=model)
    assert (q.loc[0], q.covariance[0, 0]) == pytest.approx((2.6, 0.8), rel=1e-5)
    assert "warnings" not in q.info


def test_a_maximum_alone_or_a_saddle_is_refused(laplace, target):
    maximum = laplace.copy()
    maximum["fit"] = maximum["fit"].to_dataset().drop_vars("covariance_matrix")
    with pytest.raises(ValueError, match=r"a maximum alone is no approximation; .* Call fit_laplace"):
        as_approximation(maximum, model=target)
    saddle = laplace.copy()
    saddle["fit"] = saddle["fit"].to_dataset() * -1
    with pytest.raises(ValueError, match=r"must be positive definite; its least eigenvalue is -"):
        as_approximation(saddle, model=target)


def test_dadvi(dadvi, target):
    q = as_approximation(dadvi, model=target)
    assert isinstance(q, MeanField)
    assert q.kind == "reverse"
    assert_moments(unconstrained(dadvi, target), q.loc, q.covariance)
    x = q.sample(5, random_seed=1)
    np.testing.assert_allclose(q.log_prob(x), exact_log_prob(q)(x), rtol=1e-10)
    assert "warnings" not in q.info


def test_dadvi_that_has_not_converged_says_so(fit_with, target):
    fit = fit_with("dadvi", n_draws=2, n_fixed_draws=2, optimizer_method="L-BFGS-B", maxiter=1)
    q = as_approximation(fit, model=target)
    assert "DADVI's optimiser says: STOP" in q.info["warnings"][0]


def test_paths_of_pathfinder(paths, target):
    q = as_approximation(paths, model=target)
    assert isinstance(q, Draws)
    posterior = paths["posterior"].to_dataset()
    whole = posterior.stack(sample=("chain", "draw"), create_index=False).transpose("sample", ...)
    assert_same_draws(q.x, whole, target)
    assert list(q.info["parts"]) == ["path 1", "path 2", "path 3"]
    for chain, part in enumerate(q.info["parts"].values()):
        assert part.target is target
        assert_same_draws(part.x, posterior.isel(chain=chain), target)


@pytest.mark.slow
def test_resampled_paths_are_one(fit_with, target):
    fit = fit_with("pathfinder", num_paths=2, num_draws=200, parallel=False, num_draws_per_path=200)
    q = as_approximation(fit, model=target)
    assert_same_draws(q.x, fit["posterior"].to_dataset().isel(chain=0), target)
    assert "parts" not in q.info
    assert q.info["pareto_k"] == float(fit["pathfinder"]["pareto_k"])


@pytest.mark.slow
def test_a_single_path(fit_with, target):
    fit = fit_with("pathfinder", num_paths=1, importance_sampling=None, parallel=False, num_draws_per_path=100)
    q = as_approximation(fit, model=target)
    assert_same_draws(q.x, fit["posterior"].to_dataset().isel(chain=0), target)
    assert "parts" not in q.info


def test_trainer_and_its_state(trained, family, target):
    q = as_approximation(trained, model=target)
    assert isinstance(q, family)
    assert q.kind == "reverse"
    with quickly():
        draws = trained.sample_posterior(N_DRAWS, random_seed=2, model=target.model)
    assert_moments(unconstrained(draws, target), q.loc, q.covariance)
    np.testing.assert_array_equal(q.info["history"], trained.state.loss_history)
    x = q.sample(5, random_seed=1)
    np.testing.assert_allclose(q.log_prob(x), exact_log_prob(q)(x), rtol=1e-9)
    np.testing.assert_allclose(as_approximation(trained.state, model=target).log_prob(x), q.log_prob(x), rtol=1e-12)


@pytest.mark.parametrize("guide", [AutoMultivariateNormal, AutoLowRankMultivariateNormal])
def test_a_trainer_knows_the_order_of_the_model_that_it_was_fitted_to(guide, rng):
    """A model with the same variables, declared in another order; no two coordinates of the guide are alike."""
    with pm.Model() as theirs, quickly():
        pm.Gamma("b", 2.0, 1.0)
        pm.Normal("a", [5.0, 7.0], 1.0)
        trainer = Trainer(guide=guide)
        state = trainer.fit(1, random_seed=1)
        params = {name: rng.normal(size=value.shape) for name, value in state.params.items()}
        trainer.fit(1, state=replace(state, params=params), random_seed=1)
        draws = trainer.sample_posterior(N_DRAWS, random_seed=2)
    with pm.Model() as mine:
        pm.Normal("a", [5.0, 7.0], 1.0)
        pm.Gamma("b", 2.0, 1.0)
    assert [v.name for v in theirs.value_vars] != [v.name for v in mine.value_vars]
    target = Target.from_model(mine)
    q = as_approximation(trainer, model=target)
    assert_moments(unconstrained(draws, target), q.loc, q.covariance)
    x = q.sample(5, random_seed=1)
    np.testing.assert_allclose(q.log_prob(x), exact_log_prob(q)(x), rtol=1e-9)


def test_draws_of_fit_advi(target):
    with target.model, quickly():
        fit = fit_advi(n_steps=20, draws=50, random_seed=1)
    q = as_approximation(fit, model=target)
    assert isinstance(q, Draws)
    assert_same_draws(q.x, fit["posterior"].to_dataset().isel(chain=0), target)
    np.testing.assert_array_equal(q.info["history"], -fit["fit"]["elbo"].values)


def test_trainers_that_cannot_be_read(target, trained):
    with pytest.raises(ValueError, match="has not been fitted yet; call its fit"):
        as_approximation(Trainer(), model=target)
    with pytest.raises(ValueError, match="belongs to another model"):
        as_approximation(trained, model=other_model())
    with pytest.raises(ValueError, match="belongs to another model"):
        as_approximation(trained.state, model=other_model())


def test_a_guide_of_ones_own_is_refused(target):
    def point_guide(model):
        guide = AutoDiagonalNormal(model)
        for parameter in guide.params:
            parameter.name = parameter.name.replace("_loc", "_place")
        return type(guide)(guide.model, guide.params_init_values)

    trainer = Trainer(guide=point_guide)
    with target.model, quickly():
        trainer.fit(2, random_seed=1)
    with pytest.raises(TypeError, match=r"cannot read a guide with the parameters \['cut_place', .*sample_posterior"):
        as_approximation(trainer, model=target)


@pytest.mark.parametrize("name", ["laplace", "dadvi"])
def test_fits_of_another_model_are_refused_by_name(name, request):
    fit = request.getfixturevalue(name)
    with pytest.raises(
        ValueError, match=r"another model: 'mu' has 2 coordinates there and 3 here; 'unknown' has 0 .* is unknown here"
    ):
        as_approximation(fit, model=other_model())


def test_a_fit_from_a_file_keeps_its_density(laplace, target, tmp_path):
    laplace.to_netcdf(tmp_path / "laplace.nc")
    q = as_approximation(str(tmp_path / "laplace.nc"), model=target)
    np.testing.assert_array_equal(q.covariance, as_approximation(laplace, model=target).covariance)
