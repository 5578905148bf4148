"""The direction a check looks along: given, or random and short enough for the curve along it to be nearly straight."""

from collections.abc import Callable
from typing import Any

import jax.random as jr
import numpy as np

from ..._types import Key
from .curves import array, length, tangential
from .manifold_view import ManifoldView, Point, Tangent

HALVINGS = 30  # how often a random direction may be halved
BEND = 0.5  # a random direction is halved until the curve along it bends by less than this part of its length


def chosen_direction(view: ManifoldView, point: Point, direction: Tangent | None, key: Key) -> Tangent:
    """The direction given, or a random tangent vector of length 1, shorter where the manifold bends more.

    Raises: `ValueError` for a direction of another shape, a zero or infinite one, or none where none can be drawn.
    """
    x = np.asarray(view.embed(point))
    if direction is not None:
        direction = np.asarray(direction) if isinstance(direction, list | tuple) else direction
        size = float(np.linalg.norm(np.asarray(direction)))
        if np.shape(np.asarray(direction)) != x.shape:
            raise ValueError(
                f"`direction` must have the shape of the embedded point, {x.shape}, got {np.shape(np.asarray(direction))}."
            )
        if not 0 < size < np.inf:
            raise ValueError(
                f"`direction` must be finite and not zero, got {np.array2string(np.asarray(direction), threshold=6)}."
            )
        return direction
    if view.to_tangent is None and view.christoffels is None:
        raise ValueError(
            "Give a `direction`: without `to_tangent` or `christoffels` no random tangent vector can be drawn."
        )
    u = tangential(view, point, np.asarray(jr.normal(key, x.shape)))
    return shortened(view, point, u / length(view, point, u), view.retract)


def shortened(view: ManifoldView, point: Point, u: Tangent, move: Callable[[Point, Tangent], Point]) -> Tangent:
    """The vector, halved until the curve `move(point, t u)` bends away from its tangent by less than half its length, up to t = 1."""
    x = array(view.embed(point))
    for _ in range(HALVINGS):
        try:
            gap = np.linalg.norm(array(view.embed(move(point, u))) - x - array(u))
            if gap <= BEND * np.linalg.norm(u):
                return u
        except (RuntimeError, ArithmeticError, np.linalg.LinAlgError):  # too far: a solver does not arrive there
            pass
        u = u / 2
    return u


def working(function: Callable | None, *args: Any) -> Callable | None:
    """The function, or None where it is missing or says it is not implemented (as pymanopt's and geomstats' do)."""
    try:
        return None if function is None or function(*args) is None else function
    except NotImplementedError:
        return None
