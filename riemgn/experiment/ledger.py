"""The ledger of certificates: one entry each, written as it is done and taken up again after an interruption."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..theory import CLAIMS
from .provenance import package_sources, provenance, source_hash
from .storage import prepare_folder, read_json, write_json

STATUSES = ("fails", "undecided", "not applicable", "holds")  # worst first


class Ledger:
    """Certificates as plain entries.

    Arguments:

    - `path`: where to keep them, or None. A file of the same sources is taken up where it ends; any other is replaced.
    - `quick`: which set of problems they are of; `rigorous`: whether their hypotheses were proved; `rtol`: the tolerance of every solve, or None.

    Raises: `ValueError` for a folder that cannot be written.
    """

    def __init__(self, path: Path | None, quick: bool, rigorous: bool = False, rtol: float | None = None):
        self.path, self.quick, self.rigorous, self.rtol = path, quick, rigorous, rtol
        self.stamp = source_hash(package_sources(), "rigorous" if rigorous else "float64", repr(rtol))
        self.entries: list[dict[str, Any]] = []
        self._before: dict[tuple, dict[str, Any]] = {}
        if path is not None:
            prepare_folder(path.parent)  # a folder that cannot be written is better known before the work
        if path is not None and path.is_file():
            record = read_json(path)
            if record.get("source_hash") == self.stamp:
                self._before = {_key(entry): entry for entry in record["certificates"]}

    def known(self, claim: str, problem: str, seed: int) -> dict[str, Any] | None:
        """The entry of an earlier run, if there is one."""
        return self._before.get((claim, problem, seed))

    def add(self, entry: dict[str, Any]) -> None:
        """Keep an entry, on disk too where a path was given."""
        self.entries.append(entry)
        if self.path is not None:
            seen = {_key(entry) for entry in self.entries}
            rest = [entry for key, entry in self._before.items() if key not in seen]
            head = {
                "quick": self.quick,
                "rigorous": self.rigorous,
                "rtol": self.rtol,
                "source_hash": self.stamp,
                **provenance(),
            }
            write_json(self.path, {**head, "certificates": self.entries + rest})

    def worst(self) -> list[tuple[dict[str, Any], dict[str, int]]]:
        """For each claim and problem the entry with the worst verdict and least margin, and how many seeds came to each verdict."""
        groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
        order = {claim: place for place, claim in enumerate(CLAIMS)}
        for entry in sorted(self.entries, key=lambda entry: order.get(entry["claim"], len(order))):
            groups.setdefault((entry["claim"], entry["problem"]), []).append(entry)
        chosen = []
        for group in groups.values():
            counts = {status: sum(entry["status"] == status for entry in group) for status in STATUSES}
            chosen.append((min(group, key=_badness), {status: count for status, count in counts.items() if count}))
        return chosen

    def all_hold(self, claims: Sequence[str]) -> bool:
        """Whether every claim holds somewhere and fails nowhere that its hypotheses hold."""
        asked = set(claims) or {entry["claim"] for entry in self.entries}
        held = {entry["claim"] for entry in self.entries if entry["status"] == "holds"}
        return asked <= held and not any(entry["status"] == "fails" for entry in self.entries)


def _key(entry: dict[str, Any]) -> tuple[str, str, int]:
    return entry["claim"], entry["problem"], entry["seed"]


def _badness(entry: dict[str, Any]) -> tuple[int, float]:
    margin = entry.get("margin")
    return STATUSES.index(entry["status"]), float("inf") if margin is None else margin
