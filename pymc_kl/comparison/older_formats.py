"""Bring comparisons of older formats to the one of today."""

import numpy as np
import xarray as xr

from pymc_kl.fitting.elbo_gap import ELBO_GAP_TOLERANCE
from pymc_kl.model.datatree import FORMAT
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.numerics.judgement import at_most

NEEDED_OF_FITS = ("posterior", "sample_stats", "fit")


def converted(dt: xr.DataTree, made: int) -> xr.DataTree:
    """Bring a comparison of an older format to this one.

    Format 4 has yes and no alone for `converged` of `scores`, as 1 and 0. Format 3 calls the attribute `masses_known`
    of `modes` and `audit` `mixes`. Format 2 bears no mark, so its groups are looked at. Format 1 says nothing of
    passes, parameters and densities on a line; its log q at the reference was at other draws than `posterior` has, and
    is left out.
    """
    if made < 1:
        raise ValueError("this DataTree does not say which version of pymc_kl wrote it. Make one with compare().")
    if missing := _missing_groups(dt):
        raise ValueError(
            f"this comparison was not written to its end: it lacks {', '.join(missing)}. Make it again with compare()."
        )
    names = dt["coverage"].to_dataset()["approximation"].values if made < 2 else ()
    left_out = {f"/approximations/{name}/reference" for name in names}
    nodes = {node.path: node.to_dataset() for node in dt.subtree if node.path not in left_out}
    new = xr.DataTree.from_dict(nodes, name=dt.name)
    for group in (g for g in ("modes", "audit") if g in new.children and "mixes" in new[g].attrs):
        new[group].attrs["masses_known"] = new[group].attrs.pop("mixes")
    new["scores"].dataset = _with_answers(new["scores"].to_dataset())
    new.attrs |= {"pymc_kl_format": FORMAT, "converted_from": made}
    return new


def _with_answers(scores: xr.Dataset) -> xr.Dataset:
    """Judge anew, by the interval of the ELBO gap, whether fits have converged."""
    if "converged" not in scores or scores["converged"].dtype.kind not in "fiub":
        return scores
    gaps = zip(scores["elbo_gap"].values, scores["elbo_gap_se"].values, strict=True)
    answers = [at_most(Estimate(float(gap), float(se)), ELBO_GAP_TOLERANCE) for gap, se in gaps]
    checked = scores["converged"].notnull().values
    texts = np.array([answer if known else "" for answer, known in zip(answers, checked, strict=True)], dtype=object)
    return scores.assign(converged=("approximation", texts))


def _missing_groups(dt: xr.DataTree) -> list[str]:
    """Find the groups of the reference, and of each fit that has masses, that an older comparison lacks."""
    mass = dt["coverage"].to_dataset()["mass"]
    scored = mass["approximation"].values[mass.notnull().any("mode").values]
    paths = ["/sample_stats"]
    paths += [f"/approximations/{name}/{group}" for name in scored for group in NEEDED_OF_FITS]
    there = {node.path for node in dt.subtree}
    return [path for path in paths if path not in there]
