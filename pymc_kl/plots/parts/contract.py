"""The contract of arviz-plots' own plots, with types: the one module that uses undocumented parts of arviz-plots.

A plot opens a collection, wraps it in a `Canvas` and draws each visual by name. The canvas keeps the
contract: a visual set to False is not drawn, the user's values win over the defaults, and a default is
dropped where an aesthetic sets the same property.
"""

import re
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from arviz_base import rcParams
from arviz_base.labels import BaseLabeller
from arviz_base.validate import validate_dict_argument
from arviz_plots import PlotCollection
from arviz_plots.plots.utils import filter_aes, get_visual_kwargs, process_group_variables_coords

from pymc_kl.arguments import check_arguments, choice, did_you_mean, instance, optional, shown
from pymc_kl.model.table_names import free_coords, free_var_names
from pymc_kl.plots.parts.legend import InLines

SAMPLE_DIMS = ("chain", "draw")
OPTIONS = ("aes", "cols", "rows", "col_wrap", "figure_kwargs")  # of a collection; the rest are values of aesthetics
BACKENDS = ("matplotlib", "plotly", "bokeh", "none")
DOTS_PER_INCH = 100  # pixels an inch, in backends that measure in pixels
LEGEND_AESTHETICS = ("color", "linestyle", "width", "marker")
NO_MARKER = "none"
NOTE_WIDTH = 75  # characters of a line of the note
MIN_WIDTH = 5.4  # inches: least width of a figure, that of a full line of the note
WIDE_COLUMNS = 2  # columns of facets where these are wide
NOTE_LINE = 20  # pixels: the height of a line of the note
PLOTLY_MARGIN = 100  # pixels above the facets, with room for two lines of the note
NOTE_STYLE: Mapping[str, Mapping[str, Any]] = {
    "matplotlib": {"size": 9, "x": 0.01, "horizontalalignment": "left"},
    "plotly": {"size": 12, "x": 0.01, "xanchor": "left"},
    "bokeh": {"size": 12, "styles": {"text_align": "left"}},
    "none": {"size": 9},
}

NONE_GIVEN: Mapping[Any, Any] = MappingProxyType({})

type Aesthetics = Mapping[str, tuple[Sequence[str], Sequence[Any]]]
"""For each aesthetic, the dims it is mapped to and its values."""


@dataclass(frozen=True, eq=False)
class Canvas:
    """A figure and the visuals that its user asks for."""

    collection: PlotCollection
    visuals: Mapping[str, Any]
    aes_by_visuals: Mapping[str, Sequence[str]]

    def wants(self, name: str) -> bool:
        """Return whether a visual is drawn."""
        return self.visuals.get(name, True) is not False

    def letters(self, points: float) -> float:
        """Convert the size of letters from points to the unit of the backend, points or pixels."""
        return points if self.collection.backend in ("matplotlib", "none") else points * DOTS_PER_INCH / 72

    def draw(
        self,
        name: str,
        function: Callable[..., Any],
        data: xr.DataArray,
        *,
        defaults: Mapping[str, Any],
        **inputs: Any,
    ) -> None:
        """Map a function over the facets and aesthetics of `data`; the user can change `defaults`, not `inputs`."""
        if not self.wants(name) or data.size == 0:
            return
        _, aesthetics, ignored = filter_aes(self.collection, self.aes_by_visuals, name, [])
        given = {key: value for key, value in defaults.items() if key not in aesthetics}
        kwargs = given | get_visual_kwargs(self.visuals, name) | inputs
        variable = next(iter(self.collection.data.data_vars))
        facets = {dim: self.collection.data[dim] for dim in self.collection.facet_dims if dim in data.dims}
        data = data.reindex(facets)
        self.collection.map(function, name, data=data.rename(variable), ignore_aes=ignored, **kwargs)

    def decorate(
        self,
        name: str,
        function: Callable[..., Any],
        *,
        defaults: Mapping[str, Any] | None = None,
        **inputs: Any,
    ) -> None:
        """Apply a function to each facet; the user can change `defaults`, not `inputs`."""
        if self.wants(name):
            kwargs = dict(defaults or {}) | get_visual_kwargs(self.visuals, name) | inputs
            self.collection.facet_map(function, name, **kwargs)

    def note(self, text: str) -> None:
        """Write the note above the figure."""
        if not text or not self.wants("note"):
            return
        backend = self.collection.backend
        newline = "<br>" if backend in ("plotly", "bokeh") else "\n"
        kwargs = {"color": "B2"} | dict(NOTE_STYLE[backend]) | get_visual_kwargs(self.visuals, "note")
        lines = [line for part in text.splitlines() for line in textwrap.wrap(part, NOTE_WIDTH, break_on_hyphens=False)]
        self.collection.add_title(newline.join(lines), **kwargs)
        if backend == "plotly":
            _make_room_plotly(self.collection.get_viz("figure"), len(lines))
        self.collection.viz["note"] = self.collection.viz["figure_title"]

    def legend(self, dim: str, **defaults: Any) -> None:
        """Add a legend of the values of a dim, with all aesthetics mapped to it alone."""
        mapped = {key: ds.to_dataset() for key, ds in self.collection.aes.children.items()}
        alone = [key for key in LEGEND_AESTHETICS if key in mapped and set(mapped[key].dims) == {dim}]
        if not self.wants("legend") or not alone:
            return
        backend = self.collection.backend
        by_line = alone if backend == "matplotlib" else [key for key in alone if key != "marker"]
        defaults["labeller"] = InLines(defaults.get("labeller") or BaseLabeller(), backend)
        kwargs = {"aes": by_line, "title": ""} | defaults | get_visual_kwargs(self.visuals, "legend")
        self.collection.add_legend(dim, **kwargs)
        if "marker" in alone and "marker" not in by_line:
            styles = mapped["marker"]["mapping"].values, mapped["color"]["mapping"].values
            _ADD_MARKERS[backend](self.collection, list(zip(*styles, strict=True)))


