"""Reference, fits, modes and scores as one DataTree; its files and tables; the evidence of several models.

Names are imported when they are first used (`__init__.pyi` lists them): checking a path needs no PyMC.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
