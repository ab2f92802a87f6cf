"""What compare() takes, refuses, keeps and repeats."""

import copy
import json
import re
import warnings

import arviz as az
import numpy as np
import pymc as pm
import pytest
import xarray as xr

import pymc_kl as pkl
from pymc_kl.approximations import Draws, FullRank, MeanField
from pymc_kl.comparison.io import check_comparison
from pymc_kl.model.datatree import FORMAT
from pymc_kl.model.target import Target
from pymc_kl.reports.making import reproduce


@pytest.fixture(scope="module")
def two_modes(zoo):
    return zoo("two_modes")


@pytest.fixture(scope="module")
def draws(exact_draws):
    return exact_draws("two_modes", 4000, 1)


@pytest.fixture(scope="module")
def advi(two_modes):
    _, target = two_modes
    with target.model:
        return pm.fit(2000, random_seed=1, progressbar=False)


@pytest.fixture(scope="module")
def comparison(two_modes, draws, advi):
    _, target = two_modes
    return pkl.compare(draws, {"ADVI": advi}, model=target, random_seed=3, progressbar=False)


def without_clock(dt: xr.DataTree) -> xr.DataTree:
    """Drop what may differ between two runs: the time, and how long each part took."""
    dt = dt.copy()
    dt["scores"] = xr.DataTree(dt["scores"].to_dataset().drop_vars("seconds"))
    dt.attrs = {k: v for k, v in dt.attrs.items() if k not in ("creation_time", "seconds")}
    return dt


def test_the_tree_holds_the_contract(comparison):
    assert {"posterior", "sample_stats", "modes", "approximations", "scores", "coverage", "evidence"} <= set(
        comparison.children
    )
    assert set(comparison["sample_stats"].data_vars) == {"log_density", "mode"}
    assert set(comparison["approximations/ADVI"].children) >= {"posterior", "sample_stats"}
    assert {"log_density", "log_prob", "mode"} <= set(comparison["approximations/ADVI/sample_stats"].data_vars)
    assert comparison["approximations/ADVI/fit"]["loss"].sizes["step"] == 2000
    seconds = json.loads(comparison.attrs["seconds"])
    assert set(seconds) >= {"search for modes", "forward-KL fits", "scores"}
    assert all(value >= 0 for value in seconds.values())


def test_same_seed_same_numbers(comparison, two_modes, draws, advi):
    _, target = two_modes
    again = pkl.compare(draws, {"ADVI": advi}, model=target, random_seed=3, progressbar=False)
    xr.testing.assert_identical(without_clock(again), without_clock(comparison))
    other = pkl.compare(draws, {"ADVI": advi}, model=target, random_seed=4, progressbar=False)
    assert float(other["scores"]["elbo"][0]) != float(comparison["scores"]["elbo"][0])


def test_inputs_are_not_changed(two_modes, draws, advi):
    _, target = two_modes
    before, parameters = copy.deepcopy(draws), {k: v.eval().copy() for k, v in advi.params_dict.items()}
    fits = {"ADVI": advi}
    names = [v.name for v in target.model.value_vars]
    pkl.compare(draws, fits, model=target, forward=("fullrank",), random_seed=3, progressbar=False)
    xr.testing.assert_identical(draws, before)
    assert list(fits) == ["ADVI"]
    assert names == [v.name for v in target.model.value_vars]
    for key, value in parameters.items():
        np.testing.assert_array_equal(advi.params_dict[key].eval(), value)


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_saved_and_loaded_is_the_same(suffix, comparison, tmp_path):
    path = pkl.save(comparison, tmp_path / f"comparison{suffix}")
    loaded = pkl.load(path)
    assert loaded.attrs == comparison.attrs
    for group in comparison.subtree:
        xr.testing.assert_equal(group.to_dataset(), loaded[group.path].to_dataset())
    pkl.summary(loaded)
    assert pkl.coverage(loaded).equals(pkl.coverage(comparison))
    with pytest.raises(FileExistsError, match="overwrite=True"):
        pkl.save(comparison, path)
    pkl.save(comparison, path, overwrite=True)


