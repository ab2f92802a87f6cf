"""Whether NaN or infinite data spoil a model's density, told by their names before anything is compiled."""

import numpy as np
import pymc as pm

from pymc_kl._typing import Array, BoolArray
from pymc_kl.model.graphs import data_read_by, term_at_initial_point

SHOWN_PLACES = 3  # places of spoilt data that an error shows, at the most; our choice


def check_data(model: pm.Model) -> None:
    """Raise where NaN or infinite data make a term of the log density NaN or -inf at the model's initial point.

    Bounds may be infinite, as those of `pm.Censored`, and NaN may be masked: what reads such data is evaluated.
    """
    for term in (*model.observed_RVs, *model.potentials, *model.free_RVs):
        values = [model.rvs_to_values[term]] if term in model.observed_RVs else []
        suspects = {f"the observed values of {term.name!r}": array for _, array in data_read_by(values)}
        for name, array in data_read_by([term], [rv for rv in model.basic_RVs if rv is not term]):
            if name is not None or np.isnan(array).any():  # constants are infinite where a distribution has no bound
                suspects[f"the data {name!r}" if name else f"constants that {term.name!r} is made from"] = array
        spoilt = {what: bad for what, array in suspects.items() if (bad := ~np.isfinite(array)).any()}
        if spoilt:
            value = term_at_initial_point(model, term)
            for what, bad in spoilt.items():
                _check_term(term.name, value, what, bad, suspects[what])


def _check_term(term: str, value: Array, what: str, bad: BoolArray, array: Array) -> None:
    """Raise if a term is NaN, or without a finite value where the data it reads are not finite themselves."""
    lost = np.isnan(value).any() or (value.shape == bad.shape and not np.isfinite(value[bad]).all())
    if not lost:
        return
    places = ", ".join(str(list(map(int, place))) for place in np.argwhere(bad)[:SHOWN_PLACES] if len(place))
    more = ", …" if bad.sum() > SHOWN_PLACES else ""
    raise ValueError(
        f"{what} are {array[bad][0]}{places and f' at {places}{more}'}, so that the log density of {term!r} is "
        f"{'NaN' if np.isnan(value).any() else '-inf'}. Leave such rows out; missing values that are given to "
        "observed= as NaN, not as pm.Data, are imputed by PyMC."
    )
