"""An approximation → exact MCMC whose chains cross between modes: NUTS, and jumps that the approximation proposes."""

import warnings
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

from pymc_kl._typing import Array, RandomSeed
from pymc_kl.arguments import check_arguments, whole
from pymc_kl.interrupts import Interrupts, counted, interrupted, keeping, tell
from pymc_kl.model.graphs import PYTENSOR, without_minibatches
from pymc_kl.model.target import Target
from pymc_kl.modes.modes import FOUND_MODES, Modes
from pymc_kl.modes.numbering import to_mode_number
from pymc_kl.progress import stages
from pymc_kl.sampling.chain_starts import choose_starts, to_initvals
from pymc_kl.sampling.importance import weighted_draws
from pymc_kl.sampling.inputs import known_modes, open_approximation, with_density
from pymc_kl.sampling.local_normals import local_normals
from pymc_kl.sampling.missed import warn_of_missed_copies, warn_of_missed_modes
from pymc_kl.sampling.steps import TARGET_ACCEPT, JumpStep, make_steps

JUMPS = 5  # jumps after each transition of NUTS; together they cost about as much as a short trajectory; our choice
FEW_ACCEPTED = 0.01  # share of jumps accepted below which a warning says that chains hardly cross; our choice
SAME_DENSITY = 1e-6  # largest difference, relative and in nats, of PyMC's log density from the target's


def sample_jump(
    approximation: Any,
    *,
    model: pm.Model | Target | None = None,
    modes: Modes | None = None,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    jumps: int = JUMPS,
    target_accept: float = TARGET_ACCEPT,
    random_seed: RandomSeed = None,
    progressbar: bool = True,
) -> xr.DataTree:
    """Sample a posterior by NUTS and by jumps that an approximation proposes, so that chains cross between modes.

    An iteration is one transition of PyMC's NUTS, then `jumps` independence Metropolis-Hastings steps [1]_: a draw x'
    of q replaces x with probability min(1, p̃(x') q(x) / (p̃(x) q(x'))). Both leave p as it is, whatever q and the
    modes are: a poor q costs crossings and never the truth of the draws. NUTS has a metric and a step size for
    each mode, from the covariance of weighted draws of q there, as :mod:`pymc_kl.sampling.steps` says: modes may
    differ in scale. Nothing adapts but the step sizes, and those only while chains tune.

    Parameters
    ----------
    approximation : Approximation or fit
        With a density: what :func:`fit_forward` returned, or anything that :func:`as_approximation` takes. Chains cross
        as far as it covers the modes, and the copies that symmetries make of them.
    model : pm.Model or Target, optional
        Defaults to the model that the approximation was fitted to, then to that of the enclosing `with` block.
    modes : Modes, optional
        What :func:`find_modes` returned; searched for if not given. They label the draws and warn of what q misses.
    draws, tune, chains : int
        As in `pm.sample`.
    jumps : int
        Jumps after each transition of NUTS.
    target_accept : float
        Of NUTS, as in `pm.sample`: higher where transitions diverge.
    random_seed : int, Generator, SeedSequence or None
    progressbar : bool

    Returns
    -------
    DataTree
        What `pm.sample` returns. `sample_stats` has, beside those of NUTS, `jump_accepted` (whether any jump of the
        iteration was), `jump_acceptance_rate` (their mean probability to be) and `mode`, from 1; 0 is elsewhere.

    Raises
    ------
    KeyboardInterrupt
        At Ctrl-C before the first draw, with the `modes` in its attribute `kept`. Later the draws that are there are
        returned, `partial` in the attributes is 1, and `interrupted` says how many they are.
    TypeError
        If q has no density.
    ValueError
        If the model's data changed since the approximation was fitted.

    Warns
    -----
    UserWarning
        If q misses a mode that by Laplace's approximation holds more than a hundredth, or copies that symmetries make
        of a mode, or if less than a hundredth of the jumps is accepted.

    References
    ----------
    .. [1] Tierney, L. (1994). Markov chains for exploring posterior distributions. doi:10.1214/aos/1176325750

    Examples
    --------
    >>> import numpy as np, pymc as pm, pymc_kl as pkl
    >>> from pymc_kl.approximations import Mixture
    >>> with pm.Model() as model:
    ...     x = pm.NormalMixture("x", w=[0.3, 0.7], mu=[-3, 3], sigma=[0.6, 1])
    ...     q = Mixture(weights=np.full(2, 0.5), locs=np.array([[-3.0], [3.0]]), scale_trils=np.ones((2, 1, 1)))
    ...     dt = pkl.sample_jump(q, draws=500, tune=200, random_seed=1, progressbar=False)
    >>> share = (dt["posterior"]["x"] < 0).mean().item()
    >>> bool(abs(share - 0.3) < 0.05), bool(dt["sample_stats"]["jump_acceptance_rate"].mean() > 0.5)
    (True, True)
    """
    check_arguments(locals(), approximation=with_density, modes=FOUND_MODES, jumps=whole(), tune=whole(least=0))
    approximation, target = open_approximation(approximation, model, density_to="accept its draws by")
    rng = np.random.default_rng(random_seed)
    with stages(progressbar) as stage:
        modes = known_modes(modes, approximation, target, rng, stage)
        with stage("choose starts"), keeping(modes=modes):
            weighted = weighted_draws(approximation, target, modes, rng)
            starts = choose_starts(weighted, chains, target, rng)
    warn_of_missed_modes(weighted, modes, "chains will hardly cross to what is never proposed.", stacklevel=2)
    warn_of_missed_copies(weighted, modes, stacklevel=2)
    full = without_minibatches(target.model)
    step = [*make_steps(full, target, approximation, local_normals(weighted), jumps=jumps, target_accept=target_accept)]
    _check_density(step[1], starts.x, starts.log_density)
    with PYTENSOR, counted() as interrupts, keeping(modes=modes), warnings.catch_warnings():
        # JAX and Python warn of any fork; the processes that PyMC forks run what PyTensor compiled, and no JAX.
        warnings.filterwarnings("ignore", message=r".*fork\(\)")
        try:
            dt = pm.sample(
                draws,
                tune=tune,
                chains=chains,
                model=full,
                step=step,
                initvals=to_initvals(starts.x, target),
                random_seed=rng,
                progressbar=progressbar,
                callback=interrupts.end,
                idata_kwargs={"include_transformed": True},
            )
        except Exception as error:
            if interrupts.came:  # before there was a draw to return
                raise interrupted("the sampling was interrupted before its first draw.") from error
            raise
    _warn_of_few_jumps(float(dt["sample_stats"]["jump_acceptance_rate"].mean()), stacklevel=2)
    return tell(_with_modes(dt, target, modes), _said_of(dt["posterior"].sizes, chains, draws, interrupts))


