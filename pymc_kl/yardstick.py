"""What approximations are measured by: draws of p with the mode and copy of each, masses, log Z, and their audit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pymc as pm
import xarray as xr

from pymc_kl._typing import Array, IntArray
from pymc_kl.audit import audit
from pymc_kl.complete import Sampling, complete
from pymc_kl.estimates import Estimate
from pymc_kl.masses import Masses
from pymc_kl.modes import Modes
from pymc_kl.pieces import Completed, negligible
from pymc_kl.progress import Stages
from pymc_kl.reference import Reference, as_reference
from pymc_kl.target import Target

DRAWS, CHAINS = 1000, 4  # of pm.sample where a plain reference is asked for and none is given


@dataclass(frozen=True, eq=False)
class Yardstick:
    """The posterior as the scores see it.

    Attributes
    ----------
    reference : Reference
        Draws of p, weighted or Markov chains.
    label : array (n,) of int
        Mode of each draw, -1 for elsewhere.
    copy : array (n,) of int
        A number for the copy of a peak that each draw lies at: where a mixture starts.
    modes : Modes
    masses : Masses
    unvisited : array of int
        Modes without draws that may hold mass.
    evidence : tuple
        log Z (Estimate, nats), how it was found, and why it is NaN if it is.
    audit : DataTree or None
        Of the user's draws.
    partial : bool
    """

    reference: Reference
    label: IntArray
    copy: IntArray
    modes: Modes
    masses: Masses
    unvisited: IntArray
    evidence: tuple[Estimate, str, str]
    audit: xr.DataTree | None
    partial: bool


def completed_yardstick(completed: Completed, rng: np.random.Generator) -> Yardstick:
    """Measure by draws of every mode, weighted by its mass and spread over its copies."""
    drawn = completed.thinned.take(rng.permutation(len(completed.thinned.weights)))
    reference, copy = drawn.whole(completed.modes, completed.target, rng)
    without = np.array([not len(draws) for draws in completed.local])
    masses = completed.masses
    return Yardstick(
        reference=reference,
        label=drawn.mode,
        copy=copy,
        modes=completed.modes,
        masses=replace(masses, n_draws=np.append(np.bincount(drawn.mode, minlength=completed.modes.k), 0)),
        unvisited=np.flatnonzero(without & ~negligible(completed.modes)),
        evidence=(completed.log_evidence, "bridge sampling", completed.reason),
        audit=audit(completed),
        partial=completed.partial,
    )


def given_yardstick(
    target: Target,
    given: Reference | None,
    starts: Mapping[str, Array],
    sampling: Sampling,
    *,
    visitors: Sequence[Array],
    rng: np.random.Generator,
    stage: Stages,
) -> Yardstick:
    """Measure by the draws as they are, or by those of a plain `pm.sample`; masses come from counting them."""
    if given is None:
        with stage("reference draws"):
            given = _plain_draws(target, rng)
    completed = complete(
        target, given, starts, replace(sampling, as_given=True), visitors=visitors, rng=rng, stage=stage
    )
    masses, folded = completed.given_masses(), completed.folded
    assert masses is not None
    assert folded is not None
    return Yardstick(
        reference=given,
        label=folded.mode,
        copy=completed.modes.copy_labels(given.flat, folded.peak),
        modes=completed.modes,
        masses=masses,
        unvisited=np.flatnonzero((masses.n_draws[:-1] == 0) & ~negligible(completed.modes)),
        evidence=(completed.log_evidence, "bridge sampling", completed.reason),
        audit=audit(completed),
        partial=completed.partial,
    )


def _plain_draws(target: Target, rng: np.random.Generator) -> Reference:
    with target.model:
        idata = pm.sample(
            DRAWS,
            chains=CHAINS,
            random_seed=int(rng.integers(2**31)),
            progressbar=False,
            idata_kwargs={"include_transformed": True},
        )
    return as_reference(idata, target)
