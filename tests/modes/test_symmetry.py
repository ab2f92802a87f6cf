"""Symmetry: what is found in models whose group is known, and that its maps are those of a group."""

import time
import timeit
from functools import cache
from math import factorial

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest

from pymc_kl import find_modes
from pymc_kl.model.target import Target
from pymc_kl.modes.symmetry import Symmetry, find_symmetry, trivial
from pymc_kl.modes.symmetry.labels import LabelClass

TWO = np.arange(2)


def mixture(n_components=10, sd=None):
    y = np.array([-3.1, -2.0, -1.2, 0.1, 0.9, 2.2, 3.0])
    sd = np.full(n_components, np.float64(5.0)) if sd is None else sd
    with pm.Model(coords={"component": range(n_components)}) as model:
        w = pm.Dirichlet("w", np.ones(n_components), dims="component")
        mu = pm.Normal("mu", 0.0, sd, dims="component")
        sigma = pm.LogNormal("sigma", 0.0, 1.0, dims="component")
        pm.NormalMixture("y", w=w, mu=mu, sigma=sigma, observed=y)
    return model


def scalar_weight():
    """Weight theta beside two locations: labels swap as theta becomes 1 - theta."""
    with pm.Model() as model:
        theta = pm.Uniform("theta", 0.0, 1.0)
        mu = pm.Normal("mu", 0.0, np.float64(3.0), shape=2)
        pm.NormalMixture("y", w=pt.stack([theta, 1 - theta]), mu=mu, sigma=1.0, observed=np.array([-2.0, -1.5, 2.2]))
    return model


def factor_model(sd=(1.0, 1.0)):
    y = np.random.default_rng(3).normal(size=(6, 10))
    with pm.Model(coords={"item": range(6), "factor": TWO, "person": range(10)}) as model:
        loadings = pm.Normal("loadings", 0.0, np.array(sd), dims=("item", "factor"))
        factors = pm.Normal("factors", 0.0, 1.0, dims=("factor", "person"))
        noise = pm.HalfNormal("noise", 1.0)
        pm.Normal("y", loadings @ factors, noise, observed=y)
    return model


def two_dims():
    """Rows and columns of a matrix are exchangeable, each with an effect of its own."""
    with pm.Model(coords={"row": range(3), "column": range(4)}) as model:
        row = pm.Gumbel("row_effect", 0.0, 1.0, dims="row")
        column = pm.Gumbel("column_effect", 0.0, 1.0, dims="column")
        pm.Gumbel("x", row[:, None] + column, 1.0, dims=("row", "column"))
    return model


def markov_chain():
    """Hidden states: rows and columns of the transition matrix are permuted together, with the locations."""
    y = np.array([-1.0, 0.3, 2.0, 1.8, -0.7])
    with pm.Model() as model:
        transitions = pm.Dirichlet("transitions", np.ones((3, 3)))
        mu = pm.Normal("mu", 0.0, 2.0, shape=3)
        log_p = pm.logp(pm.Normal.dist(mu, 1.0), y[:, None])
        alpha = log_p[0]
        for t in range(1, len(y)):
            alpha = log_p[t] + pt.logsumexp(alpha[:, None] + pt.log(transitions), axis=0)
        pm.Potential("y", pt.logsumexp(alpha))
    return model


def zero_sum():
    with pm.Model(coords={"group": range(4)}) as model:
        effect = pm.ZeroSumNormal("effect", 1.0, dims="group")
        pm.Gumbel("size", effect, 1.0, dims="group")
    return model


def some_labels():
    """Labels 0, 2, 4 and labels 1, 3 have equal priors; label 5 has its own."""
    with pm.Model() as model:
        pm.Gumbel("x", np.array([0.0, 1.0, 0.0, 1.0, 0.0, 2.0]), 1.0)
    return model


def without_symmetry():
    with pm.Model(coords={"component": range(3)}) as model:
        pm.Dirichlet("w", np.array([1.0, 2.0, 3.0]), dims="component")
        pm.Normal("mu", 1.0, np.array([1.0, 2.0, 3.0]), dims="component")
    return model


