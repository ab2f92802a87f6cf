"""Angles by PyMC's circular transform: one point of the circle is one mode, whatever turn a draw or a fit is in."""

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy.special import logsumexp

import pymc_kl as pkl
from pymc_kl.approximations import FullRank
from pymc_kl.approximations.wrapped import log_prob_on_circle
from pymc_kl.model.periodic import CUT, angles_of
from pymc_kl.model.target import Target
from pymc_kl.modes.symmetry.labels import SignFlip
from pymc_kl.modes.symmetry.symmetry import Symmetry

GRID = np.linspace(-np.pi, np.pi, 401)[:-1]
STEP = GRID[1] - GRID[0]


def one_heading(mean):
    """A direction with data about a mean, and a location beside it, which is exactly N(1, 0.1)."""
    with pm.Model() as model:
        heading = pm.VonMises("heading", 0.0, 0.1)
        pm.Normal("beside", 1.0, 0.1)
        pm.VonMises("seen", heading, 5.0, observed=np.angle(np.exp(1j * (mean + 0.3 * np.sin(np.arange(20.0))))))
    return model


def two_headings():
    rng = np.random.default_rng(3)
    seen = np.where(rng.random(40) < 0.5, rng.vonmises(3.1, 8, 40), rng.vonmises(-1.0, 8, 40))
    with pm.Model() as model:
        heading = pm.VonMises("heading", 0, 0.1, shape=2)
        parts = [pm.VonMises.dist(heading[i], 8.0) for i in range(2)]
        pm.Mixture("seen", w=[0.5, 0.5], comp_dists=parts, observed=seen)
    return model


@pytest.fixture(scope="module")
def at_the_cut():
    return Target.from_model(one_heading(CUT))


def log_z_of_heading(target):
    x = np.column_stack([GRID, np.ones_like(GRID)])
    return logsumexp(target.log_density(x)) + np.log(STEP) + np.log(0.1 * np.sqrt(2 * np.pi))


@pytest.mark.parametrize("seed", range(3))
def test_one_direction_is_one_mode_with_the_right_integral(at_the_cut, seed):
    reference = pkl.sample_reference(model=at_the_cut, random_seed=seed, progressbar=False)
    modes, evidence = reference["modes"], reference["evidence"]
    assert modes.sizes["mode"] == 1
    assert modes["copies"].item() == 1
    error = evidence["log_evidence"].item() - log_z_of_heading(at_the_cut)
    assert abs(error) < 5 * evidence["log_evidence_se"].item() + 1e-3


def test_two_exchangeable_headings_are_one_mode_of_two_copies():
    target = Target.from_model(two_headings())
    x = np.stack(np.meshgrid(GRID, GRID), axis=-1).reshape(-1, 2)
    truth = logsumexp(target.log_density(x)) + 2 * np.log(STEP)
    reference = pkl.sample_reference(model=target, random_seed=1, progressbar=False)
    assert reference["modes"]["copies"].values.tolist() == [2]
    evidence = reference["evidence"]
    assert abs(evidence["log_evidence"].item() - truth) < 5 * evidence["log_evidence_se"].item() + 1e-3


def test_draws_and_fits_of_any_turn_are_the_same(at_the_cut, rng):
    """Draws of several turns miss nothing; a fit three turns away scores as the same fit at home."""
    spread = 1 / np.sqrt(5.0 * 20)
    modes = pkl.find_modes(model=at_the_cut, random_seed=1, progressbar=False)
    centre = modes.x[0]
    x = centre + rng.standard_normal((4, 500, 2)) * [spread, 0.1]
    x[..., 0] += 2 * np.pi * rng.integers(-3, 4, (4, 500))
    draws = xr.DataTree.from_dict({
        "posterior": at_the_cut.to_dataset(x),
        "unconstrained_posterior": xr.Dataset(
            {name: (("chain", "draw"), x[..., i]) for i, name in enumerate(at_the_cut.labels)}
        ),
    })  # fmt: skip
    cov = np.diag([spread**2, 0.01])
    fits = {name: FullRank(loc=centre + np.array([2 * np.pi * k, 0]), scale_tril=np.linalg.cholesky(cov)) for name, k in
            (("near", 0), ("far", 3))}  # fmt: skip
    comparison = pkl.compare(draws, fits, model=at_the_cut, forward=(), random_seed=1, progressbar=False)
    assert comparison["modes"].sizes["mode"] == 1
    assert not comparison["audit"]["missed"].values.any()
    scores = comparison["scores"].to_dataset()
    for name in ("forward_kl", "reverse_kl"):
        near, far = (scores[name].sel(approximation=fit).item() for fit in ("near", "far"))
        assert abs(near - far) < 5 * scores[f"{name}_se"].max().item() + 1e-3
        assert near < 0.1
    assert (comparison["coverage"]["verdict"] == "covered").all()


