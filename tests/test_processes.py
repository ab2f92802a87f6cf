"""Threads give the numbers and pages that one gives alone; forks are told; workers end with their parent."""

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pymc as pm
import pytest
import xarray as xr

import pymc_kl as pkl
from pymc_kl.comparison import make_fits
from pymc_kl.interrupts import counted
from pymc_kl.model.target import Target
from pymc_kl.reports.figures import Painter

ENDED = 15  # seconds within which workers must have ended; they look every second


def two_modes():
    with pm.Model() as model:
        pm.NormalMixture("x", w=[0.3, 0.7], mu=[-3, 3], sigma=[0.6, 1])
    return model


def compared(model):
    return pkl.compare(model=model, reverse="advi", forward="meanfield", draws=400, random_seed=1, progressbar=False)


def together(work, arguments):
    with ThreadPoolExecutor(len(arguments)) as pool:
        return list(pool.map(work, arguments))


def check_equal(made, expected):
    for group in set(expected.groups) - {"/"}:
        mine, theirs = made[group].to_dataset(), expected[group].to_dataset()
        drop = {"seconds"} & set(mine)
        xr.testing.assert_allclose(mine.drop_vars(drop), theirs.drop_vars(drop), rtol=1e-9, atol=1e-9)


@pytest.fixture(scope="module")
def alone():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make_fits, "ADVI_STEPS", 500)
        return compared(two_modes())


@pytest.mark.parametrize("share_model", [True, False])
def test_two_threads_compare_as_one_does(alone, monkeypatch, share_model):
    monkeypatch.setattr(make_fits, "ADVI_STEPS", 500)
    model = two_modes()
    for made in together(compared, [model, model if share_model else two_modes()]):
        check_equal(made, alone)


def test_filters_of_warnings_are_left_as_they_were_when_threads_overlap():
    """Thread by thread, `catch_warnings` would put back what the other had set for a moment."""
    before, first_in, second_in = list(warnings.filters), threading.Event(), threading.Event()

    def first():
        with counted(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            first_in.set()
            second_in.wait()

    def second():
        first_in.wait()
        with counted():
            saved = warnings.catch_warnings()
            saved.__enter__()
            second_in.set()
            one.result()
            saved.__exit__(None, None, None)  # what the first had set

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(first)
        pool.submit(second).result()
    assert list(warnings.filters) == before


def test_threads_share_a_target_of_numba(rng):
    target = Target.from_model(two_modes(), backend="numba")
    x = rng.standard_normal((3000, 1))
    expected = target.log_density_and_grad(x)
    for value, grad in together(target.log_density_and_grad, [x, x[::-1], x])[::2]:
        np.testing.assert_array_equal(value, expected[0])
        np.testing.assert_array_equal(grad, expected[1])


def test_pictures_of_threads_do_not_mix(alone):
    def draw(plot):
        return Painter().draw("picture", "A picture.", plot, alone)

    plots = [pkl.plot_modes, pkl.plot_coverage, pkl.plot_pareto_k]
    expected = [draw(plot) for plot in plots]
    assert not any(figure.failed for figure in expected)
    assert together(draw, plots) == expected


@pytest.mark.slow
def test_three_threads_write_the_page_of_one(alone):
    page = pkl.report(alone).html
    assert together(lambda comparison: pkl.report(comparison).html, [alone] * 3) == [page] * 3


# ---- processes ----

FORKED = """
import os, warnings
import pymc as pm, pymc_kl as pkl
from pymc_kl.model import Target
with pm.Model() as model:
    pm.Normal("x")
target = Target.from_model(model)
warnings.simplefilter("ignore")  # Python's and JAX's, of any fork
if not os.fork():
    warnings.simplefilter("always")
    try:
        target.log_density([[0.0]])
    except RuntimeError as error:
        print("refused:", error)
    with warnings.catch_warnings(record=True) as given:
        other = Target.from_model(model)
    print(given[0].message, other.backend, flush=True)
    os._exit(0)
os.wait()
"""

WORKING = """
import sys
import numpy as np, pymc as pm
from pymc_kl.model import Target
from pymc_kl.reference.local_chains import Task
from pymc_kl.reference.local_nuts import sample_with_nuts
print("begins", flush=True)
with pm.Model() as model:
    pm.Normal("x")
tasks = [Task(np.zeros(1), np.eye(1), np.zeros((2, 1)), int(sys.argv[1]), 50, 2, seed) for seed in range(2)]
print([chains.x.shape for _, chains in sample_with_nuts(Target.from_model(model), tasks, n_jobs=2)])
"""


def start(script, *arguments):
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_fork_after_jax_is_told_and_does_not_hang():
    printed, _ = start(FORKED).communicate(timeout=120)
    assert "refused: This process was forked from one that had used JAX" in printed
    assert "spawn" in printed
    assert printed.split()[-1] == "numba"


@pytest.mark.slow
def test_jobs_need_no_main_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(WORKING)
    done = subprocess.run([sys.executable, script, "20"], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.splitlines() == ["begins", "[(2, 20, 1), (2, 20, 1)]"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="children are read from /proc")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_parent(how):
    parent = start(WORKING, "10000000")
    while len(workers := children(parent.pid)) < 2:
        time.sleep(0.2)
    time.sleep(10)  # they import and begin
    parent.send_signal(how)
    parent.communicate(timeout=ENDED)  # workers hold the pipes open
    assert not any(map(is_alive, workers))


def children(parent):
    """Processes of joblib that a process started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(state[1]) == parent and "popen_loky" in (folder / "cmdline").read_text():
                found.append(int(folder.name))
    return found


def is_alive(pid):
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
