"""The zoo: posteriors whose log evidence, modes, masses, moments and best normals are known exactly.

Every problem is stated twice, as a PyMC model and as a numpy log density, and both are the same function of
the flat unconstrained vector x, constants and Jacobians included; `log_z` is the log of its integral. Figures
that are cheap are computed from closed forms or quadrature; `test_problems.py` checks them by another way.

Where no PyMC distribution states the target, `zoo.problem.cancelled_prior` does: x ~ N(0, wide) and a
Potential that adds the log density of the target and takes that of the prior away. So the prior can be drawn
from, and leaves no trace.
"""

from collections.abc import Callable
from functools import partial

from zoo.controls import (
    banana,
    equicorrelated,
    funnel,
    gaussian_condition,
    logistic_regression,
    mean_field_gaussian,
    skew_normal,
    standard_normal,
    student_t_location,
)
from zoo.curved import many_wells, shells, two_bananas, wells_and_normals
from zoo.data_models import dial_a_mass, labels, normal_2
from zoo.edges import improper, plateau
from zoo.factors import factors
from zoo.gaussians import gaussian_kl
from zoo.mixtures import (
    heavy_tails,
    quickstart,
    switch,
    textbook_figure,
    two_modes,
    two_normals,
    two_normals_10d,
    two_normals_50d,
    two_students,
)
from zoo.problem import Optimum, Problem
from zoo.schools import eight_schools

ALL: dict[str, Callable[[], Problem]] = {
    "two_modes": two_modes,
    "two_normals": two_normals,
    "switch_6": switch,
    "quickstart": quickstart,
    "textbook_figure": textbook_figure,
    "two_normals_10d": two_normals_10d,
    "two_normals_50d": two_normals_50d,
    "two_bananas": two_bananas,
    "two_students": two_students,
    "heavy_tails": heavy_tails,
    "many_wells_6": many_wells,
    "many_wells_16": partial(many_wells, 16),
    "wells_and_normals": wells_and_normals,
    "shells_2": shells,
    "shells_5": partial(shells, 5),
    "dial_a_mass": dial_a_mass,
    "labels": labels,
    "normal_2": normal_2,
    "factors": factors,
    "standard_normal_1": partial(standard_normal, 1),
    "standard_normal_10": standard_normal,
    "standard_normal_100": partial(standard_normal, 100),
    "equicorrelated_10": equicorrelated,
    "mean_field_gaussian": mean_field_gaussian,
    "gaussian_condition": gaussian_condition,
    "banana": banana,
    "funnel": funnel,
    "skew_normal": skew_normal,
    "student_t_location": student_t_location,
    "switch_2": partial(switch, 2.0),
    "eight_schools_centred": eight_schools,
    "eight_schools_noncentred": partial(eight_schools, centred=False),
    "logistic_regression": logistic_regression,
    "plateau": plateau,
}

UNIMODAL: tuple[str, ...] = (
    "standard_normal_1",
    "standard_normal_10",
    "standard_normal_100",
    "equicorrelated_10",
    "mean_field_gaussian",
    "gaussian_condition",
    "banana",
    "funnel",
    "skew_normal",
    "student_t_location",
    "switch_2",
    "eight_schools_centred",
    "eight_schools_noncentred",
    "logistic_regression",
    "plateau",
)

__all__ = [
    "ALL",
    "UNIMODAL",
    "Optimum",
    "Problem",
    "banana",
    "dial_a_mass",
    "eight_schools",
    "equicorrelated",
    "factors",
    "funnel",
    "gaussian_condition",
    "gaussian_kl",
    "heavy_tails",
    "improper",
    "labels",
    "logistic_regression",
    "many_wells",
    "mean_field_gaussian",
    "normal_2",
    "plateau",
    "quickstart",
    "shells",
    "skew_normal",
    "standard_normal",
    "student_t_location",
    "switch",
    "textbook_figure",
    "two_bananas",
    "two_modes",
    "two_normals",
    "two_normals_10d",
    "two_normals_50d",
    "two_students",
    "wells_and_normals",
]
