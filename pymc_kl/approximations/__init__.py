"""The families of q. To add one: a file, an entry in FAMILIES, a test, a row in docs/approximations.md."""

from pymc_kl.approximations.base import Approximation, FitInfo
from pymc_kl.approximations.component_family import ComponentFamily
from pymc_kl.approximations.draws import Draws
from pymc_kl.approximations.family import Family
from pymc_kl.approximations.flow import Flow
from pymc_kl.approximations.fullrank import FullRank
from pymc_kl.approximations.functions import Functions
from pymc_kl.approximations.lowrank import LowRank
from pymc_kl.approximations.meanfield import MeanField
from pymc_kl.approximations.mixture import Mixture
from pymc_kl.approximations.student import StudentT
from pymc_kl.approximations.studentt_mixture import StudentTMixture

FAMILIES: dict[str, type[Family]] = {
    family.family: family for family in (MeanField, LowRank, FullRank, StudentT, Mixture, StudentTMixture, Flow)
}

__all__ = [
    "FAMILIES",
    "Approximation",
    "ComponentFamily",
    "Draws",
    "Family",
    "FitInfo",
    "Flow",
    "FullRank",
    "Functions",
    "LowRank",
    "MeanField",
    "Mixture",
    "StudentT",
    "StudentTMixture",
]
