"""Sampling with the help of an approximation: importance resampling, jumps, starting values."""

from pymc_kl.sampling.initvals import initvals
from pymc_kl.sampling.jump import sample_jump
from pymc_kl.sampling.resample import correct

__all__ = ["correct", "initvals", "sample_jump"]
