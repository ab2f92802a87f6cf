"""Models of public examples' kinds: each is compared, or refused for a reason."""

import pytest
from support.public_models import BUDGET, builders, outcome

MODELS = builders()
COMPILING = 120.0  # seconds beside the budget, for compiling and scores


def test_they_are_many():
    assert len(MODELS) >= 40


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a priori, Poisson", "every free variable must be continuous; "),
        ("change point", "every free variable must be continuous; "),
        ("a priori, PolyaGamma", "the model's log density has no gradient, "),
    ],
)
def test_what_has_no_gradient_is_refused(name, reason):
    found = outcome(MODELS[name])
    assert found.kind == "refused"
    assert found.said.startswith(reason)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_each_is_answered_or_refused_for_a_reason(name):
    found = outcome(MODELS[name])
    assert found.kind in ("answered", "refused"), found
    assert found.said
    assert found.seconds < BUDGET + COMPILING


def test_an_empty_constant_is_no_obstacle():
    assert outcome(MODELS["custom"]).kind == "answered"
