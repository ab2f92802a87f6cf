"""An approximation → posterior draws, by Pareto-smoothed importance resampling, or a refusal that says why."""

import warnings
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

from pymc_kl._typing import Array, IntArray, RandomSeed
from pymc_kl.approximations import Approximation
from pymc_kl.approximations.wrapped import log_prob_on_circle
from pymc_kl.arguments import check_arguments, whole
from pymc_kl.interrupts import keeping
from pymc_kl.model.target import Target
from pymc_kl.modes.modes import FOUND_MODES, Modes
from pymc_kl.modes.numbering import to_mode_number
from pymc_kl.numerics.estimate import Estimate, smoothed_weights, systematic
from pymc_kl.numerics.judgement import CANNOT_TELL, Answer, at_most
from pymc_kl.numerics.khat import KHAT_FINITE_VARIANCE, KHAT_RELIABLE, khat_se
from pymc_kl.progress import stages
from pymc_kl.reference.datatree import reference_tree
from pymc_kl.sampling.inputs import known_modes, open_approximation, with_density
from pymc_kl.sampling.missed import missed_modes

N_PROPOSALS = 20_000  # draws of q that are weighted; our choice
LEAST_PROPOSALS = 100  # draws that can be weighted at the least: fewer have no tail that tells k-hat; our choice
MORE = 4  # times as many draws where those so far do not do; our choice
MOST = 16  # times as many, at the most, which cuts the error of k-hat in half; our choice
ENOUGH = {1: 0.3, MORE: 0.4}  # k-hat up to which so many times as many do: tails come out too light; our choice


def correct(
    approximation: Any,
    *,
    model: pm.Model | Target | None = None,
    modes: Modes | None = None,
    draws: int = 1000,
    chains: int = 4,
    n_proposals: int = N_PROPOSALS,
    random_seed: RandomSeed = None,
    progressbar: bool = True,
) -> xr.DataTree:
    """Turn an approximation into draws of the posterior by importance resampling.

    Draws of q are weighted by p̃/q, the weights' tail is smoothed [1]_, and draws are taken by their weights. k-hat
    tells whether that works where q has mass; it cannot see a mode that q misses, so the modes are searched for first.

    Parameters
    ----------
    approximation : Approximation or fit
        With a density: what :func:`fit_forward` returned, or anything that :func:`as_approximation` takes.
    model : pm.Model or Target, optional
        Defaults to the model that the approximation was fitted to, then to that of the enclosing `with` block.
    modes : Modes, optional
        What :func:`find_modes` returned; searched for if not given.
    draws, chains : int
        Shape of what is returned.
    n_proposals : int
        Draws of q that are weighted, and up to 16 times as many where the error of k-hat leaves open whether they can
        be trusted, or k-hat is above 0.3, with which fewer leave tails too light.
    random_seed : int, Generator, SeedSequence or None
    progressbar : bool

    Returns
    -------
    DataTree
        `posterior` in the model's own space and `sample_stats` with `log_density` (nats, unconstrained space) and
        `mode`. Draws are independent but for repeats, which follow each other in a chain, so that ArviZ's effective
        size and Monte Carlo error count them; they are spread over the copies that symmetries make of a mode.
        `khat`, `khat_se`, `ess` (draws of q that the weights are worth), `n_distinct` and `errors_hold` are in the
        attributes: whether k-hat is at most 0.5, "yes", "no" or "cannot tell" by two standard errors. From 0.5 on
        weights have no finite variance, and errors of spreads and tails of the draws are too small; a warning says so.

    Raises
    ------
    ValueError
        If k-hat is above 0.7 by two standard errors (where these leave that open, a warning says so), or q misses a
        mode that by Laplace's approximation holds more than a hundredth.
    TypeError
        If q has no density.
    KeyboardInterrupt
        At Ctrl-C, with the `modes` found by then in its attribute `kept`: they can be given again.

    References
    ----------
    .. [1] Vehtari, A., Simpson, D., Gelman, A., Yao, Y. and Gabry, J. (2024). Pareto smoothed importance sampling.
       JMLR 25(72).

    Examples
    --------
    >>> import numpy as np, pymc as pm, pymc_kl as pkl
    >>> from pymc_kl.approximations import MeanField
    >>> with pm.Model() as model:
    ...     x = pm.Normal("x", 0.0, 1.0)
    ...     wide = MeanField(loc=np.array([0.2]), scale=np.array([1.5]))
    ...     dt = pkl.correct(wide, random_seed=1, progressbar=False)
    >>> bool(abs(dt["posterior"]["x"].std() - 1) < 0.05), dt.attrs["khat"] < 0.7
    (True, True)
    """
    check_arguments(locals(), approximation=with_density, modes=FOUND_MODES, n_proposals=whole(LEAST_PROPOSALS))
    approximation, target = open_approximation(approximation, model, density_to="weight its draws by")
    rng = np.random.default_rng(random_seed)
    with stages(progressbar) as stage:
        modes = known_modes(modes, approximation, target, rng, stage)
        with stage("weight draws"), keeping(modes=modes):
            x, log_density, weights, khat = _weighed(approximation, target, n_proposals, rng)
            mode = modes.assign(x[:n_proposals])
    _refuse(khat, len(x), modes, mode)
    rows = resampled(weights, chains * draws, rng)
    mode = mode[rows] if len(x) == n_proposals else modes.assign(x[rows])
    chosen = modes.symmetry.apply(modes.symmetry.random(len(rows), rng), x[rows])
    shape = (chains, draws)
    dt = reference_tree(
        target, chosen.reshape(*shape, -1), log_density[rows].reshape(shape), to_mode_number(mode.reshape(shape))
    )
    dt.attrs = {
        "creation_library": "pymc_kl",
        "khat": khat,
        "khat_se": khat_se(khat, len(x)),
        "ess": float(1 / (weights**2).sum()),
        "n_distinct": len(np.unique(rows)),
        "errors_hold": _at_most(khat, len(x), KHAT_FINITE_VARIANCE),
    }
    return dt


