"""Cross-fitting: a forward fit is refitted without each fold of the draws, and scored on that fold.

Scored on the draws that it was fitted to, a flexible family looks better than it is, and its divergence from the
posterior comes out too small or negative. Scored on draws that it was not fitted to, it looks worse, since it was
fitted to fewer. What a fit loses by its errors is inversely proportional to the number of draws, and as much as it
gains on its own draws; so the two scores tell that of the fit to all draws.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.approximations import Approximation
from pymc_kl.approximations.symmetrise import symmetrised_fit
from pymc_kl.fitting.forward import fit_family
from pymc_kl.model.draws import PosteriorDraws
from pymc_kl.modes.symmetry import Symmetry
from pymc_kl.reference.posterior import N_FOLDS

type Evaluate = Callable[[Approximation, Array], Array | None]

OWN_SHARE = 1 / (2 * N_FOLDS - 1)  # of the score on own draws in that of the fit to all: losses go as 1/n
OWN_SHARE_SLOPE = 0.6  # what each nat of difference by dimension adds to it: losses of a normal in 1/n²; measured
MOST_OWN_SHARE = 0.25  # beyond, losses are not those of small errors; our choice
FIT_VARIANCE = 1.16  # nats² by nat of difference: 2.5 less 1.2, over 1.125, for five folds; see `at_draws`
IN_SAMPLE = "Too few draws to hold any out: its forward divergence is judged on the draws it was fitted to, too low."


class HeldOut(NamedTuple):
    """Log q at draws of p (n,), nats, by which q is scored; None without a density.

    `fit_variance` (n,), nats², is what each draw adds, times its squared weight, to the variance of their mean if q was
    fitted to them; None if it was not.
    """

    log_prob: Array | None
    fit_variance: Array | None = None

    def reshaped(self, shape: tuple[int, ...]) -> "HeldOut":
        """Lay the draws out as chains."""
        return HeldOut(*(None if values is None else values.reshape(shape) for values in self))


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

    def at_draws(self, x: Array, fold: IntArray, evaluate: Evaluate, weights: Array | None = None) -> HeldOut:
        """Evaluate the fit at draws x (n, d) that it was fitted to, given their folds (n,), as if they were new to it.

        Each draw's value is mostly that under the fit without its fold, and by a small share that under the fit to all,
        so that the mean estimates that of the fit to all over new draws. With s the mean score of n draws, of which
        those of the folds scatter by W about it, that estimate errs by -|s|² + W/20, of variance 2.5 P/n² for P
        parameters; draws taken as independent of the fits show 1.2 P/n² of it. Their mean difference is 1.125 P/n.
        """
        own = evaluate(self.approximation, x)
        if not self.others or own is None:
            return HeldOut(own)
        held_out = np.empty(len(x))
        for i, other in enumerate(self.others):
            part = evaluate(other, x[fold == i])
            if part is None:
                return HeldOut(None)
            held_out[fold == i] = part
        comparable = np.isfinite(own) & np.isfinite(held_out)
        difference = np.where(comparable, own, 0.0) - np.where(comparable, held_out, 0.0)
        each = max(float(np.average(difference, weights=weights)), 0.0) / x.shape[1]
        share = min(OWN_SHARE + OWN_SHARE_SLOPE * each, MOST_OWN_SHARE)
        return HeldOut(held_out + share * difference, FIT_VARIANCE * difference)


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

    "auto" chooses the family once, on all draws, and so does a mixture its number of components; EM without a fold
    starts from the fit to all.
    With a symmetry, the draws are canonical, and the mixture that is fitted to them is spread over all copies.
    """

    def fit(name: str, rows: IntArray, start: Approximation | None = None) -> Approximation:
        return fit_family(name, _take(reference, rows), mode[rows], rng=rng, start=start, quiet=start is not None)

    def spread(fitted: Approximation) -> Approximation:
        return fitted if symmetry is None else symmetrised_fit(fitted, symmetry)

    full = fit(family, np.arange(len(reference.flat)))
    chosen = full.info.family or family
    try:
        others = tuple(spread(fit(chosen, np.flatnonzero(fold != i), full)) for i in range(N_FOLDS))
    except ValueError:
        others = ()
    return CrossFit(spread(full), others)


def _take(reference: PosteriorDraws, rows: IntArray) -> PosteriorDraws:
    """Keep some of the draws, as one chain."""
    weights = reference.flat_weights
    return PosteriorDraws(
        reference.target,
        reference.flat[rows][None],
        reference.log_density.ravel()[rows][None],
        None if weights is None else weights[rows][None],
    )
