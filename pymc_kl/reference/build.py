"""Any draws, or none → a posterior in pieces: find the modes, sample what is missing, weigh each."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.special import logsumexp

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.model.draws import PosteriorDraws
from pymc_kl.model.target import Target
from pymc_kl.modes.assign import CanonicalPoints
from pymc_kl.modes.masses import Masses, masses_from_log, unknown_masses
from pymc_kl.modes.modes import Modes
from pymc_kl.modes.search import SearchSettings, search_target
from pymc_kl.numerics.estimate import UNKNOWN, Estimate
from pymc_kl.progress import Report, Stages
from pymc_kl.reference.bridge_sampling import (
    LOCAL_RHAT,
    LocalDraws,
    LogMass,
    log_mass,
    log_mass_by_importance,
    none_drawn,
)
from pymc_kl.reference.local_nuts import Chains, Task, make_task, sample_locally
from pymc_kl.reference.posterior import ModewisePosterior, count_masses, negligible
from pymc_kl.reference.propriety import refuse_improper
from pymc_kl.reference.settings import Sampling
from pymc_kl.reference.tempered_bridge import log_mass_annealed

MINOR = 6.0  # nats below all modes together: a quarter of a per cent of the mass, not worth a chain
SMALL = 3.9  # the same at a doubtful estimate's upper bound: two per cent
N_VISITOR_STARTS = 64  # draws of each approximation that are climbed from
LISTED_ABOVE = 0.01  # share of an approximation's draws from which a mode is listed however small it is
MIN_STAYING = 0.25  # share of a mode's chains inside it, below which another try is no use
ENOUGH_ESS, ENOUGH_RHAT = 400.0, 1.05  # of the given draws in a mode, from which they suffice there
MAX_HALVINGS = 30
MAX_REASONS = 3  # told in one line; each mode keeps its own
MASS_SE = 0.008  # largest standard error of a mass that more draws are not spent on
MAX_ROUNDS = 3


def complete(
    target: Target,
    given: PosteriorDraws | None,
    starts: Mapping[str, Array],
    sampling: Sampling,
    *,
    visitors: Mapping[str, Array] | None = None,
    rng: np.random.Generator,
    stage: Stages,
) -> ModewisePosterior:
    """Make a reference from a target and the draws (if any) that the user has.

    `visitors` are draws (n, d) of approximations, by name: some are climbed from when the search is over, and modes
    with a hundredth of any's draws are listed even if their mass is negligible.
    """
    visitors = visitors or {}
    with stage("search for modes") as report:
        modes = search_target(
            target,
            None if given is None else given.flat,
            starts,
            SearchSettings(sampling.n_starts, sampling.symmetry, sampling.min_barrier),
            late={name: x[:N_VISITOR_STARTS] for name, x in visitors.items()},
            rng=rng,
            report=report,
        )
        modes = _that_matter(modes, sampling, list(visitors.values()))
        if not sampling.as_given:
            refuse_improper(target, modes, rng)
        canonical = None if given is None else modes.canonical(given.flat)
    work = _Work(target, modes, given, canonical, sampling, rng)
    with stage("sample and weigh modes") as report:
        if sampling.as_given:
            work.weigh_rest(np.arange(modes.k))
        for turn in range(0 if sampling.as_given else MAX_ROUNDS):
            wanted = work.wanted(turn)
            if not len(wanted) or work.partial:
                break
            work.sample(wanted, sampling.draws * 2**turn, report)
            work.weigh_rest(work.gone())
        done = work.finish()
    return done


def _that_matter(modes: Modes, sampling: Sampling, visitors: Sequence[Array]) -> Modes:
    """Keep modes whose mass may matter or that a visitor is in, highest first by Laplace's approximation."""
    if not modes.proper:
        return modes
    order = np.argsort(-modes.log_mass_laplace, kind="stable")
    kept = np.zeros(modes.k, dtype=bool)
    kept[order[: sampling.max_modes]] = True
    kept &= ~negligible(modes, sampling.negligible)
    for x in visitors:
        mode = modes.assign(x)
        kept |= np.bincount(mode[mode >= 0], minlength=modes.k) > LISTED_ABOVE * len(x)
    modes = modes.keep(kept)
    return modes.reorder(np.argsort(-modes.log_mass_laplace, kind="stable"))


