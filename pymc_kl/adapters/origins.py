"""Which package an object comes from, by the names of its classes or variables: nothing is imported for it."""

from importlib.util import find_spec
from typing import Any

import xarray as xr

# Package → the extra that brings it, and how its draws become a DataTree.
ORIGINS = {
    "blackjax": ("samplers", "arviz.from_dict({'posterior': {name: array (chain, draw, ...)}})"),
    "cmdstanpy": ("samplers", "arviz.from_cmdstanpy"),
    "emcee": ("samplers", "arviz.from_emcee"),
    "numpyro": ("samplers", "arviz.from_numpyro or arviz.from_numpyro_svi"),
    "nutpie": ("samplers", "nutpie.sample"),
    "pymc_extras": ("extras", "the DataTree that the fit returned"),
}


def comes_from(fit: Any, package: str, name: str) -> bool:
    """Whether `fit` is of a class of that name in that package, or of one that inherits from it."""
    return any(kind.__name__ == name and _package(kind) == package for kind in type(fit).__mro__)


def holds(fit: Any, group: str, name: str) -> bool:
    """Whether `fit` is a DataTree with that group and that variable in it."""
    return isinstance(fit, xr.DataTree) and group in fit.children and name in fit[group].to_dataset()


def advice(fit: Any) -> str:
    """Say what to do with an object of a known package that no adapter reads; nothing for any other."""
    package = next((_package(kind) for kind in type(fit).__mro__ if _package(kind) in ORIGINS), None)
    if package is None:
        return ""
    extra, how = ORIGINS[package]
    missing = f" {package} is not installed: pip install pymc_kl[{extra}]." if find_spec(package) is None else ""
    return f" It comes from {package}: pass its draws as a DataTree ({how}).{missing}"


def _package(kind: type) -> str:
    return kind.__module__.partition(".")[0]
