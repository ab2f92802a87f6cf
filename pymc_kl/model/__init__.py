"""A `pm.Model` as a batched log density on R^d; draws on it; draws as DataTrees."""

from pymc_kl.model.draws import PosteriorDraws, as_posterior_draws
from pymc_kl.model.target import Target, as_target

__all__ = ["PosteriorDraws", "Target", "as_posterior_draws", "as_target"]
