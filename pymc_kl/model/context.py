"""Which PyMC model is meant, and whether it is one that can be compared with."""

import numpy as np
import pymc as pm

from pymc_kl._typing import Array
from pymc_kl.model.damaged import told_in_a_line

DRAWABLE = "Draw each of model.free_RVs by pm.draw(): parameters out of bounds are the usual cause."


def model_in_context(model: pm.Model | None) -> pm.Model:
    """Return the model given, else the one of the enclosing `with` block."""
    if model is not None and not isinstance(model, pm.Model):
        raise TypeError(f"model must be a pm.Model; got {type(model).__name__}.")
    try:
        return pm.modelcontext(model)
    except TypeError as error:
        raise ValueError("no model: call this inside `with model:`, or pass model=...") from error


def names_of_posterior(model: pm.Model | None) -> tuple[str, ...]:
    """Return the names of the variables that draws have: free ones and deterministics."""
    model = model_in_context(model)
    return tuple(rv.name for rv in (*model.free_RVs, *model.deterministics))


def check_continuous(model: pm.Model) -> None:
    """Raise if the model has discrete free variables, or none that are free."""
    if discrete := [v.name for v in model.discrete_value_vars]:
        raise ValueError(
            f"every free variable must be continuous; {', '.join(discrete)} "
            f"{'is' if len(discrete) == 1 else 'are'} discrete. Marginalise "
            f"{'it' if len(discrete) == 1 else 'them'} out (pm.Mixture, or pymc-extras' marginalize)."
        )
    if not model.value_vars:
        raise ValueError("the model has no free variables; there is no posterior to compare with.")


def draw_prior(model: pm.Model, n: int, rng: np.random.Generator) -> dict[str, Array]:
    """Draw values (n, *shape) of each free variable; NotImplementedError or OverflowError where PyMC can't."""
    seed = int(rng.integers(2**31))
    with told_in_a_line("the prior can't be drawn from", DRAWABLE, NotImplementedError, OverflowError):
        draws = pm.draw(model.free_RVs, draws=n, random_seed=seed, mode="FAST_COMPILE")
    return {rv.name: np.asarray(x, float) for rv, x in zip(model.free_RVs, draws, strict=True)}
