"""Chains and modes stacked: the weights with which their predictions together are best, beside the posterior masses."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pymc as pm
import xarray as xr
from scipy.optimize import LinearConstraint, minimize
from scipy.special import logsumexp

from pymc_kl._typing import Array, RandomSeed
from pymc_kl.arguments import check_arguments, choice, instance, optional
from pymc_kl.comparison.formats import format_percent
from pymc_kl.model.context import model_in_context
from pymc_kl.model.draws import draws_of
from pymc_kl.model.likelihood import LogLikelihood, observed_names
from pymc_kl.model.named_draws import check_free, groups_of
from pymc_kl.modes.masses import NORMAL_95
from pymc_kl.numerics.estimate import UNKNOWN, Estimate
from pymc_kl.numerics.intervals import TAIL
from pymc_kl.prediction.loo import LEAST_DRAWS, Loo, psis_loo
from pymc_kl.prediction.sources import draws_among

RESAMPLED = 200  # Bayesian bootstraps of the observations, for the errors of weights; our choice
LEAST_APART = 0.01  # difference of a weight and a mass that does not count, however small their errors; our choice
GAINED = 1.92  # nats of log score over the masses below which any weights do as well; half the 95 % point of χ²₁
TOLERANCE = 1e-10  # mean log score, nats, that the last step of the maximisation gains


@dataclass(frozen=True, eq=False)
class Component:
    """Draws of a chain or a mode, in the model's own space, and the mass that the posterior has there."""

    name: str
    draws: xr.Dataset
    mass: Estimate = UNKNOWN


def stack(
    idata: xr.DataTree | xr.Dataset,
    model: pm.Model | None = None,
    *,
    by: str = "chain",
    var_name: str | None = None,
    random_seed: RandomSeed = None,
) -> xr.Dataset:
    """Weigh chains or modes so that together they predict best, by leave-one-out cross-validation.

    Stacking ([1]_, [2]_) maximises the sum over observations of the log of the weighted leave-one-out densities
    (PSIS-LOO). It is no estimate of the masses: those are right where the model is, and stacking is what predicts best
    of mixtures of these chains or modes, also where the model is wrong. Chains that never met need no mass for it.

    Parameters
    ----------
    idata : DataTree or Dataset
        Draws as chains; to stack modes, what :func:`pymc_kl.sample_reference` or :func:`pymc_kl.compare` returned.
    model : pm.Model, optional
        The same model, with observed variables. Defaults to the model of the enclosing `with` block.
    by : {"chain", "mode"}
        What is weighed. Modes without 100 draws of their own get no weight, and their `error` says so.
    var_name : str, optional
        The observed variable to predict; all of them together by default.
    random_seed : int, Generator, SeedSequence or None
        Of the resampled observations, by which the errors of weights are found.

    Returns
    -------
    Dataset
        Over `component`: `weight`, which sum to 1, `weight_se` and the ends of its 95 % interval, `weight_lower` and
        `weight_upper`, over other data (Bayesian bootstrap); `elpd` in nats; `n_bad`, how many observations have a
        Pareto k that is too high, and `pareto_k_max`; for modes `mass` and `mass_se`, `differs` ("yes" where weight and
        mass are more than 0.01 and their errors apart and stacking gains more than 1.92 nats by it, else "no", empty
        without a mass) and `sentence`; `error`. The attribute `elpd` is that of the stack, and `gain` by how much that
        is more than with the masses for weights: where it is small, any weights predict as well.

    Raises
    ------
    ValueError
        If fewer than two chains or modes have the draws, or the model has no observed variables.

    References
    ----------
    .. [1] Yao, Vehtari and Gelman (2022). Stacking for non-mixing Bayesian computations: the curse and blessing of
       multimodal posteriors. JMLR 23(79).
    .. [2] Yao, Vehtari, Simpson and Gelman (2018), doi:10.1214/17-BA1091.

    Examples
    --------
    >>> import numpy as np, pymc as pm, xarray as xr
    >>> from pymc_kl.prediction import stack
    >>> with pm.Model() as model:
    ...     mu = pm.Normal("mu", 0, 10)
    ...     y = pm.Normal("y", mu, 1, observed=[0.1, 0.9, 1.4, 2.0])
    >>> chains = np.random.default_rng(1).normal([[1.1], [6.0]], 0.5, (2, 500))  # the second is stuck
    >>> stacked = stack(xr.Dataset({"mu": (("chain", "draw"), chains)}), model, random_seed=1)
    >>> stacked["weight"].values.round(2).tolist()
    [1.0, 0.0]
    """
    check_arguments(locals(), idata=draws_of("stack"), by=choice("chain", "mode"), var_name=optional(instance(str)))
    model = model_in_context(model)
    observed_names(model, var_name)
    check_free(groups_of(idata)[0], model, "idata")
    components = list(_chains(idata) if by == "chain" else _modes(idata))
    if len(components) < 2:
        raise ValueError(f"stacking needs two {by}s with draws; idata has {len(components)}.")
    log_likelihood = LogLikelihood.of_model(model, var_name)
    scored = [_score(each, log_likelihood) for each in components]
    known = [i for i, loo in enumerate(scored) if isinstance(loo, Loo)]
    if len(known) < 2:
        why = "; ".join(f"{c.name}: {loo}" for c, loo in zip(components, scored, strict=True) if isinstance(loo, str))
        raise ValueError(f"stacking needs two {by}s with draws; got {len(known)}. {why}".rstrip())
    elpd = np.column_stack([loo.elpd for loo in scored if isinstance(loo, Loo)])
    weights, resampled = np.zeros(len(components)), np.zeros((RESAMPLED, len(components)))
    weights[known] = stacking_weights(elpd)
    rng = np.random.default_rng(random_seed)
    resampled[:, known] = [stacking_weights(elpd, n) for n in rng.dirichlet(np.ones(len(elpd)), RESAMPLED)]
    stacked = float(_log_scores(elpd, weights[known]).sum())
    masses = np.array([components[i].mass.value for i in known])
    gain = stacked - float(_log_scores(elpd, masses / masses.sum()).sum())
    ds = _lay_out(components, scored, weights, resampled, gain)
    return ds.assign_attrs(elpd=stacked, gain=gain, by=by)


