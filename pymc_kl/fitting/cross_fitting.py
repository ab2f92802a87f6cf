"""A forward fit judged on draws that it has not seen: refitted without each fifth of the draws in turn.

Judged on the draws it was fitted to, a flexible family looks better than it is, and its divergence from the
posterior comes out too small or negative.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.approximations import (
    Approximation,
    ComponentFamily,
    FullRank,
    LowRank,
    MeanField,
    Mixture,
    StudentT,
    StudentTMixture,
)
from pymc_kl.approximations.symmetrise import symmetrised_mixture
from pymc_kl.fitting.forward import fit_family
from pymc_kl.model.draws import PosteriorDraws
from pymc_kl.modes.symmetry import Symmetry
from pymc_kl.reference.posterior import N_FOLDS

IN_SAMPLE = "Too few draws to hold any out: its forward divergence is judged on the draws it was fitted to, too low."


@dataclass(frozen=True, eq=False)
class CrossFit:
    """A fit to all draws, and one to all but those of each fold.

    Attributes
    ----------
    approximation : Approximation
    others : tuple of Approximation
        The fit without each fold; empty where draws are too few.
    """

    approximation: Approximation
    others: tuple[Approximation, ...]

    def at_draws(
        self, x: Array, fold: IntArray, evaluate: Callable[[Approximation, Array], Array | None]
    ) -> Array | None:
        """Evaluate at each draw (n, d) the fit that has not seen its fold (n,)."""
        if not self.others:
            return evaluate(self.approximation, x)
        values = np.empty(len(x))
        for i, other in enumerate(self.others):
            part = evaluate(other, x[fold == i])
            if part is None:
                return None
            values[fold == i] = part
        return values


def cross_fit(
    family: str,
    reference: PosteriorDraws,
    labels: IntArray,
    fold: IntArray,
    *,
    symmetry: Symmetry | None = None,
    rng: np.random.Generator,
) -> CrossFit:
    """Fit a family to draws that carry the label of their mode and the number of their fold (n,).

    "auto" chooses the family once, on all draws, and refits it without each fold.
    With a symmetry, the draws are those of one copy of each mode, and the mixture fitted to them is spread over all.
    """

    def fit(name: str, rows: IntArray, quiet: bool) -> Approximation:
        fitted = fit_family(name, _take(reference, rows), labels[rows], rng=rng, quiet=quiet)
        return fitted if symmetry is None else _spread(fitted, symmetry)

    n = len(reference.flat)
    full = fit(family, np.arange(n), False)
    chosen = full.info.family or family
    try:
        others = tuple(fit(chosen, np.flatnonzero(fold != i), True) for i in range(N_FOLDS))
    except ValueError:
        others = ()
    return CrossFit(full, others)


def _spread(fitted: Approximation, symmetry: Symmetry) -> Approximation:
    """Spread a fit to one copy of each mode over all; one normal or Student-t is a mixture of one component."""
    common: dict[str, Any] = {"target": fitted.target, "info": fitted.info}
    if isinstance(fitted, StudentT):
        common |= {"scale_trils": fitted.scale_tril[None], "dfs": np.array([fitted.df])}
        fitted = StudentTMixture(weights=np.ones(1), locs=fitted.loc[None], **common)
    elif isinstance(fitted, MeanField | LowRank | FullRank):
        fitted = Mixture(weights=np.ones(1), locs=fitted.loc[None], scale_trils=fitted.scale_tril[None], **common)
    return symmetrised_mixture(fitted, symmetry) if isinstance(fitted, ComponentFamily) else fitted


def _take(reference: PosteriorDraws, rows: IntArray) -> PosteriorDraws:
    """Some draws of a reference, as one chain."""
    weights = reference.flat_weights
    return PosteriorDraws(
        reference.target,
        reference.flat[rows][None],
        reference.log_density.ravel()[rows][None],
        None if weights is None else weights[rows][None],
    )
