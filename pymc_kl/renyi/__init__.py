"""The path from the reverse to the forward KL, over the order of Rényi's divergence."""

from pymc_kl.renyi.alpha_path import divergence_path

__all__ = ["divergence_path"]
