"""Sections four, five and eight: both divergences, where they come from, and how the fits went."""

import numpy as np
import xarray as xr

from pymc_kl.comparison.datatree import fit_groups, group_of_fit
from pymc_kl.comparison.formats import NONE, format_estimate
from pymc_kl.fitting.elbo_gap import ELBO_GAP_TOLERANCE
from pymc_kl.numerics.khat import KHAT_RELIABLE
from pymc_kl.plots import plot_contributions, plot_divergence, plot_loss, plot_pareto_k
from pymc_kl.reports.cells import Cell, Table, estimate, format_number, number, rounded, share, words
from pymc_kl.reports.facts import Facts
from pymc_kl.reports.figures import Painter
from pymc_kl.reports.of_reference import NO_LOG_Z
from pymc_kl.reports.page import Block, Details, Items, Options, Section, Text
from pymc_kl.reports.phrases import counted

DIVERGENCES = {
    "forward_kl": "KL(p‖q) forward", "forward_kl_between": "between", "forward_kl_within": "within",
    "reverse_kl": "KL(q‖p) reverse", "reverse_kl_between": "between", "reverse_kl_within": "within",
}  # fmt: skip
MINIMISES = {
    "forward": "KL(p‖q)",
    "reverse": "KL(q‖p)",
    "draws": "draws only",
    "laplace": "nothing: matches the curvature at a mode",
}
NOT_SPLIT = "Without log Z neither divergence can be told value by value."
BOUNDS = {"elbo": "ELBO", "eubo": "EUBO"}
RELABELLED = {"forward_kl_relabelled": "forward, up to labels", "reverse_kl_relabelled": "reverse, up to labels"}


def divergence_section(dt: xr.DataTree, facts: Facts, painter: Painter, options: Options) -> Section:
    """Show both divergences, split between and within modes, and ELBO ≤ log Z ≤ EUBO."""
    scores = dt["scores"].to_dataset()
    blocks: list[Block] = []
    if np.isnan(facts.log_evidence.value):
        blocks.append(Text(NO_LOG_Z))
    else:
        blocks += _split(dt, facts, painter, options)
    caption = "The sandwich: log Z lies between ELBO and EUBO; their distance is the sum of both divergences."
    blocks.append(painter.draw("bounds", caption, plot_divergence, dt, kind="bounds", ci_prob=options.ci_prob))
    caption = "ELBO and EUBO in nats, ± one standard error."
    if np.isfinite(facts.log_evidence.value):
        caption += f" log Z is {format_estimate(*facts.log_evidence)}, by {dt['evidence']['method'].item()}."
    blocks.append(_score_table(scores, "elbo-table", caption, BOUNDS, options))
    lead = (
        "Forward KL grows where the posterior has mass that the approximation lacks, reverse KL where the "
        "approximation has mass that the posterior lacks; smaller is better, and two values that differ by less than "
        "their errors do not differ."
    )
    return Section("divergences", "Both divergences", lead, blocks)


def _split(dt: xr.DataTree, facts: Facts, painter: Painter, options: Options) -> list[Block]:
    """Show both divergences in what is lost between and within modes, as picture and table."""
    scores, shown = dt["scores"].to_dataset(), dict(DIVERGENCES)
    if "forward_kl_relabelled" in scores and np.isfinite(scores["forward_kl_relabelled"]).any():
        shown |= RELABELLED
    caption = "Divergences in nats: forward upwards, reverse downwards, each in what is lost between modes and within."
    picture = painter.draw("divergence", caption, plot_divergence, dt, ci_prob=options.ci_prob)
    caption = "All in nats on the unconstrained space, ± one standard error. No estimate is clamped at zero."
    if any(fit.bounds[0] or fit.bounds[1] for fit in facts.fits):
        caption += " Where an approximation has no draw in a mode, its between part is a lower bound."
    if len(shown) > len(DIVERGENCES):
        caption += " Up to labels: of the approximation averaged over the symmetries of the posterior."
    return [picture, _score_table(scores, "divergence-table", caption, shown, options)]


