"""The one door to geomstats: it is imported late, and the import changes nothing else in the process."""

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
GONE = "trapz"  # from numpy 2.4 on


def load(name: str = "geomstats") -> ModuleType:
    """Import geomstats, or one of its modules, and leave numpy and the root logger as they were.

    geomstats 2.8.0 asks for `numpy.trapz`, which numpy 2.4 no longer has: the name stands for `numpy.trapezoid` while the import runs and is taken
    away again. The import also sets the root logger to INFO and gives it a handler: level and handlers are put back.

    Arguments:

    - `name`: dotted name, `geomstats` or `geomstats.<module>`.

    Returns: the module.

    Raises: `ValueError` under a backend whose arrays JAX cannot read (pytorch).

    >>> from riemgn.geometry.interop.geomstats_import import load
    >>> load("geomstats.geometry.hypersphere").Hypersphere(2).dim
    2
    """
    check_backend()
    if name in sys.modules:
        return sys.modules[name]
    with _numpy_with_trapz(), _root_logger_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # geomstats' import hook still has load_module
        warnings.simplefilter("ignore", DeprecationWarning)
        return importlib.import_module(name)


def check_backend() -> None:
    """Raise `ValueError` unless geomstats runs, or would run, on plain numpy arrays."""
    running = sys.modules.get("geomstats.backend")
    backend = os.environ.get("GEOMSTATS_BACKEND", "numpy") if running is None else running.__name__.rpartition(".")[2]
    if backend not in BACKENDS:
        raise ValueError(
            f"riemgn speaks to geomstats in numpy arrays, so GEOMSTATS_BACKEND must be one of {', '.join(BACKENDS)} before geomstats is "
            f"first imported, got {backend!r}."
        )


@contextlib.contextmanager
def _numpy_with_trapz() -> Iterator[None]:
    if getattr(np, GONE, None) is not None:
        yield
        return
    setattr(np, GONE, np.trapezoid)
    try:
        yield
    finally:
        delattr(np, GONE)


@contextlib.contextmanager
def _root_logger_kept() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
