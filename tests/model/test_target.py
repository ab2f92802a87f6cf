"""The density and the maps of a model, on every kind of variable PyMC has."""

from collections.abc import Callable

import numpy as np
import pymc as pm
import pymc.dims as pmd
import pytensor.tensor as pt
import pytest
import xarray as xr
from pymc.distributions import transforms
from scipy import stats

from pymc_kl.model.target import Target


def everything() -> pm.Model:
    with pm.Model(coords={"g": ["a", "b", "c"], "t": [10, 20]}) as model:
        mu = pm.Normal("mu", 0, 2, dims=("g", "t"))
        sigma = pm.HalfNormal("sigma", 1.0, dims="g")
        pm.Dirichlet("w", np.ones(3), dims="g")
        pm.Deterministic("product", mu * sigma[:, None], dims=("g", "t"))
        pm.Deterministic("constant", pt.as_tensor(np.arange(2.0)))
        pm.Potential("penalty", -(mu**2).sum())
    return model


def bounded() -> pm.Model:
    with pm.Model() as model:
        low = pm.Normal("low", 0, 1)
        pm.Uniform("between", low, low + 5)
        pm.Normal("ordered", 0, 1, shape=3, transform=transforms.ordered, initval=np.array([-1.0, 0.0, 1.0]))
        pm.ZeroSumNormal("zerosum", shape=4)
        pm.Beta("p", 2, 3)
    return model


def correlated() -> pm.Model:
    with pm.Model() as model:
        pm.LKJCholeskyCov("chol", n=3, eta=2.0, sd_dist=pm.Exponential.dist(1.0))
    return model


def labelled() -> pm.Model:
    with pm.Model(coords={"g": range(3)}) as model:
        mu = pmd.Normal("mu")
        scale = pmd.HalfNormal("scale")
        x = pmd.Normal("x", mu, scale, dims="g")
        pmd.Deterministic("square", x**2)
    return model


def with_data() -> pm.Model:
    with pm.Model() as model:
        x = pm.Data("x", np.arange(5.0))
        slope = pm.Normal("slope")
        pm.Bernoulli("y", logit_p=slope * x, observed=np.ones(5))
    return model


MODELS = {build.__name__: build for build in (everything, bounded, correlated, labelled, with_data)}


@pytest.fixture(scope="module")
def target_of() -> Callable[[str], Target]:
    made: dict[str, Target] = {}

    def get(name: str) -> Target:
        if name not in made:
            made[name] = Target.from_model(MODELS[name]())
        return made[name]

    return get


@pytest.mark.parametrize("name", MODELS)
class TestEveryModel:
    def test_unconstrain_inverts_constrain(self, name, target_of, rng):
        target = target_of(name)
        x = rng.normal(size=(2, 50, target.d))
        back = target.unconstrain(target.to_dataset(x))
        np.testing.assert_allclose(back, x, rtol=1e-10, atol=1e-10)

    def test_log_density_is_pymc_s(self, name, target_of, rng):
        target = target_of(name)
        x = rng.normal(size=(5, target.d))
        # LKJ's normalising constant is good to single precision under JAX
        tolerance = 1e-6 if name == "correlated" else 1e-10
        theirs = target.model.compile_logp()
        points = [{v.value_name: row[v.coordinates].reshape(v.value_shape) for v in target.variables} for row in x]
        expected = [float(theirs(point)) for point in points]
        np.testing.assert_allclose(target.log_density(x), expected, rtol=tolerance, atol=tolerance)

    def test_gradient_is_the_slope_of_the_log_density(self, name, target_of, rng):
        target = target_of(name)
        x = rng.normal(size=(3, target.d))
        value, grad = target.log_density_and_grad(x)
        np.testing.assert_allclose(value, target.log_density(x), rtol=1e-12)
        h = 1e-3 if name == "correlated" else 1e-5
        for i, step in enumerate(h * np.eye(target.d)):
            slope = (target.log_density(x + step) - target.log_density(x - step)) / (2 * h)
            np.testing.assert_allclose(grad[:, i], slope, rtol=2e-4, atol=2e-3)


def test_value_does_not_depend_on_the_rows_beside_it(target_of, rng):
    target = target_of("everything")
    x = rng.normal(size=(1500, target.d))
    alone = np.concatenate([target.log_density(x[i : i + 1]) for i in (0, 700, 1499)])
    np.testing.assert_array_equal(target.log_density(x)[[0, 700, 1499]], alone)
    assert target.log_density(x[:0]).shape == (0,)


