"""The door to geomstats: what the import must leave alone."""

import json
import logging
import os
import subprocess
import sys

import numpy as np
import pytest

from riemgn.geometry.interop import geomstats_import as door

FRESH = """
import json, logging, sys, warnings
import numpy as np
{before}
root = logging.getLogger()
state = lambda: [root.level, [type(handler).__name__ for handler in root.handlers], "trapz" in vars(np)]
first = state()
{load}
print(json.dumps([first, state(), "geomstats" in sys.modules]))
"""
THROUGH_THE_DOOR = "from riemgn.geometry.interop.geomstats_import import load; assert load('geomstats.geometry.hypersphere').Hypersphere(2).dim == 2"


def fresh(before: str, load: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `before` and `load` in a new process and report the root logger and numpy.trapz on both sides of `load`."""
    names = {name: value for name, value in os.environ.items() if name != "GEOMSTATS_BACKEND"}
    code = FRESH.format(before=before, load=load)
    return subprocess.run(
        [sys.executable, "-W", "error::ImportWarning", "-c", code],
        env={**names, **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    "before",
    ["", "logging.basicConfig(level=logging.ERROR)", "logging.getLogger().addHandler(logging.NullHandler())"],
    ids=["untouched", "configured", "own handler"],
)
def test_the_import_leaves_root_logger_and_numpy_alone(before):
    done = fresh(before, THROUGH_THE_DOOR)
    assert done.returncode == 0, done.stderr
    first, second, loaded = json.loads(done.stdout)
    assert loaded and second == first


def test_without_the_door_the_root_logger_is_changed():
    shim = "" if getattr(np, "trapz", None) else "np.trapz = np.trapezoid"
    done = fresh(shim, "warnings.simplefilter('ignore'); import geomstats")
    assert done.returncode == 0, done.stderr
    first, second, _ = json.loads(done.stdout)
    assert first[:2] == [logging.WARNING, []] and second[:2] == [logging.INFO, ["StreamHandler"]]


def test_a_failed_import_is_cleaned_up_too():
    had_trapz, level, handlers = "trapz" in vars(np), logging.getLogger().level, list(logging.getLogger().handlers)
    with pytest.raises(ModuleNotFoundError):
        door.load("geomstats.no_such_module")
    assert ("trapz" in vars(np), logging.getLogger().level, logging.getLogger().handlers) == (
        had_trapz,
        level,
        handlers,
    )


def test_a_module_is_loaded_once():
    assert door.load("geomstats.geometry.hypersphere") is door.load("geomstats.geometry.hypersphere")


def test_the_pytorch_backend_is_refused_before_anything_is_imported():
    done = fresh("", THROUGH_THE_DOOR, GEOMSTATS_BACKEND="pytorch")
    assert done.returncode != 0
    assert "ValueError: riemgn speaks to geomstats in numpy arrays" in done.stderr and "got 'pytorch'" in done.stderr


def test_the_autograd_backend_is_allowed():
    pytest.importorskip("autograd")
    done = fresh(
        "",
        f"{THROUGH_THE_DOOR}; import geomstats.backend as gs; assert gs.__name__ == 'geomstats.autograd'",
        GEOMSTATS_BACKEND="autograd",
    )
    assert done.returncode == 0, done.stderr
