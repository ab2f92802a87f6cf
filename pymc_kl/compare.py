"""The one orchestrator: reference, fits, modes and scores → one DataTree."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

from pymc_kl import tree
from pymc_kl._typing import Array, RandomSeed
from pymc_kl.adapters import as_approximation
from pymc_kl.approximations import FAMILIES, FullRank, MeanField, Mixture
from pymc_kl.assemble import Result, Row
from pymc_kl.complete import Sampling, complete
from pymc_kl.crossfit import CrossFit, cross_fit
from pymc_kl.progress import stages
from pymc_kl.reference import Reference, as_reference
from pymc_kl.relabelled import MAX_COPIES, group_order
from pymc_kl.reverse import check_convergence
from pymc_kl.search import MIN_BARRIER, N_STARTS
from pymc_kl.starts import check_initial_point, user_starts
from pymc_kl.target import Target
from pymc_kl.yardstick import Yardstick, completed_yardstick, given_yardstick

REVERSE_METHODS = {"advi": "ADVI", "fullrank_advi": "full-rank ADVI"}
ADVI_STEPS = 30_000
N_APPROXIMATION_STARTS = 64
MAX_MODES = 60
UNLISTED = 9.0  # nats below the highest mass, 1e-4 of it: such a mode is elsewhere unless an approximation is there


def compare(
    idata: xr.DataTree | xr.Dataset | Reference | None = None,
    approximations: Mapping[str, Any] | None = None,
    *,
    model: pm.Model | Target | None = None,
    reference: str = "complete",
    forward: Sequence[str] = ("meanfield", "fullrank", "mixture"),
    reverse: Sequence[str] | None = None,
    starts: xr.DataTree | xr.Dataset | Array | None = None,
    n_starts: int = N_STARTS,
    symmetry: bool | Sequence[str] = True,
    min_barrier: float = MIN_BARRIER,
    n_draws: int = 2000,
    backend: str = "auto",
    random_seed: RandomSeed = None,
    progressbar: bool = True,
) -> xr.DataTree:
    """Compare approximations of a posterior with draws of it, in both directions, mode by mode.

    Parameters
    ----------
    idata : DataTree, Dataset or Reference, optional
        Draws of the posterior from any sampler. What they miss is sampled, as by :func:`sample_reference`.
    approximations : mapping of str to fit, optional
        What `pm.fit` returned, draws, or approximations of this package, by name. Without them PyMC's ADVI
        and full-rank ADVI are fitted.
    model : pm.Model or Target, optional
        Defaults to the model of the enclosing `with` block.
    reference : {"complete", "as given"}
        Complete the draws with the modes that they missed and weigh every mode by bridge sampling, or take the
        draws as they are: masses are then known as far as chains moved between modes.
    forward : sequence of {"meanfield", "fullrank", "mixture"}
        Families to fit to the reference by minimising KL(p‖q).
    reverse : sequence of {"advi", "fullrank_advi"}, optional
        What to fit with `pm.fit`; both if no approximations are given, else none.
    starts : DataTree, Dataset or array (n, d), optional
        More points to search for modes from; an array is in the unconstrained space.
    n_starts : int
        Draws of the prior to search for modes from, at the most.
    symmetry : bool or sequence of str
        Whether copies of a mode under exchangeable labels and signs are one row, or names of the dims and
        variables to look at.
    min_barrier : float
        Basins between which the log density need not fall by this (nats) are one mode.
    n_draws : int
        Draws of each approximation that are scored.
    backend : {"auto", "jax", "numba"}
        What evaluates the log density.
    random_seed : int, Generator, SeedSequence or None
        The same seed gives the same numbers.
    progressbar : bool

    Returns
    -------
    DataTree
        Groups `posterior`, `sample_stats`, `modes`, `approximations/<name>`, `scores`, `coverage`, `evidence`
        and, with draws given, `audit`. Log densities and divergences are in nats, on the unconstrained space.
        Modes are numbered from 1, 0 is elsewhere. A fit that failed is a row of NaN with its `error`.

    Examples
    --------
    >>> import numpy as np, pymc as pm, pymc_kl as pkl, xarray as xr
    >>> rng = np.random.default_rng(1)
    >>> with pm.Model() as model:
    ...     x = pm.NormalMixture("x", w=[0.3, 0.7], mu=[-3, 3], sigma=[0.6, 1])
    ...     right = rng.random((4, 1000)) < 0.7
    ...     exact = np.where(right, rng.normal(3, 1, (4, 1000)), rng.normal(-3, 0.6, (4, 1000)))
    ...     draws = xr.Dataset({"x": (("chain", "draw"), exact)})
    ...     comparison = pkl.compare(draws, {}, random_seed=1, progressbar=False)
    >>> comparison["modes"]["x"].values.round(1)
    array([ 3., -3.])
    >>> comparison["coverage"]["verdict"].sel(approximation="forward mixture").values.tolist()
    ['covered', 'covered']
    """
    streams = iter(np.random.default_rng(random_seed).spawn(6))
    _check_requests(approximations, forward, reverse, n_draws, reference)
    if n_starts < 1:
        raise ValueError(f"n_starts must be at least 1; got {n_starts}.")
    with stages(progressbar) as stage:
        with stage("compile the log density"):
            target = model if isinstance(model, Target) else Target.from_model(model, backend=backend)
            check_initial_point(target)
            target.log_density_and_grad(target.initial_points(1, np.random.default_rng(0)))
            rows = _given_rows(approximations or {}, target)
            points = {} if starts is None else {"user": user_starts(starts, target)}
            given = None if idata is None else as_reference(idata, target)
        rng = next(streams)
        with stage("reverse-KL fits"):
            methods = reverse if reverse is not None else REVERSE_METHODS if approximations is None else ()
            rows += [_fit_reverse_row(method, target, rng) for method in methods]
            _fill_draws(rows, target, n_draws, next(streams))
        points |= {row.name: row.x[:N_APPROXIMATION_STARTS] for row in rows if row.x is not None}
        sampling = Sampling(
            n_starts=n_starts, symmetry=symmetry, min_barrier=min_barrier, max_modes=MAX_MODES, negligible=UNLISTED
        )
        visitors = [row.x for row in rows if row.x is not None]
        rng = next(streams)
        if reference == "complete":
            completed = complete(target, given, points, sampling, visitors=visitors, rng=rng, stage=stage)
            yardstick = completed_yardstick(completed, rng)
        else:
            yardstick = given_yardstick(target, given, points, sampling, visitors=visitors, rng=rng, stage=stage)
        with stage("forward-KL fits"):
            rows += [_fit_forward_row(family, yardstick, rng) for family in forward]
        with stage("convergence"):
            _check_convergence_rows(rows, target, next(streams))
        with stage("assign draws to modes"):
            rng = next(streams)
            _fill_draws(rows, target, n_draws, rng)
            for row in rows:
                row.folded = None if row.x is None else yardstick.modes.fold(row.x)
        with stage("scores"):
            comparison = Result(yardstick, rows).to_datatree(idata, next(streams))
    settings = {
        "reference": reference, "forward": list(forward), "reverse": list(methods), "n_starts": n_starts,
        "symmetry": symmetry, "min_barrier": min_barrier, "n_draws": n_draws, "backend": target.backend,
    }  # fmt: skip
    comparison.attrs = tree.root_attrs(target.model.name or "model", random_seed, settings, stage.seconds)
    comparison.attrs["partial"] = int(yardstick.partial)
    return comparison


def _check_requests(
    approximations: Mapping[str, Any] | None,
    forward: Sequence[str],
    reverse: Sequence[str] | None,
    n_draws: int,
    reference: str,
) -> None:
    """Refuse what can't be done before anything long starts."""
    if not isinstance(reference, str) or reference not in ("complete", "as given"):
        raise ValueError(
            f"reference must be 'complete' or 'as given'; got {reference!r}. Draws are the first argument: "
            "compare(idata, ...)."
        )
    if approximations is not None and not isinstance(approximations, Mapping):
        raise TypeError(
            "approximations must be a dict of fits by name, such as {'ADVI': pm.fit()}; "
            f"got {type(approximations).__name__}."
        )
    for kind, names, known in (("family", forward, FAMILIES), ("method", reverse or (), REVERSE_METHODS)):
        if isinstance(names, str):
            raise TypeError(f"expected a list of names; got the single text {names!r}. Write [{names!r}].")
        for name in names:
            if name not in known:
                raise ValueError(f"unknown {kind} {name!r}; known are {', '.join(map(repr, known))}.")
    if n_draws < 100:
        raise ValueError(f"n_draws must be at least 100 to say anything of modes; got {n_draws}.")
    taken = [f"forward {family}" for family in forward] + [REVERSE_METHODS[m] for m in reverse or ()]
    for name in approximations or ():
        if not isinstance(name, str) or not name.strip() or "/" in name:
            raise ValueError(
                f"an approximation's name must be text without a slash, since it names a group; got {name!r}."
            )
        if name in taken:
            raise ValueError(f"the name {name!r} is taken by a fit that compare() makes; give yours another.")
    if len(set(taken)) < len(taken):
        raise ValueError(f"each fit may be asked for once; got {taken}.")


