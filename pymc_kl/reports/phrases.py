"""Write numbers and lists for sentences: rounded by their error, with their unit, never clamped."""

from collections.abc import Sequence

import numpy as np

from pymc_kl.comparison.formats import ends_if_skewed, format_estimate, rough
from pymc_kl.numerics.estimate import Estimate


def percent(share: Estimate, upper: float = float("nan"), *, lower: float = float("nan")) -> str:
    """Write a probability as `30 % ± 1 %`, or `0.3 % (0.1 % to 0.6 %)` where its interval is skewed.

    `below 0.2 %` stands for it where no draw was counted, and `above 99.8 %` where all were.
    """
    value, se = 100 * share.value, 100 * share.se
    if np.isnan(value):
        return "an unknown share"
    if value == 0 and np.isfinite(upper):
        return f"below {np.ceil(1000 * upper) / 10:.1f} %"
    lower = 1 - 2 * share.se if share.value == 1 and np.isnan(lower) else lower
    if share.value == 1 and 0.5 < lower < 1:
        return f"above {np.floor(1000 * lower) / 10:.1f} %"
    if not np.isfinite(se) or se == 0:
        return f"{value:.0f} %"
    if ends := ends_if_skewed(share, lower, upper):
        low, high = (_significant(100 * end) for end in ends)
        return f"{_significant(value)} % ({low} % to {high} %)"
    digits = _digits(se, least=0, most=2)
    error = f"± {se:.{digits}f}" if round(se, digits) > 0 else "± <0.01"
    return f"{value:.{digits}f} % {error} %"


def _significant(value: float) -> str:
    """Write per cent to two significant digits of it or of what is left of a hundred, at most two decimals."""
    least = min(value, 100 - value)
    digits = 2 if least <= 0 else int(np.clip(1 - np.floor(np.log10(least)), 0, 2))
    return f"{value:.{digits}f}"


def nats(estimate: Estimate) -> str:
    """Write a divergence as `0.605 ± 0.012 nats`."""
    return measured(estimate, " nats")


def measured(estimate: Estimate, unit: str = "") -> str:
    """Write a number with its error and unit, if it has one."""
    value, se = estimate
    if np.isnan(value):
        return "unknown"
    if not np.isfinite(value):
        return "infinite" if value > 0 else "minus infinity"
    if not np.isfinite(se):
        return f"about {rough(value)}{unit} (its error is {'not finite' if se == np.inf else 'not known'})"
    return format_estimate(value, se) + unit


def plain(value: float, se: float) -> str:
    """Write a number to one digit of its error, without the error."""
    digits = _digits(se, least=0, most=6) if np.isfinite(se) and se > 0 else 2
    return f"{round(value, digits) + 0.0:.{digits}f}"


def _digits(se: float, *, least: int, most: int) -> int:
    """Return the number of decimals that show one digit of an error."""
    return most if se <= 0 else int(np.clip(-np.floor(np.log10(se)), least, most))


def listed(items: Sequence[object], most: int = 4, *, last: str = "and") -> str:
    """Join as `1, 3 and 4`; of more than five, name the first four and count the rest."""
    words = [str(item) for item in items]
    if len(words) > most + 1:
        return f"{', '.join(words[:most])} {last} {len(words) - most} more"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def counted(n: float, one: str, many: str) -> str:
    """Write `1 mode` or `3 modes`."""
    return f"{n:,.0f} {one if n == 1 else many}"


def opened(text: str, name: str) -> str:
    """Put an article before a sentence that opens with a name in small letters, which stays as it is."""
    if not (name[:1].islower() and text.startswith(name)):
        return text
    return f"The {'' if name.startswith('forward ') else 'fit '}{text}"


def numbered(numbers: Sequence[int]) -> str:
    """Name modes: `mode 2`, `modes 1 and 3`."""
    return f"{'mode' if len(numbers) == 1 else 'modes'} {listed(numbers)}"


def every(n: int, found: int) -> str:
    """Name the modes that matter, n of those found, as "found": there may be others."""
    if n == 1:
        return "the one mode found with over 1 %" if found > 1 else "the one mode found"
    if found > n:
        return f"the {n} modes found with over 1 %"
    return "both modes found" if n == 2 else f"all {n} modes found"
