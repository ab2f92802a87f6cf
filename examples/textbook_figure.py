"""The usual picture of mode-seeking in two dimensions is drawn, not optimised.

Textbooks show two overlapping normals and a small ellipse on one of them, the optimum of KL(q‖p) it is said.
It isn't: on that posterior KL(q‖p) has one optimum, which covers both. Mode-seeking begins where the modes
are further apart, and this script finds where. Run it (half a minute) or paste the cells into a notebook.
"""

# %% Setup. Divergences are in nats; the two-dimensional ones are sums over a grid, checked against no draws.
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from scipy.optimize import brentq
from scipy.stats import multivariate_normal, norm

import pymc_kl as pkl
from pymc_kl.approximations import FullRank, MeanField
from pymc_kl.reverse import polish

type Array = np.ndarray[Any, np.dtype[np.float64]]
type Row = dict[str, Any]

LOCS = np.array([[-1.0, -1.0], [1.0, 1.0]])
COVARIANCES = np.array([[[0.5, 0.25], [0.25, 1.0]], [[0.5, -0.25], [-0.25, 1.0]]])
HUGGING = 0.6  # of a component's covariance: the ellipses that textbooks draw
SIDE = np.linspace(-9, 9, 721)
GRID = np.stack(np.meshgrid(SIDE, SIDE), axis=-1).reshape(-1, 2)
CELL = (SIDE[1] - SIDE[0]) ** 2

FORWARD_COLOR, REVERSE_COLOR, DRAWN_COLOR, ONE_MODE_COLOR = "#D55E00", "#0072B2", "#000000", "#009E73"
