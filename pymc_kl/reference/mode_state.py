"""What is known of one mode while the reference is made."""

from dataclasses import dataclass

from pymc_kl.reference.evidence import LogMass
from pymc_kl.reference.local_draws import LocalDraws


@dataclass(frozen=True, eq=False)
class ModeState:
    """Draws and log mass of one mode, and what they rest on.

    Attributes
    ----------
    draws : LocalDraws
    log_mass : LogMass
    given_suffice : bool
        The user's draws of the mode are enough to stand for it.
    tries : int
        How often chains were sent there.
    """

    draws: LocalDraws
    log_mass: LogMass
    given_suffice: bool
    tries: int = 0

    @property
    def known(self) -> bool:
        """Whether the mode has a log mass."""
        return self.log_mass.known

    @property
    def rests_on_given(self) -> bool:
        """Whether the user's draws alone stand for the mode."""
        return self.given_suffice and self.draws.source == "given"
