"""Tell which modes of a posterior an approximation covers, how well, and what it is good for.

Names are imported when they are first used (`__init__.pyi` lists them): the density alone needs no plots.
"""

from importlib.metadata import version

import lazy_loader

__version__ = version("pymc_kl")
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
