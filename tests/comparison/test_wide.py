"""Posteriors of more than 300 parameters: diagonal scales, low-rank bridges and no full covariance unless asked."""

import numpy as np
import pymc as pm
import pytest
import xarray as xr

import pymc_kl as pkl
from pymc_kl.approximations import FAMILIES
from pymc_kl.comparison.default_fits import FORWARD, WIDE_FORWARD, WIDE_REVERSE, WantedFits
from pymc_kl.numerics.whitening import WIDE, unwhiten, whiten, whiten_gradient

D = WIDE + 20
SHARED = 0.05  # covariance of any two parameters, beside variances of 1.05


@pytest.fixture(scope="module")
def comparison() -> xr.DataTree:
    """Compare exact draws of a normal of rank one plus diagonal, whose log Z is 0, with the default fits to them."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((4, 500, D)) + np.sqrt(SHARED) * rng.standard_normal((4, 500, 1))
    with pm.Model():
        common = pm.Normal("common", 0, np.sqrt(SHARED))
        pm.Normal("x", common, 1, shape=D)
        common_draws = SHARED * x.sum(axis=2) / (1 + SHARED * D) + np.sqrt(
            SHARED / (1 + SHARED * D)
        ) * rng.standard_normal((4, 500))
        draws = xr.Dataset({"common": (("chain", "draw"), common_draws), "x": (("chain", "draw", "i"), x)})
        return pkl.compare(draws, {}, random_seed=1, progressbar=False)


def test_log_evidence_is_exact_within_its_error(comparison: xr.DataTree) -> None:
    """The prior has no data: its log Z is 0, which a Gaussian of low rank bridges to."""
    evidence = comparison["evidence"]
    assert abs(float(evidence["log_evidence"])) < 5 * float(evidence["log_evidence_se"]) + 0.05
    assert float(evidence["log_evidence_se"]) < 0.2


def test_full_covariances_are_left_out_in_words(comparison: xr.DataTree) -> None:
    """Families with a full covariance have a row that says why they were not made, and how to ask for them."""
    error = comparison["scores"]["error"]
    for name in ("forward fullrank", "forward mixture"):
        text = str(error.sel(approximation=name).values)
        assert "not made: a full covariance of 321 parameters has 51,681 numbers" in text
        assert f"forward={name.removeprefix('forward ')!r} asks for it" in text
    for name in ("forward meanfield", "forward lowrank"):
        assert str(error.sel(approximation=name).values) == ""


def test_low_rank_is_nearer_than_mean_field(comparison: xr.DataTree) -> None:
    """The low-rank fit finds the shared factor: it loses a few nats, the mean-field fit what correlation is worth."""
    score = comparison["scores"]["forward_kl"]
    lost = 0.5 * np.log1p(SHARED * D)  # half the log determinant of what the factor adds
    assert float(score.sel(approximation="forward lowrank")) < lost / 2
    assert float(score.sel(approximation="forward meanfield")) > lost / 2


@pytest.mark.parametrize("d", [WIDE, WIDE + 1])
def test_defaults_depend_on_the_width(d: int) -> None:
    """Up to 300 parameters nothing changes; above, what was asked for is made all the same."""
    default = WantedFits.of(None, None, has_fits=False)
    wanted = default.within(d, forward_by_default=True, reverse_by_default=True)
    assert wanted.forward == (FORWARD if d <= WIDE else WIDE_FORWARD)
    assert len(wanted.left_out) == (0 if d <= WIDE else 3)
    assert d <= WIDE or wanted.reverse == WIDE_REVERSE
    asked = WantedFits.of("fullrank", ["fullrank_advi"], has_fits=False)
    assert asked.within(d, forward_by_default=False, reverse_by_default=False) is asked or d > WIDE
    made = asked.within(d, forward_by_default=False, reverse_by_default=False)
    assert (made.forward, made.reverse, made.left_out) == (("fullrank",), ("fullrank_advi",), ())


@pytest.mark.parametrize("family", ["fullrank", "studentt", "mixture", "studentt_mixture"])
def test_families_refuse_draws_that_are_too_few_for_their_covariance(family: str, rng: np.random.Generator) -> None:
    """In many dimensions three draws each are needed, and the error says what to fit instead."""
    with pytest.raises(ValueError, match=r"at least three a dimension, 90 effective draws .* got 89.0.*'lowrank'"):
        FAMILIES[family].fit_forward(rng.standard_normal((89, 30)))
    FAMILIES[family].fit_forward(rng.standard_normal((200, 30)))


def test_diagonal_scales_whiten_as_full_ones_do(rng: np.random.Generator) -> None:
    """The short cut of diagonal scales gives what the matrix gives, and a full scale is not cut short."""
    x = rng.standard_normal((5, 4))
    full = np.linalg.cholesky(np.cov(rng.standard_normal((4, 50))))
    for scale in (np.diag(rng.uniform(0.5, 2, 4)), full):
        np.testing.assert_allclose(whiten(x, scale), np.linalg.solve(scale, x.T).T, rtol=1e-12)
        np.testing.assert_allclose(unwhiten(x, scale), x @ scale.T, rtol=1e-12)
        np.testing.assert_allclose(whiten_gradient(x, scale), x @ scale, rtol=1e-12)
