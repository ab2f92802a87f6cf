from .masses import Masses
from .modes import Modes
from .search import find_modes

__all__ = ["Masses", "Modes", "find_modes"]
