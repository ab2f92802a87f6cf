"""The modes of a posterior: starts, maxima, barriers, search, assignment of points, masses.

Names are imported when they are first used (`__init__.pyi` lists them): numbering modes alone needs no model.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
