"""The suite is tested itself: each of eleven faults in the core is caught by the layers that are named for it."""

import pytest

from tests.geometry.conformance import test_comparison, test_property
from tests.geometry.conformance.harness import Nearby, run
from tests.geometry.conformance.mutants import fresh_sphere, MUTANTS

LOCAL = {name: mutant for name, mutant in MUTANTS.items() if mutant.property or mutant.comparison}
OTHERS = {name: mutant for name, mutant in MUTANTS.items() if mutant.autograd}


def run_property(target, space):
    case, test = target
    space = space.chart if "Chart" in case else space
    run(getattr(test_property, case), test, space, Nearby(space))


def run_comparison(target, space):
    case, test = target
    if case == "image":
        test_comparison.check_closed_form(space, test)
        return
    space = space if "Image" in case else space.chart
    run(getattr(test_comparison, case), test, space, Nearby(space))


@pytest.mark.parametrize("name", LOCAL)
def test_mutant_is_caught(name, monkeypatch):
    mutant = MUTANTS[name]
    mutant.put(monkeypatch)
    space = fresh_sphere()
    if mutant.property:
        with pytest.raises(AssertionError, match=r"[Nn]ot equal"):
            run_property(mutant.property, space)
    if mutant.comparison:
        with pytest.raises(AssertionError, match=r"[Nn]ot equal"):
            run_comparison(mutant.comparison, space)


@pytest.mark.slow  # a process of its own, as in test_pullback.py
@pytest.mark.parametrize("name", OTHERS)
def test_mutant_is_caught_by_autograd(name, autograd_layer):
    assert autograd_layer.outcomes.get(f"autograd_layer::test_mutant_is_caught[{name}]") == "passed", (
        autograd_layer.report
    )


def test_there_are_eleven_and_each_is_caught():
    assert len(MUTANTS) == 11 and set(LOCAL) | set(OTHERS) == set(MUTANTS)


@pytest.mark.parametrize(
    "target", [("TestChartMetric", "parallel_transport_ivp_norm"), ("TestImage", "projection_belongs")]
)
def test_without_a_fault_nothing_is_caught(target):
    run_property(target, test_property.IMAGE)


@pytest.mark.parametrize(
    "target", [("image", "projection"), ("image", "to_tangent"), ("TestImageAgainstSphere", "curvature_random")]
)
def test_without_a_fault_nothing_differs(target):
    run_comparison(target, test_comparison.IMAGE)
