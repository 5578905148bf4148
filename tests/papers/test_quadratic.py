"""A full Gauss-Newton step squares the residual."""

import numpy as np
import pytest

from paper_repro.cai2019 import quadratic
from tests.papers import assert_reproduced, verdicts

WIDTHS = (64, 256, 1024)


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("cai2019/quadratic", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("cai2019/quadratic", tmp_path, quick=False)


def a_result(slopes=(-1.0, -0.5), share=0.02, certificate="holds"):
    """Two cases, with and without cancellation, whose factors fall with the given slopes."""
    cases = []
    for (activation, signs), power in zip((("tanh", "random"), quadratic.UNCANCELLED), slopes, strict=True):
        first = np.asarray(WIDTHS, float)[:, None] ** power * np.array([1.0, 2.0])
        cases.append({"activation": activation, "signs": signs, "first": first, "share": np.array([[0.01, share]])})
    return {"widths": WIDTHS, "cases": cases, "certificate": certificate}


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({}, 0),
        ({"share": 1.01}, 1),
        ({"share": np.nan}, 1),
        ({"certificate": "undecided"}, 1),
        ({"slopes": (-0.7, -0.5)}, 1),
        ({"slopes": (-1.0, -0.7)}, 1),
        ({"slopes": (-1.0, -0.3)}, 2),
        ({"slopes": (-0.3, -0.5)}, 2),
    ],
)
def test_a_factor_above_its_bound_on_one_seed_and_wrong_powers_of_the_width_are_refused(changed, refused):
    assert sum(not holds for holds in verdicts(quadratic.checks(a_result(**changed))).values()) == refused
