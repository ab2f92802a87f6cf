"""A PyMC model as a density on R^d: batched log density and gradient, and the maps to and from the model's own space.

The order of the coordinates is that of `model.value_vars` of the user's model and is frozen here; everything
else is found by name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, product
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from pymc.backends.arviz import coords_and_dims_for_inferencedata

from pymc_kl._typing import Array
from pymc_kl.arguments import real_array, shown
from pymc_kl.model.backends import Evaluator, compile_density
from pymc_kl.model.bounds import check_bounds
from pymc_kl.model.context import DRAWABLE, check_continuous, draw_prior, model_in_context, names_of_posterior
from pymc_kl.model.damaged import told_in_a_line
from pymc_kl.model.data import check_data
from pymc_kl.model.graphs import (
    Variables,
    compile_constrain,
    compile_unconstrain,
    data_size,
    initial_point,
    lay_out,
    one_at_a_time,
    values_by_name,
    without_minibatches,
)
from pymc_kl.model.kept_targets import kept_target
from pymc_kl.model.named_draws import check_support, groups_of, read_unconstrained, read_values
from pymc_kl.model.table_names import OF_DRAWS, free_name, name_dims, plain_labels

MAP_CHUNK = 4096  # rows that one call of a transform graph maps; bounds memory; our choice


@dataclass(frozen=True, eq=False)
class Target:
    """The unnormalised log density of a PyMC model on its unconstrained space.

    Build it with :meth:`from_model`; one target serves every fit and every score of that model.

    Parameters
    ----------
    model : pm.Model
        The user's model.
    variables : tuple of Variables
        The free variables in the order of the flat vector.
    backend : {"numba", "jax"}
        What evaluates the density.
    rewrites : tuple of str
        Of its graph before it is differentiated.
    posterior_names : tuple of str
        Variables of the model's own space: free ones, then Deterministics.
    coords, dims : mapping
        Of the model's own space, as PyMC gives them to ArviZ.
    about : str
        What is to be known of its density; empty of that of all data.
    """

    model: pm.Model
    variables: tuple[Variables, ...]
    backend: str
    rewrites: tuple[str, ...]
    posterior_names: tuple[str, ...]
    coords: Mapping[str, Any]
    dims: Mapping[str, Sequence[str]]
    _evaluator: Evaluator = field(repr=False)
    _full: pm.Model = field(repr=False)
    about: str = ""

    @classmethod
    @one_at_a_time
    def from_model(cls, model: pm.Model | None = None, *, backend: str = "auto", gradient: bool = True) -> "Target":
        """Compile a model's density.

        Parameters
        ----------
        model : pm.Model, optional
            Defaults to the model of the enclosing `with` block.
        backend : {"auto", "jax", "numba"}
            "auto" takes JAX where it is installed and can express the model, since it compiles within
            seconds, and numba otherwise.
        gradient : bool
            Compile value and gradient together. Without it, only `log_density` can be evaluated.

        Returns
        -------
        Target

        Raises
        ------
        ValueError
            If the model has discrete free variables, none that are free, parameters out of bounds, or data that are
            NaN or infinite.

        Examples
        --------
        >>> import numpy as np, pymc as pm
        >>> with pm.Model() as model:
        ...     scale = pm.HalfNormal("scale", 1.0)
        >>> target = Target.from_model(model)
        >>> target.labels
        ('scale_log__',)
        >>> target.log_density(np.zeros((1, 1))).round(6)
        array([-0.725791])
        """
        model = model_in_context(model)
        check_continuous(model)
        full = without_minibatches(model)
        check_bounds(full)
        with told_in_a_line("the model has no initial point", DRAWABLE):
            variables = lay_out(full, values_by_name(full, [v.name for v in model.value_vars]))
            start = initial_point(model, variables)
        check_data(full)
        evaluator, backend, rewrites = compile_density(full, variables, start, backend=backend, gradient=gradient)
        coords, dims = coords_and_dims_for_inferencedata(model)
        return cls(
            model=model,
            variables=variables,
            backend=backend,
            rewrites=rewrites,
            coords=plain_labels(coords),
            dims=dims,
            _evaluator=evaluator,
            posterior_names=names_of_posterior(model),
            _full=full,
        )

    @cached_property
    def _constrain(self) -> Callable[[Array], list[Array]]:
        """Map (n, d) to arrays (n, *shape) of the model's own space; compiled when it is first used."""
        values = values_by_name(self._full, [v.value_name for v in self.variables])
        return compile_constrain(self._full, self.posterior_names, values, self.variables)

    @cached_property
    def _unconstrain(self) -> Callable[..., list[Array]]:
        """Map arrays (n, *shape) of free variables to unconstrained ones; compiled when it is first used."""
        values = values_by_name(self._full, [v.value_name for v in self.variables])
        return compile_unconstrain(self._full, values, self.variables)

    @property
    def d(self) -> int:
        """Number of unconstrained dimensions."""
        return self.variables[-1].coordinates.stop

    @cached_property
    def n_data(self) -> int:
        """Numbers of data that the likelihood and the potentials read: what their cost grows with."""
        return data_size(self._full)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Name of each unconstrained coordinate, such as `mu[0]` or `sigma_log__[1]`."""
        return tuple(
            variable.value_name + (str(list(index)) if index else "")
            for variable in self.variables
            for index in product(*map(range, variable.value_shape))
        )

    @cached_property
    def shown_labels(self) -> tuple[str, ...]:
        """Name of each coordinate by the element of the variable that it is, such as `mu[common]` or `sigma[1]`.

        A coordinate that is no element, as of a simplex, keeps its name in `labels`.
        """
        shown = list(self.labels)
        for variable in self.variables:
            if variable.shape == variable.value_shape:
                lengths = zip(variable.dims or ("",) * len(variable.shape), variable.shape, strict=True)
                axes = [list(self.coords.get(dim, range(n))) for dim, n in lengths]
                shown[variable.coordinates] = [
                    variable.name + (f"[{', '.join(map(str, element))}]" if element else "")
                    for element in product(*axes)
                ]
        return tuple(shown)

    def with_density(self, evaluator: Evaluator) -> "Target":
        """Return a target of the same variables with another density; what was compiled for the variables is shared."""
        other = replace(self, _evaluator=evaluator)
        vars(other).update({name: value for name, value in vars(self).items() if name != "_evaluator"})
        return other

    def log_density(self, x: Array) -> Array:
        """Evaluate log p̃ (n,) in nats, Jacobian terms included, at points x (n, d); -inf outside the support."""
        return self._evaluator.value(self._check(x))

    def log_density_and_grad(self, x: Array) -> tuple[Array, Array]:
        """Evaluate log p̃ (n,) in nats and its gradient (n, d) at points x (n, d) of the unconstrained space."""
        return self._evaluator.value_and_grad(self._check(x))

    def constrain(self, x: Array) -> dict[str, Array]:
        """Map points (n, d) of the unconstrained space to the model's own variables, each ``(n, *shape)``."""
        x = self._check(x)
        chunks = [self._constrain(x[i : i + MAP_CHUNK]) for i in range(0, max(len(x), 1), MAP_CHUNK)]
        return {name: np.concatenate([np.asarray(c[j]) for c in chunks]) for j, name in enumerate(self.posterior_names)}

    def to_dataset(self, x: Array) -> xr.Dataset:
        """Map draws (chain, draw, d) of the unconstrained space to a Dataset of the model's own variables."""
        lead, taken = x.shape[:2], {*self.posterior_names, *self.coords, *chain.from_iterable(self.dims.values())}
        arrays = {}
        for name, values in self.constrain(x.reshape(-1, self.d)).items():
            dims = name_dims(name, self.dims.get(name) or [None] * (values.ndim - 1), taken)
            coords = {dim: list(self.coords[dim]) for dim in dims if dim in self.coords}
            array = xr.DataArray(values.reshape(*lead, *values.shape[1:]), coords, ["chain", "draw", *dims])
            arrays[free_name(name, OF_DRAWS)] = array
        return xr.Dataset(arrays).assign_coords(chain=np.arange(lead[0]), draw=np.arange(lead[1]))

    def unconstrain(self, draws: xr.DataTree | xr.Dataset) -> Array:
        """Map any sampler's draws to the unconstrained space, by name.

        Parameters
        ----------
        draws : DataTree or Dataset
            A DataTree with a `posterior` group, or a Dataset, with dims (chain, draw, ...). Unconstrained
            values are used as they are where the sampler stored them.

        Returns
        -------
        array (chain, draw, d)
            Draws in the unconstrained space.

        Raises
        ------
        ValueError
            If a free variable is missing, has another shape, or holds NaN, infinite values or values
            outside its support.
        """
        groups = groups_of(draws)
        deterministics = {*self.posterior_names} - {v.name for v in self.variables}  # one may be called scale_log__
        readable = [v for v in self.variables if v.value_name not in deterministics]
        stored = {v.name: read_unconstrained(groups, v, self.coords) for v in readable}
        parts = {name: values for name, values in stored.items() if values is not None}
        missing = [v.name for v in self.variables if v.name not in parts]
        if missing:
            parts |= self._unconstrain_values(groups, missing)
        first = next(iter(parts.values()))
        return np.concatenate([parts[v.name].reshape(*first.shape[:2], -1) for v in self.variables], axis=-1)

    def _unconstrain_values(self, groups: Sequence[xr.Dataset], wanted: Sequence[str]) -> dict[str, Array]:
        """Map some variables (chain, draw, *shape) of the model's own space to unconstrained ones, by name."""
        values = [read_values(groups, v, self.coords) for v in self.variables]
        n_chains, n_draws = values[0].shape[:2]
        flat = [value.reshape(n_chains * n_draws, *value.shape[2:]) for value in values]
        with np.errstate(divide="ignore", invalid="ignore"):
            results = dict(zip([v.name for v in self.variables], self._unconstrain(*flat), strict=True))
        parts = {name: np.asarray(results[name], dtype=float).reshape(n_chains, n_draws, -1) for name in wanted}
        for name, value in zip([v.name for v in self.variables], values, strict=True):
            if name in parts:
                check_support(name, value, parts[name])
        return parts

    @one_at_a_time
    def initial_point(self) -> Array:
        """Return the model's initial point (d,)."""
        return initial_point(self.model, self.variables)

    @one_at_a_time
    def initial_points(self, n: int, rng: np.random.Generator) -> Array:
        """Draw starts (n, d) from the prior; jittered support points where the prior can't be sampled."""
        jittered = self.initial_point() + rng.uniform(-1, 1, (n, self.d))
        try:
            by_name = draw_prior(self.model, n, rng)
        except (NotImplementedError, OverflowError):
            return jittered
        shapes = {v.name: (n, *v.shape) for v in self.variables}
        with np.errstate(all="ignore"):
            flat = self._unconstrain(*[by_name[name].reshape(shape) for name, shape in shapes.items()])
        x = np.concatenate([np.asarray(part).reshape(n, -1) for part in flat], axis=1)
        return np.where(np.isfinite(x), x, jittered)

    def _check(self, x: Array) -> Array:
        """Return points as contiguous floats; ValueError where their shape is not (n, d)."""
        x = np.ascontiguousarray(real_array("x", x))
        if x.ndim != 2 or x.shape[1] != self.d:
            raise ValueError(f"x must have shape (n, {self.d}); got {x.shape}.")
        return x


def as_target(model: "pm.Model | Target | None", backend: str = "auto") -> Target:
    """Return a target as it is, and compile one for a model unless it is at hand from an earlier call."""
    if not isinstance(model, Target | pm.Model | None):
        raise TypeError(f"model must be a pm.Model; got {shown(model)}.")
    return model if isinstance(model, Target) else kept_target(model_in_context(model), backend, Target.from_model)
