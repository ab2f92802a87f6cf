"""An approximation → exact MCMC whose chains cross between modes: NUTS, and jumps that the approximation proposes."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, ClassVar

import numpy as np
import pymc as pm
import xarray as xr
from pymc.blocking import RaveledVars
from pymc.step_methods.arraystep import ArrayStepShared
from pymc.step_methods.compound import BlockedStep, CompoundStep, StepMethodState

from pymc_kl._typing import Array, IntArray, RandomSeed
from pymc_kl.approximations import Approximation
from pymc_kl.approximations.components import Components
from pymc_kl.graphs import without_minibatches
from pymc_kl.modes import Modes
from pymc_kl.places import make_nuts
from pymc_kl.progress import stages
from pymc_kl.target import Target
from pymc_kl.weighed import (
    known_modes,
    open_approximation,
    order_of,
    reordered,
    spread,
    start_points,
    warn_of_missed_modes,
    weigh,
)

JUMPS = 5  # together they cost about a short trajectory of NUTS
BLOCK = 1000  # proposals drawn and evaluated together
FEW_ACCEPTED = 0.01
SAME_DENSITY = 1e-6  # relative, between PyMC's log density and the target's


def sample_jump(
    approximation: Any,
    *,
    model: pm.Model | Target | None = None,
    modes: Modes | None = None,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    jumps: int = JUMPS,
    random_seed: RandomSeed = None,
    progressbar: bool = True,
) -> xr.DataTree:
    """Sample a posterior by NUTS and by jumps that an approximation proposes, so that chains cross between modes.

    An iteration is one transition of PyMC's NUTS, then `jumps` independence Metropolis-Hastings steps [1]_: a draw x'
    of q replaces x with probability min(1, p̃(x') q(x) / (p̃(x) q(x'))). Both leave p as it is, whatever q and the
    modes are: a poor q costs crossings and never the truth of the draws. NUTS has a metric and a step size for
    each mode, from the covariance of weighted draws of q there, as :mod:`pymc_kl.places` says: modes may differ in
    scale. Nothing adapts but the step sizes, and those only while chains tune.

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
    random_seed : int, Generator, SeedSequence or None
    progressbar : bool

    Returns
    -------
    DataTree
        What `pm.sample` returns. `sample_stats` has, beside those of NUTS, `jump_accepted` (whether any jump of the
        iteration was), `jump_acceptance_rate` (their mean probability to be) and `mode`, from 1; 0 is elsewhere.

    Raises
    ------
    TypeError
        If q has no density.
    ValueError
        If the model's data changed since the approximation was fitted.

    Warns
    -----
    UserWarning
        If q misses a mode that by Laplace's approximation holds more than a hundredth, or if less than a hundredth of
        the jumps is accepted.

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
    _check_sizes(draws=draws, chains=chains, jumps=jumps)
    approximation, target = open_approximation(approximation, model)
    if not approximation.has_log_prob:
        raise TypeError(f"{approximation.family} has no density to accept its draws by; fit a family to them first.")
    rng = np.random.default_rng(random_seed)
    with stages(progressbar) as stage:
        with stage("search for modes") as report:
            modes = known_modes(modes, approximation, target, rng, report)
        with stage("choose starts"):
            weighed = weigh(approximation, target, modes, rng)
            rows = spread(weighed, chains, target, rng)
    warn_of_missed_modes(weighed, modes, "chains will hardly cross to what is never proposed.", stacklevel=2)
    full = without_minibatches(target.model)
    step = [*make_steps(full, target, approximation, weighed.places(), jumps)]
    _check_density(step[1], weighed.x[rows], weighed.log_density[rows])
    with warnings.catch_warnings():
        # JAX and Python warn of any fork; the processes that PyMC forks run what PyTensor compiled, and no JAX.
        warnings.filterwarnings("ignore", message=r".*fork\(\)")
        dt = pm.sample(
            draws,
            tune=tune,
            chains=chains,
            model=full,
            step=step,
            initvals=start_points(weighed.x[rows], target),
            random_seed=rng,
            progressbar=progressbar,
            idata_kwargs={"include_transformed": True},
        )
    rate = float(dt["sample_stats"]["jump_acceptance_rate"].mean())
    if rate < FEW_ACCEPTED:
        warnings.warn(
            f"{100 * rate:.2g} % of the jumps were accepted: the draws are of the posterior, but chains hardly cross "
            "between modes. Jump by a fit that is closer to the posterior, such as the forward mixture of "
            "fit_forward(), or raise jumps.",
            stacklevel=2,
        )
    return _labelled(dt, target, modes)


@dataclass(frozen=True, eq=False)
class Place:
    """A point x (d,) of the chain with both log densities, in nats."""

    x: Array
    log_density: float
    log_prob: float


