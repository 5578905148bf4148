"""The kernel limit in the output scale and in the width."""

import numpy as np
import pytest

from paper_repro.cayci2024 import kernel
from tests.papers import assert_reproduced, verdicts


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("cayci2024/kernel", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("cayci2024/kernel", tmp_path, quick=False)


def a_result(alpha=-1.0, flow=-1.0, width=-0.7, kernels=-0.5, **changed):
    x, seeds = np.array([10.0, 100.0, 1000.0]), np.array([1.0, 2.0])
    powers = {"by_alpha": alpha, "by_width": width, "flow": flow, "kernels": kernels}
    measured = {key: x[:, None] ** power * seeds for key, power in powers.items()}
    return {"alphas": x, "widths": x, "kernel_widths": x, **measured, "left": 2.06e-9, "certificate": "holds"} | changed


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({}, 0),
        ({"alpha": -0.5}, 1),
        ({"alpha": -2.0}, 1),
        ({"flow": 0.0}, 1),
        ({"width": -0.3}, 1),
        ({"kernels": -1.0}, 1),
        ({"kernels": 0.0}, 1),  # another closed form: the distance does not fall
        ({"left": 1e-6}, 1),
        ({"certificate": "not applicable"}, 1),
        ({"by_alpha": np.full((3, 2), np.nan)}, 1),
    ],
)
def test_other_powers_of_alpha_and_of_the_width_are_refused(changed, refused):
    assert sum(not holds for holds in verdicts(kernel.checks(a_result(**changed))).values()) == refused
