"""The versions that a bug report needs."""

import platform
import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version

PACKAGE = "pymc_kl"


def show_versions() -> None:
    """Print the versions of Python, of this package and of what it can use, as a bug report asks for.

    Packages that are not installed are left out. Nothing is imported.

    Examples
    --------
    >>> import pymc_kl as pkl
    >>> pkl.show_versions()  # doctest: +ELLIPSIS
    Python ...
    pymc_kl ...
    """
    named = [re.match(r"[\w.-]+", requirement) for requirement in requires(PACKAGE) or []]
    others = {found[0] for found in named if found} - {PACKAGE} | {"pytensor"}
    lines = [f"Python {platform.python_version()}, {platform.platform()}"]
    for name in (PACKAGE, *sorted(others)):
        with suppress(PackageNotFoundError):
            lines.append(f"{name} {version(name)}")
    print("\n".join(lines))  # noqa: T201