def stacking_weights(elpd: Array, of_observations: Array | None = None) -> Array:
    """Maximise the weighted mean of log Σ_k w_k exp(elpd_ik) over weights (K,) that sum to 1.

    Parameters
    ----------
    elpd : array (N, K)
        Log predictive density of each observation left out, nats.
    of_observations : array (N,), optional
        Weights of the observations that sum to 1; equal by default.
    """
    n, k = elpd.shape
    each = np.full(n, 1 / n) if of_observations is None else of_observations
    density = np.exp(elpd - elpd.max(axis=1, keepdims=True))  # the largest of a row is 1: no row vanishes

    def loss(w: Array) -> tuple[float, Array]:
        mixed = np.maximum(density @ w, np.finfo(float).tiny)
        return -float(each @ np.log(mixed)), -(each / mixed) @ density

    found = minimize(
        loss, np.full(k, 1 / k), jac=True, method="SLSQP", bounds=[(0, 1)] * k,
        constraints=LinearConstraint(np.ones(k), 1, 1), options={"ftol": TOLERANCE, "maxiter": 1000},
    )  # fmt: skip
    weights = np.clip(found.x, 0, 1)
    return np.asarray(weights / weights.sum())


def _log_scores(elpd: Array, weights: Array) -> Array:
    return np.asarray(logsumexp(elpd, b=weights, axis=1))


def _chains(draws: xr.DataTree | xr.Dataset) -> Iterator[Component]:
    posterior = groups_of(draws)[0]
    for chain in range(posterior.sizes["chain"]):
        yield Component(f"chain {posterior['chain'].values[chain]}", posterior.isel(chain=[chain]))


