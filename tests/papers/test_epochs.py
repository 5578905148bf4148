"""Loss by iterations and by seconds, S1."""

import numpy as np
import pytest

from paper_repro.adeoye2024 import epochs
from paper_repro.adeoye2024.variants import GD, GD_RELEASED, GGN, GGN_RELEASED
from tests.papers import assert_reproduced, verdicts


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("adeoye2024/epochs", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("adeoye2024/epochs", tmp_path, quick=False)


def a_result(steps, released):
    values = {GGN: 1e-4, GGN_RELEASED: released, GD: 2e-4, GD_RELEASED: 3e-5}
    runs = [
        {"variant": v.label, "steps": [0, *steps], "test": np.array([[3.0] + [value] * len(steps)])}
        for v, value in values.items()
    ]
    return {"runs": runs}


@pytest.mark.parametrize(("quick", "steps"), [(True, (200, 1000)), (False, (600, 10_000))])
@pytest.mark.parametrize(("released", "refused"), [(2e-5, 0), (5e-5, 1), (np.nan, 1)])
def test_gradient_descent_ahead_is_refused(quick, steps, released, refused):
    assert sum(not holds for holds in verdicts(epochs.checks(a_result(steps, released), quick)).values()) == refused
