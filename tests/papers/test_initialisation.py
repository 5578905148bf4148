"""What the initialisation decides."""

import pytest

from paper_repro.cayci2024 import initialisation
from tests.papers import assert_reproduced, verdicts


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("cayci2024/initialisation", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("cayci2024/initialisation", tmp_path, quick=False)


STOP = {"result": "rank_lost"}
GOOD = {"result": "successful", "rate": 0.9, "theta_min": 0.89, "distance": 1e-2}


def a_result(**changed):
    spectra = {name: [{"values": [1.0] * 49, "rank": 49, "output": 0.0}] for name in initialisation.STARTS}
    spectra["paired"] = [{"values": [1.0] * 49, "rank": 25, "output": 1e-16}]
    cells = [[[STOP]] * 4, [[STOP], [GOOD], [GOOD], [GOOD]]]
    return {"scales": [0.1, 1.0], "spectra": spectra, "cells": cells, "safe": [GOOD]} | changed


def spectra_with(name, **changed):
    spectra = a_result()["spectra"]
    return spectra | {name: [spectra[name][0] | changed]}


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({}, 0),
        ({"spectra": spectra_with("paired", rank=49)}, 1),
        ({"spectra": spectra_with("paired", output=0.1)}, 1),
        ({"spectra": spectra_with("independent", rank=48)}, 1),
        ({"cells": [[[GOOD]] * 4, [[GOOD]] * 4]}, 1),
        ({"cells": [[[STOP]] * 4, [[STOP], [GOOD], [STOP], [GOOD]]]}, 1),
        ({"cells": [[[STOP]] * 4, [[GOOD | {"rate": 0.8}]] * 4]}, 1),
        ({"safe": [GOOD | {"distance": 1.1}]}, 1),
    ],
)
def test_another_rank_no_stops_another_rate_and_a_long_way_are_refused(changed, refused):
    assert sum(not holds for holds in verdicts(initialisation.checks(a_result(**changed))).values()) == refused


def test_a_safe_run_that_stops_is_refused():
    with pytest.raises(KeyError):
        initialisation.checks(a_result(safe=[STOP]))
