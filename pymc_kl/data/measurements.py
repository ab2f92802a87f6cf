"""Ten measurements of two quantities: a posterior of which four chains that agree miss a fifth."""

import numpy as np
import pymc as pm

from pymc_kl._typing import Array

__all__ = ["model", "observed"]

OBSERVED = (3.8, 4.3, 4.8, 5.2, 5.7, 6.2, -4.9, -4.3, -3.7, -3.1)
SHARES = (2 / 3, 1 / 3)  # of measurements that are of the common and of the rare quantity
STORY = (
    "Ten measurements of two quantities lie near 5 and near -4. Two in three are of the common one, but not known "
    "which: two modes, of mass 0.8 and 0.2. What do NUTS and ADVI have of them? About a minute on two cores."
)


def observed() -> Array:
    """Return the measurements (10,), which are made up.

    Returns
    -------
    array (10,)

    Examples
    --------
    >>> from pymc_kl.data import measurements
    >>> int((measurements.observed() > 0).sum())
    6
    """
    return np.array(OBSERVED)


def model() -> pm.Model:
    """Mix two normals of known shares and spread: either may be the common one, at odds of 2⁶ to 2⁴.

    Returns
    -------
    pm.Model

    Examples
    --------
    >>> from pymc_kl.data import measurements
    >>> [variable.name for variable in measurements.model().free_RVs]
    ['mu']
    """
    with pm.Model(name="", coords={"component": ["common", "rare"]}) as mixture:
        mu = pm.Normal("mu", 0.0, 10.0, dims="component")
        pm.NormalMixture("y", np.array(SHARES), mu, sigma=1.0, observed=observed())
    return mixture