def test_tables(comparison):
    table = pkl.summary(comparison)
    every = pkl.summary(comparison, kind="all")
    assert list(table.index) == list(every.index) and {"ADVI", "ADVI (polished)"} < set(table.index)
    assert table.index[0] == every.sort_values(["missed_mass", "forward_kl"]).index[0]
    assert len(table.columns) == 6 < len(every.columns)
    written = re.fullmatch(r"(.+) ± (.+)", table["reverse_kl"].iloc[0])
    assert [float(number) for number in written.groups()] == pytest.approx(
        every[["reverse_kl", "reverse_kl_se"]].iloc[0].tolist(), rel=0.1, abs=1e-3
    )
    assert pkl.summary(comparison, round_to="none")["reverse_kl"].equals(every["reverse_kl"])
    coverage = pkl.coverage(comparison, values=("mass", "verdict"))
    assert list(coverage.index) == [1, 2, "elsewhere"]
    to_read, numbers = pkl.coverage(comparison), pkl.coverage(comparison, round_to="none")
    for name in coverage.columns.get_level_values(0).unique():
        assert coverage[(name, "mass")].sum() == pytest.approx(1, abs=1e-9)
        assert numbers[(name, "%")].tolist() == (100 * coverage[(name, "mass")]).tolist()
    mass, low, high = map(float, re.fullmatch(r"(.+) \((.+)–(.+)\)", to_read["ADVI", "%"].iloc[0]).groups())
    row = comparison["coverage"].to_dataset().sel(approximation="ADVI").isel(mode=0)
    held = [100 * float(row[name]) for name in ("mass", "mass_lower", "mass_upper")]
    assert [mass, low, high] == pytest.approx(held, abs=0.01)
    assert to_read["ADVI", "verdict"].tolist()[0] != "covered"
    one = pkl.summary(comparison, columns=["elbo"], round_to=2)["elbo"]
    assert one.equals(every["elbo"].round(2))
    with pytest.raises(ValueError, match="unknown score 'weight' in columns"):
        pkl.summary(comparison, columns=["weight"])
    with pytest.raises(ValueError, match="kind must be one of 'main', 'all'"):
        pkl.summary(comparison, kind="some")
    with pytest.raises(ValueError, match="unknown values 'weight'"):
        pkl.coverage(comparison, values=["weight"])


def test_weighted_reference_gives_the_masses_of_its_weights(two_modes):
    problem, target = two_modes
    rng = np.random.default_rng(0)
    x = rng.uniform(-6, 7, (1, 20_000, 1))
    weight = np.exp(problem.log_density(x[0]))[None]
    dt = xr.DataTree.from_dict(
        {
            "posterior": target.to_dataset(x),
            "sample_stats": xr.Dataset({"weight": (("chain", "draw"), weight)}),
        }
    )
    result = pkl.compare(dt, {}, model=target, forward=("fullrank",), random_seed=1, progressbar=False)
    modes = result["modes"].to_dataset()
    for mass, se, truth in zip(modes["mass"].values, modes["mass_se"].values, (0.699957, 0.300043), strict=True):
        assert abs(mass - truth) < 3 * se
    row = result["scores"].to_dataset().sel(approximation="forward fullrank")
    assert abs(float(row["forward_kl"]) - 0.604861) < 3 * float(row["forward_kl_se"]) + 1e-3
    equal = result["posterior"]["x"].values
    assert abs(equal.mean() - 1.2) < 0.1


def test_draws_without_density_have_coverage_but_no_divergence(two_modes, draws, exact_draws):
    _, target = two_modes
    dt = pkl.compare(draws, {"other": exact_draws("two_modes", 2000, 9)}, model=target, forward=(), random_seed=1,
                     progressbar=False)  # fmt: skip
    row = dt["scores"].to_dataset().sel(approximation="other")
    assert str(row["kind"].item()) == "draws"
    for name in ("forward_kl", "reverse_kl", "elbo", "eubo", "khat", "ess_reverse"):
        assert np.isnan(float(row[name])), name
    assert float(row["mode_tv"]) < 0.1
    assert set(dt["coverage"]["verdict"].sel(approximation="other").values) == {"covered"}


