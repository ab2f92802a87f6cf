"""Compare errors of log Z and of masses at equal time: sample_reference(), pm.sample_smc(), blackjax and dynesty.

Three posteriors of two modes whose truth is known: a mixture of two normals on 60 data, as of galaxies; a sensor seen
from three beacons that are nearly in line; and two normals in ten dimensions. Each sampler runs with its defaults, or
those of its documentation, once to compile and then with other seeds, which are shown. What is not installed is said.
Errors fall as the root of time, so the ratio is that of errors times the root of seconds of the processor.

    python -m uv run --group bench python benchmarks/evidence.py            # some ten minutes; or a posterior by name
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from pytensor.graph.replace import graph_replace
from rich.console import Console
from rich.table import Table
from scipy.special import logsumexp

import pymc_kl as pkl
from pymc_kl.model import Target

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from zoo.data_models import normal_2
from zoo.mixtures import two_normals_10d

SEEDS = (1, 2, 3, 4)  # the first one compiles
CHAINS = 4
LEAST = 1e-6  # error, of log Z or a mass, from which a ratio is told


@dataclass(frozen=True, eq=False)
class Case:
    """A posterior with two modes at locations (2, d), their masses (2,) and its log Z, in nats."""

    model: Callable[[], pm.Model]
    locations: np.ndarray
    masses: np.ndarray
    log_z: float

    def shares(self, x: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Share of draws (n, d), unconstrained, that are nearer to each mode."""
        nearest = ((x[:, None] - self.locations) ** 2).sum(axis=2).argmin(axis=1)
        return np.bincount(nearest, weights, minlength=2) / (len(x) if weights is None else weights.sum())


def sensor_model() -> pm.Model:
    """A position in the plane, by noisy distances to three beacons that are nearly in line."""
    beacons, distances = np.array([[-1.0, 0.02], [0.0, -0.02], [1.2, 0.03]]), np.array([1.41, 1.02, 1.54])
    with pm.Model() as model:
        x = pm.Normal("x", 0, 1, shape=2)
        pm.Normal("distance", pt.sqrt(((x - beacons) ** 2).sum(axis=1)), 0.05, observed=distances)
    return model


def sensors() -> Case:
    """The sensor's truth by a grid: the beacons' line parts the plane."""
    target, line = Target.from_model(sensor_model()), np.linspace(-3, 3, 1501)
    x = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    value = target.log_density(x)
    upper = x[:, 1] > 0
    sides = np.array([logsumexp(value[upper]), logsumexp(value[~upper])]) + 2 * np.log(line[1] - line[0])
    locations = np.stack([x[upper][value[upper].argmax()], x[~upper][value[~upper].argmax()]])
    return Case(sensor_model, locations, np.exp(sides - logsumexp(sides)), float(logsumexp(sides)))


def from_zoo(make: Callable[[], Any]) -> Case:
    """Take a problem of the tests."""
    problem = make()
    return Case(problem.model, problem.locations, problem.masses, problem.log_z)


CASES: dict[str, Callable[[], Case]] = {
    "mixture on data, d = 3": lambda: from_zoo(normal_2),
    "sensor, d = 2": sensors,
    "two normals, d = 10": lambda: from_zoo(two_normals_10d),
}

type Answer = tuple[float, np.ndarray]  # log Z and the masses of both modes


def reference(case: Case, target: Target, seed: int) -> Answer:
    """Run `sample_reference()` without draws and symmetries."""
    dt = pkl.sample_reference(model=target, symmetry=False, random_seed=seed, progressbar=False)
    modes = dt["modes"].to_dataset().drop_dims("draw", errors="ignore")
    x = target.unconstrain(modes[list(dt["posterior"].data_vars)].rename(mode="draw").expand_dims("chain"))[0]
    return float(dt["evidence"]["log_evidence"]), case.shares(x, modes["mass"].values)


def smc(case: Case, target: Target, seed: int) -> Answer:
    """Run `pm.sample_smc()`; log Z is the mean of the chains' last finite estimates."""
    with target.model:
        idata = pm.sample_smc(chains=CHAINS, cores=1, random_seed=seed, progressbar=False)
    chains = idata["sample_stats"]["log_marginal_likelihood"].values.reshape(CHAINS, -1)
    stages = [np.concatenate([np.atleast_1d(entry) for entry in chain]).astype(float) for chain in chains]
    log_z = np.mean([values[np.isfinite(values)][-1] for values in stages])
    return float(log_z), case.shares(target.unconstrain(idata).reshape(-1, target.d))


def jax_density(target: Target) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Log prior and log likelihood of a flat vector, for blackjax."""
    import jax
    from pymc.sampling.jax import get_jaxified_graph

    jax.config.update("jax_enable_x64", True)
    model = target.model
    graph = get_jaxified_graph(inputs=model.value_vars, outputs=[model.varlogp, model.datalogp])

    def parts(x: Any) -> Any:
        return graph(*[x[v.coordinates].reshape(v.value_shape) for v in target.variables])

    return lambda x: parts(x)[0], lambda x: parts(x)[1]


def blackjax_smc(case: Case, target: Target, seed: int) -> Answer:
    """Run blackjax's adaptive tempered SMC with 4,000 particles and 10 steps of HMC a temperature."""
    import blackjax
    import jax
    import jax.numpy as jnp
    from blackjax.smc.resampling import systematic

    log_prior, log_likelihood = jax_density(target)
    particles = jnp.asarray(target.initial_points(4000, np.random.default_rng(seed)))
    inverse = 0.1 * jnp.var(particles, axis=0)
    parameters = {"step_size": jnp.array([0.3]), "inverse_mass_matrix": inverse[None]}
    parameters |= {"num_integration_steps": jnp.array([10])}
    algorithm = blackjax.adaptive_tempered_smc(
        log_prior, log_likelihood, blackjax.hmc.build_kernel(), blackjax.hmc.init, parameters, systematic, 0.5,
        num_mcmc_steps=10,
    )  # fmt: skip
    step, state, log_z, key = jax.jit(algorithm.step), algorithm.init(particles), 0.0, jax.random.key(seed)
    while float(_tempering(state)) < 1:
        key, now = jax.random.split(key)
        state, info = step(now, state)
        log_z += float(info.log_likelihood_increment)
    return log_z, case.shares(np.asarray(state.particles))


