"""What a benchmark comes to: one row for each piece of work and each peer."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Timing:
    """One contender on one piece of work.

    - `name`: the contender, with its settings.
    - `seconds`: median of the runs, compiled; None where there is none, and then `note` says why.
    - `error`: of what came out, in the unit of the work; None where there is nothing to compare with.
    - `first_call`: seconds of the first call, compilation included.
    - `note`: why there is no time, or what else a reader must know.
    - `over`: whether `seconds` is a limit that the contender passed.
    """

    name: str
    seconds: float | None = None
    error: float | None = None
    first_call: float | None = None
    note: str = ""
    over: bool = False


@dataclass(frozen=True)
class Row:
    """`ours` beside `peer` on the same `work`; without a peer it is a plain measurement.

    `at_least` is what the ratio, the peer's seconds over ours, should reach.
    """

    work: str
    ours: Timing
    peer: Timing | None = None
    at_least: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times our seconds the peer takes; a lower bound where the peer went over its limit."""
        if self.peer is None or self.peer.seconds is None or not self.ours.seconds or self.ours.over:
            return None
        return self.peer.seconds / self.ours.seconds

    @property
    def met(self) -> bool | None:
        """Whether the ratio reaches its target; None where that is not decided."""
        if self.at_least is None or self.ratio is None:
            return None
        if self.ratio >= self.at_least:
            return True
        return None if self.peer is not None and self.peer.over else False

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio, "met": self.met}


def quickest(rows: Iterable[Row]) -> list[Row]:
    """Of each work the row of its quickest peer; one that went over its limit only where no peer has a time."""

    def slowness(row: Row) -> tuple[bool, bool, float]:
        timed = row.peer is not None and row.peer.seconds is not None
        return not timed, timed and row.peer.over, row.peer.seconds if timed else 0.0

    by_work: dict[str, list[Row]] = {}
    for row in rows:
        by_work.setdefault(row.work, []).append(row)
    return [min(group, key=slowness) for group in by_work.values()]


def row_from(entry: Mapping[str, Any]) -> Row:
    """The row that `to_dict` gave."""
    peer = entry["peer"]
    return Row(entry["work"], Timing(**entry["ours"]), None if peer is None else Timing(**peer), entry["at_least"])
