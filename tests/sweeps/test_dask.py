"""A sweep on a Dask cluster of two processes, one of which is killed while it works."""

import os
import random
import signal
import threading
import time

import joblib
import pytest
import xarray as xr
from support.sweep_cells import FITS, two_modes

from pymc_kl.sweeps import sweep

distributed = pytest.importorskip("distributed")


@pytest.fixture
def _dask_uses_pythons_generator():
    state = random.getstate()
    yield
    random.setstate(state)


@pytest.mark.slow
@pytest.mark.usefixtures("_dask_uses_pythons_generator")
@pytest.mark.filterwarnings("ignore")  # those of Dask's own threads and sockets when a process ends by a signal
def test_a_killed_worker_loses_no_finished_cell(tmp_path):
    gaps = [1.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    made_before: dict[str, int] = {}
    killed = []

    def kill_one(client) -> None:
        """Kill a worker as soon as two cells are finished and a third has begun."""
        while len(list(tmp_path.glob("*.nc"))) < 2 or not list(tmp_path.glob("*.started")):
            time.sleep(0.02)
        made_before.update({path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.nc")})
        (pid, *_) = client.run(os.getpid).values()
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)

    with cluster, distributed.Client(cluster) as client:
        thread = threading.Thread(target=kill_one, args=(client,), daemon=True)
        thread.start()
        with joblib.parallel_config("dask"):
            swept = sweep(two_modes, {"gap": gaps}, store=tmp_path, random_seed=1, progressbar=False, **FITS)
        thread.join(1)
        assert killed and killed[0] not in client.run(os.getpid).values()
    assert swept["table"]["cell_error"].values.tolist() == [""] * len(gaps)
    after = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.nc")}
    assert len(after) == len(gaps)
    assert len(made_before) >= 2
    assert made_before.items() <= after.items()  # no finished cell was made again
    alone = sweep(two_modes, {"gap": gaps[-1:]}, store=tmp_path / "alone", random_seed=1, progressbar=False, **FITS)
    one, other = (dt["cells/gap=8.0/scores"].to_dataset().drop_vars("seconds").load() for dt in (alone, swept))
    xr.testing.assert_allclose(one, other, rtol=1e-9)
