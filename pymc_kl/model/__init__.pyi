from .draws import PosteriorDraws, as_posterior_draws
from .rows import Subsampled, subsampled
from .target import Target, as_target

__all__ = ["PosteriorDraws", "Subsampled", "Target", "as_posterior_draws", "as_target", "subsampled"]