def test_a_wrapped_density_integrates_to_one_over_the_circle(at_the_cut):
    wide = FullRank(loc=np.array([9.0, 1.0]), scale_tril=np.diag([2.5, 0.1]), target=at_the_cut)
    x = np.column_stack([GRID, np.ones_like(GRID)])
    log_prob = log_prob_on_circle(wide, x)
    assert logsumexp(log_prob) + np.log(STEP * 0.1 * np.sqrt(2 * np.pi)) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(log_prob_on_circle(wide, x + np.array([6 * np.pi, 0])), log_prob, rtol=1e-9)


def test_angles_are_found_by_their_transform(at_the_cut):
    assert angles_of(at_the_cut).tolist() == [0]
    with pm.Model() as model:
        pm.VonMises("cut", 0, 1, default_transform=pm.distributions.transforms.Interval(-np.pi, np.pi))
    assert angles_of(Target.from_model(model)).tolist() == []


def test_canonical_points_of_a_circle(rng):
    """Turns and a flip: the element takes a point to its canonical copy, and undoing it brings the point back."""
    symmetry = Symmetry(3, flips=(SignFlip("a", np.array([0])),), angles=np.array([0, 1]))
    x = rng.uniform(-20, 20, (500, 3))
    copies, element = symmetry.canonical(x)
    assert (copies[:, :2] >= CUT).all()
    assert (copies[:, :2] < CUT + 2 * np.pi).all()
    np.testing.assert_allclose(symmetry.apply(element, x), copies, atol=1e-12)
    np.testing.assert_allclose(symmetry.undo(element, copies), x, atol=1e-12)
    turned = symmetry.canonical(
        x + 2 * np.pi * np.concatenate([rng.integers(-3, 4, (500, 2)), np.zeros((500, 1))], axis=1)
    )
    np.testing.assert_allclose(turned[0], copies, atol=1e-9)


def test_a_direction_opposite_to_zero_is_its_own_mirror_image():
    symmetry = Symmetry(2, flips=(SignFlip("a", np.array([0])),), angles=np.array([0]))
    opposite, aside = np.array([[np.pi, 1.0]]), np.array([[3.0, 1.0]])
    assert symmetry.n_copies(opposite, np.eye(2)).tolist() == [1]
    assert symmetry.n_copies(aside, np.eye(2)).tolist() == [2]
    assert len(symmetry.images(symmetry.canonical(opposite)[0][0], 10)) == 1


def test_a_low_pass_across_the_cut_merges():
    """Two weak directions on either side of π, and a high pass between them there: one mode."""
    with pm.Model() as model:
        a = pm.VonMises("a", 0.0, 0.01)
        pm.Potential("two", pm.math.log(pm.math.exp(3 * pm.math.cos(a - 2.4)) + pm.math.exp(3 * pm.math.cos(a + 2.4))))
    assert pkl.find_modes(model=model, symmetry=False, min_barrier=1.0, random_seed=1, progressbar=False).k == 1
    assert pkl.find_modes(model=model, symmetry=False, min_barrier=0.01, random_seed=1, progressbar=False).k == 2


@pytest.mark.slow
@pytest.mark.parametrize("concentration", [1e-12, 1e-4])
def test_a_uniform_direction_is_one_region(concentration):
    with pm.Model() as model:
        pm.VonMises("a", 0.0, concentration)
        pm.Normal("b")
    reference = pkl.sample_reference(model=model, random_seed=1, progressbar=False)
    assert reference["modes"].sizes["mode"] == 1
    log_z, se = (reference["evidence"][name].item() for name in ("log_evidence", "log_evidence_se"))
    assert np.isnan(log_z) or abs(log_z) < 5 * se + 0.01
