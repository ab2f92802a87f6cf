"""What a miss costs in prediction: leave-one-out scores of the posterior, its modes and approximations; which mode."""

from pymc_kl.prediction.checks import predictive_checks
from pymc_kl.prediction.modes_apart import tell_modes_apart
from pymc_kl.prediction.predict import predict
from pymc_kl.prediction.stacking import stack
from pymc_kl.prediction.table import elpd_table

__all__ = ["elpd_table", "predict", "predictive_checks", "stack", "tell_modes_apart"]
