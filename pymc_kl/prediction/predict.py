"""A comparison and its model → how well each source of draws predicts, and what that costs against the posterior."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

from pymc_kl._typing import Array
from pymc_kl.arguments import check_arguments, instance, optional
from pymc_kl.comparison.io import check_comparison
from pymc_kl.comparison.ranking import ranked
from pymc_kl.model.context import model_in_context
from pymc_kl.model.draws import draws_of
from pymc_kl.model.likelihood import LogLikelihood
from pymc_kl.model.named_draws import check_free, groups_of
from pymc_kl.numerics.estimate import UNKNOWN, Estimate
from pymc_kl.numerics.judgement import CANNOT_TELL, Answer, at_most
from pymc_kl.prediction.loo import LEAST_DRAWS, Loo, psis_loo
from pymc_kl.prediction.sources import Predictor, check_data, predictors
from pymc_kl.prediction.words import sentence

ELPD_MATTERS = 4.0  # elpd up to which predictions are taken for alike; Sivula, Magnusson and Vehtari 2020
LEAST_RELIABLE = 0.5  # share of observations whose Pareto k is good, below which nothing is told; our choice

NUMBERS = ("elpd", "elpd_se", "mc_se", "diff", "diff_se", "p_loo", "pareto_k_max")


@dataclass(frozen=True, eq=False)
class Scored:
    """A predictor with its leave-one-out scores and the Monte Carlo error of their sum; or why it has none."""

    predictor: Predictor
    loo: Loo | None
    mc_se: float = float("nan")
    error: str = ""


def predict(
    comparison: xr.DataTree,
    model: pm.Model | None = None,
    *,
    idata: xr.DataTree | xr.Dataset | None = None,
    var_name: str | None = None,
) -> xr.Dataset:
    """Score predictions by leave-one-out cross-validation, and say what each miss costs.

    Pareto-smoothed importance sampling (PSIS-LOO, [1]_) from the draws of a comparison: of the reference, of each
    approximation as it is and, where it has a density and a k-hat that allows that, corrected by importance sampling
    ([2]_), and of each mode by itself that may hold 1 %, if there are several. The pointwise log likelihood is computed
    once a source, many draws at once. An observation on which a whole mode hangs is hard to leave out: its Pareto k
    tells.

    Parameters
    ----------
    comparison : DataTree
        What :func:`pymc_kl.compare` returned or :func:`pymc_kl.load` read.
    model : pm.Model, optional
        The same model, with observed variables. Defaults to the model of the enclosing `with` block.
    idata : DataTree or Dataset, optional
        Draws to score as well, such as those that were given to `compare`, as chains of equal weight.
    var_name : str, optional
        The observed variable to predict; all of them together by default.

    Returns
    -------
    Dataset
        Over `source`, the reference first: `elpd`, the expected log pointwise predictive density in nats, `elpd_se`,
        its error over other data, and `mc_se`, that of so many draws; `diff`, the elpd less the reference's, and
        `diff_se`, the error of that pair over data and draws; `p_loo`; `n_bad`, how many observations have a Pareto
        k that is too high, and the largest, `pareto_k_max`; in words `matters`, whether the difference is more than 4
        (yes, no or cannot tell, by two standard errors, with and without those observations; always "cannot tell" for
        an approximation as it is: weights leave an observation out of a posterior, and in a q that is too narrow it
        stays, so a narrow q seems to predict better and a wide one worse than it does), `sentence`, `note` and
        `error`. Over (source, observation): `elpd_i` and `pareto_k`. `kind` is that of each source.
        NaN where a source has fewer than 100 draws, or predicts an observation with probability 0.

    Raises
    ------
    ValueError
        If the model has no observed variables, or is not that of the comparison.

    References
    ----------
    .. [1] Vehtari, Gelman and Gabry (2017), doi:10.1007/s11222-016-9696-4.
    .. [2] Magnusson, Andersen, Jonasson and Vehtari (2019), arXiv:1904.10679.

    Examples
    --------
    >>> import pymc as pm, pymc_kl as pkl
    >>> from pymc_kl.prediction import elpd_table, predict
    >>> with pm.Model() as model:
    ...     mu = pm.Normal("mu", 0, 10)
    ...     y = pm.Normal("y", mu, 1, observed=[0.1, 0.9, 1.4, 2.0])
    ...     comparison = pkl.compare(None, {}, forward="meanfield", random_seed=1, progressbar=False)
    >>> prediction = predict(comparison, model)
    >>> prediction["matters"].sel(source="forward meanfield, corrected").item()
    'no'
    >>> elpd_table(prediction)["matters"].tolist()
    ['–', 'cannot tell', 'no']
    """
    check_arguments(locals(), idata=optional(draws_of("predict")), var_name=optional(instance(str)))
    dt = ranked(check_comparison(comparison))
    model = model_in_context(model)
    check_data(dt, model)
    given = None if idata is None else groups_of(idata)[0]
    if given is not None:
        check_free(given, model, "idata")
    log_likelihood = LogLikelihood.of_model(model, var_name)
    labels: list[str] = []
    scored = [_score(each, log_likelihood, labels) for each in predictors(dt, given)]
    return _lay_out(scored, labels)


def _score(predictor: Predictor, log_likelihood: LogLikelihood, labels: list[str]) -> Scored:
    """Score one predictor; `labels` are filled in by the first."""
    n = predictor.draws.sizes["chain"] * predictor.draws.sizes["draw"]
    if n < LEAST_DRAWS:
        return Scored(predictor, None, error=f"it has {n} draws of the {LEAST_DRAWS} that leaving out needs")
    table = log_likelihood(predictor.draws)
    if not labels:
        labels += table["observation"].values.tolist()
    if n_bad := int((~np.isfinite(table.values).all(axis=1)).sum()):
        return Scored(predictor, None, error=f"the log likelihood at {n_bad} of {n} draws is not finite")
    loo = psis_loo(table.values, predictor.log_weights)
    return Scored(predictor, loo, predictor.mc_se(loo.influence))


def _lay_out(scored: list[Scored], labels: list[str]) -> xr.Dataset:
    reference = scored[0]
    rows: list[dict[str, Any]] = [_row(each, reference) for each in scored]
    blank = np.full(len(labels), np.nan)
    ds = xr.Dataset({name: ("source", [row[name] for row in rows]) for name in rows[0]})
    texts = ("matters", "sentence", "note", "error")
    ds = ds.assign({name: ("source", ds[name].values.astype(object)) for name in texts})
    for name, attribute in (("elpd_i", "elpd"), ("pareto_k", "pareto_k")):
        values = [blank if each.loo is None else getattr(each.loo, attribute) for each in scored]
        ds[name] = (("source", "observation"), np.stack(values))
    kinds = np.array([each.predictor.kind for each in scored], dtype=object)
    names = [each.predictor.name for each in scored]
    return ds.assign_coords(source=names, observation=labels, kind=("source", kinds))


def _row(each: Scored, reference: Scored) -> dict[str, Any]:
    loo, p = each.loo, reference.loo
    row: dict[str, Any] = dict.fromkeys(
        ("elpd", "elpd_se", "mc_se", "diff", "diff_se", "p_loo", "pareto_k_max"), np.nan
    )
    row |= {"n_bad": 0, "matters": "", "sentence": "", "note": each.predictor.note, "error": each.error}
    if loo is None:
        return row
    row |= {"elpd": loo.elpd.sum(), "elpd_se": _sum_se(loo.elpd), "mc_se": each.mc_se, "p_loo": loo.p_loo.sum()}
    row |= {"pareto_k_max": loo.pareto_k.max(), "n_bad": int(loo.bad.sum())}
    if p is None or each is reference:
        return row
    difference, answer = _compared(loo, p, float(np.hypot(each.mc_se, reference.mc_se)))
    if each.predictor.kind == "approximation":  # its draws are of no posterior that had all the data: see `matters`
        answer = CANNOT_TELL
    row |= {"diff": difference.value, "diff_se": difference.se, "matters": answer}
    n_bad = int((loo.bad | p.bad).sum())
    return row | {"sentence": sentence(each.predictor, difference, answer, n_bad, len(loo.elpd))}


def _compared(loo: Loo, reference: Loo, mc_se: float) -> tuple[Estimate, Answer]:
    """Subtract the reference's elpd, observation by observation; tell if that is more than is taken for alike."""
    pairs, reliable = loo.elpd - reference.elpd, ~(loo.bad | reference.bad)
    whole, sure = (_sum_of_pairs(pairs[rows], mc_se) for rows in (np.full(len(pairs), True), reliable))
    answers = {at_most(Estimate(abs(each.value), each.se), ELPD_MATTERS) for each in (whole, sure)}
    if len(answers) > 1 or not np.isfinite(whole).all() or reliable.mean() < LEAST_RELIABLE:
        return whole, CANNOT_TELL
    opposite: dict[Answer, Answer] = {"yes": "no", "no": "yes"}
    return whole, opposite.get(answers.pop(), CANNOT_TELL)


def _sum_of_pairs(pairs: Array, mc_se: float) -> Estimate:
    return Estimate(float(pairs.sum()), float(np.hypot(_sum_se(pairs), mc_se))) if len(pairs) else UNKNOWN


def _sum_se(values: Array) -> float:
    """Standard error of a sum over observations, as of a sample of such; NaN of a single one."""
    return float(np.sqrt(len(values)) * values.std(ddof=1)) if len(values) > 1 else float("nan")
