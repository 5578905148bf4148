"""What the output scale does."""

import numpy as np
import pytest

from paper_repro.cayci2024 import alpha
from tests.papers import assert_reproduced, verdicts


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("cayci2024/alpha", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("cayci2024/alpha", tmp_path, quick=False)


STOP = {"result": "rank_lost", "alpha": 1.0, "seed": 0}
RUN = {"result": "successful", "alpha": 1e4, "seed": 0, "measured_rate": 1.0, "predicted_rate": 1.0, "theta_min": 0.995}


@pytest.mark.parametrize(
    ("runs", "refused"),
    [
        ([STOP, RUN], 0),
        ([RUN], 1),
        ([STOP, RUN, RUN | {"seed": 1, "predicted_rate": 1.01}], 1),
        ([STOP, RUN, RUN | {"seed": 1, "measured_rate": 0.993, "predicted_rate": 0.993}], 1),
        ([STOP, RUN, RUN | {"seed": 1, "measured_rate": 0.98, "predicted_rate": 0.98, "theta_min": 0.97}], 1),
        ([STOP, RUN | {"measured_rate": 0.5, "predicted_rate": 0.5}], 3),
    ],
)
def test_no_stop_and_a_rate_off_by_a_percent_in_one_seed_are_refused(runs, refused):
    assert sum(not holds for holds in verdicts(alpha.checks(runs)).values()) == refused


def test_a_cell_with_fewer_runs_is_filled_up():
    assert np.array_equal(
        alpha.columns([[{"x": 1.0}, {"x": 2.0}], [{"x": 3.0}]], "x"), [[1.0, 3.0], [2.0, np.nan]], equal_nan=True
    )
