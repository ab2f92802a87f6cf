"""Estimates and shares → text, rounded by their errors."""

import numpy as np

from pymc_kl.numerics.estimate import Estimate
from pymc_kl.numerics.intervals import EXACT, share_interval

NONE = "–"
SMALLEST = 0.005  # per cent below which a share is written as <0.01
MOST_SKEWED = 0.25  # offset of an interval from its estimate, in half-lengths, up to which ± is printed; our choice


def format_estimate(value: float, se: float, round_to: int | None = None) -> str:
    """Write a number rounded to two digits of its standard error, such as `0.605 ± 0.012`, or to so many decimals."""
    if np.isnan(value):
        return NONE
    if not np.isfinite(value):
        return "∞" if value > 0 else "-∞"
    if not np.isfinite(se):
        return f"{rough(value)} ± {'∞' if se == np.inf else '?'}"
    digits = 3 if se < EXACT else int(np.clip(1 - np.floor(np.log10(se)), 0, 6))
    digits = digits if round_to is None else round_to
    return f"{round(value, digits) + 0.0:.{digits}f} ± {se:.{digits}f}"


def rough(value: float) -> str:
    """Write a number whose error is not known to two significant digits, without an exponent."""
    digits = int(np.clip(1 - np.floor(np.log10(abs(value))), -12, 12)) if value else 0
    return f"{round(value, digits):,.{max(digits, 0)}f}"


def format_percent(
    value: float,
    se: float,
    upper: float = float("nan"),
    round_to: int | None = None,
    *,
    lower: float = float("nan"),
) -> str:
    """Write a share in per cent, such as `30.0 ± 1.2`, or with its interval, `0.10 (0.02–0.36)`, where that is skewed.

    `<0.2` is a bound without draws, `>99.8` one where all draws are, and `<0.01` a smaller value.
    """
    if np.isnan(value):
        return NONE
    if value == 0 and upper < 0.5:
        return f"<{np.ceil(1000 * upper) / 10:.1f}"
    if value == 1 and 0.5 < lower < 1:
        return f">{np.floor(1000 * lower) / 10:.1f}"
    if 100 * (value + max(se, 0.0)) < SMALLEST:
        return "<0.01"
    digits = round_to
    if digits is None:
        digits = _decimals_of_percent(se) if se > 0 else 1
    ends = ends_if_skewed(Estimate(value, se), lower, upper)
    written, low, high, error = (f"{100 * part:.{digits}f}" for part in (value, *(ends or (0.0, 1.0)), se))
    if ends:
        return f"{written} ({low}–{high})"
    return f"{written} ± {error}" if np.isfinite(se) else written


def _decimals_of_percent(se: float) -> int:
    """Return two decimals at the most, or as many, up to four, as show one digit of the error."""
    first = -int(np.floor(np.log10(100 * se)))
    return min(max(first + 1, 0), 2) if first <= 2 else min(first, 4)


def ends_if_skewed(
    share: Estimate, lower: float = float("nan"), upper: float = float("nan")
) -> tuple[float, float] | None:
    """Return the ends of a probability's 95 % interval where ± cannot stand for it, of that of a count by default."""
    low, high = (lower, upper) if np.isfinite(lower) and np.isfinite(upper) else share_interval(share)
    return None if is_symmetric(share.value, low, high) else (low, high)


def is_symmetric(value: float, low: float, high: float) -> bool:
    """Tell if an interval lies about its estimate so evenly that ± can stand for it, or is not known."""
    return not abs(low + high - 2 * value) > MOST_SKEWED * (high - low)