def _make_room_plotly(figure: Any, n_lines: int) -> None:
    """Move the facets down for a note of many lines, which would hide their titles."""
    more = NOTE_LINE * max(0, n_lines - 2)
    figure.update_layout(margin={"t": PLOTLY_MARGIN + more}, height=figure.layout.height + more)


def _add_markers_plotly(collection: PlotCollection, styles: Sequence[tuple[str, str]]) -> None:
    entries = [trace for trace in collection.get_viz("figure").data if trace.showlegend]
    for entry, (marker, color) in zip(entries, styles, strict=True):
        if marker != NO_MARKER:
            entry.update(mode="lines+markers", marker={"symbol": marker, "color": color, "size": 8})


def _add_markers_bokeh(collection: PlotCollection, styles: Sequence[tuple[str, str]]) -> None:
    target = collection.iget_target(0, -1)
    for item, (marker, color) in zip(target.legend[0].items, styles, strict=True):
        if marker != NO_MARKER:
            glyph = target.scatter(x=[], y=[], marker=marker, color=color, size=8)
            item.renderers = [*item.renderers, glyph]


# on these backends the legends of arviz-plots have lines, but no markers
_ADD_MARKERS: Mapping[str, Callable[[PlotCollection, Sequence[tuple[str, str]]], None]] = {
    "plotly": _add_markers_plotly,
    "bokeh": _add_markers_bokeh,
    "none": lambda _collection, _styles: None,
}


def open_collection(
    data: xr.Dataset,
    aesthetics: Aesthetics,
    *,
    backend: str,
    size: tuple[float, float],
    pc_kwargs: Mapping[str, Any],
) -> PlotCollection:
    """Make a collection; the user's `pc_kwargs` win over `aesthetics` and `size` (inches)."""
    if unknown := {"var_names", "filter_vars", "coords"} & set(pc_kwargs):
        raise TypeError(f"this plot shows no variables: it takes no {sorted(unknown)[0]}. Leave it out.")
    check_arguments(pc_kwargs, aes=instance(Mapping), figure_kwargs=instance(Mapping))
    kwargs = dict(pc_kwargs)
    kwargs["aes"] = dict(kwargs.get("aes", {}))
    if backend == "plotly":  # a click on the legend then hides all visuals of an approximation
        aesthetics = {**aesthetics, "legendgroup": aesthetics["color"]}
    for key, (dims, values) in aesthetics.items():
        if kwargs["aes"].setdefault(key, list(dims)) == list(dims):
            kwargs.setdefault(key, list(values))
    known = {*OPTIONS, *kwargs["aes"]}
    for name in kwargs:
        if name not in known:
            raise TypeError(f"this plot takes no {name}.{did_you_mean(name, known)} See its docstring.")
    figure = dict(kwargs.get("figure_kwargs", {}))
    if "figsize" not in figure:
        figure |= _figure_size(backend, size)
    if backend == "matplotlib":
        figure.setdefault("layout", "constrained")
    return PlotCollection.wrap(data, backend=backend, **{**kwargs, "figure_kwargs": figure})


