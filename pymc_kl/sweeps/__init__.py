"""Many comparisons at once: a sweep over models or parameters, kept on disk cell by cell, its table and its page."""

from pymc_kl.sweeps.load import load_sweep
from pymc_kl.sweeps.page import sweep_report
from pymc_kl.sweeps.run import sweep
from pymc_kl.sweeps.table import sweep_table

__all__ = ["load_sweep", "sweep", "sweep_report", "sweep_table"]
