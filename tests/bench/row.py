"""Rows of the benchmarks, one for each piece of work and each peer, and the printed table."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

COLUMNS = (  # title and width, negative if the column is flush left
    *(("work", -50), ("ours [s]", 8), ("error", 6), ("first [s]", 9)),
    *(("peer", -34), ("peer [s]", 8), ("error", 6), ("first [s]", 9)),
    *(("ratio", 6), ("at least", 8), ("met", -3)),
)


@dataclass(frozen=True)
class Timing:
    """The time of one contender on one piece of work.

    - `name`: the contender, with its settings.
    - `seconds`: median of the compiled runs. If it is None, `note` says why.
    - `error`: of the result, in the unit of the work, or None if there is no reference.
    - `first_call`: seconds of the first call, compilation included.
    - `note`: why there is no time, or a remark for the reader.
    - `over`: whether `seconds` is a limit that the contender exceeded.
    """

    name: str
    seconds: float | None = None
    error: float | None = None
    first_call: float | None = None
    note: str = ""
    over: bool = False


@dataclass(frozen=True)
class Row:
    """The times of `ours` and of `peer` on the same `work`. Some works have no peer.

    `at_least` is the target of the ratio, the peer's seconds over ours.
    """

    work: str
    ours: Timing
    peer: Timing | None = None
    at_least: float | None = None

    @property
    def ratio(self) -> float | None:
        """The peer's seconds over ours, a lower bound if the peer exceeded its limit."""
        if self.peer is None or self.peer.seconds is None or not self.ours.seconds or self.ours.over:
            return None
        return self.peer.seconds / self.ours.seconds

    @property
    def met(self) -> bool | None:
        """Whether the ratio reaches its target, or None if that is undecided."""
        if self.at_least is None or self.ratio is None:
            return None
        if self.ratio >= self.at_least:
            return True
        return None if self.peer is not None and self.peer.over else False

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio, "met": self.met}


def row_from(entry: Mapping[str, Any]) -> Row:
    """Return the row whose `to_dict` gave `entry`."""
    peer = entry["peer"]
    return Row(entry["work"], Timing(**entry["ours"]), None if peer is None else Timing(**peer), entry["at_least"])


def quickest(rows: Iterable[Row]) -> list[Row]:
    """Return the row of the quickest peer of each work.

    A peer that exceeded its limit counts only if no other peer has a time.
    """

    def slowness(row: Row) -> tuple[bool, bool, float]:
        timed = row.peer is not None and row.peer.seconds is not None
        return not timed, timed and row.peer.over, row.peer.seconds if timed else 0.0

    by_work: dict[str, list[Row]] = {}
    for row in rows:
        by_work.setdefault(row.work, []).append(row)
    return [min(group, key=slowness) for group in by_work.values()]


def print_machine(machine: dict[str, Any]) -> None:
    """Print the line above the table."""
    numpy, jax = machine["gflops_numpy"], machine["gflops_jax"]
    rate = f"float64 matrix products at {numpy:.0f} (numpy) and {jax:.0f} (jax) GFLOP/s"
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    computer = f"{machine['processor']}, {machine['cores']} cores, load {machine['load']:.1f}"
    print(f"{computer}; {rate}; Python {machine['python']}, {versions}\n", flush=True)


def print_row(row: Row, first: bool) -> None:
    """Print one line of a Markdown table and flush it, so that an interrupt loses no row."""
    if first:
        _print_cells([title for title, _ in COLUMNS])
        print("|" + "|".join("-" * (abs(width) + 2) for _, width in COLUMNS) + "|", flush=True)
    ratio = "-" if row.ratio is None else f"{'> ' if row.peer.over else ''}{_ratio_text(row.ratio)}"
    verdict = {None: "-", True: "yes", False: "no"}[row.met]
    with_note = row.ours.note and (row.peer is None or row.ours.seconds is None)
    work = f"{row.work} ({row.ours.note})" if with_note else row.work
    peer = ["-"] * 4
    if row.peer is not None:
        reason = f" ({row.peer.note})" if row.peer.seconds is None else ""
        peer = [row.peer.name + reason, *_timing_cells(row.peer)]
    target = "-" if row.at_least is None else _ratio_text(row.at_least)
    _print_cells([work, *_timing_cells(row.ours), *peer, ratio, target, verdict])


def _print_cells(cells: Sequence[str]) -> None:
    pairs = zip(cells, COLUMNS, strict=True)
    padded = [cell.ljust(-width) if width < 0 else cell.rjust(width) for cell, (_, width) in pairs]
    print("| " + " | ".join(padded) + " |", flush=True)


def _timing_cells(timing: Timing) -> list[str]:
    """Return seconds, error and seconds of the first call."""
    return [
        "-" if timing.seconds is None else f"{'> ' if timing.over else ''}{timing.seconds:.2g}",
        "-" if timing.error is None else f"{timing.error:.0e}",
        "-" if timing.first_call is None else f"{timing.first_call:.2g}",
    ]


def _ratio_text(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
