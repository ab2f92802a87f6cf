"""Gaussian fits that climb the ELBO together: all on few points, the better ones further, the best to the end."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.linalg.lapack import dtrtri

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.ascent import FIT_DRAWS, advance, maximise
from pymc_kl.climb import ValueAndGrad
from pymc_kl.elbo import Gaussian

LEVELS = ((32, 0.1, 50.0), (32, 0.1, 20.0), (64, 0.01, 12.0), (128, 0.01, 8.0), (256, 1e-3, 6.0))
# points, nats that a step must gain for another to follow, and nats under the best of fits that are followed further
LEVEL_STEPS = 15  # at the most; then all are whitened anew
LAST_TOLERANCE, LAST_STEPS, LAST_ROUNDS = 1e-4, 40, 10  # on FIT_DRAWS points
NEARLY_SAME, SAME = 0.1, 0.01  # nats between two fits that are on the way to one optimum, or there
FINE_MOST, FINE_WITHIN = 4, 4.6  # optima that are maximised on more points, and nats under the best: 1 % of its weight


@dataclass(eq=False)
class Race:
    """Fits of one family that climb together; those that meet go on as one.

    `maps` (m, d, d) are the symmetries of the posterior, up to which fits are compared. `fits` are followed, best
    first, `left` no more; `settled` (n_starts,) is the place of each start among both. The best is maximised on
    `at_most` points, the others that matter on a quarter of them.
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

    def __post_init__(self) -> None:
        self.settled = np.arange(len(self.fits))

    def run(self) -> None:
        """Follow all fits as far as they deserve."""
        for n_draws, tolerance, within in LEVELS:
            self._advance(n_draws, LEVEL_STEPS, tolerance, within, coarse=True)
        for _ in range(LAST_ROUNDS):
            self._advance(FIT_DRAWS, LAST_STEPS, LAST_TOLERANCE, LEVELS[-1][-1], coarse=False)
            if self.converged.all():
                break
        self._finish()

    def _advance(self, n_draws: int, n_steps: int, tolerance: float, within: float, *, coarse: bool) -> None:
        fits, elbo, converged = advance(
            self.value_and_grad,
            self.fits,
            n_draws=n_draws,
            n_steps=n_steps,
            tolerance=tolerance,
            rng=self.rng,
            coarse=coarse,
        )
        order = np.argsort(-elbo, kind="stable")
        fits, owner, first = _distinct([*[fits[i] for i in order], *self.left], self.maps, NEARLY_SAME)
        self.settled = np.concatenate([owner[np.argsort(order)], owner[len(order) :]])[self.settled]
        n = int(owner[: int((elbo > elbo.max() - within).sum())].max()) + 1
        self.fits, self.left = fits[:n], fits[n:]
        self.elbo, self.converged = elbo[order][first[:n]], converged[order][first[:n]]

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
        near = (place for place, (j, w) in enumerate(pairs) if _nearest_copy(fit, fits[j], w, maps) < same)
        owner[i] = next(near, len(first))
        if owner[i] == len(first):
            first.append(i)
            whiteners.append(dtrtri(fit.scale_tril, lower=1)[0])
    return [fits[i] for i in first], owner, np.array(first)


def _nearest_copy(one: Gaussian, two: Gaussian, whitener: Array, maps: Array) -> float:
    """KL from the nearest copy of one normal to another, nats; the whitener inverts the latter's Cholesky factor."""
    relative = whitener @ maps
    squares = ((relative @ one.scale_tril) ** 2).sum(axis=(1, 2))
    squares += ((relative @ one.loc - whitener @ two.loc) ** 2).sum(axis=1)
    log_det = -np.log(np.diag(whitener)).sum() - np.log(np.diag(one.scale_tril)).sum()
    return float(0.5 * (squares.min() - one.d) + log_det)
