from .draws import PosteriorDraws, as_posterior_draws
from .target import Target, as_target

__all__ = ["PosteriorDraws", "Target", "as_posterior_draws", "as_target"]
