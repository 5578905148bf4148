"""What the comparison with gradient descent shows."""

import numpy as np
import pytest

from paper_repro.adeoye2024 import comparison
from paper_repro.adeoye2024.variants import GD, GD_ARMIJO, GD_FROM_ONE, GD_WIDE, GGN, GGN_RELEASED, GGN_TAU
from tests.papers import assert_reproduced, verdicts

COUNTS = [0, 1, 10, 20, 50, 100, 200, 500]


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("adeoye2024/comparison", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("adeoye2024/comparison", tmp_path, quick=False)


GGN_CURVE = [3.0, 0.7, 2e-3, 1e-3, 7e-5, 5e-5, 4e-5, 3e-5]
GOOD = {
    GGN: GGN_CURVE,
    GD_WIDE: [0.9 * loss for loss in GGN_CURVE],
    GD: [3.0, 2.0, 0.9, 0.5, 0.1, 5e-3, 2e-3, 3e-4],
    GD_ARMIJO: [3.0, 0.2, 1e-3, 1e-4, 3e-5, 2e-5, 1e-5, 3e-6],
    GGN_RELEASED: [3.0, 2.7, 1.4, 0.9, 6e-2, 1e-3, 1e-5, 4e-6],
    GGN_TAU: [3.0, 0.06, 4e-3, 2e-3, 5e-3, 2e-3, 1e-3, 1e-3],
    GD_FROM_ONE: [3.0, 2.0, 0.9, 0.5, 0.1, 5e-3],
}


def a_result(changes=(), halvings=0.0, ratio=100.0):
    runs = []
    for variant, values in (GOOD | dict(changes)).items():
        steps = COUNTS[: len(values)]
        work = np.array(steps, float) * (ratio if variant.method == "GGN" else 1.0)
        losses = np.tile(values, (3, 1))
        entry = {
            "variant": variant.label,
            "steps": steps,
            "test": losses,
            "train": losses,
            "flops": np.tile(work, (3, 1)),
        }
        runs.append(entry | {"halvings": np.full(losses.shape, halvings)})
    return {"runs": runs}


def refused(result):
    return {name for name, holds in verdicts(comparison.checks(result)).items() if not holds}


def test_what_was_found_is_accepted():
    assert refused(a_result()) == set()


@pytest.mark.parametrize(
    ("variant", "values", "words"),
    [
        (GD, GGN_CURVE, {"GGN corrected c = 1 / GD step 1,"}),
        (GD_WIDE, [1.2 * loss for loss in GGN_CURVE], {"GD step 1/kappa / GGN corrected c = 1, test loss after 100"}),
        (GD_WIDE, [0.4 * loss for loss in GGN_CURVE], {"farthest from 1"}),
        (
            GD_ARMIJO,
            [2 * loss for loss in GGN_CURVE],
            {
                "GD Armijo from 16/kappa / GGN corrected c = 1",
                "corrected at 100: GD Armijo / GGN",
                "released at 500: GD Armijo / GGN",
            },
        ),
        (GD_ARMIJO, [*GOOD[GD_ARMIJO][:-1], 5e-6], {"released at 500: GD Armijo / GGN"}),
        (GGN_RELEASED, GGN_CURVE, {"GGN released c = 1 / GGN corrected c = 1, test loss after 10 "}),
        (
            GGN_RELEASED,
            [*GOOD[GGN_RELEASED][:-1], 4e-5],
            {"GGN released c = 1 / GGN corrected c = 1, test loss after 500"},
        ),
        (GGN_TAU, GGN_CURVE, {"least before"}),
    ],
)
def test_another_finding_is_refused(variant, values, words):
    found = refused(a_result({variant: values}))
    assert len(found) == len(words) and all(any(word in name for name in found) for word in words), found


def test_equal_costs_and_a_line_search_that_halves_are_refused():
    assert len(refused(a_result(ratio=1.0))) == 2  # both ratios of arithmetic
    assert refused(a_result(halvings=1.0)) == {"halvings of Armijo's line search from 1, all steps"}


def test_work_to_a_level_is_interpolated_between_checkpoints():
    result = {
        "runs": [
            {
                "variant": GGN.label,
                "steps": [0, 1, 10],
                "test": np.array([[5.0, 1.0, 1e-2]]),
                "flops": np.array([[0.0, 2.0, 20.0]]),
            }
        ]
    }
    assert comparison.work_to(result, GGN, [0.1])[0] == pytest.approx(2 * np.sqrt(10))
    assert comparison.work_to(result, GGN, [2.0])[0] == 2.0 and np.isinf(comparison.work_to(result, GGN, [1e-3])[0])
