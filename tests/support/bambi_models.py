"""Models that Bambi builds from formulas: every family, each with a slope and a group term."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import pymc as pm

N = 24  # rows
RNG = np.random.default_rng(2)
X = np.linspace(-1, 1, N)
SHARES = RNG.dirichlet(np.ones(3), N)
DATA = pd.DataFrame({
    "x": X, "g": np.resize(["a", "b", "c", "d"], N), "real": 0.5 + X + RNG.normal(0, 0.3, N),
    "positive": np.exp(0.3 * X + RNG.normal(0, 0.3, N)), "unit": RNG.beta(2, 3, N), "angle": RNG.vonmises(0.0, 3.0, N),
    "count": RNG.poisson(np.exp(1 + 0.3 * X)), "binary": RNG.integers(0, 2, N), "n": np.full(N, 10),
    "hits": RNG.binomial(10, 0.4, N), "kind": np.resize(["u", "v", "w"], N),
    "level": pd.Categorical(np.resize([1, 2, 3], N), ordered=True),
    "zeros": np.where(RNG.random(N) < 0.3, 0.0, np.exp(RNG.normal(0, 0.3, N))),
    **{f"c{k}": row for k, row in enumerate(RNG.multinomial(10, [0.2, 0.3, 0.5], N).T)},
})  # fmt: skip
OF_THREE = "c(c0, c1, c2)"
RESPONSES = {
    "gaussian": "real", "t": "real", "laplace": "real", "asymmetriclaplace": "real", "exgaussian": "real",
    "vonmises": "angle", "gamma": "positive", "wald": "positive", "weibull": "positive", "exponential": "positive",
    "lognormal": "positive", "beta": "unit", "bernoulli": "binary", "binomial": "p(hits, n)",
    "beta_binomial": "p(hits, n)", "zero_inflated_binomial": "p(hits, n)", "poisson": "count",
    "negativebinomial": "count", "zero_inflated_poisson": "count", "zero_inflated_negativebinomial": "count",
    "hurdle_poisson": "count", "hurdle_negativebinomial": "count", "hurdle_gamma": "zeros",
    "hurdle_lognormal": "zeros", "categorical": "kind", "cumulative": "level", "sratio": "level",
    "multinomial": OF_THREE, "dirichlet_multinomial": OF_THREE,
}  # fmt: skip


def build(family: str) -> pm.Model:
    """Build the model of a family."""
    import bambi

    model = bambi.Model(f"{RESPONSES[family]} ~ x + (1|g)", DATA, family=family)
    model.build()
    return model.backend.model


def builders() -> dict[str, Callable[[], pm.Model]]:
    """Return what builds each model, by its name."""
    return {f"Bambi, {family}": partial(build, family) for family in RESPONSES}
