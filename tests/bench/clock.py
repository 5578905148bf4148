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
