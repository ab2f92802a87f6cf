"""Define the colours of page and pictures, light and dark, as CSS variables, so that pictures follow the page."""

import colorsys
import re

from pymc_kl.plots.parts import style

INK = "#1b1b1f"
PAPER = "#ffffff"
MUTED = "#55555e"
LINE = "#d5d5dc"
DARK = {INK: "#e9e9ee", PAPER: "#16161a", MUTED: "#a9a9b4", LINE: "#3a3a44"}
NAMES = {INK: "ink", PAPER: "paper", MUTED: "muted", LINE: "line"}
OF_BACKENDS = {  # what matplotlib and arviz-plots call ink, paper and the greys between
    "#000000": INK, "#ffffff": PAPER, "#595959": MUTED, "#cccccc": LINE, "#262626": INK, "#808080": MUTED,
}  # fmt: skip
GROUNDS = (*style.MODES, style.REFERENCE_LIGHT, style.ELSEWHERE)
MARKS = (*style.APPROXIMATIONS, style.REFERENCE)
LEAST_LIGHT = 0.62  # lightness (0 to 1 in HLS) that a mark has at least on dark paper
GROUND_LIGHT = 0.30  # lightness (0 to 1 in HLS) of a ground on dark paper


def css_variables(root: str) -> str:
    """Declare the colours of page and pictures as CSS variables, for light and for dark screens; print is light.

    Parameters
    ----------
    root : str
        CSS selector that they are declared at, such as ``":root"``.

    Returns
    -------
    str
        CSS.

    Examples
    --------
    >>> from pymc_kl.reports import css_variables
    >>> css_variables(":root")[:34]
    ':root{--ink:#1b1b1f;--paper:#fffff'
    """
    light = {name: value for value, name in NAMES.items()}
    dark = {name: DARK[value] for value, name in NAMES.items()}
    for value in (*GROUNDS, *MARKS):
        light[_name(value)] = value.lower()
        dark[_name(value)] = _in_the_dark(value)
    return (
        f"{root}{{{_declared(light)}}}\n@media screen and (prefers-color-scheme: dark){{{root}{{{_declared(dark)}}}}}"
    )


def themed(svg: str) -> str:
    """Replace the colours in an SVG picture by CSS variables."""
    known = {value.lower(): _name(value) for value in (*GROUNDS, *MARKS)}
    known |= {value: NAMES[ours] for value, ours in OF_BACKENDS.items()}

    def variable(match: re.Match[str]) -> str:
        name = known.get(match[0].lower())
        return f"var(--{name})" if name else match[0]

    return re.sub(r"#[0-9a-fA-F]{6}\b", variable, svg)


def _declared(values: dict[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in values.items())


def _name(value: str) -> str:
    return f"c{value[1:].lower()}"


def _in_the_dark(value: str) -> str:
    red, green, blue = (int(value[i : i + 2], 16) / 255 for i in (1, 3, 5))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    if value in GROUNDS:
        lightness, saturation = GROUND_LIGHT, 0.7 * saturation
    rgb = colorsys.hls_to_rgb(hue, max(lightness, LEAST_LIGHT) if value not in GROUNDS else lightness, saturation)
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)
