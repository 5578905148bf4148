"""Short representations of methods, flows, schedules and penalties: the call that creates them."""

import inspect
from typing import Any

import equinox as eqx
import jax
import numpy as np

from ._validation import is_traced

LONGEST = 80  # characters of one setting; longer texts are cut, so that a repr fits in three lines
_MISSING = object()


def short_repr(module: Any, **shown: Any) -> str:
    """Return the call that creates `module`, with the settings that differ from their defaults.

    Each argument of the constructor is read from the attribute of the same name.

    Arguments:

    - `module`: an object whose class has an `__init__` with named arguments.
    - `shown`: values for the arguments that are stored under another name or in another form.

    >>> import riemgn as rg
    >>> rg.LevenbergMarquardt(0.1)
    LevenbergMarquardt(damping=0.1)
    """
    settings = []
    for name, parameter in list(inspect.signature(type(module).__init__).parameters.items())[1:]:
        value = shown.get(name, getattr(module, name, _MISSING))
        if value is not _MISSING and (text := setting_text(value)) != setting_text(parameter.default):
            settings.append(f"{name}={text}")
    return f"{type(module).__name__}({', '.join(settings)})"


def setting_text(value: Any) -> str:
    """Return one setting as text: six digits of a number, type and shape of an array."""
    if is_traced(value) or (isinstance(value, jax.Array | np.ndarray) and value.ndim > 0):
        return eqx.tree_pformat(value)
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        value = value.item()
    if isinstance(value, float):
        return f"{value:g}"
    if callable(value) and not isinstance(value, eqx.Module):
        return getattr(value, "__name__", repr(value))
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
