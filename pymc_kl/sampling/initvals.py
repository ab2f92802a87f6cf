"""An approximation → where chains of `pm.sample` start, by the masses of the modes, and the metric that they use."""

from typing import Any

import numpy as np
import pymc as pm

from pymc_kl._typing import RandomSeed
from pymc_kl.arguments import check_arguments
from pymc_kl.interrupts import keeping
from pymc_kl.model.target import Target
from pymc_kl.modes.modes import FOUND_MODES, Modes
from pymc_kl.progress import stages
from pymc_kl.sampling.chain_starts import choose_starts, order_of, to_initvals
from pymc_kl.sampling.importance import weighted_draws
from pymc_kl.sampling.inputs import given_fit, known_modes, open_approximation
from pymc_kl.sampling.local_normals import local_normals, within_covariance
from pymc_kl.sampling.missed import warn_of_missed_modes
from pymc_kl.sampling.steps import TARGET_ACCEPT


def initvals(
    approximation: Any,
    chains: int = 4,
    *,
    model: pm.Model | Target | None = None,
    modes: Modes | None = None,
    target_accept: float = TARGET_ACCEPT,
    random_seed: RandomSeed = None,
) -> dict[str, Any]:
    """Start the chains of `pm.sample` in the modes, in proportion to their masses, with a metric that fits one mode.

    Draws of q are weighted by p̃/q; their weights give the masses, and the draws to start from. Chains seldom leave a
    mode, so where they start decides what they see; but how many are where is all that they tell of masses, and a
    chain may leave while it tunes. :func:`sample_jump` gets masses right.

    Parameters
    ----------
    approximation : Approximation or fit
        What :func:`fit_forward` returned, or anything that :func:`as_approximation` takes. Draws that have no density
        count alike.
    chains : int
        Each mode with more than 1/(2 `chains`) of the mass gets one of them, heaviest first.
    model : pm.Model or Target, optional
        Defaults to the model that the approximation was fitted to, then to that of the enclosing `with` block.
    modes : Modes, optional
        What :func:`find_modes` returned; searched for if not given.
    target_accept : float
        Of NUTS, as in `pm.sample`, which takes none beside a `step`.
    random_seed : int, Generator, SeedSequence or None

    Returns
    -------
    dict
        Arguments of `pm.sample`: `initvals`, a dict of the free variables in the model's own space for each chain,
        where it starts with no jitter; `step`, a NUTS; and `chains`. The metric of that NUTS is the covariance within a
        copy of a mode, averaged over them by mass, and fixed. That of all draws is as wide as the modes are apart, and
        a chain that is in one of them would crawl. Each chain still tunes a step size.

    Raises
    ------
    KeyboardInterrupt
        At Ctrl-C, with the `modes` found by then in its attribute `kept`: they can be given again.

    Warns
    -----
    UserWarning
        If q misses a mode that by Laplace's approximation holds more than a hundredth: no chain starts there.

    Examples
    --------
    >>> import numpy as np, pymc as pm, pymc_kl as pkl
    >>> from pymc_kl.approximations import Mixture
    >>> with pm.Model() as model:
    ...     x = pm.NormalMixture("x", w=[0.3, 0.7], mu=[-3, 3], sigma=[0.6, 1])
    ...     q = Mixture(weights=np.full(2, 0.5), locs=np.array([[-3.0], [3.0]]), scale_trils=np.ones((2, 1, 1)))
    ...     starts = pkl.initvals(q, chains=4, random_seed=1)
    ...     dt = pm.sample(**starts, random_seed=1, progressbar=False, quiet=True)
    >>> sorted(int(np.sign(start["x"])) for start in starts["initvals"])
    [-1, 1, 1, 1]
    >>> dt["posterior"].sizes["chain"]
    4
    """
    check_arguments(locals(), approximation=given_fit, modes=FOUND_MODES)
    approximation, target = open_approximation(approximation, model)
    rng = np.random.default_rng(random_seed)
    with stages(progressbar=False) as stage:
        modes = known_modes(modes, approximation, target, rng, stage)
    with keeping(modes=modes):
        draws = weighted_draws(approximation, target, modes, rng)
        starts = choose_starts(draws, chains, target, rng)
    warn_of_missed_modes(draws, modes, "no chain starts there.", stacklevel=2)
    order = order_of(target, [v.name for v in target.model.value_vars])
    covariance = within_covariance(local_normals(draws))[np.ix_(order, order)]
    with target.model:
        step = pm.NUTS(scaling=covariance, is_cov=True, target_accept=target_accept)
    return {"initvals": to_initvals(starts.x, target), "step": step, "chains": chains}
