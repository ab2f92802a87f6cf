"""What `pm.fit` returns, and the way back to it: the only module that touches PyMC's variational classes.

Parameters are read from the shared variables and the density is closed form. `approx.state.std` is not used:
it is constrained as if it were a location (PyMC 6.3).
"""

from typing import Any

import numpy as np
import pymc as pm
from pymc.variational import Approximation as PymcApproximation
from pymc.variational import Empirical, FullRank, MeanField

from pymc_kl import approximations as ours
from pymc_kl._typing import Array, IntArray
from pymc_kl.adapters.gaussians import as_cholesky
from pymc_kl.arguments import check_arguments, instance
from pymc_kl.model.target import Target, as_target

GROUP_DRAWS = 4000  # draws that represent an approximation of several groups, which has no closed form here; our choice


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
        return ours.FullRank(loc=_value(fit, "mu")[order], scale_tril=as_cholesky(tril), kind="reverse", **common)
    if isinstance(fit, Empirical):
        return ours.Draws(x=_value(fit, "histogram")[:, order], **common)
    raise TypeError(f"cannot read PyMC's {type(fit).__name__}; known are MeanField, FullRank and Empirical.")


def to_pymc(approximation: ours.Approximation, model: pm.Model | Target | None = None) -> PymcApproximation:
    """Give a Gaussian approximation back to PyMC, as what `pm.fit` returns.

    Parameters
    ----------
    approximation : Approximation
        Of a Gaussian family: mean-field, or full-rank; a low-rank one becomes full-rank.
    model : pm.Model or Target, optional
        Defaults to the model that the approximation was fitted to, then to that of the enclosing `with` block.

    Returns
    -------
    pymc.variational.MeanField or FullRank
        With the same mean and covariance on the unconstrained space, so that `.sample()`, `.mean` and `.cov` agree;
        `hist` is the loss history if there is one.

    Raises
    ------
    TypeError
        If PyMC has no class for the family.

    Examples
    --------
    >>> import numpy as np, pymc as pm
    >>> from pymc_kl.approximations import MeanField
    >>> with pm.Model() as model:
    ...     x = pm.Normal("x", 0.0, 1.0)
    ...     native = to_pymc(MeanField(loc=np.array([0.5]), scale=np.array([2.0])))
    >>> native.mean.eval(), native.std.eval()
    (array([0.5]), array([2.]))
    """
    check_arguments(locals(), approximation=instance(ours.Approximation, cure="such as fit_forward() returns"))
    target = as_target(model if model is not None or approximation.target is None else approximation.target)
    if approximation.d != target.d:
        raise ValueError(
            f"the approximation has {approximation.d} dimensions and the model {target.d}: fit it to this one."
        )
    with target.model:
        if isinstance(approximation, ours.MeanField):
            fit = MeanField()
            order = np.argsort(_model_order(fit.groups[0].ordering, target))
            values = {"mu": approximation.loc[order], "rho": _inverse_softplus(approximation.scale[order])}
        elif isinstance(approximation, ours.FullRank | ours.LowRank):
            fit = FullRank()
            order = np.argsort(_model_order(fit.groups[0].ordering, target))
            values = {"mu": approximation.loc[order], "L_tril": _packed_factor(approximation.scale_tril[order])}
        else:
            raise TypeError(
                f"PyMC has no {approximation.family} approximation; the Gaussian ones (meanfield, lowrank, fullrank) "
                "can be given back. Use to_datatree() for draws of any other."
            )
    for name, value in values.items():
        fit.params_dict[name].set_value(value)
    history = approximation.info.history
    fit.hist = np.asarray(() if history is None else history, dtype=float)
    return fit


def _inverse_softplus(x: Array) -> Array:
    return np.asarray(x + np.log(-np.expm1(-x)))


def _packed_factor(rows: Array) -> Array:
    """Pack a factor whose rows were reordered as PyMC does: Cholesky again, its diagonal through softplus."""
    factor = as_cholesky(rows)
    diagonal = np.diag_indices(len(factor))
    factor[diagonal] = _inverse_softplus(factor[diagonal])
    return factor[np.tril_indices(len(factor))]


def _value(fit: Any, name: str) -> Array:
    return np.asarray(fit.params_dict[name].eval(), dtype=float)


def _info(fit: Any) -> ours.FitInfo:
    return ours.FitInfo(history=np.asarray(getattr(fit, "hist", ()), dtype=float))


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
