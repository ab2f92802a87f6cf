"""Any sampler's draws → draws on the unconstrained space with their log density, checked."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from pymc.backends.base import MultiTrace

from pymc_kl._typing import Array, IntArray
from pymc_kl.arguments import OURS, Rule, check_arguments, instance, on_this_machine, real_array, shown
from pymc_kl.model.large_draws import LargeDraws
from pymc_kl.model.named_draws import are_arrays, read_draws
from pymc_kl.model.target import Target
from pymc_kl.numerics.estimate import MIN_CHAIN_DRAWS


@dataclass(frozen=True, eq=False)
class PosteriorDraws:
    """Draws that stand for the posterior p.

    Parameters
    ----------
    target : Target
    x : array (chain, draw, d)
        Unconstrained space.
    log_density : array (chain, draw)
        log p̃ at the draws, nats.
    weights : array (chain, draw), optional
        Importance weights that sum to 1; without them the draws are those of Markov chains, equal in weight.
    large : LargeDraws, optional
        Those that these are a sample of; None if these are all.

    Examples
    --------
    >>> import numpy as np
    >>> from pymc_kl.model import PosteriorDraws
    >>> p = PosteriorDraws(target=None, x=np.zeros((4, 100, 2)), log_density=np.zeros((4, 100)))
    >>> p.flat.shape, int(p.blocks(8).max()) + 1
    ((400, 2), 8)
    """

    target: Target
    x: Array
    log_density: Array
    weights: Array | None = None
    large: LargeDraws | None = None

    @property
    def read(self) -> str:
        """Which draws these are of a larger number; empty if they are all."""
        return self.large.told if self.large else ""

    @property
    def flat(self) -> Array:
        """All draws (n, d), chain by chain."""
        return self.x.reshape(-1, self.x.shape[-1])

    @property
    def flat_weights(self) -> Array | None:
        """Weights (n,) of :attr:`flat`."""
        return None if self.weights is None else self.weights.ravel()

    def blocks(self, n_blocks: int = 40) -> IntArray:
        """Index (n,) of the contiguous block of draws that each of :attr:`flat` belongs to."""
        n_chains, n_draws = self.x.shape[:2]
        per_chain = min(max(n_blocks // n_chains, 2), n_draws)
        within = np.arange(n_draws) * per_chain // n_draws
        return np.asarray(np.arange(n_chains)[:, None] * per_chain + within).ravel()


def as_posterior_draws(draws: Any, target: Target) -> PosteriorDraws:
    """Read draws of a posterior by name, map them to the unconstrained space and evaluate their log density.

    Parameters
    ----------
    draws : DataTree, Dataset, mapping, path or PosteriorDraws
        What a sampler returned, the path of a file of it, or arrays (chain, draw, ...) by name. Weights are read from
        `sample_stats["weight"]`.
    target : Target

    Returns
    -------
    PosteriorDraws
        Of draws that hold more than 2**27 numbers (1 GB), an even sample of about 20,000; `read` says so.

    Raises
    ------
    ValueError
        If draws are too few, not finite, or have zero density under the model.

    Warns
    -----
    UserWarning
        If a sample of the draws is loaded.

    Examples
    --------
    With the `model` and `draws` in the example of :func:`pymc_kl.compare`:

    >>> from pymc_kl.model import as_posterior_draws, as_target
    >>> as_posterior_draws(draws, as_target(model)).x.shape
    (4, 1000, 1)
    """
    draws = read_draws(draws)
    if isinstance(draws, PosteriorDraws):
        return draws
    check_arguments(
        locals(), draws=draws_of("as_posterior_draws"), target=instance(Target, cure="such as as_target(model)")
    )
    large = LargeDraws.of(draws, target)
    if large:
        warnings.warn(
            f"{large.told}. The others are read by `fit_forward` alone.", UserWarning, skip_file_prefixes=OURS
        )
        draws = large.sample()
    x = target.unconstrain(draws)
    n_chains, n_draws, d = x.shape
    if n_draws < MIN_CHAIN_DRAWS:
        raise ValueError(
            f"each chain needs at least {MIN_CHAIN_DRAWS} draws to judge mixing; got {n_chains} chains "
            f"of {n_draws}. Sample longer, or give independent draws as one chain."
        )
    if n_chains * n_draws < d + 1:
        raise ValueError(
            f"a reference in {d} dimensions needs at least {d + 1} draws; got {n_chains * n_draws}. Sample longer."
        )
    log_density = target.log_density(x.reshape(-1, d)).reshape(n_chains, n_draws)
    if n_bad := int((~np.isfinite(log_density)).sum()):
        raise ValueError(
            f"{n_bad} of {log_density.size} draws have zero or undefined density under this model. Were they "
            "drawn from another model, or with other data? Give draws of this very model."
        )
    weights = _weights(draws, (n_chains, n_draws))
    return PosteriorDraws(target, x, log_density, weights, large)


def draws_of(call: str) -> Rule:
    """Allow what holds draws as the first argument of a public function; say what to write instead."""

    def rule(name: str, value: Any) -> None:
        if isinstance(value, xr.DataTree | xr.Dataset | PosteriorDraws) or are_arrays(value):
            return
        if isinstance(value, str | PathLike):
            on_this_machine(name, value)
            if not str(value) or "\0" in str(value) or not Path(value).expanduser().exists():
                raise FileNotFoundError(f"{name}, the first argument of {call}: there is no such file, {str(value)!r}.")
            return
        raise TypeError(
            f"{name}, the first argument of {call}, must be draws: a DataTree with a posterior group, such as "
            f"pm.sample() returns, or a Dataset; got {shown(value)}.{_what_to_write(value, call)}"
        )

    return rule


def _what_to_write(value: Any, call: str) -> str:
    if isinstance(value, pm.Model | Target):
        return f" Write {call}(..., model=model)."
    if isinstance(value, Mapping) and call == "compare":
        return " Fits come second: compare(idata, {'ADVI': advi})."
    if isinstance(value, np.ndarray | Mapping):
        return " Name arrays (chain, draw, ...) by variable: {'x': array}."
    if isinstance(value, MultiTrace):
        return " Convert it: pm.to_inference_data(trace, model=model)."
    if isinstance(value, pm.variational.Approximation):
        return " A fit is not draws of the posterior: compare(idata, {'ADVI': fit}) takes it."
    return ""


def _weights(draws: xr.DataTree | xr.Dataset, shape: tuple[int, int]) -> Array | None:
    """Read weights (chain, draw) that sum to 1, if the draws carry any."""
    if isinstance(draws, xr.Dataset) or "sample_stats" not in draws.children:
        return None
    stats = draws["sample_stats"].to_dataset()
    if "weight" not in stats:
        return None
    if set(stats["weight"].dims) != {"chain", "draw"}:
        raise ValueError(f"weight in sample_stats must have the dims chain and draw; it has {stats['weight'].dims}.")
    weights = real_array("weight in sample_stats", stats["weight"].transpose("chain", "draw").values)
    if weights.shape != shape or not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(
            f"sample_stats['weight'] must hold finite weights >= 0 of shape {shape}; got shape "
            f"{weights.shape}, from {weights.min()} to {weights.max()}."
        )
    if weights.sum() <= 0:
        raise ValueError("the weights in sample_stats['weight'] sum to 0; at least one must be positive.")
    return np.asarray(weights / weights.sum())
