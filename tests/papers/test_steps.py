"""The schedules in discrete time."""

import numpy as np
import pytest

from paper_repro.cayci2024 import steps
from paper_repro.cayci2024.duplicates import Duplicates
from tests.papers import assert_reproduced, verdicts

COND, MANY = np.array([1e2, 1e4, 1e6, 1e8, 1e10]), np.array([1e2, 1e3, 1e4])
GROWTH = np.log1p(0.1 * COND)


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("cayci2024/steps", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("cayci2024/steps", tmp_path, quick=False)


def a_result(excess=1.0, order=1.0, counts=(), frozen=()):
    """Counts as theory says them, of two seeds, with some replaced."""
    taken = {"exponential": 6 + GROWTH, "spectral": 19 + 0 * COND, "gn": 2 + 0 * COND}
    taken |= {"gd": 12.6 * MANY, "constant": 1.26 * MANY, "residual": 10 + 0.04 * MANY}
    predicted = {name: row for name, row in taken.items() if name != "residual"} | dict(frozen)
    taken |= dict(counts)
    return {
        "cond": {name: COND if len(row) == len(COND) else MANY for name, row in taken.items()},
        "counts": {name: np.array([row, row]) for name, row in taken.items()},
        "frozen": {name: np.array([row, row]) for name, row in predicted.items()},
        "excess": excess,
        "sizes": steps.SIZES,
        "distances": {"gn": np.array([0.2 * steps.SIZES**order] * 2)},
    }


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({}, 0),
        ({"excess": 1.02}, 1),
        ({"order": 1.11}, 1),
        ({"order": 0.5}, 1),
        ({"counts": {"gn": np.array([1.0, 2, 2, 3, 5])}}, 1),
        ({"counts": {"spectral": 19 * (COND / 1e2) ** 0.03}}, 2),
        ({"counts": {"exponential": 6 + 1.2 * GROWTH}}, 2),
        ({"counts": {"gd": 12.6 * MANY**1.06}}, 2),
        ({"counts": {"constant": np.array([126.0, np.nan, np.nan])}}, 2),
        ({"counts": {"residual": 20 + 0.1 * MANY}}, 1),
        ({"frozen": {"constant": 1.3 * MANY}}, 1),
        ({"frozen": {"spectral": 21 + 0 * COND}}, 1),
    ],
)
def test_a_count_that_does_not_scale_as_predicted_is_refused(changed, refused):
    assert sum(not holds for holds in verdicts(steps.checks(a_result(**changed))).values()) == refused


def test_a_step_that_contracts_less_than_its_factor_is_seen():
    levels = np.array([1.0, 0.5, 0.3])
    assert steps.largest_excess(levels, np.array([0.5, 0.5]), 0.0) == pytest.approx(1.2)
    assert steps.largest_excess(levels, np.array([0.5, 0.5]), np.array([0.0, 0.05])) == pytest.approx(1.0)


def test_the_counts_of_a_frozen_kernel():
    case = Duplicates(None, np.array([1.0, 0.5]), np.array([0.0, 1.0]), 0.0)
    assert steps.frozen_count("spectral", case) == np.ceil(np.log2(1e6))
    assert steps.frozen_count("gd", case) == np.ceil(np.log2(1e6))
    assert steps.frozen_count("constant", case) == np.ceil(np.log(1e6) / np.log(6.0))
    assert steps.frozen_count("gn", case) == 1
    rho = steps.SHARE * np.exp(-np.arange(20))
    assert steps.frozen_count("exponential", case) == 1 + np.argmax(np.cumprod(rho / (0.5 + rho)) < 1e-6)
