"""Both divergences between and within modes: a column for each approximation, a bar for each direction."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from arviz_plots import PlotCollection
from arviz_plots.visuals import fill_between_y

from pymc_kl.comparison.formats import format_estimate
from pymc_kl.plots.parts import style
from pymc_kl.plots.parts.axes import cut_above, half_width, label_axis, round_ticks, set_limits, set_ticks, wrap_name
from pymc_kl.plots.parts.captions import annotate_text, listed, write_each
from pymc_kl.plots.parts.contract import Aesthetics, Canvas, known_approximations, open_collection
from pymc_kl.plots.parts.shapes import at, draw_arrow, draw_line, draw_lines, fill_band, polyline, write

BAR = 0.3  # width of a bar, in columns
SIDE = 0.17  # distance of a bar from the middle of its column, in columns, so that neither bar hides the other
FEW = 6  # columns up to which the first of each pair below holds
BAR_COLUMN_INCHES = (1.1, 0.9)  # width of a column, where there are few and where there are many
BAR_NAME_CHARACTERS = (15, 13)  # most characters of a line of a name, in few columns and in many
NAME_POINTS = (9, 8)  # size of names, in few columns and in many
NUMBER_POINTS = (8, 7)  # size of numbers, in few columns and in many
KEY_INCHES = 1.4  # width of the key beside the bars
LINE_INCHES = 0.15  # height of a line of a name
SPLIT_HEIGHT = 4.4  # inches: height of the figure without names
SPLIT_HEADROOM = 0.25  # room for the numbers above and below, as a part of the height
LEAST = 0.02  # nats: least range of the axis
FULL_ALPHA = 0.9  # opacity of the part between modes
WITHIN_ALPHA = 0.25  # opacity of the part within modes
PARTS = ("between", "between_se", "is_bound")

SPLIT_AESTHETICS = {
    name: ["color", "overlay_direction", "legendgroup"] for name in ("between", "within", "outline")
} | {
    "total": ["overlay", "overlay_direction", "legendgroup"],
    "interval": ["overlay", "overlay_direction", "legendgroup"],
    "cut": ["color", "arrow", "legendgroup"],
    "value": ["overlay", "overlay_direction", "legendgroup"],
}  # fmt: skip


def open_split(dt: xr.DataTree, names: Sequence[str], backend: str, pc_kwargs: Mapping[str, Any]) -> PlotCollection:
    """Make the figure: color distinguishes approximations, arrow the end of the axis where a bar is cut."""
    colors = style.approximation_colors(known_approximations(dt))
    coords = {"approximation": list(names), "direction": ["forward", "reverse"]}
    data = xr.Dataset({"divergence": (list(coords), np.zeros((len(names), 2)))}, coords)
    aesthetics: Aesthetics = {
        "color": (["approximation"], [colors[name] for name in names]),
        "arrow": (["direction"], ["up", "down"]),
        "overlay": (["approximation"], [None] * len(names)),
        "overlay_direction": (["direction"], [None] * 2),
    }
    lines = max(len(wrap_name(name, _of_size(BAR_NAME_CHARACTERS, names)).split("\n")) for name in names)
    width = max(1.0 + KEY_INCHES + _of_size(BAR_COLUMN_INCHES, names) * len(names), 5.4)
    return open_collection(
        data, aesthetics, backend=backend, size=(width, SPLIT_HEIGHT + LINE_INCHES * lines), pc_kwargs=pc_kwargs
    )


def _of_size(sizes: tuple[Any, Any], names: Any) -> Any:
    return sizes[0] if len(names) <= FEW else sizes[1]


def draw_split(
    canvas: Canvas, dt: xr.DataTree, names: Sequence[str], *, prob: float, backend: str, labeller: Any
) -> str:
    """Draw the bars; return the note."""
    table = _read(dt, names, prob)
    limit = cut_above(table["size"].values)
    _draw_bars(canvas, table, limit)
    _draw_interval(canvas, table, limit)
    _draw_numbers(canvas, table, limit, backend)
    _decorate(canvas, table, limit, prob, labeller)
    return _note(dt, table, limit)


def _read(dt: xr.DataTree, names: Sequence[str], prob: float) -> xr.Dataset:
    """Read total, interval and both parts of each divergence, over (direction, approximation), in nats."""
    scores = dt["scores"].to_dataset().sel(approximation=list(names))
    parts = {}
    for direction in ("forward", "reverse"):
        whole = f"{direction}_kl"
        keys = {"total": whole, "se": f"{whole}_se", **{key: f"{whole}_{key}" for key in PARTS}}
        parts[direction] = scores[list(keys.values())].rename({column: key for key, column in keys.items()})
    table = xr.concat(list(parts.values()), xr.DataArray(list(parts), dims="direction", name="direction"))
    table["half"] = half_width(table["se"], prob)
    known = table["total"].notnull()
    table["unsplit"] = known & table["between"].isnull()
    table["between"] = table["between"].fillna(0.0).where(known)
    table["within"] = (table["total"] - table["between"]).fillna(0.0).where(known)
    table["size"] = abs(xr.concat([table[part] for part in ("total", "between", "within")], "part")).max("part")
    table["sign"] = ("direction", [1.0, -1.0])
    table["x"] = _columns(table) - SIDE * table["sign"]
    return table


def _columns(table: xr.Dataset) -> xr.DataArray:
    """Return the middle of each column."""
    names = table["approximation"]
    return xr.DataArray(np.arange(len(names), dtype=float), {"approximation": names}, ["approximation"])


def _bars(left: xr.DataArray, right: xr.DataArray, bottom: xr.DataArray, top: xr.DataArray) -> xr.DataArray:
    """Return bars (…, kwarg, point) for `fill_between_y`."""
    corners = [xr.concat([left, right], "point"), bottom, top]
    kwarg = xr.DataArray(["x", "y_bottom", "y_top"], dims="kwarg", name="kwarg")
    bars = xr.concat(xr.broadcast(*corners), kwarg).transpose(..., "kwarg", "point")
    return bars.where(bars.notnull().all(["kwarg", "point"]))


def _draw_bars(canvas: Canvas, table: xr.Dataset, limit: float) -> None:
    left, right = table["x"] - BAR / 2, table["x"] + BAR / 2
    between, within = table["between"], table["within"]
    start = between.where(between * within > 0, 0.0)
    ends = {"between": (xr.zeros_like(between), between), "within": (start, start + within)}
    outlines = []
    for name, sizes in ends.items():
        bottom, top = (table["sign"] * size.clip(-limit, limit).where(table["total"].notnull()) for size in sizes)
        defaults = {"color": style.REFERENCE, "alpha": FULL_ALPHA if name == "between" else WITHIN_ALPHA}
        canvas.draw(name, fill_between_y, _bars(left, right, bottom, top), defaults=defaults)
        outlines.append(polyline(at(left, bottom), at(left, top), at(right, top), at(right, bottom), at(left, bottom)))
    line = {"color": style.REFERENCE, "width": 1.2}
    canvas.draw("outline", draw_lines, xr.concat(outlines, "part"), defaults=line)


def _draw_interval(canvas: Canvas, table: xr.Dataset, limit: float) -> None:
    inside = np.abs(table["total"]) <= limit
    ends = [table["total"] + side * table["half"] for side in (-1, 1)]
    low, high = (table["sign"] * end.clip(-limit, limit).where(inside) for end in ends)
    line = polyline(at(table["x"], low), at(table["x"], high))
    canvas.draw("interval", draw_lines, line, defaults={"color": "B1", "width": 1.6})
    height = (table["sign"] * table["total"]).where(inside)
    tick = polyline(*(at(table["x"] + side * BAR / 2, height) for side in (-1, 1)))
    canvas.draw("total", draw_lines, tick, defaults={"color": "B1", "width": 1.6})


def _extent(table: xr.Dataset, limit: float) -> tuple[float, float]:
    """Return the ends of the axis, with room for the numbers."""
    total, half = table["total"], table["half"]
    sizes = [table["between"], table["within"], total, total + half, total - half]
    points = xr.concat([table["sign"] * size.clip(-limit, limit) for size in sizes], "end").fillna(0)
    low, high = float(points.min()), float(points.max())
    pad = SPLIT_HEADROOM * max(high - low, LEAST)
    return low - pad, high + pad


def _draw_numbers(canvas: Canvas, table: xr.Dataset, limit: float, backend: str) -> None:
    """Write each total at the end of its bar, and draw an arrow where a bar is cut."""
    sign, tip = table["sign"], table["total"].clip(-limit, limit)
    low, high = _extent(table, limit)
    cut = (sign * tip).where(table["size"] > limit)
    arrow = {"color": style.REFERENCE, "edgecolor": "B0", "width": 1.0, "size": style.marker_size(backend, 11)}
    canvas.draw("cut", draw_arrow, at(table["x"], cut), defaults=arrow)
    parts = xr.concat([table["between"], table["within"]], "end")
    across = -parts.min("end").roll(direction=1, roll_coords=False)
    outer = xr.concat([tip, table["between"], tip + table["half"].fillna(0), across], "end").max("end").clip(0, limit)
    gap = 0.025 * (high - low) * xr.where(cut.notnull(), 2, 1)
    y = sign * (outer + gap).where(table["total"].notnull())
    few = table.sizes["approximation"] <= FEW
    columns = (table[name] for name in ("total", "se", "between", "between_se", "is_bound"))
    align = xr.DataArray(["bottom", "top"], {"direction": table["direction"]}, ["direction"])
    text = write_each(partial(_number, few), *columns)
    canvas.draw(
        "value", annotate_text, at(_columns(table), y), text=text, vertical_align=align,
        defaults={"color": "B1", "size": canvas.letters(_of_size(NUMBER_POINTS, table["approximation"].values))},
    )  # fmt: skip


def _number(few: bool, total: float, se: float, between: float, between_se: float, is_bound: float) -> str:
    """Write a total, and the part between modes if it is a lower bound."""
    written = format_estimate(total, se)
    if not few:
        written = written.replace(" ±", "\n±")
    if is_bound != 1:
        return written
    bound = f"between ≥\n{format_estimate(between, between_se)}" if few else f"betw. ≥ {round(between, 2) + 0.0:.2f}"
    return f"{written}\n{bound}"


def _decorate(canvas: Canvas, table: xr.Dataset, limit: float, prob: float, labeller: Any) -> None:
    names, (low, high) = table["approximation"].values.tolist(), _extent(table, limit)
    inch = 1 / _of_size(BAR_COLUMN_INCHES, names)
    limits = (-0.6, len(names) - 0.4 + KEY_INCHES * inch)
    pad = 0.5 * SPLIT_HEADROOM * (high - low)
    ticks = round_ticks(low + pad, high - pad)
    sizes = [f"{abs(tick):g}" for tick in ticks]
    canvas.collection.facet_map(set_limits, x=limits, y=(low, high), store_artist=False)
    canvas.collection.facet_map(set_ticks, axis="y", ticks=ticks, labels=sizes, store_artist=False)
    labels = [labeller.sel_to_str({"approximation": name}, {"approximation": i}) for i, name in enumerate(names)]
    wrapped = [wrap_name(label, _of_size(BAR_NAME_CHARACTERS, names)) for label in labels]
    canvas.decorate(
        "ticklabels",
        set_ticks,
        axis="x",
        ticks=np.arange(len(names)),
        labels=wrapped,
        defaults={"size": canvas.letters(_of_size(NAME_POINTS, names))},
    )
    canvas.decorate("ylabel", label_axis, axis="y", text=f"← reverse   KL (nats, {100 * prob:.3g} %)   forward →")
    canvas.decorate("zero", draw_line, x=(-0.6, len(names) - 0.4), y=(0.0, 0.0), defaults={"color": "B1", "width": 0.8})
    key = {"x": len(names) - 0.4 + 0.1 * inch, "inch": inch, "low": low, "high": high}
    canvas.decorate("key", _key, extent=key, defaults={"color": style.REFERENCE})
    canvas.decorate(
        "key_text",
        _key_text,
        extent=key,
        defaults={"color": "B1", "size": canvas.letters(9), "horizontal_align": "left"},
    )


def _swatches(extent: Mapping[str, float]) -> dict[str, float]:
    """Return the height of the middle of each swatch of the key."""
    middle, height = (extent["low"] + extent["high"]) / 2, extent["high"] - extent["low"]
    return {"between": middle + 0.06 * height, "within": middle - 0.06 * height}


def _key(da: xr.DataArray, target: Any, *, extent: Mapping[str, float], **kwargs: Any) -> Any:
    """Draw a full and a pale swatch."""
    half = 0.022 * (extent["high"] - extent["low"])
    x = [extent["x"], extent["x"] + 0.14 * extent["inch"]]
    for name, y in _swatches(extent).items():
        low, high = y - half, y + half
        alpha = FULL_ALPHA if name == "between" else WITHIN_ALPHA
        drawn = fill_band(da, target, x=x, y=(low, high), **({"alpha": alpha} | kwargs))
        draw_line(da, target, x=[*x, *x[::-1], x[0]], y=[low, low, high, high, low], width=1.2, **kwargs)
    return drawn


def _key_text(da: xr.DataArray, target: Any, *, extent: Mapping[str, float], **kwargs: Any) -> Any:
    x = extent["x"] + 0.2 * extent["inch"]
    return [write(da, target, x=x, y=y, text=f"{name} modes", **kwargs) for name, y in _swatches(extent).items()][-1]


def _note(dt: xr.DataTree, table: xr.Dataset, limit: float) -> str:
    """Write which bars are cut, and which divergences are unknown or not split."""
    names, total = table["approximation"].values, table["total"].transpose("approximation", "direction").values
    size, unsplit = (table[name].transpose("approximation", "direction").values for name in ("size", "unsplit"))
    cut = names[(size > limit).any(axis=1)].tolist()
    lines = [f"Bars longer than {limit:.3g} nats are cut: {listed(cut)}."] if cut else []
    lost = names[np.isnan(total).any(axis=1)].tolist()
    if lost and np.isnan(dt["evidence"]["log_evidence"].item()):
        lines.append("Log Z is unknown, so both divergences are; kind='bounds' compares ELBO and EUBO without it.")
    elif lost:
        lines.append(f"No divergence is defined in at least one direction: {listed(lost)}.")
    if unsplit.any():
        lines.append(f"Not split, since masses are unknown: {listed(names[unsplit.any(axis=1)].tolist())}.")
    return "\n".join(lines)
