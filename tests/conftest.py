"""Settings that hold for every test: float64, one thread, no display, no compilation cache from an earlier run."""

import gc
import os

PINS = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "MPLBACKEND": "Agg",
}
for variable, value in PINS.items():
    os.environ.setdefault(variable, value)  # before jax and numpy load: both read these once
os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_enable_compilation_cache", False)


@pytest.fixture(scope="module", autouse=True)
def compiled_programs_end_with_their_module():
    """Each compiled program holds memory maps, of which a process has about 65000: a long session would end in a crash inside the compiler."""
    yield
    jax.clear_caches()
    gc.collect()
