"""The path from the reverse to the forward KL: the best Gaussian for each order α of Rényi's divergence, and its jumps.

D_α may have several minima: one at each mode near α = 0, and one that covers all of them near α = 1. Each minimum is
followed as a branch of its own, upwards from the optima of the reverse KL and downwards from that of the forward KL.
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

from pymc_kl._typing import Array, BoolArray, IntArray, RandomSeed
from pymc_kl.approximations import FullRank, MeanField
from pymc_kl.arguments import OURS, check_arguments, choice, renamed
from pymc_kl.fitting.forward import fit_family, fit_forward
from pymc_kl.fitting.gaussian_elbo import rows_of
from pymc_kl.fitting.maximise import points_for
from pymc_kl.fitting.optima import Optimum, optima_of
from pymc_kl.fitting.reverse import fit_from_modes
from pymc_kl.model.draws import PosteriorDraws, as_posterior_draws, draws_of
from pymc_kl.model.target import Target, as_target
from pymc_kl.modes.assign import CanonicalPoints
from pymc_kl.modes.modes import FOUND_MODES, Modes
from pymc_kl.modes.search import search_whole
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.progress import stages
from pymc_kl.renyi.alpha_divergence import log_evidence_of
from pymc_kl.renyi.branches import follow_branches
from pymc_kl.renyi.datatree import Path
from pymc_kl.renyi.problem import PathFit, PathProblem

ORDERS = tuple(round(0.1 * i, 1) for i in range(11))
PATH_FAMILIES = (MeanField.family, FullRank.family)
MAX_BRANCHES = 4  # most optima of the reverse KL that are followed, those with the highest ELBO; our choice
POINT_NUMBERS = 2**17  # points times dimensions: size of the sample of q; our choice
LEAST_POINTS = 2**11  # least number of points in the sample of q; our choice
MOST_POINTS = 2**14  # largest number of points in the sample of q; our choice
N_BLOCKS = 20  # blocks of neighbouring draws of a chain, every second of which is fitted to, for log Z; our choice
N_BRIDGE = 4000  # draws of the fitted mixture by which log Z is estimated; our choice
MIN_PATH_ESS = 10.0  # effective draws a dimension below which a warning says that a fit rests on too few; our choice


@renamed(reference="idata")
def divergence_path(
    idata: xr.DataTree | xr.Dataset | PosteriorDraws,
    family: str = "fullrank",
    *,
    model: pm.Model | Target | None = None,
    alphas: Sequence[float] = ORDERS,
    modes: Modes | None = None,
    random_seed: RandomSeed = None,
    progressbar: bool = True,
) -> xr.DataTree:
    """Follow the Gaussian that minimises Rényi's divergence D_α(p‖q) [1]_, from the reverse KL (α = 0) to the forward.

    Every minimum is followed: from each optimum of the reverse KL upwards, from the forward fit downwards. It
    is found by gradient for small α, then by matching the moments of the density proportional to p^α q^(1-α) on draws
    of both. Where few of them carry weight, as in many dimensions, the fit says little; the effective number is in the
    result.

    Parameters
    ----------
    idata : DataTree, Dataset or PosteriorDraws
        Draws of p, in which every mode has its mass; see :func:`sample_reference`.
    family : {"meanfield", "fullrank"}
    model : pm.Model or Target, optional
        Defaults to the model of the enclosing `with` block.
    alphas : sequence of float
        Orders, rising, from 0 to 1.
    modes : Modes, optional
        What :func:`find_modes` returned; searched for if not given.
    random_seed : int, Generator, SeedSequence or None
    progressbar : bool

    Returns
    -------
    DataTree
        `path`, over dims `order` (α) and `branch` (a minimum that is followed; NaN where there is none):
        `divergence`, D_α/α in nats, which is KL(q‖p) at 0 and KL(p‖q) at 1; `renyi`, D_α itself; `ess`, how many draws'
        worth of weight carry the fit; `loc` and `covariance` in the unconstrained space; `mass` of q in each mode, and
        `elsewhere`; `best`, the branch that is lowest at each order. Errors are in `<name>_se`; points of q
        are evenly spread, so that theirs are rather too large; near α = 1 the draws score a fit that they made, which
        then looks nearer by about half its number of parameters over theirs. `parameters` has mean,
        sd and quantiles of each variable in the model's own space, `reference_parameters` and `reference` the same
        of p, `switches` where the best branch changes to one that exists beside it: `at`, by interpolation between
        the orders `lower` and `upper`.

    Raises
    ------
    ValueError
        If the family is unknown, or the orders don't rise from 0 to 1.

    Warns
    -----
    UserWarning
        At orders where fewer than ten draws a dimension carry weight, so that the fit can't be trusted.

    References
    ----------
    .. [1] Li, Y. and Turner, R. E. (2016). Rényi divergence variational inference. NeurIPS 29.
       https://arxiv.org/abs/1602.02311

    Examples
    --------
    With the `model` and `draws` in the example of :func:`pymc_kl.compare`:

    >>> path = divergence_path(draws, model=model, alphas=(0, 0.5, 0.6, 1), random_seed=1, progressbar=False)
    >>> path["path"]["best"].values.tolist()
    ['reverse 1', 'reverse 1', 'forward', 'forward']
    >>> path["switches"]["at"].values.round(2)
    array([0.55])
    """
    check_arguments(
        locals(), idata=draws_of("divergence_path"), family=choice(*PATH_FAMILIES, what="family"),
        modes=FOUND_MODES,
    )  # fmt: skip
    orders = _orders(alphas)
    target = idata.target if isinstance(idata, PosteriorDraws) else as_target(model)
    draws = as_posterior_draws(idata, target)
    rng = np.random.default_rng(random_seed)
    with stages(progressbar) as stage:
        with stage("search for modes") as report:
            if modes is None:
                modes = search_whole(target, draws.flat, {}, rng=rng, report=report)
            canonical = modes.canonical(draws.flat)
        with stage("reverse and forward fits"):
            forward: Any = fit_forward(draws, family, model=target)
            starts: list[Any] = [optimum.approximation for optimum in _reverse_optima(target, modes, family, rng)]
            problem = _problem(draws, forward, _copies(modes, draws, canonical), rng)
        with stage("follow the optima"):
            branches = follow_branches(starts, forward, orders, problem)
        with stage("measure"):
            dt = Path(problem, modes, orders, branches).to_datatree(canonical, rng)
    dt.attrs = {"creation_library": "pymc_kl", "pymc_kl_path": 1, "family": family}
    _warn(dt["path"].to_dataset(), target.d)
    return dt


def _orders(alphas: Sequence[float]) -> Array:
    orders = np.asarray(alphas, dtype=float)
    if orders.ndim != 1 or not orders.size or not ((orders >= 0) & (orders <= 1)).all() or (np.diff(orders) <= 0).any():
        raise ValueError(f"alphas must rise within 0 and 1; got {list(alphas)}. 0 is the reverse KL, 1 the forward KL.")
    return orders


def _reverse_optima(target: Target, modes: Modes, family: str, rng: np.random.Generator) -> tuple[Optimum, ...]:
    """Find the optima of the reverse KL that are followed, best first."""
    return optima_of(fit_from_modes(target, modes, family, rng=rng))[:MAX_BRANCHES]


def _problem(draws: PosteriorDraws, forward: PathFit, copy: IntArray, rng: np.random.Generator) -> PathProblem:
    """Make the points that stand for q, and estimate log Z from draws that lie in these copies of modes (n,)."""
    n = int(np.clip(POINT_NUMBERS // draws.target.d, LEAST_POINTS, MOST_POINTS))
    z = points_for(rows_of([forward]), n, rng)
    return PathProblem(draws.target, draws, z, _log_evidence(draws, copy, rng))


def _copies(modes: Modes, draws: PosteriorDraws, canonical: CanonicalPoints) -> IntArray:
    """Number the copy of a mode that each draw (n,) lies in."""
    return canonical.mode if modes.symmetry.is_trivial else modes.copy_labels(draws.flat, canonical.maximum)


def _log_evidence(reference: PosteriorDraws, copy: IntArray, rng: np.random.Generator) -> Estimate:
    """Estimate log Z by bridge sampling, with the draws of every second block; the mixture is fitted to the others."""
    n = reference.x.shape[1]
    odd = np.arange(n) * min(N_BLOCKS, n) // n % 2 == 1
    first, second = _take_draws(reference, ~odd), _take_draws(reference, odd)
    copy = copy.reshape(reference.log_density.shape)[:, ~odd].ravel()
    q = fit_family("mixture", first, copy, rng=rng, quiet=True)
    return log_evidence_of(q, reference.target.log_density, second, q.sample(N_BRIDGE, random_seed=rng))


def _take_draws(reference: PosteriorDraws, kept: BoolArray) -> PosteriorDraws:
    """Keep some of the draws of every chain."""
    weights = None if reference.weights is None else reference.weights[:, kept]
    return replace(
        reference,
        x=reference.x[:, kept],
        log_density=reference.log_density[:, kept],
        weights=None if weights is None else weights / weights.sum(),
    )


def _warn(path: xr.Dataset, d: int) -> None:
    """Warn of orders where the best fit rests on too few draws, or where there is none."""
    best = path["ess"].where(path["branch"] == path["best"]).max("branch")
    few = path["order"].values[(~(best >= MIN_PATH_ESS * d)).values]
    if len(few):
        orders = ", ".join(f"{order:g}" for order in few)
        warnings.warn(
            f"at α = {orders} the fit rests on fewer than {MIN_PATH_ESS * d:.0f} draws' worth of weight, "
            f"{MIN_PATH_ESS:g} a dimension, or there is none: no Gaussian is near enough to this posterior. Give more "
            "draws, or read these orders with care.",
            UserWarning,
            skip_file_prefixes=OURS,
        )
