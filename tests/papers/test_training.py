"""Regression in mini-batches: SGD, Adam, Gram-Gauss-Newton."""

import numpy as np
import pytest

from paper_repro.cai2019 import training
from tests.papers import assert_reproduced, verdicts


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("cai2019/training", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("cai2019/training", tmp_path, quick=False)


def a_result(ggn=0.1, sgd=0.3, adam=0.2, test=0.4):
    ends = {"SGD": sgd, "Adam": adam, "GGN": ggn}
    runs = [
        {"task": task, "method": method, "train": np.array([[1.0, end]] * 3), "test": np.array([[1.0, test]] * 3)}
        for task in training.TASKS
        for method, end in ends.items()
    ]
    return {"runs": runs}


@pytest.mark.parametrize(
    ("changed", "refused"),
    [({}, 0), ({"ggn": 0.25}, 2), ({"ggn": 0.35}, 4), ({"ggn": np.nan}, 4), ({"test": 1.5}, 2), ({"adam": 0.09}, 2)],
)
def test_a_worse_training_error_than_either_peer_and_no_generalisation_are_refused(changed, refused):
    assert sum(not holds for holds in verdicts(training.checks(a_result(**changed))).values()) == refused
