"""KL divergences of two distributions: closed forms, quadrature, sums and Monte Carlo."""

from pymc_kl.divergence.kl import kl_divergence

__all__ = ["kl_divergence"]
