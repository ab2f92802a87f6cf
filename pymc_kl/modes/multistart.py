"""Multi-start search: climb from thousands of starts until new ones stop finding modes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.modes.local_scale import local_scale
from pymc_kl.modes.maxima import Maxima, end_maxima, find_maxima
from pymc_kl.modes.starts import jumps
from pymc_kl.modes.symmetry.symmetry import Symmetry
from pymc_kl.numerics.estimate import UNKNOWN, Estimate
from pymc_kl.numerics.lbfgs import ValueAndGrad
from pymc_kl.progress import Report, silent

ROUND = 512  # draws of the prior climbed from between two decisions whether to go on; our choice
N_JUMPS = 128  # starts about the modes found, after each round; our choice
MATTERS = 9.0  # nats of log mass below the highest: modes further down do not keep the search going; our choice
MAX_AWAY = 0.5  # share of climbs that may reach no proper maximum, beyond which there is none; our choice
SCALE_DRAWS = 1000  # points whose gradients set the local scale, at the most; our choice
SCALE_CLIMBS = 64  # climbs to maxima about which the local scale is measured; our choice
SCALE_NEAR = 8  # points about each of those maxima; our choice
AWAY_DRAWS = 200  # draws of the posterior climbed from to see whether climbs run away; our choice

type Prior = Callable[[int], Array]


@dataclass(frozen=True, eq=False)
class Found:
    """What a search found.

    Attributes
    ----------
    maxima : Maxima
        In the order of finding.
    owner : array (n_starts,) of int
        Maximum that each start climbed to, or -1.
    source : array (n_starts,) of str
        Kind of each start.
    scale : array (d, d)
        Lower Cholesky factor of the local covariance.
    prior : array (n, d)
        The first draws of the prior.
    typical : array (n, d)
        Draws of the posterior; without any, the first starts of every kind.
    proper : bool
        Most climbs reached a proper maximum.
    unseen : Estimate
        Chance that one more draw of the prior climbs to a new mode.
    partial : bool
        The search was interrupted.
    n_before_late : int
        Maxima found before the climbs from late starts, whose own come after them.
    """

    maxima: Maxima
    owner: IntArray
    source: Array
    scale: Array
    prior: Array
    typical: Array
    proper: bool
    unseen: Estimate
    partial: bool
    n_before_late: int = 0


def is_settled(n_done: int, n_starts: int, last_new: int, unseen: Estimate) -> bool:
    """Decide whether to stop early, after a quarter of the starts at the least.

    The later half of the starts found no mode that matters, and no such mode was found by one start alone.
    """
    return n_done >= n_starts / 4 and last_new <= n_done / 2 and unseen.value == 0


@dataclass(eq=False)
class MultiStart:
    """A search as it goes on: the maxima found so far and which starts reached them.

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
    climbs: list[tuple[str, IntArray]] = field(init=False, default_factory=list)
    last_new: int = field(init=False, default=0)
    n_before_late: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.maxima = Maxima.none(self.symmetry)

    def run(
        self, starts: Mapping[str, Array], prior: Prior, n_starts: int, late: Mapping[str, Array] | None = None
    ) -> Found:
        """Climb from all starts (n, d) by kind, from up to `n_starts` draws of the prior, and then from `late` ones."""
        first = prior(min(ROUND, n_starts))
        every = np.concatenate([first, *starts.values()])
        self.scale = self._scale_from(every)
        partial = False
        try:
            for source, x in starts.items():
                self.climb_from(source, x)
            n_done = self._climb_from_prior(prior, first, n_starts)
            proper, unseen = not self._runs_away(), self.unseen(n_done)
            self._climb_late(late or {})
        except KeyboardInterrupt:
            partial, proper, unseen = True, not self._runs_away(), self.unseen(self._count("prior"))
        return Found(
            maxima=self.maxima,
            owner=self.owner,
            source=self.source,
            scale=self.scale,
            prior=first,
            typical=every if self.draws is None else self.draws,
            proper=proper,
            unseen=unseen,
            partial=partial,
            n_before_late=self.n_before_late,
        )

    @property
    def owner(self) -> IntArray:
        """Maximum that each start so far climbed to, or -1."""
        return np.concatenate([np.empty(0, dtype=np.int64), *(owner for _, owner in self.climbs)])

    @property
    def source(self) -> Array:
        """Kind of each start so far."""
        return np.concatenate(
            [np.empty(0, dtype=object), *(np.full(len(owner), name, dtype=object) for name, owner in self.climbs)]
        )

    def climb_from(self, source: str, x: Array) -> None:
        """Climb from starts (n, d) of one kind, as far as log p̃ is finite there."""
        x = x[np.isfinite(self.value_and_grad(x)[0])] if len(x) else x
        n_known = len(self.maxima)
        self.maxima, owner = find_maxima(self.value_and_grad, self.maxima, x, self.scale, self.rng)
        self.climbs.append((source, owner))
        matters = self.matters()
        if matters[n_known:].any():
            self.last_new = self._count("prior")
        self.report(f"{len(self.owner)} starts, {int(matters.sum())} modes")

    def matters(self) -> BoolArray:
        """Whether each maximum (P,) has a mass, by Laplace's approximation, that could be told from none."""
        if not len(self.maxima):
            return np.zeros(0, dtype=bool)
        log_det = np.linalg.slogdet(self.maxima.precisions / (2 * np.pi))[1]
        log_mass = self.maxima.log_density - 0.5 * log_det
        log_mass = log_mass + np.log(self.symmetry.n_copies(self.maxima.x, self.scale))
        return np.asarray(log_mass > log_mass.max() - MATTERS)

    def unseen(self, n: int) -> Estimate:
        """Estimate the chance that a draw of the prior climbs to a new mode (Good 1953, doi:10.1093/biomet/40.3-4.237).

        That is the number of modes found by one of n draws alone, over n.
        """
        once = float((self._prior_hits()[self.matters()] == 1).sum())
        return Estimate(once / n, max(np.sqrt(once), 1.0) / n) if n else UNKNOWN

    def _climb_from_prior(self, prior: Prior, first: Array, n_starts: int) -> int:
        """Climb from draws of the prior, and from jumps about what was found; return how many draws it took."""
        self.climb_from("prior", first)
        n_done = len(first)
        if n_starts:
            self._climb_from_jumps()
        while n_done < n_starts and not is_settled(n_done, n_starts, self.last_new, self.unseen(n_done)):
            n = min(ROUND, n_starts - n_done)
            self.climb_from("prior", prior(n))
            n_done += n
            self._climb_from_jumps()
        return n_done

    def _climb_late(self, starts: Mapping[str, Array]) -> None:
        """Climb from further starts by kind, and jump about what they find; their random numbers are their own."""
        self.n_before_late = len(self.maxima)
        self.rng, search = self.rng.spawn(1)[0], self.rng
        for source, x in starts.items():
            self.climb_from(source, x)
        if self.matters()[self.n_before_late :].any():
            self._climb_from_jumps()
        self.rng = search

    def _climb_from_jumps(self) -> None:
        """Climb from points about the maxima that matter."""
        if len(self.maxima):
            kept = self.matters()
            covariances = np.linalg.inv(self.maxima.precisions[kept])
            self.climb_from("jumps", jumps(self.maxima.x[kept], covariances, N_JUMPS, self.rng))

    def _count(self, source: str) -> int:
        """Count the starts of one kind so far."""
        return sum(len(owner) for name, owner in self.climbs if name == source)

    def _prior_hits(self) -> IntArray:
        """Count the draws of the prior (P,) that climbed to each maximum."""
        owner = self.owner[(self.source == "prior") & (self.owner >= 0)]
        return np.bincount(owner, minlength=len(self.maxima))

    def _scale_from(self, x: Array) -> Array:
        """Find the local scale (d, d) from draws, or from Laplace's approximation at what a few starts x find."""
        if self.draws is not None:
            thinned = self.draws[self.rng.permutation(len(self.draws))[:SCALE_DRAWS]]
            return local_scale(self.value_and_grad(thinned)[1])
        x = x[np.isfinite(self.value_and_grad(x)[0])]
        rough = local_scale(self.value_and_grad(x[:SCALE_DRAWS])[1])
        maxima, owner = find_maxima(self.value_and_grad, self.maxima, x[:SCALE_CLIMBS], rough, self.rng)
        if not len(maxima):
            return rough
        owner = owner[owner >= 0]
        factors = np.linalg.cholesky(np.linalg.inv(maxima.precisions))[owner]
        z = self.rng.standard_normal((len(owner), SCALE_NEAR, x.shape[1]))
        steps = np.einsum("nij,nkj->nki", factors, z).reshape(-1, x.shape[1])
        return local_scale(self.value_and_grad(np.repeat(maxima.x[owner], SCALE_NEAR, axis=0) + steps)[1])

    def _runs_away(self) -> bool:
        """Tell whether most climbs reach no proper maximum: those from draws, if there are any."""
        if not len(self.maxima):
            return True
        owner = self.owner
        if self.draws is not None:
            thinned = self.draws[self.rng.permutation(len(self.draws))[:AWAY_DRAWS]]
            owner, _ = end_maxima(self.value_and_grad, self.maxima, thinned, self.scale)
        return float((owner < 0).mean()) > MAX_AWAY