def _tempering(state: Any) -> Any:
    return getattr(state, "tempering_param", getattr(state, "lmbda", None))


def blackjax_nss(case: Case, target: Target, seed: int) -> Answer:
    """Run blackjax's nested slice sampling with 1,000 live points, until a thousandth of the evidence is left."""
    import blackjax
    import jax
    import jax.numpy as jnp
    from blackjax.ns.utils import finalise, log_weights

    log_prior, log_likelihood = jax_density(target)
    algorithm = blackjax.nss(log_prior, log_likelihood, num_inner_steps=10 * target.d, num_delete=100)
    key = jax.random.key(seed)
    state = algorithm.init(jnp.asarray(target.initial_points(1000, np.random.default_rng(seed))))
    step, dead = jax.jit(algorithm.step), []
    while float(state.integrator.logZ_live - state.integrator.logZ) > np.log(1e-3):
        key, now = jax.random.split(key)
        state, info = step(now, state)
        dead.append(info)
    last = finalise(state, dead)
    weights = np.asarray(log_weights(key, last))  # columns are simulated volumes
    mean = weights.mean(axis=1)
    shares = case.shares(np.asarray(last.particles.position), np.exp(mean - mean.max()))
    return float(logsumexp(weights, axis=0).mean()), shares


def nested(case: Case, target: Target, seed: int) -> Answer:
    """Run dynesty's static nested sampling on the unit cube, by the quantiles of the prior."""
    import dynesty

    model, u = target.model, pt.vector("u")
    values, first = {}, 0
    for variable, rv in zip(target.variables, model.free_RVs, strict=True):
        size = int(np.prod(variable.shape, dtype=int))
        drawn = pm.icdf(rv, u[first : first + size].reshape(variable.shape))
        transform = model.rvs_to_transforms[rv]
        value = drawn if transform is None else transform.forward(drawn, *rv.owner.inputs)
        values[model.rvs_to_values[rv]] = value
        first += size
    flat = pt.concatenate([value.ravel() for value in values.values()])
    likelihood = pytensor.function([u], graph_replace(model.datalogp, values))
    sampler = dynesty.NestedSampler(
        lambda point: float(likelihood(point)), lambda point: point, first, rstate=np.random.default_rng(seed)
    )
    sampler.run_nested(print_progress=False)
    found, to_flat = sampler.results, pytensor.function([u], flat)
    x = np.array([to_flat(point) for point in found.samples])
    return float(found.logz[-1]), case.shares(x, np.exp(found.logwt - found.logwt.max()))


SAMPLERS: dict[str, Callable[[Case, Target, int], Answer]] = {
    "pymc_kl.sample_reference": reference, "pm.sample_smc": smc, "blackjax tempered SMC": blackjax_smc,
    "blackjax nss": blackjax_nss, "dynesty": nested,
}  # fmt: skip


def errors(case: Case, sampler: Callable[[Case, Target, int], Answer]) -> tuple[float, float, float]:
    """Root mean square errors of log Z and of the first mass over seeds, and the seconds of the processor a run."""
    target, off, seconds = Target.from_model(case.model()), [], []
    for seed in SEEDS:
        start = time.process_time()
        log_z, masses = sampler(case, target, seed)
        seconds.append(time.process_time() - start)
        off.append((log_z - case.log_z, masses[0] - case.masses[0]))
    of_log_z, of_mass = np.sqrt(np.square(off[1:]).mean(axis=0))
    return float(of_log_z), float(of_mass), float(np.mean(seconds[1:]))


def run(name: str) -> Table:
    """Make a table of one posterior: a row a sampler, and how many times our error its own is at equal time."""
    case, ours = CASES[name](), None
    table = Table("sampler", title=f"{name}: log Z {case.log_z:.4f}, first mass {case.masses[0]:.4f}")
    for heading in ("error of log Z", "of the mass", "CPU s", "ratio, log Z", "ratio, mass"):
        table.add_column(heading, justify="right")
    for label, sampler in SAMPLERS.items():
        try:
            of_log_z, of_mass, seconds = errors(case, sampler)
        except ImportError as error:
            table.add_row(label, f"not installed: {error.name}")
            continue
        except NotImplementedError as error:
            table.add_row(label, f"not for this model: {error}")
            continue
        per_second = np.maximum([of_log_z, of_mass], LEAST) * np.sqrt(seconds)
        ours = per_second if ours is None else ours
        ratios = (f"{ratio:.3g}" for ratio in per_second / ours)
        table.add_row(label, f"{of_log_z:.5f}", f"{of_mass:.5f}", f"{seconds:.2f}", *ratios)
    return table


def main() -> None:
    """Print a table a posterior."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=list(CASES), help="; ".join(CASES))
    warnings.simplefilter("ignore")
    for name in parser.parse_args().cases:
        Console(width=120).print(run(name))


if __name__ == "__main__":
    main()