def product():
    """Two coordinates may change sign together, neither alone."""
    with pm.Model() as model:
        a, b = pm.Normal("a", 0.0, 1.0), pm.Normal("b", 0.0, np.float64(2.0))
        pm.Gumbel("c", 0.0, 1.0)
        pm.Potential("ab", 0.3 * pt.exp(pt.tanh(a * b)) + (a * b) ** 3 / (1 + (a * b) ** 4))
    return model


def product_of_three():
    """Any two signs may change, which is no set of disjoint flips that permutations of labels map to each other."""
    with pm.Model() as model:
        x = pm.Normal("x", 0.0, 1.0, shape=3)
        pm.Potential("product", pt.exp(pt.tanh(x.prod())))
    return model


def double_zero_sum():
    """Rows and columns of a matrix whose rows and columns sum to zero."""
    with pm.Model(coords={"row": range(3), "column": range(4)}) as model:
        effect = pm.ZeroSumNormal("effect", 1.0, dims=("row", "column"), n_zerosum_axes=2)
        pm.Potential("skew", -pt.exp(0.5 * effect).sum())
    return model


def pure_zero_sum():
    with pm.Model() as model:
        pm.ZeroSumNormal("effect", 1.0, shape=3)
        pm.Gumbel("c", 0.0, 1.0)
    return model


def many_axes():
    """Six variables share their labels; those of a seventh are exchangeable by themselves."""
    with pm.Model() as model:
        parent = 0.0
        for name in "abcdef":
            parent = pm.Gumbel(name, parent, 1.0, shape=3)
        pm.Gumbel("z", 0.0, 1.0, shape=3)
    return model


def two_weights():
    """The swap of two weights is a flip of the only coordinate."""
    with pm.Model() as model:
        pm.Dirichlet("w", np.full(2, np.float64(1.5)))
    return model


MODELS = {
    "mixture": mixture,
    "mixture of three": lambda: mixture(3),
    "unequal priors": lambda: mixture(3, np.array([1.0, 1.0 + 1e-4, 1.5])),
    "scalar weight": scalar_weight,
    "factor model": factor_model,
    "unequal factors": lambda: factor_model((1.0, 2.0)),
    "two dims": two_dims,
    "markov chain": markov_chain,
    "zero sum": zero_sum,
    "some labels": some_labels,
    "without symmetry": without_symmetry,
    "product": product,
    "product of three": product_of_three,
    "double zero sum": double_zero_sum,
    "pure zero sum": pure_zero_sum,
    "many axes": many_axes,
    "two weights": two_weights,
}
LOADINGS = [f"loadings[:, {k}], factors[{k}, :]" for k in TWO]

