"""Whether parameters that are constants or data break their bounds, told before anything is compiled."""

from collections.abc import Sequence

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.logprob.utils import CheckParameterValue
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import ancestors, graph_inputs
from pytensor.tensor.random.type import RandomType
from pytensor.tensor.variable import TensorConstant

from pymc_kl.model.graphs import evaluate

LONGEST_PARAMETER = 40  # letters of a parameter that an error shows; our choice


def check_bounds(model: pm.Model) -> None:
    """Raise where parameters break their bounds whatever the free variables are.

    PyMC writes the bounds into the log density, which is -inf where they are broken.
    """
    terms = (*model.basic_RVs, *model.potentials)
    with model:
        graphs = [pt.as_tensor(g, allow_xtensor_conversion=True) for g in model.logp(vars=list(terms), sum=False)]
    bounds = {
        (term, v.owner.op.msg): pt.all([pt.all(bound) for bound in v.owner.inputs[1:]])
        for term, graph in zip(terms, graphs, strict=True)
        for v in ancestors([graph])
        if v.owner is not None and isinstance(v.owner.op, CheckParameterValue) and _are_fixed(v.owner.inputs[1:])
    }
    for (term, bound), is_kept in zip(bounds, evaluate([*bounds.values()]), strict=True):
        if not is_kept:
            raise ValueError(
                f"the parameters of {term.name!r} must have {bound}; got {_distribution(term)}. Change them in the "
                "model: its density is zero wherever its free variables are."
            )


def _are_fixed(graphs: Sequence[Variable]) -> bool:
    """Tell whether graphs read constants and data alone."""
    return all(
        isinstance(v, TensorConstant | SharedVariable) and not isinstance(v.type, RandomType)
        for v in graph_inputs(graphs)
    )


def _distribution(term: Variable) -> str:
    """Write a variable's distribution with those of its parameters that are fixed."""
    op = term.owner.op
    if not hasattr(op, "dist_params"):
        return "a potential"
    parameters = [
        np.array2string(evaluate([v])[0], separator=", ") if _are_fixed([v]) else "…"
        for v in op.dist_params(term.owner)
    ]
    shown = ["…" if len(text) > LONGEST_PARAMETER or "\n" in text else text for text in parameters]
    return f"{(op._print_name or [type(op).__name__])[0]}({', '.join(shown)})"
