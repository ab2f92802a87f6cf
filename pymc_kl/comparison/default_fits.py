"""Which fits a comparison makes unless it is told, and which it then leaves out where the space is wide."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from pymc_kl.comparison.failures import Failure
from pymc_kl.comparison.fit import FailedFit
from pymc_kl.comparison.inputs import as_names
from pymc_kl.comparison.make_fits import PYMC_METHODS, REVERSE
from pymc_kl.numerics.whitening import WIDE

FORWARD = ("meanfield", "fullrank", "mixture")
WIDE_FORWARD = ("meanfield", "lowrank")  # what takes their place; 30,000 steps of PyMC's full-rank ADVI took 13 s of
# CPU in 302 dimensions and 168 s in 1,002, where 12 s of sampling were enough; benchmarks/compare.py
WIDE_REVERSE = ("advi",)


@dataclass(frozen=True)
class WantedFits:
    """Families to fit forward, methods to fit in reverse, and the rows of those that are left out."""

    forward: tuple[str, ...]
    reverse: tuple[str, ...]
    left_out: tuple[FailedFit, ...] = ()

    @classmethod
    def of(cls, forward: str | Sequence[str] | None, reverse: str | Sequence[str] | None, *, has_fits: bool) -> Self:
        """Take what was asked for; by default the forward families, and both of PyMC's methods if no fits are given."""
        by_default = () if has_fits else tuple(PYMC_METHODS)
        return cls(
            FORWARD if forward is None else as_names(forward), by_default if reverse is None else as_names(reverse)
        )

    def within(self, d: int, *, forward_by_default: bool, reverse_by_default: bool) -> "WantedFits":
        """Leave out what was not asked for and has a full covariance, where d is large."""
        if d <= WIDE:
            return self
        forward = WIDE_FORWARD if forward_by_default else self.forward
        reverse = tuple(m for m in self.reverse if m in WIDE_REVERSE) if reverse_by_default else self.reverse
        asked = {f"forward {name}": f"forward={name!r}" for name in self.forward if name not in forward}
        asked |= {REVERSE[name]: f"reverse={name!r}" for name in self.reverse if name not in reverse}
        return WantedFits(forward, reverse, tuple(_left_out(name, how, d) for name, how in asked.items()))


def _left_out(name: str, how: str, d: int) -> FailedFit:
    reason = f"not made: a full covariance of {d:,} parameters has {d * (d + 1) // 2:,} numbers. {how} asks for it."
    return FailedFit(name, (Failure("", reason),), float("nan"))