class _Work:
    """Local draws and log masses as they come in."""

    def __init__(
        self,
        target: Target,
        modes: Modes,
        given: PosteriorDraws | None,
        canonical: CanonicalPoints | None,
        sampling: Sampling,
        rng: np.random.Generator,
    ) -> None:
        self.target, self.modes, self.given, self.canonical = target, modes, given, canonical
        self.sampling, self.rng = sampling, rng
        self.partial = modes.partial
        self.tried = np.zeros(modes.k, dtype=int)
        self.local = [self._from_given(k) for k in range(modes.k)]
        self.enough = np.array([_suffice(draws) for draws in self.local])
        self.log_masses = [self._weigh(k) for k in range(modes.k)]
        laplace = modes.log_mass_laplace
        self.minor = laplace < logsumexp(laplace) - MINOR if modes.proper else np.zeros(modes.k, dtype=bool)
        self.tried[self.minor] = 2  # no chain is spent on a mode that small
        self.weigh_rest(np.flatnonzero(self.minor))

    def wanted(self, turn: int) -> IntArray:
        """List the modes that need draws: those without a mass, then those whose errors are the largest."""
        k = self.modes.k
        if not self.modes.proper:  # chains from all over must agree, whatever draws were given
            return np.flatnonzero(self.tried == 0)
        if turn == 0 or not self._known().all():
            return np.flatnonzero(~self._known() & (self.tried < 2))
        if k == 1:
            return np.flatnonzero([self.log_masses[0].estimate.se > 4 * MASS_SE])
        masses, _ = masses_from_log([m.estimate for m in self.log_masses], np.ones(k + 1, dtype=int))
        if masses.se[:k].max() <= MASS_SE:
            return np.array([], dtype=int)
        part = masses.mass[:k] * np.array([m.estimate.se for m in self.log_masses])
        return np.flatnonzero((part > 0.3 * part.max()) & ~self.minor)

    def _known(self) -> BoolArray:
        return np.array([np.isfinite(m.estimate.value) for m in self.log_masses])

    def sample(self, wanted: IntArray, draws: int, report: Report) -> None:
        """Sample some modes with NUTS and weigh them again; where that fails, by importance sampling."""
        results, interrupted = sample_locally(
            self.target,
            [self._task(k, draws) for k in wanted],
            n_jobs=self.sampling.n_jobs,
            show=lambda n: report(f"NUTS in {n} of {len(wanted)} modes"),
        )
        for k, chains in zip(wanted.tolist(), results, strict=True):
            self.tried[k] += 1
            if chains is None:
                continue
            if chains.error:
                self.log_masses[k] = LogMass(UNKNOWN, float("nan"), "none", f"NUTS failed there: {chains.error}")
                continue
            fresh, old = self._inside(k, chains), self.local[k]
            weighed = old.source == "given" and self.enough[k]
            self.local[k] = _joined(old, fresh) if weighed or "NUTS" in old.source else fresh
            self.log_masses[k] = self._weigh(k)
            if weighed and not self.modes.proper and self.local[k].rhat <= LOCAL_RHAT:
                self.local[k] = old  # NUTS agrees, and says less of necks that it can't enter
        self.partial = self.partial or interrupted

    def gone(self) -> IntArray:
        """List the modes that chains leave at once, that are small, or that were tried twice."""
        kept = np.array([len(draws) / max(len(draws) + draws.n_left, 1) for draws in self.local])
        laplace = self.modes.log_mass_laplace
        hopeless = (kept < MIN_STAYING) | (laplace < logsumexp(laplace) - SMALL)
        return np.flatnonzero(~self._known() & ((self.tried >= 2) | ((self.tried == 1) & hopeless)))

    def weigh_rest(self, wanted: IntArray) -> None:
        """Weigh modes by importance sampling about their peaks where chains gave no mass.

        A doubtful estimate is taken only of a mode that is too small to matter even at its upper bound.
        """
        for k in wanted.tolist():
            if not self.modes.proper or np.isfinite(self.log_masses[k].estimate.value):
                continue
            if self._annealed(k):
                continue
            found, draws = log_mass_by_importance(self.target, self.modes, k, self.rng)
            known = [m.estimate.value for m in self.log_masses if np.isfinite(m.estimate.value)]
            least = logsumexp(known) if known else self.modes.log_mass_laplace.max()
            if not found.reason or found.estimate.value + 2 * found.estimate.se < least - SMALL:
                self.log_masses[k], self.local[k] = replace(found, reason=""), draws

    def _annealed(self, k: int) -> bool:
        """Weigh a mode along a path if its draws are good and only their overlap with a proposal is not."""
        if self.sampling.as_given or not np.isfinite(self.log_masses[k].overlap):
            return False
        found = log_mass_annealed(
            self.target,
            self.modes,
            k,
            self.local[k],
            n_draws=self.sampling.draws,
            tune=self.sampling.tune,
            n_jobs=self.sampling.n_jobs,
            rng=self.rng,
        )
        if np.isfinite(found.estimate.value):
            self.log_masses[k] = found
        return bool(np.isfinite(found.estimate.value))

    def finish(self) -> ModewisePosterior:
        """Weigh all modes against each other, highest mass first."""
        n_draws = np.array([*(len(draws) for draws in self.local), 0])
        known = self._known()
        values = np.array([m.estimate.value for m in self.log_masses])
        if known.all():
            masses, log_z = masses_from_log([m.estimate for m in self.log_masses], n_draws)
        else:
            masses, log_z = self._without_all(known, values, n_draws)
        order = np.argsort(-masses.mass[:-1], kind="stable")
        reasons = [f"mode {i + 1}: {self.log_masses[k].reason}" for i, k in enumerate(order) if not known[k]]
        reason = "; ".join(reasons[:MAX_REASONS]) + ("; …" if len(reasons) > MAX_REASONS else "")
        masses = masses if masses.known else replace(masses, reason=reason)
        return ModewisePosterior(
            target=self.target,
            modes=self.modes.reorder(order),
            masses=_reordered(masses, order),
            log_masses=tuple(self.log_masses[k] for k in order),
            log_evidence=log_z,
            reason="" if np.isfinite(log_z.value) else reason,
            local=tuple(self.local[k] for k in order),
            given=self.given,
            canonical=None
            if self.canonical is None
            else replace(self.canonical, mode=_renamed(self.canonical.mode, order)),
            partial=self.partial,
        )

    def _without_all(self, known: BoolArray, values: Array, n_draws: IntArray) -> tuple[Masses, Estimate]:
        """Fall back to counting where some log masses are not known; log Z then follows from one that is."""
        if self.modes.k == 1:
            alone = masses_from_log([Estimate(0.0, 0.0)], n_draws)[0]
            apart = not self.modes.proper and "not mixed" in self.log_masses[0].reason
            return replace(alone, known=not apart), UNKNOWN
        if self.given is not None and self.canonical is not None:
            counted = count_masses(self.given, self.canonical.mode, self.modes)
            if counted.known:
                if not known.any():
                    return counted, UNKNOWN
                j = int(np.where(known, counted.mass[:-1], -1.0).argmax())
                relative = counted.se[j] / counted.mass[j]
                se = float(np.hypot(self.log_masses[j].estimate.se, relative))
                return counted, Estimate(float(values[j] - np.log(counted.mass[j])), se)
        guess = np.where(known, values, self.modes.log_mass_laplace)
        guess = np.exp(guess - np.nanmax(guess))
        return unknown_masses(guess / guess.sum(), n_draws, ""), UNKNOWN

    def _from_given(self, k: int) -> LocalDraws:
        if self.given is None or self.canonical is None or self.given.weights is not None:
            return none_drawn(self.target.d)
        inside = self.canonical.mode == k
        return LocalDraws(
            x=self.canonical.x[inside],
            log_density=self.given.log_density.ravel()[inside],
            maximum=self.canonical.maximum[inside],
            n_copies=self.canonical.n_copies[inside],
            source="given",
        )

    def _weigh(self, k: int) -> LogMass:
        draws = self.local[k]
        if not len(draws):
            return LogMass(UNKNOWN, float("nan"), "none", "no local draws were made")
        if draws.source == "given" and not self.enough[k]:
            return LogMass(UNKNOWN, float("nan"), "none", "the given draws do not suffice")
        return log_mass(self.target, self.modes, k, draws, self.rng)

    def _task(self, k: int, draws: int) -> Task:
        sampling = self.sampling
        improper = not self.modes.proper
        tune = sampling.tune * (3 if improper or self.tried[k] else 1)
        if improper:
            starts = np.linalg.solve(self.modes.local_scale, (self.modes.dispersed - self.modes.x[k]).T).T
            return Task(self.modes.x[k], self.modes.local_scale, starts, draws, tune, int(self.rng.integers(2**31)))
        place = self.modes.x[k], self.modes.covariances[k]
        task = make_task(*place, draws=draws, tune=tune, chains=sampling.chains, rng=self.rng)
        for _ in range(MAX_HALVINGS):  # towards the mode, until every chain starts inside the support
            outside = ~np.isfinite(self.target.log_density(task.centre + task.starts @ task.factor.T))
            if not outside.any():
                break
            task.starts[outside] /= 2
        return task

    def _inside(self, k: int, chains: Chains) -> LocalDraws:
        x = chains.x.reshape(-1, self.target.d)
        log_density, canonical = self.target.log_density(x), self.modes.canonical(x)
        inside = (canonical.mode == k) & np.isfinite(log_density)
        return LocalDraws(
            x=canonical.x[inside],
            log_density=log_density[inside],
            maximum=canonical.maximum[inside],
            n_copies=canonical.n_copies[inside],
            source="NUTS",
            n_left=int((~inside).sum()),
            n_diverging=chains.n_diverging,
        )


