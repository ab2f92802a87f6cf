"""What to do next, first of the sections, and how the comparison was made, last of them."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from pymc_kl.approximations import FAMILIES
from pymc_kl.approximations.choice import AUTO
from pymc_kl.comparison.inputs import of_today
from pymc_kl.comparison.make_fits import REVERSE
from pymc_kl.fitting.reverse import REVERSE_FAMILIES
from pymc_kl.modes.search import N_STARTS
from pymc_kl.reports.cells import Table, words
from pymc_kl.reports.facts import Facts, FitFacts
from pymc_kl.reports.importance import can_correct
from pymc_kl.reports.of_draws import of_signs
from pymc_kl.reports.page import Code, Section
from pymc_kl.reports.phrases import numbered
from pymc_kl.reports.reach import perhaps_missed
from pymc_kl.reports.shape import covers_all
from pymc_kl.reports.trust import SEEN, Trust

MOST_STEPS = 4  # most commands that are suggested
# Families that this package fits, by direction.
OURS = {"forward": (AUTO, *FAMILIES), "reverse": (AUTO, *REVERSE_FAMILIES)}
# Defaults of `compare`: a call that is shown leaves them out.
USUAL = {
    "reference": "complete",
    "n_starts": N_STARTS,
    "symmetry": True,
    "min_barrier": 1.0,
    "draws": 2000,
    "planted": False,
}


def next_section(facts: Facts, trust: Trust) -> Section:
    """Suggest at most four commands."""
    steps = list(_steps(facts, trust))[:MOST_STEPS]
    return Section("next", "What to do next", "In this order; each is one command to copy.", steps)


def made_section(dt: xr.DataTree) -> Section:
    """Show versions, settings and timings, and the call that makes the comparison again."""
    again = Code(reproduce(dt), "The same again, with the model at hand.")
    return Section(
        "made", "How this was made", "With these settings anyone can make it again.", [_made_table(dt), again]
    )


def _steps(facts: Facts, trust: Trust) -> Iterator[Code]:
    if trust.answer != "yes":
        yield _better_reference(facts)
    elif facts.audit is not None and facts.audit.alarm:
        yield Code(
            "reference = pkl.sample_reference(idata, model=model, random_seed=1)",
            f"Go on with draws that have {numbered(facts.audit.missed)}, which yours miss.",
        )
    if (late := next((fit for fit in facts.fits if fit.converged == "no"), None)) is not None:
        yield Code(
            f"q = pkl.fit_reverse({late.family!r}, model=model, random_seed=1)",
            f"Judge the divergence of {late.name} by the best optimum of its family, from modes and prior.",
        )
    good = [
        fit
        for fit in facts.fits
        if fit.scored and fit.kind != "draws" and not fit.that_matter("missed", "under", "over")
    ]
    good = [fit for fit in good if can_correct(fit) == "yes" and not fit.is_polished and not perhaps_missed(fit)]
    if good:
        best = min(good, key=lambda fit: np.nan_to_num(fit.whole("forward").value, nan=np.inf))
        verb = "covers" if covers_all(best) else "reaches"
        yield Code(
            _correction(best),
            f"{best.name} {verb} every mode found: turn it into draws of the posterior by importance sampling.",
        )
    if facts.symmetries:
        yield Code(
            "reference = pkl.sample_reference(idata, model=model, relabel=True, random_seed=1)",
            "Means of parameters whose sign is free mean something on draws brought to one sign."
            if of_signs(facts.symmetries)
            else "Means of labelled parameters mean something on draws brought to one labelling.",
        )
    yield Code(
        'az.plot_forest({"reference": comparison, **comparison["approximations"].children})',
        "ArviZ's own plots and tables take the comparison as a dictionary of DataTrees.",
    )


def _better_reference(facts: Facts) -> Code:
    """Suggest a longer search where starts still found modes, else more draws of each mode."""
    if facts.unseen.value > SEEN:
        more, why = "n_starts=16_384", "search longer, since starts were still finding modes"
    else:
        more, why = "draws=4_000", "sample more of each mode"
    command = f"reference = pkl.sample_reference(idata, model=model, {more}, random_seed=1)"
    return Code(command, f"A reference that can be trusted comes first: {why}.")


def _correction(fit: FitFacts) -> str:
    """Write the call that corrects a fit; one of this package is made again first, the user has their own."""
    direction, _, family = fit.name.partition(" ")
    if direction == fit.kind and direction in OURS and family in OURS[direction]:
        draws = "comparison, " if direction == "forward" else ""
        return (
            f"q = pkl.fit_{direction}({draws}{family!r}, model=model, random_seed=1)\n"
            "draws = pkl.correct(q, model=model, random_seed=1)"
        )
    return f"draws = pkl.correct({_variable(fit.name)}, model=model, random_seed=1)"


def _made_table(dt: xr.DataTree) -> Table:
    attrs = dt.attrs
    rows = [
        ("pymc_kl", attrs.get("creation_library_version", "–")),
        ("PyMC", attrs.get("pymc_version", "–")),
        ("ArviZ", attrs.get("arviz_version", "–")),
        ("made", attrs.get("creation_time", "–")),
        ("random seed", attrs.get("random_seed", "–")),
        *((name, _shown(value)) for name, value in settings_of(dt).items()),
        *((f"seconds: {name}", f"{value:.1f}") for name, value in json.loads(attrs.get("seconds", "{}")).items()),
    ]
    if "converted_from" in attrs:
        rows.append(("converted", f"from format {int(attrs['converted_from'])} of an older version"))
    return Table("made-table", "Versions, settings and timings.", ["", ""], [[words(k), words(v)] for k, v in rows])


def settings_of(dt: xr.DataTree) -> dict[str, object]:
    """Return the settings that `compare` was called with."""
    return of_today(json.loads(dt.attrs.get("settings", "{}")))


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def reproduce(dt: xr.DataTree) -> str:
    """Write the call that makes this comparison again, from its settings."""
    settings = settings_of(dt)
    forward, reverse = (list(settings.get(key, ())) for key in ("forward", "reverse"))  # type: ignore[call-overload]
    arguments = ["idata" if "audit" in dt.children else "None", _as_dict(_given(dt, settings))]
    arguments += [f"forward={forward!r}", f"reverse={reverse!r}"]
    arguments += [f"{key}={settings[key]!r}" for key, usual in USUAL.items() if settings.get(key, usual) != usual]
    if asked := list(settings.get("quantities", ())):  # type: ignore[call-overload]
        known = {*map(str, dt["posterior"].data_vars)}
        arguments.append(f"quantities={asked!r}" if known.issuperset(asked) else "quantities=quantities")
    lines = [
        "import pymc_kl as pkl",
        "",
        "with model:",
        "    comparison = pkl.compare(",
        *(f"        {argument}," for argument in (*arguments, f"random_seed={_seed(dt)}")),
        "    )",
        'pkl.report(comparison, "report.html")',
    ]
    return "\n".join(lines)


def _given(dt: xr.DataTree, settings: Mapping[str, Any]) -> list[str]:
    """Return the names of the fits that the user gave; where they were not kept, of all that `compare` did not make."""
    if "approximations" in settings:
        return list(settings["approximations"])
    made = {f"forward {family}" for family in settings.get("forward", ())}
    made |= {REVERSE.get(method, method) for method in settings.get("reverse", ())}
    names = [str(name) for name in dt["scores"].to_dataset()["approximation"].values]
    return [name for name in names if name not in made and not name.endswith(" (polished)")]


def _as_dict(names: list[str]) -> str:
    """Write fits as a dictionary from name to variable, whose name is made from that of the fit."""
    return "{" + ", ".join(f"{name!r}: {_variable(name)}" for name in names) + "}"


def _variable(name: str) -> str:
    return re.sub(r"[^0-9a-z]+", "_", name.lower()).strip("_") or "fit"


def _seed(dt: xr.DataTree) -> str:
    """Write the seed as code; `None` for a generator, which cannot be written."""
    seed = json.loads(str(dt.attrs.get("random_seed", "null")))
    return str(seed) if isinstance(seed, int) else "None"
