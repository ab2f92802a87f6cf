"""`sample_reference`: draws that stand for the whole posterior, as a DataTree that ArviZ takes as any draws."""

import warnings
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict

import numpy as np
import pymc as pm
import xarray as xr

from pymc_kl._typing import Array, RandomSeed
from pymc_kl.arguments import OURS, check_arguments, optional, renamed
from pymc_kl.interrupts import counted, tell
from pymc_kl.model.datatree import check_dims, root_attrs
from pymc_kl.model.draws import as_posterior_draws, draws_of
from pymc_kl.model.smoothness import StepsError
from pymc_kl.model.target import Target, as_target
from pymc_kl.modes.search import MIN_BARRIER, N_STARTS
from pymc_kl.modes.starts import start_points, user_starts
from pymc_kl.modes.symmetry.names import check_symmetry
from pymc_kl.progress import stages
from pymc_kl.reference.build import SAMPLING, build_posterior
from pymc_kl.reference.given_check import not_of_this_posterior
from pymc_kl.reference.layout import posterior_tree
from pymc_kl.reference.settings import Sampling


@renamed(n_jobs="cores")
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
    cores: int | None = None,
    budget: float | None = None,
    random_seed: RandomSeed = None,
    progressbar: bool = True,
) -> xr.DataTree:
    """Make draws that stand for the whole posterior, as far as a search can find it.

    Modes are searched for from thousands of starts; each distinct mode is sampled where the draws given do not
    suffice, by many chains of Hamiltonian Monte Carlo at once, or by `pm.sample` where those do not mix; its mass comes
    from bridge sampling; and its draws are spread over all its copies under the symmetries of the model.

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
    cores : int, optional
        Modes that `pm.sample` samples at a time, by joblib; without it what an enclosing `joblib.parallel_config`
        says, else 1.
    budget : float, optional
        Seconds that the search and the sampling may take; a mode whose turn does not come has no mass, and its
        `reason` says so. As long as they need by default.
    random_seed : int, Generator, SeedSequence or None
    progressbar : bool

    Returns
    -------
    DataTree
        `posterior` and `sample_stats` hold draws of equal weight, in random order, each mode as often as its
        mass asks for. `modes` has a row a distinct mode: location, `mass` (of all copies together) and its
        standard error, `copies`, `overlap` of the bridge. `evidence` has log Z in nats. `original` are the draws
        given and `local` those made here, with `mode` and `weight`: weights of both sum to 1, and draws that were
        not used have none. `audit` says what the draws given missed, and whether they are draws of this posterior: if
        not, a warning says so and none are used. Masses and log Z that can't be trusted are NaN, with the `reason` in
        the attributes. `partial` in the attributes is 1 if the budget or an interrupt cut this
        short; `interrupted` says in which step an interrupt did.

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
    check_arguments(locals(), idata=optional(draws_of("sample_reference")), starts=optional(start_points))
    check_symmetry(symmetry, model)
    rng = np.random.default_rng(random_seed)
    sampling = Sampling(n_starts=n_starts, symmetry=symmetry, min_barrier=min_barrier, n_jobs=cores, budget=budget)
    with stages(progressbar) as stage, counted() as interrupts:
        with stage("compile the log density"):
            target = as_target(model)
            check_dims(target)
            points = {} if starts is None else {"user": user_starts(starts, target)}
            given = None if idata is None else as_posterior_draws(idata, target)
        posterior = build_posterior(target, given, points, sampling, rng=rng, stage=stage)
        if posterior.interrupted:
            interrupts.note(SAMPLING)
    if posterior.modes.reason:
        raise StepsError(posterior.modes.reason)
    if posterior.refusals:
        warnings.warn(
            f"{not_of_this_posterior(posterior.refusals)}. None of them are used.", UserWarning, skip_file_prefixes=OURS
        )
    dt = interrupts.once_more(
        "the layout", lambda: posterior_tree(posterior, draws=draws, chains=chains, relabel=relabel, rng=deepcopy(rng))
    )
    for name in ("observed_data", "constant_data"):
        if isinstance(idata, xr.DataTree) and name in idata.children:
            dt[name] = idata[name].copy()
    settings = asdict(sampling) | {"relabel": relabel, "backend": target.backend}
    settings |= {"draws_read": given.read} if given and given.read else {}
    dt.attrs = root_attrs(target.model.name or "model", random_seed, settings, stage.seconds)
    return tell(dt, interrupts.said("The sampling of the posterior"), partial=posterior.partial)
