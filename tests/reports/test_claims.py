"""What the verdict claims of real comparisons, held against exact truth: the sentences, end to end."""

import re
import warnings

import arviz as az
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from problems import UNIMODAL, mean_field_gaussian

import pymc_kl
from pymc_kl import compare
from pymc_kl.approximations import MeanField
from pymc_kl.model.target import Target
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.reports.facts import read_facts
from pymc_kl.reports.making import _steps
from pymc_kl.reports.trust import judge_reference
from pymc_kl.reports.uses import USES
from pymc_kl.reports.verdict import judge

FAST = ("standard_normal_10", "skew_normal", "student_t_location")


def normal(loc: float, scale: float) -> MeanField:
    return MeanField(loc=np.array([loc]), scale=np.array([scale]), kind="reverse")


def stuck(target: Target, loc: float, scale: float, seed: int = 1) -> xr.Dataset:
    """Four chains that never left one mode."""
    rng = np.random.default_rng(seed)
    return target.to_dataset(rng.normal(loc, scale, (4, 500, target.d)))


def verdict_of(dt: xr.DataTree) -> dict[str, list[str]]:
    """Sentences by what they are about."""
    said: dict[str, list[str]] = {}
    for sentence in judge(read_facts(dt)):
        if sentence.rule not in ("first", "uses"):
            said.setdefault(sentence.about, []).append(sentence.text)
    return said


def shares(text: str) -> list[Estimate]:
    """Every share that a sentence gives with its error."""
    found = re.findall(r"([\d.]+) % ± (?:<)?([\d.]+) %", text)
    return [Estimate(float(value) / 100, float(se) / 100) for value, se in found]


@pytest.fixture(scope="module")
def two_modes(zoo):
    """ADVI's optimum in the right mode, chains stuck there, and the forward fits: the masses are 0.7 and 0.3."""
    problem, target = zoo("two_modes")
    draws = stuck(target, 3.0, 1.0)
    fits = {"ADVI": normal(2.999018, 1.001903), "halfway": normal(1.5, 2.0)}
    dt = compare(draws, fits, model=target, random_seed=8, progressbar=False)
    return problem, dt, verdict_of(dt)


def test_the_draws_missed_what_they_missed(two_modes):
    problem, _, said = two_modes
    [text] = [text for text in said[""] if "Your draws miss" in text]
    assert re.match(r"Your draws miss mode 2, which holds (29\.9|30)", text)
    [held] = shares(text)
    assert abs(held.value - problem.masses.min()) < 4 * held.se + 0.005
    match = re.search(r"Their mean of `x` is (-?[\d.]+); over all modes found it is (-?[\d.]+) ± ([\d.]+\d)", text)
    given, right, se = (float(number) for number in match.groups())
    assert given == pytest.approx(3.0, abs=0.1)
    assert abs(right - 1.2) < 4 * se


def test_advi_sits_in_one_of_two_modes_and_is_accurate_there(two_modes):
    problem, dt, said = two_modes
    [text] = said["ADVI"]
    covered, missed = shares(text)[:2]
    assert abs(covered.value - problem.masses.max()) < 4 * covered.se + 1e-3
    assert abs(missed.value - problem.masses.min()) < 4 * missed.se + 1e-3
    assert "reaches mode 1" in text and "misses mode 2" in text and "It fits well there" in text
    within = dt["coverage"]["reverse_kl_within"].sel(approximation="ADVI", mode=1)
    assert abs(float(within) - 0.0006) < 0.01  # nearly a normal, truncated at the saddle


def test_what_polishing_gains_and_leaves_is_told_in_figures(two_modes):
    _, dt, said = two_modes
    [text] = said["halfway"]
    figures = re.search(r"gains ([\d.]+) ± [\d.]+ of its ([\d.]+) ± [\d.]+ nats .* leaves ([\d.]+) ±", text)
    gain, whole, left = map(float, figures.groups())
    scores = dt["scores"].to_dataset().sel(approximation="halfway")
    assert gain == pytest.approx(float(scores["elbo_gap"]), abs=0.01)
    assert whole == pytest.approx(float(scores["reverse_kl"]), abs=0.01)
    assert left == pytest.approx(float(dt["scores"]["reverse_kl"].sel(approximation="halfway (polished)")), abs=0.01)
    assert "which the meanfield family cannot mend from where it stands" in text
    assert "halfway (polished)" in said


def test_the_forward_fits_are_called_what_they_are(two_modes):
    _, _, said = two_modes
    [gaussian] = said["forward fullrank"]
    wide = [float(times) for times in re.findall(r"([\d.]+) times too wide in mode \d", gaussian)]
    assert len(wide) == 2 and min(wide) > 1.5
    [mixture] = said["forward mixture"]
    assert "covers both modes found" in mixture and "corrected by importance sampling" in mixture
    assert float(re.search(r"masses within (\d+) %", mixture)[1]) <= 10


