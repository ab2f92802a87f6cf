"""Forward-KL fits: choose a family by name or by its held-out score, and fit it to draws of the posterior."""

import warnings
from dataclasses import replace

import numpy as np
import pymc as pm
import xarray as xr

from pymc_kl._typing import Array, IntArray, RandomSeed
from pymc_kl.approximations import FAMILIES, Approximation, ComponentFamily, FullRank, LowRank, MeanField
from pymc_kl.approximations.choice import AUTO, choose_family
from pymc_kl.approximations.training import Training
from pymc_kl.arguments import OURS, check_arguments, choice, renamed
from pymc_kl.fitting.in_parts import refined
from pymc_kl.interrupts import keeping
from pymc_kl.model.draws import PosteriorDraws, as_posterior_draws, draws_of
from pymc_kl.model.named_draws import read_draws
from pymc_kl.model.target import Target, as_target
from pymc_kl.modes.modes import FOUND_MODES, Modes
from pymc_kl.modes.search import search_draws
from pymc_kl.numerics.khat import KHAT_RELIABLE
from pymc_kl.numerics.tails import tail_index


@renamed(reference="idata")
def fit_forward(
    idata: xr.DataTree | xr.Dataset | PosteriorDraws,
    family: str = "mixture",
    *,
    model: pm.Model | Target | None = None,
    modes: Modes | None = None,
    random_seed: RandomSeed = None,
) -> Approximation:
    """Minimise KL(p‖q) over a family, given draws of the posterior p.

    Parameters
    ----------
    idata : DataTree, Dataset or PosteriorDraws
        Draws of p, weighted if `sample_stats` has `weight`. More than 2**27 numbers (1 GB) are read in parts, as from
        a Zarr store: Gaussians and mixtures are fitted to all of them, from a fit to a sample; others to the sample.
    family : {"auto", "meanfield", "lowrank", "fullrank", "studentt", "mixture", "studentt_mixture", "flow"}
        "meanfield" and "fullrank" are Gaussians that match moments exactly, "lowrank" one between them for many
        dimensions; "studentt" has tails of its own. The mixtures, of Gaussians or Student-t's, are fitted by
        expectation-maximisation from the modes, their number of components chosen by held-out log score. "flow",
        a normalising flow, needs `pip install pymc_kl[flow]`. "auto" chooses among all but the flow: the simplest
        whose held-out log score is within one standard error, or 0.01 nats a draw, of the best.
    model : pm.Model or Target, optional
        Defaults to the model of the enclosing `with` block.
    modes : Modes, optional
        Where mixtures start; found from the draws if not given.
    random_seed : int, Generator, SeedSequence or None

    Returns
    -------
    Approximation
        On the unconstrained space; `info` holds what the fit reports of itself. After "auto", `info["choice"]` says in
        one sentence why this family, and `info["family_scores"]` has the held-out score and its standard error,
        nats a draw, of each (NaN where draws are too few for it).

    Raises
    ------
    ValueError
        If the family is unknown, or the draws are too few for it or lie on a hyperplane.
    ImportError
        If the family is "flow" and its library is not installed.
    KeyboardInterrupt
        At Ctrl-C, with the `modes` found by then in its attribute `kept`: they can be given again.

    Warns
    -----
    UserWarning
        If a sample of the draws is loaded, which tells modes, tails and numbers of components.
        If tails are so heavy that the posterior may have no second moments: no Gaussian minimises the
        forward divergence then, and a Student-t does.

    Examples
    --------
    >>> import numpy as np, pymc as pm, xarray as xr
    >>> with pm.Model() as model:
    ...     x = pm.Normal("x", 0.0, 1.0)
    ...     draws = xr.Dataset({"x": (("chain", "draw"), np.array([[-1.0, 0.0, 1.0, 2.0]]))})
    ...     q = fit_forward(draws, "fullrank")
    >>> q.loc, q.covariance
    (array([0.5]), array([[1.25]]))

    Which family the draws call for is a question that "auto" answers:

    >>> with model:
    ...     x = np.random.default_rng(1).standard_t(3, size=(4, 1000))
    ...     q = fit_forward(xr.Dataset({"x": (("chain", "draw"), x)}), "auto", random_seed=1)
    >>> q.family
    'studentt'
    """
    check_arguments(
        locals(), idata=draws_of("fit_forward"), family=choice(AUTO, *FAMILIES, what="family"),
        modes=FOUND_MODES,
    )  # fmt: skip
    draws = read_draws(idata)
    target = draws.target if isinstance(draws, PosteriorDraws) else as_target(model)
    reference = as_posterior_draws(draws, target)
    rng = np.random.default_rng(random_seed)
    if takes_modes(family) and modes is None:
        modes = search_draws(reference.target, reference.flat, rng)
    with keeping(**({} if modes is None else {"modes": modes})):
        mode = None if modes is None else modes.assign(reference.flat)
        fit = fit_family(family, reference, mode, rng=rng)
        return refined(fit, reference.large) if reference.large else fit


def takes_modes(family: str) -> bool:
    """Tell whether the fit of a family starts from the modes."""
    return family == AUTO or issubclass(FAMILIES[family], ComponentFamily)


def fit_family(
    family: str,
    reference: PosteriorDraws,
    mode: IntArray | None,
    *,
    rng: np.random.Generator,
    start: Approximation | None = None,
    quiet: bool = False,
) -> Approximation:
    """Fit one family, or "auto", to draws of these modes (n,), -1 for elsewhere; warn of heavy tails unless `quiet`.

    `start` is a fit to nearly the same draws, which a mixture starts from.
    """
    draws = Training(reference.flat, reference.flat_weights, mode, reference.blocks(), rng, start)
    choice = choose_family(draws) if family == AUTO else None
    fit = FAMILIES[family if choice is None else choice.family].fit(draws)
    heavy = _heavy_tails(fit, draws.x) if isinstance(fit, MeanField | LowRank | FullRank) else ()
    if heavy and not quiet:
        warnings.warn(heavy[0], UserWarning, skip_file_prefixes=OURS)
    info = fit.info.with_warnings(*heavy)
    if choice is not None:
        info = replace(info, family=choice.family, choice=choice.why, family_scores=choice.scores)
    return replace(fit, target=reference.target, info=info)


def _heavy_tails(fit: MeanField | LowRank | FullRank, x: Array) -> tuple[str, ...]:
    """Return a warning if the squared distance of draws from the Gaussian's mean has too heavy a tail to average."""
    k = tail_index(-fit.log_prob(x))
    if not k > KHAT_RELIABLE:
        return ()
    return (
        f"the draws have tails so heavy (k-hat {k:.2f} > {KHAT_RELIABLE} for their squared distance from the "
        "mean) that the posterior may have no second moments: the best forward Gaussian need not exist and "
        "its scores have no finite error. Use 'studentt' or 'studentt_mixture', or reparameterise.",
    )
