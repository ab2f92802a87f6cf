"""Random streams have names: what one fit draws does not depend on which others there are."""

import numpy as np
import pytest
import xarray as xr

import pymc_kl as pkl
from pymc_kl.numerics.random_streams import RandomStreams


def test_a_stream_depends_on_seed_and_name_alone():
    one, two = RandomStreams.of(1), RandomStreams.of(2)
    assert one("a").random() == RandomStreams.of(1)("a").random()
    assert len({one("a").random(), one("b").random(), two("a").random()}) == 3


def test_a_generator_gives_new_streams_at_each_call():
    rng = np.random.default_rng(1)
    first, second = RandomStreams.of(rng), RandomStreams.of(rng)
    assert first("a").random() != second("a").random()


@pytest.fixture(scope="module")
def compared(zoo, exact_draws):
    """Comparisons of one posterior with several sets of fits, by name of the set."""
    _, target = zoo("two_modes")
    draws = exact_draws("two_modes", 4000, 1)

    def one(**fits):
        arguments = {"forward": (), "reverse": None} | fits
        given = {"given": (lambda n, rng: rng.normal(3, 1, (n, 1)), lambda x: -0.5 * (x[:, 0] - 3) ** 2 - 0.9189385332)}
        return pkl.compare(draws, given, model=target, n_draws=500, random_seed=1, progressbar=False, **arguments)

    return {
        "few": one(forward="fullrank"),
        "more": one(forward=("mixture", "fullrank", "meanfield"), reverse=("advi", "meanfield")),
        "alone": one(),
    }


@pytest.mark.parametrize(("one", "two", "fit"), [("few", "more", "forward fullrank"), ("alone", "more", "given")])
def test_other_fits_change_no_number_of_a_fit(one, two, fit, compared):
    one, two = compared[one], compared[two]
    for name in ("posterior", "sample_stats", "modes", "evidence"):
        # What climbed to a mode is counted; nothing else of the reference knows of the fits.
        xr.testing.assert_equal(
            *(dt[name].to_dataset().drop_vars(["hits", "found_by"], errors="ignore") for dt in (one, two))
        )
    assert one[f"approximations/{fit}"].equals(two[f"approximations/{fit}"])
    for name in ("scores", "coverage"):
        xr.testing.assert_identical(
            *(dt[name].to_dataset().sel(approximation=fit).drop_vars("seconds", errors="ignore") for dt in (one, two))
        )
    xr.testing.assert_identical(*(dt["parameters"].to_dataset().sel(source=fit) for dt in (one, two)))
