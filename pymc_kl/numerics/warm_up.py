"""Warm-up of many Hamiltonian chains at once: metric, step size and length of the trajectories, from all of them.

Chains learn from each other as in ChEES-HMC [1]_: one metric, step size and trajectory serve them all, and are fixed
before any draw is kept.

References
----------
.. [1] Hoffman, M. D., Radul, A. and Sountsov, P. (2021). An adaptive-MCMC scheme for setting trajectory lengths in
   Hamiltonian Monte Carlo. AISTATS, PMLR 130, 3907-3915.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pymc_kl._typing import Array, BoolArray
from pymc_kl.numerics.constants import MAD_TO_SD
from pymc_kl.numerics.hmc import Chains, Trajectory, advance, where
from pymc_kl.numerics.lbfgs import ValueAndGrad
from pymc_kl.numerics.whitening import WIDE, unwhiten, whiten, whiten_gradient

QUARTER_TURN = np.pi / 2  # whitened time of a trajectory that takes a normal density to independent draws
TIMES = (0.5, 1.5)  # uniform factor of that time from move to move: no direction is always in step; our choice
STEP_JITTER = 0.2  # standard deviation of the log step size among chains; our choice
ACCEPTANCES = (0.9, 0.95, 0.98)  # targets in turn, the next where trajectories diverge; above 0.8 for curved modes
FEW_DIVERGING = 0.005  # share of trajectories that diverge, from which steps are made shorter; our choice
MAX_LEAPFROG = 128  # most steps of a trajectory; our choice
FIRST_MOVES = 20  # moves before the metric is looked at: chains come from where they started; our choice
STAGES = (20, 30, 30)  # moves of each stage that ends with a new metric; our choice
LAST_MOVES = 15  # moves that settle the step size; our choice
LOOKED_AFTER = 5  # moves from one look at whether chains are inside to the next, once they leave; our choice
LEAVING = 0.02  # share of the chains that are outside at one look, above which chains leave; our choice
SETTLED = 1 / 3  # part of a stage after which its draws tell the metric; our choice
WORTH = 0.2  # effective draws of the slowest coordinate that are to lie between kept draws; our choice
PAYS = 1.5  # times as many that trajectories twice as long must give to stay; our choice
MAX_MOVES = 8  # moves between two kept draws, at the most; our choice
STEEP = 100.0  # squared whitened gradient of walls that cut trajectories short, 1 of a normal; our choice
BENT = 30.0  # the same where chains move slowly, above which the walls are of a bent ridge; our choice
LEAST_EIGENVALUE = 1e-3  # of a correlation matrix, for rounding; our choice

type Inside = Callable[[Array], BoolArray]


@dataclass(frozen=True, eq=False)
class Kernel:
    """How all chains move.

    Attributes
    ----------
    scale : array (d, d)
        Lower Cholesky factor of the covariance that whitens the space.
    time : float
        Mean length of a trajectory in whitened units.
    acceptance : float
        That the step size is adapted to.
    pace : float
        Effective draws that a move gives in the slowest coordinate.
    """

    scale: Array
    time: float = QUARTER_TURN
    acceptance: float = ACCEPTANCES[0]
    pace: float = 1.0

    @property
    def moves_per_draw(self) -> int:
        """Moves from one kept draw to the next."""
        return int(np.clip(np.ceil(WORTH / max(self.pace, WORTH / MAX_MOVES)), 1, MAX_MOVES))

    def crawls(self, chains: Chains) -> bool:
        """Tell whether steep walls cut trajectories so short that chains hardly move; an edge of the support does not.

        In whitened units the squared gradient of a normal is 1 a coordinate, on average.
        """
        steep = np.square(whiten_gradient(chains.grad, self.scale)).mean() > STEEP
        return bool(steep and self.time > MAX_LEAPFROG * chains.step and self.pace < WORTH / MAX_MOVES)

    def bends(self, chains: Chains) -> bool:
        """Tell whether walls are steep though all is whitened, as of a narrow ridge that is not straight.

        Chains may not enter parts of it that are narrower in those units. They are medians here, so that heavy tails
        are no walls.
        """
        z = whiten(chains.x, self.scale)
        unit = MAD_TO_SD * np.median(np.abs(z - np.median(z, axis=0)), axis=0)
        return bool(np.square(whiten_gradient(chains.grad, self.scale) * unit).mean() > BENT and self.pace < WORTH)

    def move(
        self, value_and_grad: ValueAndGrad, chains: Chains, rng: np.random.Generator, *, adapt: bool = False
    ) -> Chains:
        """Move every chain by one trajectory, and adapt their step size if asked to."""
        steps = np.ceil(self.time * rng.uniform(*TIMES) / chains.step)
        trajectory = Trajectory(int(np.clip(steps, 1, MAX_LEAPFROG)), STEP_JITTER, self.acceptance, adapt)
        return advance(value_and_grad, chains, self.scale, 1.0, rng, trajectory)


def warm_up(
    value_and_grad: ValueAndGrad,
    chains: Chains,
    scale: Array,
    rng: np.random.Generator,
    *,
    inside: Inside,
    repeats: int = 1,
    settled: bool = False,
) -> tuple[Chains, Kernel, bool]:
    """Move chains to typical places, and learn the kernel that the draws are made with.

    Parameters
    ----------
    value_and_grad : callable
        (n, d) -> log p̃ (n,) in nats and its gradient (n, d), a row a chain.
    chains : Chains
        From which they start.
    scale : array (d, d)
        Lower Cholesky factor of a covariance to begin with.
    rng : Generator
    inside : callable
        (n, d) -> whether each point lies where the chains may be. One that has left goes back to where it last was
        inside, as in a chain of the density restricted to that region.
    repeats : int
        Times that the moves before the metric is looked at are made.
    settled : bool
        Chains start from draws and with their covariance: the first stage will do, unless the pace it shows is low.

    Returns
    -------
    Chains
    Kernel
    bool
        Whether chains leave the region.
    """
    kernel, stage = Kernel(scale), _Stage(value_and_grad, rng, inside)
    for _ in range(0 if settled else repeats):
        chains, _ = stage.run(chains, kernel, FIRST_MOVES)
    paces: list[float] = []
    for n_moves in STAGES:
        chains, x = stage.run(chains, kernel, n_moves)
        kernel = _improved(kernel, x[int(SETTLED * n_moves) :])
        paces.append(kernel.pace)
        kernel = replace(kernel, time=_time(kernel.time, paces))
        if settled and kernel.pace >= WORTH:
            break
    for acceptance in ACCEPTANCES:
        kernel = replace(kernel, acceptance=acceptance)
        chains, _ = stage.run(chains, kernel, LAST_MOVES)
        if stage.diverging <= FEW_DIVERGING:
            break
    return replace(chains, step=stage.step), kernel, stage.left


def shorten_steps(
    value_and_grad: ValueAndGrad, chains: Chains, kernel: Kernel, rng: np.random.Generator, *, inside: Inside
) -> tuple[Chains, Kernel]:
    """Adapt the step size of chains that diverge too often to the highest acceptance."""
    kernel, stage = replace(kernel, acceptance=ACCEPTANCES[-1]), _Stage(value_and_grad, rng, inside)
    chains, _ = stage.run(chains, kernel, LAST_MOVES)
    return replace(chains, step=stage.step), kernel


@dataclass(eq=False)
class _Stage:
    """Run stages of the warm-up, and remember the mean step size and the share of divergences of the last.

    Once chains leave the region, they are looked after several times a stage.
    """

    value_and_grad: ValueAndGrad
    rng: np.random.Generator
    inside: Inside
    left: bool = False
    step: float = float("nan")
    diverging: float = 0.0

    def run(self, chains: Chains, kernel: Kernel, n_moves: int) -> tuple[Chains, Array]:
        """Move the chains, and return them and where they were (moves, n, d)."""
        before, made = chains, []
        for i in range(n_moves):
            chains = kernel.move(self.value_and_grad, chains, self.rng, adapt=True)
            if i == n_moves - 1 or (self.left and i % LOOKED_AFTER == LOOKED_AFTER - 1):
                before = chains = self._brought_back(chains, before)
            made.append(chains)
        settled = made[n_moves // 2 :]
        self.step = float(np.exp(np.mean([np.log(c.step) for c in settled])))
        self.diverging = sum(c.n_diverging for c in settled) / max(len(settled) * len(chains), 1)
        return chains, np.array([c.x for c in made])

    def _brought_back(self, chains: Chains, before: Chains) -> Chains:
        within = self.inside(chains.x)
        self.left = self.left or bool(within.mean() < 1 - LEAVING)
        return where(within, chains, before)


def _improved(kernel: Kernel, x: Array) -> Kernel:
    """Take metric and pace from where chains were (move, n, d)."""
    moves, n, d = x.shape
    z = whiten((x - x.mean(axis=(0, 1))).reshape(-1, d), kernel.scale)
    sd = z.std(axis=0)
    if not (np.isfinite(sd).all() and (sd > 0).all()):
        return kernel
    pace = _pace((z / sd).reshape(x.shape))
    shape = np.diag(sd)
    if d <= WIDE:
        shape = sd[:, None] * np.linalg.cholesky(_correlation(z / sd, n * max(1.0, moves * pace)))
    return replace(kernel, scale=unwhiten(shape.T, kernel.scale).T, pace=pace)


def _pace(z: Array) -> float:
    """Effective draws a move of the slowest coordinate of z (move, n, d), each of variance one, from one lag."""
    slowest = np.clip((z[1:] * z[:-1]).mean(axis=(0, 1)).max(), 0.0, 1.0)
    return float((1 - slowest) / (1 + slowest))


def _time(time: float, paces: Sequence[float]) -> float:
    """Length of the next trajectories, from the paces of the stages so far; those of the first tell nothing yet."""
    if len(paces) < 2:
        return time
    if time > QUARTER_TURN and paces[-1] < PAYS * paces[-2]:
        return time / 2
    return 2 * time if paces[-1] < WORTH else time


def _correlation(z: Array, n: float) -> Array:
    """Correlation matrix (d, d) of coordinates z (m, d) worth n draws, without what may be noise.

    Eigenvalues that n draws of uncorrelated coordinates would have are one (Marchenko and Pastur 1967).
    """
    values, vectors = np.linalg.eigh(z.T @ z / len(z))
    ratio = np.sqrt(z.shape[1] / n)
    noise = (values > max(0.0, 1 - ratio) ** 2) & (values < (1 + ratio) ** 2)
    values = np.where(noise, 1.0, np.maximum(values, LEAST_EIGENVALUE))
    return np.asarray((vectors * values) @ vectors.T)
