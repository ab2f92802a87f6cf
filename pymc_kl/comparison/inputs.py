"""Rules of what `compare` alone takes: draws that are no comparison yet, fits by name."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import xarray as xr

from pymc_kl.approximations import FAMILIES
from pymc_kl.approximations.choice import AUTO
from pymc_kl.arguments import Rule, choice, choices, flag_or, number, optional, quoted, whole
from pymc_kl.comparison.make_fits import ALL_OPTIMA, PYMC_METHODS, REVERSE, polished_name
from pymc_kl.comparison.stored_names import fits_as_text
from pymc_kl.model.draws import draws_of
from pymc_kl.modes.starts import start_points
from pymc_kl.quantities.asked import check_asked


def as_names(names: str | Sequence[str]) -> tuple[str, ...]:
    """Return names, or a single one, as a tuple."""
    return (names,) if isinstance(names, str) else tuple(names)


def names_a_group(name: Any) -> bool:
    """Tell whether a name can be that of a group of a DataTree."""
    return isinstance(name, str) and name.strip() not in ("", ".", "..") and fits_as_text(name)


def not_compared(name: str, value: Any) -> None:
    """Allow draws, but no comparison: its draws are those of its reference, and miss nothing that it found."""
    draws_of("compare")(name, value)
    if isinstance(value, xr.DataTree) and {"scores", "coverage"} <= set(value.children):
        raise TypeError(
            f"{name} is a comparison, whose draws were completed already; compare needs draws as the sampler left "
            "them, or what sample_reference() returns."
        )


def fits_by_name(name: str, value: Any) -> None:
    """Allow a mapping of fits whose names can name groups; a DataTree is a mapping too, but of draws."""
    are_draws = isinstance(value, xr.DataTree | xr.Dataset)
    if are_draws or not isinstance(value, Mapping):
        draws = " Draws come first: compare(idata, {'ADVI': advi})." if are_draws else ""
        raise TypeError(
            f"{name} must be a dict of fits by name, such as {{'ADVI': pm.fit()}}; got {type(value).__name__}.{draws}"
        )
    for fit in value:
        if not names_a_group(fit):
            raise ValueError(
                f"a name in {name} must be text without a NUL or a lone surrogate, and neither blank, '.' nor "
                f"'..', since it names a group; got {fit!r}."
            )


def of_today(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by the names that arguments of `compare` have now."""
    return {EARLIER.get(name, name): value for name, value in settings.items()}


def check_names(names: Iterable[str], forward: Sequence[str], reverse: Sequence[str]) -> None:
    """Refuse fits that are asked for twice, and names that the fits made here bear."""
    for asked in (forward, reverse):
        if twice := [name for name in dict.fromkeys(asked) if asked.count(name) > 1]:
            raise ValueError(f"each fit may be asked for once; {quoted(twice)} came more than once.")
    taken = [f"forward {family}" for family in forward] + [REVERSE[m] for m in reverse]
    taken += [f"{REVERSE[m]} ({ALL_OPTIMA})" for m in reverse if m not in PYMC_METHODS]
    taken += [polished_name(REVERSE[m]) for m in reverse]
    for name in names:
        if name in taken:
            raise ValueError(f"the name {name!r} is taken by a fit that compare() makes; give yours another.")


EARLIER = {"n_draws": "draws"}  # names of arguments of `compare`, as they were: in calls, cells and stored settings
RULES: dict[str, Rule] = {  # of the arguments of `compare`; of those that it lacks, the rules that hold everywhere
    "idata": optional(not_compared), "approximations": optional(fits_by_name), "planted": flag_or(number(0)),
    "reference": choice("complete", "as given"), "forward": optional(choices(AUTO, *FAMILIES, what="family")),
    "reverse": optional(choices(*REVERSE, what="method")), "draws": whole(100),
    "backend": choice("auto", "jax", "numba"), "quantities": optional(check_asked),
    "starts": optional(start_points),
}  # fmt: skip
