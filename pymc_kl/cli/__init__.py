"""The command line, and the versions that a bug report asks for."""

from pymc_kl.cli.commands import main

__all__ = ["main"]