def test_the_commands_to_go_on_with_run(two_modes, zoo):
    """What the report says to do next is code that does it: draws with both modes, and ArviZ's picture of all."""
    _, dt, _ = two_modes
    _, target = zoo("two_modes")
    facts = read_facts(dt)
    steps = list(_steps(facts, judge_reference(facts)))
    known = {"pkl": pymc_kl, "pm": pm, "az": az, "model": target, "comparison": dt, "idata": stuck(target, 3.0, 1.0)}
    for step in steps:
        exec(step.code.replace("az.plot_forest(", "az.plot_forest(backend='none', dt="), known)
    assert "pkl.sample_reference(idata" in steps[0].code
    assert "pkl.fit_reverse('meanfield'" in steps[1].code
    assert float(known["reference"]["modes"]["mass"][0]) == pytest.approx(0.7, abs=0.02)
    assert float((known["draws"]["posterior"]["x"] > -0.73).mean()) == pytest.approx(0.7, abs=0.05)


def test_every_usual_check_is_green_and_the_verdict_is_not(zoo):
    """Half the mass is missing where k-hat is -1.8: two normals ten standard deviations apart."""
    _, target = zoo("two_normals")
    dt = compare(
        stuck(target, 0.0, 1.0),
        {"ADVI": normal(0.02, 1.02)},
        model=target,
        forward=(),
        random_seed=1,
        progressbar=False,
    )
    facts = read_facts(dt)
    assert facts.fits[0].khat < 0
    [text] = verdict_of(dt)["ADVI"]
    assert "reaches mode" in text and "misses mode" in text
    assert "can be corrected" not in text
    assert USES["importance sampling"](facts, facts.fits[0]).answer == "no"
    assert USES["masses of modes"](facts, facts.fits[0]).answer == "no"
    assert any("Your draws miss mode" in text for text in verdict_of(dt)[""])


def test_quickstart_defaults_have_not_converged(zoo):
    _, target = zoo("quickstart")
    dt = compare(None, {"ADVI": normal(0.2, 0.38)}, model=target, forward=(), random_seed=1, progressbar=False)
    [text] = verdict_of(dt)["ADVI"]
    gain = float(re.search(r"ADVI has not converged: polishing gains ([\d.]+) ±", text)[1])
    assert gain > 1.5


@pytest.mark.parametrize("name", [*FAST, *(pytest.param(n, marks=pytest.mark.slow) for n in UNIMODAL if n not in FAST)])
def test_nothing_is_missed_where_there_is_one_mode(name, zoo, exact_draws):
    problem, target = zoo(name)
    fits = {}
    if "meanfield" in problem.reverse:
        best = problem.reverse["meanfield"]
        fits["ADVI"] = MeanField(loc=best.mean, scale=np.sqrt(np.diag(best.cov)), kind="reverse")
    draws = exact_draws(name, 2000, 1) if problem.sample is not None else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a funnel's tails are heavy, and it says so
        dt = compare(draws, fits, model=target, forward=("fullrank",), random_seed=2, progressbar=False)
    facts = read_facts(dt)
    said = " ".join(text for texts in verdict_of(dt).values() for text in texts)
    assert len(facts.modes) == 1
    assert "miss" not in said
    assert "relabelling" not in said and "copies" not in said
    for fit in facts.fits:
        assert USES["masses of modes"](facts, fit).answer == "yes"
        assert USES["starting MCMC"](facts, fit).answer == "yes"
    if name in FAST:
        assert judge_reference(facts).answer == "yes"


def test_draws_as_given_that_never_moved_cannot_be_trusted(zoo):
    _, target = zoo("two_modes")
    rng = np.random.default_rng(1)
    centres, sds = np.array([[-3.0, 3.0, 3.0, 3.0], [0.6, 1.0, 1.0, 1.0]])[..., None, None]
    draws = target.to_dataset(centres + sds * rng.standard_normal((4, 500, 1)))
    fits = {"ADVI": normal(3.0, 1.0)}
    dt = compare(draws, fits, model=target, reference="as given", forward=(), random_seed=1, progressbar=False)
    said = verdict_of(dt)
    assert said[""][0].startswith("Your chains do not agree. R-hat of `x` is ")
    assert said[""][1].startswith("The reference cannot be trusted: the 4 chains never moved between modes.")
    assert said["ADVI"][0].startswith("Against this reference: ADVI reaches mode 1 and misses mode 2.")
    assert not shares(" ".join(said["ADVI"]))


@pytest.mark.slow
def test_the_forward_fit_is_the_worse_proposal_in_a_hundred_dimensions():
    """Equicorrelated normal, d = 100: matching variances covers the mode, and importance sampling can't correct it."""
    problem = mean_field_gaussian(0.5, 100)
    target = Target.from_model(problem.model())
    x = np.random.default_rng(1).multivariate_normal(np.zeros(100), problem.cov, 4000).reshape(4, 1000, 100)
    dt = compare(
        target.to_dataset(x), {}, model=target, reference="as given", forward="meanfield", reverse="meanfield",
        draws=4000, n_starts=64, random_seed=2, progressbar=False,
    )  # fmt: skip
    # Over seeds, k-hat of 4,000 draws of the exact optimum is 0.86 (standard deviation 0.13), and 1.97 (0.18).
    scores = dt["scores"].to_dataset()
    khat, ess = (scores[name].to_series() for name in ("khat", "ess_reverse"))
    assert khat["forward meanfield"] > 1.5 > 1.0 > khat["reverse meanfield"]
    assert ess["reverse meanfield"] > 10 * ess["forward meanfield"]
    said = verdict_of(dt)
    assert any("use these moments, not its draws" in text for text in said["forward meanfield"])
