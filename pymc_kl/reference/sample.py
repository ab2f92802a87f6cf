"""`sample_reference`: draws that stand for the whole posterior, as a DataTree that ArviZ takes as any draws."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pymc as pm
import xarray as xr

from pymc_kl._typing import Array, RandomSeed
from pymc_kl.model.datatree import check_dims, root_attrs
from pymc_kl.model.draws import as_posterior_draws
from pymc_kl.model.target import Target, as_target
from pymc_kl.modes.numbering import to_mode_number
from pymc_kl.modes.search import MIN_BARRIER, N_STARTS
from pymc_kl.modes.starts import user_starts
from pymc_kl.progress import Stages, stages
from pymc_kl.reference.audit import audit
from pymc_kl.reference.build import complete
from pymc_kl.reference.datatree import describe_modes, evidence_dataset, reference_tree, weighted_tree
from pymc_kl.reference.posterior import ModewisePosterior
from pymc_kl.reference.settings import Sampling


def sample_reference(
    idata: xr.DataTree | xr.Dataset | None = None,
    *,
    model: pm.Model | Target | None = None,
    starts: xr.DataTree | xr.Dataset | Array | None = None,
    n_starts: int = N_STARTS,
    symmetry: bool | Sequence[str] = True,
    relabel: bool = False,
    draws: int = 1000,
    chains: int = 4,
    min_barrier: float = MIN_BARRIER,
    n_jobs: int | None = None,
    random_seed: RandomSeed = None,
    progressbar: bool = True,
) -> xr.DataTree:
    """Make draws that stand for the whole posterior, as far as a search can find it.

    Modes are searched for from thousands of starts; each distinct mode is sampled by `pm.sample` where the
    draws given do not suffice; its mass comes from bridge sampling; and copies of a mode under the symmetries
    of the model are completed.

    Parameters
    ----------
    idata : DataTree or Dataset, optional
        Draws that the user has already, from any sampler. They are used where they suffice, and audited.
    model : pm.Model or Target, optional
        Defaults to the model of the enclosing `with` block.
    starts : DataTree, Dataset or array (n, d), optional
        More points to search from; an array is in the unconstrained space.
    n_starts : int
        Draws of the prior to search from, at the most.
    symmetry : bool or sequence of str
        Whether to look for exchangeable labels and signs, or names of the dims and variables to look at.
    relabel : bool
        Show all draws relabelled to one copy of their mode, so that means and densities of labelled variables
        mean something. Without it draws are spread evenly over the copies, as the posterior is.
    draws, chains : int
        Shape of the draws returned.
    min_barrier : float
        Basins between which the log density need not fall by this (nats) are one mode.
    n_jobs : int, optional
        Modes sampled at a time, by joblib; without it what an enclosing `joblib.parallel_config` says, else 1.
    random_seed : int, Generator, SeedSequence or None
    progressbar : bool

    Returns
    -------
    DataTree
        `posterior` and `sample_stats` hold draws of equal weight, in random order, each mode as often as its
        mass asks for. `modes` has a row a distinct mode: location, `mass` (of all copies together) and its
        standard error, `copies`, `overlap` of the bridge. `evidence` has log Z in nats. `original` are the draws
        given and `local` those made here, with `mode` and `weight`: weights of both sum to 1, and draws that were
        not used have none. `audit` says what the draws given missed. Masses and log Z that can't be trusted are
        NaN, with the `reason` in the attributes. `partial` in the attributes is 1 if an interrupt cut this short.

    Examples
    --------
    >>> import pymc as pm, pymc_kl as pkl
    >>> with pm.Model() as model:
    ...     x = pm.NormalMixture("x", w=[0.3, 0.7], mu=[-3, 3], sigma=[0.6, 1])
    ...     reference = pkl.sample_reference(random_seed=1, progressbar=False)
    >>> reference["modes"]["mass"].values.round(1)
    array([0.7, 0.3])
    >>> bool(abs(reference["evidence"]["log_evidence"]) < 0.05)
    True
    """
    _check_sizes(n_starts=n_starts, draws=draws, chains=chains)
    rng = np.random.default_rng(random_seed)
    sampling = Sampling(n_starts=n_starts, symmetry=symmetry, min_barrier=min_barrier, n_jobs=n_jobs)
    with stages(progressbar) as stage:
        with stage("compile the log density"):
            target = as_target(model)
            check_dims(target)
            points = {} if starts is None else {"user": user_starts(starts, target)}
            given = None if idata is None else as_posterior_draws(idata, target)
        completed = complete(target, given, points, sampling, rng=rng, stage=stage)
    dt = completed_tree(completed, draws=draws, chains=chains, relabel=relabel, rng=rng)
    for name in ("observed_data", "constant_data"):
        if isinstance(idata, xr.DataTree) and name in idata.children:
            dt[name] = idata[name].copy()
    settings = asdict(sampling) | {"relabel": relabel, "backend": target.backend}
    dt.attrs = _attributes(completed, random_seed, settings, stage)
    return dt


def _attributes(
    completed: ModewisePosterior, seed: RandomSeed, settings: dict[str, object], stage: Stages
) -> dict[str, object]:
    """Attributes of a reference: where it comes from, and whether an interrupt cut it short."""
    attrs = root_attrs(completed.target.model.name or "model", seed, settings, stage.seconds)
    return attrs | {"partial": int(completed.partial)}


def completed_tree(
    completed: ModewisePosterior, *, draws: int, chains: int, relabel: bool, rng: np.random.Generator
) -> xr.DataTree:
    """Lay out a completed posterior: draws of equal weight, original draws, modes, evidence and audit."""
    target, modes = completed.target, completed.modes
    equal = completed.equal(chains * draws, rng)
    x = equal.x if relabel else modes.scatter(equal.x, equal.maximum, rng)[0]
    shape = (chains, draws)
    dt = reference_tree(
        target, x.reshape(*shape, -1), equal.log_density.reshape(shape), to_mode_number(equal.mode.reshape(shape))
    )
    dt["modes"] = xr.DataTree(modes_dataset(completed))
    dt["evidence"] = xr.DataTree(evidence_dataset(completed.log_evidence, "bridge sampling", completed.reason))
    original, made = _weighted_trees(completed)
    if original is not None:
        dt["original"] = original
    if made is not None:
        dt["local"] = made
    if (checked := audit(completed)) is not None:
        dt["audit"] = checked
    return dt


def modes_dataset(completed: ModewisePosterior) -> xr.Dataset:
    """Build `/modes`, with how each mass was found; masses that are not known are NaN."""
    ds = describe_modes(completed.target, completed.modes, completed.masses, completed.log_masses)
    ds["n_left"] = ("mode", np.array([local.n_left for local in completed.local]))
    ds["n_diverging"] = ("mode", np.array([local.n_diverging for local in completed.local]))
    if not completed.masses.known:
        for name in ("mass", "mass_se"):
            ds[name] = ("mode", np.full(completed.modes.k, np.nan))
    return ds


def _weighted_trees(completed: ModewisePosterior) -> tuple[xr.DataTree | None, xr.DataTree | None]:
    """Lay out the draws given and those made here, with the weight of each in the reference."""
    target, given, mode = completed.target, completed.given, completed.given_mode
    sizes = np.array([len(local) for local in completed.local])
    each = completed.shares / np.maximum(sizes, 1)
    used = np.array(["given" in local.source for local in completed.local])
    original = None
    n_given = np.zeros(len(sizes), dtype=int)
    if given is not None and mode is not None:
        weight = np.append(np.where(used, each, 0.0), 0.0)[mode]
        original = weighted_tree(target, given.x, given.log_density, to_mode_number(mode), weight)
        n_given = np.where(used, np.bincount(mode[mode >= 0], minlength=len(sizes)), 0)
    parts = [(k, local, n) for k, (local, n) in enumerate(zip(completed.local, n_given, strict=True)) if len(local) > n]
    if not parts:
        return original, None
    x = np.concatenate([local.x[n:] for _, local, n in parts])
    label = np.concatenate([np.full(len(local) - n, k) for k, local, n in parts])
    log_density = np.concatenate([local.log_density[n:] for _, local, n in parts])
    return original, weighted_tree(target, x[None], log_density[None], to_mode_number(label[None]), each[label][None])


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1; got {size}.")
