"""The mutation run: where it changes nothing, which tests it chooses, how it counts. What it finds is seen by `make mutants` alone."""

import pytest

from tests import mutation

SOURCE = """
@cached(size=3)
def f(é: "int | None" = 1, *, b: int | str = 2) -> int | None:
    if b > 0:
        raise ValueError("b must be" + str(b - 1))
    return é + len(f"{b * 2}") - 7
"""


def test_annotations_messages_and_decorators_are_left_out():
    lines = SOURCE.splitlines()
    out = {lines[a - 1][b:d] for (a, b), (_, d) in mutation.left_out(SOURCE)}
    assert {"cached(size=3)", "int | str", "int | None", 'ValueError("b must be" + str(b - 1))', 'f"{b * 2}"'} <= out
    assert not any(kept in text for text in out for kept in ("= 1", "b > 0", "- 7"))


def test_a_case_of_every_function_comes_before_a_second_one(monkeypatch):
    monkeypatch.setattr(mutation, "BUDGET", 4.0)
    first = {"a.py::test_x[1]": 1.0, "a.py::test_x[2]": 0.5, "a.py::test_y": 2.0, "a.py::test_long": 30.0}
    second = {"b.py::test_z[1]": 1.0, "b.py::test_z[2]": 1.5}
    assert mutation.selected([first, second], set()) == ["a.py::test_x[2]", "a.py::test_y", "b.py::test_z[1]"]
    assert mutation.selected([first, second], {"a.py::test_long", "b.py::test_z[2]"}) == ["b.py::test_z[2]"]
    assert mutation.selected([{"a.py::test_long": 30.0}], set()) == ["a.py::test_long"]


@pytest.mark.parametrize(
    ("code", "failure", "late", "killed"),
    [
        (0, None, False, ""),
        (1, "a.py::test_x", False, "a.py::test_x"),
        (2, None, False, "does not start"),
        (-24, None, True, "time"),
        (-11, None, False, "crash"),
    ],
)
def test_what_ends_a_mutant_is_named(code, failure, late, killed):
    assert mutation.end(code, failure, late) == killed


def test_the_score_weighs_rooms_by_their_places():
    result = {"room": "flow", "file": "flow/base.py", "line": 1, "operator": "core/AddNot", "change": ["-a", "+b"]}
    results = [
        {**result, "killed": "a.py::test_x"},
        {**result, "killed": ""},
        {**result, "room": "linalg", "killed": "time"},
    ]
    text = mutation.summary(results, {"linalg": 30, "flow": 10})
    assert "87.5% killed" in text and text.count("riemgn/flow/base.py:1 core/AddNot") == 1
