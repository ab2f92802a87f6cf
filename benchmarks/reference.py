"""Sample two normals in ten dimensions with NUTS, SMC and sample_reference(), and see who finds both modes.

The posterior is 0.7 N(-2·1, I) + 0.3 N(2·1, 0.5² I), so the first mode has mass 0.7 and log Z is 0. Four
chains each and otherwise the defaults. Every sampler runs once to compile and then with three other seeds, which
are shown and timed. R-hat says nothing of a reference: its draws are in random order.

    python -m uv run --group bench python benchmarks/reference.py            # some forty seconds
"""

import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import arviz as az
import numpy as np
import pymc as pm
import xarray as xr
from rich.console import Console
from rich.table import Table

import pymc_kl as pkl

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from problems import two_normals_10d  # the zoo

SEEDS = (1, 2, 3, 4)  # the first one compiles
CHAINS = 4
PROBLEM = two_normals_10d()


@dataclass(frozen=True)
class Run:
    """One run of a sampler: its draws x (chain, draw, d), the mass of the first mode and log Z where it says them."""

    posterior: xr.DataTree
    mass: str = "-"
    log_evidence: str = "-"

    @property
    def share(self) -> float:
        """Share of the draws that are nearer to the first mode."""
        assert PROBLEM.locations is not None
        x = self.posterior["x"].values[..., None, :]
        return float((((x - PROBLEM.locations) ** 2).sum(axis=-1).argmin(axis=-1) == 0).mean())

    @property
    def rhat(self) -> float:
        """Greatest R-hat of any coordinate."""
        return float(az.rhat(self.posterior)["x"].max())


def nuts(seed: int) -> Run:
    """`pm.sample()`, PyMC's NUTS."""
    return Run(pm.sample(chains=CHAINS, random_seed=seed, progressbar=False)["posterior"])


def smc(seed: int) -> Run:
    """`pm.sample_smc()`; log Z is the mean of the chains' last finite estimates, with their standard deviation."""
    idata = pm.sample_smc(chains=CHAINS, random_seed=seed, progressbar=False)
    chains = idata["sample_stats"]["log_marginal_likelihood"].values.reshape(CHAINS, -1)
    stages = [np.concatenate([np.atleast_1d(entry) for entry in chain]).astype(float) for chain in chains]
    last = np.array([values[np.isfinite(values)][-1] for values in stages])
    return Run(idata["posterior"], log_evidence=f"{last.mean():.3f}, spread {last.std(ddof=1):.3f}")


def reference(seed: int) -> Run:
    """`pymc_kl.sample_reference()` without any draws given."""
    dt = pkl.sample_reference(random_seed=seed, progressbar=False)
    modes, evidence = dt["modes"].to_dataset(), dt["evidence"].to_dataset()
    assert PROBLEM.locations is not None
    away = np.linalg.norm(modes["x"].values - PROBLEM.locations[0], axis=1)
    first = modes.isel(mode=int(away.argmin()))
    log_z, log_z_se = float(evidence["log_evidence"]), float(evidence["log_evidence_se"])
    return Run(
        dt["posterior"],
        f"{float(first['mass']):.4f} ± {float(first['mass_se']):.4f}",
        f"{log_z:.4f} ± {log_z_se:.4f}",
    )


SAMPLERS: dict[str, Callable[[int], Run]] = {
    "pm.sample()": nuts, "pm.sample_smc()": smc, "pymc_kl.sample_reference()": reference,
}  # fmt: skip


def main() -> None:
    """Print a row a run, with the truth on top."""
    warnings.simplefilter("ignore")
    table = Table(title="The first of two modes in ten dimensions")
    for heading in ("sampler", "seed", "draws nearer to it", "mass reported", "log Z", "R-hat", "seconds"):
        table.add_column(heading, justify="left" if heading == "sampler" else "right")
    table.add_row("truth", "", "0.700", "0.7", "0", "", "")
    with PROBLEM.model():
        for name, sampler in SAMPLERS.items():
            for seed in SEEDS:
                start = time.perf_counter()
                run = sampler(seed)
                seconds = time.perf_counter() - start
                if seed != SEEDS[0]:
                    figures = f"{run.share:.3f}", run.mass, run.log_evidence, f"{run.rhat:.3f}", f"{seconds:.1f}"
                    table.add_row(name, str(seed), *figures)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
