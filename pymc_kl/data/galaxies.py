"""The 82 galaxy velocities and their three-component mixture: the model of `pymc-kl demo --galaxies`."""

from importlib.resources import files

import numpy as np
import pymc as pm

from pymc_kl._typing import Array

__all__ = ["model", "velocities"]

STORY = (
    "82 galaxy velocities, a mixture of three normals: any order of their labels is as good, so each mode has six "
    "copies, and chains sit in different ones. What do NUTS and ADVI have of them? About a minute on two cores."
)


def velocities() -> Array:
    """Load the velocities (82,) in thousands of km/s.

    Returns
    -------
    array (82,)

    Examples
    --------
    >>> from pymc_kl.data import galaxies
    >>> galaxies.velocities().shape
    (82,)

    References
    ----------
    Roeder (1990), doi:10.1080/01621459.1990.10474918; Postman, Huchra and Geller (1986), doi:10.1086/114257.
    """
    with files("pymc_kl.data").joinpath("galaxies.csv").open() as file:
        return np.loadtxt(file, skiprows=3) / 1000


def model() -> pm.Model:
    """Build a three-component normal mixture without ordering: its posterior has 3! copies of every mode.

    Returns
    -------
    pm.Model

    Examples
    --------
    >>> from pymc_kl.data import galaxies
    >>> [variable.name for variable in galaxies.model().free_RVs]
    ['w', 'mu', 'sigma']
    """
    with pm.Model(name="", coords={"component": [1, 2, 3]}) as mixture:
        w = pm.Dirichlet("w", np.ones(3), dims="component")
        mu = pm.Normal("mu", 20.0, 10.0, dims="component")
        sigma = pm.HalfNormal("sigma", 5.0, dims="component")
        pm.NormalMixture("velocity", w, mu, sigma=sigma, observed=velocities())
    return mixture
