"""Contenders on the same work: at equal achieved error, compiled first, the median of several runs.

Of each contender the loosest tolerance is taken whose result is accurate enough (work-precision); the runs timed are at that tolerance.
"""

import importlib.util
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from tests.bench.clock import seconds
from tests.bench.row import Row, Timing

COMPILATION = 60.0  # what a first call may take beyond the patience


@dataclass(frozen=True)
class Contender:
    """Somebody's way to do a piece of work.

    - `build`: makes the function of the tolerance that does it; or comes back with a `Timing` taken elsewhere.
    - `needs`: modules that must be installed.
    - `at_least`: the ratio to reach against this peer.
    """

    name: str
    build: Callable[[], Callable[[float], Any] | Timing]
    needs: tuple[str, ...] = ()
    at_least: float | None = None


@dataclass(frozen=True)
class Protocol:
    """How contenders are compared.

    - `error_of`: the error of what a contender returns; None where there is nothing to compare with.
    - `tolerances`: from loose to tight; `accuracy`: the largest error accepted.
    - `patience`: seconds a run may take; `repetitions`: runs for the median.
    """

    error_of: Callable[[Any], float] | None = None
    tolerances: Sequence[float] = (math.nan,)
    accuracy: float = math.inf
    patience: float = 20.0
    repetitions: int = 5


class Contest:
    """A benchmark's view of its run: `quick` asks for small sizes, `done` names what need not be measured again.

    `announce(row, limit)` is called before each call of a contender with the row so far and the seconds the call may take at the very most.
    """

    def __init__(
        self,
        quick: bool,
        done: Sequence[Sequence[str]] = (),
        announce: Callable[[Row, float], None] = lambda row, limit: None,
    ):
        self.quick, self.done, self.announce = quick, {tuple(pair) for pair in done}, announce

    def compare(self, work: str, ours: Contender, peers: Sequence[Contender], protocol: Protocol) -> Iterator[Row]:
        """One row for each peer; one without a peer where there is none or where ours fails."""
        left = [peer for peer in peers if (work, peer.name) not in self.done]
        if (work, ours.name) in self.done or (peers and not left):
            return
        mine = self._measured(ours, protocol, lambda timing: Row(work, timing))
        if mine.seconds is None or not peers:
            yield Row(work, mine)
            return
        for peer in left:
            yield Row(
                work,
                mine,
                self._measured(peer, protocol, lambda timing, peer=peer: Row(work, mine, timing, peer.at_least)),
                peer.at_least,
            )

    def _measured(self, contender: Contender, protocol: Protocol, row_with: Callable[[Timing], Row]) -> Timing:
        """The timing of one contender; whatever goes wrong is its note."""
        missing = [name for name in contender.needs if not installed(name)]
        if missing:
            return Timing(contender.name, note=f"not installed: {', '.join(missing)}")
        under_way = row_with(Timing(contender.name))
        try:
            self.announce(under_way, COMPILATION + protocol.patience)
            run = contender.build()
            if isinstance(run, Timing):
                return run
            return self._at_equal_error(contender.name, run, protocol, under_way)
        except Exception as trouble:
            reason = (str(trouble).strip().splitlines() or [""])[0]
            return Timing(contender.name, note=f"fails: {type(trouble).__name__}: {reason}"[:120])

    def _at_equal_error(self, name: str, run: Callable[[float], Any], protocol: Protocol, under_way: Row) -> Timing:
        first, best, times = None, math.inf, []
        jax.clear_caches()  # what another contender compiled is no part of this one's first call
        for tolerance in protocol.tolerances:
            self.announce(under_way, protocol.patience + (COMPILATION if first is None else 1.0))
            kept = []
            try:
                spent = seconds(lambda tolerance=tolerance, kept=kept: kept.append(run(tolerance)) or kept[0])
            except TimeoutError:
                return passed(name, protocol.patience, first)
            compiled, first = first is not None, spent if first is None else first
            error = None if protocol.error_of is None else float(protocol.error_of(kept[0]))
            if error is None or error <= protocol.accuracy:
                break
            best = min(best, error)
            if compiled and spent > protocol.patience:
                return passed(name, protocol.patience, first)
        else:
            return Timing(name, first_call=first, note=f"comes to no error below {best:.0e}")
        for _ in range(protocol.repetitions):
            self.announce(under_way, protocol.patience + 1.0)
            try:
                times.append(seconds(lambda: jax.block_until_ready(run(tolerance))))
            except TimeoutError:
                return passed(name, protocol.patience, first)
        return Timing(
            name, statistics.median(times), error, first, "" if math.isnan(tolerance) else f"rtol {tolerance:g}"
        )


def passed(name: str, limit: float, first: float | None = None) -> Timing:
    """The timing of a contender that took too long."""
    return Timing(name, limit, None, first, f"over {limit:g} s", over=True)


def installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
