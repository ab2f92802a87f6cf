"""The one orchestrator: reference, fits, modes and scores → one DataTree."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pymc as pm
import xarray as xr

from pymc_kl._typing import Array, RandomSeed
from pymc_kl.arguments import check_arguments, renamed
from pymc_kl.comparison.allowance import Allowance
from pymc_kl.comparison.default_fits import WantedFits
from pymc_kl.comparison.fit import DrawnFit, FailedFit, Fit, ScoredFit
from pymc_kl.comparison.inputs import EARLIER, RULES, check_names
from pymc_kl.comparison.layout import lay_out, quantities_dataset
from pymc_kl.comparison.make_fits import (
    PYMC_METHODS,
    assign_draws,
    check_all,
    draw_from,
    forward_fit,
    given_fits,
    pymc_fit,
    reverse_fits,
)
from pymc_kl.comparison.planted import planted_group
from pymc_kl.comparison.reference import Reference, completed_reference, given_reference, sample_plainly
from pymc_kl.comparison.score_fit import score_all
from pymc_kl.interrupts import Interrupts, counted, interrupted, keeping, tell
from pymc_kl.model.context import names_of_posterior
from pymc_kl.model.datatree import check_dims, root_attrs
from pymc_kl.model.draws import PosteriorDraws, as_posterior_draws
from pymc_kl.model.named_draws import read_draws
from pymc_kl.model.target import Target, as_target
from pymc_kl.modes.planted import search_from
from pymc_kl.modes.search import MIN_BARRIER, N_STARTS
from pymc_kl.modes.starts import check_initial_point, check_scale, user_starts
from pymc_kl.modes.symmetry.names import check_symmetry
from pymc_kl.numerics.random_streams import RandomStreams
from pymc_kl.progress import Stages, stages
from pymc_kl.quantities.asked import FUNCTION, Asked, asked_quantities, check_known
from pymc_kl.reference.build import SAMPLING, build_posterior
from pymc_kl.reference.settings import Sampling

MAX_MODES = 60  # most modes that a comparison lists, those with the highest masses; our choice
NEXT = 'Next: print(pkl.report(comparison)) for the verdict, pkl.report(comparison, "report.html") for the page.'
UNLISTED = 9.0  # nats below the highest mass, 1e-4 of it: such a mode is elsewhere unless an approximation is there


class _Making(TypedDict):
    """What every fit is made with: n draws of each are scored."""

    target: Target
    n: int
    streams: RandomStreams
    interrupts: Interrupts


@renamed(**EARLIER)
def compare(
    idata: xr.DataTree | xr.Dataset | Mapping[str, Any] | str | Path | PosteriorDraws | None = None,
    approximations: Mapping[str, Any] | None = None,
    *,
    model: pm.Model | Target | None = None,
    reference: str = "complete",
    forward: str | Sequence[str] | None = None,
    reverse: str | Sequence[str] | None = None,
    starts: xr.DataTree | xr.Dataset | Array | None = None,
    n_starts: int = N_STARTS,
    symmetry: bool | Sequence[str] = True,
    min_barrier: float = MIN_BARRIER,
    draws: int = 2000,
    budget: float | None = None,
    planted: bool | float = False,
    quantities: Asked | None = None,
    backend: str = "auto",
    random_seed: RandomSeed = None,
    progressbar: bool = True,
) -> xr.DataTree:
    """Compare approximations of a posterior with draws of it, in both directions, mode by mode.

    Parameters
    ----------
    idata : DataTree, Dataset, mapping, path or PosteriorDraws, optional
        Draws of the posterior from any sampler, the path of a file of them, or arrays (chain, draw, ...) by name.
        What they miss is sampled, as by :func:`sample_reference`.
    approximations : mapping of str to fit, optional
        Whatever :func:`as_approximation` takes, by name: what `pm.fit` or pymc-extras returned, draws of any sampler,
        files, approximations of this package. Without them PyMC's ADVI and full-rank ADVI are fitted.
    model : pm.Model or Target, optional
        Defaults to the model of the enclosing `with` block.
    reference : {"complete", "as given"}
        Complete the draws with the modes that they missed and weigh every mode by bridge sampling, or take the
        draws as they are: masses are then known as far as chains moved between modes.
    forward : str or sequence of str, optional
        Families to fit to the reference by minimising KL(p‖q): "meanfield", "lowrank", "fullrank", "studentt",
        "mixture", "studentt_mixture", "flow", or "auto", which chooses one by its held-out score. "meanfield",
        "fullrank" and "mixture" by default; above 300 parameters "meanfield" and "lowrank".
    reverse : str or sequence of str, optional
        What to fit by minimising KL(q‖p): "advi" and "fullrank_advi" with `pm.fit`; "meanfield", "lowrank",
        "fullrank", "mixture" or "auto" with :func:`fit_reverse`, from the modes that were found. If no approximations
        are given both of PyMC's, above 300 parameters "advi" alone; else none.
    starts : DataTree, Dataset or array (n, d), optional
        More points to search for modes from; an array is in the unconstrained space.
    n_starts : int
        Draws of the prior to search for modes from, at the most.
    symmetry : bool or sequence of str
        Whether copies of a mode under exchangeable labels and signs are one row, or names of the dims and
        variables to look at.
    min_barrier : float
        Basins between which the log density need not fall by this (nats) are one mode.
    draws : int
        Draws of each approximation that are scored.
    budget : float, optional
        Seconds that the search for modes and their sampling may take, compiling and fits apart; a mode whose turn does
        not come is told, and so are the masses that are unknown for it. As much again go to checks of convergence, and
        to draws of the fits and their scores. As long as they need by default.
    planted : bool or float
        Whether to plant modes into the density, which tells how often the search finds them, or for how many seconds
        (60): see :func:`pymc_kl.modes.planted_modes`.
    quantities : str, sequence of str, function, or mapping, optional
        Quantities of interest: names of variables; a function of the posterior's Dataset (chain, draw, ...) that
        returns, draw by draw, a DataArray, a Dataset or a dict of DataArrays; or a mapping from names to such functions
        or variables. See :func:`summary`, ``kind="quantities"``.
    backend : {"auto", "jax", "numba"}
        What evaluates the log density.
    random_seed : int, Generator, SeedSequence or None
        The same seed gives the same numbers, of each fit whatever others there are, unless one of them finds a mode.
    progressbar : bool

    Returns
    -------
    DataTree
        Groups `posterior`, `sample_stats`, `modes`, `approximations/<name>`, `scores`, `coverage`, `evidence`,
        `parameters`, and with several modes `parameters_by_mode`; with draws given, `audit`; `planted` and
        `quantities`, if asked for. Log densities and divergences are in nats, unconstrained space.
        Modes are numbered from 1, 0 is elsewhere. A slash in a fit's name is `%2F` in that of its group. A fit that
        failed is a row of NaN with its `error`; where a part of its scores failed, that part alone is NaN, and `error`
        names it.

    Raises
    ------
    ValueError
        If a quantity is no variable of the model, or its function fails at draws of the model, before any work; where
        it fails at the draws of one source alone, that is the error of its row.
    KeyboardInterrupt
        At a second Ctrl-C, and at a first before there is anything to compare with: its attribute `kept` is a dict of
        what was done, `fits` that `pm.fit` made and `modes` found. Later a first one returns what is there: `partial`
        in the attributes is 1, `interrupted` says in which step, and fits that were not made have that as their error.

    Examples
    --------
    >>> import numpy as np, pymc as pm, pymc_kl as pkl, xarray as xr
    >>> rng = np.random.default_rng(1)
    >>> with pm.Model() as model:
    ...     x = pm.NormalMixture("x", w=[0.3, 0.7], mu=[-3, 3], sigma=[0.6, 1])
    ...     right = rng.random((4, 1000)) < 0.7
    ...     exact = np.where(right, rng.normal(3, 1, (4, 1000)), rng.normal(-3, 0.6, (4, 1000)))
    ...     draws = xr.Dataset({"x": (("chain", "draw"), exact)})
    ...     advi = pm.fit(2000, start={"x": 3.0}, random_seed=1, progressbar=False)
    ...     comparison = pkl.compare(draws, {"ADVI": advi}, quantities="x", random_seed=1, progressbar=False)
    >>> comparison["modes"]["x"].values.round(1)
    array([ 3., -3.])
    >>> comparison["coverage"]["verdict"].sel(approximation=["ADVI", "forward mixture"]).values.tolist()
    [['over', 'missed'], ['covered', 'covered']]
    """
    check_arguments(locals(), **RULES)
    idata = read_draws(idata)
    streams = RandomStreams.of(random_seed)
    fits = WantedFits.of(forward, reverse, has_fits=approximations is not None)
    check_names(approximations or (), fits.forward, fits.reverse)
    check_symmetry(symmetry, model)
    check_known(quantities, names_of_posterior(model.model if isinstance(model, Target) else model))
    sampling = Sampling(
        n_starts=n_starts, symmetry=symmetry, min_barrier=min_barrier, max_modes=MAX_MODES, negligible=UNLISTED,
        as_given=reference == "as given", budget=budget,
    )  # fmt: skip
    with stages(progressbar) as stage, counted() as interrupts:
        with stage("compile the log density"):
            target = _target(model, backend)
            given_approximations = given_fits(approximations or {}, target)
            points = {} if starts is None else {"user": user_starts(starts, target)}
            given = None if idata is None else as_posterior_draws(idata, target)
            wanted = asked_quantities(quantities, target, given)
            fits = fits.within(target.d, forward_by_default=forward is None, reverse_by_default=reverse is None)
            allowance = Allowance.of(budget, target)
            n = allowance.draws(draws, len(given_approximations) + len(fits.reverse) + len(fits.forward))
        making: _Making = {"target": target, "n": n, "streams": streams, "interrupts": interrupts}
        with stage("reverse-KL fits"):
            theirs = [pymc_fit(m, target, streams, interrupts) for m in fits.reverse if m in PYMC_METHODS]
            drawn = draw_from([*given_approximations, *theirs], **making)
        with keeping(fits={fit.name: fit.approximation for fit in theirs if isinstance(fit, Fit)}):
            against = _reference(given, points, sampling, drawn, making, stage)
        drawn += _fits_to(against, fits, making, stage)
        drawn += fits.left_out
        with stage("convergence"):
            drawn = check_all(drawn, allowance, **making)
        comparison, scored = _scored(drawn, against, idata, making, stage)
        if wanted:
            with stage("quantities"):
                comparison["quantities"] = xr.DataTree(
                    interrupts.once_more("the quantities", lambda: quantities_dataset(wanted, against, scored))
                )
        if planted and not interrupts.came:
            with stage("planted modes") as report, keeping(comparison=comparison):
                search = search_from(
                    None if given is None else given.flat, points, replace(sampling, budget=None).search
                )
                comparison["planted"] = planted_group(against, search, planted, streams("planted modes"), report)
        stage.hint(NEXT)
    settings = {
        "approximations": list(approximations or ()), "reference": reference, "forward": list(fits.forward),
        "reverse": list(fits.reverse), "n_starts": n_starts, "symmetry": symmetry, "min_barrier": min_barrier,
        "draws": draws, "budget": budget, "planted": planted, "backend": target.backend,
        **({"draws_scored": n} if n < draws else {}),
        **({"density": target.about} if target.about else {}),
        **({"draws_read": given.read} if given and given.read else {}),
        **({"quantities": [each.name or FUNCTION for each in wanted]} if wanted else {}),
    }  # fmt: skip
    comparison.attrs = root_attrs(target.model.name or "model", random_seed, settings, stage.seconds)
    comparison.attrs["free_variables"] = json.dumps([variable.name for variable in target.variables])
    comparison["modes"].attrs["partial"] = int(against.partial)
    return tell(comparison, interrupts.said("The comparison"), partial=against.partial)


def _target(model: pm.Model | Target | None, backend: str) -> Target:
    """Compile a model, and evaluate it once, so that what is wrong with it shows before anything long starts."""
    target = as_target(model, backend)
    check_dims(target)
    check_initial_point(target)
    x = target.initial_points(1, np.random.default_rng(0))
    check_scale(x, target)
    target.log_density_and_grad(x)
    return target


def _reference(
    given: PosteriorDraws | None,
    points: Mapping[str, Array],
    sampling: Sampling,
    drawn: Sequence[DrawnFit | FailedFit],
    making: _Making,
    stage: Stages,
) -> Reference:
    """Complete the given draws, or take them as they are; end where Ctrl-C came before there is any to compare with."""
    target, streams, interrupts = making["target"], making["streams"], making["interrupts"]
    if interrupts.came:
        raise interrupted("there is nothing yet to compare with.")
    if given is None and sampling.as_given:
        with stage("reference draws"):
            given = sample_plainly(target, streams("plain draws"))
    fit_draws = {fit.name: fit.x for fit in drawn if isinstance(fit, DrawnFit)}
    rng = streams("reference")
    posterior = build_posterior(target, given, points, sampling, fit_draws=fit_draws, rng=rng, stage=stage)
    rng = streams("reference draws")
    as_given = sampling.as_given or posterior.modes.reason
    against = given_reference(posterior, rng) if as_given else completed_reference(posterior, rng)
    if against.partial and (sampling.budget is None or interrupts.came):
        interrupts.note(SAMPLING)
    return against


def _fits_to(against: Reference, fits: WantedFits, making: _Making, stage: Stages) -> list[DrawnFit | FailedFit]:
    """Make the fits that need the modes or the reference, and draw from them."""
    target, streams, interrupts = making["target"], making["streams"], making["interrupts"]
    drawn: list[DrawnFit | FailedFit] = []
    if own := [method for method in fits.reverse if method not in PYMC_METHODS]:
        with stage("reverse-KL fits from the modes"):
            made = [fit for family in own for fit in reverse_fits(family, target, against.modes, streams, interrupts)]
            drawn += draw_from(made, **making)
    with stage("forward-KL fits"):
        return drawn + draw_from([forward_fit(f, against, streams, interrupts) for f in fits.forward], **making)


def _scored(
    drawn: Sequence[DrawnFit | FailedFit], against: Reference, idata: Any, making: _Making, stage: Stages
) -> tuple[xr.DataTree, list[ScoredFit | FailedFit]]:
    """Find the modes of the draws of fits, score them, and lay all out."""
    interrupts = making["interrupts"]
    with stage("assign draws to modes"):
        assigned = interrupts.once_more("the modes of draws", lambda: assign_draws(drawn, against.modes))
    with stage("scores"):
        scored = score_all(assigned, against, interrupts)
        layout = partial(lay_out, against, scored, idata, making["n"], making["streams"]("layout"))
        return interrupts.once_more("the layout", layout), scored