class JumpStep(ArrayStepShared):
    """Step method of PyMC: independence Metropolis-Hastings jumps that an approximation proposes.

    Parameters
    ----------
    vars : sequence of value variables
    density : callable
        PyMC's vector (d,) -> log p̃ in nats.
    proposal : Approximation
        q, with a density.
    order : array (d,) of int
        Where PyMC's vector has each coordinate of q.
    jumps : int
        In one step.
    """

    name = "jump"
    stats_dtypes_shapes: ClassVar[dict[str, Any]] = {
        "jump_accepted": (bool, []),
        "jump_acceptance_rate": (np.float64, []),
        "model_logp": (np.float64, []),
    }
    _state_class = StepMethodState

    def __init__(
        self,
        vars: Sequence[Any],  # noqa: A002 PyMC's own name
        *,
        density: Callable[[Array], float],
        proposal: Approximation,
        order: IntArray,
        jumps: int,
        model: pm.Model | None = None,  # noqa: ARG002 what PyMC passes
        blocked: bool = True,
        rng: np.random.Generator | None = None,
    ) -> None:
        super().__init__(list(vars), {}, blocked=blocked, rng=rng)
        self.density, self.proposal, self.order, self.jumps = density, proposal, order, jumps
        self._proposals: Iterator[Place] = iter(())

    def setup_chain(self, rng: Any, tune: int, draws: int) -> None:
        """Forget the proposals of the chain before."""
        super().setup_chain(rng, tune, draws)
        self._proposals = self._propose()

    def _propose(self) -> Iterator[Place]:
        """Draw proposals for ever; a block is drawn and evaluated together, so that a jump is a comparison."""
        while True:
            x = self.proposal.sample(BLOCK, random_seed=self.rng)
            log_prob = self.proposal.log_prob(x)
            for row, log_q in zip(x, log_prob, strict=True):
                theirs = np.empty_like(row)
                theirs[self.order] = row
                yield Place(theirs, self.density(theirs), float(log_q))

    def astep(self, q0: RaveledVars) -> tuple[RaveledVars, list[dict[str, Any]]]:
        """Propose so many jumps, one after the other."""
        x = np.asarray(q0.data)
        place = Place(x, self.density(x), float(self.proposal.log_prob(x[self.order][None])[0]))
        start, probabilities = place, []
        for proposed in islice(self._proposals, self.jumps):
            probabilities.append(np.exp(log_acceptance(place, proposed)))
            if self.rng.random() < probabilities[-1]:
                place = proposed
        stats = {
            "jump_accepted": place is not start,
            "jump_acceptance_rate": float(np.mean(probabilities)),
            "model_logp": place.log_density,
        }
        return RaveledVars(place.x, q0.point_map_info), [stats]


def log_acceptance(current: Place, proposed: Place) -> float:
    """Log of the probability to accept a draw of q: min(0, log p̃(x') + log q(x) - log p̃(x) - log q(x'))."""
    log_ratio = proposed.log_density - proposed.log_prob - (current.log_density - current.log_prob)
    return min(0.0, log_ratio) if log_ratio > -np.inf else -np.inf


def make_steps(
    model: pm.Model, target: Target, approximation: Approximation, places: Components, jumps: int
) -> tuple[BlockedStep | CompoundStep, JumpStep]:
    """Make NUTS with the metrics of these places, in the target's order, and the jumps; one compilation."""
    order = order_of(target, [v.name for v in model.value_vars])
    with model:
        function = model.logp_dlogp_function(ravel_inputs=True)
        function.trust_input = True
        jump = JumpStep(
            model.value_vars,
            density=LogDensity(function),
            proposal=replace(approximation, target=None),  # a target cannot follow to other processes
            order=np.argsort(order),
            jumps=jumps,
        )
        return make_nuts(function, reordered(places, order)), jump


@dataclass(frozen=True, eq=False)
class LogDensity:
    """PyMC's compiled value and gradient as log p̃ of its vector (d,); where it is NaN there is no density."""

    function: Any

    def __call__(self, x: Array) -> float:
        """Evaluate log p̃ in nats."""
        value = float(self.function([x], extra_vars={})[0])
        return -np.inf if np.isnan(value) else value


def _check_density(jump: JumpStep, x: Array, log_density: Array) -> None:
    """Raise if PyMC's log density at the starts (n, d) isn't the target's (n,)."""
    theirs = np.array([jump.density(row[np.argsort(jump.order)]) for row in x])
    if not np.allclose(theirs, log_density, rtol=SAME_DENSITY, atol=SAME_DENSITY):
        raise ValueError(
            f"the model's log density at the starts is {theirs.round(3)}, and was {log_density.round(3)} when the "
            "approximation was fitted: its data have changed since. Fit it to the data as they are."
        )


def _labelled(dt: xr.DataTree, target: Target, modes: Modes) -> xr.DataTree:
    """Add the mode of each draw; its unconstrained values have served and are dropped."""
    x = target.unconstrain(dt)
    label = modes.fold(x.reshape(-1, target.d)).mode.reshape(x.shape[:2]) + 1
    stats, posterior = dt["sample_stats"].to_dataset(), dt["posterior"].to_dataset()
    extra = [v.value_name for v in target.variables if v.value_name != v.name]
    last = stats["lp"].isel(lp_dim_0=-1, drop=True)  # PyMC has a column for NUTS too, which it leaves empty
    stats = stats.drop_dims("lp_dim_0").assign(lp=last, mode=(("chain", "draw"), label))
    dt["sample_stats"] = xr.DataTree(stats)
    dt["posterior"] = xr.DataTree(posterior.drop_vars(extra))
    return dt


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1; got {size}.")
