"""Whether a log density has the gradient that it claims: steps and wrong gradients, in named variables.

Along short lines the change of log p̃ must be the integral of its gradient. Where it is not, the line is halved
towards the disagreement: a step stays as high as it is on however short a line; anything else vanishes. What is left
is compared with central differences, which find a gradient that is wrong wherever one looks.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.model.periodic import angles_of
from pymc_kl.model.short_lines import LENGTH, MAX_LINES, ROUNDING, Lines, lay_lines, values_along
from pymc_kl.model.target import Target
from pymc_kl.numerics.lbfgs import ValueAndGrad

NO_GRADIENT = 0.5  # share of points without a gradient above which there is none to follow; our choice
BEST = 0.5  # share of a prior's points, those of highest density, that are looked at: our choice

SUSPECT = 1e-3  # nats: quadrature's disagreement on a line from which its gradient is looked at; our choice
JUMPY = 0.1  # nats: the same, from which steps are looked for; our choice
JUMP = 0.01  # nats: least step; our choice
HALVINGS = 36  # of a line until what is left is a step: 4e-12 standard deviations; our choice
LINES_HALVED = 8  # lines along one coordinate on which steps are looked for; our choice
SLOPED = 0.01  # share of a step that the gradient may explain on the shortest line; our choice
SIDE = 2.0 ** np.arange(1, 9)  # widths of the shortest line from its ends: where the sides of a step are looked at
QUIET = 0.25  # of a step: most that values to one side scatter; more is rounding of an ill-conditioned density
JUMPS_NAMED = 8  # highest steps whose variables are named; our choice
BESIDE = 1e-6  # standard deviations to either side of a step at which its variables are told; our choice

DIFFERENCE = 1e-3  # of a line: step of a central difference; our choice
CONVERGED = 1e-3  # relative change of a central difference when its step is halved, up to which it is right; our choice
WRONG = 0.01  # relative error of a gradient that makes it wrong; our choice
WRONG_SLOPE = 1e-3  # nats a line: least error of the same; our choice
FEW_WRONG = 3  # points at which a gradient is wrong, from which it is no accident; our choice
WRONG_SHARE = 0.1  # of the points compared along a coordinate: the same; our choice


class SmoothnessError(ValueError):
    """The log density jumps, or its gradient is wrong: no climb and no Hamiltonian chain can be trusted."""


class StepsError(SmoothnessError):
    """The log density jumps: draws given and densities can still be compared."""


@dataclass(frozen=True)
class Steps:
    """Steps of log p̃: the variables that it jumps in, and the height of the highest step found, in nats."""

    names: tuple[str, ...]
    height: float

    def __str__(self) -> str:
        it = "it" if len(self.names) == 1 else "them"
        return (
            f"the log density jumps in {listed(self.names)} (by up to {self.height:.2g} nats), which its gradient does "
            f"not show: NUTS and ADVI cannot see it. Marginalise {it}, or make {it} discrete and marginalise {it} with "
            "pymc-extras, or sample without gradients (pm.DEMetropolisZ, pm.sample_smc)"
        )


@dataclass(frozen=True)
class WrongGradient:
    """A gradient that is not the slope of log p̃: in which variables, and one pair of both, in nats per unit."""

    names: tuple[str, ...]
    gradient: float
    slope: float
    share: float

    def __str__(self) -> str:
        return (
            f"the gradient of the log density is wrong in {listed(self.names)}: it says {self.gradient:.4g} where the "
            f"density's own slope is {self.slope:.4g}, and is off at {self.share:.0%} of the points looked at. NUTS, "
            "ADVI and climbs all follow it: correct the gradient of the custom operation behind it"
        )


def find_roughness(
    value_and_grad: ValueAndGrad, x: Array, names: Sequence[str], angles: Sequence[int] | IntArray = ()
) -> Steps | WrongGradient | None:
    """Look for steps of log p̃ and for a wrong gradient along short lines through points; None where all is well.

    Parameters
    ----------
    value_and_grad : callable
        (n, d) -> log p̃ (n,) and its gradient (n, d).
    x : array (n, d)
        Points of the unconstrained space, such as draws of the posterior or of the prior; lines are half of their
        standard deviation long. Where log p̃ is not finite nothing is compared.
    names : sequence of d str
        Of the variable that each coordinate belongs to.
    angles : sequence of int
        Coordinates of period 2π. A model that takes an angle for a number jumps at ±π, where it need have no mass:
        lines across are left out.

    Returns
    -------
    Steps, WrongGradient or None
    """
    with np.errstate(all="ignore"):
        x = x[:: max(len(x) // MAX_LINES, 1)]
        x = x[np.isfinite(value_and_grad(x)[0])] if len(x) else x
        if not len(x):
            return None
        lines, named = lay_lines(value_and_grad, x, np.asarray(angles, dtype=np.int64)), np.asarray(names)
        return _steps(value_and_grad, lines, named) or _wrong_gradient(value_and_grad, lines, named)


def likeliest(x: Array, log_density: Array) -> Array:
    """Return the half of a prior's points (n, d) with the highest log p̃ (n,), nats: far out, links saturate."""
    finite = np.isfinite(log_density)
    return x[finite][log_density[finite] >= np.quantile(log_density[finite], 1 - BEST)] if finite.any() else x[:0]


