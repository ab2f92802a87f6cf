"""Replicate comparisons over seeds and set every number with an error beside its truth.

A truth is exact where the zoo has it, else that of 100,000 exact draws, whose own error counts as well.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from problems import ALL, Problem
from scipy.stats import multivariate_normal

import pymc_kl as pkl
from pymc_kl.approximations import Approximation, FullRank, MeanField
from pymc_kl.comparison.formats import is_symmetric
from pymc_kl.model.target import Target
from pymc_kl.modes.masses import NORMAL_95
from pymc_kl.modes.modes import Modes
from pymc_kl.modes.numbering import to_region
from pymc_kl.scores.coverage import MISSED_BELOW, OVER_ABOVE, TOO_FEW_DRAWS, UNDER_BELOW

type Array = npt.NDArray[np.float64]
type Row = tuple[Any, ...]  # fields of a Number from `quantity` on

N_TRUTH = 100_000  # exact draws behind a truth
N_MEAN = 1_000_000  # exact draws behind a divergence, or a quantile far out, which need no regions
N_GIVEN = 2000  # exact draws given to a comparison, in four chains
N_PARTED = 20_000  # exact draws of one mode that a comparison parts, which are the truth of draws of that mode
N_PARTICLES = 200  # distinct draws of an approximation that is draws alone
CHAINS = (4, 500)  # chains and draws of an approximation that is chains
STAYS = 0.9  # share of a chain's moves that stay in its mode
NARROW = 0.7  # times the standard deviations of the best fit
ALPHA_TAILS = {"lower": 0.05, "upper": 0.95}
ROUNDING = 1e-6  # of numbers that are exact, as log Z of a normal is
FITTED = "forward fullrank"
WRONG = "wrong "  # of an answer that is no number: 1 where it is false
OPEN = "left open: "  # of an answer: 1 where it is that nothing can be told
BOUNDED = ("elbo", "reverse_kl", "reverse_kl_between", "reverse_kl_within")  # what an unseen mode bounds, of one fit
PARTED = "parted"  # name of those that it parts
ONE = " of one mode"  # what the names of approximations end with that are draws of the heaviest mode alone
UNSEEN = ", a mode unseen"  # of a number of a fit without a draw in some mode: its error is that of a bound
FEW = ", of fewer than ten draws"  # of a share that so few are expected of: its interval is not a normal's
ALARM, CERTAIN = 0.01, 0.05  # mass of the modes missed above which the alarm may sound, and has to


class Number(NamedTuple):
    """A printed number beside its truth."""

    posterior: str
    seed: int
    quantity: str
    of: str
    value: float
    se: float
    truth: float
    truth_se: float
    low: float = np.nan
    high: float = np.nan


class Mean(NamedTuple):
    """A truth and its own standard error."""

    value: float
    se: float = 0.0


def mean(values: Array) -> Mean:
    return Mean(float(values.mean()), float(values.std() / np.sqrt(len(values))))


@dataclass(frozen=True, eq=False)
class Drawn:
    """Exact draws x (n, d) of p or of q, with log p̃ and region of each."""

    x: Array
    log_density: Array
    region: npt.NDArray[np.int64]

    def masses(self, k: int) -> Array:
        return np.bincount(self.region, minlength=k + 1) / len(self.x)


@dataclass(frozen=True, eq=False)
class Posterior:
    """A posterior of the zoo, and the truth of whatever a comparison prints of it."""

    name: str

    @cached_property
    def problem(self) -> Problem:
        return ALL[self.name]()

    @cached_property
    def target(self) -> Target:
        return Target.from_model(self.problem.model())

    @cached_property
    def modes(self) -> Modes:
        return pkl.find_modes(model=self.target, min_barrier=0.1, random_seed=1, progressbar=False)

    @cached_property
    def p(self) -> Drawn:
        return self.drawn(self.sample(N_TRUTH, 1))

    def sample(self, n: int, seed: int) -> Array:
        assert self.problem.sample is not None
        return self.problem.sample(n, np.random.default_rng(seed))

    def drawn(self, x: Array) -> Drawn:
        region = np.zeros(len(x), dtype=np.int64)
        if self.modes.k > 1:
            region = to_region(self.modes.assign(x), self.modes.k)
        return Drawn(x, self.problem.log_density(x), region)

    @cached_property
    def masses(self) -> Array:
        """Masses (K + 1,) of the modes in the order of `modes`; those counted where the zoo's are another number."""
        counted = self.p.masses(self.modes.k)
        if len(self.problem.masses) != self.modes.k or self.problem.locations is None:
            return counted
        away = np.linalg.norm(self.modes.x[:, None] - self.problem.locations, axis=2)
        exact = np.append(self.problem.masses[away.argmin(axis=1)], 0.0)
        agree = np.abs(exact - counted) < 3 * np.sqrt(counted * (1 - counted) / N_TRUTH) + 1 / N_TRUTH
        return exact if agree.all() else counted  # where modes touch, a climb and the gradient flow may part

    @cached_property
    def masses_error(self) -> float:
        """Largest standard error of those masses: 0 where they are exact."""
        counted = self.p.masses(self.modes.k)
        return float(np.sqrt((counted * (1 - counted)).max() / N_TRUTH)) if (self.masses == counted).all() else 0.0

    @cached_property
    def fits(self) -> dict[str, Approximation]:
        """The best normal by reverse KL or else by moments, and the same with narrower spread."""
        optima = self.problem.reverse
        key = next(iter(optima), "")
        loc, cov = (optima[key].mean, optima[key].cov) if key else (self.p.x.mean(axis=0), np.cov(self.p.x.T))
        return {
            "best": _normal(key, loc, np.atleast_2d(cov)),
            "narrow": _normal(key, loc, NARROW**2 * np.atleast_2d(cov)),
        }

    @cached_property
    def of_fits(self) -> dict[str, Drawn]:
        rng = np.random.default_rng(2)
        return {name: self.drawn(q.sample(N_TRUTH, random_seed=rng)) for name, q in self.fits.items()}

    @cached_property
    def many(self) -> tuple[Array, Array]:
        """Exact draws x (n, d) of p for means over all of it, and log p̃ at each."""
        x = self.sample(N_MEAN, 4)
        return x, self.problem.log_density(x)

    def divergences(self, q: Approximation) -> dict[str, Mean]:
        """Both divergences and bounds of q."""
        (x, log_density), y = self.many, q.sample(N_MEAN, random_seed=5)
        forward = mean(log_density - q.log_prob(x))
        reverse = mean(self.problem.log_density(y) - q.log_prob(y))
        log_z = self.problem.log_z
        return {
            "eubo": forward,
            "elbo": reverse,
            "forward_kl": Mean(forward.value - log_z, forward.se),
            "reverse_kl": Mean(log_z - reverse.value, reverse.se),
        }

    def gap(self, q: Approximation) -> Mean:
        """ELBO of the best normal less that of q, by the same standard normals for both."""
        best, mine = (
            self.problem.log_density(y) - fit.log_prob(y)
            for fit in (self.fits["best"], q)
            for y in [fit.sample(N_MEAN, random_seed=5)]
        )
        return mean(best - mine)

    @cached_property
    def scores(self) -> dict[tuple[str, str], Mean]:
        """Truths of the scores of each fit."""
        found = {}
        w, floor = self.masses, np.quantile(self.many[1], 0.001)
        for name, q in self.fits.items():
            own = self.of_fits[name]
            v = own.masses(self.modes.k)
            rows = self.divergences(q) | {
                "spill": mean((own.log_density < floor).astype(float)),
            }
            if self.modes.k > 1:
                tv = 0.5 * float(np.abs(w - v).sum())
                rows["mode_tv"] = Mean(tv, _counted_se(0.5 * np.sign(v - w), v))
            if self.modes.k > 1 and (v[w > 0] > 0).all():
                for kind, (one, two) in {"forward_kl": (w, v), "reverse_kl": (v, w)}.items():
                    if (two[one > 0] > 0).all():
                        some = (w > 0) & (v > 0)
                        ratio = np.where(some, v, 1.0) / np.where(some, w, 1.0)
                        slope = -1 / ratio if kind == "forward_kl" else np.log(ratio)
                        between = Mean(_between(one, two), _counted_se(slope, v))
                        rows[f"{kind}_between"] = between
                        total = rows[kind]
                        rows[f"{kind}_within"] = Mean(
                            total.value - between.value, float(np.hypot(*(total.se, between.se)))
                        )
            if self.problem.reverse:
                rows["elbo_gap"] = self.gap(q)
            found |= {(name, quantity): truth for quantity, truth in rows.items()}
        return found

    @cached_property
    def moments(self) -> dict[str, dict[str, tuple[Array, Array]]]:
        """Mean, sd and tails of each variable by exact draws, each with its error; nothing where modes have copies."""
        if self.modes.has_copies:
            return {}
        drawn = self.target.to_dataset(self.p.x[None]).isel(chain=0, drop=True)
        found = {}
        for name in (v for v in drawn.data_vars if drawn[v].dtype.kind == "f"):
            values = drawn[name].values.reshape(N_TRUTH, -1)
            sd = values.std(axis=0)
            fourth = ((values - values.mean(axis=0)) ** 4).mean(axis=0) - sd**4
            rows = {
                "mean": (values.mean(axis=0), sd / np.sqrt(N_TRUTH)),
                "sd": (sd, np.sqrt(fourth / N_TRUTH) / (2 * sd)),
            }
            for tail, prob in ALPHA_TAILS.items():
                delta = np.sqrt(prob * (1 - prob) / N_TRUTH)
                low, middle, high = np.quantile(values, [prob - delta, prob, prob + delta], axis=0)
                rows[tail] = (middle, (high - low) / 2)
            found[str(name)] = rows
        return found


