"""Which mode? The parameters and observations in which modes differ, and what prior and likelihood say of each.

With the posterior p_k of mode k alone, exactly: log Z_k = E_k[log likelihood] − KL(p_k‖prior). So the log ratio of the
masses of two modes is what the data give, their mean log likelihood, and what the prior takes, the divergence from it.
"""

from collections.abc import Sequence

import numpy as np
import pymc as pm
import xarray as xr
from arviz_base import xarray_sel_iter
from arviz_base.labels import BaseLabeller

from pymc_kl._typing import Array
from pymc_kl.arguments import check_arguments, instance, optional
from pymc_kl.comparison.io import check_comparison
from pymc_kl.model.context import model_in_context
from pymc_kl.model.likelihood import LogLikelihood
from pymc_kl.model.table_names import distinct
from pymc_kl.numerics.estimate import UNKNOWN, Estimate, mean_estimate
from pymc_kl.numerics.judgement import CANNOT_TELL, ERRORS
from pymc_kl.prediction.loo import LEAST_DRAWS
from pymc_kl.prediction.sources import check_data, draws_among, mode_of_draws, modes_that_matter
from pymc_kl.prediction.words import sentence_on_mode


def tell_modes_apart(
    comparison: xr.DataTree, model: pm.Model | None = None, *, var_name: str | None = None
) -> xr.DataTree:
    """Say in the model's own words how modes differ, and whether prior or likelihood tells them apart.

    Every mode that may hold 1 % of the posterior is compared with the first, the heaviest. Masses are those of all
    copies of a mode, and parameters are told on draws brought to its first copy.

    Parameters
    ----------
    comparison : DataTree
        What :func:`pymc_kl.compare` returned or :func:`pymc_kl.load` read, with several modes.
    model : pm.Model, optional
        The same model, with observed variables. Defaults to the model of the enclosing `with` block.
    var_name : str, optional
        The observed variable to look at; all of them together by default.

    Returns
    -------
    DataTree
        `modes`, over `mode`: `mass`; `log_ratio`, that of the mass of mode 1 to this one, in nats; of it `likelihood`,
        by how much the mean log likelihood is higher in mode 1, and `prior`, the rest: by how much closer mode 1 is to
        the prior, KL(p_k‖prior) less KL(p_1‖prior), whatever parameters are used. Each has a standard error. `cause`
        is the larger part, "likelihood" or "prior", or "cannot tell"; and a `sentence`.
        `parameters`, over (parameter, mode): `mean`, and `apart`, the distance of its mean from that in mode 1, in
        standard deviations within the two modes, pooled. `observations`, over (observation, mode): `log_ratio`, by
        how much its mean log likelihood is higher in mode 1; they sum to `likelihood`. Those that tell most come
        first. NaN where a mode has fewer than 100 draws.

    Raises
    ------
    ValueError
        If fewer than two modes may hold 1 %, the model has no observed variables or is not that of the comparison.

    Examples
    --------
    >>> import pymc as pm, pymc_kl as pkl
    >>> from pymc_kl.data import measurements
    >>> from pymc_kl.prediction import tell_modes_apart
    >>> model = measurements.model()
    >>> comparison = pkl.compare(None, {}, model=model, forward=(), random_seed=1, progressbar=False)
    >>> apart = tell_modes_apart(comparison, model)
    >>> apart["modes"]["cause"].sel(mode=2).item()
    'likelihood'
    >>> sorted(apart["observations"]["log_ratio"].sel(mode=2).round(1).values.tolist())
    [-0.7, -0.7, -0.7, -0.6, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7]
    """
    check_arguments(locals(), var_name=optional(instance(str)))
    dt = check_comparison(comparison)
    modes = dt["modes"].to_dataset()
    numbers = modes_that_matter(modes)
    if len(numbers) < 2:
        raise ValueError("only one mode of this posterior may hold 1 % of it: there is nothing to tell apart.")
    model = model_in_context(model)
    check_data(dt, model)
    parameters = _parameters(dt, numbers)
    observations, whole = _observations(dt, LogLikelihood.of_model(model, var_name), numbers)
    return xr.DataTree.from_dict(
        {
            "modes": _modes(modes, numbers, whole, parameters, observations),
            "parameters": _most_telling(parameters, "parameter", "apart"),
            "observations": _most_telling(observations, "observation", "log_ratio"),
        }
    )


def _parameters(dt: xr.DataTree, numbers: Sequence[int]) -> xr.Dataset:
    """Compare the means of all scalars (parameter, mode) with those in the first mode."""
    if "parameters_by_mode" not in dt.children:
        raise ValueError("this comparison was written by an older version; make it again with compare().")
    table = dt["parameters_by_mode"].to_dataset().reindex(mode=numbers)
    one = table.isel(mode=0, statistic=0, drop=True)
    found = list(xarray_sel_iter(one, skip_dims=set()))
    labels = distinct([str(BaseLabeller().make_label_flat(*at)) for at in found])
    mean, se, sd = (_scalars(table.sel(statistic=name)) for name in ("mean", "mean_se", "sd"))
    with np.errstate(invalid="ignore", divide="ignore"):
        pooled = np.sqrt((sd**2 + sd[:, :1] ** 2) / 2)
        apart = np.abs(mean - mean[:, :1]) / pooled
        apart_se = np.where(np.arange(len(numbers)) > 0, np.hypot(se, se[:, :1]) / pooled, 0.0)
    dims = ("parameter", "mode")
    data = {"mean": mean, "mean_se": se, "apart": apart, "apart_se": apart_se}
    return xr.Dataset({n: (dims, v) for n, v in data.items()}, {"parameter": labels, "mode": list(numbers)})


