"""What failed of one fit, and why, kept so that no other part of it is lost."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Failure:
    """A part of a fit that failed and why; a part without a name is the fit itself."""

    part: str
    reason: str

    @classmethod
    def of(cls, part: str, error: Exception) -> "Failure":
        """Keep what an error says."""
        return cls(part, f"{type(error).__name__}: {error}")


@dataclass(eq=False)
class Attempts:
    """Run parts one by one, and keep what failed."""

    failures: list[Failure] = field(default_factory=list)

    @contextmanager
    def kept(self, part: str) -> Iterator[None]:
        """Run one part; if it fails, keep the reason and go on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 whatever one part fails of, the others must be there
            self.failures.append(Failure.of(part, error))

    def each[T](self, parts: Mapping[str, Callable[[], T]]) -> dict[str, T]:
        """Compute every part by itself; return those that did not fail."""
        computed = {}
        for name, compute in parts.items():
            with self.kept(name):
                computed[name] = compute()
        return computed


def describe(failures: Iterable[Failure]) -> str:
    """Write what failed and why, as `eubo, forward_kl: ValueError: …`; empty if nothing did."""
    parts: dict[str, dict[str, None]] = {}
    for failure in failures:
        parts.setdefault(failure.reason, {})[failure.part] = None
    texts = [": ".join(filter(None, (", ".join(filter(None, names)), reason))) for reason, names in parts.items()]
    return "; ".join([*(text.rstrip(".") for text in texts[:-1]), *texts[-1:]])
