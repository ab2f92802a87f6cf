"""Names that ask for symmetries: dims, whose labels may be exchangeable, and variables, whose signs may flip."""

from collections.abc import Collection, Sequence

import numpy as np
import pymc as pm

from pymc_kl.arguments import did_you_mean
from pymc_kl.model.context import model_in_context
from pymc_kl.model.target import Target


def check_symmetry(symmetry: bool | Sequence[str], model: pm.Model | Target | None) -> None:
    """Raise if a name is neither a dim of the model's free variables nor one of these, before anything is compiled."""
    if isinstance(symmetry, bool | np.bool_):
        return
    named = model_in_context(model.model if isinstance(model, Target) else model)
    variables = [variable.name for variable in named.free_RVs]
    dims = {dim for name in variables for dim in named.named_vars_to_dims.get(name, ()) if dim is not None}
    check_known(symmetry, dims, variables)


def check_known(names: Collection[str], dims: Collection[str], variables: Collection[str]) -> None:
    """Raise if a name is none of these."""
    if unknown := [name for name in names if name not in dims and name not in variables]:
        raise ValueError(
            f"a symmetry is named by a dim of free variables, one of {sorted(dims)}, or by a free variable, "
            f"one of {sorted(variables)}; got {unknown[0]!r}. Name one of those, or let all be detected."
            f"{did_you_mean(unknown[0], [*dims, *variables])}"
        )
