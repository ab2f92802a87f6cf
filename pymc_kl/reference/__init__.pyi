from .posterior import ModewisePosterior
from .sample import sample_reference

__all__ = ["ModewisePosterior", "sample_reference"]
