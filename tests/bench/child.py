"""The processes that the supervisor starts.

`python -m tests.bench.child NAME quick|full DONE` runs one benchmark and prints its rows as JSON.
`python -m tests.bench.child machine` prints a description of the machine.
"""

import importlib
import json
import os
import platform
import sys
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import riemgn as rg
from tests.bench.compare import median_seconds, Runner

FUNCTIONS = {"stiff-large": ("stiff", "large_rows"), "direction-all": ("direction", "all_rows")}
SIZE = 1500


def send(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


def run_benchmark(name: str, size: str, done: str) -> None:
    runner = Runner(size == "quick", json.loads(done), lambda row, limit: send({"call": row.to_dict(), "limit": limit}))
    module, function = FUNCTIONS.get(name, (name, "rows"))
    for row in getattr(importlib.import_module(f"tests.bench.{module}"), function)(runner):
        send({"row": row.to_dict()})


def describe_machine() -> None:
    matrix = np.random.default_rng(0).standard_normal((SIZE, SIZE))
    send(
        {
            "processor": processor(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "load": os.getloadavg()[0],
            "device": jax.devices()[0].device_kind,
            "gflops_numpy": gflops(np.matmul, matrix),
            "gflops_jax": gflops(jax.jit(jnp.matmul), jnp.asarray(matrix)),
            "python": platform.python_version(),
            "versions": {name: version(name) for name in ("jax", "diffrax", "numpy", "scipy")},
        }
    )


def gflops(product, matrix) -> float:
    """Return the float64 GFLOP/s of one product of square matrices."""
    jax.block_until_ready(product(matrix, matrix))
    return 2e-9 * len(matrix) ** 3 / median_seconds(lambda: product(matrix, matrix), 5)


def processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    rg.enable_x64()
    describe_machine() if sys.argv[1:] == ["machine"] else run_benchmark(*sys.argv[1:])