def check_smooth(target: Target, x: Array) -> None:
    """Raise a SmoothnessError where log p̃ has steps, no gradient or a wrong one about points (n, d)."""
    _check_gradient(target, x[:: max(len(x) // MAX_LINES, 1)])
    rough = find_roughness(target.log_density_and_grad, x, coordinate_names(target), angles_of(target))
    if rough is not None:
        raise (StepsError if isinstance(rough, Steps) else SmoothnessError)(str(rough))


def _check_gradient(target: Target, x: Array) -> None:
    """Raise where the gradient is no number at most points (n, d) where log p̃ is finite."""
    if not len(x):
        return
    value, grad = target.log_density_and_grad(x)
    lost = ~np.isfinite(grad[np.isfinite(value)])
    if len(lost) and (share := lost.any(axis=1).mean()) > NO_GRADIENT:
        names = dict.fromkeys(
            name for name, is_lost in zip(coordinate_names(target), lost.any(axis=0), strict=True) if is_lost
        )
        raise SmoothnessError(
            f"the gradient of the log density is not a number at {share:.0%} of the points looked at, in "
            f"{listed(names)}: NUTS, ADVI and climbs all follow it. Write that part of the model so that nothing in it "
            "overflows, or try another backend."
        )


def coordinate_names(target: Target) -> list[str]:
    """Name the variable that each coordinate belongs to."""
    return [v.name for v in target.variables for _ in range(v.coordinates.stop - v.coordinates.start)]


def listed(names: Iterable[str]) -> str:
    """Write names of variables: `a`, `b` and `c`."""
    *first, last = [f"`{name}`" for name in names]
    return f"{', '.join(first)} and {last}" if first else last


def _steps(value_and_grad: ValueAndGrad, lines: Lines, names: Array) -> Steps | None:
    """Find steps on the lines that disagree most, and the variables that each jumps in."""
    away = lines.disagreement
    order = np.argsort(-away, kind="stable")
    order = order[away[order] > JUMPY]
    rank = np.array([np.sum(lines.coordinate[order[:i]] == lines.coordinate[j]) for i, j in enumerate(order)])
    left = _halved(value_and_grad, lines.take(order[rank < LINES_HALVED] if len(order) else order))
    height = np.abs(np.diff(left.value, axis=1)[:, 0])
    width = np.diff(left.at, axis=1)[:, 0]
    sharp = width * np.abs(left.slope).max(axis=1) < SLOPED * height
    steps = sharp & (_scatter(value_and_grad, left) < QUIET * height)
    left, height = left.take(steps), height[steps]
    if not len(height):
        return None
    highest = np.argsort(-height, kind="stable")[:JUMPS_NAMED]
    jumping = _jumping(value_and_grad, left.take(highest), lines)
    return Steps(tuple(dict.fromkeys(names[jumping].tolist())), float(height.max()))


def _halved(value_and_grad: ValueAndGrad, lines: Lines) -> Lines:
    """Halve lines again and again towards where they disagree; return those left that disagree to the end."""
    left = _worst_part(lines)
    for _ in range(HALVINGS):
        if not len(left.value):
            break
        middle = left.at.mean(axis=1, keepdims=True)
        value, slope = values_along(value_and_grad, left.start, left.along, middle)
        left = _worst_part(
            Lines(
                left.start, left.along, left.coordinate, _between(left.at, middle), _between(left.value, value),
                _between(left.slope, slope),
            )
        )  # fmt: skip
    return left


def _scatter(value_and_grad: ValueAndGrad, left: Lines) -> Array:
    """Range of log p̃ to one side of the shortest lines, less what the slope explains (m,): the larger of both, nats."""
    width, ranges = np.diff(left.at, axis=1), [np.zeros(len(left.value))]
    for end, sign in ((0, -1), (1, 1)):
        away = sign * SIDE * width
        value, _ = values_along(value_and_grad, left.start, left.along, left.at[:, end, None] + away)
        residual = value - left.slope[:, end, None] * away
        ranges.append(np.ptp(np.nan_to_num(residual, nan=np.inf), axis=1))
    return np.asarray(np.nan_to_num(np.max(ranges, axis=0), nan=np.inf))


def _between(ends: Array, middle: Array) -> Array:
    """Put a column (m, 1) between two (m, 2)."""
    return np.concatenate([ends[:, :1], middle, ends[:, 1:]], axis=1)


def _worst_part(lines: Lines) -> Lines:
    """Cut each line to the two neighbouring nodes that disagree most; drop lines that agree or are not finite."""
    width = np.diff(lines.at, axis=1)
    mean_slope = (lines.slope[:, 1:] + lines.slope[:, :-1]) / 2
    away = np.nan_to_num(np.abs(np.diff(lines.value, axis=1) - width * mean_slope), nan=0.0, posinf=0.0)
    worst = away.argmax(axis=1) if len(away) else np.empty(0, dtype=np.int64)
    rows = np.arange(len(worst))
    ends = worst[:, None] + np.arange(2)
    cut = Lines(
        lines.start, lines.along, lines.coordinate,
        *(np.take_along_axis(a, ends, axis=1) for a in (lines.at, lines.value, lines.slope)),
    )  # fmt: skip
    least = np.maximum(JUMP, ROUNDING * np.abs(cut.value).max(axis=1, initial=0.0))
    return cut.take(away[rows, worst] > least)


def _jumping(value_and_grad: ValueAndGrad, left: Lines, lines: Lines) -> IntArray:
    """Coordinates, ascending, whose change by a little crosses a step that lines were halved to."""
    d = left.start.shape[1]
    scale = np.abs(lines.along).max(axis=0) / LENGTH
    crossed = np.zeros(d, dtype=bool)
    for i in range(len(left.value)):
        point = left.start[i] + left.at[i].mean() * left.along[i]
        sides = point + np.array([-1, 1])[:, None, None] * BESIDE * np.diag(scale)
        below, above = value_and_grad(sides.reshape(-1, d))[0].reshape(2, d)
        crossed |= np.abs(above - below) > np.abs(np.diff(left.value[i])[0]) / 2
    own = left.coordinate[left.coordinate >= 0]
    crossed[own] = True
    return np.flatnonzero(crossed)


def _wrong_gradient(value_and_grad: ValueAndGrad, lines: Lines, names: Array) -> WrongGradient | None:
    """Compare the gradient with central differences on the lines along a coordinate that disagree."""
    lines = lines.take((lines.disagreement > SUSPECT) & (lines.coordinate >= 0))
    if not len(lines.value):
        return None
    wide, slope = (_differences(value_and_grad, lines, step) for step in (DIFFERENCE, DIFFERENCE / 2))
    noise = WRONG_SLOPE + ROUNDING / DIFFERENCE * np.abs(lines.value)
    converged = np.abs(wide - slope) <= CONVERGED * np.abs(slope) + noise / 10
    off = np.where(converged, np.abs(slope - lines.slope), 0.0)
    wrong = off > WRONG * np.maximum(np.abs(slope), np.abs(lines.slope)) + noise
    shares = _shares_wrong(wrong, converged, lines.coordinate)
    if not shares:
        return None
    found = np.array(list(shares))
    i, t = np.unravel_index(np.where(np.isin(lines.coordinate, found)[:, None], off, -1).argmax(), off.shape)
    unit = np.abs(lines.along[i]).max()
    named = tuple(dict.fromkeys(names[found].tolist()))
    return WrongGradient(named, float(lines.slope[i, t] / unit), float(slope[i, t] / unit), max(shares.values()))


def _shares_wrong(wrong: BoolArray, compared: BoolArray, coordinate: IntArray) -> dict[int, float]:
    """Share of the points compared (m, T) at which the gradient is wrong, by coordinate, where that is no accident."""
    shares = {}
    for j in np.unique(coordinate).tolist():
        n, n_wrong = compared[coordinate == j].sum(), wrong[coordinate == j].sum()
        if n_wrong >= FEW_WRONG and n_wrong > WRONG_SHARE * n:
            shares[j] = float(n_wrong / n)
    return shares


def _differences(value_and_grad: ValueAndGrad, lines: Lines, step: float) -> Array:
    """Slope of log p̃ (m, T) in nats a line by central differences at its nodes."""
    plus, minus = (values_along(value_and_grad, lines.start, lines.along, lines.at + s * step)[0] for s in (1, -1))
    return np.asarray((plus - minus) / (2 * step))
