"""One file an item of `paper_repro`: at quick size every check holds and the numbers are the golden ones; a corrupted result is refused."""

from pathlib import Path

import pytest

from riemgn.experiment.reproduce import discover, run_item, Settings
from riemgn.experiment.verdict import judge

ITEMS = {item.name: item for item in discover()}


def assert_reproduced(name: str, out: Path, quick: bool = True) -> None:
    """The item holds, matches its golden numbers and leaves its pictures; skipped where its data set is not at hand."""
    outcome = run_item(ITEMS[name], Settings(out=out, quick=quick))
    if outcome.verdict == "no data":
        pytest.skip(outcome.notes[0])
    assert outcome.verdict == "holds", (outcome.checks, outcome.notes)
    assert outcome.golden == "matches"
    assert all(path.is_file() for path in outcome.pictures.values())


def verdicts(checks) -> dict[str, bool]:
    """Which checks hold, by name."""
    return {check["name"]: judge(check)["holds"] for check in checks}
