"""Follow every minimum of Rényi's divergence over its order, and keep each on one branch only."""

from collections.abc import Sequence

from pymc_kl._typing import Array
from pymc_kl.fitting.successive_halving import SAME
from pymc_kl.renyi.alpha_fit import fit_at, jeffreys_divergence
from pymc_kl.renyi.problem import PathFit, PathProblem

FORWARD = "forward"  # name of the branch that ends in the forward fit

type Branch = list[PathFit | None]  # the fit at each order; None where the branch has none


def follow_branches(
    starts: Sequence[PathFit], forward: PathFit, orders: Array, problem: PathProblem
) -> dict[str, Branch]:
    """Follow the optima of the reverse KL upwards and the forward fit downwards, and name the branches."""
    down = _follow(forward, orders[::-1], 1.0, problem)[::-1]
    up: list[Branch] = []
    for start in starts:
        branch, down = _without_shared(_follow(start, orders, 0.0, problem), down)
        up.append(_without_known(branch, up))
    named = {f"reverse {j + 1}": branch for j, branch in enumerate(up)} | {FORWARD: down}
    return {name: branch for name, branch in named.items() if any(fit is not None for fit in branch)}


def _follow(start: PathFit, orders: Array, known: float, problem: PathProblem) -> Branch:
    """Fit order by order, each from the fit at the order before; at the order `known` the fit is `start` itself."""
    branch: Branch = []
    fit = start
    for order in orders:
        if order != known:
            new = fit_at(fit, float(order), problem)
            if new is None:
                break
            fit = new
        branch.append(fit)
    return [*branch, *[None] * (len(orders) - len(branch))]


def _without_shared(up: Branch, down: Branch) -> tuple[Branch, Branch]:
    """Remove each minimum that both branches reach from one of them, so that it is on one branch only.

    If every minimum of the upward branch is also on the downward one, the upward branch keeps them. Otherwise the
    downward branch keeps the minima from the order on from which all are shared.
    """
    shared = [_is_same(*pair) for pair in zip(up, down, strict=True)]
    if all(shared):
        return up, [None] * len(down)
    upper_end = [all(shared[i:]) for i in range(len(shared))]
    return (
        [None if at_end else fit for fit, at_end in zip(up, upper_end, strict=True)],
        [None if both and not at_end else fit for fit, both, at_end in zip(down, shared, upper_end, strict=True)],
    )


def _without_known(branch: Branch, others: Sequence[Branch]) -> Branch:
    """Drop the minima that are on one of the other branches."""
    beside = zip(*others, strict=True) if others else [()] * len(branch)
    return [
        None if any(_is_same(fit, other) for other in known) else fit for fit, known in zip(branch, beside, strict=True)
    ]


def _is_same(one: PathFit | None, two: PathFit | None) -> bool:
    return one is not None and two is not None and jeffreys_divergence(one, two) < SAME
