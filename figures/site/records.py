"""The committed records of figures and essays, with verdicts recomputed from their numbers."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from riemgn.experiment.reproduce import discover, Item, judgement
from riemgn.experiment.verdict import judge, RELATIONS

FIGURES = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Record:
    """An item with its committed record: checks judged again, compared with the golden numbers."""

    item: Item
    checks: list[dict[str, Any]]
    verdict: str
    size: str
    commit: str

    @property
    def picture(self) -> str:
        return f"{self.item.name}.png"


def record_of(item: Item) -> Record | None:
    """The record of an item, or None if none is committed."""
    path = FIGURES / item.paper / f"{item.id}.json"
    if not path.is_file():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    checks = [judge(check) for check in record["data"]["checks"]]
    verdict, golden, _ = judgement(item, checks, record["quick"])
    verdict = verdict if golden != "none" else f"{verdict} (no golden numbers at this size)"
    return Record(item, checks, verdict, "quick" if record["quick"] else "full", record["commit"][:9])


def paper_records() -> list[Record]:
    """The records of the papers' items, in their order."""
    return [record for item in discover() if (record := record_of(item)) is not None]


def number(value: Any) -> str:
    """Four digits; NaN for a missing value."""
    value = math.nan if value is None else float(value)
    return f"{value:.4g}"


def check_table(checks: list[dict[str, Any]]) -> str:
    """The judged checks as a Markdown table."""
    rows = ["| check | measured | required | tolerance | |", "| --- | --- | --- | --- | --- |"]
    for check in checks:
        name = check["name"].replace("|", r"\|")
        required = f"{RELATIONS[check['relation']]} {number(check['predicted'])}"
        verdict = "holds" if check["holds"] else "**fails**"
        rows.append(f"| {name} | {number(check['measured'])} | {required} | {number(check['tolerance'])} | {verdict} |")
    return "\n".join(rows)