@pytest.mark.parametrize(("n", "n_strays"), [(60, 0), (200, 1)])
def test_particles_with_hardly_one_in_a_mode_sound_the_alarm(two_modes, draws, n, n_strays):
    """They may come from a fit that has a tenth of the mode, but not from one that has all of it."""
    every = draws["x"].values
    x = every[every > 0][:n]
    x[n // 2 : n // 2 + n_strays] = -3
    particles, (_, target) = xr.Dataset({"x": (("chain", "draw"), x[None])}), two_modes
    comparison = pkl.compare(draws, {"particles": particles}, model=target, forward=(), progressbar=False)
    assert comparison["coverage"]["verdict"].sel(approximation="particles").values.tolist()[1] == "under"
    assert comparison["scores"]["alarm"].sel(approximation="particles")


def test_one_failing_fit_does_not_lose_the_rest(two_modes, draws, monkeypatch):
    _, target = two_modes

    def fail(*_args, **_kwargs):
        raise FloatingPointError("NaN occurred in optimization")

    monkeypatch.setattr(pm, "fit", fail)
    dt = pkl.compare(draws, model=target, forward=("fullrank",), reverse=("advi",), random_seed=1, progressbar=False)
    assert dt["scores"]["approximation"].values.tolist() == ["ADVI", "forward fullrank"]
    row = dt["scores"].to_dataset().sel(approximation="ADVI")
    assert "NaN occurred" in str(row["error"].item())
    assert np.isnan(float(row["elbo"]))
    assert np.isfinite(float(dt["scores"]["forward_kl"].sel(approximation="forward fullrank")))
    assert "ADVI" not in dt["approximations"].children


def test_without_arguments_it_samples_and_fits(two_modes):
    _, target = two_modes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        dt = pkl.compare(model=target, forward=("fullrank",), random_seed=1, progressbar=False)
    assert dt["posterior"].sizes["chain"] == 4
    names = dt["scores"]["approximation"].values.tolist()
    assert {"ADVI", "full-rank ADVI", "forward fullrank"} <= set(names)
    assert not any(str(e) for e in dt["scores"]["error"].values)


def test_user_starts_find_a_mode_that_nothing_else_reaches():
    with pm.Model() as model:
        x = pm.Normal("x", 0.0, 0.5)
        pm.Potential("far", pm.math.logaddexp(0.0, 4900.0 - 0.5 * ((x - 100) / 0.01) ** 2 + 2 * x**2 - 100.0 * x * 0))
    target = Target.from_model(model)
    chains = np.random.default_rng(0).normal(0, 0.5, (4, 500, 1))
    alone = pkl.find_modes(target.to_dataset(chains), model=target, random_seed=1)
    helped = pkl.find_modes(target.to_dataset(chains), model=target, starts=np.array([[100.0]]), random_seed=1)
    assert helped.k == alone.k + 1
    assert any("user" in name.split("+") for name in helped.found_by)


def other_model() -> pm.Model:
    with pm.Model() as model:
        pm.Normal("y", 0, 1, shape=2)
    return model


def fit_of_another_model():
    with other_model():
        return pm.fit(1, progressbar=False)


def reverse_normal() -> MeanField:
    return MeanField(loc=np.zeros(1), scale=np.ones(1), kind="reverse")


BAD = [
    (lambda d: {"approximations": {".": d}}, ValueError, r"must be text.*got '\.'"),
    (lambda d: {"approximations": {"..": d}}, ValueError, r"must be text.*got '\.\.'"),
    (lambda d: {"approximations": {" ": d}}, ValueError, r"must be text.*got ' '"),
    (lambda d: {"approximations": {"nul\0": d}}, ValueError, r"must be text.*got 'nul\\x00'"),
    (lambda d: {"approximations": {"\ud800": d}}, ValueError, r"must be text.*got '\\ud800'"),
    (lambda d: {"approximations": {"forward mixture": d}}, ValueError, "'forward mixture' is taken by a fit"),
    (lambda d: {"approximations": [d]}, TypeError, r"must be a dict of fits by name.*got list"),
    (lambda d: {"approximations": {"b": d, "a": 3}}, TypeError, "approximation 'a': cannot read a fit of type int"),
    (lambda d: {"approximations": {}, "forward": ("svi",)}, ValueError, "'svi' in forward; known are 'auto'"),
    (lambda d: {"approximations": {}, "reverse": "svi"}, ValueError, "unknown method 'svi' in reverse; known"),
    (lambda d: {"approximations": {"reverse meanfield (all optima)": d}, "reverse": "meanfield"}, ValueError, "taken"),
    (lambda d: {"approximations": {"a": in_parts(), "a (left)": d}}, ValueError, r"'a \(left\)'\] names both a fit"),
    (lambda d: {"approximations": {"a": reverse_normal(), "a (polished)": d}}, ValueError, r"polished fit.*beside 'a'"),
    (lambda d: {"approximations": {"ADVI (polished)": d}, "reverse": "advi"}, ValueError, "is taken by a fit that"),
    (lambda d: {"approximations": {"b": d, "a": "no.nc"}}, FileNotFoundError, "approximation 'a': "),
    (lambda d: {"approximations": {"b": d, "a": (lambda n, rng: 3, None)}}, ValueError, "approximation 'a': "),
    (lambda d: {"approximations": {}, "reverse": ("svgd",)}, ValueError, "unknown method 'svgd' in reverse; known"),
    (lambda d: {"approximations": {}, "draws": 10}, ValueError, "draws must be at least 100"),
    (lambda d: {"approximations": {}, "starts": np.zeros((3, 2))}, ValueError, r"shape \(n, 1\); got \(3, 2\)"),
    (lambda d: {"approximations": {"q": FullRank(loc=np.zeros(2), scale_tril=np.eye(2))}}, ValueError,
     "2 dimensions and the model 1"),
    (lambda d: {"approximations": {}, "idata": d.isel(draw=slice(1))}, ValueError, "at least 4 draws to judge"),
    (lambda d: {"approximations": {}, "reference": d}, TypeError, "one of 'complete', 'as given'; got a value of"),
    (lambda d: {"approximations": {}, "n_starts": 0}, ValueError, "n_starts must be at least 1; got 0"),
    (lambda d: {"approximations": {}, "draws": "many"}, TypeError, "draws must be a whole number.*got 'many'"),
    (lambda d: {"approximations": {}, "draws": 150.5}, TypeError, "draws must be a whole number.*got 150.5"),
    (lambda d: {"approximations": {}, "min_barrier": -1}, ValueError, "min_barrier must be at least 0; got -1"),
    (lambda d: {"approximations": {}, "min_barrier": np.nan}, ValueError, "at least 0 and finite; got nan"),
    (lambda d: {"approximations": {}, "forward": 3}, TypeError, "a name or a sequence of names; got 3"),
    (lambda d: {"idata": pm.Model()}, TypeError, r"must be draws.*Write compare\(\.\.\., model=model"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "error", "match"), BAD)
def test_bad_input_is_refused_by_name(arguments, error, match, two_modes, draws):
    _, target = two_modes
    given = {"idata": draws, "model": target, "progressbar": False} | arguments(draws)
    with pytest.raises(error, match=match):
        pkl.compare(**given)


def test_a_fit_on_another_model_is_refused_by_name(two_modes, draws):
    _, target = two_modes
    with pytest.raises(ValueError, match=r"another model: .*'y' has shape \(2,\) there and none here"):
        pkl.compare(draws, {"q": fit_of_another_model()}, model=target, progressbar=False)


def test_draws_where_the_model_has_no_density_are_refused():
    with pm.Model() as model:
        x = pm.Normal("x")
        pm.Potential("positive", pm.math.switch(x > 0, 0.0, -np.inf))
    target = Target.from_model(model)
    ds = target.to_dataset(np.linspace(-1, 1, 20).reshape(2, 10, 1))
    with pytest.raises(ValueError, match="10 of 20 draws have zero or undefined density"):
        pkl.compare(ds, {}, model=target, progressbar=False)


def test_fewer_draws_than_dimensions_are_refused(zoo):
    _, target = zoo("gaussian_condition")
    ds = target.to_dataset(np.zeros((1, 20, 20)))
    with pytest.raises(ValueError, match="in 20 dimensions needs at least 21 draws; got 20"):
        pkl.compare(ds, {}, model=target, progressbar=False)


def test_bad_weights_are_refused(two_modes, draws):
    _, target = two_modes
    for weight, match in ((-1.0, "finite weights >= 0"), (0.0, "sum to 0")):
        stats = xr.Dataset({"weight": (("chain", "draw"), np.full((4, 1000), weight))})
        dt = xr.DataTree.from_dict({"posterior": draws, "sample_stats": stats})
        with pytest.raises(ValueError, match=match):
            pkl.compare(dt, {}, model=target, progressbar=False)


def test_no_model_and_no_comparison():
    with pytest.raises(ValueError, match="no model: call this inside"):
        pkl.compare(progressbar=False)
    with pytest.raises(TypeError, match="comparison must be the DataTree"):
        pkl.summary(3)
    with pytest.raises(ValueError, match="it lacks the groups posterior, modes"):
        pkl.summary(xr.DataTree())


def test_a_newer_format_is_refused(comparison):
    newer = comparison.copy()
    newer.attrs = {**comparison.attrs, "pymc_kl_format": 99}
    with pytest.raises(ValueError, match=r"format 99 by pymc_kl 0\.1\.0; this version reads up to 5"):
        pkl.coverage(newer)


def test_format_3_called_the_masses_mixed(comparison):
    nodes = {node.path: node.to_dataset() for node in comparison.subtree}
    for path in ("/modes", "/audit"):
        attrs = nodes[path].attrs
        nodes[path].attrs = {("mixes" if key == "masses_known" else key): value for key, value in attrs.items()}
    older = xr.DataTree.from_dict(nodes)
    older.attrs = {**comparison.attrs, "pymc_kl_format": 3}
    new = check_comparison(older)
    for name in ("modes", "audit"):
        assert new[name].attrs == comparison[name].attrs


def test_format_4_had_no_third_answer_on_convergence(comparison):
    """Its 1 stood for a gap that may be below the limit, which is judged anew."""
    scores = comparison["scores"].to_dataset()
    fits = scores.sizes["approximation"]
    gap, se, old = np.array([[0.01, 5.0, 3.0], [0.001, 3.0, 0.1], [1.0, 1.0, 0.0]])
    older = comparison.copy()
    values = {"elbo_gap": gap, "elbo_gap_se": se, "converged": old}
    filled = {name: np.append(v, np.full(fits, np.nan))[:fits] for name, v in values.items()}
    older["scores"].dataset = scores.assign({name: ("approximation", v) for name, v in filled.items()})
    older.attrs = {**comparison.attrs, "pymc_kl_format": 4}
    found = check_comparison(older)["scores"]["converged"].values.tolist()
    assert found == (["yes", "cannot tell", "no"] + [""] * fits)[:fits]


def test_an_older_format_is_converted(comparison):
    nodes = {
        node.path: node.to_dataset()
        for node in comparison.subtree
        if node.path.split("/")[1] not in ("parameters", "line")
    }
    nodes["/modes"] = nodes["/modes"].drop_vars("pass_log_density")
    older = xr.DataTree.from_dict(nodes)
    older.attrs = {**comparison.attrs, "pymc_kl_format": 1}
    assert pkl.coverage(older).equals(pkl.coverage(comparison))
    new = check_comparison(older)
    assert (new.attrs["pymc_kl_format"], new.attrs["converted_from"]) == (FORMAT, 1)
    assert "reference" in older["approximations/ADVI"].children
    assert "reference" not in new["approximations/ADVI"].children
    nameless = older.copy()
    nameless.attrs = {}
    with pytest.raises(ValueError, match="does not say which version"):
        pkl.summary(nameless)


def test_densities_on_the_line_integrate_to_one(comparison):
    line, evidence = comparison["line"].to_dataset(), comparison["evidence"]
    log_z, se = (float(evidence[name]) for name in ("log_evidence", "log_evidence_se"))
    x = line["x"].values
    mass = np.trapezoid(np.exp(line["log_density"].values - log_z), x)
    assert abs(mass - 1) < 5 * se + 1e-4
    assert line.attrs["variable"] == "x"
    for name in line["approximation"].values:
        assert np.trapezoid(np.exp(line["log_prob"].sel(approximation=name).values), x) == pytest.approx(1, abs=2e-3)


def test_log_q_is_kept_at_the_draws_that_are_kept(comparison, two_modes, advi):
    _, target = two_modes
    q = pkl.as_approximation(advi, model=target)
    x = target.unconstrain(comparison["posterior"].to_dataset())
    kept = comparison["approximations/ADVI/reference"]["log_prob"].values
    np.testing.assert_allclose(kept, q.log_prob(x.reshape(-1, 1)).reshape(kept.shape), rtol=1e-9)
    density = target.log_density(x.reshape(-1, 1)).reshape(kept.shape)
    np.testing.assert_allclose(comparison["sample_stats"]["log_density"], density, rtol=1e-9)


def test_the_pass_between_two_modes_is_at_the_saddle(comparison, two_modes):
    problem, _ = two_modes
    saddle = float(problem.log_density(np.array([[-0.73127]]))[0])
    passes = comparison["modes"]["pass_log_density"].values
    np.testing.assert_allclose([passes[0, 1], passes[1, 0]], saddle, atol=0.01)  # of the points looked at on the line
    assert np.isnan(np.diag(passes)).all()
    maxima = comparison["modes"]["log_density"].values
    np.testing.assert_allclose(comparison["modes"]["barrier"], maxima.min() - passes[0, 1])


def test_a_fit_to_one_labelling_is_judged_up_to_labels_too(zoo):
    """q has one of two copies: log 2 of its reverse KL is the other's absence, and its forward KL is all that."""
    problem, target = zoo("normal_2")
    x = problem.sample(2000, np.random.default_rng(5))
    home = x[x[:, 1] < x[:, 2]] if x.shape[1] > 2 else x[x[:, 0] < x[:, 1]]
    q = FullRank.fit_forward(home)
    dt = pkl.compare(None, {"one labelling": q}, model=target, forward=("mixture",), random_seed=1, progressbar=False)
    scores = dt["scores"].to_dataset().sel(approximation="one labelling")
    names = ("reverse_kl", "reverse_kl_relabelled", "reverse_kl_relabelled_se", "forward_kl_relabelled", "forward_kl")
    reverse, relabelled, se, forward_relabelled, forward = (float(scores[name]) for name in names)
    assert reverse - relabelled == pytest.approx(np.log(2), abs=0.02)
    assert -5 * se < relabelled < 0.2
    assert forward_relabelled < 0.2 < 5 < forward
    reached = dt["coverage"]["copies_reached"]
    assert float(reached.sel(approximation="one labelling", mode=1)) == 1
    assert float(reached.sel(approximation="forward mixture", mode=1)) == 2
    mixture = dt["scores"].to_dataset().sel(approximation="forward mixture")
    assert float(mixture["forward_kl"]) == pytest.approx(float(mixture["forward_kl_relabelled"]), abs=1e-9)


def test_a_model_may_use_the_names_of_our_dims(tmp_path):
    names = ("mode", "other_mode", "quantity", "source", "statistic", "approximation", "step", "point")
    with pm.Model(coords={name: ["a", "b"] for name in names}) as model:
        for name in names:
            pm.Normal(f"of_{name}", dims=name)
        draws = pm.sample_prior_predictive(500, random_seed=1)["prior"].to_dataset()
        dt = pkl.compare(draws, {}, forward=("meanfield",), random_seed=1, progressbar=False)
    assert dt["posterior"]["of_mode"].dims == ("chain", "draw", "mode")
    loaded = pkl.load(pkl.save(dt, tmp_path / "comparison.nc"))
    assert "of_statistic[a]" in pkl.report(loaded).html
    assert model.coords["mode"] == ("a", "b")


def test_odd_names_are_kept_in_files(tmp_path):
    fits = ("=1+1", "<img src=x onerror=alert(1)>", "new\nline", "trailing ", "..\\x", "x" * 300)
    with pm.Model(coords={"=dim ": ["a\n", "b"]}):
        pm.Normal("<b>\n", dims="=dim ")
        draws = pm.sample_prior_predictive(500, random_seed=1)["prior"].to_dataset()
        dt = pkl.compare(draws, dict.fromkeys(fits, draws), forward=(), random_seed=1, progressbar=False)
    assert list(dt["approximations"].children) == list(fits)
    for suffix in (".nc", ".zarr"):
        loaded = pkl.load(pkl.save(dt, tmp_path / f"comparison{suffix}"))
        xr.testing.assert_identical(loaded, dt)
        assert set(pkl.summary(loaded).index) == set(fits)


@pytest.mark.parametrize("start", [pkl.compare, pkl.sample_reference])
def test_dims_that_no_datatree_can_hold_are_refused_at_once(start):
    with pm.Model(coords={"a/b": [1, 2]}) as model:
        pm.Normal("x", dims="a/b")
    with pytest.raises(ValueError, match=r"without a slash.*got \['a/b'\]. Rename them in the model"):
        start(model=model, progressbar=False)


def test_an_approximation_may_be_called_reference(two_modes, draws, advi):
    _, target = two_modes
    dt = pkl.compare(draws, {"reference": advi}, model=target, forward=(), random_seed=1, progressbar=False)
    sources = dt["parameters"]["source"].values.tolist()
    assert sources[:2] == ["reference draws", "reference"]
    assert len(set(sources)) == len(sources)
    assert "reference draws" in pkl.report(dt).html


@pytest.mark.parametrize("plot", [az.plot_forest, az.plot_dist], ids=["forest", "dist"])
def test_arviz_takes_a_comparison_as_a_dictionary(plot, comparison):
    """Reference and approximations have draws of one shape, so ArviZ sets them side by side without a gap."""
    together = {"reference": comparison, **comparison["approximations"].children}
    sizes = {(dt["posterior"].sizes["chain"], dt["posterior"].sizes["draw"]) for dt in together.values()}
    assert sizes == {(4, 500)}
    pc = plot(together, backend="none")
    assert pc.data["x"].sizes["model"] == len(together)
    assert not pc.data["x"].isnull().any()
    assert az.summary(together["ADVI"]).index.tolist() == ["x"]


def test_posterior_without_maximum_is_one_region(zoo):
    _, target = zoo("eight_schools_centred")
    with warnings.catch_warnings(), target.model:
        warnings.simplefilter("ignore")
        draws = pm.sample(300, tune=300, chains=2, random_seed=1, progressbar=False)
        dt = pkl.compare(draws, {}, model=target, forward=("meanfield",), random_seed=1, progressbar=False)
    assert dt["modes"].attrs["proper"] == 0
    assert dt["modes"].sizes["mode"] == 1
    assert np.isnan(dt["modes"]["barrier"].item())


def test_to_datatree_has_the_model_s_own_variables(two_modes):
    _, target = two_modes
    q = MeanField(loc=np.array([1.0]), scale=np.array([2.0]), target=target)
    dt = q.to_datatree(500, random_seed=1)
    assert dt["posterior"]["x"].dims == ("chain", "draw")
    np.testing.assert_allclose(
        dt["sample_stats"]["log_prob"].values[0], q.log_prob(dt["posterior"]["x"].values[0][:, None])
    )
    with pytest.raises(ValueError, match="needs the model to name its variables"):
        MeanField(loc=np.zeros(1), scale=np.ones(1)).to_datatree()
    with pytest.raises(TypeError, match="has no log_prob"):
        Draws(x=np.zeros((3, 1))).log_prob(np.zeros((1, 1)))


class Broken(MeanField):
    """Has a density that fails."""

    def _log_prob(self, x):  # noqa: ARG002
        raise FloatingPointError("no density today")


class NotDrawn(MeanField):
    """Can't be drawn from."""

    def _sample(self, n, rng):  # noqa: ARG002
        raise FloatingPointError("no draws today")


def test_an_approximation_that_cannot_be_drawn_from_is_a_row_with_its_error(two_modes, draws):
    _, target = two_modes
    broken = NotDrawn(loc=np.zeros(1), scale=np.ones(1), kind="reverse")
    dt = pkl.compare(draws, {"broken": broken}, model=target, forward="meanfield", random_seed=1, progressbar=False)
    assert str(dt["scores"]["error"].sel(approximation="broken").item()) == "FloatingPointError: no draws today"
    assert np.isfinite(float(dt["scores"]["elbo"].sel(approximation="forward meanfield")))
    assert pkl.coverage(dt, round_to="none")[("broken", "%")].isna().all()


def test_an_approximation_whose_density_fails_costs_the_scores_that_need_it(two_modes, draws):
    """One part of a fit's scores that fails costs that part."""
    _, target = two_modes
    broken = Broken(loc=np.zeros(1), scale=np.ones(1), kind="reverse")
    good = MeanField(loc=np.array([3.0]), scale=np.ones(1), kind="reverse")
    dt = pkl.compare(
        draws, {"broken": broken, "good": good}, model=target, forward=(), random_seed=1, progressbar=False
    )
    row = dt["scores"].to_dataset().sel(approximation="broken")
    assert str(row["error"].item()).startswith("log q at its own draws, log q at draws of the posterior")
    assert "log q along the line: FloatingPointError: no density today" in str(row["error"].item())
    assert np.isfinite(float(dt["scores"]["elbo"].sel(approximation="good")))
    assert np.isfinite([float(row[name]) for name in ("spill", "mode_tv", "emc", "missed_mass")]).all()
    assert np.isnan([float(row[name]) for name in ("elbo", "eubo", "reverse_kl", "forward_kl", "khat")]).all()
    assert pkl.coverage(dt, round_to="none")[("broken", "%")].notna().all()


def in_parts() -> Draws:
    halves = {"left": Draws(x=np.full((50, 1), -3.0)), "right": Draws(x=np.full((50, 1), 3.0))}
    return Draws(x=np.linspace(-4, 4, 100)[:, None], info={"parts": halves})


@pytest.fixture(scope="module")
def chosen(two_modes, draws):
    """Families by name, one of them alone, and a fit that is made of parts."""
    _, target = two_modes
    return pkl.compare(
        draws, {"paths": in_parts()}, model=target, forward="auto", reverse=("auto", "meanfield"), random_seed=1,
        progressbar=False,
    )  # fmt: skip


def test_families_are_chosen_by_name(chosen):
    scores = chosen["scores"].to_dataset()
    assert list(scores["approximation"].values) == [
        "paths", "paths (left)", "paths (right)", "reverse auto", "reverse meanfield",
        "reverse meanfield (all optima)", "forward auto",
    ]  # fmt: skip
    family = scores["family"].to_series()
    assert family["forward auto"] == family["reverse auto"] == family["reverse meanfield (all optima)"] == "mixture"
    reverse = scores[["reverse_kl", "reverse_kl_se"]].to_dataframe()
    assert abs(reverse.loc["reverse meanfield", "reverse_kl"] - 0.356438) < 5 * reverse.loc["reverse meanfield"].iloc[1]
    assert abs(reverse.loc["reverse auto", "reverse_kl"]) < 0.005 + 5 * reverse.loc["reverse auto"].iloc[1]
    fit = chosen["approximations/reverse auto/fit"].to_dataset()
    assert json.loads(fit.attrs["info"])["choice"].startswith("mixture: ")
    assert fit["optimum_starts"].sum() == 32
    assert fit["optimum"].values.tolist() == fit["optimum_mode"].values.tolist() == [1, 2]
    np.testing.assert_allclose(fit["optimum_loc"].squeeze(), [3, -3], atol=0.05)
    reverse_kl = -fit["optimum_elbo"]  # log Z is 0
    np.testing.assert_array_less(abs(reverse_kl - [0.356438, 1.203907]), 4 * fit["optimum_elbo_se"] + 1e-3)
    assert fit["optimum_converged"].all()


def test_the_report_says_where_starts_settled(chosen):
    table = re.search(r'id="starts-table".*?</table>', pkl.report(chosen).html, re.DOTALL)
    text = " ".join(re.sub(r"<[^>]+>", " ", table.group()).split())
    assert re.search(r"reverse meanfield, optimum 1 \d+ -0\.35\d+ ± 0\.\d+ mode 1 yes", text)
    assert re.search(r"reverse meanfield, optimum 2 \d+ -1\.20\d+ ± 0\.\d+ mode 2 yes", text)


def test_the_call_that_is_shown_makes_no_row_of_parts(chosen):
    text = reproduce(chosen)
    assert "{'paths': paths}" in text
    assert "reverse=['auto', 'meanfield']" in text
    assert "all optima" not in text


def test_the_call_that_is_shown_names_every_fit_that_was_given(two_modes, draws):
    """A name that ends like that of a part is the user's own; one of before names were kept is told by its row."""
    _, target = two_modes
    fits = {name: MeanField(loc=np.array([3.0]), scale=np.ones(1)) for name in ("ADVI", "ADVI (2)")}
    dt = pkl.compare(draws, fits, model=target, forward=("meanfield",), random_seed=1, progressbar=False)
    assert "{'ADVI': advi, 'ADVI (2)': advi_2}" in reproduce(dt)
    settings = json.loads(dt.attrs["settings"])
    del settings["approximations"]
    dt.attrs["settings"] = json.dumps(settings)
    assert "{'ADVI': advi, 'ADVI (2)': advi_2}" in reproduce(dt)


def test_a_choice_covers_every_copy(zoo):
    """Two labels: what is chosen on one copy of the mode is spread over both, whatever its family."""
    _, target = zoo("labels")
    dt = pkl.compare(None, {}, model=target, forward="auto", reverse="meanfield", random_seed=1, progressbar=False)
    reached = dt["coverage"]["copies_reached"].sel(mode=1).to_series()
    assert reached["forward auto"] == dt["modes"]["copies"].sel(mode=1)
    assert reached["reverse meanfield"] == 1
