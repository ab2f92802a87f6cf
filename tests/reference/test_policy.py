"""Which modes are sampled next, which are given up and when to stop, on plain numbers."""

from dataclasses import replace

import numpy as np
import pytest

from pymc_kl.numerics.estimate import Estimate
from pymc_kl.numerics.whitening import WIDE
from pymc_kl.reference import policy
from pymc_kl.reference.evidence import LogMass, unknown_log_mass
from pymc_kl.reference.local_draws import LocalDraws, no_draws
from pymc_kl.reference.mode_state import ModeState

UNTRIED = ModeState(no_draws(1), unknown_log_mass("no local draws were made"), given_suffice=False)
LIKE_EACH_OTHER = np.zeros(2)  # log masses by Laplace's approximation


def weighed(value, se=1e-4, tries=1):
    return ModeState(no_draws(1), LogMass(Estimate(value, se), 1.0, "bridge", ""), given_suffice=False, tries=tries)


def tried(times, inside=1.0):
    """A mode that chains gave no mass, with this share of their draws in it."""
    n = int(100 * inside)
    x = np.random.default_rng(0).standard_normal((n, 1))
    draws = LocalDraws(x, np.zeros(n), np.zeros(n, dtype=int), np.ones(n), "NUTS", n_left=100 - n)
    return replace(UNTRIED, draws=draws, tries=times)


def slow():
    """A mode in which 400 draws of chains that were tried once are worth about twenty, and agree."""
    x = np.sin(np.arange(400) / 8)[:, None]
    draws = LocalDraws(x, np.zeros(400), np.zeros(400, dtype=int), np.ones(400), "NUTS")
    return replace(UNTRIED, draws=draws, tries=1)


def listed(modes):
    return modes.tolist()


class TestNextModes:
    def test_modes_without_a_mass_come_first(self):
        assert listed(policy.next_modes([weighed(0.0, se=1.0), UNTRIED], LIKE_EACH_OTHER, 0)) == [1]
        assert listed(policy.next_modes([weighed(0.0, se=1.0), tried(1)], LIKE_EACH_OTHER, 1)) == [1]

    def test_a_mode_is_tried_twice(self):
        assert listed(policy.next_modes([weighed(0.0), tried(2)], LIKE_EACH_OTHER, 1)) == []

    def test_no_chain_goes_to_a_mode_of_less_than_a_quarter_of_a_per_cent(self):
        """The bound is 6 nats: exp(-6) is 0.0025."""
        states = [weighed(0.0), UNTRIED]
        assert listed(policy.next_modes(states, np.array([0.0, -5.9]), 0)) == [1]
        assert listed(policy.next_modes(states, np.array([0.0, -6.1]), 0)) == []

    def test_none_is_sampled_more_once_all_masses_are_certain(self):
        """Two equal masses have the error 0.25 · √2 · se: 0.0071 and 0.0354 at 0.02 and 0.1 nats."""
        assert listed(policy.next_modes([weighed(0.0, 0.02), weighed(0.0, 0.02)], LIKE_EACH_OTHER, 1)) == []
        assert listed(policy.next_modes([weighed(0.0, 0.1), weighed(0.0, 0.1)], LIKE_EACH_OTHER, 1)) == [0, 1]

    def test_the_least_certain_are_sampled_more(self):
        assert listed(policy.next_modes([weighed(0.0, 0.2), weighed(0.0, 0.05)], LIKE_EACH_OTHER, 1)) == [0]

    def test_an_uncertain_mode_that_is_minor_is_not(self):
        states = [weighed(0.0, 0.03), weighed(0.0, 0.5)]
        assert listed(policy.next_modes(states, np.array([0.0, -7.0]), 1)) == []

    @pytest.mark.parametrize(("se", "wanted"), [(0.031, []), (0.033, [0])])
    def test_the_only_mode(self, se, wanted):
        assert listed(policy.next_modes([weighed(0.0, se)], np.zeros(1), 1)) == wanted

    def test_without_a_maximum_chains_are_run_once_whatever_was_given(self):
        assert listed(policy.next_modes([weighed(0.0, tries=0)], None, 0)) == [0]
        assert listed(policy.next_modes([tried(1)], None, 1)) == []


