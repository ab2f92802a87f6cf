"""The base class of mixtures, of Gaussians or Student-t's: components, and a forward fit that chooses how many."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from pymc_kl._typing import Array
from pymc_kl.approximations.base import FitInfo
from pymc_kl.approximations.components import Components, Passes
from pymc_kl.approximations.estimation.em import EMFit, fit_em
from pymc_kl.approximations.estimation.fit_data import FitData
from pymc_kl.approximations.estimation.held_out import MAX_EM_ITERATIONS, Choice, choose_components
from pymc_kl.approximations.family import Family
from pymc_kl.approximations.training import Training

EXTRA_COMPONENTS = 12  # beyond one for each mode; measured: a banana takes 5 to 9, a funnel 7 to 10
FINAL_TOLERANCE = 1e-5  # nats a draw: EM on all draws stops when an iteration gains less; our choice


@dataclass(frozen=True, kw_only=True, eq=False)
class ComponentFamily(Family):
    """q(x) = Σ_m weights_m q_m(x): a mixture of components of one kind, Gaussian or Student-t.

    The forward fit starts from one component a mode; `pymc_kl.approximations.estimation.held_out` adds as many as
    improve the score of draws held out. It fails where there are fewer than d + 1 effective draws, or they lie on a
    hyperplane.

    Parameters
    ----------
    weights : array (M,)
        Positive, sum to 1.
    locs : array (M, d)
        Centres of the components, unconstrained space.
    scale_trils : array (M, d, d)
        Lower Cholesky factors of the components' scale matrices.

    Examples
    --------
    >>> import numpy as np
    >>> from pymc_kl.approximations import Mixture
    >>> x = np.concatenate([np.linspace(-4, -2, 50), np.linspace(2, 4, 50)])[:, None]
    >>> q = Mixture.fit_forward(x, mode=np.repeat([0, 1], 50), n_components=2)
    >>> q.locs.round(2).ravel().tolist(), q.info.n_components
    ([-3.0, 3.0], 2)

    Notes
    -----
    After `fit_forward`, `info` holds `n_components`; `scores`, a held-out score for each number of components
    that was tried; `held_out_score` and `held_out_score_se` of the chosen one; `n_iterations` and `converged`
    of the last EM; and `warnings`. Scores are the mean of log q, in nats a draw, over one half of the draws
    for a fit to the other half: NaN where draws are too few, with error inf where they are of one block.
    """

    heavy: ClassVar[bool] = False
    shapes: ClassVar[dict[str, str]] = {"weights": "M", "locs": "Md", "scale_trils": "Mdd"}

    weights: Array
    locs: Array
    scale_trils: Array

    @property
    @abstractmethod
    def _components(self) -> Components:
        """All parameters, as arrays."""

    @staticmethod
    def _frame(data: FitData) -> tuple[Array, Array]:
        """Find the location (d,) and Cholesky factor (d, d) of the coordinates to fit in."""
        return data.frame()

    @classmethod
    def fit(cls, draws: Training, *, n_components: int | None = None, max_components: int | None = None) -> Self:
        """Maximise the likelihood by weighted EM, which minimises KL(p‖q).

        `n_components` is how many components to fit; by default held-out draws choose, up to `max_components` (12
        more than there are modes if not given). From the start that `draws` name, EM runs on, and nothing is chosen.
        """
        data = FitData.check(draws.x, draws.weights, draws.mode, draws.blocks)
        if isinstance(draws.start, cls):
            components, info = refit(data, cls._frame(data), draws.start._components)
            return cls(**_fields(components), info=info)
        sizes = Sizes.check(n_components, max_components, data.modes.size)
        components, info = fit_mixture(data, cls._frame(data), sizes, heavy=cls.heavy, rng=draws.rng)
        return cls(**_fields(components), info=info)

    def fit_on(self, draws: Passes, loc: Array, tril: Array) -> Self:
        """Go on with EM on other draws z, where x = loc + tril @ z, with as many components."""
        inverse = np.linalg.inv(tril)
        start = self._components.affine(-inverse @ loc, inverse)
        fit = fit_em(draws, start, tolerance=FINAL_TOLERANCE, max_iterations=MAX_EM_ITERATIONS)
        info = replace(
            self.info, n_components=len(fit.components), n_iterations=len(fit.objective), converged=fit.converged
        )
        return replace(self, **_fields(fit.components.affine(loc, tril)), info=info)

    def images(self, maps: Array) -> Self:
        """Average the images of the mixture under linear maps (g, d, d)."""
        spread = self._components.images(maps)
        return replace(self, **_fields(spread), info=replace(self.info, n_components=len(spread)))

    @property
    def d(self) -> int:
        """Number of unconstrained dimensions."""
        return int(self.locs.shape[1])

    @property
    def n_components(self) -> int:
        """Number of components, M."""
        return self.weights.size

    def _sample(self, n: int, rng: np.random.Generator) -> Array:
        return self._components.sample(n, rng)

    def _log_prob(self, x: Array) -> Array:
        return self._components.log_prob(x)


def _fields(components: Components) -> dict[str, Any]:
    fields = {"weights": components.weights, "locs": components.locs, "scale_trils": components.scale_trils}
    return fields if components.dfs is None else {**fields, "dfs": components.dfs}


def total_covariance(weights: Array, locs: Array, covariances: Array) -> Array:
    """Compute the covariance (d, d) of a mixture of components with means (M, d) and covariances (M, d, d)."""
    centred = locs - weights @ locs
    between = (centred * weights[:, None]).T @ centred
    return np.asarray(between + np.tensordot(weights, covariances, axes=1))


class Sizes(NamedTuple):
    """How many components to fit, None to choose, and how many at most."""

    exact: int | None
    limit: int

    @classmethod
    def check(cls, n_components: int | None, max_components: int | None, n_modes: int) -> Self:
        """Check what the user asked for; without a limit, allow 12 components more than there are modes."""
        for name, size in {"n_components": n_components, "max_components": max_components}.items():
            if size is not None and size < 1:
                raise ValueError(f"{name} must be at least 1; got {size}.")
        return cls(n_components, n_components or max_components or max(n_modes, 1) + EXTRA_COMPONENTS)


def fit_mixture(
    data: FitData,
    frame: tuple[Array, Array],
    sizes: Sizes,
    *,
    heavy: bool = False,
    rng: np.random.Generator,
) -> tuple[Components, FitInfo]:
    """Choose the number of components and fit them to all draws.

    Parameters
    ----------
    data : FitData
    frame : tuple of array (d,) and array (d, d)
        Location and lower Cholesky factor of the coordinates that the fit is made in.
    sizes : Sizes
    heavy : bool
        Fit Student-t's instead of Gaussians.
    rng : Generator

    Returns
    -------
    components : Components
        In the coordinates of the draws.
    info : FitInfo
    """
    loc, tril = frame
    draws = data.whitened(loc, tril)
    choice = choose_components(
        draws,
        data.mode if data.modes.size <= sizes.limit else np.zeros_like(data.mode),
        data.blocks,
        n_components=sizes.exact,
        max_components=sizes.limit,
        heavy=heavy,
        rng=rng,
    )
    fit = fit_em(draws, choice.components, tolerance=FINAL_TOLERANCE, max_iterations=MAX_EM_ITERATIONS)
    return fit.components.affine(loc, tril), _info(choice, fit, float(np.log(np.diag(tril)).sum()))


def refit(data: FitData, frame: tuple[Array, Array], start: Components) -> tuple[Components, FitInfo]:
    """Run EM on all draws from components (in the coordinates of the draws) that were fitted to nearly the same."""
    loc, tril = frame
    inverse = np.linalg.inv(tril)
    whitened = start.affine(-inverse @ loc, inverse)
    fit = fit_em(data.whitened(loc, tril), whitened, tolerance=FINAL_TOLERANCE, max_iterations=MAX_EM_ITERATIONS)
    return fit.components.affine(loc, tril), _info(Choice(fit.components), fit, 0.0)


def _info(choice: Choice, fit: EMFit, log_det: float) -> FitInfo:
    """Report the fit; scores are moved from whitened coordinates to those of the model."""
    unsettled = () if fit.converged else (f"EM had not settled after {MAX_EM_ITERATIONS} iterations.",)
    return FitInfo(
        n_components=len(fit.components),
        held_out_score=choice.score - log_det,
        held_out_score_se=choice.score_se,
        scores={size: score - log_det for size, score in choice.scores.items()},
        n_iterations=len(fit.objective),
        converged=fit.converged,
        warnings=(*choice.warnings, *unsettled),
    )
