"""A pair of functions, `Functions(sample=..., log_prob=...)` or the bare tuple (sample, log_prob)."""

from dataclasses import replace
from typing import Any

from pymc_kl.approximations import Approximation
from pymc_kl.approximations.functions import Functions, approximation_from
from pymc_kl.model.damaged import told_in_a_line
from pymc_kl.model.target import Target


def accepts(fit: Any) -> bool:
    """Whether `fit` is a `Functions`, or two callables of which the second may be None."""
    if isinstance(fit, Functions):
        return True
    return isinstance(fit, tuple) and len(fit) == 2 and callable(fit[0]) and (fit[1] is None or callable(fit[1]))


def convert(fit: Any, target: Target) -> Approximation:
    """Check both functions and take them."""
    functions = fit if isinstance(fit, Functions) else Functions(sample=fit[0], log_prob=fit[1])
    with told_in_a_line("these functions are no fit", "sample(n, rng) returns (n, d), log_prob(x) returns (n,)."):
        return replace(approximation_from(functions, target.d), target=target)