def _score_table(scores: xr.Dataset, name: str, caption: str, shown: dict[str, str], options: Options) -> Table:
    """Make a table with a row for each approximation and a column for each score."""
    names = [str(label) for label in scores["approximation"].values]
    rows = [
        [words(label), *(estimate(scores, "scores", s, {"approximation": label}, options.round_to) for s in shown)]
        for label in names
    ]
    return Table(name, caption, ["", *shown.values()], rows)


def origin_section(dt: xr.DataTree, facts: Facts, painter: Painter, options: Options) -> Section:
    """Show the integrand of each divergence, and what each mode adds to it."""
    caption = "Where each divergence comes from: what each value adds to it, in nats."
    blocks: list[Block] = [Text(NOT_SPLIT)]
    if np.isfinite(facts.log_evidence.value):
        blocks = [painter.draw("contributions", caption, plot_contributions, dt, **options.variables)]
    blocks.append(Details("The part of each mode", [_parts_table(dt, facts, options)]))
    lead = "A tall forward part marks what the approximation lacks there, a tall reverse part what it has too much of."
    return Section("origin", "Where it comes from", lead, blocks)


def _parts_table(dt: xr.DataTree, facts: Facts, options: Options) -> Table:
    modes, coverage = dt["modes"].to_dataset(), dt["coverage"].to_dataset()
    rows = []
    for fit in facts.fits:
        for cover in fit.that_matter() if fit.scored else ():
            k = cover.mode.number
            row, mode = coverage.sel(approximation=fit.name, mode=k), modes.sel(mode=k)
            w, v = ((float(ds["mass"]), float(ds["mass_se"])) for ds in (mode, row))
            upper = float(row["mass_upper"]), float(mode["mass_upper"])
            forward = _part(w, v, upper[0], row, "forward_kl_within", options)
            reverse = _part(v, w, upper[1], row, "reverse_kl_within", options)
            rows.append([words(f"{fit.name}, mode {k}"), *forward, *reverse])
    headers = ["", "forward: between", "forward: within", "reverse: between", "reverse: within"]
    caption = (
        "Part of each mode, in nats: first mass × log of the ratio of masses, then first mass × divergence within; "
        "≥ where nothing was counted on the other side. Modes below 1 % are left out."
    )
    return Table("parts", caption, headers, rows)


def _part(
    first: tuple[float, float],
    second: tuple[float, float],
    upper: float,
    row: xr.Dataset,
    within: str,
    options: Options,
) -> tuple[Cell, Cell]:
    """Show what one mode adds to the divergence between and within modes, with errors."""
    (w, w_se), (v, v_se) = first, second
    local, local_se = float(row[within]), float(row[f"{within}_se"])
    inside = Cell(rounded(w * local, float(np.hypot(w * local_se, w_se * local)), options.round_to), kind="number")
    if w == 0 or np.isnan(w):
        return Cell("0" if w == 0 else format_number(w), kind="number"), Cell(
            "0" if w == 0 else inside.text, kind="number"
        )
    known = v if v > 0 else min(upper, 1.0)
    ratio = np.log(w / known)
    se = float(np.hypot((ratio + 1) * w_se, w * v_se / known))
    text = rounded(w * ratio, se, options.round_to)
    return Cell(text if v > 0 else f"≥ {text}", kind="number"), inside


def fits_section(dt: xr.DataTree, facts: Facts, painter: Painter, options: Options) -> Section:
    """Show how each fit went: loss, convergence, k-hat, family, seconds."""
    scores = dt["scores"].to_dataset()
    tables = [_made_table(scores, facts, options), _weights_table(scores, facts, options)]
    blocks: list[Block] = []
    if shown := _with_loss(dt, facts):
        text = (
            "Loss of each fit over its steps, with its running median; dashed is the final ELBO with its sign turned."
        )
        blocks.append(painter.draw("loss", text, plot_loss, dt, approximations=shown))
    text = "k-hat of each approximation: filled for correcting q to the posterior, hollow for the other way."
    blocks += [painter.draw("khat", text, plot_pareto_k, dt), *tables]
    if starts := _starts_table(dt, options):
        blocks.append(Details("Where the starts of each reverse-KL fit settled", [starts]))
    notes = [f"{fit.name}: {text}" for fit in facts.fits for text in (fit.error, fit.note) if text]
    if notes:
        blocks.append(Items(notes))
    lead = "Look here when a fit surprises you: an optimiser that has not arrived is not a divergence that failed."
    return Section("fits", "The fits", lead, blocks)


