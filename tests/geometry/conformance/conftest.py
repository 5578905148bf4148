"""Marks and a seed for geomstats' generated tests."""

import zlib

import numpy as np
import pytest


def pytest_configure(config):
    for mark in ("random", "shape", "vec", "ignore", "type", "mathprop", "validation"):
        config.addinivalue_line("markers", f"{mark}: set by geomstats.test_cases")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Leave out tests without data, which geomstats marks `ignore`."""
    items[:] = [item for item in items if not any(mark.name == "ignore" for mark in getattr(item, "own_markers", ()))]


@pytest.fixture(autouse=True)
def seeded(request):
    """Seed numpy's global generator, which geomstats uses."""
    np.random.seed(zlib.crc32(request.node.name.encode()))  # noqa: NPY002
