"""The rules of the verdict: for each case the sentences that they must give, and those that they must not."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from support.verdict_facts import NAN, audit, cover, covering, facts, fit, missing, modes

from pymc_kl.comparison.ranking import recommended_first
from pymc_kl.numerics.estimate import UNKNOWN, Estimate
from pymc_kl.reports.correlation import MissedCorrelation
from pymc_kl.reports.facts import Facts
from pymc_kl.reports.given import Agreement
from pymc_kl.reports.headline import headlines
from pymc_kl.reports.of_draws import in_code
from pymc_kl.reports.of_fits import FIT_RULES
from pymc_kl.reports.parameters import LargestError
from pymc_kl.reports.phrases import listed, nats, numbered, percent, plain
from pymc_kl.reports.trust import judge_reference
from pymc_kl.reports.uses import USES
from pymc_kl.reports.verdict import judge
from pymc_kl.scores.coverage import TOO_FEW_DRAWS
from pymc_kl.scores.own_density import NOT_ITS_DENSITY

ONE, TWO = modes(1.0), modes(0.7, 0.3)
TINY = modes(0.7, 0.297, 0.003, se=0.001)
UNKNOWN_MASSES = tuple(m.__class__(m.number, UNKNOWN, 1.0, 1, NAN, "the two halves disagree") for m in TWO)
LABELLED = modes(0.7, 0.3, copies=6)
RATIOS = {"tau": Estimate(0.44, 0.01), "mu": Estimate(0.98, 0.02)}
NARROW = {
    "shape": "too narrow",
    "width": Estimate(0.04, 0.001),
    "width_of": "tau",
    "forward_within": Estimate(571.0, 9.0),
}

CASES: dict[str, tuple[Facts, Sequence[str], Sequence[str]]] = {
    "one mode": (
        facts(ONE, fit("ADVI", covering(ONE), converged="yes", sd_ratios=RATIOS)),
        [
            "ADVI covers the one mode found",
            "0.440 ± 0.010 (`tau`) to 0.980 ± 0.020 (`mu`) times the reference's",
            "k-hat 0.2",
        ],
        ["all modes", "misses", "perfect", "trusted"],
    ),
    "one mode, covered by several": (
        facts(ONE, fit("forward fullrank", covering(ONE), khat=0.9), fit("ADVI", covering(ONE))),
        [
            "Use forward fullrank or ADVI: each covers the one mode found. The forward fullrank comes first: it reaches the one "
            "mode found, and its forward KL, 0.0020 ± 0.0010 nats, is within two errors of that of ADVI. "
            "What forward fullrank can be used for:\n  cannot tell  means: no draws to compare\n",
            "\n  yes          starting MCMC: reaches the one mode found\n  no           importance sampling: k-hat",
        ],
        ["any of", "corrects", "is the lowest", "in place of"],
    ),
    "one mode, covered by a fit that is off in a mean": (
        facts(
            ONE,
            fit("forward fullrank", covering(ONE), khat=0.9, kind="forward"),
            fit("ADVI", covering(ONE), mean_error=LargestError("mu", Estimate(0.227, 0.035))),
        ),
        [
            "Use forward fullrank: it covers the one mode found. "
            "ADVI is wrong for means: off by 0.227 ± 0.035 sd at worst (`mu`). ",
            "ADVI covers the one mode found",
        ],
        ["or ADVI", "standard deviations: off", "converged"],
    ),
    "one mode, covered by a fit that may be off in a mean": (
        facts(
            ONE,
            fit("forward fullrank", covering(ONE), khat=0.9, kind="forward"),
            fit("ADVI", covering(ONE), mean_error=LargestError("mu", Estimate(0.13, 0.02))),
        ),
        ["Use forward fullrank or ADVI: each covers the one mode found. The"],
        ["is wrong for"],
    ),
    "one mode, equal spread": (
        facts(ONE, fit("ADVI", covering(ONE), sd_ratios={"mu": Estimate(0.98, 0.02), "tau": Estimate(1.01, 0.01)})),
        ["standard deviations are the reference's, as far as their errors tell"],
        ["0.98 to 1.01"],
    ),
    "one of two missed": (
        facts(TWO, fit("ADVI", missing(TWO, 2), converged="yes")),
        [
            "ADVI reaches mode 1 (70 % ± 1 % of the posterior) and misses mode 2 (30 % ± 1 % of the posterior)",
            "It fits well there: use it for mode 1, not for means or intervals of the whole.",
        ],
        ["covers both", "converged", "the optimiser's", "corrected"],
    ),
    "one of two missed, wrong shape": (
        facts(TWO, fit("ADVI", (cover(TWO[0], 1.0, "over", **NARROW), cover(TWO[1], 0.0, "missed")))),
        ["It is 25 times too narrow in mode 1 (`tau`, 0.0400 ± 0.0010 of the posterior's sd): neither its means nor"],
        ["fits well", "covers"],
    ),
    "a missed mode too small to matter": (
        facts(TINY, fit("ADVI", missing(TINY, 3), converged="yes")),
        ["ADVI covers the 2 modes found with over 1 %"],
        ["misses"],
    ),
    "none reached": (
        facts(TWO, fit("ADVI", missing(TWO, 1, 2))),
        [
            ": every mode found by its mass). No fit reaches both modes found.",
            "misses modes 1 and 2",
            "Use it for nothing.",
        ],
        ["covers", "accurate", "comes first", "for means"],
    ),
    "the one mode missed": (
        facts(ONE, fit("ADVI", missing(ONE, 1), elsewhere=Estimate(1.0, 0.0004))),
        ["ADVI misses the one mode found and lies far from it. Use it for nothing."],
        ["100 %"],
    ),
    "masses uncertain": (
        facts(modes(0.6, 0.4, se=0.15), fit("ADVI", missing(modes(0.6, 0.4, se=0.15), 2))),
        ["Take the reference with care", "The mass of mode 1 is uncertain: 60 % ± 15 %", "misses mode 2 (40 % ± 15 %"],
        ["cannot be trusted"],
    ),
    "chains do not mix": (
        facts(
            UNKNOWN_MASSES,
            fit("ADVI", covering(UNKNOWN_MASSES)),
            masses_known=False,
            masses_reason="the 4 chains never moved between modes",
            completed=False,
            log_evidence=UNKNOWN,
        ),
        [
            "The reference cannot be trusted: the 4 chains never moved between modes.",
            "compares with the modes as the chains saw them",
            "Against this reference: ADVI reaches both modes found",
            "Log Z could not be estimated",
        ],
        ["of the posterior)", "masses within", "covers both"],
    ),
    "reference untrusted, a mode missed": (
        facts(
            UNKNOWN_MASSES,
            fit("ADVI", (cover(UNKNOWN_MASSES[0], 1.0, "covered"), cover(UNKNOWN_MASSES[1], 0.0, "missed"))),
            masses_known=False,
            masses_reason="mode 2: the two halves disagree",
            log_evidence=UNKNOWN,
        ),
        [
            "What follows says which modes are reached, not what they hold",
            "Against this reference: ADVI reaches mode 1 and misses mode 2.",
        ],
        ["% of the posterior"],
    ),
    "the draws missed a mode": (
        facts(
            TWO,
            fit("mixture", covering(TWO), kind="forward", family="mixture", n_components=2),
            audit=audit(2, mean=("mu[1]", 2.7, Estimate(1.2, 0.03))),
        ),
        [
            "Your draws miss mode 2, which holds 30 % ± 1 % of the posterior.",
            "Their mean of `mu[1]` is 2.70; over all modes found it is 1.200 ± 0.030",
        ],
        ["trust"],
    ),
    "the draws missed next to nothing": (
        facts(
            TINY,
            fit("ADVI", covering(TINY)),
            audit=audit(3, mass=Estimate(0.003, 0.001), alarm=False, masses_known=True),
        ),
        ["ADVI covers"],
        ["Your draws miss"],
    ),
    "the draws reached all but did not mix": (
        facts(TWO, audit=audit(masses_known=False, reason="the 4 chains never moved between modes")),
        ["Your draws reached every mode found, but the 4 chains never moved between modes"],
        ["Your draws miss"],
    ),
    "the draws are of another posterior": (
        facts(
            TWO, audit=audit(masses_known=False, reason="said already", refusals={1: "their spread along `mu` is 2.0"})
        ),
        [
            "Your draws are not draws of this posterior (in mode 1 their spread along `mu` is 2.0): another model, data "
            "or transform, or chains that have not converged. None of them are used."
        ],
        ["said already"],
    ),
    "high k-hat": (
        facts(TWO, fit("ADVI", covering(TWO), khat=0.9)),
        ["Importance sampling cannot correct it (k-hat 0.9, above 0.7)"],
        ["can be corrected", "model is"],
    ),
    "middling k-hat": (
        facts(TWO, fit("ADVI", covering(TWO), khat=0.6)),
        ["by importance sampling, with many draws (k-hat 0.6)"],
        [],
    ),
    "no weight above 1.1 times their mean": (
        facts(TWO, fit("q", covering(TWO), khat=-np.inf)),
        ["(no weight above 1.1 times their mean)"],
        ["nan", "inf"],
    ),
    "k-hat unknown": (
        facts(TWO, fit("q", covering(TWO), khat=NAN)),
        ["k-hat is not known"],
        ["nan", "can be corrected"],
    ),
    "draws only": (
        facts(
            TWO,
            fit(
                "SVGD",
                covering(TWO),
                kind="draws",
                family="draws",
                khat=NAN,
                forward_kl=UNKNOWN,
                reverse_kl=UNKNOWN,
                spill=Estimate(0.3, 0.01),
            ),
        ),
        [
            "SVGD gives draws without a density: coverage is shown, divergences are not defined",
            "reaches both modes found",
        ],
        ["k-hat", "forward KL"],
    ),
    "symmetry": (
        facts(
            LABELLED,
            fit("ADVI", covering(LABELLED), forward_kl_relabelled=Estimate(0.01, 0.002)),
            symmetries=("labels of component (3)",),
        ),
        [
            "The 2 modes found have 3! copies each, the orders of `component`.",
            "Covering one copy is enough unless you need the labels",
            "covers both modes found in 1 of its 6 copies",
            "forward KL 0.0100 ± 0.0020 nats up to relabelling",
        ],
        ["misses"],
    ),
    "symmetry, one labelling of one mode": (
        facts(
            LABELLED,
            fit(
                "ADVI",
                missing(LABELLED, 2, within=1.79),
                reverse_kl_relabelled=Estimate(0.36, 0.001),
                reverse_kl_between=Estimate(0.357, 0.001),
            ),
            symmetries=("labels of component (3)",),
        ),
        ["It fits well there"],
        ["1.79"],
    ),
    "a bound between modes is none of the whole": (
        facts(TWO, fit("q", covering(TWO), bounds=(True, True), forward_kl_between=Estimate(0.3, 0.01))),
        ["forward KL 0.0020 ± 0.0010 nats"],
        ["at least"],
    ),
    "sign symmetry": (
        facts(modes(1.0, copies=2), symmetries=("sign of loading",)),
        ["The one mode found has 2 copies, by sign of `loading`."],
        ["!"],
    ),
    "not converged, and polishing reaches what it missed": (
        facts(
            TWO,
            fit(
                "ADVI",
                missing(TWO, 2),
                converged="no",
                elbo_gap=Estimate(1.81, 0.01),
                reverse_kl=Estimate(1.812, 0.001),
            ),
            fit("ADVI (polished)", covering(TWO)),
        ),
        [
            "ADVI has not converged: polishing gains 1.810 ± 0.010 of its 1.8120 ± 0.0010 nats of reverse KL and "
            "leaves 0.0020 ± 0.0010 nats; the polished fit is shown beside it. Polished it reaches mode 2.",
            "As it stands it reaches mode 1 (70 % ± 1 % of the posterior) and misses mode 2",
        ],
        ["fault"],
    ),
    "not converged, and polishing misses the same": (
        facts(
            TWO,
            fit("ADVI", missing(TWO, 2), converged="no", elbo_gap=Estimate(1.81, 0.01)),
            fit("ADVI (polished)", missing(TWO, 2)),
        ),
        ["Polished it misses mode 2 too."],
        ["fault"],
    ),
    "converged or not, which the error leaves open": (
        facts(TWO, fit("ADVI", covering(TWO), converged="cannot tell", elbo_gap=Estimate(5.0, 3.0))),
        ["Whether it has converged cannot be told: its ELBO may gain 5.0 ± 3.0 nats."],
        ["has not converged", "optimum of its family"],
    ),
    "not converged, and nothing to compare with": (
        facts(TWO, fit("ADVI", missing(TWO, 2), converged="no", elbo_gap=Estimate(1.81, 0.01))),
        ["its ELBO can still gain 1.810 ± 0.010 nats where it stands, and what that leaves is not known."],
        ["fault", "polish"],
    ),
    "not converged, and polishing leaves most": (
        facts(
            ONE,
            fit(
                "ADVI",
                covering(ONE),
                converged="no",
                elbo_gap=Estimate(1.2, 0.01),
                reverse_kl=Estimate(7.0, 0.1),
                forward_kl=Estimate(19.8, 0.4),
            ),
            fit("ADVI (polished)", covering(ONE), reverse_kl=Estimate(5.8, 0.05), forward_kl=Estimate(29.1, 0.5)),
        ),
        [
            "polishing gains 1.200 ± 0.010 of its 7.00 ± 0.10 nats of reverse KL and leaves 5.800 ± 0.050 nats, which the "
            "meanfield family cannot mend from where it stands. It raises the forward KL from 19.80 ± 0.40 to 29.10 ± 0.50 nats."
        ],
        ["fault", "optimiser"],
    ),
    "polished, and one more climb gains": (
        facts(
            TWO,
            fit(
                "ADVI (polished)",
                covering(TWO),
                converged="no",
                elbo_gap=Estimate(1477.0, 24.0),
                spill=Estimate(0.12, 0.01),
            ),
        ),
        ["ADVI (polished) has not converged", "1477 ± 24 nats"],
        ["at an optimum"],
    ),
    "a density of other draws": (
        facts(TWO, fit("q", missing(TWO, 2), kind="draws", error=f"log_prob: {NOT_ITS_DENSITY}: by 20 errors")),
        ["q is refused as a density", "do not belong together: by 20 errors", "As draws alone it reaches mode 1"],
        ["accurate", "use it"],
    ),
    "too few draws": (
        facts(TWO, fit("q", tuple(cover(m, 1.0 - i, TOO_FEW_DRAWS, se=0.3) for i, m in enumerate(TWO)), kind="draws")),
        ["q has too few draws to tell whether it covers modes 1 and 2 or misses them"],
        ["covers mode 1", "q reaches"],
    ),
    "far from all": (
        facts(TWO, fit("q", missing(TWO, 1, 2), elsewhere=Estimate(1.0, 0.0004))),
        ["misses modes 1 and 2", "lies far from every mode found"],
        ["covers", "use it for mode"],
    ),
    "no draw in a small mode": (
        facts(
            modes(0.84, 0.145, 0.015),
            fit(
                "q",
                tuple(
                    cover(m, mass, word)
                    for m, mass, word in zip(
                        modes(0.84, 0.145, 0.015), (1.0, 0.0, 0.0), ("over", "missed", "under"), strict=True
                    )
                ),
            ),
        ),
        ["q reaches mode 1 (84", "has no draw in mode 3", "and misses mode 2"],
        ["modes 1 and 3"],
    ),
    "k-hat around its limit": (
        facts(ONE, fit("q", covering(ONE), khat=0.66, khat_se=0.14)),
        [
            "Whether importance sampling can correct it is not sure (k-hat 0.66 ± 0.14; sure where k-hat plus two errors "
            "is below 0.7)"
        ],
        ["sampling cannot", "can be corrected"],
    ),
    "k-hat surely above its limit": (
        facts(ONE, fit("q", covering(ONE), khat=1.1, khat_se=0.15)),
        ["Importance sampling cannot correct it (k-hat 1.10 ± 0.15, above 0.7)"],
        ["not sure"],
    ),
    "negative divergence": (
        facts(TWO, fit("q", missing(TWO, 2, within=-17.96), reverse_kl=Estimate(-17.5, 0.13))),
        [
            "Take the reference with care",
            "The ELBO of q is 17.50 ± 0.13 nats above log Z, so log Z is too low: a mode may be missed.",
        ],
        ["accurate"],
    ),
    "not converged, nothing missed": (
        facts(TWO, fit("ADVI", covering(TWO), converged="no", elbo_gap=Estimate(0.5, 0.01))),
        ["its ELBO can still gain 0.500 ± 0.010 nats where it stands, and what that leaves is not known."],
        ["Polished", "accurate", "fault"],
    ),
    "family too small": (
        facts(
            TWO,
            fit("full-rank ADVI", covering(TWO), family="fullrank", converged="yes", spill=Estimate(0.12, 0.01)),
            fit("forward fullrank", covering(TWO), kind="forward", family="fullrank", forward_kl=Estimate(0.60, 0.01)),
        ),
        [
            "The fit full-rank ADVI reaches both modes found, but 12 % ± 1 % of its mass spills where the posterior has almost none",
            "It stands at an optimum of its family: more steps will not mend that; another start or a larger family may.",
            "The best forward fit of that family has forward KL 0.600 ± 0.010 nats",
        ],
        ["has not converged"],
    ),
    "spills, optimum unknown": (
        facts(TWO, fit("q", covering(TWO), spill=Estimate(0.12, 0.01))),
        ["12 % ± 1 % of its mass spills where"],
        ["optimum of its family"],
    ),
    "spill within its error": (
        facts(TWO, fit("q", covering(TWO), spill=Estimate(0.12, 0.05))),
        ["q covers both modes found"],
        ["spills where the posterior"],
    ),
    "forward Gaussian": (
        facts(
            TWO, fit("forward fullrank", covering(TWO), kind="forward", family="fullrank", spill=Estimate(0.25, 0.01))
        ),
        [
            "reaches both modes found and matches the mean and covariance of the unconstrained parameters, but 25 % ± 1 %",
            "almost none (0.1 %): use these moments, not its draws.",
        ],
        ["optimum of its family", "copies"],
    ),
    "forward Gaussian over copies": (
        facts(
            LABELLED,
            fit("forward fullrank", covering(LABELLED), kind="forward", family="fullrank", spill=Estimate(0.25, 0.01)),
        ),
        [
            "matches the mean and covariance of the unconstrained parameters over all copies, but 25 % ± 1 %",
            "almost none (0.1 %): neither they nor its draws are those of a copy.",
        ],
        ["use these moments"],
    ),
    "forward mixture": (
        facts(TWO, fit("forward mixture", covering(TWO), kind="forward", family="mixture", n_components=2)),
        [
            "The forward mixture (2 components) covers both modes found, masses within 3 %, forward KL 0.0020 ± 0.0010 nats",
            "corrected by importance sampling (k-hat 0.2)",
        ],
        ["perfect", "all modes"],
    ),
    "wrong weights": (
        facts(TWO, fit("q", (cover(TWO[0], 0.4, "under"), cover(TWO[1], 0.6, "over")))),
        ["weighs them wrongly: mode 1 has 40.0 % ± 0.5 % where the posterior has 70 % ± 1 %"],
        ["covers both"],
    ),
    "wrong shape": (
        facts(
            TWO,
            fit(
                "q",
                (
                    cover(TWO[0], 0.7, "covered", shape="wrong shape", forward_within=Estimate(2.0, 0.1)),
                    cover(TWO[1], 0.3, "covered", shape="too wide", width=Estimate(3.2, 0.1), width_of="mu[0]"),
                ),
            ),
        ),
        [
            "q reaches both modes found",
            "It is of the wrong shape in mode 1 (2.00 ± 0.10 nats of forward KL) and 3.2 times too wide in mode 2 "
            "(`mu[0]`, 3.20 ± 0.10 of the posterior's sd).",
        ],
        ["covers"],
    ),
    "one mode, far too narrow": (
        facts(
            ONE,
            fit(
                "ADVI",
                (cover(ONE[0], 1.0, "covered", **NARROW),),
                sd_ratios={"tau": Estimate(0.04, 0.001), "mu": Estimate(0.07, 0.001)},
                mean_error=LargestError("mu", Estimate(0.03, 0.01)),
                tail_error=LargestError("mu", Estimate(1.5, 0.1)),
            ),
        ),
        [
            'Use the reference\'s draws (`comparison["posterior"]`). No fit surely matches the one '
            "mode found. ADVI is 25 times too narrow. What ADVI can be used for in place of these draws:\n  yes          means: off by 0.030 ± 0.010 sd at worst (`mu`)\n",
            "  cannot tell  standard deviations: no draws to compare\n  no           90 % intervals: off by 1.50 ± 0.10 sd at worst (`mu`)\n",
            "ADVI reaches the one mode found but is 25 times too narrow there.",
            "Its standard deviations are 0.0400 ± 0.0010 (`tau`) to 0.0700 ± 0.0010 (`mu`) times the reference's.",
            "Right for means (off by 0.03 ± 0.01 sd at worst), wrong for intervals.",
        ],
        ["covers", "fits"],
    ),
    "a correlation is missed": (
        facts(
            ONE,
            fit(
                "ADVI",
                (cover(ONE[0], 1.0, "covered", **NARROW),),
                misses=MissedCorrelation(("a", "b"), Estimate(-0.9, 0.01), Estimate(0.02, 0.02)),
            ),
        ),
        [
            "ADVI is 25 times too narrow and misses the correlation of `a` and `b`.",
            "It misses the correlation of `a` and `b` (0.020 ± 0.020 where the posterior has -0.900 ± 0.010).",
        ],
        ["in mode 1"],
    ),
    "one mode, the wrong shape by a divergence without a finite error": (
        facts(
            ONE,
            fit(
                "q",
                (cover(ONE[0], 1.0, "covered", shape="wrong shape", forward_within=Estimate(0.45, np.inf)),),
                mean_error=LargestError("mu", Estimate(0.03, 0.01)),
            ),
        ),
        ["q reaches the one mode found but is of the wrong shape there.", "Right for means (off by 0.03 ± 0.01 sd"],
        ["0.45", "finite", "wrong for intervals"],
    ),
    "not converged, by a divergence without a finite error": (
        facts(
            ONE,
            fit("ADVI", covering(ONE), converged="no", elbo_gap=Estimate(85.0, 0.3), reverse_kl=Estimate(104, np.inf)),
            fit("ADVI (polished)", covering(ONE), reverse_kl=Estimate(5.8, 0.05)),
        ),
        ["polishing gains 85.00 ± 0.30 nats of reverse KL and leaves 5.800 ± 0.050 nats"],
        ["104", "100", "finite"],
    ),
    "not converged, and weighs wrongly": (
        facts(
            TWO,
            fit(
                "ADVI",
                (cover(TWO[0], 0.4, "under", **NARROW), cover(TWO[1], 0.6, "over")),
                converged="no",
                elbo_gap=Estimate(8.5, 0.1),
            ),
        ),
        [
            "As it stands it reaches modes 1 and 2 (100 % of the posterior), has 40.0 % ± 0.5 % where the posterior has "
            "70 % ± 1 % in mode 1 and is 25 times too narrow in mode 1"
        ],
        [],
    ),
    "an ELBO gap without a finite error": (
        facts(ONE, fit("ADVI", covering(ONE), converged="cannot tell", elbo_gap=Estimate(104.2, np.inf))),
        ["its ELBO may gain about 100 nats (its error is not finite)."],
        ["e+"],
    ),
    "starts are lost": (
        facts(TWO, fit("q", covering(TWO)), unseen=Estimate(0.3, 0.01)),
        ["The chance that one more start finds a new mode is estimated at 30 % ± 1 %"],
        [],
    ),
    "interrupted before all fits": (
        facts(TWO, fit("q", covering(TWO)), interrupted="Interrupted during the scores."),
        ["Interrupted during the scores."],
        [],
    ),
    "a shape that cannot be told": (
        facts(TWO, fit("q", (cover(TWO[0], 0.7, "covered"), cover(TWO[1], 0.3, "covered", shape="cannot tell")))),
        [
            "q reaches both modes found",
            "Whether its shape fits in mode 2 cannot be told: its forward KL is 0.0020 ± 0.0010 nats, and the limit of 0.1 ",
        ],
        ["covers"],
    ),
    "failed": (
        facts(TWO, fit("ADVI", tuple(cover(m, NAN, "") for m in TWO), error="FloatingPointError: NaN in the loss")),
        ["ADVI failed and has no scores: FloatingPointError: NaN in the loss"],
        ["covers", "misses", "nan"],
    ),
    "NaN scores": (
        facts(
            TWO,
            fit(
                "ADVI",
                covering(TWO),
                forward_kl=UNKNOWN,
                reverse_kl=UNKNOWN,
                forward_kl_within=UNKNOWN,
                reverse_kl_within=UNKNOWN,
                spill=UNKNOWN,
                khat=NAN,
            ),
            log_evidence=UNKNOWN,
        ),
        ["ADVI covers both modes found", "Log Z could not be estimated"],
        ["nan", "forward KL"],
    ),
    "no scores": (facts(TWO, fit("ADVI", tuple(cover(m, NAN, "") for m in TWO))), ["ADVI has no scores"], ["nan"]),
    "interrupted": (
        facts(TWO, fit("q", covering(TWO)), partial=True),
        ["Take the reference with care. The search or the sampling was stopped early"],
        [],
    ),
    "no approximation": (facts(TWO), [], ["covers"]),
}


TRUSTED = judge_reference(facts(TWO))


def text_of(case: Facts) -> str:
    return " ".join(sentence.text for sentence in judge(case))


@pytest.mark.parametrize("name", CASES)
def test_each_case_says_what_it_must_and_nothing_wrong(name: str) -> None:
    case, must, must_not = CASES[name]
    text = text_of(case)
    for part in must:
        assert part in text, f"{part!r} is not in: {text}"
    for part in (*must_not, "perfect", "ELBO loss"):
        assert part not in text, f"{part!r} is in: {text}"


@pytest.mark.parametrize("name", CASES)
def test_nobody_reads_a_raw_number(name: str) -> None:
    case = CASES[name][0]
    for sentence in judge(case):
        assert all(part[0].isupper() or part[0] == "(" for part in re.split(r"(?<=[a-z)`]\.) ", sentence.text))
        assert not re.search(r"\bnan\b", sentence.text)
        if sentence.rule != "uses":  # a list
            assert sentence.text.endswith((".", "loss"))
            assert "  " not in sentence.text


def test_every_rule_has_a_case() -> None:
    of_all = {
        "draws", "answer", "draws refused", "interrupted", "untrusted", "care", "starts are lost", "draws miss modes", "symmetry",
        "no log Z", "first", "uses", *FIT_RULES,
    }  # fmt: skip
    assert {sentence.rule for case, *_ in CASES.values() for sentence in judge(case)} == of_all


def test_the_draws_come_first_then_the_answer_and_the_fits_as_they_are_ranked() -> None:
    case = facts(
        TWO,
        fit("good", covering(TWO), kind="forward", family="mixture"),
        fit("bad", missing(TWO, 2)),
        fit("late", missing(TWO, 2), converged="no", elbo_gap=Estimate(1.0, 0.1)),
        fit("broken", tuple(cover(m, NAN, "") for m in TWO), error="ValueError: no"),
        audit=audit(2),
    )
    said = judge(case)
    assert [s.about for s in said] == ["", "", "good", "good", "good", "bad", "late", "broken"]
    assert [s.rule for s in said[:4]] == ["draws miss modes", "answer", "first", "uses"]
    assert said[1].text.startswith("Use good: it covers both modes found")


FIRST = {
    "surely the lowest": ({"q": 0.5, "r": 0.9}, "The fit q comes first: it reaches both modes found, and its forward KL, 0.50 ± 0.10 nats, is the lowest."),
    "not surely": ({"q": 0.5, "r": 0.7, "s": 0.9}, "and its forward KL, 0.50 ± 0.10 nats, is within two errors of that of r."),
    "of none surely": ({"q": 0.5, "r": 0.6, "s": 0.7}, "is within two errors of that of r and s."),
    "not known": ({"q": NAN, "r": NAN}, "it reaches both modes found, and its k-hat 0.2 is within two errors of that of r."),
}  # fmt: skip


FAULTS = {
    "none": (fit("ADVI", covering(TWO)), ""),
    "a mode missed": (fit("ADVI", missing(TWO, 2)), "ADVI misses mode 2."),
    "the only mode missed": (fit("ADVI", missing(ONE, 1)), "ADVI misses the one mode found."),
    "not converged, and more": (
        fit("ADVI", (cover(TWO[0], 1.0, "over", **NARROW), cover(TWO[1], 0.0, "missed")), converged="no"),
        "ADVI has not converged and misses mode 2.",
    ),
    "too narrow": (fit("ADVI", (cover(ONE[0], 1.0, "covered", **NARROW),)), "ADVI is 25 times too narrow."),
    "too narrow in one": (
        fit("ADVI", (cover(TWO[0], 0.7, "covered"), cover(TWO[1], 0.3, "covered", **NARROW))),
        "ADVI is 25 times too narrow in mode 2.",
    ),
    "in small letters": (fit("full-rank ADVI", missing(TWO, 2)), "The fit full-rank ADVI misses mode 2."),
    "a wrong mass": (
        fit("ADVI", (cover(TWO[0], 0.9, "over"), cover(TWO[1], 0.1, "under"))),
        "ADVI has the wrong mass in modes 1 and 2.",
    ),
    "of a forward fit": (fit("forward", missing(TWO, 2), kind="forward"), ""),
    "of a polished fit": (fit("ADVI (polished)", missing(TWO, 2)), ""),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_answer_says_in_short_what_is_wrong_with_a_reverse_fit(name: str) -> None:
    bad, said = FAULTS[name]
    found = tuple(c.mode for c in bad.coverage)
    [text] = [
        s.text for s in judge(facts(found, fit("good", covering(found), kind="forward"), bad)) if s.rule == "answer"
    ]
    assert text.split(". ", 1)[1:] == ([said] if said else [])


def test_without_a_figure_no_fit_is_told_from_another() -> None:
    fits = [fit(q, covering(TWO), forward_kl=UNKNOWN, khat=NAN) for q in "qr"]
    assert "no figure tells it from those that reach as much." in text_of(facts(TWO, *fits))


@pytest.mark.parametrize("name", FIRST)
def test_why_a_fit_comes_first_is_told_by_figures_and_errors(name: str) -> None:
    figures, said = FIRST[name]
    fits = [
        fit(q, covering(TWO), forward_kl=Estimate(kl, 0.1), missed_mass=Estimate(0.0, 0.0)) for q, kl in figures.items()
    ]
    [text] = [sentence.text for sentence in judge(facts(TWO, *fits)) if sentence.rule == "first"]
    assert text.endswith(said)


def test_a_fit_that_misses_less_comes_first_for_that() -> None:
    whole = fit("q", covering(TWO), forward_kl=Estimate(0.5, 0.1), missed_mass=Estimate(0.0, 0.0))
    part = fit("r", missing(TWO, 2), forward_kl=Estimate(0.1, 0.1), missed_mass=Estimate(0.3, 0.0))
    assert "q comes first: it reaches both modes found, and every other fit misses more." in text_of(
        facts(TWO, whole, part)
    )
    other = fit("s", covering(TWO), forward_kl=Estimate(0.9, 0.1), missed_mass=Estimate(0.0, 0.0))
    assert "is the lowest of those that do." in text_of(facts(TWO, whole, other, part))


@settings(max_examples=200, deadline=None)
@given(st.floats(0.02, 0.98), st.floats(0, 0.2), st.floats(0, 1), st.floats(0, 0.3), st.floats(0, 2), st.floats(-2, 3))
def test_no_claim_is_stronger_than_its_errors(
    mass: float, se: float, spill: float, spill_se: float, within: float, khat: float
) -> None:
    """Whatever the numbers: spill is told beyond two errors, correction for a low k-hat."""
    found = modes(mass, 1 - mass, se=se)
    q = fit("q", covering(found), spill=Estimate(spill, spill_se), reverse_kl_within=Estimate(within, 0.1), khat=khat)
    text = text_of(facts(found, q))
    assert ("spills where the posterior has almost none" in text) == (spill - 2 * spill_se > 0.05)
    if "can be corrected" in text:
        assert khat <= 0.7


@pytest.mark.parametrize("name", CASES)
def test_headlines_and_uses_hold_for_every_case(name: str) -> None:
    case = CASES[name][0]
    trust = judge_reference(case)
    figures = [h.figure for h in headlines(case, trust)]
    n = len(case.that_matter)
    assert figures[0] == "none" or re.fullmatch(rf"\d+ of {n} modes?", figures[0])
    assert figures[1] == trust.answer
    assert "nan" not in " ".join(figures)
    assert trust.answer in ("yes", "with care", "no")
    assert len(trust.why.split()) <= 8
    for q in case.fits:
        if q.scored:
            for rule in USES.values():
                use = rule(case, q)
                assert use.answer in ("yes", "no", "cannot tell")
                assert "nan" not in use.why


def test_the_first_figure_counts_the_modes_that_count_and_says_how_many_were_found() -> None:
    said = headlines(facts(TINY, audit=audit(worst=Agreement("a", 1.0, 900.0, 1.0), masses_known=True)), TRUSTED)[0]
    assert (said.about, said.figure) == ("Your draws hold, of modes over 1 %", "2 of 2 modes")
    assert said.label.startswith("3 modes were found; chains agree")
    assert headlines(facts(TWO, audit=audit(2)), TRUSTED)[0].about == "Your draws hold"


def test_a_label_is_put_in_code_and_counted() -> None:
    assert in_code("labels of component (3)") == "the 3 labels of `component`"
    assert in_code("sign of a") == "sign of `a`"


def ranking(**scores: list[float]) -> list[str]:
    """Names of the fits, which are numbers in the order given, from the recommended one down."""
    n = len(next(iter(scores.values())))
    columns = {name: ("approximation", values) for name, values in scores.items()}
    return recommended_first(xr.Dataset(columns, coords={"approximation": list(map(str, range(n)))}))


def test_the_first_fit_misses_least_and_has_the_least_forward_kl() -> None:
    """By the mass missed; then by forward KL, up to relabelling; without log Z, which makes that NaN, by k-hat."""
    nan = [NAN] * 3
    assert ranking(missed_mass=[0.3, 0.0, 0.001], forward_kl=[0.1, 0.9, 0.2], khat=nan) == ["2", "1", "0"]
    relabelled = {"forward_kl": [0.1, 0.9, 0.2], "forward_kl_relabelled": [0.5, 0.01, 0.2]}
    assert ranking(missed_mass=[0.0] * 3, khat=nan, **relabelled) == ["1", "2", "0"]
    assert ranking(missed_mass=[0.0] * 3, forward_kl=nan, khat=[0.9, 0.4, NAN]) == ["1", "0", "2"]
    assert ranking(missed_mass=[NAN, 0.0, 0.9], forward_kl=[NAN, 3.0, 1.0], khat=nan) == ["1", "2", "0"]


CHAINS = {
    "one copy each": (
        {"in_mode": {1: ("0", "1", "2", "3")}, "in_copy": {1: ("0", "2"), 2: ("1", "3")}},
        (1.55, 1.002),
        "R-hat of `a` is 1.55 (ESS 7): chains 0 and 2 sit in one copy of a mode and 1 and 3 in its mirror image (sign "
        "of `a`); relabelled it is 1.00: nothing is lost unless you need the sign.",
    ),
    "copies in any order": (
        {"in_mode": {1: ("0", "1", "2", "3")}, "in_copy": {1: ("0",), 2: ("1", "3"), 3: ("2",)}},
        (2.35, 1.006),
        "chain 0 sits in one copy of a mode and 1, 2 and 3 in its mirror image (sign of `a`); relabelled it is 1.006:",
    ),
    "each in its mode": (
        {"in_mode": {1: ("0", "1", "2"), 2: ("3",)}},
        (2.08, 2.08),
        "chains 0, 1 and 2 sit in mode 1 (70 % ± 1 % of the posterior) and 3 in mode 2 (30 % ± 1 % of the posterior); "
        "none moved between modes.",
    ),
    "few moves": ({"in_mode": {1: ("0", "1")}, "moves": 3}, (1.04, 1.04), "between modes only 3 times."),
    "nearly mixed": (
        {"in_mode": {1: ("0", "1")}},
        (1.0104, 1.0104),
        "Your chains nearly agree. R-hat of `a` is 1.0104 (ESS 7): they differ within one mode, and longer ones may be enough.",
    ),
    "not mixed": (
        {"in_mode": {1: ("0", "1")}, "n_diverging": 169},
        (1.08, 1.08),
        "the chains have not mixed within one mode (169 divergences): longer chains, or another parametrisation.",
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_why_chains_disagree_is_told_in_a_sentence(name: str) -> None:
    changes, (rhat, relabelled), said = CHAINS[name]
    given = audit(mass=Estimate(0.0, 0.0), worst=Agreement("a", rhat, 7.2, relabelled), masses_known=True, **changes)
    case = facts(TWO, audit=given, symmetries=("sign of a",) if relabelled < rhat else ())
    assert said in text_of(case)
    good = replace(given, worst=Agreement("a", 1.004, 900.0, 1.004))
    assert "R-hat of" not in text_of(facts(TWO, audit=good))
    assert "their chains agree (R-hat at worst 1.00)" in text_of(facts(TWO, audit=good))


FINE = audit(worst=Agreement("a", 1.004, 900.0, 1.004, 800.0), masses_known=True)
SIGNS = replace(FINE, worst=Agreement("a", 1.54, 7.0, 1.008, 5.0))
STATES = {
    "fine": (
        facts(TWO, audit=FINE),
        "Your draws are fine: they reach both modes found, and their chains agree (R-hat at worst 1.00, ESS at least 800).",
        "Use your draws.",
    ),
    "fine, without fits that are": (
        facts(TWO, fit("ADVI", missing(TWO, 2)), audit=FINE),
        "Your draws are fine: they reach both modes found,",
        "Use your draws. No fit reaches both modes found.",
    ),
    "fine, but for copies": (
        facts(ONE, audit=FINE, symmetries=("sign of a",)),
        "Your draws are fine up to signs: they reach the one mode found,",
        "Use your draws",
    ),
    "fine, as is a fit": (
        facts(ONE, fit("ADVI", covering(ONE)), audit=FINE),
        "Your draws are fine: they reach the one mode found,",
        "Use your draws; as a fit, use ADVI: it covers the one mode found, and importance sampling corrects it to draws of the posterior.",
    ),
    "copies": (
        facts(ONE, audit=SIGNS, symmetries=("sign of a",)),
        "Your draws are fine apart from signs. R-hat of `a` is 1.54 (ESS 7): chains move between copies of a mode (sign of `a`); relabelled it is 1.008",
        "Use your draws for what signs do not change, else the reference's "
        '(`comparison["posterior"]`: copies in equal shares).',
    ),
    "few": (
        facts(ONE, audit=replace(FINE, worst=Agreement("a", 1.004, 90.0, 1.004, 80.0))),
        "Your draws reach the one mode found, and their chains agree (R-hat at worst 1.00, ESS at least 80), but an ESS "
        "below 400 is little.",
        "Use the reference's draws",
    ),
    "diverging": (
        facts(ONE, audit=replace(FINE, n_diverging=31), unseen=Estimate(0.01, 0.001)),
        "Your draws reach the one mode found, and their chains agree (R-hat at worst 1.00, ESS at least 800), but 31 draws "
        "diverged and the reference is to be taken with care.",
        "Use the reference's draws",
    ),
    "as given": (
        facts(ONE, audit=FINE, completed=False),
        "Your draws reach the one mode found, and",
        "Use your draws.",
    ),
    "a mode that may hold too much": (
        facts(TWO, audit=replace(FINE, missed=(2,))),
        "Your draws reach mode 1, and their chains agree (R-hat at worst 1.00, ESS at least 800), but none is in mode 2, "
        "which may hold more than 1 %.",
        "Use the reference's draws",
    ),
    "not identified": (
        facts(ONE, audit=FINE, proper=False, log_evidence=UNKNOWN, evidence_reason="no; it is flat along `w`"),
        "Your chains agree (R-hat at worst 1.00, ESS at least 800), but it is flat along `w`.",
        "Use the reference's draws",
    ),
    "turned at will": (
        facts(
            ONE,
            audit=FINE,
            proper=False,
            log_evidence=UNKNOWN,
            evidence_reason="not identified along a rotation of `W`",
        ),
        "Your chains agree (R-hat at worst 1.00, ESS at least 800), but not identified along a rotation of `W`: report "
        "only what turning it does not change.",
        "Use the reference's draws",
    ),
    "one chain": (
        facts(ONE, audit=replace(FINE, worst=None)),
        "Your draws reach the one mode found, and whether their chains agree is not known.",
        "Use the reference's draws",
    ),
    "wrong shares": (
        facts(
            TWO,
            audit=replace(
                FINE, shares={1: Estimate(0.3, 0.01), 2: Estimate(0.7, 0.01)}, mean=("a", -3.0, Estimate(0.01, 0.02))
            ),
        ),
        "Your draws reach modes in the wrong shares: 30 % ± 1 % of them are in mode 1, which holds 70 % ± 1 %. "
        "Their mean of `a` is -3.00; over all modes found it is 0.010 ± 0.020.",
        "Use the reference's draws",
    ),
    "one draw, where thirty are expected": (
        facts(TWO, audit=replace(FINE, shares={1: Estimate(0.99, 0.01), 2: Estimate(0.01, 0.01)})),
        "Your draws reach modes in the wrong shares: 99.0 % (94.5 % to 99.98 %) of them are in mode 1, which holds 70 %",
        "Use the reference's draws",
    ),
    "one draw, where five are expected": (
        facts(
            tuple(replace(m, mass=Estimate(v, 1e-4)) for m, v in zip(TWO, (0.975, 0.025), strict=True)),
            audit=replace(FINE, shares={1: Estimate(0.995, 0.005), 2: Estimate(0.005, 0.005)}),
        ),
        "Your draws are fine: they reach both modes found,",
        "Use your draws.",
    ),
    "shares within their errors": (
        facts(TWO, audit=replace(FINE, shares={1: Estimate(0.67, 0.01), 2: Estimate(0.33, 0.01)})),
        "Your draws are fine: they reach both modes found,",
        "Use your draws.",
    ),
    "missed": (
        facts(
            TWO,
            audit=replace(SIGNS, missed=(2,), alarm=True, missed_mass=Estimate(0.3, 0.01)),
            symmetries=("sign of a",),
        ),
        "Your draws miss mode 2, which holds 30 % ± 1 % of the posterior.",
        "Use the reference's draws",
    ),
}


@pytest.mark.parametrize("name", STATES)
def test_the_first_sentence_says_what_the_draws_are_worth_and_the_second_what_to_do(name: str) -> None:
    case, draws, answer = STATES[name]
    first, second, *_ = judge(case)
    assert first.text.startswith(draws)
    assert second.rule == "answer" and second.text.startswith(answer)
    assert ("Your draws are fine" in text_of(case)) == draws.startswith("Your draws are fine")


def test_draws_are_not_called_fine_beside_a_reference_that_cannot_be_trusted() -> None:
    first, second = judge(facts(ONE, audit=FINE, masses_known=False, masses_reason="it jumps"))[:2]
    assert first.text.endswith("(R-hat at worst 1.00, ESS at least 800), but the reference cannot be trusted.")
    assert second.text.startswith("The reference cannot be trusted: it jumps.")


def test_the_first_sentence_says_why_a_region_has_no_log_z() -> None:
    cause = "the posterior is not identified along a rotation of `W` (axis 1)"
    reason = f"draws and proposal overlap too little (0.001); {cause}"
    case = facts(modes(1.0), proper=False, log_evidence=Estimate(np.nan, np.nan), evidence_reason=reason)
    assert judge(case)[0].text.startswith(f"Log Z is not known: {cause}. KL divergences are known up to one constant")
    assert text_of(case).count("Log Z") == 1
    assert judge_reference(case).why == cause
    known = replace(case, log_evidence=Estimate(0.0, 0.1))
    assert judge_reference(known).why == "one region without a proper maximum"
    assert judge(known)[0].rule != "no log Z"


def test_an_untrusted_reference_is_no_and_a_doubtful_one_with_care() -> None:
    assert judge_reference(CASES["chains do not mix"][0]).answer == "no"
    assert judge_reference(CASES["masses uncertain"][0]).answer == "with care"
    assert judge_reference(facts(TWO)).answer == "yes"
    assert judge_reference(facts(TWO, proper=False)).answer == "with care"
    assert judge_reference(facts(TWO, unseen=Estimate(0.01, 0.005))).answer == "with care"
    assert judge_reference(facts(modes(0.7, 0.3, overlap=0.03))).answer == "with care"


def test_a_use_is_granted_or_refused_only_where_two_errors_allow_it() -> None:
    def answer(use: str, **changes: object) -> str:
        return USES[use](facts(TWO), fit("q", covering(TWO), **changes)).answer

    assert answer("means", mean_error=LargestError("mu", Estimate(-0.6, 0.01))) == "no"
    assert answer("means", mean_error=LargestError("mu", Estimate(0.12, 0.02))) == "cannot tell"
    assert answer("means", mean_error=LargestError("mu", Estimate(-0.06, 0.02))) == "yes"
    assert answer("standard deviations", sd_error=LargestError("mu", Estimate(np.log(1.16), 0.05))) == "cannot tell"
    assert answer("standard deviations", sd_error=LargestError("mu", Estimate(np.log(0.4), 0.02))) == "no"
    assert answer("90 % intervals", tail_error=LargestError("mu", Estimate(0.4, 0.02))) == "no"
    assert answer("plausible draws", spill=Estimate(0.02, 0.01)) == "yes"
    assert answer("plausible draws", spill=Estimate(0.06, 0.01)) == "cannot tell"
    assert answer("plausible draws", spill=Estimate(0.09, 0.01)) == "no"
    assert answer("importance sampling", khat=0.3) == "yes"
    assert answer("importance sampling", khat=0.6) == "yes"
    assert answer("importance sampling", khat=0.6, khat_se=0.1) == "cannot tell"
    assert answer("importance sampling", khat=1.2) == "no"


def test_a_use_that_cannot_be_told_says_why() -> None:
    def why(use: str, **changes: object) -> str:
        return USES[use](facts(TWO), fit("q", covering(TWO), **changes)).why

    close = "; limit "
    assert why("means", mean_error=LargestError("mu", Estimate(0.12, 0.02))).endswith(f"(`mu`){close}0.1 sd")
    assert why("standard deviations", sd_error=LargestError("mu", Estimate(0.1, 0.02))).endswith(f"(`mu`){close}10 %")
    assert why("plausible draws", spill=Estimate(0.06, 0.01)).endswith(f"almost none{close}5 %")
    assert why("importance sampling", khat=0.6, khat_se=0.1).endswith(f"{close}0.7")
    assert close not in why("plausible draws", spill=Estimate(0.09, 0.01))


@pytest.mark.parametrize(
    ("covers", "masses", "starts"),
    [
        (covering(TWO), "yes", "yes"),
        (missing(TWO, 2), "no", "no"),
        ((cover(TWO[0], 0.9, "over"), cover(TWO[1], 0.1, "under")), "no", "yes"),
        ((cover(TWO[0], 0.7, "covered"), cover(TWO[1], 0.2, TOO_FEW_DRAWS, se=0.1)), "cannot tell", "yes"),
    ],
)
def test_masses_of_modes_and_starts_go_by_the_words_of_the_coverage(covers, masses: str, starts: str) -> None:
    q = fit("q", covers)
    assert USES["masses of modes"](facts(TWO), q).answer == masses
    assert USES["starting MCMC"](facts(TWO), q).answer == starts


def test_importance_sampling_is_refused_where_a_mode_is_missed_however_good_khat_is() -> None:
    q = fit("ADVI", missing(TWO, 2), khat=-1.8)
    assert USES["importance sampling"](facts(TWO), q).answer == "no"
    assert "blind to mode 2" in USES["importance sampling"](facts(TWO), q).why


def test_numbers_are_rounded_by_their_error() -> None:
    assert percent(Estimate(0.3049, 0.012)) == "30 % ± 1 %"
    assert percent(Estimate(0.3049, 0.0012)) == "30.5 % ± 0.1 %"
    assert percent(Estimate(0.0, 0.001), 0.0015) == "below 0.2 %"
    assert percent(Estimate(1.0, 0.0)) == "100 %"
    assert percent(Estimate(1.0, 0.0004)) == "above 99.9 %"
    assert percent(Estimate(0.998, 0.001), 0.9995, lower=0.9945) == "99.80 % (99.45 % to 99.95 %)"
    assert percent(UNKNOWN) == "an unknown share"
    assert nats(Estimate(0.60486, 0.0123)) == "0.605 ± 0.012 nats"
    assert nats(Estimate(-0.002, 0.001)) == "-0.0020 ± 0.0010 nats"
    assert nats(Estimate(np.inf, NAN)) == "infinite"
    assert nats(Estimate(0.0721, NAN)) == "about 0.072 nats (its error is not known)"
    assert nats(Estimate(104.2, np.inf)) == "about 100 nats (its error is not finite)"
    assert nats(Estimate(123456.0, np.inf)) == "about 120,000 nats (its error is not finite)"
    assert plain(2.7134, 0.02) == "2.71"
    assert listed([1]) == "1" and listed([1, 2, 3]) == "1, 2 and 3"
    assert listed(range(9)) == "0, 1, 2, 3 and 5 more"
    assert numbered([2]) == "mode 2" and numbered([1, 2]) == "modes 1 and 2"