def _counted_se(slope: Array, v: Array) -> float:
    """Standard error of a function of masses v that N_TRUTH draws were counted for, given its derivatives."""
    return float(np.sqrt(((v * slope**2).sum() - (v * slope).sum() ** 2) / N_TRUTH))


def _normal(key: str, loc: Array, cov: Array) -> Approximation:
    if key == "fullrank" or not key:
        return FullRank(loc=loc, scale_tril=np.linalg.cholesky(cov), kind="reverse")
    return MeanField(loc=loc, scale=np.sqrt(np.diag(cov)), kind="reverse")


def _between(one: Array, two: Array) -> float:
    inside = one > 0
    return float((one[inside] * np.log(one[inside] / two[inside])).sum())


def draws_alone(posterior: Posterior, seed: int) -> dict[str, Array]:
    """Approximations that are draws alone (chain, draw, d): of the posterior, and of its heaviest mode.

    Many of that mode tell which of them the comparison counts to others: where its climbs part far tails elsewhere.
    Particles stand there twice; a chain seldom leaves its mode, within which its draws are independent.
    """
    rng = np.random.default_rng([3000 + seed, *posterior.name.encode()])
    found = {"particles": np.repeat(posterior.sample(N_PARTICLES, 2000 + seed), 2, axis=0)[None]}
    found["chains"] = np.array([_chain(posterior, CHAINS[1], rng) for _ in range(CHAINS[0])])
    if posterior.modes.k > 1:
        heaviest = np.flatnonzero(posterior.p.region == posterior.masses.argmax())
        for name, x in tuple(found.items()):
            rows = rng.choice(heaviest, size=x.size // (x.shape[2] * (2 if name == "particles" else 1)))
            kept = np.repeat(rows, 2) if name == "particles" else rows
            found[f"{name}{ONE}"] = posterior.p.x[kept].reshape(x.shape)
        found[PARTED] = posterior.p.x[heaviest[:N_PARTED]][None]
    return found


def _chain(posterior: Posterior, n: int, rng: np.random.Generator) -> Array:
    """A chain (n, d) whose law is the posterior's, and which stays in a mode for several draws."""
    starts = np.flatnonzero(np.append(True, rng.random(n - 1) > STAYS))
    modes = rng.choice(posterior.p.region, size=len(starts))
    rows = np.repeat(modes, np.diff(np.append(starts, n)))
    for k in np.unique(modes):
        rows_of_mode = rows == k
        rows[rows_of_mode] = rng.choice(np.flatnonzero(posterior.p.region == k), size=rows_of_mode.sum())
    return posterior.p.x[rows]


def compared(posterior: Posterior, seed: int) -> xr.DataTree:
    """Compare the fits of a posterior, with exact draws given for even seeds and none for odd ones."""
    x = posterior.sample(N_GIVEN, 1000 + seed).reshape(4, -1, posterior.problem.d)
    alone = {name: posterior.target.to_dataset(x) for name, x in draws_alone(posterior, seed).items()}
    fits: Mapping[str, object] = {**posterior.fits, **alone}
    given = None if seed % 2 else posterior.target.to_dataset(x)
    return pkl.compare(
        given, fits, model=posterior.target, forward=("fullrank",), min_barrier=0.1, random_seed=seed,
        progressbar=False,
    )  # fmt: skip


def replicate(posterior: Posterior, seed: int) -> pd.DataFrame:
    """Compare once: a row for each number that has an error and a truth."""
    dt = compared(posterior, seed)
    rows = [Number(posterior.name, seed, *row) for row in _numbers(posterior, dt)]
    return pd.DataFrame(rows, columns=list(Number._fields))


def _numbers(posterior: Posterior, dt: xr.DataTree) -> Iterator[Row]:
    evidence, scores = dt["evidence"].to_dataset(), dt["scores"].to_dataset()
    yield "log_evidence", "", *_estimate(evidence, "log_evidence"), posterior.problem.log_z, 0.0
    truths = posterior.scores | {(FITTED, name): truth for name, truth in _truths_of_fitted(posterior, dt).items()}
    for (fit, quantity), truth in truths.items():
        row = scores.sel(approximation=fit)
        unseen = bool(((dt["coverage"]["mass"].sel(approximation=fit) == 0) & (dt["modes"]["mass"] > 0)).any())
        if not (quantity.startswith("forward") and float(row["forward_kl_is_bound"])):
            few = quantity == "spill" and truth.value < 10 / N_GIVEN
            name = quantity + (FEW if few else UNSEEN if unseen and quantity in BOUNDED else "")
            yield name, fit, *_estimate(row, quantity), *truth
    yield from _of_modes(posterior, dt)
    yield from _of_moments(posterior, dt)
    yield from _of_alarms(posterior, dt)


def _estimate(row: xr.Dataset, quantity: str) -> tuple[float, float]:
    return float(row[quantity]), float(row[f"{quantity}_se"])


def _mass(row: xr.Dataset) -> tuple[tuple[float, float], tuple[float, float]]:
    """A mass and its error; and its interval, where that is printed."""
    value, se, low, high = (float(row[name]) for name in ("mass", "mass_se", "mass_lower", "mass_upper"))
    return (value, se), ((np.nan, np.nan) if is_symmetric(value, low, high) else (low, high))


def _of_modes(posterior: Posterior, dt: xr.DataTree) -> Iterator[Row]:
    """Masses under p and under each approximation, where the comparison has the modes that the truth has."""
    modes, coverage = dt["modes"].to_dataset(), dt["coverage"].to_dataset()
    if modes.sizes["mode"] != posterior.modes.k or posterior.modes.k == 1:
        return
    order = _same_modes(posterior, modes)
    if sorted(order) != list(range(posterior.modes.k)):
        return
    w, one = posterior.masses, np.zeros(posterior.modes.k + 1)
    one[order] = coverage["mass"].sel(approximation=PARTED)
    parted = min(N_PARTED, int((posterior.p.region == w.argmax()).sum()))
    for k, truth in enumerate(order):
        found, ends = _mass(modes.isel(mode=k))
        yield "mass", f"mode {truth}", *found, float(w[truth]), posterior.masses_error, *ends
        for name in posterior.fits:
            v = float(posterior.of_fits[name].masses(posterior.modes.k)[truth])
            se = float(np.sqrt(max(v * (1 - v), 1 / N_TRUTH) / N_TRUTH))
            found, ends = _mass(coverage.sel(approximation=name).isel(mode=k))
            yield "mass under q", name, *found, v, se, *ends
            verdict = str(coverage["verdict"].sel(approximation=name).values[k])
            yield f"{WRONG}verdict", name, float(_contradicts(verdict, v / w[truth])), np.nan, 0.0, 0.0
            yield f"{OPEN}verdict", name, float(verdict == TOO_FEW_DRAWS), np.nan, 0.0, 0.0
        for name, v in _masses_alone(coverage, w, one).items():
            row = coverage.sel(approximation=name).isel(mode=k)
            found, ends = _mass(row)
            kind = "mass under particles and chains" + (ONE if v is one else "")
            error = float(np.sqrt(v[truth] * (1 - v[truth]) / parted)) if v is one else posterior.masses_error
            yield kind, name, *found, float(v[truth]), error, *ends
            verdict = str(row["verdict"].values)
            wrong = _contradicts(verdict, float(v[truth] / w[truth]))
            yield f"{WRONG}verdict of draws alone", name, float(wrong), np.nan, 0.0, 0.0
            yield f"{OPEN}verdict of draws alone", name, float(verdict == TOO_FEW_DRAWS), np.nan, 0.0, 0.0


def _masses_alone(coverage: xr.Dataset, all_modes: Array, one: Array) -> dict[str, Array]:
    """Masses of the modes under each approximation that is draws alone: those of all modes, or of one."""
    names = [str(name) for name in coverage["approximation"].values]
    return {
        name: one if name.endswith(ONE) else all_modes for name in names if name.startswith(("particles", "chains"))
    }


def _contradicts(verdict: str, ratio: float) -> bool:
    """Tell whether a verdict is false of a mode whose mass under q is `ratio` times that under p."""
    false = {
        "missed": ratio >= MISSED_BELOW,
        "under": ratio >= UNDER_BELOW,
        "over": ratio <= OVER_ABOVE,
        "covered": ratio < MISSED_BELOW,
    }
    return false.get(verdict, False)


def _of_alarms(posterior: Posterior, dt: xr.DataTree) -> Iterator[Row]:
    """Tell of each fit whether the alarm sounds without a mode that it misses, or fails to although it misses 5 %."""
    alarm, w = dt["scores"]["alarm"], posterior.masses[:-1]
    for name in posterior.fits:
        v = posterior.of_fits[name].masses(posterior.modes.k)[:-1]
        lost = float(w[v < MISSED_BELOW * w].sum())
        sounds = bool(alarm.sel(approximation=name))
        yield f"{WRONG}alarm", name, float(sounds and lost < ALARM), np.nan, 0.0, 0.0
        if lost > CERTAIN:
            yield f"{WRONG}silence", name, float(not sounds), np.nan, 0.0, 0.0
    unit = np.eye(posterior.modes.k + 1)[posterior.masses.argmax()]
    for name, v in _masses_alone(dt["coverage"].to_dataset(), posterior.masses, unit).items():
        sounds, lost = bool(alarm.sel(approximation=name)), 1 - float(w.max()) if v is unit else 0.0
        yield f"{WRONG}alarm of draws alone", name, float(sounds and lost < ALARM), np.nan, 0.0, 0.0
        if lost > CERTAIN:
            yield f"{WRONG}silence of draws alone", name, float(not sounds), np.nan, 0.0, 0.0


def _same_modes(posterior: Posterior, modes: xr.Dataset) -> list[int]:
    """Find the mode of the truth that lies nearest to each mode of a comparison."""
    there = posterior.target.to_dataset(posterior.modes.x[None]).isel(chain=0, drop=True)
    away = np.zeros((modes.sizes["mode"], posterior.modes.k))
    for name in there.data_vars:
        if name in modes and "mode" in modes[name].dims:
            a = modes[name].transpose("mode", ...).values.reshape(len(away), 1, -1)
            away += ((a - there[name].values.reshape(1, posterior.modes.k, -1)) ** 2).sum(axis=2)
    return [int(i) for i in away.argmin(axis=1)]


def _of_moments(posterior: Posterior, dt: xr.DataTree) -> Iterator[Row]:
    table = dt["parameters"].to_dataset().isel(source=0)
    for name, rows in posterior.moments.items():
        if name not in table:
            continue
        for statistic, (truth, error) in rows.items():
            value = table[name].sel(statistic=statistic).values.ravel()
            se = table[name].sel(statistic=f"{statistic}_se").values.ravel()
            for i in range(len(value)):
                yield f"parameter {statistic}", name, float(value[i]), float(se[i]), float(truth[i]), float(error[i])


def _truths_of_fitted(posterior: Posterior, dt: xr.DataTree) -> dict[str, Mean]:
    """Both divergences of the full-rank fit that the comparison made, which its own draws and log q determine."""
    node = dt[f"approximations/{FITTED}"]
    x = _flat(posterior.target, node["posterior"].to_dataset())
    if x is None:
        return {}
    q = normal_through(x, node["sample_stats"]["log_prob"].values.ravel())
    own = q.rvs(N_TRUTH, random_state=np.random.default_rng(3)).reshape(N_TRUTH, -1)
    forward = mean(posterior.p.log_density - q.logpdf(posterior.p.x))
    reverse = mean(posterior.problem.log_density(own) - q.logpdf(own))
    log_z = posterior.problem.log_z
    return {
        "forward_kl": Mean(forward.value - log_z, forward.se),
        "reverse_kl": Mean(log_z - reverse.value, reverse.se),
    }


def _flat(target: Target, draws: xr.Dataset) -> Array | None:
    """Flat draws (n, d) of a model whose variables are not transformed; None of another."""
    names = [v.name for v in target.model.value_vars]
    if any(name not in draws for name in names):
        return None
    stacked = [draws[name].values.reshape(draws[name].shape[0] * draws[name].shape[1], -1) for name in names]
    return np.concatenate(stacked, axis=1)


def normal_through(x: Array, log_prob: Array) -> multivariate_normal:
    """Find the normal whose log density at points x (n, d) is `log_prob` (n,): a quadratic through them."""
    d = x.shape[1]
    i, j = np.triu_indices(d)
    centre, scale = x.mean(axis=0), x.std(axis=0)
    z = (x - centre) / scale
    columns = np.column_stack([z[:, i] * z[:, j], z, np.ones(len(z))])
    found, *_ = np.linalg.lstsq(columns, log_prob)
    precision = np.zeros((d, d))
    precision[i, j] = -found[: len(i)]
    precision = precision + precision.T
    cov = np.linalg.inv(precision)
    loc = cov @ found[len(i) : len(i) + d]
    return multivariate_normal(centre + scale * loc, cov * np.outer(scale, scale))


def table(rows: pd.DataFrame, by: str | list[str] = "quantity") -> pd.DataFrame:
    """Sum up replications: share of 95 % intervals that hold the truth, mean and sd of z, share without an error.

    z is of numbers with a ± alone: neither of those with an interval, or a bound, nor of those that are exact.
    """
    rows = rows[~rows["quantity"].str.startswith((WRONG, OPEN))]
    known = np.isfinite(rows["value"]) & np.isfinite(rows["se"])
    error = np.sqrt(rows["se"] ** 2 + rows["truth_se"] ** 2 + ROUNDING**2)
    z = ((rows["value"] - rows["truth"]) / error).where(known)
    reach, ends = NORMAL_95 * rows["truth_se"] + ROUNDING, rows["low"].notna()
    within = (rows["low"] - reach <= rows["truth"]) & (rows["truth"] <= rows["high"] + reach)
    held = within.where(ends, z.abs() < NORMAL_95).where(known).astype(float)
    normal = ~ends & (error > 2 * ROUNDING) & ~rows["quantity"].str.endswith((UNSEEN, FEW))
    found = rows.assign(z=z.where(normal), held=held, refused=~known).groupby(by)
    return pd.DataFrame(
        {
            "n": found.size(),
            "refused": found["refused"].mean(),
            "covers": found["held"].mean(),
            "mean z": found["z"].mean(),
            "sd z": found["z"].std(),
        }
    )


def rates(rows: pd.DataFrame, kind: str = WRONG, by: str | list[str] = "quantity") -> pd.DataFrame:
    """Sum up answers that are no numbers: how many there were, and the share that is false, or left open."""
    found = rows[rows["quantity"].str.startswith(kind)].groupby(by)["value"]
    return pd.DataFrame({"n": found.size(), "share": found.mean()})
