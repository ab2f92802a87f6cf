"""The families of q. A new one is its file, an entry in FAMILIES, a test parameter and a README row."""

from pymc_kl.approximations.base import Approximation, Family
from pymc_kl.approximations.draws import Draws
from pymc_kl.approximations.fullrank import FullRank
from pymc_kl.approximations.lowrank import LowRank
from pymc_kl.approximations.meanfield import MeanField
from pymc_kl.approximations.mixture import Mixture

FAMILIES: dict[str, type[Family]] = {family.family: family for family in (MeanField, LowRank, FullRank, Mixture)}

__all__ = ["FAMILIES", "Approximation", "Draws", "Family", "FullRank", "LowRank", "MeanField", "Mixture"]
