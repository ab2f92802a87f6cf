"""JAX computes where it computes by default, such as a GPU that it finds, in double precision."""

import subprocess
import sys

ON_THE_SECOND = """
import jax, numpy as np, pymc as pm
from pymc_kl.model import as_target
with pm.Model() as model:
    pm.Normal("x", 0, 1, shape=2)
target = as_target(model, "jax")
second = jax.devices()[1]
jax.config.update("jax_default_device", second)
values, grads = target._evaluator.function(np.zeros((target._evaluator.rows, 2)), 1)
assert values.devices() == grads.devices() == {second}, values.devices()
assert values.dtype == grads.dtype == np.float64
assert np.allclose(target.log_density(np.zeros((1, 2))), -np.log(2 * np.pi), rtol=1e-14)
"""


def test_the_density_is_evaluated_on_the_default_device(monkeypatch):
    """Two devices that JAX makes of the processor; the second is no one's choice but that of the default."""
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    ran = subprocess.run([sys.executable, "-c", ON_THE_SECOND], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
