"""The evidence of several models of the same data: log Z side by side, and the models' posterior probabilities."""

import warnings
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import expit, logsumexp

from pymc_kl._typing import Array
from pymc_kl.arguments import check_arguments, choice, number, numbers, quoted, shown
from pymc_kl.comparison.formats import format_estimate, format_percent
from pymc_kl.comparison.io import check_comparison
from pymc_kl.comparison.readable import Readable
from pymc_kl.model.damaged import STRANGE, told_in_a_line
from pymc_kl.modes.masses import NORMAL_95

LEAST_MODELS = 2


def compare_models(
    comparisons: Mapping[str, xr.DataTree],
    *,
    prior: Mapping[str, float] | None = None,
    round_to: Literal["auto", "none"] = "auto",
) -> pd.DataFrame:
    """Tabulate the log evidence of models of the same data, and how probable each is after the data.

    The evidence of a model is the density of the data under its prior, so it depends on the prior however many data
    there are: a prior ten times as wide as need be costs up to log 10 nats a parameter. Priors must be proper, and no
    `pm.Potential` may leave them unnormalised; this is not checked, since a comparison does not hold the model.

    Parameters
    ----------
    comparisons : mapping of str to DataTree
        What :func:`compare` returned or :func:`load` read, by the models' names.
    prior : mapping of str to float, optional
        Weight of each model before the data, in proportion; equal by default.
    round_to : {"auto", "none"}
        Columns to read, or numbers.

    Returns
    -------
    DataFrame
        A row a model, the most probable first. To read: `log_evidence` (nats), `behind`, the nats by which it lies
        below the first row's, each with its standard error, and `probability (%)` with its error or 95 % interval. As
        numbers: `log_evidence`, `behind`, `prior` and `probability`, with `<name>_se`, `probability_lower` and
        `probability_upper`. Errors of different models are taken as independent. They are those of log Z: what a
        mode holds that no search found is not in them.

    Raises
    ------
    ValueError
        If log Z of a model is not known, with the reason; if the observed data differ; if there are fewer than two.

    Warns
    -----
    UserWarning
        If a comparison does not hold the observed data, which those hold whose draws came with them.

    Examples
    --------
    >>> import pymc as pm, pymc_kl as pkl
    >>> from pymc_kl.comparison import compare_models
    >>> quiet, made = {"random_seed": 1, "progressbar": False}, {}
    >>> for name, sd in {"narrow": 1.0, "wide": 10.0}.items():
    ...     with pm.Model():
    ...         mu = pm.Normal("mu", 0.0, sd)
    ...         y = pm.Normal("y", mu, 1.0, observed=[1.0, 1.4, 0.6])
    ...         idata = pm.sample(500, chains=2, cores=1, **quiet)
    ...         made[name] = pkl.compare(idata, reverse=(), forward="fullrank", **quiet)
    >>> compare_models(made, round_to="none")["probability"].round(2).to_dict()
    {'narrow': 0.86, 'wide': 0.14}
    """
    check_arguments(locals(), comparisons=_by_name, round_to=choice("auto", "none"))
    names = list(comparisons)
    log_prior = _log_weights(names, prior)
    trees = {name: check_comparison(dt, f"comparisons[{name!r}]") for name, dt in comparisons.items()}
    log_z, se = _log_evidence(trees)
    _check_data(trees)
    ds = _probabilities(log_z, se, log_prior)
    order = np.argsort(-(log_z + log_prior), kind="stable")
    numbers = pd.DataFrame({"log_evidence": log_z, "log_evidence_se": se, "prior": np.exp(log_prior)} | ds, index=names)
    best = order[0]
    numbers.insert(2, "behind", log_z[best] - log_z)
    numbers.insert(3, "behind_se", np.where(np.arange(len(se)) == best, 0.0, np.hypot(se, se[best])))
    numbers = numbers.iloc[order].rename_axis("model")
    return Readable(numbers) if round_to == "none" else _to_read(numbers)


def _by_name(name: str, value: Any) -> None:
    """Allow a mapping of two comparisons or more; a DataTree is a mapping of groups, but one comparison."""
    if isinstance(value, xr.DataTree) or not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dict of comparisons by the models' names; got {shown(value)}.")
    if len(value) < LEAST_MODELS:
        raise ValueError(f"{name} must hold at least {LEAST_MODELS} comparisons; got {len(value)}.")


