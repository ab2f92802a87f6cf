"""Names for the array types that every module's signatures share."""

from typing import Literal

import numpy as np
import numpy.typing as npt

type Array = npt.NDArray[np.float64]
type IntArray = npt.NDArray[np.int64]
type BoolArray = npt.NDArray[np.bool_]

type RandomSeed = int | np.random.Generator | np.random.SeedSequence | None
type Kind = Literal["forward", "reverse", "draws", "laplace", "other"]
