"""What failed of one fit, and why, kept so that no other part of it is lost."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(eq=False)
class Failures:
    """Parts of a fit that failed, by the reason; a part without a name is the fit itself."""

    parts: dict[str, dict[str, None]] = field(default_factory=dict)

    @contextmanager
    def kept(self, part: str = "") -> Iterator[None]:
        """Run one part; if it fails, keep the reason and go on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 whatever one part fails of, the others must be there
            self.parts.setdefault(f"{type(error).__name__}: {error}", {})[part] = None

    def each[T](self, parts: Mapping[str, Callable[[], T]]) -> dict[str, T]:
        """Compute every part by itself; return those that did not fail."""
        computed = {}
        for name, compute in parts.items():
            with self.kept(name):
                computed[name] = compute()
        return computed

    def __str__(self) -> str:
        """Write what failed and why, as `eubo, forward_kl: ValueError: …`; empty if nothing did."""
        texts = [": ".join(filter(None, (", ".join(names), reason))) for reason, names in self.parts.items()]
        return "; ".join(text.rstrip(".") for text in texts[:-1]) + "; " * (len(texts) > 1) + "".join(texts[-1:])
