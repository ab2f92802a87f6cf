"""Which family "auto" chooses, and what it says of its choice."""

import numpy as np
import pytest

from pymc_kl import fit_forward
from pymc_kl.approximations import FAMILIES, FullRank, MeanField, Mixture, StudentT
from pymc_kl.approximations.choice import EVEN, _choose, choose_family
from pymc_kl.approximations.components import WeightedDraws
from pymc_kl.approximations.estimation.halves import HeldOut
from pymc_kl.approximations.training import Training
from pymc_kl.fitting.cross_fitting import cross_fit
from pymc_kl.model.draws import PosteriorDraws

TILTED = FullRank(loc=np.zeros(3), scale_tril=np.array([[1.0, 0, 0], [0.8, 0.6, 0], [-0.5, 0.5, 0.7]]))
HEAVY = StudentT(loc=np.zeros(3), scale_tril=TILTED.scale_tril, df=3.0)
TWO = Mixture(
    weights=np.array([0.4, 0.6]), locs=np.array([[-4.0] * 3, [4.0] * 3]), scale_trils=np.stack([np.eye(3)] * 2)
)


@pytest.mark.parametrize(
    "truth", [MeanField(loc=np.zeros(3), scale=np.ones(3)), TILTED, HEAVY, TWO], ids=lambda q: q.family
)
def test_the_family_of_the_truth_is_chosen(truth, rng):
    x = truth.sample(3000, random_seed=rng)
    choice = choose_family(Training(x, rng=rng))
    assert choice.family == truth.family
    assert choice.why.startswith(f"{truth.family}: ")
    assert set(choice.scores) == {"meanfield", "fullrank", "studentt", "mixture", "studentt_mixture"}


def test_scores_are_those_of_fits_to_the_other_half(rng):
    """The expected log q of a fit to half of the draws is the truth's less its divergence, some 9 parameters over n."""
    x = TILTED.sample(4000, random_seed=rng)
    score, score_se = choose_family(Training(x, rng=rng)).scores["fullrank"]
    entropy = -1.5 * (1 + np.log(2 * np.pi)) - np.log(np.diag(TILTED.scale_tril)).sum()
    assert abs(score - entropy + 9 / 4000) < 5 * score_se
    assert score_se == pytest.approx(np.sqrt(1.5 / 4000), rel=0.1)  # log q of a Gaussian has variance d / 2


def test_many_dimensions_bring_low_rank_in(rng):
    factor = rng.standard_normal((20, 2))
    x = rng.standard_normal((600, 2)) @ factor.T + rng.standard_normal((600, 20))
    choice = choose_family(Training(x, rng=rng))
    assert choice.family == "lowrank"
    assert choice.scores["lowrank"][0] > choice.scores["fullrank"][0]


def test_families_that_need_more_draws_have_no_score(rng):
    x = rng.standard_normal((40, 30))
    choice = choose_family(Training(x, rng=rng))
    assert choice.family in ("meanfield", "lowrank")
    assert np.isnan(choice.scores["fullrank"][0])
    assert np.isnan(choice.scores["studentt"][0])
    few = choose_family(Training(x[:5], rng=rng))
    assert few.family == "meanfield"
    assert "too few draws" in few.why


def test_weights_and_copies_agree(rng):
    x = HEAVY.sample(400, random_seed=rng)
    copies = rng.integers(1, 4, 400)
    one = choose_family(Training(x, copies.astype(float), rng=np.random.default_rng(1)))
    two = choose_family(Training(np.repeat(x, copies, axis=0), rng=np.random.default_rng(1)))
    assert one == two


@pytest.mark.parametrize(
    ("gain", "noise", "chosen"),
    [(0.5, 0.1, "mixture"), (0.05, 5.0, "meanfield"), (0.9 * EVEN, 1e-6, "meanfield"), (1.1 * EVEN, 1e-6, "mixture")],
)
def test_a_gain_must_exceed_its_error_and_matter(gain, noise, chosen):
    held_out = HeldOut(WeightedDraws(np.zeros((1000, 1)), np.full(1000, 1e-3)), np.arange(1000))
    log_q = gain + noise * np.tile([-1.0, 1.0], 500)
    choice = _choose({"meanfield": np.zeros(1000), "fullrank": None, "mixture": log_q}, held_out)
    assert choice.family == chosen
    assert np.isnan(choice.scores["fullrank"][0])
    if chosen == "mixture":
        assert f"{gain:.3g} ±" in choice.why
        assert "better than meanfield" in choice.why
    else:
        assert "the simplest family; mixture, the best of all, gains" in choice.why


def test_fit_forward_tells_what_auto_chose(zoo, exact_draws):
    _, target = zoo("two_modes")
    q = fit_forward(exact_draws("two_modes", 2000, 1), "auto", model=target, random_seed=1)
    assert q.family == "mixture"
    assert q.info["choice"].startswith("mixture: ")
    assert q.info["family_scores"]["mixture"][0] > q.info["family_scores"]["fullrank"][0] + 0.3
    assert q.info["n_components"] == 2
    assert q.target is target


def test_auto_is_chosen_once_and_refitted_without_each_fold(zoo, rng):
    problem, target = zoo("two_modes")
    x = problem.sample(1500, rng)
    reference = PosteriorDraws(target, x[None], target.log_density(x)[None], np.full((1, 1500), 1 / 1500))
    fitted = cross_fit("auto", reference, (x[:, 0] > 0).astype(int), np.arange(1500) * 5 // 1500, rng=rng)
    assert fitted.approximation.family == "mixture"
    assert [other.family for other in fitted.others] == ["mixture"] * 5
    assert "choice" in fitted.approximation.info
    assert "choice" not in fitted.others[0].info


def test_an_unknown_family_is_named(zoo, exact_draws):
    _, target = zoo("two_modes")
    with pytest.raises(ValueError, match="unknown family 'gauss'; known are 'auto', 'meanfield', 'lowrank'"):
        fit_forward(exact_draws("two_modes", 100, 1), "gauss", model=target)
    assert "auto" not in FAMILIES
