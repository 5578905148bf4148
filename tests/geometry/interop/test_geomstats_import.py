"""Tests of the import of geomstats: what it must leave alone, and which backends it refuses."""

import json
import logging
import os
import subprocess
import sys

import numpy as np
import pytest

from riemgn.geometry.interop.geomstats_import import load

FRESH = """
import json, logging, sys, warnings
import numpy as np
from riemgn.geometry.interop.geomstats_import import load
logging.basicConfig(level=logging.ERROR)
root = logging.getLogger()
state = lambda: [root.level, [type(handler).__name__ for handler in root.handlers], "trapz" in vars(np)]
first = state()
assert load("geomstats.geometry.hypersphere").Hypersphere(2).dim == 2
print(json.dumps([first, state()]))
"""


def fresh(**environment: str) -> subprocess.CompletedProcess[str]:
    """Import geomstats in a new process that prints the logger's state before and after."""
    names = {name: value for name, value in os.environ.items() if name != "GEOMSTATS_BACKEND"}
    command = [sys.executable, "-W", "error::ImportWarning", "-c", FRESH]
    return subprocess.run(command, env={**names, **environment}, capture_output=True, text=True)


def test_the_import_leaves_root_logger_and_numpy_alone():
    process = fresh()
    assert process.returncode == 0, process.stderr
    first, second = json.loads(process.stdout)
    assert first == second


def test_a_failed_import_is_cleaned_up():
    root, had_trapz = logging.getLogger(), "trapz" in vars(np)
    before = (root.level, list(root.handlers))
    with pytest.raises(ModuleNotFoundError):
        load("geomstats.no_such_module")
    assert (root.level, root.handlers) == before and ("trapz" in vars(np)) is had_trapz


def test_the_pytorch_backend_raises_before_the_import():
    process = fresh(GEOMSTATS_BACKEND="pytorch")
    assert process.returncode != 0
    assert "ValueError: GEOMSTATS_BACKEND is 'pytorch', but riemgn needs one of numpy, autograd" in process.stderr
