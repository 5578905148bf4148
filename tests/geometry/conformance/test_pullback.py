"""Layer A in the process of its own, and nothing of it in this one."""

import sys

import pytest

pytestmark = pytest.mark.slow  # a process of its own, which differentiates by autograd: a minute and a half


def test_our_charts_agree_with_geomstats_own_pullback_metric(autograd_layer):
    assert autograd_layer.returncode == 0, autograd_layer.report
    assert set(autograd_layer.outcomes.values()) == {"passed"}
    assert sum("AgainstPullback::" in name for name in autograd_layer.outcomes) >= 70


def test_autograd_stays_out_of_this_process(autograd_layer):
    assert sys.modules["geomstats.backend"].__name__ == "geomstats.numpy"
