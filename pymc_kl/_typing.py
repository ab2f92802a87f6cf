"""Names for the types that signatures of every stage share, and of the choices that the command line offers."""

from typing import Literal

import numpy as np
import numpy.typing as npt

type Array = npt.NDArray[np.float64]
type IntArray = npt.NDArray[np.int64]
type BoolArray = npt.NDArray[np.bool_]

type RandomSeed = int | np.random.Generator | np.random.SeedSequence | None
type ForwardFamily = Literal[
    "auto", "meanfield", "lowrank", "fullrank", "studentt", "mixture", "studentt_mixture", "flow"
]
type ReverseMethod = Literal["advi", "fullrank_advi", "auto", "meanfield", "lowrank", "fullrank", "mixture"]
type Kind = Literal["forward", "reverse", "draws", "laplace", "other"]
