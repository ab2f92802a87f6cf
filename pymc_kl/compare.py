"""The one orchestrator: reference, fits, modes and scores → one DataTree."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from scipy.stats import chi2

from pymc_kl import tree
from pymc_kl._typing import Array, BoolArray, IntArray, RandomSeed
from pymc_kl.adapters import as_approximation
from pymc_kl.approximations import FAMILIES, FullRank, MeanField, Mixture
from pymc_kl.assemble import Result, Row
from pymc_kl.evidence import estimate_evidence
from pymc_kl.forward import fit_family
from pymc_kl.masses import Masses, masses_from_chains, masses_from_weighted
from pymc_kl.modes import MIN_BARRIER, N_PRIOR_STARTS, Modes, search_from, user_starts
from pymc_kl.reference import Reference, as_reference, sample_reference
from pymc_kl.reverse import check_convergence
from pymc_kl.target import Target

REVERSE_METHODS = {"advi": "ADVI", "fullrank_advi": "full-rank ADVI"}
ADVI_STEPS = 30_000
N_APPROXIMATION_STARTS = 64
NEGLIGIBLE = 12.0  # nats below the highest Laplace mass: a mode that low can't matter
LISTED_ABOVE = 0.01  # share of draws of p or of any q from which a mode is listed by itself
MAX_MODES = 60
CORE_PROB = 0.9  # share of a normal mode's draws that count as its core


@dataclass(eq=False)
class _Stages:
    """Shows which stage is running and keeps how long each took."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        task = self.progress.add_task(name, total=1)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
            self.progress.update(task, completed=1)


def compare(
    reference: xr.DataTree | xr.Dataset | Reference | None = None,
    approximations: Mapping[str, Any] | None = None,
    *,
    model: pm.Model | Target | None = None,
    forward: Sequence[str] = ("meanfield", "fullrank", "mixture"),
    reverse: Sequence[str] | None = None,
    starts: xr.DataTree | xr.Dataset | Array | None = None,
    min_barrier: float = MIN_BARRIER,
    n_draws: int = 2000,
    backend: str = "auto",
    random_seed: RandomSeed = None,
    progressbar: bool = True,
) -> xr.DataTree:
    """Compare approximations of a posterior with draws of it, in both directions, mode by mode.

    Parameters
    ----------
    reference : DataTree, Dataset or Reference, optional
        Draws of the posterior from any sampler. Without them `pm.sample` makes four chains.
    approximations : mapping of str to fit, optional
        What `pm.fit` returned, draws, or approximations of this package, by name. Without them PyMC's ADVI
        and full-rank ADVI are fitted.
    model : pm.Model or Target, optional
        Defaults to the model of the enclosing `with` block.
    forward : sequence of {"meanfield", "fullrank", "mixture"}
        Families to fit to the reference by minimising KL(p‖q).
    reverse : sequence of {"advi", "fullrank_advi"}, optional
        What to fit with `pm.fit`; both if no approximations are given, else none.
    starts : DataTree, Dataset or array (n, d), optional
        More points to search for modes from; an array is in the unconstrained space.
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
        Groups `posterior`, `sample_stats`, `modes`, `approximations/<name>`, `scores`, `coverage` and
        `evidence`. Log densities and divergences are in nats, on the unconstrained space. Modes are numbered
        from 1, 0 is elsewhere. A fit that failed is a row of NaN with its `error`.

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
    _check_requests(approximations, forward, reverse, n_draws)
    with Progress(
        SpinnerColumn(finished_text="✓"), TextColumn("{task.description}"), TimeElapsedColumn(),
        disable=not progressbar,
    ) as progress:  # fmt: skip
        stage = _Stages(progress)
        with stage("compile the log density"):
            target = model if isinstance(model, Target) else Target.from_model(model, backend=backend)
            target.log_density_and_grad(target.initial_points(1, np.random.default_rng(0)))
            rows = _given_rows(approximations or {}, target)
            points = {} if starts is None else {"user": user_starts(starts, target)}
        rng = next(streams)
        given = reference
        with stage("reference draws"):
            if reference is None:
                reference = sample_reference(model=target, random_seed=rng, progressbar=False)
            reference = as_reference(reference, target)
        with stage("reverse-KL fits"):
            methods = reverse if reverse is not None else REVERSE_METHODS if approximations is None else ()
            rows += [_fit_reverse_row(method, target, rng) for method in methods]
            _fill_draws(rows, target, n_draws, next(streams))
        with stage("modes"):
            rng = next(streams)
            modes = _find_modes(reference, rows, points, min_barrier, rng)
            label = modes.assign(reference.flat)
        with stage("forward-KL fits"):
            rng = next(streams)
            forward_rows, mixture = _fit_forward_rows(forward, reference, label, rng)
            rows += forward_rows
        with stage("convergence"):
            _check_convergence_rows(rows, target, next(streams))
        with stage("assign draws to modes"):
            rng = next(streams)
            _fill_draws(rows, target, n_draws, rng)
            for row in rows:
                row.mode = None if row.x is None else modes.assign(row.x)
            modes, label = _choose_modes(modes, reference, label, rows)
        with stage("evidence"):
            masses = _reference_masses(reference, label, modes)
            unvisited = np.flatnonzero((masses.n_draws[:-1] == 0) & ~_negligible(modes))
            evidence = estimate_evidence(target, mixture, modes, unvisited, rng=rng)
        with stage("scores"):
            result = Result(reference, label, modes, masses, unvisited, evidence, rows)
            comparison = result.to_datatree(given, rng)
    settings = {
        "forward": list(forward), "reverse": list(methods), "min_barrier": min_barrier, "n_draws": n_draws,
        "backend": target.backend,
    }  # fmt: skip
    comparison.attrs = tree.root_attrs(target.model.name or "model", random_seed, settings, stage.seconds)
    return comparison


def _check_requests(
    approximations: Mapping[str, Any] | None,
    forward: Sequence[str],
    reverse: Sequence[str] | None,
    n_draws: int,
) -> None:
    """Refuse what can't be done before anything long starts."""
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


