"""Whole runs on models with many copies of a mode, a flat prior, a mesa or a free rotation: right, or refused."""

import time
from itertools import pairwise

import numpy as np
import pytest
from zoo.edges import tied_simplex
from zoo.hard_models import heritability, heritability_log_z, latent_classes, probabilistic_pca, tanh_network
from zoo.peaks import mesa

import pymc_kl as pkl
from pymc_kl.reports.facts import read_facts
from pymc_kl.reports.trust import judge_reference
from pymc_kl.reports.verdict import judge

N_SE = 3.0
MOST_SECONDS = 60.0  # of processor time
SEEDS = (1, 2, 3)

pytestmark = pytest.mark.slow


def compared(model, seed, **options):
    """Compare forward fits with a reference of the package's own; also the first sentence of the verdict."""
    begin = time.process_time()
    dt = pkl.compare(None, {}, model=model, forward="mixture", random_seed=seed, progressbar=False, **options)
    assert time.process_time() - begin < MOST_SECONDS
    return dt, judge(read_facts(dt))[0].text


def log_z(dt):
    return float(dt["evidence"]["log_evidence"]), float(dt["evidence"]["log_evidence_se"])


@pytest.mark.parametrize("seed", SEEDS)
def test_log_z_of_two_variance_components(seed):
    dt, _ = compared(heritability(), seed)
    value, se = log_z(dt)
    assert abs(value - heritability_log_z()) < N_SE * se
    assert se < 0.05
    assert float(dt["posterior"]["b"].mean()) == pytest.approx(1.94, abs=0.05)


@pytest.mark.parametrize("seed", SEEDS)
def test_log_z_of_a_simplex_that_is_tied(seed):
    value, se = log_z(compared(tied_simplex(), seed)[0])
    assert abs(value) < N_SE * se
    assert se < 0.05


@pytest.mark.parametrize(("build", "copies"), [(latent_classes, 6), (tanh_network, 48)])
def test_copies_are_counted_and_seeds_agree(build, copies):
    """Or the first sentence says that the reference cannot be trusted."""
    found = []
    for seed in SEEDS[:2]:
        dt, first = compared(build(), seed)
        assert dt["modes"]["copies"].values[0] == copies
        if np.isnan(log_z(dt)).any():
            assert first.startswith("The reference cannot be trusted: mode")
        else:
            found.append(log_z(dt))
    for (one, one_se), (two, two_se) in pairwise(found):
        assert abs(one - two) < N_SE * np.hypot(one_se, two_se)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_free_rotation_is_named_in_the_first_sentence(seed):
    dt, first = compared(probabilistic_pca(), seed)
    value, se = log_z(dt)
    assert np.isnan([value, se]).all()
    assert "not identified along a rotation of `W` (axis 1)" in first
    assert "rotation of `W`" in judge_reference(read_facts(dt)).why


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("power", [12, 40])
def test_half_of_the_mass_is_on_a_mesa(power, seed):
    dt, _ = compared(mesa(2, power), seed)
    assert dt["modes"]["copies"].values.tolist() == [1, 1]
    mass, se = (dt["modes"][name].values for name in ("mass", "mass_se"))
    assert (np.abs(mass - 0.5) < N_SE * se).all()
    value, error = log_z(dt)
    assert abs(value) < N_SE * error
    assert error < 0.02
