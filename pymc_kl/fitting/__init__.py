"""Forward fits, with cross-fitting, and reverse fits, with the optima that their starts lead to."""

from pymc_kl.fitting.forward import fit_forward
from pymc_kl.fitting.maximise import polish
from pymc_kl.fitting.reverse import fit_reverse

__all__ = ["fit_forward", "fit_reverse", "polish"]