# Model, labels of each class (variables with axes, and how many), flips, size of the group.
TRUTHS = [
    ("mixture", {"component": ("w0 mu0 sigma0", 10)}, [], factorial(10)),
    ("mixture of three", {"component": ("w0 mu0 sigma0", 3)}, [], 6),
    ("unequal priors", {}, [], 1),
    ("scalar weight", {"axis 0 of mu": ("mu0", 2)}, [], 2),
    ("factor model", {"factor": ("loadings1 factors0", 2)}, LOADINGS, 8),
    ("unequal factors", {}, LOADINGS, 4),
    ("two dims", {"row": ("row_effect0 x0", 3), "column": ("column_effect0 x1", 4)}, [], 144),
    ("markov chain", {"axis 0 of transitions, mu; axis 1 of transitions": ("transitions0 transitions1 mu0", 3)}, [], 6),
    ("zero sum", {"group": ("effect0 size0", 4)}, [], 24),
    ("some labels", {"axis 0 of x [0, 2, 4]": ("x0", 3), "axis 0 of x [1, 3]": ("x0", 2)}, [], 12),
    ("without symmetry", {}, [], 1),
    ("product", {}, ["a, b"], 2),
    ("product of three", {"axis 0 of x": ("x0", 3)}, [], 6),
    ("double zero sum", {"row": ("effect0", 3), "column": ("effect1", 4)}, [], 144),
    ("pure zero sum", {"axis 0 of effect": ("effect0", 3)}, ["effect_zerosum__"], 12),
    ("many axes", {"axis 0 of z": ("z0", 3), "axis 0 of a, b, c, d, e, f": ("a0 b0 c0 d0 e0 f0", 3)}, [], 36),
    ("two weights", {"axis 0 of w": ("w0", 2)}, [], 2),
    ("labels", {"component": ("w0 mu0", 2)}, [], 2),
    ("many_wells_6", {"axis 0 of x": ("x0", 3), "axis 0 of z": ("z0", 3)}, [f"z[{i}]" for i in range(3)], 288),
    ("standard_normal_10", {"axis 0 of x": ("x0", 10)}, [f"x[{i}]" for i in range(10)], factorial(10) * 2**10),
    ("two_modes", {}, [], 1),
    ("dial_a_mass", {}, [], 1),
]
NAMES = [truth[0] for truth in TRUTHS]


@cache
def compiled(name):
    return Target.from_model(MODELS[name]())


@cache
def detected(target):
    return find_symmetry(target, starts(target, 200))


def starts(target, n, seed=0):
    return target.initial_points(n, np.random.default_rng(seed))


@pytest.fixture
def case(zoo):
    """Target of a model of this file or of the zoo, and its symmetry."""

    def get(name):
        target = compiled(name) if name in MODELS else zoo(name)[1]
        return target, detected(target)

    return get


@pytest.mark.parametrize(("name", "classes", "flips", "size"), TRUTHS, ids=NAMES)
def test_the_group_of_known_models_is_found(name, classes, flips, size, case):
    target, symmetry = case(name)
    variables = [v.name for v in target.variables]
    found = {
        c.name: (" ".join(variables[b] + str(axis) for b, axis in c.sites), len(c.labels)) for c in symmetry.classes
    }
    expected = {k: (set(sites.split()), n) for k, (sites, n) in classes.items()}
    assert {k: (set(sites.split()), n) for k, (sites, n) in found.items()} == expected
    assert [flip.name for flip in symmetry.flips] == flips
    generic = starts(target, 1, seed=5)
    assert symmetry.n_copies(generic, np.eye(target.d)) == pytest.approx(size, rel=1e-12)
    assert symmetry.is_trivial == (size == 1)