def _with_loss(dt: xr.DataTree, facts: Facts) -> list[str]:
    """Name the fits whose loss is known; a polished one shares that of the fit that it was polished from."""
    known = [fit.name for fit in facts.fits if "loss" in _fits(dt).get(fit.name, ())]
    shared = [polished.name for fit in facts.fits if fit.name in known and (polished := facts.polished(fit))]
    return [name for name in known if name not in shared]


def _fits(dt: xr.DataTree) -> dict[str, xr.Dataset]:
    return {name: group["fit"].to_dataset() for name, group in fit_groups(dt).items() if "fit" in group.children}


def _starts_table(dt: xr.DataTree, options: Options) -> Table | None:
    """Make a table of the optima of each reverse-KL fit, best first, and how many starts led to each."""
    rows = []
    for name, fit in _fits(dt).items():
        for k in fit["optimum"].values if "optimum" in fit else ():
            group, at = f"approximations/{group_of_fit(name)}/fit", {"optimum": k}
            mode, arrived = int(fit["optimum_mode"].sel(at)), bool(fit["optimum_converged"].sel(at))
            rows.append([
                words(f"{name}, optimum {k}"),
                number(fit, group, "optimum_starts", at, 0),
                estimate(fit, group, "optimum_elbo", at, options.round_to),
                words(f"mode {mode}" if mode else "none of the modes"),
                words("yes" if arrived else "left behind"),
            ])  # fmt: skip
    caption = (
        "Where climbs of the ELBO (nats) among normals ended, best first, and how many starts, from modes and prior, "
        "led there. Copies under a symmetry are one optimum. Starts that fell far behind were left on their way."
    )
    return Table("starts-table", caption, ["", "starts", "ELBO", "centre in", "an optimum"], rows) if rows else None


def _made_table(scores: xr.Dataset, facts: Facts, options: Options) -> Table:
    """Tabulate what each fit is and whether its optimiser arrived."""
    rows = [
        [
            words(fit.name),
            words(MINIMISES.get(fit.kind, NONE)),
            words(
                f"{fit.family}, {counted(fit.n_components, 'component', 'components')}"
                if fit.n_components
                else fit.family
            ),
            words(fit.converged or ("polished" if fit.is_polished else NONE)),
            estimate(scores, "scores", "elbo_gap", {"approximation": fit.name}, options.round_to),
            number(scores, "scores", "seconds", {"approximation": fit.name}, 1),
        ]
        for fit in facts.fits
    ]
    caption = (
        f"A fit has converged if polishing it gains at most {ELBO_GAP_TOLERANCE:g} nats, which two standard errors may "
        "leave open."
    )
    headers = ["", "minimises", "family", "converged", "ELBO can gain (nats)", "seconds"]
    return Table("fits-table", caption, headers, rows)


def _weights_table(scores: xr.Dataset, facts: Facts, options: Options) -> Table:
    """Tabulate what importance sampling makes of each fit."""
    shown = ("khat", "khat_reference", "ess_reverse")
    rows = []
    for fit in facts.fits:
        at = {"approximation": fit.name}
        cells = [estimate(scores, "scores", name, at, options.round_to) for name in shown]
        rows.append([words(fit.name), *cells, share(scores, "scores", "spill", at, options.round_to)])
    caption = (
        f"k-hat below {KHAT_RELIABLE:g} lets importance sampling correct a fit where it has mass; it sees no mode that "
        "the fit misses. Spill is the share of a fit where the posterior has 0.1 % of its mass."
    )
    headers = ["", "k-hat of p/q", "k-hat of q/p", "ESS share of q", "spill (%)"]
    return Table("weights-table", caption, headers, rows)