def test_backends_agree(rng):
    model = bounded()
    jax, numba = Target.from_model(model, backend="jax"), Target.from_model(model, backend="numba")
    assert (jax.backend, numba.backend) == ("jax", "numba")
    x = 2 * rng.normal(size=(100, jax.d))
    for ours, theirs in zip(jax.log_density_and_grad(x), numba.log_density_and_grad(x), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def test_extreme_logits_have_finite_values_and_right_gradients():
    with pm.Model() as model:
        slope = pm.Normal("slope", 0, np.float64(100))  # PyTensor takes the log of a plain 100 in single precision
        pm.Bernoulli("y", logit_p=slope, observed=np.array([0]))
    x = np.array([[100.0], [-100.0]])
    for backend in ("jax", "numba"):
        value, grad = Target.from_model(model, backend=backend).log_density_and_grad(x)
        prior = stats.norm.logpdf(x[:, 0], 0, 100)
        np.testing.assert_allclose(value, prior - np.logaddexp(0, x[:, 0]), rtol=1e-10)
        np.testing.assert_allclose(grad[:, 0], -x[:, 0] / 1e4 - np.array([1.0, 0.0]), atol=1e-10)


def test_invalid_parameters_have_no_density_on_either_backend():
    with pm.Model() as model:
        scale = pm.Normal("scale")  # nothing keeps it positive
        pm.Normal("y", 0, scale, observed=1.0)
    for backend in ("jax", "numba"):
        assert Target.from_model(model, backend=backend).log_density(np.array([[-1.0]]))[0] == -np.inf


def test_a_flat_prior_alone_has_a_constant_density_on_either_backend():
    with pm.Model() as model:
        pm.Flat("x")
    for backend in ("jax", "numba"):
        value, grad = Target.from_model(model, backend=backend).log_density_and_grad(np.array([[-1.0], [2.0]]))
        assert value.tolist() == [0.0, 0.0]
        assert grad.tolist() == [[0.0], [0.0]]


def test_minibatch_is_scored_on_all_data(rng):
    data = rng.normal(size=1000)
    with pm.Model() as model:
        mu = pm.Normal("mu", 0, 10)
        pm.Normal("y", mu, 1.0, observed=pm.Minibatch(data, batch_size=10), total_size=1000)
    x = np.array([[0.1]])
    expected = stats.norm.logpdf(0.1, 0, 10) + stats.norm.logpdf(data, 0.1, 1).sum()
    np.testing.assert_allclose(Target.from_model(model).log_density(x), expected, rtol=1e-10)


def test_size_of_the_data():
    """Observed values, a design matrix, and what a potential reads; neither free values nor random states."""
    with pm.Model() as model:
        slope = pm.Normal("slope", shape=3)
        design = pm.Data("design", np.ones((50, 3)))
        pm.Normal("y", design @ slope, observed=np.zeros(50))
        pm.Potential("p", (pt.as_tensor_variable(np.zeros(70)) - slope[0]).sum())
    size = Target.from_model(model).n_data
    assert 50 + 150 + 70 <= size < 50 + 150 + 70 + 20  # and a few constants


def test_later_set_data_does_not_change_a_target():
    target = Target.from_model(with_data())
    before = target.log_density(np.ones((1, 1)))
    with target.model:
        pm.set_data({"x": -np.arange(5.0)})
    np.testing.assert_array_equal(target.log_density(np.ones((1, 1))), before)


def test_draws_are_read_by_name_dim_and_coord(target_of, rng):
    target = target_of("everything")
    x = rng.normal(size=(2, 20, target.d))
    ds = target.to_dataset(x)
    shuffled = ds[list(ds.data_vars)[::-1]].transpose("t", "draw", "g", "chain", ...)
    shuffled = shuffled.sel(g=["c", "a", "b"], t=[20, 10])
    np.testing.assert_allclose(target.unconstrain(shuffled), x, atol=1e-10)


@pytest.mark.parametrize("backend", ["jax", "numba"])
def test_a_gradient_that_needs_more_rewrites_gets_them(backend, rng):
    """Skewed to the right by 5: below its location the normal's distribution function underflows."""
    parts = [pm.SkewNormal.dist(mu=mu, sigma=1, alpha=5) for mu in (0, 6)]
    with pm.Model() as model:
        pm.Mixture("x", [0.7, 0.3], parts)
    x = rng.normal(3, 2, (50, 1))
    value, grad = Target.from_model(model, backend=backend).log_density_and_grad(x)
    exact = np.logaddexp(*(np.log(w) + stats.skewnorm.logpdf(x[:, 0], 5, mu) for w, mu in ((0.7, 0), (0.3, 6))))
    np.testing.assert_allclose(value, exact, rtol=1e-6)
    assert np.isfinite(grad).mean() > 0.9


def test_draws_outside_the_support_are_told_from_those_on_its_boundary(rng):
    with pm.Model() as model:
        pm.LogNormal("x")
    x = np.append(-np.ones(3), rng.uniform(1, 2, 7))
    with pytest.raises(ValueError, match=r"'x' has 3 of 10 values outside its support \(its draws go from -1 to "):
        Target.from_model(model).unconstrain(xr.Dataset({"x": (("chain", "draw"), x[None])}))


def test_stored_unconstrained_draws_are_preferred(target_of):
    target = target_of("bounded")
    x = np.zeros((1, 5, target.d))
    x[..., 1] = 40.0  # the interval transform rounds this to its bound
    ds = target.to_dataset(x)
    with pytest.raises(ValueError, match=r"'between', once unconstrained, holds 5 NaN or infinite"):
        target.unconstrain(ds)
    stored = {
        v.value_name: (("chain", "draw", *[f"{v.name}_{i}" for i in range(len(v.value_shape))]),
                       x[..., v.coordinates].reshape(1, 5, *v.value_shape))
        for v in target.variables
    }  # fmt: skip
    dt = xr.DataTree.from_dict({"posterior": ds, "unconstrained_posterior": xr.Dataset(stored)})
    np.testing.assert_array_equal(target.unconstrain(dt), x)


def test_a_point_that_is_stored_beside_draws_is_not_taken_for_them(target_of, rng):
    """pymc-extras' Laplace keeps its maximum as `unconstrained_posterior`."""
    target = target_of("everything")
    x = rng.normal(size=(1, 5, target.d))
    point = {
        v.value_name: (("chain", "draw", *[f"{v.name}_{i}" for i in range(len(v.value_shape))]),
                       np.zeros((1, 1, *v.value_shape)))
        for v in target.variables
    }  # fmt: skip
    dt = xr.DataTree.from_dict({"posterior": target.to_dataset(x), "unconstrained_posterior": xr.Dataset(point)})
    np.testing.assert_allclose(target.unconstrain(dt), x, atol=1e-10)


def grouped(scale: str = "scale", effect: str = "effect", dim: str = "group") -> pm.Model:
    with pm.Model(coords={dim: ["a", "b"]}) as model:
        pm.Normal(effect, 0, pm.HalfNormal(scale, 1), dims=dim)
    return model


@pytest.mark.parametrize(
    "name",
    ["1|subject_sigma", "half", "double", "f4", "i8,i8", "x", "None", "lambda", "a b", "a::b", "µ[0]", "<b>", " ", ""],
)
def test_a_target_does_not_depend_on_a_name(name):
    x = np.random.default_rng(0).normal(size=(2, 10, 3))
    plain = _seen_of(Target.from_model(grouped(), gradient=False), x)
    for model in (grouped(scale=name), grouped(effect=name), grouped(dim=name)):
        for ours, theirs in zip(_seen_of(Target.from_model(model, gradient=False), x), plain, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def _seen_of(target: Target, x: np.ndarray) -> tuple[np.ndarray, ...]:
    """What a target makes of points (chain, draw, d): density, draws there and back, starts."""
    back = target.unconstrain(target.to_dataset(x))
    starts = target.initial_points(5, np.random.default_rng(0))
    own = [target.constrain(x[0])[name] for name in target.posterior_names]
    return target.log_density(x[0]), back, starts, *own


def test_labels_and_prior_starts(target_of, rng):
    target = target_of("everything")
    assert target.labels[:2] == ("mu[0, 0]", "mu[0, 1]")
    assert target.labels[-1] == "w_simplex__[1]"
    assert target.shown_labels[:2] == ("mu[a, 10]", "mu[a, 20]")
    assert target.shown_labels[6:] == ("sigma[a]", "sigma[b]", "sigma[c]", "w_simplex__[0]", "w_simplex__[1]")
    starts = target.initial_points(200, rng)
    assert starts.shape == (200, target.d)
    assert np.isfinite(target.log_density(starts)).all()
    assert abs(starts[:, 0].std() - 2) < 5 * 2 / np.sqrt(400)


def test_starts_without_a_prior_are_jittered():
    with pm.Model() as model:
        pm.Flat("x", shape=2)
        pm.Potential("p", -0.5 * (model["x"] ** 2).sum())
    starts = Target.from_model(model).initial_points(10, np.random.default_rng(0))
    assert starts.shape == (10, 2)
    assert np.ptp(starts) > 0


def _discrete() -> pm.Model:
    with pm.Model() as model:
        pm.Bernoulli("switched", 0.5)
        pm.Poisson("count", 3)
        pm.Normal("x")
    return model


def _empty() -> pm.Model:
    with pm.Model() as model:
        pm.Normal("y", 0, 1, observed=1.0)
    return model


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: Target.from_model(_discrete()), ValueError, "switched, count are discrete. Marginalise"),
        (lambda: Target.from_model(_empty()), ValueError, "no free variables"),
        (lambda: Target.from_model(), ValueError, "no model: call this inside `with model:`"),
        (lambda: Target.from_model("model"), TypeError, "must be a pm.Model; got str"),
        (lambda: Target.from_model(with_data(), backend="c"), ValueError, r"\['auto', 'jax', 'numba'\]; got 'c'"),
    ],
)
def test_bad_models_are_refused(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_gradient_must_have_been_compiled():
    target = Target.from_model(with_data(), gradient=False)
    assert target.log_density(np.ones((3, 1))).shape == (3,)
    with pytest.raises(ValueError, match="gradient=False"):
        target.log_density_and_grad(np.ones((3, 1)))


def test_bad_draws_are_refused(target_of, rng):
    target = target_of("everything")
    ds = target.to_dataset(rng.normal(size=(2, 10, target.d)))
    broken = ds.copy(deep=True)
    broken["mu"].values[0, 3, 1, 1] = np.nan
    cases = {
        "hold no variable 'sigma', which is free": ds.drop_vars("sigma"),
        "'mu' holds 1 NaN or infinite values of 120": broken,
        **{
            f"'mu' holds values of type {kind} in the draws, which must be real": ds.assign(mu=ds["mu"].astype(kind))
            for kind in ("complex128", "bool", "<U32", "object")
        },
        r"'mu' has shape \(3, 2\) in the model and \(3, 1\)": ds.isel(t=[0]).drop_vars("t"),
        "coordinate 'g' of 'mu'": ds.assign_coords(g=["a", "b", "z"]),
        "lacks": ds.isel(chain=0, drop=True),
    }
    for match, draws in cases.items():
        with pytest.raises(ValueError, match=match):
            target.unconstrain(draws)
    with pytest.raises(TypeError, match="DataTree with a posterior group, or a Dataset; got dict"):
        target.unconstrain({})
    with pytest.raises(ValueError, match="has no posterior group; it has"):
        target.unconstrain(xr.DataTree.from_dict({"prior": ds}))
    with pytest.raises(ValueError, match=r"x must have shape \(n, 11\); got \(2, 3\)"):
        target.log_density(np.zeros((2, 3)))


@pytest.mark.parametrize("x", ["a", None, np.ones((2, 1)) * 1j, xr.Dataset({"x": 1.0})])
def test_points_are_real_numbers(x):
    with pm.Model() as model:
        pm.Normal("x")
    with pytest.raises(TypeError, match="x must be an array of real numbers"):
        Target.from_model(model, gradient=False).log_density(x)


@pytest.mark.parametrize("backend", ["jax", "numba"])
def test_log_one_plus_exp_has_a_gradient_however_large(backend):
    """What vague priors lead to: at a slope of 1000 no branch of it may overflow."""
    with pm.Model() as model:
        slope = pm.Normal("slope", 0, 1000)
        pm.Potential("fit", -pt.softplus(slope * np.array([1.0, -2.0])).sum())
    value, grad = Target.from_model(model, backend=backend).log_density_and_grad(np.array([[1000.0], [0.0], [-1000.0]]))
    np.testing.assert_allclose(grad[:, 0], [-1 - 1e-3, 0.5, 2 + 1e-3])
    assert np.isfinite(value).all()


@pytest.mark.slow
def test_an_equation_of_many_steps_is_compiled_as_it_stands():
    """XLA would optimise the steps of an ODE, written out, for minutes."""
    steps = 150
    with pm.Model() as model:
        rate, x = pm.Normal("rate"), pt.as_tensor(np.ones(()))
        for _ in range(steps):
            x = x + rate * pt.sin(x) / steps
        pm.Normal("y", x, 0.1, observed=1.5)
    points = np.array([[-0.5], [0.0], [0.7]])
    value, grad = Target.from_model(model, backend="jax").log_density_and_grad(points)
    expected = []
    for (k,) in points:
        x, slope = 1.0, 0.0
        for _ in range(steps):
            x, slope = x + k * np.sin(x) / steps, slope + (np.sin(x) + k * np.cos(x) * slope) / steps
        log_p = stats.norm.logpdf(k) + stats.norm.logpdf(1.5, x, 0.1)
        expected.append((log_p, -k + (1.5 - x) / 0.1**2 * slope))
    np.testing.assert_allclose(np.column_stack([value, grad]), expected, rtol=1e-10)
