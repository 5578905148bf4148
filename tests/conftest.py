"""Settings of every test: float64, one thread, no display, compiled programs shared in the session.

Nearly all the time is compilation, so XLA is asked for little optimisation (`QUICK`). Set
`RIEMGN_TEST_OPTIMISED=1` to test the programs that users run.
"""

import gc
import os
import shutil
import subprocess
import sys
import tempfile

PINS = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "MPLBACKEND": "Agg",
}
for variable, value in PINS.items():
    os.environ.setdefault(variable, value)  # before jax and numpy load: both read these once
os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)

PROGRAMS = "RIEMGN_TEST_PROGRAMS"  # folder of the compiled programs, shared by all processes of the session
QUICK = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"


def known_to_xla(flags: str) -> bool:
    """Whether XLA accepts the flags: it ends a process that gives it an unknown one."""
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    return (
        subprocess.run(
            [sys.executable, "-c", "import jax; jax.devices()"], env=environment, capture_output=True
        ).returncode
        == 0
    )


if PROGRAMS not in os.environ and not os.environ.get("RIEMGN_TEST_OPTIMISED") and known_to_xla(QUICK):
    os.environ["XLA_FLAGS"] = f"{QUICK} {os.environ['XLA_FLAGS']}"

import jax  # noqa: E402
import pytest  # noqa: E402

# The longest files come first, so that no worker is left with one at the end.
LONGEST = [
    "test_items",
    "test_essays",
    "test_docs",
    "test_claims",
    "test_solve",
    "test_implicit",
    "test_output_manifold",
]

jax.config.update("jax_enable_x64", True)


def pytest_configure(config):
    """Share compiled programs between the workers through one folder."""
    if PROGRAMS not in os.environ:
        folder = os.environ[PROGRAMS] = tempfile.mkdtemp(prefix="riemgn-programs-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    jax.config.update("jax_compilation_cache_dir", os.environ[PROGRAMS])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def pytest_collection_modifyitems(items):
    """Put the longest files first; `--no-loadscope-reorder` of xdist keeps the order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))


@pytest.fixture(scope="module", autouse=True)
def compiled_programs_end_with_their_module():
    """Free the compiled programs after each module.

    Each program holds memory maps, of which a process has about 65 000. A long session would crash
    inside the compiler.
    """
    yield
    jax.clear_caches()
    gc.collect()
