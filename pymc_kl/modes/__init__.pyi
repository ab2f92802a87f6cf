from .masses import Masses
from .modes import Modes
from .planted import planted_modes
from .search import find_modes

__all__ = ["Masses", "Modes", "find_modes", "planted_modes"]