def open_facets(
    data: xr.Dataset,
    aesthetics: Aesthetics,
    n: int,
    *,
    backend: str,
    inches: tuple[float, float],
    pc_kwargs: Mapping[str, Any],
) -> PlotCollection:
    """Make a collection of n facets, one for each approximation, each of a size in inches."""
    kwargs: dict[str, Any] = {"cols": ["approximation"], "col_wrap": WIDE_COLUMNS} | dict(pc_kwargs)
    columns = min(n, kwargs["col_wrap"] or n)
    size = (max(inches[0] * columns, MIN_WIDTH), inches[1] * -(-n // columns) + 0.5)
    return open_collection(data, aesthetics, backend=backend, size=size, pc_kwargs=kwargs)


def _figure_size(backend: str, size: tuple[float, float]) -> dict[str, Any]:
    if backend == "matplotlib":
        return {"figsize": size, "figsize_units": "inches"}
    return {"figsize": (size[0] * DOTS_PER_INCH, size[1] * DOTS_PER_INCH), "figsize_units": "dots"}


def validated(plot: Callable[..., Any], visuals: Any, aes_by_visuals: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check the keys of both mappings against those in the annotations of a plot."""
    given = {"visuals": visuals, "aes_by_visuals": aes_by_visuals}
    for name, settings in visuals.items():
        if not isinstance(settings, Mapping | bool):
            raise TypeError(
                f"visuals[{name!r}] must be a dict of settings, or False to leave it out; got {shown(settings)}."
            )
    checked = [validate_dict_argument(mapping, (plot, argument)) for argument, mapping in given.items()]
    return checked[0], checked[1]


def with_defaults(
    aes_by_visuals: Mapping[str, Sequence[str]],
    defaults: Mapping[str, Sequence[str]],
    collection: PlotCollection,
) -> dict[str, Sequence[str]]:
    """Fill in the default aesthetics of visuals for which the user gave none, if the collection maps them."""
    mapped = collection.aes_set
    known = {name: [aes for aes in wanted if aes in mapped] for name, wanted in defaults.items()}
    return known | dict(aes_by_visuals)


def choose_backend(backend: str | None, collection: PlotCollection | None) -> str:
    """Return the backend asked for, that of the collection given, or ArviZ's default, in this order."""
    check_arguments({"plot_collection": collection}, plot_collection=optional(instance(PlotCollection)))
    if backend is None:
        backend = rcParams["plot.backend"] if collection is None else collection.backend
    choice(*BACKENDS)("backend", backend)
    return str(backend)


def known_approximations(dt: xr.DataTree) -> list[str]:
    """Return the names of all approximations of a comparison, in its order."""
    return [str(name) for name in dt["coverage"].to_dataset()["approximation"].values]


def some_approximations(dt: xr.DataTree, asked: Any) -> list[str]:
    """Return the approximations asked for; raise if the comparison has none."""
    known = known_approximations(dt)
    if not known:
        raise ValueError("the comparison has no approximations; pass some to compare().")
    return subset(asked, known, "approximations")


def subset(asked: Any, known: Sequence[Any], what: str) -> list[Any]:
    """Return what is asked for, or all that is known if `asked` is None; raise if any of it is unknown."""
    if asked is None:
        return list(known)
    if isinstance(asked, bool | bytes) or not isinstance(asked, int | np.integer | Collection):
        raise TypeError(f"{what} must be one or more of {list(known)}; got {shown(asked)}.")
    wanted = [asked] if isinstance(asked, str | int | np.integer) else list(asked)
    if unknown := [name for name in wanted if name not in known]:
        raise ValueError(f"unknown {what} {unknown}; known are {list(known)}.")
    if not wanted:
        raise ValueError(f"no {what} asked for; known are {list(known)}. Leave it out for all of them.")
    if len({*wanted}) < len(wanted):
        raise ValueError(f"each of {what} may be asked for once; got {wanted}.")
    return wanted


class Selection(NamedTuple):
    """Variables and coordinates to show, in ArviZ's terms."""

    var_names: Any
    filter_vars: Any
    coords: Mapping[str, Any] | None


def select_variables(
    ds: xr.Dataset, var_names: Any, filter_vars: Any, coords: Mapping[str, Any] | None, taken: Collection[str] = ()
) -> xr.Dataset:
    """Select variables and coordinates as the plots of ArviZ do; the error of an unknown one lists the known ones.

    `taken` are the names that `ds` has for something else.
    """
    names = list(map(str, ds.data_vars))
    var_names = var_names if filter_vars else free_var_names(var_names, taken)
    coords = coords if coords is None else free_coords(coords, taken)
    try:
        dims = {*ds.dims, *(name for name, coord in ds.coords.items() if coord.ndim <= 1)}
        if unknown := [dim for dim in coords or () if dim not in dims]:
            raise ValueError(f"{unknown[0]!r} in coords is no dim")
        chosen: xr.Dataset = process_group_variables_coords(ds, "posterior", var_names, filter_vars, coords)
    except (KeyError, ValueError, re.error) as error:
        labels = {dim: ds[dim].values.tolist() for dim in ds.dims if dim not in SAMPLE_DIMS and dim in ds.coords}
        known = f"known variables are {names}, known coordinates are {labels}"
        pattern = f"var_names must be a regular expression, which {var_names!r} is not: "
        told = f"{pattern if isinstance(error, re.error) else ''}{error.args[0]}"
        raise ValueError(f"{told}; {known}.") from error
    if not chosen.data_vars:
        raise ValueError(f"var_names={var_names!r} leaves no variable; known are {names}.")
    return chosen