def _log_weights(names: list[str], prior: Mapping[str, float] | None) -> Array:
    """Return log prior probabilities (models,)."""
    if prior is None:
        return np.full(len(names), -np.log(len(names)))
    if not isinstance(prior, Mapping) or set(prior) != set(names):
        raise ValueError(f"prior must be a dict with a weight for each of {quoted(names)}; got {shown(prior)}.")
    numbers(number(0, open_below=True), "{'a': 1, 'b': 2}")("weights of prior", list(prior.values()))
    log_weights = np.log([float(prior[name]) for name in names])
    return np.asarray(log_weights - logsumexp(log_weights))


@told_in_a_line("log Z can't be read from these comparisons", STRANGE)
def _log_evidence(trees: Mapping[str, xr.DataTree]) -> tuple[Array, Array]:
    """Return log Z and its error (models,), nats; raise where one is not known."""
    groups = {name: dt["evidence"] for name, dt in trees.items()}
    log_z, se = (
        np.array([float(group[variable]) for group in groups.values()])
        for variable in ("log_evidence", "log_evidence_se")
    )
    unknown = [name for name, known in zip(trees, np.isfinite(log_z) & np.isfinite(se), strict=True) if not known]
    if unknown:
        said = "; ".join(f"{name!r}: {groups[name].attrs.get('reason') or 'no reason is stored'}" for name in unknown)
        raise ValueError(f"models can't be compared, since log Z is not known of {said.rstrip('.')}.")
    return log_z, se


def _check_data(trees: Mapping[str, xr.DataTree]) -> None:
    """Raise if two models have other observed numbers, in whatever variables and order; warn where there are none."""
    known = {name: _data(dt) for name, dt in trees.items() if "observed_data" in dt.children}
    if missing := [name for name in trees if name not in known]:
        warnings.warn(
            f"whether the models have the same data is not known: {quoted(missing)} hold no observed data. Pass "
            "compare() the DataTree of pm.sample, which has them.", UserWarning, stacklevel=3,
        )  # fmt: skip
    for name, data in known.items():
        first = next(iter(known))
        if not np.array_equal(data, known[first], equal_nan=True):
            raise ValueError(
                f"the observed data of {first!r} ({known[first].size} numbers) and {name!r} ({data.size}) differ; only "
                "models of the same data can be compared by their evidence."
            )


def _data(dt: xr.DataTree) -> Array:
    arrays = [np.asarray(da.values, float).ravel() for da in dt["observed_data"].to_dataset().data_vars.values()]
    return np.sort(np.concatenate([np.empty(0), *arrays]))


def _probabilities(log_z: Array, se: Array, log_prior: Array) -> dict[str, Array]:
    """Return posterior probabilities; their errors and intervals from those of the log odds against all others."""
    joint = log_z + log_prior
    log_odds, errors = np.empty(len(joint)), np.empty(len(joint))
    for k in range(len(joint)):
        rest = np.arange(len(joint)) != k
        total = logsumexp(joint[rest])
        log_odds[k] = joint[k] - total
        errors[k] = np.sqrt(se[k] ** 2 + (np.exp(2 * (joint[rest] - total)) * se[rest] ** 2).sum())
    probability = expit(log_odds)
    return {
        "probability": probability,
        "probability_se": probability * expit(-log_odds) * errors,
        "probability_lower": expit(log_odds - NORMAL_95 * errors),
        "probability_upper": expit(log_odds + NORMAL_95 * errors),
    }


def _to_read(numbers: pd.DataFrame) -> pd.DataFrame:
    def estimates(name: str) -> list[str]:
        return [format_estimate(*pair) for pair in zip(numbers[name], numbers[f"{name}_se"], strict=True)]

    shares = numbers[["probability", "probability_se", "probability_upper", "probability_lower"]].values
    table = {
        "log_evidence": estimates("log_evidence"),
        "behind": estimates("behind"),
        "probability (%)": [format_percent(p, e, upper, lower=lower) for p, e, upper, lower in shares],
    }
    return Readable(table, index=numbers.index)
