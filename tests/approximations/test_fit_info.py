"""What a fit reports of itself, and the one signature by which every family is fitted."""

import numpy as np
import pytest

from pymc_kl.approximations import FAMILIES, FitInfo, FullRank, MeanField
from pymc_kl.approximations.training import Training

HISTORY = np.array([3.0, 2.0])
PARTS = {"path 1": MeanField(loc=np.zeros(1), scale=np.ones(1))}


def test_a_report_reads_as_a_mapping_of_what_is_reported():
    info = FitInfo(warnings=(), held_out_score=float("nan"), more={"pareto_k": 0.3})
    assert list(info) == ["held_out_score", "warnings", "pareto_k"]
    assert info["warnings"] == info.warnings == ()
    assert len(info) == 3
    assert info.choice is None
    with pytest.raises(KeyError, match="choice"):
        info["choice"]


def test_a_mapping_becomes_a_report():
    q = MeanField(loc=np.zeros(1), scale=np.ones(1), info={"history": HISTORY, "pareto_k": 0.3})
    assert q.info.history is HISTORY
    assert q.info.more == {"pareto_k": 0.3}
    assert FitInfo.of(q.info) is q.info


def test_history_and_approximations_are_not_stored():
    info = FitInfo(history=HISTORY, parts=PARTS, choice="mixture: best.", more={"pareto_k": 0.3})
    assert info.stored() == {"choice": "mixture: best.", "pareto_k": 0.3}


def test_warnings_are_added_after_those_that_there_are():
    assert FitInfo().with_warnings("one").with_warnings("two").warnings == ("one", "two")


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "flow"])
def test_every_family_takes_all_that_is_known_of_the_draws(family, rng):
    x = np.concatenate([rng.standard_normal((300, 2)) - 3, rng.standard_normal((300, 2)) + 3])
    known = {"mode": np.repeat([0, 1], 300), "blocks": np.arange(600) // 30}
    weights = rng.uniform(1, 2, 600)
    one = FAMILIES[family].fit(Training(x, weights, **known, rng=np.random.default_rng(1)))
    two = FAMILIES[family].fit_forward(x, weights, **known, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(one.log_prob(x), two.log_prob(x))


def test_the_size_of_another_family_is_refused(rng):
    with pytest.raises(TypeError, match="rank"):
        FullRank.fit_forward(rng.standard_normal((50, 2)), rank=1)
