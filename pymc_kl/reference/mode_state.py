"""The state of one mode while the reference is made: its draws and its log mass."""

from dataclasses import dataclass

from pymc_kl.reference.evidence import LogMass
from pymc_kl.reference.given_check import GivenCheck
from pymc_kl.reference.local_draws import LocalDraws


@dataclass(frozen=True, eq=False)
class ModeState:
    """Draws and log mass of one mode, and how they were obtained.

    Attributes
    ----------
    draws : LocalDraws
    log_mass : LogMass
    given_suffice : bool
        The user's draws of the mode are enough to represent it.
    tries : int
        How often chains were started there.
    check : GivenCheck or None
        Whether the user's draws there are draws of this posterior; None where they can't be checked.
    lost : float
        Draws of chains started there that climb to no proper maximum, for each that lies in the mode.
    """

    draws: LocalDraws
    log_mass: LogMass
    given_suffice: bool
    tries: int = 0
    check: GivenCheck | None = None
    lost: float = 0.0

    @property
    def known(self) -> bool:
        """Whether the mode has a log mass."""
        return self.log_mass.known

    @property
    def rests_on_given(self) -> bool:
        """Whether the mode is represented by the user's draws alone."""
        return self.given_suffice and self.draws.source == "given"