def _fit_forward_rows(
    families: Sequence[str], reference: Reference, label: IntArray, rng: np.random.Generator
) -> tuple[list[Row], Mixture | None]:
    """Fit each family; the mixture is fitted in any case, since log Z is estimated from it."""
    rows = []
    mixture: Mixture | None = None
    for family in dict.fromkeys((*families, Mixture.family)):
        row, start = Row(f"forward {family}"), time.perf_counter()
        try:
            row.approximation = fit_family(family, reference, label, rng=rng)
        except Exception as error:  # noqa: BLE001 one fit that fails must not lose the others
            row.error = f"{type(error).__name__}: {error}"
        row.seconds = time.perf_counter() - start
        if isinstance(row.approximation, Mixture):
            mixture = row.approximation
        if family in families:
            rows.append(row)
    return rows, mixture


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


def _find_modes(
    reference: Reference,
    rows: Sequence[Row],
    points: Mapping[str, Array],
    min_barrier: float,
    rng: np.random.Generator,
) -> Modes:
    target = reference.target
    starts = {"prior": target.initial_points(N_PRIOR_STARTS, rng), **points}
    starts |= {row.name: row.x[:N_APPROXIMATION_STARTS] for row in rows if row.x is not None}
    return search_from(target, reference.flat, starts, min_barrier=min_barrier, rng=rng)


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


def _negligible(modes: Modes) -> BoolArray:
    if not modes.proper:
        return np.zeros(modes.k, dtype=bool)
    log_mass = modes.log_mass_laplace
    return np.asarray(log_mass < log_mass.max() - NEGLIGIBLE)


def _choose_modes(modes: Modes, reference: Reference, label: IntArray, rows: Sequence[Row]) -> tuple[Modes, IntArray]:
    """List modes that hold mass or may, highest mass first; relabel every draw. The rest is elsewhere."""
    weights = reference.flat_weights
    share = np.bincount(label[label >= 0], None if weights is None else weights[label >= 0], modes.k)
    share = share / (len(label) if weights is None else 1.0)
    most = share.copy()
    for row in rows:
        if row.mode is not None:
            inside = row.mode[row.mode >= 0]
            most = np.maximum(most, np.bincount(inside, minlength=modes.k) / len(row.mode))
    log_mass = modes.log_mass_laplace
    order = np.lexsort((-np.nan_to_num(log_mass), -share))
    kept = (most >= LISTED_ABOVE) | ~_negligible(modes)
    order = order[kept[order]][:MAX_MODES]
    new = np.full(modes.k + 1, -1)
    new[order] = np.arange(len(order))
    for row in rows:
        row.mode = None if row.mode is None else new[row.mode]
    keep = np.zeros(modes.k, dtype=bool)
    keep[order] = True
    position = np.cumsum(keep) - 1
    return modes.keep(keep).reorder(position[order]), new[label]


def _reference_masses(reference: Reference, label: IntArray, modes: Modes) -> Masses:
    if reference.weights is not None:
        return masses_from_weighted(label, reference.weights.ravel(), modes.k)
    chains = label.reshape(reference.log_density.shape)
    depth = np.append(modes.log_density, np.inf)[chains] - reference.log_density
    core = depth < 0.5 * chi2.ppf(CORE_PROB, modes.x.shape[1])
    return masses_from_chains(chains, modes.k, core=core, negligible=_negligible(modes))
