"""Draw the picture that the README and the documentation show: `python docs/pictures.py`, about a minute."""

import sys
from pathlib import Path

import pymc_kl as pkl

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "examples"))
from report import build_model, compare_fits  # noqa: E402

FITS = ["forward mixture", "ADVI"]


def draw(comparison, path: Path = HERE / "images" / "two_modes.svg") -> None:
    """Draw the two quantities: the reference by mode, and over it each of two fits."""
    shown = comparison.copy()
    for group in ("scores", "coverage"):
        shown[group] = type(shown)(comparison[group].to_dataset().sel(approximation=FITS))
    pkl.plot_modes(shown, kind="pair", max_draws=400, backend="matplotlib").savefig(path, bbox_inches="tight")


if __name__ == "__main__":
    draw(compare_fits(build_model()))
