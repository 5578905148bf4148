"""Damping schedules on ill-conditioned kernels."""

import numpy as np
import pytest

from paper_repro.cayci2024 import damping

from . import assert_reproduced


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("cayci2024/damping", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("cayci2024/damping", tmp_path, quick=False)


def test_a_curve_above_its_bound_is_seen_above_the_floor_only():
    bound = np.array([1.0, 1e-2, damping.FLOOR / 10])
    assert damping.largest_ratio(bound, bound) == 1.0
    assert damping.largest_ratio(bound * [1, 1.1, 1], bound) == pytest.approx(1.1)
    assert damping.largest_ratio(bound * [1, 1, 50], bound) == 1.0
