"""What a density costs: the seconds that a point takes, by which it is foretold what work on it would take."""

import time

from pymc_kl.model.target import Target

TIMED = 16  # points that are evaluated together, as a step of a compiled loop may; our choice


def seconds_a_point(target: Target) -> float:
    """Time log p̃ and its gradient at some points together, once they are compiled; return the seconds of one."""
    x = target.initial_point()[None].repeat(TIMED, axis=0)
    target.log_density_and_grad(x[:1])
    start = time.perf_counter()
    target.log_density_and_grad(x)
    return (time.perf_counter() - start) / TIMED
