"""Multi-start search: climb from many starts until new ones stop finding modes, and from what heated chains pass."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.modes.climbs import end_maxima, find_maxima
from pymc_kl.modes.heated import search_heated
from pymc_kl.modes.local_scale import are_stuck, local_scale
from pymc_kl.modes.maxima import Maxima
from pymc_kl.modes.scale_of_starts import LONG, LONG_CLIMBS, SCALE_DRAWS, scale_of_starts
from pymc_kl.modes.starts import jumps, shifts
from pymc_kl.modes.symmetry.symmetry import Symmetry
from pymc_kl.modes.unseen import estimate_unseen, is_settled
from pymc_kl.numerics.constants import LOG_2PI
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.numerics.lbfgs import ValueAndGrad, climb
from pymc_kl.numerics.whitening import covariances_of_precisions
from pymc_kl.progress import SILENT, Alarm, Report, silent

ROUND = 512  # draws of the prior climbed from between two decisions whether to go on; our choice
N_JUMPS = 128  # starts about the modes found, after each round; our choice
JUMP_ROUNDS = 4  # such rounds in a row while they find modes, at the most; our choice
N_AGAIN = 64  # lost draws of the prior that are climbed from again, at the most; our choice
NUDGE = 0.3  # local standard deviations between the end of a lost climb and the start of the next; our choice
MATTERS = 9.0  # nats of log mass below the highest: modes further down do not keep the search going; our choice
MAX_AWAY = 0.5  # share of climbs that may reach no proper maximum, beyond which there is none; our choice
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
        The search was interrupted, by the user or by the clock.
    n_before_late : int
        Maxima found before the climbs from late starts, whose own come after them.
    lost : array (m, d)
        Where climbs from the prior ended at no proper maximum, and a mode could matter.
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
    lost: Array = field(default_factory=lambda: np.empty((0, 0)))


@dataclass(eq=False)
class MultiStart:
    """A search as it goes on: the maxima found so far and which starts reached them.

    Parameters
    ----------
    value_and_grad : callable
        (n, d) -> log p̃ (n,) and its gradient (n, d).
    symmetry : Symmetry
    draws : array (n, d) or None
        Draws of the posterior: they set the local scale, and stand for a posterior without proper maximum; none of
        that where they are stuck.
    rng : Generator
    report : callable
        Takes a line of text.
    variables : array (d,) of int, optional
        Number of the variable that each coordinate belongs to.
    alarm : Alarm
        What interrupts the search.
    """

    value_and_grad: ValueAndGrad
    symmetry: Symmetry
    draws: Array | None
    rng: np.random.Generator
    report: Report = silent
    variables: IntArray | None = None
    alarm: Alarm = SILENT
    maxima: Maxima = field(init=False)
    scale: Array = field(init=False)
    climbs: list[tuple[str, IntArray]] = field(init=False, default_factory=list)
    last_new: int = field(init=False, default=0)
    lost_starts: Array = field(init=False)
    lost_ends: Array = field(init=False)
    lost_share: float = field(init=False, default=1.0)
    n_before_late: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.maxima = Maxima.none(self.symmetry)
        self.lost_starts = self.lost_ends = np.empty((0, self.symmetry.d))
        if self.draws is not None:
            some = self.draws[:: -(-len(self.draws) // SCALE_DRAWS)]
            self.draws = None if are_stuck(self.draws, self.value_and_grad(some)[1]) else self.draws

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
            self._climb_from_prior(prior, first, n_starts)
            if n_starts:
                self._climb_again()
                self._climb_heated(every)
            proper = not self._runs_away()
            self._climb_late(late or {})
        except KeyboardInterrupt:
            partial, proper = True, not self._runs_away()
        return Found(
            maxima=self.maxima,
            owner=self.owner,
            source=self.source,
            scale=self.scale,
            prior=first,
            typical=every if self.draws is None else self.draws,
            proper=proper,
            unseen=self.unseen(),
            lost=self.lost_ends,
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
        self.alarm.check()
        x = x[np.isfinite(self.value_and_grad(x)[0])] if len(x) else x
        n_known = len(self.maxima)
        self.maxima, owner = find_maxima(self.value_and_grad, self.maxima, x, self.scale, self.rng, self.alarm)
        self.climbs.append((source, owner))
        if source == "prior":
            self.lost_starts = np.concatenate([self.lost_starts, x[owner < 0]])
        matters = self.matters()
        if len(new := n_known + np.flatnonzero(matters[n_known:])):
            later = min(len(owner) - 1 - int((owner == k).argmax()) for k in new) if source == "prior" else 0
            self.last_new = self._count("prior") - later
        self.report(f"{len(self.owner)} starts, {int(matters.sum())} modes")

    def matters(self) -> BoolArray:
        """Whether each maximum (P,) has a mass, by Laplace's approximation, that could be told from none."""
        log_masses = self._log_masses()
        return np.asarray(log_masses > log_masses.max(initial=-np.inf) - MATTERS)

    def _log_masses(self) -> Array:
        """Laplace's approximation of the mass (P,) of each maximum and its copies, in log."""
        n_copies = self.symmetry.n_copies(self.maxima.x, self.scale) if len(self.maxima) else np.empty(0)
        return np.asarray(self.maxima.log_density + self.maxima.log_volumes + np.log(n_copies))

    def unseen(self) -> Estimate:
        """Estimate the chance that one more draw of the prior climbs to a mode that matters and is not found yet."""
        n_lost = self._count("prior") - int(self._prior_hits().sum())
        return estimate_unseen(self._prior_hits()[self.matters()], n_lost * self.lost_share, self._count("prior"))

    def _climb_from_prior(self, prior: Prior, first: Array, n_starts: int) -> None:
        """Climb from draws of the prior, and from jumps about what was found."""
        self.climb_from("prior", first)
        n_done = len(first)
        if n_starts:
            self._climb_from_jumps()
        while n_done < n_starts and not is_settled(self._prior_hits()[self.matters()], self.last_new, n_done, n_starts):
            n = min(ROUND, n_starts - n_done)
            self.climb_from("prior", prior(n))
            n_done += n
            self._climb_from_jumps()

    def _climb_again(self) -> None:
        """Climb again from beside the ends of climbs from the prior that reached no maximum: some are saddles."""
        rng = self.rng.spawn(1)[0]
        x = rng.permutation(self.lost_starts)[:N_AGAIN]
        if not len(x) or not len(self.maxima):
            return
        ends = climb(self.value_and_grad, x, self.scale, alarm=self.alarm)
        nudged = ends.x + NUDGE * rng.standard_normal(x.shape) @ self.scale.T
        finite = np.isfinite(self.value_and_grad(nudged)[0])
        self.climb_from("again", np.where(finite[:, None], nudged, ends.x))
        lost = self.climbs[-1][1] < 0
        log_volume = 0.5 * x.shape[1] * LOG_2PI + np.log(np.diag(self.scale)).sum()
        lost &= ends.log_density + log_volume > self._log_masses().max() - MATTERS
        self.lost_ends, self.lost_share = ends.x[lost], float(lost.mean()) * self._lost_for_good(ends.x[lost])

    def _climb_heated(self, x: Array) -> None:
        """Climb from what heated chains that begin at points (m, d) pass, and jump about what that finds."""

        def climb_on(points: Array) -> bool:
            n_known = len(self.maxima)
            self.climb_from("heated", points)
            if found := bool(self.matters()[n_known:].any()):
                self._climb_from_jumps()
            return found

        self.rng, search = self.rng.spawn(1)[0], self.rng
        search_heated(self.alarm.watch(self.value_and_grad), x, self.scale, lambda: self.maxima, climb_on, self.rng)
        self.rng = search

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
        """Climb from points about the maxima that matter, and from points about what that finds."""
        for _ in range(JUMP_ROUNDS if len(self.maxima) else 0):
            n_known, kept = len(self.maxima), self.matters()
            x, covariances = self.maxima.x[kept], covariances_of_precisions(self.maxima.precisions[kept])
            near = jumps(x, covariances, N_JUMPS // 2, self.rng)
            shifted = shifts(x, covariances, self._variables(), N_JUMPS // 2, self.rng)
            self.climb_from("jumps", np.concatenate([near, shifted]))
            if not self.matters()[n_known:].any():
                return

    def _variables(self) -> IntArray:
        """Variable of each coordinate (d,): all are one if it is not said."""
        return np.zeros(self.symmetry.d, dtype=np.int64) if self.variables is None else self.variables

    def _count(self, source: str) -> int:
        """Count the starts of one kind so far."""
        return sum(len(owner) for name, owner in self.climbs if name == source)

    def _prior_hits(self) -> IntArray:
        """Count the draws of the prior (P,) that climbed to each maximum."""
        owner = self.owner[(self.source == "prior") & (self.owner >= 0)]
        return np.bincount(owner, minlength=len(self.maxima))

    def _scale_from(self, x: Array) -> Array:
        """Find the local scale (d, d) from draws, or from what climbs from a few starts (n, d) find."""
        if self.draws is None:
            return scale_of_starts(self.value_and_grad, x, self.maxima, self.rng)
        return local_scale(self.value_and_grad(self._some(SCALE_DRAWS))[1])

    def _some(self, n: int) -> Array:
        """Choose n of the draws (n, d), or all of fewer."""
        assert self.draws is not None
        return self.draws[self.rng.permutation(len(self.draws))[:n]]

    def _runs_away(self) -> bool:
        """Tell whether most climbs reach no proper maximum: those from draws, if there are any."""
        if not len(self.maxima):
            return True
        owner = self.owner[~np.isin(self.source, ("again", "heated"))]  # those look for what others did not reach
        if self.draws is not None:
            owner, _ = end_maxima(self.value_and_grad, self.maxima, self._some(AWAY_DRAWS), self.scale)
        lost = float((owner < 0).mean())
        if lost <= MAX_AWAY or self.draws is not None:
            return lost > MAX_AWAY
        return lost * self._lost_for_good(self.lost_starts) > MAX_AWAY

    def _lost_for_good(self, x: Array) -> float:
        """Share of lost climbs that reach no maximum found if they go on from points (n, d): ridges make them long."""
        some = x[:: -(-len(x) // LONG_CLIMBS) or 1]
        if len(some) < LONG_CLIMBS / 2:
            return 1.0
        owner, _ = end_maxima(self.value_and_grad, self.maxima, some, self.scale, max_steps=LONG)
        return float((owner < 0).mean())
