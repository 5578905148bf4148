"""Compare contenders at equal error: compile first, then take the median of several runs.

Each contender is timed at the loosest tolerance at which its result is accurate enough.
"""

import importlib.util
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax

from tests.bench.row import Row, Timing

COMPILATION = 60.0  # seconds that a first call may take beyond the timeout


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Call `work` and return the wall-clock seconds until its arrays are ready, and its result."""
    start = time.perf_counter()
    result = jax.block_until_ready(work())
    return time.perf_counter() - start, result


def median_seconds(work: Callable[[], Any], repetitions: int) -> float:
    return statistics.median(timed(work)[0] for _ in range(repetitions))


class Deadline:
    """Ends a run that takes too long: call `check()` in the functions that a peer evaluates."""

    def __init__(self, limit: float):
        self.limit, self.end = limit, time.perf_counter() + limit

    def check(self) -> None:
        if time.perf_counter() > self.end:
            raise TimeoutError(f"over {self.limit:g} s a run")


@dataclass(frozen=True)
class Contender:
    """One way to do a piece of work.

    - `build`: returns the function of the tolerance that does the work, or a finished `Timing`.
    - `needs`: modules that must be installed.
    - `at_least`: target of the ratio to this peer.
    """

    name: str
    build: Callable[[], Callable[[float], Any] | Timing]
    needs: tuple[str, ...] = ()
    at_least: float | None = None


def call(function: Callable[..., Any], *arguments: Any) -> Callable[[], Callable[[float], Any]]:
    """Return the `build` of a contender that calls `function(*arguments)` and has no tolerance."""
    return lambda: lambda _: function(*arguments)


@dataclass(frozen=True)
class Protocol:
    """How contenders are compared.

    - `error_of`: the error of a contender's result, or None if there is no reference.
    - `tolerances`: tolerances to try, from loose to tight.
    - `accuracy`: largest error accepted.
    - `timeout`: seconds that a compiled run may take.
    - `repetitions`: runs for the median.
    """

    error_of: Callable[[Any], float] | None = None
    tolerances: Sequence[float] = (math.nan,)
    accuracy: float = math.inf
    timeout: float = 20.0
    repetitions: int = 5


class Runner:
    """Times the contenders of one benchmark.

    - `quick`: whether the benchmark should use small sizes and few peers.
    - `done`: pairs (work, contender) that were timed already.
    - `before_call`: called before each call of a contender, with the row so far and the largest
        number of seconds that the call may take.
    """

    def __init__(
        self,
        quick: bool,
        done: Sequence[Sequence[str]] = (),
        before_call: Callable[[Row, float], None] = lambda row, limit: None,
    ):
        self.quick, self.done, self.before_call = quick, {tuple(pair) for pair in done}, before_call

    def compare(self, work: str, ours: Contender, peers: Sequence[Contender], protocol: Protocol) -> Iterator[Row]:
        """Yield one row per peer, or one without a peer if there is no peer or if ours fails."""
        remaining = [peer for peer in peers if (work, peer.name) not in self.done]
        if (work, ours.name) in self.done or (peers and not remaining):
            return
        mine = self._time(ours, protocol, partial(Row, work))
        if mine.seconds is None or not peers:
            yield Row(work, mine)
            return
        for peer in remaining:
            row_with = partial(Row, work, mine, at_least=peer.at_least)
            yield row_with(self._time(peer, protocol, row_with))

    def _time(self, contender: Contender, protocol: Protocol, row_with: Callable[[Timing], Row]) -> Timing:
        """Return the timing of one contender. If it fails, the note says why."""
        missing = [name for name in contender.needs if not installed(name)]
        if missing:
            return Timing(contender.name, note=f"not installed: {', '.join(missing)}")
        pending = row_with(Timing(contender.name))
        try:
            self.before_call(pending, COMPILATION + protocol.timeout)
            run = contender.build()
            return run if isinstance(run, Timing) else self._time_at_equal_error(contender.name, run, protocol, pending)
        except Exception as error:
            reason = (str(error).strip().splitlines() or [""])[0]
            return Timing(contender.name, note=f"fails: {type(error).__name__}: {reason}"[:120])

    def _time_at_equal_error(self, name: str, run: Callable[[float], Any], protocol: Protocol, pending: Row) -> Timing:
        first, smallest, times = None, math.inf, []
        jax.clear_caches()  # the first call must not use what another contender compiled
        try:
            for tolerance in protocol.tolerances:
                self.before_call(pending, protocol.timeout + (COMPILATION if first is None else 1.0))
                seconds, result = timed(partial(run, tolerance))
                compiled, first = first is not None, seconds if first is None else first
                error = None if protocol.error_of is None else float(protocol.error_of(result))
                if error is None or error <= protocol.accuracy:
                    break
                smallest = min(smallest, error)
                if compiled and seconds > protocol.timeout:
                    raise TimeoutError
            else:
                return Timing(name, first_call=first, note=f"reaches no error below {smallest:.0e}")
            for _ in range(protocol.repetitions):
                self.before_call(pending, protocol.timeout + 1.0)
                times.append(timed(partial(run, tolerance))[0])
        except TimeoutError:
            return Timing(name, protocol.timeout, None, first, f"over {protocol.timeout:g} s", over=True)
        note = "" if math.isnan(tolerance) else f"rtol {tolerance:g}"
        return Timing(name, statistics.median(times), error, first, note)


def installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
