"""What does a comparison on a million rows take? Seconds of each stage within a budget, and the peak of memory.

A logistic regression with `pm.Minibatch`: ADVI by batches, then `compare` by the density on all rows within a budget,
and by one that is estimated from some rows. Each runs in a process of its own, so that peak memory, as `resource` has
it, is that of one of them.

    python -m uv run python benchmarks/large_data.py --rows 1000000 --budget 600
"""

import argparse
import json
import multiprocessing
import resource
import time
import warnings

import numpy as np
import pymc as pm
from scipy.special import expit

import pymc_kl as pkl
from pymc_kl.model import as_target, subsampled

BETA = [0.5, -0.3, 0.2]


def logistic(n: int) -> pm.Model:
    """Build a logistic regression on n rows, which a batch of 500 stands for."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n, len(BETA)))
    y = rng.binomial(1, expit(x @ BETA)).astype("int32")
    with pm.Model() as model:
        rows, seen = pm.Minibatch(x, y, batch_size=500)
        beta = pm.Normal("beta", 0, 1, shape=len(BETA))
        pm.Bernoulli("y", logit_p=pm.Normal("intercept", 0, 1) + rows @ beta, observed=seen, total_size=n)
    return model


def measure(n: int, budget: float, n_rows: int | None) -> None:
    """Fit, compare, and print what it took; by all rows, or by an estimate from some."""
    model = logistic(n)
    with model:
        advi = pm.fit(10_000, obj_optimizer=pm.adam(learning_rate=0.002), random_seed=1, progressbar=False)
    start = time.perf_counter()
    if n_rows is None:
        target = as_target(model)
        x = target.initial_point()[None].repeat(16, axis=0)
        target.log_density_and_grad(x)
        start = time.perf_counter()
        target.log_density_and_grad(x)
        seconds = (time.perf_counter() - start) / len(x)
        print(f"all {n:,} rows: {1e3 * seconds:.2g} ms a point with its gradient", flush=True)
    else:
        estimated = subsampled(model, n_rows=n_rows, random_seed=1)
        target = estimated.target
        print(estimated.told, flush=True)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            comparison = pkl.compare(
                None, {"ADVI": advi}, model=target, budget=budget, random_seed=1, progressbar=False
            )
        except RuntimeError as error:
            print(f"  {error}")
        else:
            seconds = {stage: round(took) for stage, took in json.loads(comparison.attrs["seconds"]).items()}
            evidence, se = (float(comparison["evidence"][name]) for name in ("log_evidence", "log_evidence_se"))
            print(f"  log Z {evidence:.3f} ± {se:.3f}; seconds {seconds}")
            print(comparison["scores"].to_dataset()["error"].to_series().to_string())
    for warning in told:
        print(f"  {warning.message}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"  {time.perf_counter() - start:.0f} s in all, peak {peak:.2f} GB", flush=True)


def main() -> None:
    """Measure both, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--some", type=int, default=20_000, help="rows that the estimate takes")
    parser.add_argument("--budget", type=float, default=600.0, help="seconds")
    args = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    for n_rows in (args.some, None):
        process = spawn.Process(target=measure, args=(args.rows, args.budget, n_rows))
        process.start()
        process.join()


if __name__ == "__main__":
    main()
