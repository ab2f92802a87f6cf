"""What others return → approximations: one source a file. An adapter says what it accepts and converts it."""

from collections.abc import Callable
from typing import Any

import pymc as pm

from pymc_kl.adapters import draws, pymc
from pymc_kl.adapters.pymc import to_pymc
from pymc_kl.approximations import Approximation
from pymc_kl.target import Target, as_target

ADAPTERS: dict[str, tuple[Callable[[Any], bool], Callable[[Any, Target], Approximation]]] = {
    "pm.Approximation": (pymc.accepts, pymc.convert),
    "draws (DataTree, Dataset)": (draws.accepts, draws.convert),
}

__all__ = ["ADAPTERS", "as_approximation", "to_pymc"]


def as_approximation(fit: Any, *, model: "pm.Model | Target | None" = None) -> Approximation:
    """Take a fit made elsewhere as an approximation.

    Parameters
    ----------
    fit : object
        What `pm.fit` returned (`MeanField`, `FullRank`, `Empirical`, SVGD's and ASVGD's), draws as a DataTree
        or Dataset, or an approximation of this package.
    model : pm.Model or Target, optional
        Defaults to the model of the enclosing `with` block.

    Returns
    -------
    Approximation
        With its exact density where the source has one, else as draws.

    Raises
    ------
    TypeError
        If nothing here knows how to read `fit`.
    ValueError
        If `fit` belongs to another model: the variables that differ are named.

    Examples
    --------
    >>> import numpy as np, pymc as pm
    >>> with pm.Model() as model:
    ...     x = pm.Normal("x", 0.0, 1.0)
    ...     advi = pm.MeanField()
    ...     as_approximation(advi).loc
    array([0.])
    """
    target = as_target(model)
    if isinstance(fit, Approximation):
        if fit.d != target.d:
            raise ValueError(
                f"the approximation has {fit.d} dimensions and the model {target.d}: it belongs to another "
                "model. Fit it to this one."
            )
        return fit
    for accepts, convert in ADAPTERS.values():
        if accepts(fit):
            return convert(fit, target)
    raise TypeError(
        f"cannot read a fit of type {type(fit).__name__}; known are an Approximation of this package, "
        f"{', '.join(ADAPTERS)}."
    )
