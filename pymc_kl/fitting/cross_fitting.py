"""Cross-fitting: a forward fit is refitted without each fold of the draws, and scored on that fold.

Scored on the draws that it was fitted to, a flexible family looks better than it is, and its divergence from the
posterior comes out too small or negative.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.approximations import Approximation
from pymc_kl.approximations.symmetrise import symmetrised_fit
from pymc_kl.fitting.forward import fit_family
from pymc_kl.model.draws import PosteriorDraws
from pymc_kl.modes.symmetry import Symmetry
from pymc_kl.reference.posterior import N_FOLDS

type Evaluate = Callable[[Approximation, Array], Array | None]

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

    def at_draws(self, x: Array, fold: IntArray, evaluate: Evaluate) -> Array | None:
        """Evaluate each draw (n, d) under the fit that was made without the fold of that draw (n,)."""
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
    mode: IntArray,
    fold: IntArray,
    *,
    symmetry: Symmetry | None = None,
    rng: np.random.Generator,
) -> CrossFit:
    """Fit a family to draws, given the mode and the fold of each (n,): to all, and to all but each fold.

    "auto" chooses the family once, on all draws.
    With a symmetry, the draws are canonical, and the mixture that is fitted to them is spread over all copies.
    """

    def fit(name: str, rows: IntArray, quiet: bool) -> Approximation:
        fitted = fit_family(name, _take(reference, rows), mode[rows], rng=rng, quiet=quiet)
        return fitted if symmetry is None else symmetrised_fit(fitted, symmetry)

    n = len(reference.flat)
    full = fit(family, np.arange(n), False)
    chosen = full.info.family or family
    try:
        others = tuple(fit(chosen, np.flatnonzero(fold != i), True) for i in range(N_FOLDS))
    except ValueError:
        others = ()
    return CrossFit(full, others)


def _take(reference: PosteriorDraws, rows: IntArray) -> PosteriorDraws:
    """Keep some of the draws, as one chain."""
    weights = reference.flat_weights
    return PosteriorDraws(
        reference.target,
        reference.flat[rows][None],
        reference.log_density.ravel()[rows][None],
        None if weights is None else weights[rows][None],
    )
