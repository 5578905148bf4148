"""What geomstats' generated tests need of pytest: their marks, a seed, the inactive ones left out; and the process of layer A."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

MARKS = ("random", "shape", "vec", "ignore", "type", "mathprop", "validation")
HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def pytest_configure(config):
    for mark in MARKS:
        config.addinivalue_line("markers", f"{mark}: set by geomstats.test_cases")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """geomstats marks a test without data `ignore` and expects it to be left out, as its own geomstats.test.conf does."""
    items[:] = [item for item in items if not any(mark.name == "ignore" for mark in getattr(item, "own_markers", ()))]


@pytest.fixture(autouse=True)
def seeded(request):
    """geomstats draws from numpy's global generator."""
    np.random.seed(zlib.crc32(request.node.name.encode()))  # noqa: NPY002


@dataclass(frozen=True)
class Layer:
    """What a process of pytest reported: the outcome of every test, named `class::test`, and all it printed."""

    returncode: int
    outcomes: dict[str, str]
    report: str


@pytest.fixture(scope="session", autouse=True)
def autograd_process(request, tmp_path_factory):
    """autograd_layer.py in a process with GEOMSTATS_BACKEND=autograd, beside the tests of this one; nothing where no test asks for it."""
    if not any("autograd_layer" in getattr(item, "fixturenames", ()) for item in request.session.items):
        yield None
        return
    folder = tmp_path_factory.mktemp("autograd")
    command = [
        sys.executable,
        "-m",
        "pytest",
        str(HERE / "autograd_layer.py"),
        "-q",
        "-p",
        "no:xdist",
        "-p",
        "no:cacheprovider",
    ]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    with (folder / "report.txt").open("w") as report:
        process = subprocess.Popen(
            [*command, f"--junitxml={folder / 'report.xml'}"],
            cwd=ROOT,
            env={**kept, "GEOMSTATS_BACKEND": "autograd"},
            stdout=report,
            stderr=subprocess.STDOUT,
        )
        yield process, folder
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def autograd_layer(autograd_process):
    """What the process of layer A reported, once it has ended."""
    pytest.importorskip("autograd")
    process, folder = autograd_process
    returncode = process.wait()
    tests = ET.parse(folder / "report.xml").iter("testcase") if (folder / "report.xml").exists() else []
    outcomes = {
        f"{test.get('classname', '').rpartition('.')[2]}::{test.get('name')}": test[0].tag if len(test) else "passed"
        for test in tests
    }
    return Layer(returncode, outcomes, (folder / "report.txt").read_text())