def _given_rows(approximations: Mapping[str, Any], target: Target) -> list[Row]:
    """Adapt the user's fits; one of another model is an error at once, since it can't be what they meant."""
    return [
        Row(name, replace(as_approximation(fit, model=target), target=target)) for name, fit in approximations.items()
    ]


def _fit_reverse_row(method: str, target: Target, rng: np.random.Generator) -> Row:
    row, start = Row(REVERSE_METHODS[method]), time.perf_counter()
    seed = int(rng.integers(2**31))
    try:
        with target.model:
            fit = pm.fit(ADVI_STEPS, method=method, random_seed=seed, progressbar=False)
        row.approximation = as_approximation(fit, model=target)
    except Exception as error:  # noqa: BLE001 one fit that fails must not lose the others
        row.error = f"{type(error).__name__}: {error}"
    row.seconds = time.perf_counter() - start
    return row


def _fit_forward_row(family: str, yardstick: Yardstick, rng: np.random.Generator) -> Row:
    row, start = Row(f"forward {family}"), time.perf_counter()
    try:
        row.cross_fit = _cross_fit(family, yardstick, rng)
        row.approximation = row.cross_fit.approximation
    except Exception as error:  # noqa: BLE001 one fit that fails must not lose the others
        row.error = f"{type(error).__name__}: {error}"
    row.seconds = time.perf_counter() - start
    return row


