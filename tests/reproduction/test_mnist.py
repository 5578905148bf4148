"""All flows and iterates on images: mnist."""

import pytest

from . import assert_reproduced


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("cayci2024/mnist", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("cayci2024/mnist", tmp_path, quick=False)
