"""`python -m tests.bench.machine`: the machine, and how many products of matrices it does, as one JSON object."""

import json
import os
import platform
import statistics
from importlib.metadata import version

import jax
import jax.numpy as jnp
import numpy as np

import riemgn as rg
from tests.bench.clock import seconds

SIZE = 1500


def gflops(product, array) -> float:
    """float64 GFLOP/s of one product of square matrices, the median of five."""
    product(array, array)
    return 2e-9 * SIZE**3 / statistics.median(seconds(lambda: product(array, array)) for _ in range(5))


def main() -> None:
    rg.enable_x64()
    matrix = np.random.default_rng(0).standard_normal((SIZE, SIZE))
    here = {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if "sched_getaffinity" in dir(os) else os.cpu_count(),
        "load": os.getloadavg()[0],
        "device": jax.devices()[0].device_kind,
        "gflops_numpy": gflops(np.matmul, matrix),
        "gflops_jax": gflops(jax.jit(jnp.matmul), jnp.asarray(matrix)),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("jax", "diffrax", "numpy", "scipy")},
    }
    print(json.dumps(here))


def processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