@pytest.mark.parametrize("name", NAMES)
def test_elements_leave_the_density_unchanged(name, case, rng):
    target, symmetry = case(name)
    x = starts(target, 100)
    log_p, moved = target.log_density(x), symmetry.apply(symmetry.random(len(x), rng), x)
    np.testing.assert_allclose(target.log_density(moved), log_p, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_canonical_form_is_that_of_the_orbit(name, case, rng):
    target, symmetry = case(name)
    x = starts(target, 300)
    before = x.copy()
    copies, element = symmetry.canonical(x)
    np.testing.assert_array_equal(symmetry.apply(element, x), copies)
    np.testing.assert_array_equal(symmetry.canonical(copies)[0], copies)
    np.testing.assert_allclose(
        symmetry.canonical(symmetry.apply(symmetry.random(len(x), rng), x))[0], copies, rtol=1e-9, atol=1e-5
    )
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("name", [name for name, _, _, size in TRUTHS if size < 1000])
def test_copies_are_as_many_as_images(name, case):
    target, symmetry = case(name)
    x = starts(target, 1, seed=7)
    images = symmetry.images(x[0], 1000)
    assert len(images) == symmetry.n_copies(x, np.eye(target.d))[0]
    np.testing.assert_array_equal(images[0], x[0])
    np.testing.assert_allclose(target.log_density(images), target.log_density(x)[0], rtol=1e-8)
    copies, _ = symmetry.canonical(images)
    np.testing.assert_allclose(copies, np.broadcast_to(copies[0], copies.shape), atol=1e-12)
    assert len(symmetry.images(x[0], 1)) == 1


def test_equal_labels_have_fewer_copies(case):
    target, symmetry = case("mixture of three")
    w, mu, sigma = np.zeros(2), np.array([-1.0, 1.0, 1.0]), np.zeros(3)
    point = np.concatenate([w, mu, sigma])
    far = np.concatenate([w, mu * [1, 1, 1.01], sigma])
    near = np.concatenate([w, mu * [1, 1, 1.0005], sigma])
    everywhere_equal = np.zeros(target.d)
    copies = symmetry.n_copies(np.stack([point, far, near, everywhere_equal]), np.eye(target.d))
    assert copies.tolist() == [3, 6, 3, 1]
    assert len(symmetry.images(point, 100)) == 3
    assert symmetry.n_copies(far[None], 100 * np.eye(target.d)).tolist() == [3]  # 1e-4 of a wider posterior


def test_points_that_a_flip_leaves_unchanged(case):
    target, symmetry = case("many_wells_6")
    mode = np.array([1.0, 2.0, 3.0, 0.0, 0.0, 0.0])
    assert symmetry.n_copies(mode[None], np.eye(6)).tolist() == [6]
    np.testing.assert_array_equal(symmetry.canonical(mode[None])[0][0], mode)
    assert symmetry.moving(mode[None], np.eye(6)) == ["labels of axis 0 of x (3)"]
    mirrored = np.array([[0.0, 0.0, 0.0, 1.0, -1.0, 0.0]])
    assert len(symmetry.images(mirrored[0], 100)) == symmetry.n_copies(mirrored, np.eye(6))[0] == 12
    assert symmetry.moving(mirrored, np.eye(6)) == ["labels of axis 0 of z (3)", "sign of z[1]", "sign of z[2]"]
    assert target.d == 6


def test_equal_factors_up_to_sign(case, rng):
    """Factors (f, -f) have 4 copies: swapping them is the same as flipping both."""
    target, symmetry = case("factor model")
    loading, factor = rng.normal(size=(20, 6)), rng.normal(size=(20, 10))
    loadings = np.stack([loading, -loading], axis=2).reshape(20, -1)
    x = np.column_stack([loadings, factor, -factor, np.zeros(20)])
    assert len(symmetry.images(x[0], 100)) == 4
    assert symmetry.n_copies(x, np.eye(target.d)).tolist() == [4] * 20
    assert symmetry.n_copies(0 * x[:1], np.eye(target.d)).tolist() == [1]


def test_ten_labels_are_not_enumerated(case):
    target, symmetry = case("mixture")
    x = starts(target, 2000)
    start = time.perf_counter()
    assert (symmetry.n_copies(x[:3], np.eye(target.d)) == 3628800).all()
    symmetry.canonical(x)
    assert symmetry.images(x[0], 50).shape == (50, target.d)
    assert time.perf_counter() - start < 1


def test_many_dimensions_are_fast(zoo):
    _, target = zoo("standard_normal_100")
    x = starts(target, 1000)
    target.log_density_and_grad(x[:1])
    start = time.perf_counter()
    symmetry = find_symmetry(target, x)
    assert time.perf_counter() - start < 3
    seconds = timeit.repeat(lambda: symmetry.canonical(x), number=1, repeat=5)
    assert min(seconds) < 0.05
    assert symmetry.n_copies(np.linspace(1, 3, 100)[None], np.eye(100))[0] == pytest.approx(factorial(100) * 2.0**100)
    assert symmetry.moving(x[:1], np.eye(100))[0] == "labels of axis 0 of x (100)"


def test_a_swap_turns_the_sign_of_the_weight(case):
    target, symmetry = case("scalar weight")
    assert [target.labels[i] for i in symmetry.classes[0].odd_flips] == ["theta_interval__"]
    images = symmetry.images(np.array([0.4, -2.0, 2.0]), 10)
    np.testing.assert_allclose(images, [[0.4, -2.0, 2.0], [-0.4, 2.0, -2.0]])


def test_random_elements_are_uniform(case, rng):
    _, symmetry = case("factor model")
    element = symmetry.random(8000, rng)
    number = 4 * element.orders[0][:, 0] + element.signs.clip(0) @ [1, 2]
    np.testing.assert_allclose(np.bincount(number.astype(int), minlength=8), 1000, atol=5 * np.sqrt(1000))


def test_one_point_is_enough(case):
    target, symmetry = case("mixture of three")
    found = find_symmetry(target, np.zeros((1, target.d)))
    assert [c.name for c in found.classes] == [c.name for c in symmetry.classes]


def test_flips_of_names(case):
    target, _ = case("factor model")
    points = starts(target, 50)
    labels = find_symmetry(target, points, names=["factor"])
    assert ([c.name for c in labels.classes], labels.flips) == (["factor"], ())
    signs = find_symmetry(target, points, names="loadings")
    assert (signs.classes, [flip.name for flip in signs.flips]) == ((), LOADINGS)
    assert find_symmetry(target, points, names=[]).is_trivial


@pytest.mark.parametrize(
    ("name", "names", "match"),
    [
        ("labels", ["cluster"], r"\['component'\], or by a free variable, one of \['mu', 'w'\]; got 'cluster'. Name"),
        ("labels", ["component", "mu"], r"sign of 'mu' can flip.* changes log p̃ by up to [\d.e+]+ nats.* Leave it out"),
        ("unequal priors", ["component"], r"labels of 'component' are exchangeable; swapping two.* at least .* nats"),
        ("factor model", ["person"], r"expected that labels of 'person' are exchangeable"),
        ("factor model", ["noise"], r"sign of 'noise' can flip"),
    ],
)
def test_names_that_are_no_symmetry_are_refused(name, names, match, case):
    target, _ = case(name)
    with pytest.raises(ValueError, match=match):
        find_symmetry(target, starts(target, 50), names=names)


def test_points_are_checked(zoo):
    _, target = zoo("two_modes")
    with pytest.raises(ValueError, match=r"shape \(n, 1\) with n at least 1; got \(0, 1\)"):
        find_symmetry(target, np.empty((0, 1)))
    with pytest.raises(ValueError, match="finite at none of the 1 points"):
        find_symmetry(target, np.full((1, 1), np.nan))


def test_trivial_symmetry_moves_nothing(rng):
    symmetry, x = trivial(3), rng.normal(size=(5, 3))
    copies, element = symmetry.canonical(x)
    np.testing.assert_array_equal(copies, x)
    assert copies is not x
    assert len(element) == 5
    assert symmetry.n_copies(x, np.eye(3)).tolist() == [1] * 5
    assert symmetry.moving(x, np.eye(3)) == []
    assert len(symmetry.images(x[0], 9)) == 1


def test_copies_beyond_the_largest_float_are_infinitely_many(rng):
    from pymc_kl.modes.symmetry.labels import Block

    block = Block("x", slice(0, 200), (200,), (200,), (0,))
    symmetry = Symmetry(200, (LabelClass("x", ((0, 0),), np.arange(200)),), (), (block,))
    assert symmetry.n_copies(rng.normal(size=(1, 200)), np.eye(200)).tolist() == [np.inf]


def test_a_mode_that_is_its_own_image_keeps_its_draws_where_they_are(zoo, rng):
    """So a fit is scored on the draws that it was fitted to, and not on others that a symmetry made of them."""
    problem, target = zoo("equicorrelated_10")
    modes = find_modes(model=target, random_seed=1, progressbar=False)
    assert not modes.symmetry.is_trivial and not modes.has_copies
    x = problem.sample(50, rng)
    moved, _ = modes.scatter(x, np.zeros(50, dtype=int), rng)
    np.testing.assert_array_equal(moved, x)
