"""What `pm.fit` returns: the one place that touches PyMC's variational classes.

Parameters are read from the shared variables and the density is closed form. `approx.state.std` is not used:
it is constrained as if it were a location (PyMC 6.3).
"""

from types import MappingProxyType
from typing import Any

import numpy as np
from pymc.variational import Approximation as PymcApproximation
from pymc.variational import Empirical, FullRank, MeanField

from pymc_kl import approximations as ours
from pymc_kl._typing import Array, IntArray
from pymc_kl.target import Target

GROUP_DRAWS = 4000  # draws that stand for an approximation of several groups


def accepts(fit: Any) -> bool:
    """Whether `fit` is one of PyMC's variational approximations."""
    return isinstance(fit, PymcApproximation)


def convert(fit: Any, target: Target) -> ours.Approximation:
    """Read mean and covariance of `MeanField` and `FullRank` exactly, and the particles of the others."""
    if len(fit.groups) > 1:
        return _from_groups(fit, target)
    order = _model_order(fit.groups[0].ordering, target)
    common: dict[str, Any] = {"target": target, "info": _info(fit)}
    if isinstance(fit, MeanField):
        loc, rho = _value(fit, "mu"), _value(fit, "rho")
        return ours.MeanField(loc=loc[order], scale=np.logaddexp(0, rho)[order], kind="reverse", **common)
    if isinstance(fit, FullRank):
        tril = _full_rank_factor(_value(fit, "L_tril"), len(order))[order]
        factor = np.linalg.qr(tril.T, mode="r").T  # a Cholesky factor again, after the rows changed places
        factor *= np.sign(np.diag(factor))
        return ours.FullRank(loc=_value(fit, "mu")[order], scale_tril=factor, kind="reverse", **common)
    if isinstance(fit, Empirical):
        return ours.Draws(x=_value(fit, "histogram")[:, order], **common)
    raise TypeError(f"cannot read PyMC's {type(fit).__name__}; known are MeanField, FullRank and Empirical.")


def _value(fit: Any, name: str) -> Array:
    return np.asarray(fit.params_dict[name].eval(), dtype=float)


def _info(fit: Any) -> MappingProxyType[str, Any]:
    return MappingProxyType({"history": np.asarray(getattr(fit, "hist", ()), dtype=float)})


def _full_rank_factor(packed: Array, d: int) -> Array:
    """Unpack PyMC's Cholesky factor: row by row, the diagonal through softplus."""
    factor = np.zeros((d, d))
    factor[np.tril_indices(d)] = packed
    diagonal = np.diag_indices(d)
    factor[diagonal] = np.logaddexp(0, factor[diagonal])
    return factor


def _model_order(ordering: Any, target: Target) -> IntArray:
    """Positions in PyMC's flat vector of the coordinates in the target's order, matched by name."""
    theirs = {name: tuple(int(n) for n in entry[2]) for name, entry in ordering.items()}
    mine = {v.value_name: v.value_shape for v in target.variables}
    if theirs != mine:
        differing = sorted({k for k in theirs.keys() | mine.keys() if theirs.get(k) != mine.get(k)})
        raise ValueError(
            "the approximation was fitted to another model: "
            + "; ".join(
                f"{name!r} has shape {theirs.get(name, 'none')} there and {mine.get(name, 'none')} here"
                for name in differing
            )
            + ". Fit it to this model."
        )
    return np.concatenate(
        [np.arange(ordering[v.value_name][1].start, ordering[v.value_name][1].stop) for v in target.variables]
    )


def _from_groups(fit: Any, target: Target) -> ours.Approximation:
    for group in fit.groups:
        unknown = set(group.ordering) - {v.value_name for v in target.variables}
        if unknown:
            raise ValueError(f"the approximation was fitted to another model: it has {sorted(unknown)}.")
    draws = fit.sample_dict_fn(GROUP_DRAWS, random_seed=0)
    parts = [np.asarray(draws[v.value_name]).reshape(GROUP_DRAWS, -1) for v in target.variables]
    return ours.Draws(x=np.concatenate(parts, axis=1), target=target, info=_info(fit))
