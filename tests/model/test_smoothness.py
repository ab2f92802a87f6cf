"""Steps and wrong gradients of a log density are found and named; what is smooth, kinked or bounded never alarms."""

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from problems import ALL
from pytensor.compile.builders import OpFromGraph
from zoo.edges import change_point

import pymc_kl as pkl
from pymc_kl.model.smoothness import SmoothnessError, Steps, WrongGradient, coordinate_names, find_roughness
from pymc_kl.model.target import Target


def normal_and(more, x):
    """Value and gradient of a standard normal plus a term (value, gradient) of the first coordinate."""
    value, grad = more(x[:, 0])
    grads = -x.copy()
    grads[:, 0] += grad
    return -0.5 * (x**2).sum(axis=1) + value, grads


def sigmoid(t, steepness):
    p = 1 / (1 + np.exp(-steepness * t))
    return 3 * p, 3 * steepness * p * (1 - p)


SMOOTH = {
    "normal": lambda t: (0 * t, 0 * t),
    "Laplace's kink": lambda t: (-3 * np.abs(t), -3 * np.sign(t)),
    "steep": lambda t: sigmoid(t, 1e5),
    "narrow peak": lambda t: (np.log1p(1e3 * np.exp(-0.5 * (t / 1e-3) ** 2)),
                              -t / 1e-6 / (1 + 1e-3 * np.exp(0.5 * (t / 1e-3) ** 2))),
    "zero density in a point": lambda t: (2 * np.log(np.abs(t)), 2 / t),
    "cusp": lambda t: (-4 * np.sqrt(np.abs(t)), -2 * np.sign(t) / np.sqrt(np.abs(t))),
    "wall": lambda t: (np.where(t > 0.3, -np.inf, 0), 0 * t),
    "vague": lambda t: (-1e10 * np.cosh(t), -1e10 * np.sinh(t)),
    "rounding of an ill-conditioned matrix": lambda t: (3 * np.sin(1e17 * t), 0 * t),
    "tiny steps": lambda t: (1e-4 * np.floor(t), 0 * t),
}  # fmt: skip


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("d", [1, 5, 300])
def test_no_false_alarm(name, d, rng):
    x = rng.standard_normal((1000, d))
    assert find_roughness(lambda x: normal_and(SMOOTH[name], x), x, ["x"] * d) is None


@pytest.mark.parametrize("step", [0.05, 1.0, 30.0])
@pytest.mark.parametrize("d", [1, 5, 60])
def test_a_step_is_found_with_its_height(step, d, rng):
    names = ["a", *["b"] * (d - 1)]
    density = lambda x: normal_and(lambda t: (step * (t > 0.2), 0 * t), x)  # noqa: E731
    found = find_roughness(density, rng.standard_normal((1000, d)), names)
    if step < 0.1:
        assert found is None
        return
    assert isinstance(found, Steps)
    assert found.names == ("a",)
    assert found.height == pytest.approx(step, rel=1e-6)


def test_a_step_across_coordinates_names_them_all(rng):
    def density(x):
        return -0.5 * (x**2).sum(axis=1) + 2 * (x[:, 0] > x[:, 2]), -x

    found = find_roughness(density, rng.standard_normal((1000, 4)), list("abcd"))
    assert isinstance(found, Steps)
    assert found.names == ("a", "c")


WRONG = {
    "twice": lambda x, grad: grad * [1, 2, 1],
    "a twentieth": lambda x, grad: grad * [1, 1.05, 1],
    "none": lambda x, grad: grad * [1, 0, 1],
    "reversed": lambda x, grad: grad * [1, -1, 1],
    "where it is positive": lambda x, grad: grad + np.where(x > 0, [0, 1.0, 0], 0),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_gradient_is_named(name, rng):
    density = lambda x: (-0.5 * (x**2).sum(axis=1), WRONG[name](x, -x))  # noqa: E731
    found = find_roughness(density, rng.standard_normal((1000, 3)), list("abc"))
    assert isinstance(found, WrongGradient)
    assert found.names == ("b",)
    assert abs(found.slope - found.gradient) > 0.04 * max(abs(found.slope), abs(found.gradient))


@pytest.mark.parametrize(
    "name", ["two_modes", "labels", "funnel", "eight_schools_centred", "plateau", "factors", "shells_5"]
)
def test_the_zoo_is_smooth(name, zoo, rng):
    problem, target = zoo(name)
    starts = target.initial_points(1000, rng)
    points = [starts, *([] if problem.sample is None else [problem.sample(4000, rng)])]
    for x in points:
        assert find_roughness(target.log_density_and_grad, x, coordinate_names(target)) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_no_posterior_of_the_zoo_alarms(name, zoo):
    problem, target = zoo(name)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        x = target.initial_points(1000, rng) if problem.sample is None or seed % 2 else problem.sample(4000, rng)
        assert find_roughness(target.log_density_and_grad, x, coordinate_names(target)) is None


@pytest.mark.parametrize("search", [pkl.find_modes, pkl.sample_reference])
@pytest.mark.parametrize("seed", range(2))
def test_a_staircase_is_refused_before_any_climb(search, seed):
    with pytest.raises(SmoothnessError, match=r"jumps in `switch` .* NUTS and ADVI cannot see it"):
        search(model=change_point(), random_seed=seed, progressbar=False)


def test_a_wrong_custom_gradient_is_refused():
    t = pt.dscalar("t")
    square = OpFromGraph([t], [t**2], pullback=lambda inputs, outputs, grads: [grads[0] * inputs[0]])
    with pm.Model() as model:
        x, y = pm.Normal("x"), pm.Normal("y")
        pm.Normal("seen", square(x) + y, 0.5, observed=[1.0, 2.0])
    target = Target.from_model(model, backend="numba")
    with pytest.raises(SmoothnessError, match="gradient of the log density is wrong in `x`"):
        pkl.find_modes(model=target, random_seed=1, progressbar=False)
