"""Models of data whose posterior has two modes."""

from collections.abc import Callable
from functools import partial
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pymc as pm
import pytensor.tensor as pt
from numpy.polynomial.hermite_e import hermegauss
from scipy import optimize, stats
from scipy.special import log_expit, logsumexp

from .gaussians import Gaussians
from .problem import LOG_2PI, Array, LogDensity, Problem, Sampler, moment_optima
from .regions import climb


def _splits(first: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Assignments to component 1: the two clean ones and all that differ from one in at most two places."""
    n = len(first)
    flips = [list(c) for size in (0, 1, 2) for c in combinations(range(n), size)]
    rows = []
    for base in (first, ~first):
        for flip in flips:
            row = base.copy()
            row[flip] = ~row[flip]
            rows.append(row)
    return np.unique(np.stack(rows), axis=0)


def _dial_components(y: Array, p: float, tau: float) -> tuple[Gaussians, float]:
    """Posterior of (mu1, mu2) as a mixture of normals, one a split of the data, and its log evidence."""
    first = _splits(y > 0)
    member = np.stack([first, ~first], axis=-1)
    counts = member.sum(1)
    variances = tau**2 / (1 + counts * tau**2)
    means = variances * (y @ member.astype(float))
    evidence = 0.5 * np.log(variances / tau**2) + 0.5 * means**2 / variances
    logs = counts @ np.log([p, 1 - p]) + evidence.sum(1) - len(y) * LOG_2PI / 2 - 0.5 * (y @ y)
    log_z = float(logsumexp(logs))
    return Gaussians(np.exp(logs - log_z), means, variances[:, :, None] * np.eye(2)), log_z


def _dial_mode(y: Array, p: float, tau: float, start: Array) -> Array:
    """Climb to a mode of (mu1, mu2) by EM."""
    mu = start
    for _ in range(500):
        logs = np.log([p, 1 - p]) - 0.5 * (y[:, None] - mu) ** 2
        shares = np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
        mu = tau**2 * (y @ shares) / (1 + tau**2 * shares.sum(0))
    return mu


def dial_a_mass(n1: int = 6, n2: int = 4, p: float = 2 / 3, *, half_gap: float = 5.0, tau: float = 10.0) -> Problem:
    """Data model whose two modes have odds (p / (1 - p))^(n1 - n2): y ~ p N(mu1, 1) + (1 - p) N(mu2, 1).

    n1 observations lie near +half_gap and n2 near -half_gap, far enough apart for the two splits of the data,
    and those up to two observations away, to carry all of the evidence.
    """
    y = np.concatenate([s * half_gap + stats.norm.ppf((np.arange(n) + 0.5) / n) for s, n in ((1, n1), (-1, n2))])
    posterior, log_z = _dial_components(y, p, tau)
    first = float(posterior.weights[posterior.locs[:, 0] > posterior.locs[:, 1]].sum())
    corner = np.array([half_gap, -half_gap])

    def build() -> pm.Model:
        with pm.Model() as model:
            mu1, mu2 = pm.Normal("mu1", 0.0, tau), pm.Normal("mu2", 0.0, tau)
            pm.NormalMixture("y", w=[p, 1 - p], mu=pt.stack([mu1, mu2]), sigma=1.0, observed=y)
        return model

    def log_density(x: Array) -> Array:
        terms = [np.log(w) + stats.norm.logpdf(y, x[:, [k]], 1.0) for k, w in enumerate((p, 1 - p))]
        return np.logaddexp(*terms).sum(1) + stats.norm.logpdf(x, 0.0, tau).sum(1)

    return Problem(
        name="dial_a_mass",
        model=build,
        log_density=log_density,
        d=2,
        masses=np.array([first, 1 - first]),
        masses_error=1e-9,
        locations=np.stack([_dial_mode(y, p, tau, s * corner) for s in (1, -1)]),
        log_z=log_z,
        mean=posterior.mean,
        cov=posterior.cov,
        sample=posterior.sample,
        forward=moment_optima(posterior.mean, posterior.cov),
    )


def _labels_log_density(y: Array, slope: float, x: Array) -> Array:
    """Density of (a, mu1, mu2): w1 = expit(slope a), with Jacobian slope w1 w2."""
    log_w = log_expit(slope * x[:, 0]), log_expit(-slope * x[:, 0])
    terms = [log_w[k][:, None] + stats.norm.logpdf(y, x[:, [k + 1]], 1.0) for k in (0, 1)]
    prior = np.log(slope) + log_w[0] + log_w[1] + stats.norm.logpdf(x[:, 1:], 0.0, 10.0).sum(1)
    return np.logaddexp(*terms).sum(1) + prior


def _hermite_moments(log_density: LogDensity, mode: Array, cov: Array, order: int = 24) -> tuple[float, Array, Array]:
    """Integrate one near-normal mode by Gauss-Hermite: log Z, mean and covariance."""
    z, weights = hermegauss(order)
    grid = np.stack(np.meshgrid(*[z] * len(mode), indexing="ij"), -1).reshape(-1, len(mode))
    log_w = np.sum(np.meshgrid(*[np.log(weights) + z**2 / 2] * len(mode), indexing="ij"), axis=0).ravel()
    factor = np.linalg.cholesky(cov)
    x = mode + grid @ factor.T
    logs = log_density(x) + log_w
    log_z = float(logsumexp(logs))
    share = np.exp(logs - log_z)
    mean = share @ x
    return log_z + float(np.log(np.diag(factor)).sum()), mean, ((x - mean).T * share) @ (x - mean)


def _rejection_sampler(log_density: LogDensity, loc: Array, cov: Array) -> Sampler:
    """Sample one near-normal mode exactly, by rejection from a wider multivariate t."""
    proposal = stats.multivariate_t(loc, 1.3 * cov, df=5)
    pilot = np.atleast_2d(proposal.rvs(5000, random_state=np.random.default_rng(0)))

    def log_ratio(x: Array) -> Array:
        return np.asarray(log_density(x) - proposal.logpdf(x))

    def loss(x: Array) -> float:
        return -float(log_ratio(x[None])[0])

    bound = 0.01 - float(optimize.minimize(loss, pilot[np.argmax(log_ratio(pilot))], method="Nelder-Mead").fun)

    def sample(n: int, rng: np.random.Generator) -> Array:
        kept = np.empty((0, len(loc)))
        while len(kept) < n:
            x = np.atleast_2d(proposal.rvs(2 * n, random_state=rng))
            kept = np.vstack([kept, x[np.log(rng.random(2 * n)) < log_ratio(x) - bound]])
        return kept[:n]

    return sample


def _labels_model(y: Array) -> pm.Model:
    with pm.Model(coords={"component": [0, 1], "observation": np.arange(len(y))}) as model:
        w = pm.Dirichlet("w", np.ones(2), dims="component")
        mu = pm.Normal("mu", 0.0, 10.0, dims="component")
        pm.NormalMixture("y", w=w, mu=mu, sigma=1.0, observed=y, dims="observation")
    return model


def _normal_2_model(y: Array) -> pm.Model:
    with pm.Model(coords={"component": [0, 1], "observation": np.arange(len(y))}) as model:
        theta = pm.Uniform("theta", 0.0, 1.0)
        mu = pm.Normal("mu", 0.0, 10.0, dims="component")
        pm.NormalMixture("y", w=pt.stack([theta, 1 - theta]), mu=mu, sigma=1.0, observed=y, dims="observation")
    return model


def _two_labellings(name: str, model: Callable[[Array], pm.Model], slope: float, n: int, seed: int) -> Problem:
    """State a mixture of two exchangeable components, whose weight is expit(slope a)."""
    rng = np.random.default_rng(seed)
    y = rng.standard_normal(n) + np.where(rng.random(n) < 0.4, -2.0, 2.0)
    log_density = partial(_labels_log_density, y, slope)
    swap = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    mode, local = climb(log_density, np.array([np.log(0.4 / 0.6) / slope, -2.0, 2.0]))
    log_half, loc, cov = _hermite_moments(log_density, mode, local)
    copies = Gaussians(np.full(2, 0.5), np.stack([loc, swap @ loc]), np.stack([cov, swap @ cov @ swap]))

    def one_labelling(x: Array) -> Array:
        return np.where(x[:, 1] < x[:, 2], log_density(x), -np.inf)

    one_mode = _rejection_sampler(one_labelling, loc, cov)

    def sample(size: int, generator: np.random.Generator) -> Array:
        x = one_mode(size, generator)
        return np.where(generator.random((size, 1)) < 0.5, x, x @ swap)

    return Problem(
        name=name,
        model=partial(model, y),
        log_density=log_density,
        d=3,
        masses=np.full(2, 0.5),
        locations=np.stack([mode, swap @ mode]),
        log_z=log_half + float(np.log(2)),
        mean=copies.mean,
        cov=copies.cov,
        sample=sample,
        forward=moment_optima(copies.mean, copies.cov),
    )


def labels(n: int = 60, seed: int = 1) -> Problem:
    """Two exchangeable components, θ ~ U(0, 1), mu ~ N(0, 10), sd 1: PosteriorDB's normal_2, not ordered.

    The weights are a flat Dirichlet, which is θ ~ U(0, 1), so that both variables have the dim "component".
    Swapping the labels maps the flat vector (a, mu1, mu2) to (-a, mu2, mu1): the masses are ½ and ½. Data are
    simulated with θ = 0.4 and mu = ∓2.
    """
    return _two_labellings("labels", _labels_model, 2.0, n, seed)


def normal_2(n: int = 60, seed: int = 1) -> Problem:
    """The model and data of `labels` with the weight as a scalar θ, which lacks the dim "component".

    Swapping the labels maps the flat vector (log odds of θ, mu1, mu2) as there, but no permutation of a dim does.
    """
    return _two_labellings("normal_2", _normal_2_model, 1.0, n, seed)
