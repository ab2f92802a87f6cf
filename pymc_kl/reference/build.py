"""Any draws, or none → the posterior mode by mode: search for modes, sample them, weigh them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.interrupts import Interrupts, counted, keeping
from pymc_kl.model.draws import PosteriorDraws
from pymc_kl.model.smoothness import StepsError
from pymc_kl.model.target import Target
from pymc_kl.modes.assign import CanonicalPoints
from pymc_kl.modes.masses import Masses
from pymc_kl.modes.merge import region_of_draws
from pymc_kl.modes.modes import Modes
from pymc_kl.modes.numbering import ELSEWHERE
from pymc_kl.modes.ridge import behind_a_wall, why_no_maximum
from pymc_kl.modes.search import search_target
from pymc_kl.numerics.estimate import UNKNOWN
from pymc_kl.numerics.random_streams import RandomStreams
from pymc_kl.progress import Alarm, Report, Stages
from pymc_kl.reference import policy
from pymc_kl.reference.local_draws import no_draws
from pymc_kl.reference.mode_sampler import ModeSampler, given_in_mode
from pymc_kl.reference.mode_state import ModeState
from pymc_kl.reference.posterior import ModewisePosterior, negligible
from pymc_kl.reference.propriety import refuse_improper
from pymc_kl.reference.relative_masses import evidence_of, relative_masses, why_unknown
from pymc_kl.reference.settings import Sampling
from pymc_kl.reference.unweighed import unknown, why_chains_leave, why_unweighed

N_FIT_STARTS = 64  # draws of each approximation that the search climbs from at its end; our choice
SAMPLING = "the search for modes or their sampling"  # what Ctrl-C ended where a posterior is partial
LISTED_ABOVE = 0.01  # share of an approximation's draws; a mode with more is listed however small its mass; our choice


def build_posterior(
    target: Target,
    given: PosteriorDraws | None,
    starts: Mapping[str, Array],
    sampling: Sampling,
    *,
    fit_draws: Mapping[str, Array] | None = None,
    rng: np.random.Generator,
    stage: Stages,
) -> ModewisePosterior:
    """Find the modes of a target, and sample and weigh each.

    Parameters
    ----------
    target : Target
    given : PosteriorDraws or None
        The user's draws; modes in which they suffice are not sampled.
    starts : mapping of str to array (n, d)
        Points to search from besides draws of the prior, by kind.
    sampling : Sampling
    fit_draws : mapping of str to array (n, d), optional
        Draws of approximations, by name: some are climbed from when the search is over, and modes with a hundredth
        of any's draws are listed even if their mass is negligible.
    rng : Generator
        Search, check of propriety and each mode have streams of their own.
    stage : Stages
    """
    streams, alarm, end = RandomStreams.of(rng), Alarm.after(sampling.chains_until), Alarm.after(sampling.budget)
    asked, sampling = sampling.n_starts, sampling.within_budget(target)
    with counted() as interrupts:
        with stage("search for modes") as report:
            draws = None if given is None else given.flat
            late = {name: x[:N_FIT_STARTS] for name, x in (fit_draws or {}).items()}
            try:
                rng = streams("search")
                modes = search_target(target, draws, starts, sampling.search, late=late, rng=rng, report=report)
            except StepsError as steps:
                if draws is None:
                    raise
                modes = region_of_draws(draws, target.log_density_and_grad, str(steps))
                sampling = replace(sampling, as_given=True)
            modes = _that_matter(modes, sampling, (fit_draws or {}).values())
            modes = replace(modes, partial=modes.partial or sampling.n_starts < asked)
            if not sampling.as_given:
                refuse_improper(target, modes, streams("propriety"))
            canonical = None if draws is None else modes.canonical(draws)
        sampler = ModeSampler(target, modes, sampling, modes.streams(streams("modes")), alarm, end)
        with stage("sample and weigh modes") as report, keeping(modes=modes):
            states = _start(sampler, given, canonical)
            if sampling.as_given:
                states, partial = _weigh_without_chains(sampler, states, np.arange(modes.k)), modes.partial
            else:
                states, partial = _sample(sampler, states, interrupts, report)
            made = _assemble(sampler, states, given, canonical, partial)
            return replace(made, interrupted=partial and (sampling.budget is None or interrupts.came))


def _that_matter(modes: Modes, sampling: Sampling, fit_draws: Iterable[Array]) -> Modes:
    """Keep modes whose mass may matter or that a fit has draws in, highest first by Laplace's approximation."""
    if not modes.proper:
        return modes
    order = np.argsort(-modes.log_mass_laplace, kind="stable")
    kept = np.zeros(modes.k, dtype=bool)
    kept[order[: sampling.max_modes]] = True
    kept &= ~negligible(modes, sampling.negligible)
    for x in fit_draws:
        mode = modes.assign(x)
        kept |= np.bincount(mode[mode >= 0], minlength=modes.k) > LISTED_ABOVE * len(x)
    modes = modes.keep(kept)
    return modes.reorder(np.argsort(-modes.log_mass_laplace, kind="stable"))


def _laplace(modes: Modes) -> Array | None:
    return modes.log_mass_laplace if modes.proper else None


