"""Make one self-contained page that says which modes each approximation covers, how well, and what it is good for."""

from pymc_kl.reports.build import Report, report

__all__ = ["Report", "report"]
