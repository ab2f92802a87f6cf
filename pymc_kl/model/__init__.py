"""A `pm.Model` as a batched log density on R^d; draws on it; draws as DataTrees.

Names are imported when they are first used (`__init__.pyi` lists them): what draws are called needs no PyMC.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
