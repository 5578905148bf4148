"""Tests of the papers' items: their results, and what their checks refuse."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from riemgn.experiment.reproduce import discover
from riemgn.experiment.verdict import judge

ITEMS = {item.name: item for item in discover()}


def verdicts(checks) -> dict[str, bool]:
    """Which checks hold, by name."""
    return {check["name"]: judge(check)["holds"] for check in checks}


def refusals(item: str, checks: Callable[..., Any], cases: Sequence[tuple]) -> list[Any]:
    """Test parameters: a case holds the arguments of `checks` and how many checks then fail."""
    return [pytest.param(checks, case[:-1], case[-1], id=f"{item}-{place}") for place, case in enumerate(cases)]
