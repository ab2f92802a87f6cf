"""Judge by k-hat and its error whether importance sampling can correct an approximation."""

import numpy as np

from pymc_kl.numerics.khat import KHAT_FINITE_VARIANCE, KHAT_RELIABLE
from pymc_kl.reports.facts import FitFacts


def can_correct(fit: FitFacts) -> bool | None:
    """Tell if k-hat is below 0.7, or above, by two standard errors; None where its error leaves that open."""
    if fit.khat + _margin(fit) < KHAT_RELIABLE:
        return True
    return False if fit.khat - _margin(fit) >= KHAT_RELIABLE else None


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
    if can is None:
        return f" Whether importance sampling can correct it is not sure ({shown}; it can below {KHAT_RELIABLE})."
    if not can:
        return f" Importance sampling cannot correct it ({shown}, above {KHAT_RELIABLE})."
    care = "" if fit.khat < KHAT_FINITE_VARIANCE else ", with many draws"
    return f" It can be corrected by importance sampling{care} ({shown})."


def _margin(fit: FitFacts) -> float:
    return 2 * float(np.nan_to_num(fit.khat_se))
