"""Draws and log masses of one mode at a time: from given draws, by chains, along a path, by importance sampling."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from pymc_kl._typing import Array, BoolArray
from pymc_kl.model.draws import PosteriorDraws
from pymc_kl.model.target import Target
from pymc_kl.modes.assign import CanonicalPoints
from pymc_kl.modes.modes import Modes
from pymc_kl.modes.numbering import ELSEWHERE
from pymc_kl.modes.ridge import free_rotation
from pymc_kl.numerics.whitening import WIDE
from pymc_kl.progress import SILENT, Alarm, Report
from pymc_kl.reference import policy
from pymc_kl.reference.bridge_sampling import log_mass
from pymc_kl.reference.evidence import LogMass, unknown_log_mass
from pymc_kl.reference.given_check import GivenCheck, check_given
from pymc_kl.reference.importance_sampling import log_mass_by_importance
from pymc_kl.reference.local_chains import Chains, Task, continue_task, make_task, starts_inside
from pymc_kl.reference.local_draws import LOCAL_RHAT, LocalDraws, joined, no_draws, resampled, stuck_chains
from pymc_kl.reference.local_sampling import sample_locally
from pymc_kl.reference.mode_density import ModeDensity
from pymc_kl.reference.mode_state import ModeState
from pymc_kl.reference.nested_bridge import log_mass_by_nested_laplace
from pymc_kl.reference.settings import Sampling
from pymc_kl.reference.tempered_bridge import log_mass_by_path

MOST_CLIMBED = 200  # points turned back at a mode's border from which climbs start; bounds their cost; our choice
BENT = "it is a narrow ridge that bends, and chains may not have entered all of it"
LONGER_TUNE = 3  # times as much tuning at a second try, and where chains start from all over; our choice


@dataclass(frozen=True, eq=False)
class ModeSampler:
    """Sample and weigh the modes that a policy asks for.

    Every method takes the state of a mode and returns the next one. Each mode has its own of the K generators `rngs`,
    from which it draws in the order of the calls. The alarm interrupts chains, and
    what needs none goes on until the end.
    """

    target: Target
    modes: Modes
    sampling: Sampling
    rngs: Sequence[np.random.Generator]
    alarm: Alarm = SILENT
    end: Alarm = SILENT

    def check(self, given: PosteriorDraws | None, canonical: CanonicalPoints | None, k: int) -> GivenCheck | None:
        """Check whether the given draws of a mode are draws of it; None where they do not tell."""
        if given is None or canonical is None:
            return None
        here = _in_mode(given, canonical, k)
        if given.flat_weights is not None and given.flat_weights[canonical.mode == k].sum() > 0:
            here = resampled(here, given.flat_weights[canonical.mode == k], self.rngs[k])
        return check_given(self._density(k), here, self.modes.k)

    def start(self, draws: LocalDraws, given_suffice: bool, k: int, check: GivenCheck | None = None) -> ModeState:
        """Take the given draws of a mode, and weigh it by them if they suffice."""
        if len(draws) and not given_suffice and not self.modes.reason:
            return ModeState(draws, unknown_log_mass("the given draws do not suffice"), given_suffice, check=check)
        return ModeState(draws, self._weigh(k, draws), given_suffice, check=check)

    def sample(
        self, states: Sequence[ModeState], wanted: Sequence[int], n_draws: int, report: Report
    ) -> tuple[list[ModeState], bool]:
        """Sample some modes with chains and weigh them again; also whether an interrupt cut that short.

        NUTS is not asked along a bent ridge, where it is slow and enters no more of it. Where it agrees less than
        batches did, theirs are kept.
        """
        batches: dict[int, LocalDraws] = {}

        def take(i: int, chains: Chains) -> LocalDraws | str:
            k = wanted[i]
            made = chains.error or self._inside(k, chains, states[k].draws)
            if i in batches and (isinstance(made, str) or policy.agree_less(made, batches[i])):
                return batches[i]
            if isinstance(made, LocalDraws):
                batches[i] = made
            return made

        def can_be_used(draws: LocalDraws | str) -> bool:
            return not isinstance(draws, str) and (policy.mixed(draws) or draws.bent)

        made, interrupted = sample_locally(
            self.target,
            [self._task(k, states[k], n_draws) for k in wanted],
            [partial(self._stays, k) for k in wanted],
            take,
            can_be_used,
            n_jobs=self.sampling.n_jobs,
            alarm=self.alarm,
            report=report,
        )
        states = list(states)
        try:
            for k, fresh in zip(wanted, made, strict=True):
                states[k] = self._updated(k, states[k], fresh)
        except KeyboardInterrupt:  # modes weighed by then are kept
            interrupted = True
        return states, interrupted

    def _stays(self, k: int, x: Array) -> BoolArray:
        """Tell which points (n, d) lie in the first copy of mode k; all of them where the posterior is one region."""
        canonical = self.modes.canonical(x)
        return canonical.mode == k if not self.modes.proper else (canonical.mode == k) & canonical.is_canonical

    def _updated(self, k: int, state: ModeState, fresh: LocalDraws | str | None) -> ModeState:
        """Take the draws that chains made of a mode, or why they failed, and weigh it by them."""
        state = replace(state, tries=state.tries + 1)
        if fresh is None:
            return state
        if isinstance(fresh, str):
            return replace(state, log_mass=unknown_log_mass(f"chains failed there: {fresh}"))
        old, state = state.draws, replace(state, lost=max(state.lost, fresh.n_lost / max(len(fresh), 1)))
        goes_on = old.made_here and policy.seldom_diverge(old)
        draws = joined(old, fresh) if state.rests_on_given or goes_on else fresh
        found = self._weigh(k, draws)
        if state.rests_on_given and not self.modes.proper and draws.rhat <= LOCAL_RHAT:
            draws = old  # chains agree, and say less of necks that they can't enter
        if policy.given_stand(old, draws):
            draws, found = old, self._by_given(k, state, found)
        state = replace(state, draws=draws, log_mass=found)
        if self.modes.proper:
            return self._bent(k, state) if draws.bent else state
        return self._region(k, state)

    def _bent(self, k: int, state: ModeState) -> ModeState:
        """Weigh a bent ridge by a nested Laplace approximation or not at all: chains may not have entered it whole."""
        nested = self._nested(k, state)
        if nested is not state:
            return replace(nested, log_mass=replace(nested.log_mass, reason=""))
        return replace(state, log_mass=unknown_log_mass(BENT))

    def _region(self, k: int, state: ModeState) -> ModeState:
        """Weigh a region without a proper maximum: with its log scales on a grid, else as before, else along a path.

        Along a free rotation no path from a Gaussian leads.
        """
        found = self._nested(k, state)
        if found.known or not len(state.draws):
            return found
        if rotation := free_rotation(self.target, state.draws.x, self.modes.local_scale):
            return replace(found, log_mass=replace(found.log_mass, reason=f"{found.log_mass.reason}; {rotation}"))
        return self._tempered(k, state)

    def _nested(self, k: int, state: ModeState) -> ModeState:
        """Weigh a mode by a nested Laplace approximation, unless the space is wide: it takes a matrix a grid point.

        Draws that miss a part of the mode are replaced.
        """
        if self.target.d > WIDE:
            return state
        found, draws = log_mass_by_nested_laplace(self._density(k), state.draws, self.rngs[k])
        return replace(state, log_mass=found, draws=draws) if found.known else state

    def _by_given(self, k: int, state: ModeState, found: LogMass) -> LogMass:
        """Weigh a mode by given draws that stand for it and passed their check; chains from all over must agree."""
        if self.modes.proper and state.check is not None:
            return self._weigh(k, state.draws)
        return replace(found, reason=f"{found.reason}; the given draws stand, which no chains made here agree with")

    def along_path(self, k: int, state: ModeState) -> ModeState:
        """Weigh a mode by a better proposal or a path if overlap is at fault, or chains that say where it is narrow.

        A path is long along a bent ridge, and its own end may not have been seen.
        """
        if self.sampling.as_given or self.alarm.over or not (np.isfinite(state.log_mass.overlap) or state.draws.crawl):
            return state
        found = self._nested(k, state)
        return found if found.known or state.draws.bent else self._tempered(k, state)

    def _tempered(self, k: int, state: ModeState) -> ModeState:
        """Weigh a mode without a mass along a tempered path."""
        if state.known or self.sampling.as_given or not np.isfinite(state.log_mass.overlap):
            return state
        n_draws, tune, n_jobs = self.sampling.draws, self.sampling.tune, self.sampling.n_jobs
        mode = self._density(k)
        found = log_mass_by_path(mode, state.draws, n_draws=n_draws, tune=tune, n_jobs=n_jobs, rng=self.rngs[k])
        return replace(state, log_mass=found) if found.known else state

    def about_maximum(self, k: int, state: ModeState) -> ModeState:
        """Weigh a mode by importance sampling about its maximum; the draws become those."""
        found, draws = log_mass_by_importance(self._density(k), self.rngs[k])
        found = replace(found, reason=BENT) if state.draws.bent and not found.reason else found
        return replace(state, log_mass=found, draws=draws)

    def leave_out(self, state: ModeState) -> ModeState:
        """Say of a mode without a mass that its turn did not come, if time is over."""
        if state.known or not self.alarm.over:
            return state
        return replace(state, log_mass=unknown_log_mass(f"its turn did not come in {self.sampling.budget:g} s"))

    def _density(self, k: int) -> ModeDensity:
        return ModeDensity(self.target, self.modes, k)

    def _weigh(self, k: int, draws: LocalDraws) -> LogMass:
        if self.modes.reason or not len(draws):
            return unknown_log_mass(self.modes.reason or "no local draws were made")
        return log_mass(self._density(k), draws, self.rngs[k])

    def _task(self, k: int, state: ModeState, n_draws: int) -> Task:
        """Plan the chains of a mode: from good draws, from close by, or from all over where there is no maximum."""
        tune, chains = self.sampling.tune, self.sampling.chains
        if not self.modes.proper:
            return self._task_from_all_over(n_draws, LONGER_TUNE * tune, self.rngs[k])
        tune *= LONGER_TUNE if state.tries else 1
        centre, covariance = self.modes.x[k], self.modes.covariances[k]
        task = make_task(centre, covariance, draws=n_draws, tune=tune, chains=chains, rng=self.rngs[k])
        if policy.can_go_on_from(state.draws, checked=state.check is not None):
            return continue_task(state.draws.x, state.draws.ess, covariance, task, self.rngs[k])
        return starts_inside(self.target, task)

    def _task_from_all_over(self, n_draws: int, tune: int, rng: np.random.Generator) -> Task:
        centre, scale = self.modes.x[0], self.modes.local_scale
        starts = np.linalg.solve(scale, (self.modes.dispersed - centre).T).T
        return Task(centre, scale, starts, n_draws, tune, len(starts), int(rng.integers(2**31)))

    def _inside(self, k: int, chains: Chains, before: LocalDraws) -> LocalDraws:
        """Bring the draws of chains that lie in mode k to its first copy, and count the others.

        Chains are left out that are stuck far below others, or below the draws of the mode from `before`.
        """
        by_chain = self.target.log_density(chains.x.reshape(-1, self.target.d)).reshape(chains.x.shape[:2])
        moving = ~stuck_chains(by_chain, before.log_density, self.target.d)
        log_density = np.asarray(by_chain[moving]).ravel()
        canonical = self.modes.canonical(chains.x[moving].reshape(-1, self.target.d))
        inside = (canonical.mode == k) & np.isfinite(log_density)
        draws = LocalDraws(canonical.x, log_density, canonical.maximum, canonical.n_copies, chains.source).take(inside)
        turned = np.empty((0, self.target.d)) if chains.left is None else chains.left
        n_lost = int((canonical.mode == ELSEWHERE).sum()) + round(self._lost_share(turned) * len(turned))
        n_left = len(turned) + int((~inside).sum())
        draws = replace(draws, n_left=n_left, n_lost=n_lost, n_diverging=chains.n_diverging)
        return replace(draws, crawl=chains.crawl, bent=chains.bent or before.bent)

    def _lost_share(self, x: Array) -> float:
        """Share of points (n, d) that climb to no proper maximum, by some of them."""
        some = x[:: -(-len(x) // MOST_CLIMBED) or 1]
        return float((self.modes.canonical(some).mode == ELSEWHERE).mean()) if len(some) and self.modes.proper else 0.0


def given_in_mode(given: PosteriorDraws | None, canonical: CanonicalPoints | None, k: int, d: int) -> LocalDraws:
    """Return the user's draws of mode k, brought to its first copy; none where draws carry weights."""
    if given is None or canonical is None or given.weights is not None:
        return no_draws(d)
    return _in_mode(given, canonical, k)


def _in_mode(given: PosteriorDraws, canonical: CanonicalPoints, k: int) -> LocalDraws:
    log_density = given.log_density.ravel()
    return LocalDraws(canonical.x, log_density, canonical.maximum, canonical.n_copies, "given").take(
        canonical.mode == k
    )