class TestGivenUp:
    @pytest.mark.parametrize(
        ("state", "laplace", "given_up"),
        [
            (UNTRIED, 0.0, False),
            (tried(1), 0.0, False),
            (tried(2), 0.0, True),
            (tried(1, inside=0.24), 0.0, True),
            (tried(1, inside=0.26), 0.0, False),
            (slow(), 0.0, True),
            (tried(1), -3.8, False),
            (tried(1), -4.0, True),
            (UNTRIED, -4.0, False),
            (UNTRIED, -6.1, True),
            (weighed(0.0, tries=2), 0.0, False),
        ],
    )
    def test_a_mode_beside_one_that_is_known(self, state, laplace, given_up):
        assert listed(policy.given_up([weighed(0.0), state], np.array([0.0, laplace]))) == [1] * given_up

    def test_never_without_a_maximum(self):
        assert listed(policy.given_up([tried(2)], None)) == []


class TestGoodEnough:
    KNOWN = (weighed(0.0), UNTRIED)

    def found(self, value, se=0.5, reason="k-hat 0.9"):
        return LogMass(Estimate(value, se), 0.1, "importance sampling about the peak", reason)

    def test_an_estimate_that_is_not_doubtful_always_is(self):
        assert policy.good_enough(self.found(0.0, reason=""), self.KNOWN, LIKE_EACH_OTHER)

    def test_a_doubtful_one_is_if_its_upper_bound_is_small(self):
        """Less than 3.9 nats below what is known, with two standard errors of 0.5."""
        assert policy.good_enough(self.found(-5.0), self.KNOWN, LIKE_EACH_OTHER)
        assert not policy.good_enough(self.found(-4.8), self.KNOWN, LIKE_EACH_OTHER)

    def test_beside_laplaces_approximation_where_nothing_is_known(self):
        assert policy.good_enough(self.found(5.0), [UNTRIED, UNTRIED], np.array([10.0, 5.0]))
        assert not policy.good_enough(self.found(5.2), [UNTRIED, UNTRIED], np.array([10.0, 5.0]))


def test_given_draws_suffice_by_their_worth(rng):
    def given(x):
        return LocalDraws(x, -0.5 * x[:, 0] ** 2, np.zeros(len(x), dtype=int), np.ones(len(x)), "given")

    assert policy.suffice(given(rng.standard_normal((1000, 1))))
    assert not policy.suffice(given(rng.standard_normal((399, 1))))
    assert not policy.suffice(given(np.repeat(rng.standard_normal((100, 1)), 10, axis=0)))
    assert not policy.suffice(given(np.sort(rng.standard_normal((1000, 1)), axis=0)))


def test_each_round_draws_twice_as_many():
    assert [policy.draws_wanted(turn, 1000, 2, 8) for turn in range(policy.MAX_ROUNDS)] == [1000, 2000, 4000]
    assert [policy.draws_wanted(turn, 1000, 2, 102) for turn in range(policy.MAX_ROUNDS)] == [4000, 4000, 4000]
    assert policy.draws_wanted(0, 1000, 2, WIDE) == 4000
    assert policy.draws_wanted(0, 1000, 2, WIDE + 1) == 1000


class TestGivenStand:
    """Draws given in a mode against those of chains made here: 8 sds apart in their halves, or all alike."""

    @staticmethod
    def draws(source, halves, **marks):
        x = np.random.default_rng(1).standard_normal((400, 1)) + np.repeat([0.0, halves], 200)[:, None]
        return LocalDraws(x, np.zeros(400), np.zeros(400, dtype=int), np.ones(400), source, **marks)

    @pytest.mark.parametrize(
        ("given", "made", "stand"),
        [
            (0.0, {"halves": 0.0}, False),
            (0.0, {"halves": 8.0}, True),
            (2.0, {"halves": 8.0}, True),
            (8.0, {"halves": 2.0}, False),
            (2.0, {"halves": 0.0, "crawl": True}, True),
        ],
        ids=["both agree", "made disagree", "made disagree more", "given disagree more", "made crawl"],
    )
    def test_the_worse_do_not_replace_the_better(self, given, made, stand):
        assert policy.given_stand(self.draws("given", given), self.draws("HMC", **made)) is stand

    def test_few_never_stand(self):
        few = self.draws("given", 0.0).take(np.arange(99))
        assert not policy.given_stand(few, self.draws("HMC", 8.0))
