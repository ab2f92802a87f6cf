"""Cells of sweeps: functions that other processes import, small models, and accidents that happen to some of them."""

import os
import signal
from pathlib import Path

import numpy as np
import pymc as pm

FITS = {"reverse": "meanfield", "forward": "meanfield", "draws": 400, "n_starts": 256}


def normal(sd: float) -> pm.Model:
    """A normal of so many standard deviations: one mode, and every fit covers it."""
    with pm.Model() as model:
        pm.Normal("x", 0.0, sd)
    return model


def two_modes(gap: float) -> pm.Model:
    """0.3 N(-gap/2, 1) + 0.7 N(gap/2, 1)."""
    with pm.Model() as model:
        pm.NormalMixture("x", w=np.array([0.3, 0.7]), mu=np.array([-gap, gap]) / 2, sigma=1.0)
    return model


def broken_at(sd: float, folder: str) -> pm.Model:
    """A normal, but an error at sd 2 as long as a file is there."""
    if sd == 2 and (Path(folder) / "broken").exists():
        raise ValueError("no <b>data</b> for this cell")
    return normal(sd)


def with_draws(sd: float, random_seed: int) -> dict[str, object]:
    """A model, and chains of it that the cell's seed makes."""
    model = normal(sd)
    with model:
        idata = pm.sample(200, tune=200, chains=2, cores=1, random_seed=random_seed, progressbar=False)
    return {"model": model, "idata": idata, "forward": "fullrank"}


def interrupted_at(sd: float, folder: str) -> pm.Model:
    """A normal, but the process gets a Ctrl-C at sd 2 as long as a file is there."""
    if sd == 2 and (Path(folder) / "interrupt").exists():
        os.kill(os.getpid(), signal.SIGINT)
    return normal(sd)


def killed_at(sd: float, folder: str, times: int) -> pm.Model:
    """A normal, but the process is killed at sd 2, the first so many times."""
    if sd == 2:
        count = Path(folder) / "killed"
        n = count.stat().st_size if count.exists() else 0
        if n < times:
            with count.open("a") as file:
                file.write(".")
            os.kill(os.getpid(), signal.SIGKILL)
    return normal(sd)
