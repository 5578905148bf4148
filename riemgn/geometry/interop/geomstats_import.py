"""The import of geomstats: late, and without changing anything else in the process."""

import contextlib
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType

import numpy as np

BACKENDS = ("numpy", "autograd")


def load(name: str = "geomstats") -> ModuleType:
    """Import geomstats, or one of its modules, and leave numpy and the root logger as they were.

    geomstats 2.8.0 imports `numpy.trapz`, which numpy 2.4 no longer has. It also changes the level
    and the handlers of the root logger.

    Arguments:

    - `name`: dotted name, `geomstats` or `geomstats.<module>`.

    Returns: the module.

    Raises: `ValueError` for a backend whose arrays JAX cannot read (pytorch).

    >>> from riemgn.geometry.interop.geomstats_import import load
    >>> load("geomstats.geometry.hypersphere").Hypersphere(2).dim
    2
    """
    running = sys.modules.get("geomstats.backend")
    backend = os.environ.get("GEOMSTATS_BACKEND", "numpy") if running is None else running.__name__.rpartition(".")[2]
    if backend not in BACKENDS:
        raise ValueError(
            f"GEOMSTATS_BACKEND is {backend!r}, but riemgn needs one of {', '.join(BACKENDS)}: set it before geomstats "
            "is first imported."
        )
    if name in sys.modules:
        return sys.modules[name]
    with _restored_numpy_and_logger(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # geomstats' import hook still has load_module
        warnings.simplefilter("ignore", DeprecationWarning)
        return importlib.import_module(name)


@contextlib.contextmanager
def _restored_numpy_and_logger() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers, without_trapz = root.level, list(root.handlers), getattr(np, "trapz", None) is None
    if without_trapz:
        setattr(np, "trapz", np.trapezoid)  # noqa: B010 (the stubs have no such name)
    try:
        yield
    finally:
        if without_trapz:
            delattr(np, "trapz")
        root.setLevel(level)
        root.handlers[:] = handlers
