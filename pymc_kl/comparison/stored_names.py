"""Names and texts that a file can't hold, written in another form and given back whole.

NetCDF refuses names that begin with a sign, hold a new line or end in a space; Zarr makes folders of them; neither
takes 300 letters or a lone surrogate, and NetCDF cuts texts at a NUL. Such a name is percent-encoded, and shortened to
a hash where it is long; an attribute of the file lists both forms. Every other name is written as it is.
"""

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import numpy as np
import xarray as xr

LIST = "pymc_kl_names"  # root attribute of a file: what was written for which name and text, as JSON
LONGEST = 255  # bytes of a name in UTF-8: NetCDF's bound is 256, that of most file systems 255
KEPT = 100  # letters of a long name that stay readable
# what NetCDF takes, less the backslash, which Zarr reads as a slash, and a prefix of NetCDF's own
NAME = re.compile(r"(?!_nc4_non_coord_)[A-Za-z0-9_\x80-\U0010ffff][^\x00-\x1f/\\\x7f]*(?<! )")
NOT_ON_WINDOWS = re.compile(r'[<>:"|?*]|\.$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.IGNORECASE)

type Forms = Mapping[str, str]


def to_file(dt: xr.DataTree) -> xr.DataTree:
    """Return a tree whose names and texts a file can hold, with the list that leads back; `dt` if it needs none."""
    names = written_forms(_names(dt), fits_as_name, unfit=_unmarkable(dt))
    texts = written_forms(_texts(dt), fits_as_text)
    if not names and not texts:
        return dt
    new = _rewritten(dt, names, texts)
    new.attrs[LIST] = json.dumps({"names": _turned(names), "texts": _turned(texts)})
    return new


def from_file(dt: xr.DataTree) -> xr.DataTree:
    """Undo :func:`to_file`."""
    if LIST not in dt.attrs:
        return dt
    forms = json.loads(dt.attrs[LIST])
    new = _rewritten(dt, forms["names"], forms["texts"])
    del new.attrs[LIST]
    return new


def written_forms(names: Iterable[str], fits: Callable[[str], bool], unfit: Iterable[str] = ()) -> dict[str, str]:
    """Choose another form, unlike any name and any other form, for each name that does not fit."""
    names, unfit = set(names), set(unfit)
    taken, forms = set(names), {}
    for name in sorted(names):
        if name in unfit or not fits(name):
            form = _encoded(name)
            while form in taken:
                form = f"_{form}"
            taken.add(form)
            forms[name] = form
    return forms


def fits_as_name(name: str) -> bool:
    """Tell whether a group, variable or dim of a file can bear a name, and is read with that very name."""
    return (
        bool(NAME.fullmatch(name))
        and fits_as_text(name)
        and len(name.encode()) <= LONGEST
        and unicodedata.is_normalized("NFC", name)  # NetCDF normalises names
        and not (os.name == "nt" and NOT_ON_WINDOWS.search(name))
    )


def fits_as_text(text: str) -> bool:
    """Tell whether both formats give a text back whole."""
    return not re.search("[\x00\ud800-\udfff]", text)


def _encoded(name: str) -> str:
    """Write all but letters, digits, `_`, `-` and `~` as `%` and two digits a byte, a long name with its hash."""
    form = "_" + quote(name, safe="", errors="surrogatepass").replace(".", "%2E")
    if len(form) <= LONGEST:
        return form
    return form[:KEPT] + "~" + hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:16]


def _turned(forms: Forms) -> dict[str, str]:
    return {form: name for name, form in forms.items()}


def _names(dt: xr.DataTree) -> Iterator[str]:
    """List all names of groups, variables and dims."""
    for node in dt.subtree:
        yield from (name for name in (*node.children, *node.variables, *node.dims) if isinstance(name, str))


def _unmarkable(dt: xr.DataTree) -> Iterator[str]:
    """List coordinates with a space in their name, beside those of dims: a file lists them with spaces in between."""
    for node in dt.subtree:
        yield from (str(name) for name in node.coords if name not in node.dims and re.search(r"\s", str(name)))


def _texts(dt: xr.DataTree) -> Iterator[str]:
    """List all texts in attributes and arrays."""
    for node in dt.subtree:
        yield from _strings(list(node.attrs.values()))
        for variable in node.variables.values():
            yield from _strings(list(variable.attrs.values()))
            if variable.dtype.kind in "OTU":
                yield from _strings(variable.values.ravel().tolist())


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _strings(part)


def _rewritten(dt: xr.DataTree, names: Forms, texts: Forms) -> xr.DataTree:
    """Replace names and texts in a tree and all its groups."""
    ds = dt.to_dataset(inherit=False)
    if texts:
        changed = {name: _reworded(variable, texts) for name, variable in ds.variables.items()}
        ds = ds.assign_coords({name: changed.pop(name) for name in ds.coords}).assign(changed)
        ds.attrs = _replaced(ds.attrs, texts)
    renamed = {name: names[str(name)] for name in {*ds.variables, *ds.dims} if name in names}
    children = {names.get(name, name): _rewritten(child, names, texts) for name, child in dt.children.items()}
    return xr.DataTree(ds.rename(renamed).drop_encoding(), children=children, name=dt.name)


def _reworded(variable: xr.Variable, texts: Forms) -> xr.Variable:
    """Replace texts in an array and its attributes."""
    attrs = _replaced(variable.attrs, texts)
    if variable.dtype.kind not in "OTU":
        return xr.Variable(variable.dims, variable.values, attrs)
    words = [_replaced(word, texts) for word in variable.values.ravel().tolist()]
    texts_of_numpy = variable.dtype.kind != "O" and not any(str(word).endswith("\0") for word in words)  # it cuts NULs
    # xarray takes lone surrogates in numpy's own texts only
    texts_of_numpy |= any(isinstance(word, str) and re.search("[\ud800-\udfff]", word) for word in words)
    return xr.Variable(variable.dims, np.array(words, str if texts_of_numpy else object).reshape(variable.shape), attrs)


def _replaced(value: Any, texts: Forms) -> Any:
    if isinstance(value, str):
        return texts.get(value, value)
    if isinstance(value, dict):
        return {key: _replaced(part, texts) for key, part in value.items()}
    return [_replaced(part, texts) for part in value] if isinstance(value, list | tuple) else value
