"""NUTS where modes differ in scale and shape: a normal stands for each place, and lends NUTS its covariance there.

An index j ~ r_j(x), the share of place j in the mixture of those normals, turns p(x) into p(x) r_j(x). Drawing j
given x, then x given j by NUTS with the covariance of j, leaves that as it is, and p with it, whatever the normals are.
"""

from typing import Any, ClassVar

import numpy as np
import pymc as pm
from pymc.blocking import DictToArrayBijection
from pymc.step_methods.compound import CompoundStep

from pymc_kl._typing import Array
from pymc_kl.approximations.components import Components


class SharedDensity:
    """Value and gradient of log p̃ + log r_j, in the form that NUTS takes from PyMC; `place` is j.

    Parameters
    ----------
    density : ValueGradFunction
        PyMC's, of its vector x (d,).
    places : Components
        Their normals, in the order of PyMC's vector.
    """

    _raveled_inputs: ClassVar[bool] = True
    _extra_vars_shared: ClassVar[dict[str, Any]] = {}

    def __init__(self, density: Any, places: Components) -> None:
        self.density, self.places, self.place = density, places, 0
        self.dtype = density.dtype

    def shares(self, x: Array) -> Array:
        """Share of each place at x, (M,)."""
        return self._normals(x)[0]

    def _normals(self, x: Array) -> tuple[Array, Array]:
        """Shares (M,) and gradients (M, d) of the log densities of the normals."""
        z = np.einsum("mij,mj->mi", self.places.whiteners, x - self.places.locs)
        log_joint = self.places.log_peaks - 0.5 * (z * z).sum(axis=1)
        shares = np.exp(log_joint - log_joint.max())
        return shares / shares.sum(), -np.einsum("mij,mi->mj", self.places.whiteners, z)

    def _pytensor_function(self, x: Array) -> tuple[Any, Array]:
        value, gradient = self.density._pytensor_function(x)
        shares, normals = self._normals(x)
        with np.errstate(divide="ignore"):
            return value + np.log(shares[self.place]), gradient + normals[self.place] - shares @ normals


class LocalNUTS(CompoundStep):
    """Step method of PyMC: one transition of NUTS, with the metric and the step size of the place that x is drawn to.

    Parameters
    ----------
    shared : SharedDensity
    methods : list of pm.NUTS
        One a place, each of `shared`.
    """

    name = "local_nuts"

    def __init__(self, shared: SharedDensity, methods: list[Any]) -> None:
        super().__init__(methods)
        self.shared = shared
        self.rng = np.random.default_rng()
        self.stats_dtypes, self.stats_dtypes_shapes = methods[0].stats_dtypes, methods[0].stats_dtypes_shapes

    def setup_chain(self, rng: Any, tune: int, draws: int) -> None:
        """Give the choice of a place, and each NUTS, a stream of its own."""
        self.rng, rest = rng.spawn(2)
        super().setup_chain(rest, tune, draws)

    def step(self, point: Any) -> Any:
        """Draw a place, and move by its NUTS."""
        shares = self.shared.shares(DictToArrayBijection.map(point).data)
        self.shared.place = int(self.rng.choice(len(shares), p=shares))
        return self.methods[self.shared.place].step(point)

    def _progressbar_config(self, n_chains: int = 1) -> Any:
        return self.methods[0]._progressbar_config(n_chains)

    def _make_progressbar_update_functions(self) -> Any:
        return self.methods[0]._make_progressbar_update_functions()


def make_nuts(density: Any, places: Components) -> "pm.NUTS | LocalNUTS":
    """Make a NUTS for the model of the context with the metric of each place, plain where there is one."""
    if len(places) == 1:
        return pm.NUTS(logp_dlogp_func=density, scaling=places.covariances[0], is_cov=True)
    shared = SharedDensity(density, places)
    return LocalNUTS(shared, [pm.NUTS(logp_dlogp_func=shared, scaling=c, is_cov=True) for c in places.covariances])
