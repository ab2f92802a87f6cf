"""The cells of a sweep: models by name, or a function and the grid of its parameters; each with a seed of its own."""

import hashlib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import cloudpickle
import numpy as np
import pymc as pm

from pymc_kl.arguments import quoted, shown
from pymc_kl.comparison.inputs import names_a_group
from pymc_kl.model.target import Target

type Scalar = str | int | float | bool | None
type Source = pm.Model | Target | Mapping[str, Any] | Callable[..., Any]

MOST_CELLS = 10**5  # cells of a grid: at a second each they take a day; our choice
SEED = "random_seed"  # parameter of a cell's function that gets the cell's seed
PLAIN = (str, int, float, bool, type(None))  # types of parameters that a name and a file hold as they are


@dataclass(frozen=True, eq=False)
class Cell:
    """One comparison of a sweep: what makes its model, and the seed of all that is random in it."""

    name: str
    source: Source
    seed: int
    parameters: Mapping[str, Scalar] = field(default_factory=dict)

    def __reduce__(self) -> tuple[Any, ...]:
        """Go to other processes by cloudpickle, which takes models and local functions, whatever the backend uses."""
        state = cloudpickle.dumps((self.name, self.source, self.seed, dict(self.parameters)))
        return _unpacked, (state,)

    @property
    def is_built(self) -> bool:
        """Whether the model is there, and no function that makes it."""
        return isinstance(self.source, pm.Model | Target) or not callable(self.source)

    def arguments(self) -> dict[str, Any]:
        """Build the model, and draws and fits if the cell has them, as arguments of `compare`."""
        built: Any = self.source
        if not self.is_built:
            seed = {SEED: self.seed} if SEED in inspect.signature(built).parameters else {}
            built = built(**self.parameters, **seed)
        if isinstance(built, pm.Model | Target):
            return {"model": built}
        if isinstance(built, Mapping) and isinstance(built.get("model"), pm.Model | Target):
            return {**built}
        raise TypeError(
            f"the cell {self.name!r} must be a model, or a dict of compare's arguments with a model, or a function "
            f"that returns one of them; got {shown(built)}."
        )


def _unpacked(state: bytes) -> Cell:
    return Cell(*cloudpickle.loads(state))


def cells_of(
    source: Mapping[str, Source] | Callable[..., Any], grid: Mapping[str, Sequence[Any]] | None, entropy: int
) -> list[Cell]:
    """List the cells; raise if names can't be told apart, or the function takes no such parameters."""
    if isinstance(source, Mapping):
        if grid is not None:
            raise TypeError("grid is for a function of parameters; cells by name have none.")
        if not source or not all(names_a_group(name) for name in source):
            raise ValueError(
                "cells must have names, which are texts, not blank and neither '.' nor '..'; got "
                f"{shown(list(source))}."
            )
        return [Cell(name, each, seed_of(entropy, name)) for name, each in source.items()]
    if not callable(source) or isinstance(source, pm.Model | Target):
        raise TypeError(
            "cells must be a dict of models by name, or a function of the parameters in grid that returns a model; "
            f"got {shown(source)}."
        )
    return _of_grid(source, grid, entropy)


def _of_grid(source: Callable[..., Any], grid: Mapping[str, Sequence[Any]] | None, entropy: int) -> list[Cell]:
    if not isinstance(grid, Mapping) or not grid:
        raise TypeError(f"grid must be a dict of values by parameter, such as {{'n': [10, 100]}}; got {shown(grid)}.")
    if "cell" in grid:
        raise ValueError("grid has a parameter 'cell', which is what the cells are called. Give it another name.")
    values = {name: _plain(name, given) for name, given in grid.items()}
    try:
        inspect.signature(source)
    except ValueError as error:  # of what is written in C, such as dict
        raise TypeError(f"cells must be a function of Python; got {shown(source)}.") from error
    try:
        inspect.signature(source).bind(**dict.fromkeys(values))
    except TypeError as error:
        if SEED not in inspect.signature(source).parameters or SEED in values:
            raise TypeError(f"grid does not fit the function of the cells: {error}.") from None
        inspect.signature(source).bind(**dict.fromkeys([*values, SEED]))
    if (n := math.prod(map(len, values.values()))) > MOST_CELLS:
        raise ValueError(f"grid must have at most {MOST_CELLS:,} cells, one a combination; it has {n:,}.")
    points = [dict(zip(values, point, strict=True)) for point in product(*values.values())]
    names = [", ".join(f"{name}={value}" for name, value in point.items()) for point in points]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"cells must have different names; {quoted(twice[:3])} came more than once. Change grid.")
    return [Cell(name, source, seed_of(entropy, name), point) for name, point in zip(names, points, strict=True)]


def _plain(name: str, values: Any) -> list[Scalar]:
    """Return the values of a parameter; numpy's scalars become Python's."""
    if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray) or not len(values):
        raise TypeError(f"grid[{name!r}] must be a sequence of values, of which there are some; got {shown(values)}.")
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    if wrong := [value for value in plain if not isinstance(value, PLAIN)]:
        raise TypeError(
            f"grid[{name!r}] must hold texts, numbers, True, False or None, which name the cells; got "
            f"{shown(wrong[0])}. Pass a key, and look the value up in the function."
        )
    return plain


def seed_of(entropy: int, name: str) -> int:
    """Return the seed of a cell, which depends on its name and on no other cell."""
    digest = int.from_bytes(hashlib.sha256(name.encode(errors="surrogatepass")).digest()[:16])
    return int(np.random.SeedSequence([entropy, digest]).generate_state(1)[0])
