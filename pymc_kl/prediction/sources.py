"""A comparison → the draws by which prediction is scored: of the reference, each mode, each approximation."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pymc as pm
import xarray as xr

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.comparison.datatree import fit_groups
from pymc_kl.comparison.tables import LEAST_TOLD
from pymc_kl.model.graphs import without_minibatches
from pymc_kl.model.named_draws import check_free
from pymc_kl.modes.masses import Masses
from pymc_kl.numerics.estimate import Estimate, mean_estimate
from pymc_kl.numerics.judgement import at_most
from pymc_kl.numerics.khat import KHAT_RELIABLE
from pymc_kl.scores.marginals import Source, mean_se, reference_label

type Kind = Literal["reference", "given", "approximation", "corrected", "mode"]


@dataclass(frozen=True, eq=False)
class Predictor:
    """Draws that predict, and how far their mean is to be trusted.

    Attributes
    ----------
    name : str
    kind : str
    draws : Dataset
        In the model's own space (chain, draw, ...).
    chains : bool
        Whether they are those of Markov chains, else independent.
    log_weights : array (n,), optional
        Log importance ratios of the posterior to what the draws are of.
    mode : array (n,) of int, optional
        Mode of each from 0, -1 for elsewhere; and `masses`, where these have errors.
    note : str
        Why an approximation is not corrected.
    """

    name: str
    kind: Kind
    draws: xr.Dataset
    chains: bool = False
    log_weights: Array | None = None
    mode: IntArray | None = None
    masses: Masses | None = None
    note: str = ""

    def mc_se(self, influence: Array) -> float:
        """Standard error of the mean of what each draw (n,) adds, that of the masses included."""
        if self.chains:
            return mean_estimate(influence.reshape(self.draws.sizes["chain"], -1)).se
        n = len(influence)
        return float(mean_se(influence, Source(np.empty((n, 0)), np.full(n, 1 / n), self.mode, self.masses)))


def predictors(dt: xr.DataTree, given: xr.Dataset | None) -> Iterator[Predictor]:
    """List whose predictions are scored, the reference first."""
    names = [*fit_groups(dt)]
    modes, posterior = dt["modes"].to_dataset(), dt["posterior"].to_dataset()
    mode = mode_of_draws(dt)
    chains = json.loads(str(dt.attrs.get("settings", "{}"))).get("reference") == "as given"
    reference = Predictor(reference_label(names), "reference", posterior, chains)
    yield reference if chains else replace(reference, mode=mode - 1, masses=_masses(modes))
    if given is not None:
        yield Predictor(reference_label(names, "given draws"), "given", given, chains=True)
    taken = list(names)
    for name, group in fit_groups(dt).items():
        fitted = list(_of_fit(name, group, dt["scores"].to_dataset().sel(approximation=name), taken))
        taken += [each.name for each in fitted]
        yield from fitted
    matter = modes_that_matter(modes)
    if len(matter) > 1:
        for number in matter:
            alone = draws_among(posterior, mode == number)
            yield Predictor(reference_label(taken, f"mode {number}"), "mode", alone)


def modes_that_matter(modes: xr.Dataset) -> list[int]:
    """List the numbers of modes that may hold 1 % of the posterior."""
    return [int(number) for number in modes["mode"].values[modes["mass_upper"].values > LEAST_TOLD]]


def mode_of_draws(dt: xr.DataTree) -> IntArray:
    """Return the number (n,) of the mode of each draw of the reference, chain by chain; 0 is elsewhere."""
    return dt["sample_stats"]["mode"].transpose("chain", "draw").values.ravel().astype(np.int64)


def draws_among(posterior: xr.Dataset, chosen: BoolArray | IntArray) -> xr.Dataset:
    """Choose some of the draws (chain, draw), by a flag (n,) for each or by their rows; they become one chain."""
    alone = {}
    for name, values in posterior.data_vars.items():
        ordered = values.transpose("chain", "draw", ...)
        rows = ordered.values.reshape(-1, *ordered.shape[2:])[chosen]
        coords = {dim: values[dim] for dim in ordered.dims[2:] if dim in values.coords}
        alone[name] = xr.DataArray(rows[None], coords, ordered.dims)
    return xr.Dataset(alone)


def _of_fit(name: str, group: xr.DataTree, scores: xr.Dataset, taken: list[str]) -> Iterator[Predictor]:
    """Take an approximation as it is, and corrected by importance sampling where its k-hat allows that."""
    draws, stats = group["posterior"].to_dataset(), group["sample_stats"].to_dataset()
    chains = str(scores["kind"].item()) == "draws"
    khat = Estimate(float(scores["khat"]), float(np.nan_to_num(scores["khat_se"])))
    why = "" if "log_prob" in stats else "it has no density"
    if not why and at_most(khat, KHAT_RELIABLE) == "no":
        why = f"its k-hat is {khat.value:.2g}, above {KHAT_RELIABLE}"
    yield Predictor(name, "approximation", draws, chains, note=why and f"not corrected: {why}")
    if not why:
        log_weights = (stats["log_density"] - stats["log_prob"]).transpose("chain", "draw").values.ravel()
        yield Predictor(reference_label(taken, f"{name}, corrected"), "corrected", draws, log_weights=log_weights)


def _masses(modes: xr.Dataset) -> Masses:
    """Read the masses of a comparison and their errors."""
    columns = ("mass", "elsewhere"), ("mass_se", "elsewhere_se")
    mass, se = (np.append(modes[name].values, float(modes.attrs[end])) for name, end in columns)
    blank = np.full(len(mass), np.nan)
    counts = np.zeros(len(mass), dtype=np.int64)
    known = bool(int(modes.attrs.get("masses_known", 1)))
    return Masses(np.nan_to_num(mass), se, np.ones(len(mass)), counts, blank, blank, 0, known, "")


def check_data(dt: xr.DataTree, model: pm.Model) -> None:
    """Raise if the comparison lacks a free variable of the model, or holds other data of an observed one."""
    check_free(dt["posterior"].to_dataset(), model, "comparison")
    if "observed_data" not in dt.children:
        return
    data = dt["observed_data"].to_dataset()
    full = without_minibatches(model)
    for rv in full.observed_RVs:
        if rv.name in data:
            theirs, ours = data[rv.name].values, np.asarray(full.rvs_to_values[rv].eval())
            if theirs.shape != ours.shape or not np.allclose(theirs, ours, equal_nan=True):
                raise ValueError(
                    f"the comparison was made with other data of {rv.name!r} than this model has. Give the model that "
                    "was compared."
                )