def _start(sampler: ModeSampler, given: PosteriorDraws | None, canonical: CanonicalPoints | None) -> list[ModeState]:
    """Begin with the given draws of each mode; weigh modes that are worth no chain without any.

    If the draws of one mode are not draws of this posterior, none are used: of one that has other widths, some of the
    draws in each mode are another mode's tails.
    """
    modes = sampler.modes
    local = [given_in_mode(given, canonical, k, sampler.target.d) for k in range(modes.k)]
    checks = [sampler.check(given, canonical, k) for k in range(modes.k)]
    if any(check is not None and check.refused for check in checks):
        local = [no_draws(sampler.target.d) for _ in local]
    states = [sampler.start(local[k], policy.suffice(local[k]), k, check) for k, check in enumerate(checks)]
    worthless = np.flatnonzero(~policy.worth_chains(_laplace(modes), modes.k))
    return _weigh_without_chains(sampler, states, worthless)


def _sample(
    sampler: ModeSampler, states: list[ModeState], interrupts: Interrupts, report: Report
) -> tuple[list[ModeState], bool]:
    """Sample round after round until no mode wants more; also whether an interrupt cut that short."""
    laplace, by_clock = _laplace(sampler.modes), sampler.sampling.budget is not None and not interrupts.came
    partial = sampler.modes.partial and not by_clock
    for turn in range(policy.MAX_ROUNDS):
        wanted = policy.next_modes(states, laplace, turn)
        if partial or not len(wanted):
            break
        n_draws = policy.draws_wanted(turn, sampler.sampling.draws, sampler.sampling.chains, sampler.target.d)
        states, partial = sampler.sample(states, wanted.tolist(), n_draws, report)
        over = np.arange(len(states)) if partial else policy.given_up(states, laplace)
        try:
            states = _weigh_without_chains(sampler, states, over, paths=not partial)
        except KeyboardInterrupt:  # chains and bridges are there
            partial = True
    return [sampler.leave_out(state) for state in states], partial or sampler.modes.partial


def _weigh_without_chains(
    sampler: ModeSampler, states: Sequence[ModeState], wanted: IntArray, *, paths: bool = True
) -> list[ModeState]:
    """Weigh modes along a path or by importance sampling, where chains gave no mass and that is good enough.

    Paths are long, and left out after an interrupt.
    """
    states, laplace = list(states), _laplace(sampler.modes)
    if laplace is None:
        return states
    for k in wanted.tolist():
        if states[k].known or sampler.end.over:
            continue
        states[k] = sampler.along_path(k, states[k]) if paths else states[k]
        if states[k].known:
            continue
        tried = sampler.about_maximum(k, states[k])
        if policy.good_enough(tried.log_mass, states, laplace):
            states[k] = replace(tried, log_mass=replace(tried.log_mass, reason=""))
    return states


def _assemble(
    sampler: ModeSampler,
    states: Sequence[ModeState],
    given: PosteriorDraws | None,
    canonical: CanonicalPoints | None,
    partial: bool,
) -> ModewisePosterior:
    """Weigh all modes against each other and put them in order, highest mass first."""
    given_mode = None if canonical is None else canonical.mode
    refused = any(state.check is not None and state.check.refused for state in states)
    masses, log_z = relative_masses(states, sampler.modes, None if refused else given, given_mode)
    believed = None if refused or sampler.sampling.as_given else given
    outside = "" if believed is None or given_mode is None else why_unweighed(believed, given_mode)
    outside = outside or (why_chains_leave(states, masses) if masses.known else "")
    if outside and sampler.modes.partial:
        outside = f"the search was stopped early; {outside}"
    if outside:
        masses, log_z = unknown(masses, outside), UNKNOWN
    order = np.argsort(-masses.mass[:-1], kind="stable")
    states = [states[k] for k in order]
    reason = sampler.modes.reason or outside or _explained(why_unknown(states), sampler, states[0])
    return ModewisePosterior(
        target=sampler.target,
        modes=sampler.modes.reorder(order),
        masses=_reordered(masses if masses.known else replace(masses, reason=reason), order),
        log_masses=tuple(state.log_mass for state in states),
        evidence=evidence_of(log_z, reason),
        local=tuple(state.draws for state in states),
        given=given,
        canonical=None if canonical is None else replace(canonical, mode=_renumbered(canonical.mode, order)),
        partial=partial,
        checks=tuple(state.check for state in states),
    )


def _explained(reason: str, sampler: ModeSampler, region: ModeState) -> str:
    """Name the direction along which log p̃ is cut off, is flat or rises for ever, where there is no mass."""
    target, modes = sampler.target, sampler.modes
    if not reason or (modes.proper and not len(region.draws)):
        return reason
    x = region.draws.x if len(region.draws) else modes.dispersed
    cause = (behind_a_wall if modes.proper else why_no_maximum)(target, x, modes.local_scale)
    return f"{reason}; {cause}" if cause and cause not in reason else reason


def _reordered(masses: Masses, order: IntArray) -> Masses:
    """Put masses (K + 1,) in another order (K,) of the modes; elsewhere stays last."""
    rows = np.append(order, len(order))
    columns = {name: getattr(masses, name)[rows] for name in ("mass", "se", "upper", "n_draws", "ess", "rhat")}
    covariance = None if masses.covariance is None else masses.covariance[np.ix_(rows, rows)]
    with_evidence = None if masses.with_evidence is None else masses.with_evidence[rows]
    return replace(masses, **columns, covariance=covariance, with_evidence=with_evidence)


def _renumbered(mode: IntArray, order: IntArray) -> IntArray:
    """Number the modes of draws (n,) anew, as in another order (K,); elsewhere stays elsewhere."""
    new = np.empty(len(order) + 1, dtype=np.int64)
    new[order], new[ELSEWHERE] = np.arange(len(order)), ELSEWHERE
    return new[mode]
