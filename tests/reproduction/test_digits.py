"""All flows and iterates on images: digits."""

import numpy as np
import pytest

from paper_repro.cayci2024 import images

from . import assert_reproduced, verdicts


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("cayci2024/digits", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("cayci2024/digits", tmp_path, quick=False)


def a_result(gn=1e-12, spectral=0.9, gf=0.3, **worst):
    """Three seeds, with what the last one measured replaced."""
    usual = {"law": 1e-8, "path_ratio": 0.5, "displacement_ratio": 0.4, "excess": 1.0}
    result = {key: [value, value, worst.get(key, value)] for key, value in usual.items()}
    ends = {"gn": [1e-12, 1e-12, gn], "spectral": [2.0**-images.STEPS * share for share in (0.9, 0.9, spectral)]}
    iterates = {name: np.array([[1.0, end] for end in row]) for name, row in ends.items()}
    return {**result, "iterates": iterates, "levels": {"gf": np.array([[1.0, 0.3], [1.0, 0.3], [1.0, gf]])}}


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({}, 0),
        ({"law": 1e-5}, 1),
        ({"law": np.nan}, 1),
        ({"path_ratio": 1.01}, 1),
        ({"displacement_ratio": 1.01}, 1),
        ({"excess": 1.01}, 1),
        ({"gn": 1e-7}, 1),
        ({"spectral": 1.2}, 1),
        ({"gf": 1e-3}, 1),
    ],
)
def test_a_flow_or_method_off_its_law_is_refused(changed, refused):
    assert sum(not holds for holds in verdicts(images.checks(a_result(**changed))).values()) == refused


def test_the_images_are_of_unit_size_and_the_start_at_distance_one():
    problem = images.image_problem("digits", 20, 4, 0)
    assert float(np.linalg.norm(np.asarray(problem.y))) == pytest.approx(1.0)
    assert float(np.mean(np.asarray(problem.x) ** 2)) == pytest.approx(1.0)
    assert float(np.abs(np.asarray(problem.outputs(problem.w0))).max()) == 0.0
