"""The families of q. A new one is its file, an entry in FAMILIES, a test parameter and a README row."""

from pymc_kl.approximations.base import Approximation
from pymc_kl.approximations.draws import Draws
from pymc_kl.approximations.fullrank import FullRank
from pymc_kl.approximations.meanfield import MeanField

__all__ = ["Approximation", "Draws", "FullRank", "MeanField"]
