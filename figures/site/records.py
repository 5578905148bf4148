"""The committed records of the papers' figures and of the essays, with their verdicts taken from the numbers anew."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from riemgn.experiment.reproduce import discover, Item, judgement
from riemgn.experiment.verdict import judge, RELATIONS

FIGURES = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Shown:
    """An item whose numbers and picture are committed: every check judged again, and compared with the golden numbers."""

    item: Item
    checks: list[dict[str, Any]]
    verdict: str
    size: str
    commit: str

    @property
    def picture(self) -> str:
        return f"{self.item.name}.png"


def shown(item: Item) -> Shown | None:
    """None for an item without a committed record."""
    path = FIGURES / item.paper / f"{item.id}.json"
    if not path.is_file():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    checks = [judge(check) for check in record["data"]["checks"]]
    verdict, golden, _ = judgement(item, checks, record["quick"])
    said = verdict if golden != "none" else f"{verdict} (no golden numbers at this size)"
    return Shown(item, checks, said, "quick" if record["quick"] else "full", record["commit"][:9])


def items_shown() -> list[Shown]:
    """The papers' items that have a committed record, in their order."""
    return [found for item in discover() if (found := shown(item)) is not None]


def number(value: Any) -> str:
    value = math.nan if value is None else float(value)
    return f"{value:.4g}"


def check_table(checks: list[dict[str, Any]]) -> str:
    """The judged checks as a Markdown table."""
    rows = ["| check | measured | asked for | within | |", "| --- | --- | --- | --- | --- |"]
    for check in checks:
        name = check["name"].replace("|", r"\|")
        asked = f"{RELATIONS[check['relation']]} {number(check['predicted'])}"
        rows.append(
            f"| {name} | {number(check['measured'])} | {asked} | {number(check['tolerance'])} | {'holds' if check['holds'] else '**fails**'} |"
        )
    return "\n".join(rows)