def _suffice(draws: LocalDraws) -> bool:
    """Tell whether given draws of a mode can stand for it."""
    return len(draws) >= ENOUGH_ESS and draws.ess >= ENOUGH_ESS and draws.rhat <= ENOUGH_RHAT


def _joined(one: LocalDraws, two: LocalDraws) -> LocalDraws:
    return LocalDraws(
        x=np.concatenate([one.x, two.x]),
        log_density=np.concatenate([one.log_density, two.log_density]),
        maximum=np.concatenate([one.maximum, two.maximum]),
        n_copies=np.concatenate([one.n_copies, two.n_copies]),
        source=one.source if one.source == two.source else f"{one.source}+{two.source}",
        n_left=one.n_left + two.n_left,
        n_diverging=one.n_diverging + two.n_diverging,
    )


def _reordered(masses: Masses, order: IntArray) -> Masses:
    rows = np.append(order, len(order))
    columns = {name: getattr(masses, name)[rows] for name in ("mass", "se", "upper", "n_draws", "ess", "rhat")}
    covariance = None if masses.covariance is None else masses.covariance[np.ix_(rows, rows)]
    return replace(masses, **columns, covariance=covariance)


def _renamed(mode: IntArray, order: IntArray) -> IntArray:
    new = np.empty(len(order) + 1, dtype=np.int64)
    new[order], new[-1] = np.arange(len(order)), -1
    return new[mode]
