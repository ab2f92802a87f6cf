"""An approximation given as two functions, one that draws and one that evaluates log q: any other package's fit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from pymc_kl._typing import Array, Kind
from pymc_kl.approximations.base import Approximation, FitInfo
from pymc_kl.arguments import check_arguments, function, optional, real_array, whole

TRIED_DRAWS = 8  # draws on which the user's functions are tried; our choice
NO_DENSITY = "No log_prob was given: scores that need a density are NaN."


@dataclass(frozen=True, kw_only=True, eq=False)
class Functions:
    """A distribution q on the unconstrained space, as two functions; `as_approximation` checks and takes it.

    Coordinates are in the order of `Target.labels`.

    Parameters
    ----------
    sample : callable
        `sample(n, rng)` returns n independent draws (n, d); all its randomness comes from the
        `numpy.random.Generator` rng, so that the same seed gives the same draws.
    log_prob : callable, optional
        `log_prob(x)` evaluates the **normalised** log density at points (n, d): (n,), in nats. A comparison refuses it
        where it is proven not to be normalised, or not the density of what `sample` draws. Without it, scores that
        need log q are NaN.
    d : int, optional
        Number of unconstrained dimensions; checked against the model's.
    kind : {"forward", "reverse", "laplace", "other"}
        The divergence that was minimised, KL(p‖q) or KL(q‖p), if either.
    info : mapping
        What the fit reports of itself, such as `history`, its loss after each step: the attributes of FitInfo.

    Examples
    --------
    >>> import pymc as pm
    >>> from scipy import stats
    >>> from pymc_kl import as_approximation
    >>> q = stats.t(df=5)
    >>> functions = Functions(
    ...     sample=lambda n, rng: q.rvs((n, 1), random_state=rng), log_prob=lambda x: q.logpdf(x).sum(axis=1)
    ... )
    >>> with pm.Model() as model:
    ...     x = pm.Normal("x")
    ...     as_approximation(functions).log_prob(np.zeros((1, 1))).round(4)
    array([-0.9686])
    """

    sample: Callable[[int, np.random.Generator], Any]
    log_prob: Callable[[Array], Any] | None = None
    d: int | None = None
    kind: Kind = "other"
    info: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        check_arguments(vars(self), sample=function, log_prob=optional(function), d=optional(whole()))


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleFunction(Approximation):
    """An approximation that can be sampled but not evaluated.

    Parameters
    ----------
    functions : Functions
    size : int
        Number of unconstrained dimensions.
    """

    family: ClassVar[str] = "functions"
    has_log_prob: ClassVar[bool] = False

    functions: Functions
    size: int

    @property
    def d(self) -> int:
        """Number of unconstrained dimensions."""
        return self.size

    def _sample(self, n: int, rng: np.random.Generator) -> Array:
        return _checked(self.functions.sample(n, rng), f"sample({n}, rng)", (n, self.d))

    def _log_prob(self, x: Array) -> Array:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleAndDensityFunction(SampleFunction):
    """An approximation that can be sampled and evaluated; `density` is the user's log q."""

    has_log_prob: ClassVar[bool] = True

    density: Callable[[Array], Any]

    def without_density(self) -> SampleFunction:
        """Return the same draws, with no claim to a density."""
        return SampleFunction(
            functions=self.functions, size=self.size, target=self.target, kind="draws", info=self.info
        )

    def _log_prob(self, x: Array) -> Array:
        return _checked(self.density(x), f"log_prob(x) for x of shape {x.shape}", (len(x),), finite=False)


def approximation_from(functions: Functions, d: int) -> SampleFunction:
    """Make an approximation in d dimensions of two functions, which are tried on a few draws."""
    if functions.d is not None and functions.d != d:
        raise ValueError(f"the functions have d={functions.d} and the model {d} dimensions: fit them to this model.")
    q, info = SampleFunction(functions=functions, size=d, kind="draws"), FitInfo.of(functions.info)
    if functions.log_prob is None:
        q = replace(q, info=info.with_warnings(NO_DENSITY))
    else:
        q = SampleAndDensityFunction(
            functions=functions, size=d, kind=functions.kind, info=info, density=functions.log_prob
        )
    _check_repeats(q)
    return q


def _check_repeats(q: SampleFunction) -> None:
    """Raise unless one seed gives the same draws twice, another seed others, and log q is finite at them."""
    x, again, other = (q.sample(TRIED_DRAWS, random_seed=seed) for seed in (0, 0, 1))
    if not np.array_equal(x, again):
        raise ValueError(
            "sample(n, rng) must give the same draws for the same state of rng; it gave others. Take every random "
            "number from rng, such as rng.normal(...), or seed your generator by rng.integers(2**31)."
        )
    if np.array_equal(x, other):
        raise ValueError(
            "sample(n, rng) must give other draws for another state of rng; it gave the same. Take every random "
            "number from rng, such as rng.normal(...), or seed your generator by rng.integers(2**31)."
        )
    if q.has_log_prob:
        log_prob = q.log_prob(x)
        if not np.isfinite(log_prob).all():
            raise ValueError(
                f"log_prob must be finite at draws of q itself; at {int((~np.isfinite(log_prob)).sum())} of "
                f"{TRIED_DRAWS} it is not. Is it the density of what sample draws?"
            )


def _checked(values: Any, what: str, shape: tuple[int, ...], *, finite: bool = True) -> Array:
    """Return a user's values as an array of the expected shape; raise for NaN and +inf, and for -inf if `finite`."""
    array = real_array(what, values)
    if array.shape != shape:
        raise ValueError(f"{what} must have shape {shape}; got {array.shape}.")
    if n_bad := int((~(np.isfinite(array) if finite else array < np.inf)).sum()):
        allowed = "finite values" if finite else "no NaN and no +inf"
        raise ValueError(f"{what} must hold {allowed}; {n_bad} of {array.size} are not.")
    return array