def _weighed(
    approximation: Approximation, target: Target, n: int, rng: np.random.Generator
) -> tuple[Array, Array, Array, float]:
    """Draw and weigh n proposals, and more where k-hat leaves open whether weights can be trusted, or is high.

    With smoothed weights of a heavy tail, what is far out has too little weight, the more so the fewer there are.
    Return the draws (m, d), log p̃ at each, their weights and k-hat.
    """
    x = np.empty((0, target.d))
    log_density, log_prob = np.empty(0), np.empty(0)
    while True:
        more = approximation.sample(max(n, (MORE - 1) * len(x)), random_seed=rng)
        x = np.concatenate([x, more])
        log_density = np.append(log_density, target.log_density(more))
        log_prob = np.append(log_prob, log_prob_on_circle(approximation, more))
        weights, khat = smoothed_weights(log_density - log_prob)
        reliable, times = _at_most(khat, len(x), KHAT_RELIABLE), len(x) // n
        if reliable == "no" or times >= MOST or (reliable == "yes" and khat <= ENOUGH[times]):
            return x, log_density, weights, khat


def _at_most(khat: float, n: int, limit: float) -> Answer:
    return at_most(Estimate(khat, khat_se(khat, n)), limit)


def resampled(weights: Array, n: int, rng: np.random.Generator) -> IntArray:
    """Choose n rows by their weights, in random order but for repeats, which follow each other."""
    order = rng.permutation(len(weights))
    return np.asarray(order[systematic(weights[order], n, rng)])


def _refuse(khat: float, n: int, modes: Modes, mode: IntArray) -> None:
    """Raise if the weights of n proposals can't be trusted, or if q misses a mode, which they can't tell."""
    if missed := missed_modes(modes, mode):
        raise ValueError(
            f"{missed}; importance sampling cannot bring back what is never drawn, and its k-hat ({khat:.2g}) does not "
            "see that. Correct a fit that covers every mode, such as the forward mixture."
        )
    if np.isnan(khat):
        raise ValueError(
            f"k-hat cannot be told from {n} proposals, so their weights cannot be trusted; raise n_proposals."
        )
    reliable = _at_most(khat, n, KHAT_RELIABLE)
    shown = f"k-hat is {khat:.2f} ± {khat_se(khat, n):.2f}" if np.isfinite(khat) else f"k-hat is {khat:.2g}"
    if reliable == "no":
        raise ValueError(
            f"{shown}, above {KHAT_RELIABLE}: a few draws carry the weights, so they cannot be trusted. "
            "Fit a larger family, such as the forward mixture, or sample."
        )
    doubt = ""
    if reliable == CANNOT_TELL:
        doubt = f"it cannot be told whether it is below {KHAT_RELIABLE} and the weights can be trusted"
    elif _at_most(khat, n, KHAT_FINITE_VARIANCE) != "yes":
        doubt = f"it is not surely below {KHAT_FINITE_VARIANCE}, and errors of spreads of the draws may be too small"
    if doubt:
        warnings.warn(f"{shown}, so that {doubt}; raise n_proposals, or fit a larger family.", stacklevel=3)
