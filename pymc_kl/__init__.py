"""Tell which modes of a posterior an approximation covers, how well, and what it is good for.

Names are imported when they are first used (`__init__.pyi` lists them): the density alone needs no plots.
"""

import warnings
from importlib.metadata import version

import lazy_loader

__version__ = version("pymc_kl")
_named, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
RENAMED = {"plot_khat": "plot_pareto_k"}  # old names of public functions, until the next release


def __getattr__(name: str) -> object:
    """Return a public name, which is imported now; warn of an old one."""
    if name in RENAMED:
        warnings.warn(f"{name} is called {RENAMED[name]} now.", FutureWarning, stacklevel=2)
    return _named(RENAMED.get(name, name))
