"""The families of q. A new one is its file, an entry in FAMILIES, a test parameter and a README row."""

from pymc_kl.approximations.base import Approximation
from pymc_kl.approximations.draws import Draws
from pymc_kl.approximations.fullrank import FullRank
from pymc_kl.approximations.meanfield import MeanField
from pymc_kl.approximations.mixture import Mixture

FAMILIES: dict[str, type[MeanField] | type[FullRank] | type[Mixture]] = {
    family.family: family for family in (MeanField, FullRank, Mixture)
}

__all__ = ["FAMILIES", "Approximation", "Draws", "FullRank", "MeanField", "Mixture"]