def _modes(draws: xr.DataTree | xr.Dataset) -> Iterator[Component]:
    """List the modes with the most draws that any group holds of each: of the reference, those given, those made."""
    if not isinstance(draws, xr.DataTree) or not {"modes", "sample_stats"} <= set(draws.children):
        raise ValueError("modes are stacked of what sample_reference() or compare() returned; these are plain draws.")
    modes = draws["modes"].to_dataset()
    groups = [draws, *(draws[name] for name in ("original", "local") if name in draws.children)]
    labelled = [(g["posterior"].to_dataset(), g["sample_stats"]["mode"].transpose("chain", "draw")) for g in groups]
    for number in modes["mode"].values.tolist():
        posterior, mode = max(labelled, key=lambda pair: int((pair[1] == number).sum()))
        row = modes.sel(mode=number)
        chosen = draws_among(posterior, mode.values.ravel() == number)
        yield Component(f"mode {number}", chosen, Estimate(float(row["mass"]), float(row["mass_se"])))


def _score(component: Component, log_likelihood: LogLikelihood) -> Loo | str:
    """Leave out each observation; or say why that can't be."""
    n = component.draws.sizes["chain"] * component.draws.sizes["draw"]
    if n < LEAST_DRAWS:
        return f"it has {n} draws of the {LEAST_DRAWS} that leaving out needs"
    values = log_likelihood(component.draws).values
    if n_bad := int((~np.isfinite(values).all(axis=1)).sum()):
        return f"the log likelihood at {n_bad} of {n} draws is not finite"
    return psis_loo(values)


def _lay_out(
    components: list[Component], scored: list[Loo | str], weights: Array, resampled: Array, gain: float
) -> xr.Dataset:
    lower, upper = np.quantile(resampled, [TAIL, 1 - TAIL], axis=0)
    columns = {
        "weight": weights, "weight_se": resampled.std(axis=0, ddof=1),
        "weight_lower": np.minimum(lower, weights), "weight_upper": np.maximum(upper, weights),
        "elpd": [loo.elpd.sum() if isinstance(loo, Loo) else np.nan for loo in scored],
        "n_bad": [int(loo.bad.sum()) if isinstance(loo, Loo) else 0 for loo in scored],
        "pareto_k_max": [loo.pareto_k.max() if isinstance(loo, Loo) else np.nan for loo in scored],
        "mass": [c.mass.value for c in components], "mass_se": [c.mass.se for c in components],
    }  # fmt: skip
    ds = xr.Dataset({name: ("component", np.asarray(values)) for name, values in columns.items()})
    ds = ds.assign_coords(component=[c.name for c in components])
    told = [_told(ds.isel(component=i), gain) for i in range(len(components))]
    for i, name in enumerate(("differs", "sentence")):
        ds[name] = ("component", np.array([pair[i] for pair in told], object))
    ds["error"] = ("component", np.array([loo if isinstance(loo, str) else "" for loo in scored], object))
    return ds


def _told(row: xr.Dataset, gain: float) -> tuple[str, str]:
    """Tell if weight and mass differ by more than their errors, and gain something by it; say what that means."""
    weight, mass, se = (float(row[name]) for name in ("weight", "mass", "mass_se"))
    if not (np.isfinite(mass) and np.isfinite(se) and np.isfinite(float(row["elpd"]))):
        return "", ""
    apart = max(mass - float(row["weight_upper"]), float(row["weight_lower"]) - mass)
    if gain <= GAINED or apart <= max(LEAST_APART, NORMAL_95 * se):
        return "no", ""
    ends = f"{100 * float(row['weight_lower']):.0f} to {100 * float(row['weight_upper']):.0f} %"
    means = "less" if weight < mass else "more"
    return "yes", (
        f"{row['component'].item()} holds {format_percent(mass, se)} % of the posterior, and stacking gives it "
        f"{100 * weight:.0f} % ({ends}): the data, each left out in turn, are predicted best with {means} of it. Where "
        "the model is right the masses are; the difference says that it may not be."
    )
