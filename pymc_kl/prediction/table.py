"""The table of predictions."""

import pandas as pd
import xarray as xr

from pymc_kl.arguments import check_arguments, instance, quoted
from pymc_kl.comparison.formats import NONE, format_estimate
from pymc_kl.comparison.readable import Readable


def elpd_table(prediction: xr.Dataset) -> pd.DataFrame:
    """Tabulate predictions to read, a row a source; see the example of :func:`predict`.

    Parameters
    ----------
    prediction : Dataset
        What :func:`predict` returned.

    Returns
    -------
    DataFrame
        elpd, and its difference from the reference's, each ± its standard error, in nats; the number of observations
        whose Pareto k is too high; and whether the difference matters. Printed whole, in lines of at most 100
        characters.
    """
    check_arguments(locals(), prediction=instance(xr.Dataset, cure="what predict() returns"))
    if missing := {"elpd", "diff", "n_bad", "matters"} - set(prediction):
        raise ValueError(f"prediction must be what predict() returns; it lacks {quoted(sorted(missing))}.")

    def estimates(name: str) -> list[str]:
        pairs = zip(prediction[name].values, prediction[f"{name}_se"].values, strict=True)
        return [format_estimate(float(value), float(se)) for value, se in pairs]

    columns = {
        "elpd": estimates("elpd"),
        "difference": estimates("diff"),
        "bad k": prediction["n_bad"].values.tolist(),
        "matters": [str(answer) or NONE for answer in prediction["matters"].values],
    }
    return Readable(columns, index=pd.Index(prediction["source"].values, name="source"))
