"""Judge by k-hat and its error whether importance sampling can correct an approximation."""

import numpy as np

from pymc_kl.numerics.estimate import Estimate
from pymc_kl.numerics.judgement import CANNOT_TELL, Answer, at_most
from pymc_kl.numerics.khat import KHAT_FINITE_VARIANCE, KHAT_RELIABLE
from pymc_kl.reports.facts import FitFacts


def can_correct(fit: FitFacts) -> Answer:
    """Tell if k-hat is below 0.7 by two standard errors."""
    return at_most(Estimate(fit.khat, float(np.nan_to_num(fit.khat_se))), KHAT_RELIABLE)


def written_khat(fit: FitFacts) -> str:
    """Write k-hat with its error, if it has one."""
    if fit.khat == -np.inf:
        return "no weight above 1.1 times their mean"
    error = f" ± {fit.khat_se:.2f}" if np.isfinite(fit.khat_se) else ""
    return f"k-hat {fit.khat:.2f}{error}" if error else f"k-hat {fit.khat:.2g}"


def correctable(fit: FitFacts) -> str:
    """Write whether importance sampling can correct the fit."""
    if fit.kind == "draws":
        return ""
    if np.isnan(fit.khat):
        return " Its k-hat is not known, so nothing is said of importance sampling."
    if fit.khat == np.inf:
        return " Importance sampling cannot correct it: its weights are not finite."
    can, shown = can_correct(fit), written_khat(fit)
    if can == CANNOT_TELL:
        limit = f"sure where k-hat plus two errors is below {KHAT_RELIABLE}"
        return f" Whether importance sampling can correct it is not sure ({shown}; {limit})."
    if can == "no":
        return f" Importance sampling cannot correct it ({shown}, above {KHAT_RELIABLE})."
    care = "" if fit.khat < KHAT_FINITE_VARIANCE else ", with many draws"
    return f" It can be corrected by importance sampling{care} ({shown})."
