"""The ELBO of the best of many optima is measured on draws that did not choose it."""

import numpy as np
import pymc as pm
from scipy.integrate import quad
from scipy.stats import logistic

from pymc_kl import find_modes, fit_reverse
from pymc_kl.model.target import Target

PLACES = 30.0 * np.arange(6)


def elbo_of(q):
    """ELBO of a normal in one dimension against equal logistic densities at the places, by quadrature."""
    mean, sd = float(q.loc[0]), float(q.scale_tril[0, 0])

    def integrand(z):
        log_p = np.logaddexp.reduce(logistic.logpdf(mean + sd * z, PLACES)) - np.log(len(PLACES))
        normal = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
        return normal * (log_p + 0.5 * z**2 + 0.5 * np.log(2 * np.pi) + np.log(sd))

    return quad(integrand, -10, 10, epsabs=1e-10)[0]


def test_the_elbo_of_the_best_optimum_has_the_error_that_it_says():
    """All six optima are as good as each other: the largest of six ELBOs on the same draws would be too large."""
    with pm.Model() as model:
        pm.Mixture("x", np.full(len(PLACES), 1 / len(PLACES)), pm.Logistic.dist(PLACES, 1.0))
    target = Target.from_model(model)
    modes, z = find_modes(model=target, random_seed=1, progressbar=False), []
    for seed in range(12):
        q = fit_reverse(family="fullrank", model=target, modes=modes, random_seed=seed, progressbar=False)
        assert len(q.info["optima"]) > 3
        z.append((q.info["elbo"] - elbo_of(q)) / q.info["elbo_se"])
    assert abs(np.mean(z)) < 3 / np.sqrt(len(z))
    assert np.std(z) < 1.5
