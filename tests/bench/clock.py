"""How the benchmarks read the clock."""

import statistics
import time

import jax


def seconds(work) -> float:
    """Wall-clock seconds of one call, its arrays ready."""
    start = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - start


def median_seconds(work, repetitions: int) -> float:
    return statistics.median(seconds(work) for _ in range(repetitions))


class Deadline:
    """For peers that call back into Python: `check()` in what they call ends a run that takes too long."""

    def __init__(self, limit: float):
        self.limit, self.end = limit, time.perf_counter() + limit

    def check(self) -> None:
        if time.perf_counter() > self.end:
            raise TimeoutError(f"over {self.limit:g} s a run")
