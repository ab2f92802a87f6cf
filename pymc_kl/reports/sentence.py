"""Define a sentence of the verdict, with the rule that it follows from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sentence:
    """A sentence of the verdict.

    Attributes
    ----------
    about : str
        Name of the approximation; empty for the reference and the modes.
    rule : str
        Name of the rule whose condition holds.
    severity : int
        0 is the worst news.
    text : str
    """

    about: str
    rule: str
    severity: int
    text: str
