"""Random streams with names: what one consumer draws does not depend on which others there are."""

from dataclasses import dataclass
from typing import cast
from zlib import crc32

import numpy as np

from pymc_kl._typing import RandomSeed


@dataclass(frozen=True)
class RandomStreams:
    """Generators by the name of what draws from them, all from one seed.

    Parameters
    ----------
    root : SeedSequence
        What all streams are spawned from; see :meth:`of`.

    Examples
    --------
    >>> streams = RandomStreams.of(1)
    >>> bool(streams("fit ADVI").random() == streams("fit ADVI").random() != streams("fit other").random())
    True
    """

    root: np.random.SeedSequence

    @classmethod
    def of(cls, random_seed: RandomSeed) -> "RandomStreams":
        """Open the streams of a seed; of a Generator, those that are new at each call."""
        (child,) = np.random.default_rng(random_seed).spawn(1)
        return cls(cast(np.random.SeedSequence, child.bit_generator.seed_seq))

    def __call__(self, name: str) -> np.random.Generator:
        """Return the generator of that name, at its beginning."""
        key = (*self.root.spawn_key, crc32(name.encode()))
        return np.random.default_rng(np.random.SeedSequence(self.root.entropy, spawn_key=key))
