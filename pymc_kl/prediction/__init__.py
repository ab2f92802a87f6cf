"""What a miss costs in prediction: leave-one-out scores of the posterior, of its modes and of approximations."""

from pymc_kl.prediction.predict import predict
from pymc_kl.prediction.table import elpd_table

__all__ = ["elpd_table", "predict"]
