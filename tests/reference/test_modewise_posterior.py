"""A posterior in pieces of which some have no draws, or so few that they tell nothing, or a mass that is not known."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymc_kl.approximations import MeanField
from pymc_kl.comparison.fit import AssignedFit, Fit
from pymc_kl.comparison.layout import lay_out
from pymc_kl.comparison.make_fits import assign_draws, draw_from, forward_fit
from pymc_kl.comparison.reference import completed_reference
from pymc_kl.comparison.score_fit import score_fit
from pymc_kl.interrupts import Interrupts
from pymc_kl.model.draws import PosteriorDraws
from pymc_kl.modes.masses import Masses
from pymc_kl.modes.search import search_target
from pymc_kl.numerics.estimate import UNKNOWN, Estimate, effective_size
from pymc_kl.numerics.random_streams import RandomStreams
from pymc_kl.reference.audit import audit
from pymc_kl.reference.evidence import Evidence, LogMass
from pymc_kl.reference.layout import posterior_tree
from pymc_kl.reference.local_draws import LocalDraws
from pymc_kl.reference.posterior import N_FOLDS, ModewisePosterior
from pymc_kl.scores.coverage import verdicts
from pymc_kl.scores.marginals import Source, mean_se

NAN = float("nan")
SIZES = [0, 1, 2, 3, 40]
MASSES = [NAN, 0.0, 0.3, 0.7, 1.0]


@pytest.fixture(scope="module")
def pieces(zoo):
    """Make a posterior of two modes with so many draws each, of these masses."""
    problem, target = zoo("two_modes")
    rng = np.random.default_rng(1)
    modes = search_target(target, None, {}, rng=rng)
    x = problem.sample(400, rng)
    canonical, log_density = modes.canonical(x), target.log_density(x)
    given_draws = PosteriorDraws(target, x.reshape(4, 100, 1), log_density.reshape(4, 100))

    def local(k: int, n: int) -> LocalDraws:
        rows = np.flatnonzero(canonical.mode == k)[:n]
        return LocalDraws(x[rows], log_density[rows], canonical.maximum[rows], np.ones(n), "NUTS")

    def make(sizes, mass, covariance=None) -> ModewisePosterior:
        n_draws, blank = np.array([*sizes, 0]), np.full(3, NAN)
        se, upper = np.array([0.01, 0.01, 0.001]), np.array([1.0, 1.0, 0.003])
        masses = Masses(np.array([*mass, 0.0]), se, upper, n_draws, blank, blank, 0, True, "", covariance)
        return ModewisePosterior(
            target=target,
            modes=modes,
            masses=masses,
            log_masses=tuple(LogMass(UNKNOWN, NAN, "none", "too few draws") for _ in sizes),
            evidence=Evidence(Estimate(0.0, 0.01), "bridge sampling", ""),
            local=tuple(local(k, n) for k, n in enumerate(sizes)),
            given=given_draws,
            canonical=canonical,
            partial=False,
        )

    return make


def shares(sizes, mass):
    """What part of the whole the draws of each mode stand for: its mass where that is known, else as much as others."""
    drawn = [m if n and m > 0 else 0.0 for n, m in zip(sizes, mass, strict=True)]
    drawn = drawn if sum(drawn) else [float(n > 0) for n in sizes]
    return np.array(drawn) / max(sum(drawn), 1e-300)


two = st.tuples(st.sampled_from(SIZES), st.sampled_from(SIZES))
two_masses = st.tuples(st.sampled_from(MASSES), st.sampled_from(MASSES))


@settings(max_examples=200, deadline=None)
@given(two, two_masses, st.sampled_from(["thinned", "every"]))
def test_draws_weigh_what_their_modes_do(pieces, sizes, mass, which):
    completed = pieces(sizes, mass)
    drawn = getattr(completed, which)
    counts = np.bincount(drawn.mode, minlength=2)
    assert (counts <= sizes).all() and ((counts > 0) == (np.array(sizes) > 0)).all()
    if which == "every":
        assert counts.tolist() == list(sizes)
    held = np.bincount(drawn.mode, weights=drawn.weights, minlength=2)
    np.testing.assert_allclose(held, shares(sizes, mass), atol=1e-12)
    assert set(drawn.fold) <= set(range(N_FOLDS))
    assert (completed.modes.assign(drawn.x) == drawn.mode).all()
    spread = completed.over_copies(drawn, np.random.default_rng(0))
    assert spread.x.shape == (len(drawn.x), 1) and spread.copy.shape == drawn.mode.shape


@settings(max_examples=200, deadline=None)
@given(two.filter(any), two_masses, st.integers(1, 100), st.integers(0, 2**32 - 1))
def test_draws_of_equal_weight_are_as_many_as_the_masses_ask_for(pieces, sizes, mass, n, seed):
    equal = pieces(sizes, mass).equal(n, np.random.default_rng(seed))
    assert len(equal.x) == n
    counts = np.bincount(equal.mode, minlength=2)
    assert not counts[np.array(sizes) == 0].any()
    assert (abs(counts - n * shares(sizes, mass)) < 1 + 1e-9).all()
    np.testing.assert_array_equal(equal.weights, np.full(n, 1 / n))


def scored(completed, rng):
    """Everything that a comparison says of two fits, beside a posterior in pieces."""
    reference, streams = completed_reference(completed, rng), RandomStreams.of(1)
    q = MeanField(loc=np.zeros(1), scale=np.full(1, 3.0), target=completed.target)
    fits = [Fit("q", q), *(forward_fit(family, reference, streams, Interrupts()) for family in ("fullrank", "mixture"))]
    drawn = draw_from(fits, target=completed.target, n=400, streams=streams, interrupts=Interrupts())
    assigned = assign_draws(drawn, completed.modes)
    scored = [score_fit(fit, reference) if isinstance(fit, AssignedFit) else fit for fit in assigned]
    return lay_out(reference, scored, None, 400, rng)


CASES = [
    *(((n, 40), (0.3, 0.7)) for n in (0, 1, 2, 3)),
    *(((40, n), (0.3, 0.7)) for n in (0, 1, 2, 3)),
    ((0, 1), (0.3, 0.7)), ((1, 0), (0.3, 0.7)), ((1, 1), (0.3, 0.7)), ((2, 2), (0.3, 0.7)),
    ((40, 40), (NAN, 1.0)), ((40, 0), (NAN, 1.0)), ((40, 40), (NAN, NAN)), ((0, 40), (1.0, 0.0)), ((2, 0), (NAN, NAN)),
]  # fmt: skip


FEW = ("ValueError: x must", "ValueError: weights must", "ValueError: coordinates", "LinAlgError")  # draws to fit to


@pytest.mark.parametrize(("sizes", "mass"), CASES)
def test_a_fit_is_scored_whatever_draws_the_modes_have(sizes, mass, pieces, rng):
    dt = scored(pieces(sizes, mass), rng)
    scores = dt["scores"].to_dataset().sel(approximation="q")
    assert str(scores["error"].item()) == ""
    assert np.isfinite(
        [float(scores[name]) for name in ("elbo", "khat", "ess_reverse", "spill", "spill_se", "eubo")]
    ).all()
    modes = dt["modes"].to_dataset()
    np.testing.assert_array_equal(modes["mass"], mass)
    assert (modes["n_draws"] <= sizes).all() and not modes["n_draws"][np.array(sizes) == 0].any()
    covered = dt["coverage"].to_dataset().sel(approximation="q")
    assert (covered["mass"] > 0.2).all() and (covered["verdict"] != "").all()
    assert np.isfinite(dt["parameters"]["x"].sel(source="reference", statistic="mean"))
    for name in ("forward fullrank", "forward mixture"):
        of_fit = dt["scores"].to_dataset().sel(approximation=name)
        few = str(of_fit["error"].item()).startswith(FEW)
        assert few != np.isfinite(float(of_fit["elbo"]))


@pytest.mark.parametrize(("sizes", "mass"), CASES)
def test_a_reference_is_laid_out_whatever_draws_the_modes_have(sizes, mass, pieces, rng):
    dt = posterior_tree(pieces(sizes, mass), draws=50, chains=2, relabel=False, rng=rng)
    assert dt["posterior"].sizes["draw"] == 50
    weights = dt["local"]["sample_stats"]["weight"].values
    assert weights.sum() == pytest.approx(1) and (weights >= 0).all()
    assert np.isfinite(dt["audit/means"]["x"].sel(quantity="reference"))


def test_a_posterior_without_any_draws_is_refused_with_the_reason(pieces, rng):
    evidence = Evidence(UNKNOWN, "bridge sampling", "mode 1: chains failed there")
    nothing = replace(pieces((0, 0), (0.3, 0.7)), evidence=evidence)
    for make in (
        lambda: completed_reference(nothing, rng),
        lambda: posterior_tree(nothing, draws=5, chains=1, relabel=False, rng=rng),
    ):
        with pytest.raises(RuntimeError, match=r"no mode could be sampled.*mode 1: chains failed there"):
            make()


def test_a_mode_without_draws_adds_no_error_that_depends_on_the_origin(pieces):
    covariance = 1e-4 * np.array([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    completed = pieces((0, 40), (0.3, 0.7), covariance)
    drawn = completed.thinned
    source = Source(drawn.x, drawn.weights, drawn.mode, completed.masses)
    assert mean_se(drawn.x + 1e6, source) == pytest.approx(mean_se(drawn.x, source), rel=1e-6)


def test_the_audit_takes_a_mode_without_draws(pieces):
    assert audit(pieces((0, 40), (0.3, 0.7)))["n_draws"].sum() == 400


def test_a_mode_of_unknown_mass_and_bound_is_missed_by_who_is_not_there(pieces):
    p = replace(pieces((40, 40), (0.0, NAN)).masses, upper=np.array([0.1, NAN, 0.1]))
    q = replace(p, mass=np.array([1.0, 0.0, 0.0]), upper=np.array([1.0, 0.01, 0.01]))
    assert verdicts(p, q)[1] == "missed"


@pytest.mark.parametrize(("chains", "draws"), [*product((1, 4), range(6))])
def test_few_draws_are_worth_no_more_than_they_are(chains, draws):
    size = effective_size(np.random.default_rng(draws).standard_normal((chains, draws)))
    assert 0 < size <= chains * draws if draws else size == 0
