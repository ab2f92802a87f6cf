"""A DataFrame that prints whole: no column is left out, and no line is longer than a hundred characters."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

MOST_CHARACTERS = 100  # of a printed line; our choice
DIGITS = 4  # significant ones of a number; our choice


class Readable(pd.DataFrame):
    """A table whose columns are printed block by block, those of an approximation together; else a DataFrame."""

    @property
    def _constructor(self) -> Callable[..., pd.DataFrame]:
        return pd.DataFrame

    def __repr__(self) -> str:
        table = pd.DataFrame(self)
        return "\n\n".join(_written(table.iloc[:, columns]) for columns in _blocks(table))


def _written(table: pd.DataFrame) -> str:
    return table.to_string(float_format=_number, na_rep="–")


def _number(value: float) -> str:
    """Write a number without an exponent."""
    return np.format_float_positional(float(f"{value:.{DIGITS}g}"), trim="-")


def _blocks(table: pd.DataFrame) -> list[list[int]]:
    """Divide the columns into blocks that fit the line; columns of one name on top stay together."""
    groups: dict[Any, list[int]] = {}
    for i, name in enumerate(table.columns):
        groups.setdefault(name[0] if isinstance(name, tuple) else i, []).append(i)
    blocks: list[list[int]] = [[]]
    for group in groups.values():
        longer = blocks[-1] + group
        if blocks[-1] and max(map(len, _written(table.iloc[:, longer]).splitlines())) > MOST_CHARACTERS:
            blocks.append(group)
        else:
            blocks[-1] = longer
    return blocks
