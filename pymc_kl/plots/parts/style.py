"""Colours, markers and line styles: the same for an approximation in every plot, grey for the reference.

Approximations have saturated colours and modes pale ones, so that the two cannot be confused. No distinction
rests on colour alone: an approximation also has a marker and a line style, a mode its number.
"""

from collections.abc import Sequence
from itertools import cycle

APPROXIMATIONS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255",
)  # fmt: skip  # Okabe and Ito 2008, without black and yellow; the last is Tol's wine
MODES = (
    "#C3CBEA", "#F0DC9C", "#F5C2CE", "#B5E0CD", "#F6C9A8", "#BFE3F2", "#D9DE9B", "#D5C7B8",
)  # fmt: skip  # pale: approximations are drawn over them
REFERENCE = "#777777"
REFERENCE_LIGHT = "#D9D9D9"
ELSEWHERE = "#DCDCDC"
FORWARD = "#7A62B8"  # colour of the forward KL, for any approximation
REVERSE = "#8C6D1F"  # colour of the reverse KL, for any approximation
MARKERS = {
    "matplotlib": ("o", "s", "^", "D", "v", "P", "*", "X", "<", ">", "p", "h"),
    "plotly": (
        "circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "star", "x",
        "triangle-left", "triangle-right", "pentagon", "hexagon",
    ),
    "bokeh": (
        "circle", "square", "triangle", "diamond", "inverted_triangle", "plus", "star", "hex",
        "square_pin", "triangle_pin", "circle_cross", "diamond_cross",
    ),
}  # fmt: skip
N_LINESTYLES = 4  # line styles that arviz-plots knows in every backend


def approximation_colors(names: Sequence[str]) -> dict[str, str]:
    """Return the colour of every approximation of a comparison, in its order: the same in all plots."""
    return dict(zip(names, cycle(APPROXIMATIONS), strict=False))


def approximation_markers(names: Sequence[str], backend: str) -> dict[str, str]:
    """Return the marker of every approximation of a comparison; all markers can be drawn hollow."""
    return dict(zip(names, cycle(MARKERS.get(backend, MARKERS["matplotlib"])), strict=False))


def approximation_linestyles(names: Sequence[str]) -> dict[str, str]:
    """Return the line style of every approximation of a comparison, in arviz-plots' notation for any backend."""
    return {name: f"C{i % N_LINESTYLES}" for i, name in enumerate(names)}


def mode_colors(modes: Sequence[int]) -> list[str]:
    """Return the colour of every mode; 0 is elsewhere."""
    return [MODES[(mode - 1) % len(MODES)] if mode else ELSEWHERE for mode in modes]


def mode_markers(modes: Sequence[int], backend: str) -> list[str]:
    """Return the marker of every mode; 0 is elsewhere."""
    markers = MARKERS.get(backend, MARKERS["matplotlib"])
    return [markers[(mode - 1) % len(MODES)] if mode else markers[0] for mode in modes]


def marker_size(backend: str, points: float) -> float:
    """Convert the width of a marker to the unit of arviz-plots' scatter: an area, except for Bokeh."""
    return points if backend == "bokeh" else points**2
