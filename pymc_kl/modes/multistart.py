"""Starts → maxima: climb from thousands of points until new starts stop finding modes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.modes.local_scale import local_scale
from pymc_kl.modes.maxima import Maxima, end_maxima, find_maxima
from pymc_kl.modes.merge import merge_maxima, one_region
from pymc_kl.modes.modes import Modes
from pymc_kl.modes.starts import jumps
from pymc_kl.modes.symmetry.symmetry import Symmetry
from pymc_kl.numerics.estimate import UNKNOWN, Estimate
from pymc_kl.numerics.lbfgs import ValueAndGrad
from pymc_kl.progress import Report, silent

ROUND = 512  # of them climb before anyone asks whether to go on
N_JUMPS = 128  # starts about the modes found, after each round
MATTERS = 9.0  # nats below the highest mass: lower modes don't keep the search going

type Prior = Callable[[int], Array]


@dataclass(eq=False)
class Search:
    """A search as it goes on: the peaks found so far and what reached them.

    Parameters
    ----------
    value_and_grad : callable
        (n, d) -> log p̃ (n,) and its gradient (n, d).
    symmetry : Symmetry
    draws : array (n, d) or None
        Draws of the posterior: they set the local scale, and stand for a posterior without proper maximum.
    rng : Generator
    report : callable
        Takes a line of text.
    """

    value_and_grad: ValueAndGrad
    symmetry: Symmetry
    draws: Array | None
    rng: np.random.Generator
    report: Report = silent
    maxima: Maxima = field(init=False)
    scale: Array = field(init=False)
    sources: list[Array] = field(init=False, default_factory=list)
    owners: list[IntArray] = field(init=False, default_factory=list)
    last_new: int = field(init=False, default=0)

    def run(self, starts: Mapping[str, Array], prior: Prior, n_starts: int, min_barrier: float) -> Modes:
        """Climb from all starts and from up to `n_starts` draws of the prior; merge what was found."""
        self.maxima = Maxima.none(self.symmetry)
        first = prior(min(ROUND, n_starts))
        self.scale = self._scale(np.concatenate([first, *starts.values()]))
        partial = False
        try:
            for source, x in starts.items():
                self.climb_from(source, x)
            done = self._rounds(prior, first, n_starts)
        except KeyboardInterrupt:
            partial, done = True, self._count("prior")
        x = self.draws if self.draws is not None else np.concatenate([first, *starts.values()])
        if self._runs_away():
            return one_region(self, x, first, partial)
        return merge_maxima(self, min_barrier, self.unseen(done), partial)

    def climb_from(self, source: str, x: Array) -> None:
        """Climb from starts (n, d) of one source."""
        x = x[np.isfinite(self.value_and_grad(x)[0])] if len(x) else x
        before = len(self.maxima)
        self.maxima, owner = find_maxima(self.value_and_grad, self.maxima, x, self.scale, self.rng)
        self.sources.append(np.full(len(x), source, dtype=object))
        self.owners.append(owner)
        if (self.matters()[before:]).any():
            self.last_new = self._count("prior")
        self.report(f"{sum(map(len, self.owners))} starts, {int(self.matters().sum())} modes")

    def matters(self) -> Array:
        """Whether each peak (P,) has a mass, by Laplace's approximation, that could be told from none."""
        if not len(self.maxima):
            return np.zeros(0, dtype=bool)
        log_det = np.linalg.slogdet(self.maxima.precisions / (2 * np.pi))[1]
        log_mass = self.maxima.log_density - 0.5 * log_det
        log_mass = log_mass + np.log(self.symmetry.n_copies(self.maxima.x, self.scale))
        return np.asarray(log_mass > log_mass.max() - MATTERS)

    def unseen(self, n: int) -> Estimate:
        """Estimate by Good and Turing the chance that a start finds a new mode: found once, over starts."""
        once = float((self._hits("prior")[self.matters()] == 1).sum()) if len(self.maxima) else 0.0
        return Estimate(once / n, max(np.sqrt(once), 1.0) / n) if n else UNKNOWN

    def _rounds(self, prior: Prior, first: Array, n_starts: int) -> int:
        """Climb from the prior, and jump about what was found, until half of all starts found nothing new."""
        self.climb_from("prior", first)
        done = len(first)
        while True:
            if len(self.maxima) and n_starts:
                kept = self.matters()
                covariances = np.linalg.inv(self.maxima.precisions[kept])
                self.climb_from("jumps", jumps(self.maxima.x[kept], covariances, N_JUMPS, self.rng))
            if not n_starts:
                return 0
            settled = done >= n_starts / 4 and self.last_new <= done / 2 and self.unseen(done).value == 0
            if done >= n_starts or settled:
                return done
            n = min(ROUND, n_starts - done)
            self.climb_from("prior", prior(n))
            done += n

    def _count(self, source: str) -> int:
        return int(sum((names == source).sum() for names in self.sources))

    def _hits(self, source: str | None = None) -> IntArray:
        """Starts (P,) that climbed to each peak, of one source or of all."""
        if not self.owners:
            return np.zeros(len(self.maxima), dtype=np.int64)
        owner, names = np.concatenate(self.owners), np.concatenate(self.sources)
        mine = (owner >= 0) & ((names == source) if source else True)
        return np.bincount(owner[mine], minlength=len(self.maxima))

    def _scale(self, x: Array) -> Array:
        """Find the local scale (d, d) from draws, or from Laplace's approximation at what a few starts find."""
        if self.draws is not None:
            thinned = self.draws[self.rng.permutation(len(self.draws))[:1000]]
            return local_scale(self.value_and_grad(thinned)[1])
        x = x[np.isfinite(self.value_and_grad(x)[0])]
        rough = local_scale(self.value_and_grad(x[:1000])[1])
        maxima, owner = find_maxima(self.value_and_grad, Maxima.none(self.symmetry), x[:64], rough, self.rng)
        if not len(maxima):
            return rough
        factors = np.linalg.cholesky(np.linalg.inv(maxima.precisions))[owner[owner >= 0]]
        near = maxima.x[owner[owner >= 0]]
        near = np.repeat(near, 8, axis=0) + np.einsum(
            "nij,nkj->nki", factors, self.rng.standard_normal((len(near), 8, x.shape[1]))
        ).reshape(-1, x.shape[1])
        return local_scale(self.value_and_grad(near)[1])

    def _runs_away(self) -> bool:
        """Tell whether most climbs reach no proper maximum: those from draws, if there are any."""
        if not len(self.maxima):
            return True
        if self.draws is None:
            return float((np.concatenate(self.owners) < 0).mean()) > 0.5
        thinned = self.draws[self.rng.permutation(len(self.draws))[:200]]
        ends, _ = end_maxima(self.value_and_grad, self.maxima, thinned, self.scale)
        return float((ends < 0).mean()) > 0.5
