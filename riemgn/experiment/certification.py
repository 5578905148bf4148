"""Certify claims on the standard problems, and keep the certificates in a file."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from ..theory import certify, CLAIMS
from .cases import Case, CASES
from .parallel import map_unordered
from .provenance import package_sources, provenance, source_hash
from .storage import prepare_folder, read_json, write_json

Entry = dict[str, Any]
STATUSES = ("fails", "undecided", "not applicable", "holds")  # worst first


def select_cases(claims: Sequence[str], quick: bool) -> list[Case]:
    """Return the cases of the given claims (default: all), or with `quick` only the short ones."""
    return [case for case in CASES if (not claims or case.claim in claims) and (case.quick or not quick)]


def seeds_of(case: Case, quick: bool, seeds: int | None = None) -> range:
    """Return the seeds of a case. Their number defaults to 1 with `quick`, else `case.seeds`."""
    number = seeds if seeds is not None else 1 if quick else case.seeds
    return range(number if case.seeds > 1 else 1)


def certify_cases(
    work: Sequence[tuple[Case, Sequence[int]]],
    load: Callable[[str, str, int], Entry | None] = lambda *key: None,
    rigorous: bool = False,
    rtol: float | None = None,
    jobs: int = 1,
) -> Iterator[Entry]:
    """Solve and certify, and yield the entry of each certificate, with several `jobs` in any order.

    - `work`: cases, each with its seeds.
    - `load`: function of (claim, problem, seed) that returns a stored entry or None.
    - `rigorous`, `rtol`: as in `riemgn certify`.
    """
    tasks = []
    for case, seeds in work:
        entries = {seed: load(case.claim, case.title, seed) for seed in seeds}
        yield from (entry for entry in entries.values() if entry is not None)
        missing = [seed for seed, entry in entries.items() if entry is None]
        tasks += [(CASES.index(case), missing, rigorous, rtol)] if missing else []
    # in this process entries come one by one; a generator cannot be sent from another one
    for entries in map_unordered(_certify_case if jobs == 1 else _certify_case_list, tasks, jobs):
        yield from entries


def _certify_case(index: int, seeds: Sequence[int], rigorous: bool, rtol: float | None) -> Iterator[Entry]:
    """Certify `CASES[index]`, which is passed by index because its lambdas cannot be pickled."""
    case = CASES[index]
    for seed in seeds:
        start = time.perf_counter()
        title = f"{case.title}, seed {seed}" if case.seeds > 1 else case.title
        certificate = certify(case.claim, case.evidence(seed, rtol), subject=title, rigorous=rigorous)
        yield {**certificate.to_dict(), "problem": case.title, "seed": seed, "seconds": time.perf_counter() - start}
    if len(seeds) > 1:  # a process has a limited number of memory maps, and compiled programs use them up
        jax.clear_caches()


def _certify_case_list(*task: Any) -> list[Entry]:
    return list(_certify_case(*task))


class Ledger:
    """The certificates of one command, stored in the JSON file `path` after each, if there is one.

    Entries of a file from the same sources are reused. The settings are stored in the file.
    """

    def __init__(self, path: Path | None, quick: bool, rigorous: bool = False, rtol: float | None = None):
        self.path = path
        digest = source_hash(package_sources(), "rigorous" if rigorous else "float64", repr(rtol))
        self.settings = {"quick": quick, "rigorous": rigorous, "rtol": rtol, "source_hash": digest}
        self.entries: list[Entry] = []
        self._stored: dict[tuple, Entry] = {}
        if path is not None:
            prepare_folder(path.parent)  # fail before the work
            record = read_json(path) if path.is_file() else {}
            if record.get("source_hash") == digest:
                self._stored = {_key(entry): entry for entry in record["certificates"]}

    def load(self, claim: str, problem: str, seed: int) -> Entry | None:
        """Return the entry of an earlier run, or None."""
        return self._stored.get((claim, problem, seed))

    def add(self, entry: Entry) -> None:
        """Add an entry and write the file."""
        self.entries.append(entry)
        if self.path is not None:
            added = {_key(entry) for entry in self.entries}
            others = [entry for key, entry in self._stored.items() if key not in added]
            write_json(self.path, {**self.settings, **provenance(), "certificates": self.entries + others})

    def worst(self) -> list[tuple[Entry, dict[str, int]]]:
        """Return the worst entry of each claim and problem, and how many seeds have each status."""
        groups: dict[tuple[str, str], list[Entry]] = {}
        order = {claim: place for place, claim in enumerate(CLAIMS)}
        for entry in sorted(self.entries, key=lambda entry: order.get(entry["claim"], len(order))):
            groups.setdefault((entry["claim"], entry["problem"]), []).append(entry)
        return [(min(group, key=_rank), count_statuses(group)) for group in groups.values()]

    def all_hold(self, claims: Sequence[str]) -> bool:
        """Whether each claim (default: of the entries) holds on some problem and fails on none."""
        required = set(claims) or {entry["claim"] for entry in self.entries}
        holding = {entry["claim"] for entry in self.entries if entry["status"] == "holds"}
        return required <= holding and not any(entry["status"] == "fails" for entry in self.entries)


def count_statuses(entries: Sequence[Entry]) -> dict[str, int]:
    """Return how many entries have each status that occurs."""
    counts = {status: sum(entry["status"] == status for entry in entries) for status in STATUSES}
    return {status: count for status, count in counts.items() if count}


def _key(entry: Entry) -> tuple[str, str, int]:
    return entry["claim"], entry["problem"], entry["seed"]


def _rank(entry: Entry) -> tuple[int, float]:
    margin = entry.get("margin")
    return STATUSES.index(entry["status"]), float("inf") if margin is None else margin
