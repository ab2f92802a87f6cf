"""Many short chains at once by Hamiltonian Monte Carlo (Neal 2011, doi:10.1201/b10905-6) on a density to a power.

One batched call of value and gradient a leapfrog step serves all chains. They share one step size, which is adapted
to the mean acceptance of all of them. A power below one flattens the density: such chains cross barriers that chains
of the density itself do not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.numerics.lbfgs import ValueAndGrad
from pymc_kl.numerics.whitening import unwhiten, whiten_gradient

FIRST_STEP = 0.3  # whitened units: step size that the adaptation begins with; our choice
ADAPTATION = 2.0  # change of the log step size per unit of acceptance above the target; our choice
DIVERGENT = 1000.0  # nats of energy gained from which a trajectory has diverged; Carpenter et al. 2017, as in Stan


@dataclass(frozen=True)
class Trajectory:
    """How a chain moves.

    Parameters
    ----------
    n_leapfrog : int
        Steps of a trajectory, a gradient each.
    jitter : float
        Standard deviation of the log step size among chains and moves. A wide one gives some chains steps that are
        short enough for narrow places.
    acceptance : float
        Mean probability of acceptance that the step size is adapted to; 0.65 to 0.8 mixes best on a normal density
        (Beskos et al. 2013, doi:10.3150/12-BEJ414).
    adapt : bool
        Adapt the step size after each move. Chains leave the density exactly as it is only without it.
    """

    n_leapfrog: int = 6
    jitter: float = 0.3
    acceptance: float = 0.8
    adapt: bool = True


DEFAULT = Trajectory()


@dataclass(frozen=True, eq=False)
class Chains:
    """Where chains stand.

    Attributes
    ----------
    x : array (n, d)
        Unconstrained space.
    log_density : array (n,)
        log p̃ there in nats, finite.
    grad : array (n, d)
        Its gradient.
    step : float
        Step size in whitened units at power one; a chain of power β takes steps 1/√β as long, as wide as p̃^β is.
    acceptance : float
        Mean probability that the last move was accepted; NaN before the first.
    n_diverging : int
        Trajectories of the last move that diverged: their energy rose by a thousand nats, or is not finite.
    """

    x: Array
    log_density: Array
    grad: Array
    step: float = FIRST_STEP
    acceptance: float = float("nan")
    n_diverging: int = 0

    @classmethod
    def at(cls, value_and_grad: ValueAndGrad, x: Array) -> "Chains":
        """Start a chain at each of the points (n, d) whose log density and gradient are finite."""
        value, grad = value_and_grad(x)
        finite = np.isfinite(value) & np.isfinite(grad).all(axis=1)
        return cls(x[finite], value[finite], grad[finite])

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: IntArray) -> "Chains":
        """Return some of the chains."""
        return replace(self, x=self.x[rows], log_density=self.log_density[rows], grad=self.grad[rows])

    def put(self, rows: IntArray, trail: Sequence["Chains"], at: IntArray) -> "Chains":
        """Move some chains (m,) to one of the places on their trail, by its number (m,)."""
        columns = {}
        for name in ("x", "log_density", "grad"):
            columns[name] = getattr(self, name).copy()
            columns[name][rows] = np.stack([getattr(place, name) for place in trail])[at, np.arange(len(rows))]
        return replace(self, **columns)


def advance(
    value_and_grad: ValueAndGrad,
    chains: Chains,
    scale: Array,
    beta: float | Array,
    rng: np.random.Generator,
    trajectory: Trajectory = DEFAULT,
) -> Chains:
    """Move every chain by one trajectory, which leaves p̃^β as it is.

    A trajectory that ends where the log density is not finite is rejected.

    Parameters
    ----------
    value_and_grad : callable
        (n, d) -> log p̃ (n,) in nats and its gradient (n, d), a row a chain.
    chains : Chains
    scale : array (d, d)
        Lower Cholesky factor of the covariance that whitens the space: the inverse of the mass matrix.
    beta : float or array (n,)
        Power of the density, above zero; one for all chains or one for each.
    rng : Generator
    trajectory : Trajectory

    Returns
    -------
    Chains
    """
    if not len(chains):
        return chains
    power = np.broadcast_to(beta, len(chains))
    step = chains.step * np.exp(trajectory.jitter * rng.standard_normal(len(chains))) / np.sqrt(power)
    momentum = rng.standard_normal(chains.x.shape)
    with np.errstate(all="ignore"):  # trajectories that leave the support are rejected
        end, last = _leapfrog(value_and_grad, chains, momentum, scale, power, step, trajectory.n_leapfrog)
        lost = 0.5 * ((last**2).sum(axis=1) - (momentum**2).sum(axis=1))
        gain = power * (end.log_density - chains.log_density) - lost
    gain = np.where(np.isfinite(gain), gain, -np.inf)
    probability = np.exp(np.minimum(gain, 0.0))
    moved = where(rng.random(len(chains)) < probability, end, chains)
    return _adapted(replace(moved, n_diverging=int((gain < -DIVERGENT).sum())), float(probability.mean()), trajectory)


def _leapfrog(
    value_and_grad: ValueAndGrad,
    chains: Chains,
    momentum: Array,
    scale: Array,
    power: Array,
    step: Array,
    n_steps: int,
) -> tuple[Chains, Array]:
    """Integrate Hamilton's equations in whitened coordinates: the ends of trajectories and their momenta (n, d)."""
    x, grad, step = chains.x, chains.grad, step[:, None]
    kick = step * power[:, None]
    momentum = momentum + 0.5 * kick * whiten_gradient(grad, scale)
    for i in range(n_steps):
        x = x + step * unwhiten(momentum, scale)
        value, grad = value_and_grad(x)
        # Any gradient that is a function of x alone keeps the volume and turns back: zero where there is none.
        grad = np.nan_to_num(grad, nan=0.0, posinf=0.0, neginf=0.0)
        momentum = momentum + (1.0 if i < n_steps - 1 else 0.5) * kick * whiten_gradient(grad, scale)
    return replace(chains, x=x, log_density=value, grad=grad), momentum


def where(taken: BoolArray, end: Chains, start: Chains) -> Chains:
    """Put each chain at its end where that was accepted (n,), else leave it at its start."""
    return replace(
        start,
        x=np.where(taken[:, None], end.x, start.x),
        log_density=np.where(taken, end.log_density, start.log_density),
        grad=np.where(taken[:, None], end.grad, start.grad),
    )


def _adapted(chains: Chains, acceptance: float, trajectory: Trajectory) -> Chains:
    """Note the acceptance, and lengthen the step where it is above the target."""
    change = ADAPTATION * (acceptance - trajectory.acceptance) if trajectory.adapt else 0.0
    return replace(chains, step=chains.step * float(np.exp(change)), acceptance=acceptance)
