"""Data sets that come with the package; each file names its source."""

from pymc_kl.data import galaxies, measurements

__all__ = ["galaxies", "measurements"]
