"""One thing that the verdict says."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sentence:
    """One thing to say.

    Attributes
    ----------
    about : str
        Name of the approximation; empty for the reference and the modes.
    rule : str
        The rule that was met.
    severity : int
        0 is the worst news.
    text : str
    """

    about: str
    rule: str
    severity: int
    text: str