def _said_of(sizes: Mapping[Hashable, int], chains: int, draws: int, interrupts: Interrupts) -> str:
    """Say how much is there where an interrupt cut the sampling short; empty if none did."""
    if (sizes["chain"], sizes["draw"]) == (chains, draws) and not interrupts.came:
        return ""
    there = f"{sizes['chain']} of {chains} chains are there, each of {sizes['draw']:,} of {draws:,} draws"
    return f"The sampling was interrupted: {there}."


def _warn_of_few_jumps(rate: float, *, stacklevel: int) -> None:
    if rate < FEW_ACCEPTED:
        warnings.warn(
            f"{100 * rate:.2g} % of the jumps were accepted: the draws are of the posterior, but chains hardly cross "
            "between modes. Jump by a fit that is closer to the posterior, such as the forward mixture of "
            "fit_forward(), or raise jumps.",
            stacklevel=stacklevel + 1,
        )


def _check_density(jump: JumpStep, x: Array, log_density: Array) -> None:
    """Raise if PyMC's log density at the starts (n, d) isn't the target's (n,)."""
    theirs = np.array([jump.density(row[np.argsort(jump.order)]) for row in x])
    if not np.allclose(theirs, log_density, rtol=SAME_DENSITY, atol=SAME_DENSITY):
        raise ValueError(
            f"the model's log density at the starts is {theirs.round(3)}, and was {log_density.round(3)} when the "
            "approximation was fitted: its data have changed since. Fit it to the data as they are."
        )


def _with_modes(dt: xr.DataTree, target: Target, modes: Modes) -> xr.DataTree:
    """Add the mode of each draw, and drop its unconstrained values, which only the assignment needs."""
    x = target.unconstrain(dt)
    mode = to_mode_number(modes.assign(x.reshape(-1, target.d)).reshape(x.shape[:2]))
    stats, posterior = dt["sample_stats"].to_dataset(), dt["posterior"].to_dataset()
    extra = [v.value_name for v in target.variables if v.value_name != v.name]
    last = stats["lp"].isel(lp_dim_0=-1, drop=True)  # PyMC has a column for NUTS too, which it leaves empty
    stats = stats.drop_dims("lp_dim_0").assign(lp=last, mode=(("chain", "draw"), mode))
    dt["sample_stats"] = xr.DataTree(stats)
    dt["posterior"] = xr.DataTree(posterior.drop_vars(extra))
    return dt
