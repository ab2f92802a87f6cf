"""Gaussian fits that climb the ELBO together: all on few points, the better ones further, the best to the end."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.linalg.lapack import dtrtri

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.fitting.gaussian_elbo import Gaussian
from pymc_kl.fitting.maximise import COARSE_POINTS, FIT_DRAWS, advance, maximise
from pymc_kl.numerics.lbfgs import ValueAndGrad

LEVELS = ((32, 0.1, np.inf), (32, 0.1, 20.0), (64, 0.01, 10.0), (128, 0.01, 7.0), (256, 1e-3, 5.5))
# points, nats that a step must gain for another to follow, and nats under the best of fits that are followed further
LEVEL_STEPS = 15  # at the most; then all are whitened anew
FAR, RISE = 20.0, 5.0  # nats under the best from where fits may catch up first, as long as they rise by so many a round
CHASES, CHASE_COST = 8, 32  # rounds of that, and what they may cost together: this many times `at_most` points
LAST_TOLERANCE, LAST_STEPS, LAST_ROUNDS = 1e-4, 40, 10  # on FIT_DRAWS points
NEARLY_SAME, SAME = 0.1, 0.01  # nats between two fits that are on the way to one optimum, or there
FINE_MOST, FINE_WITHIN = 4, 4.6  # optima that are maximised on more points, and nats under the best: 1 % of its weight


@dataclass(eq=False)
class Race:
    """Fits of one family that climb together; those that meet go on as one.

    `maps` (m, d, d) are the symmetries of the posterior, up to which fits are compared. `fits` are followed, best
    first, `left` no more; `settled` (n_starts,) is the place of each start among both. Those that are `rising`
    gained by their last climb. The best is maximised on `at_most` points, the others that matter on a quarter of them.
    """

    value_and_grad: ValueAndGrad
    maps: Array
    rng: np.random.Generator
    fits: list[Gaussian]
    at_most: int
    left: list[Gaussian] = field(default_factory=list)
    settled: IntArray = field(init=False)
    elbo: Array = field(init=False)
    converged: BoolArray = field(init=False)
    rising: BoolArray = field(init=False)

    def __post_init__(self) -> None:
        n = len(self.fits)
        self.settled, self.elbo = np.arange(n), np.full(n, -np.inf)
        self.converged, self.rising = np.zeros(n, dtype=bool), np.ones(n, dtype=bool)

    def run(self) -> None:
        """Follow all fits as far as they deserve."""
        first, *others = LEVELS
        self._advance(*first)
        self._let_catch_up()
        for level in others:
            self._advance(*level)
        for _ in range(LAST_ROUNDS):
            self._advance(FIT_DRAWS, LAST_TOLERANCE, LEVELS[-1][-1], n_steps=LAST_STEPS, coarse=False)
            if self.converged.all():
                break
        self._finish()

    def _let_catch_up(self) -> None:
        """Climb on with those that are far behind, for their starts were far away, and still rise."""
        n_draws, tolerance, _ = LEVELS[0]
        cost = int(max(n_draws, COARSE_POINTS * self.fits[0].d)) * LEVEL_STEPS
        budget = CHASE_COST * self.at_most
        for _ in range(CHASES):
            behind = np.flatnonzero((self.elbo < self.elbo.max() - FAR) & self.rising)
            budget -= len(behind) * cost
            if not len(behind) or budget < 0:
                return
            self._advance(n_draws, tolerance, np.inf, moving=behind)

    def _advance(
        self,
        n_draws: int,
        tolerance: float,
        within: float,
        *,
        n_steps: int = LEVEL_STEPS,
        coarse: bool = True,
        moving: IntArray | None = None,
    ) -> None:
        moving = np.arange(len(self.fits)) if moving is None else moving
        fits, elbo, converged = self.fits.copy(), self.elbo.copy(), self.converged.copy()
        moved, elbo[moving], converged[moving] = advance(
            self.value_and_grad,
            [fits[i] for i in moving],
            n_draws=n_draws,
            n_steps=n_steps,
            tolerance=tolerance,
            rng=self.rng,
            coarse=coarse,
        )
        for i, fit in zip(moving, moved, strict=True):
            fits[i] = fit
        rising = self.rising.copy()
        rising[moving] = elbo[moving] > self.elbo[moving] + RISE
        order = np.argsort(-elbo, kind="stable")
        fits, owner, first = _distinct([*[fits[i] for i in order], *self.left], self.maps, NEARLY_SAME)
        self.settled = np.concatenate([owner[np.argsort(order)], owner[len(order) :]])[self.settled]
        n = int(owner[: int((elbo > elbo.max() - within).sum())].max()) + 1
        self.fits, self.left = fits[:n], fits[n:]
        kept = order[first[:n]]
        self.elbo, self.converged, self.rising = elbo[kept], converged[kept], rising[kept]

    def _finish(self) -> None:
        n = min(FINE_MOST, int((self.elbo > self.elbo.max() - FINE_WITHIN).sum()))
        best, one = self._maximise(self.fits[:1], self.at_most)
        others, more = self._maximise(self.fits[1:n], self.at_most // 4)
        converged = np.concatenate([one, more, self.converged[n:], np.zeros(len(self.left), dtype=bool)])
        self.fits, owner, first = _distinct([*best, *others, *self.fits[n:], *self.left], self.maps, SAME)
        self.left, self.settled, self.converged = [], owner[self.settled], converged[first]

    def _maximise(self, fits: list[Gaussian], most: int) -> tuple[list[Gaussian], BoolArray]:
        if not fits:
            return [], np.empty(0, dtype=bool)
        n_draws = min(max(most, 2 * FIT_DRAWS), 4 * FIT_DRAWS)
        return maximise(self.value_and_grad, fits, n_draws=n_draws, at_most=most, rng=self.rng)


def _distinct(fits: Sequence[Gaussian], maps: Array, same: float) -> tuple[list[Gaussian], IntArray, IntArray]:
    """Keep the first fit of each optimum, in order; also the place there of each fit given, and where the first was."""
    first: list[int] = []
    whiteners: list[Array] = []
    owner = np.empty(len(fits), dtype=np.int64)
    for i, fit in enumerate(fits):
        pairs = zip(first, whiteners, strict=True)
        near = (place for place, (j, w) in enumerate(pairs) if _is_copy(fit, fits[j], w, maps, same))
        owner[i] = next(near, len(first))
        if owner[i] == len(first):
            first.append(i)
            whiteners.append(dtrtri(fit.scale_tril, lower=1)[0])
    return [fits[i] for i in first], owner, np.array(first)


def _is_copy(one: Gaussian, two: Gaussian, whitener: Array, maps: Array, same: float) -> bool:
    """Tell if the KL from some copy of one normal to another is below so many nats; `whitener` is of the latter."""
    squares = (((maps @ one.loc - two.loc) @ whitener.T) ** 2).sum(axis=1)
    near = 0.5 * squares < same  # no KL is smaller than what the means alone come to
    if not near.any():
        return False
    spreads = ((whitener @ maps[near] @ one.scale_tril) ** 2).sum(axis=(1, 2))
    log_det = -np.log(np.diag(whitener)).sum() - np.log(np.diag(one.scale_tril)).sum()
    return bool(0.5 * ((squares[near] + spreads).min() - one.d) + log_det < same)