def _cross_fit(family: str, yardstick: Yardstick, rng: np.random.Generator) -> CrossFit:
    """Fit to the whole posterior; a mixture to one copy of each mode if it can be spread over all of them."""
    draws, symmetry = yardstick.training, yardstick.modes.symmetry
    at_home = FAMILIES[family] is Mixture and draws.weighted and yardstick.modes.has_copies
    if at_home and group_order(symmetry) <= MAX_COPIES:
        return cross_fit(family, draws.home, draws.label, draws.fold, symmetry=symmetry, rng=rng)
    return cross_fit(family, draws.reference, draws.copy, draws.fold, rng=rng)


def _fill_draws(rows: Sequence[Row], target: Target, n: int, rng: np.random.Generator) -> None:
    """Draw from every approximation that has no draws yet and evaluate both log densities."""
    for row in rows:
        q = row.approximation
        if q is None or row.x is not None:
            continue
        try:
            x = q.sample(n, random_seed=rng)
            row.log_density = target.log_density(x)
            row.log_prob = q.log_prob(x) if q.has_log_prob else None
            row.x = x
        except Exception as error:  # noqa: BLE001 one fit that fails must not lose the others
            row.error, row.approximation = f"{type(error).__name__}: {error}", None


def _check_convergence_rows(rows: list[Row], target: Target, rng: np.random.Generator) -> None:
    """Polish every Gaussian reverse-KL fit; one that had not arrived gets its polished fit as a row beside it."""
    for row in [*rows]:
        q = row.approximation
        if q is None or q.kind != "reverse" or not isinstance(q, MeanField | FullRank):
            continue
        start = time.perf_counter()
        try:
            row.convergence = check_convergence(target.log_density_and_grad, q, random_seed=rng)
        except Exception as error:  # noqa: BLE001 the fit's other scores don't depend on this check
            row.error = f"convergence not checked: {type(error).__name__}: {error}"
            continue
        if not row.convergence.converged:
            name = f"{row.name} (polished)"
            if name not in {other.name for other in rows}:
                polished = Row(name, row.convergence.polished, time.perf_counter() - start)
                rows.insert(rows.index(row) + 1, polished)
