"""ADVI of pymc-extras: its `Trainer` and `SVIState` hold the Gaussian, the DataTree of `fit_advi` only draws of it."""

from typing import Any

import numpy as np
import xarray as xr

from pymc_kl._typing import Array, IntArray
from pymc_kl.adapters.gaussians import as_cholesky, check_same_model, positions, size_of
from pymc_kl.adapters.origins import comes_from, holds
from pymc_kl.approximations import Approximation, Draws, FitInfo, FullRank, LowRank, MeanField
from pymc_kl.approximations.fullrank import unpack_factor
from pymc_kl.model.target import Target


def accepts(fit: Any) -> bool:
    """Whether `fit` is a trainer or the state of one."""
    return comes_from(fit, "pymc_extras", "Trainer") or comes_from(fit, "pymc_extras", "SVIState")


def convert(fit: Any, target: Target) -> Approximation:
    """Read the Gaussian of any of the three guides that pymc-extras has."""
    guide, state = getattr(fit, "guide", None), getattr(fit, "state", fit)
    if state is None:
        raise ValueError("this Trainer has not been fitted yet; call its fit() first.")
    params = {name: np.asarray(value, dtype=float) for name, value in state.params.items()}
    common: dict[str, Any] = {"target": target, "kind": "reverse", "info": _info(state.loss_history)}
    if "loc" not in params:
        return _mean_field(params, target, common)
    order = _order(guide, params["loc"].size, target)
    loc = params["loc"][order]
    if "L_packed" in params:
        return FullRank(loc=loc, scale_tril=as_cholesky(unpack_factor(params["L_packed"], len(loc))[order]), **common)
    scale = np.exp(params["cov_diag_unconstrained"])[order]
    return LowRank(loc=loc, factor=params["cov_factor"][order], scale=scale, **common)


def accepts_tree(fit: Any) -> bool:
    """Whether `fit` holds the ELBO history that `fit_advi` writes."""
    return holds(fit, "fit", "elbo")


def convert_tree(fit: xr.DataTree, target: Target) -> Approximation:
    """Read the draws; the parameters are not in the tree."""
    x = target.unconstrain(fit).reshape(-1, target.d)
    return Draws(x=x, target=target, info=_info(-fit["fit"].to_dataset()["elbo"].values))


def _info(history: Any) -> FitInfo:
    return FitInfo(history=np.asarray(history, dtype=float))


def _mean_field(params: dict[str, Array], target: Target, common: dict[str, Any]) -> MeanField:
    """Join the parameters of `AutoDiagonalNormal`, which come by variable."""
    theirs = {name.removesuffix("_loc"): value.size for name, value in params.items() if name.endswith("_loc")}
    if not theirs:
        raise TypeError(
            f"cannot read a guide with the parameters {sorted(params)}; known are AutoDiagonalNormal, "
            "AutoMultivariateNormal and AutoLowRankMultivariateNormal. Pass trainer.sample_posterior(...)."
        )
    check_same_model(theirs, {v.name: size_of(v) for v in target.variables})
    loc, log_scale = (
        np.concatenate([params[f"{v.name}_{part}"].ravel() for v in target.variables]) for part in ("loc", "scale")
    )
    return MeanField(loc=loc, scale=np.exp(log_scale), **common)


def _order(guide: Any, size: int, target: Target) -> IntArray:
    """Find the target's coordinates in a guide's vector: a state knows no names and is taken in the model's order."""
    if guide is None:
        check_same_model({"the state": size}, {"the state": target.d})
        return np.arange(size)
    mine = {v.name: v for v in target.variables}
    names = [deterministic.name for deterministic in guide.model.deterministics]
    labels = [[mine[name].value_name] * size_of(mine[name]) if name in mine else [name] for name in names]
    return positions([label for block in labels for label in block], target)