def _scalars(table: xr.Dataset) -> Array:
    """Lay out all elements of all variables (P, K)."""
    n = table.sizes["mode"]
    return np.concatenate([values.transpose("mode", ...).values.reshape(n, -1).T for values in table.values()])


def _observations(
    dt: xr.DataTree, log_likelihood: LogLikelihood, numbers: Sequence[int]
) -> tuple[xr.Dataset, list[Estimate]]:
    """Compare mean log likelihoods (observation, mode) with those in the first mode; and that of all, mode by mode."""
    posterior, mode = dt["posterior"].to_dataset(), mode_of_draws(dt)
    found: dict[int, xr.DataArray] = {}
    for i, number in enumerate(numbers):
        if (inside := mode == number).sum() >= LEAST_DRAWS:
            found[i] = log_likelihood(draws_among(posterior, inside))
    labels = next(iter(found.values()))["observation"].values.tolist() if found else []
    table, wholes = np.full((len(labels), len(numbers), 2), np.nan), [UNKNOWN] * len(numbers)
    for i, values in found.items():
        table[:, i] = [mean_estimate(column[None]) for column in values.values.T]
        wholes[i] = mean_estimate(values.values.sum(axis=1)[None])
    ratio = table[:, :1, 0] - table[..., 0]
    se = np.where(np.arange(len(numbers)) > 0, np.hypot(table[..., 1], table[:, :1, 1]), 0.0)
    dims = ("observation", "mode")
    data = {"log_ratio": (dims, ratio), "log_ratio_se": (dims, se)}
    return xr.Dataset(data, {"observation": labels, "mode": list(numbers)}), wholes


def _most_telling(ds: xr.Dataset, dim: str, name: str) -> xr.Dataset:
    """Order rows by the largest number in any mode, NaN last."""
    size = np.nan_to_num(np.abs(ds[name].transpose(dim, "mode").values), nan=-1.0).max(axis=1)
    return ds.isel({dim: np.argsort(-size, kind="stable")})


def _modes(
    modes: xr.Dataset, numbers: Sequence[int], whole: list[Estimate], parameters: xr.Dataset, observations: xr.Dataset
) -> xr.Dataset:
    rows = []
    for number, here in zip(numbers, whole, strict=True):
        ratio = _log_ratio(modes, numbers[0], number)
        likelihood = Estimate(whole[0].value - here.value, float(np.hypot(whole[0].se, here.se)))
        if number == numbers[0]:
            ratio, likelihood = Estimate(0.0, 0.0), Estimate(0.0, 0.0)
        prior = Estimate(ratio.value - likelihood.value, float(np.hypot(ratio.se, likelihood.se)))
        cause = _cause(likelihood, prior, float(np.hypot(ratio.se, 2 * likelihood.se)))
        row = {"mass": float(modes["mass"].sel(mode=number)), "mass_se": float(modes["mass_se"].sel(mode=number))}
        for name, each in (("log_ratio", ratio), ("likelihood", likelihood), ("prior", prior)):
            row[name], row[f"{name}_se"] = each
        words = {"cause": "", "sentence": ""}
        if number != numbers[0]:
            at = {"mode": number}
            words["cause"] = cause
            words["sentence"] = sentence_on_mode(
                (numbers[0], number), (ratio, likelihood, prior), parameters.sel(at), observations.sel(at)
            )
        rows.append(row | words)
    ds = xr.Dataset({name: ("mode", [row[name] for row in rows]) for name in rows[0]}, {"mode": list(numbers)})
    return ds.assign({name: ("mode", ds[name].values.astype(object)) for name in ("cause", "sentence")})


def _log_ratio(modes: xr.Dataset, first: int, number: int) -> Estimate:
    """Return the log ratio of the masses of two modes; NaN where masses are not known."""
    (w, w_se), (v, v_se) = (
        (float(modes["mass"].sel(mode=k)), float(modes["mass_se"].sel(mode=k))) for k in (first, number)
    )
    if not int(modes.attrs.get("masses_known", 1)) or not min(w, v) > 0:
        return UNKNOWN
    se = w_se / w + v_se / v  # at most, of shares that were counted: what one has, the other lacks
    if "log_mass_se" in modes and np.isfinite(errors := modes["log_mass_se"].sel(mode=[first, number]).values).all():
        se = float(np.sqrt((errors**2).sum()))
    return Estimate(float(np.log(w / v)), se)


def _cause(likelihood: Estimate, prior: Estimate, se: float) -> str:
    """Name the larger part of what makes the first mode the heavier one, if that is sure; `se` is of the difference."""
    difference = likelihood.value - prior.value
    if not abs(difference) > ERRORS * se:
        return CANNOT_TELL
    return "likelihood" if difference > 0 else "prior"
