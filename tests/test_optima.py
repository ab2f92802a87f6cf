"""Reverse-KL fits from many starts: the optima that quadrature and closed forms know."""

import numpy as np
import pytest
from problems import Problem, many_wells, mean_field_gaussian

from pymc_kl import fit_reverse
from pymc_kl.approximations import FullRank, MeanField
from pymc_kl.target import Target

FIT = {"meanfield": MeanField, "fullrank": FullRank}


def fitted(zoo, name: str, family: str, **kwargs) -> tuple[Problem, Target, MeanField | FullRank]:
    problem, target = zoo(name)
    return problem, target, fit_reverse(family, model=target, random_seed=1, progressbar=False, **kwargs)


def test_thirty_two_starts_settle_in_the_two_optima(zoo):
    problem, _, q = fitted(zoo, "two_modes", "meanfield")
    optima = q.info["optima"]
    assert len(optima) == 2
    assert sum(optimum.n_starts for optimum in optima) == 32
    for optimum, truth in zip(optima, (problem.reverse["meanfield"], problem.reverse["local_1"]), strict=True):
        np.testing.assert_allclose(optimum.approximation.loc, truth.mean, atol=1e-3)
        np.testing.assert_allclose(optimum.approximation.scale**2, np.diag(truth.cov), rtol=2e-3)
        reverse_kl = problem.log_z - optimum.elbo.value
        assert abs(reverse_kl - truth.reverse_kl) < 3.5 * optimum.elbo.se + 1e-4


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("textbook_figure", "meanfield"),
        ("textbook_figure", "fullrank"),
        ("switch_2", "meanfield"),
        ("switch_6", "meanfield"),
        ("quickstart", "meanfield"),
        ("skew_normal", "meanfield"),
        ("mean_field_gaussian", "meanfield"),
        ("mean_field_gaussian", "fullrank"),
        ("funnel", "meanfield"),
    ],
)
def test_the_optimum_is_reached_to_a_thousandth(name, family, zoo):
    problem, _, q = fitted(zoo, name, family, n_starts=8)
    truth = problem.reverse[family]
    sd = np.sqrt(np.diag(truth.cov))
    away = np.abs((q.loc - truth.mean) / sd)
    mirrored = np.abs((q.loc + truth.mean) / sd)  # a symmetric posterior has the optimum twice
    assert min(away.max(), mirrored.max()) < 1e-3
    np.testing.assert_allclose(q.covariance / np.outer(sd, sd), truth.cov / np.outer(sd, sd), atol=2e-3)
    assert q.kind == "reverse"


@pytest.fixture(scope="module")
def fifty() -> tuple[Problem, Target]:
    problem = mean_field_gaussian(0.5, 50)
    return problem, Target.from_model(problem.model())


def test_fifty_correlated_dimensions(fifty):
    """Variances 1 / (Σ⁻¹)_ii for mean-field and Σ for full-rank: exact, since the points have covariance I."""
    problem, target = fifty
    narrow, full = (fit_reverse(family, model=target, n_starts=2, random_seed=1, progressbar=False) for family in FIT)
    np.testing.assert_allclose(narrow.scale**2, 1 / np.diag(np.linalg.inv(problem.cov)), rtol=1e-3)
    np.testing.assert_allclose(full.covariance, problem.cov, atol=1e-3)
    assert len(full.info["optima"]) == 1


def test_many_wells_settle_in_the_heaviest():
    """Sixteen modes with product masses; the best normal is in the one where every well is the right one."""
    problem = many_wells(8)
    target = Target.from_model(problem.model())
    q = fit_reverse("meanfield", model=target, random_seed=1, progressbar=False)
    truth = problem.reverse["meanfield"]
    sd = np.sqrt(np.diag(truth.cov))
    np.testing.assert_allclose((q.loc - truth.mean) / sd, 0, atol=1e-3)
    np.testing.assert_allclose(q.scale / sd, 1, atol=1e-3)
    assert abs(problem.log_z - q.info["elbo"] - truth.reverse_kl) < 3.5 * q.info["elbo_se"]
    assert len(q.info["optima"]) > 4


def test_the_same_seed_gives_the_same_fit(zoo):
    _, _, one = fitted(zoo, "two_modes", "fullrank", n_starts=3)
    _, _, two = fitted(zoo, "two_modes", "fullrank", n_starts=3)
    np.testing.assert_array_equal(one.scale_tril, two.scale_tril)
    assert one.info["elbo"] == two.info["elbo"]


def test_bad_input_is_refused(zoo):
    _, target = zoo("two_modes")
    with pytest.raises(ValueError, match="unknown family 'flow'; known are 'meanfield', 'fullrank'"):
        fit_reverse("flow", model=target)
    with pytest.raises(ValueError, match="n_starts must be at least 1; got 0"):
        fit_reverse(model=target, n_starts=0)
