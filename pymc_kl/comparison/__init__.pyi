from .models import compare_models

__all__ = ["compare_models"]
