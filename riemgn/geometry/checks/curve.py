"""Checks of retractions and geodesics."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from .laws import geodesic_laws, Probe, relative, shorten, start_laws, tangent_velocity
from .manifold import float64, Point, Tangent
from .slope import Check, SlopeLaw, step_grid, ValueLaw

TIMES = (0.25, 0.6)  # times on a curve at which its velocity and acceleration are measured


def check_retraction(
    manifold: Any,
    point: Point,
    retract: Callable[[Point, Tangent], Point] | None = None,
    *,
    order: int = 1,
    **options: Any,
) -> Check:
    """Check that a retraction starts with velocity u, stays on the manifold, and has an order.

        R(0) = x,    |R(t u) - x - t u| = O(t^2),    |R(t u) - exp(t u)| = O(t^(order + 1))
        order 2:     |P (R(t u) - x - t u)| = O(t^3)    (in coordinates plus the Christoffel term)

    Arguments: as in `check_gradient`, and

    - `retract`: the retraction. Defaults to that of the manifold.
    - `order`: the order to check, 1 or 2. A retraction of higher order passes too.

    Returns: a `Check` whose first slope decides the order.

    Raises: `ValueError` for another order, and as in `check_gradient`.

    >>> import riemgn as rg
    >>> from riemgn.geometry import check_retraction
    >>> M = rg.OutputManifold(rg.task.sphere())
    >>> chart = lambda w, u: M.retract(w, u, retraction="chart")
    >>> check_retraction(M, M.problem.params, chart, order=2).passed
    False

    Reference: Absil, Mahony, Sepulchre, Optimization Algorithms on Matrix Manifolds (2008), section
    4.1; Boumal, An Introduction to Optimization on Smooth Manifolds (2023), section 5.10.
    """
    if order not in (1, 2):
        raise ValueError(f"`order` must be 1 or 2, got {order!r}.")
    probe = Probe.make(manifold, point, **options)
    functions, x = probe.manifold, probe.x
    move = functions.retract if retract is None else retract
    curve, exp = probe.curve(move), probe.exp()
    probe = probe.rounded_as(functions.embed(move(point, probe.u)))
    start, second = start_laws(probe, curve)
    laws: list[SlopeLaw | ValueLaw] = []
    notes: list[str] = []
    if exp is None:
        notes.append("not compared with the exponential map: the manifold has none")
    else:

        def gap(t):
            y, z = functions.array(curve(t)), functions.array(exp(point, t * probe.u))
            return np.linalg.norm(y - z), np.linalg.norm(y) + np.linalg.norm(x), t * np.linalg.norm(probe.u)

        laws.append(probe.slope("distance to the geodesic", gap, order + 1))
    if order == 2 and second is None:
        notes.append("tangential acceleration not measured: no `to_tangent` and no `christoffels`")
    laws += [start] if order == 1 or second is None else [second, start]
    bound = float(np.sqrt(probe.eps)) + probe.noise
    laws.append(ValueLaw("starts at the point", relative(functions.array(curve(0.0)) - x, x), bound))
    if not functions.in_coordinates:
        steps = probe.steps[probe.steps <= TIMES[0]]  # so that central differences stay on the curve
        if steps.size < 4 or steps[-1] < 10 * steps[0]:
            steps = step_grid(1e-8, TIMES[0])
        laws.append(tangent_velocity(probe, curve, TIMES[0], steps))
    return Check(f"check_retraction (order {order})", tuple(laws), tuple(notes))


def check_geodesic(manifold: Any, point: Point, curve: Callable[[float], Point] | None = None, **options: Any) -> Check:
    """Check that a curve on [0, 1] is the geodesic that leaves `point` with velocity `direction`.

        |P (c(s+h) - 2 c(s) + c(s-h))| = O(h^4)    no tangential acceleration, else O(h^2)
        |c(s+h) - c(s-h)| - 2 h |u| = O(h^3)       speed |u|, else O(h)
        c(0) = x,    c(s) = exp(s u)               if there is an exponential map

    Arguments: as in `check_gradient`, and

    - `curve`: function from [0, 1] to points. Defaults to `exp(point, t direction)`.
    - `steps`: h, increasing, at most 0.25. Defaults to 1e-5 to 0.2.

    Returns: a `Check`.

    Raises: `ValueError` if a curve and an exponential map are both missing, or a projection and
    Christoffel symbols.

    >>> import riemgn as rg
    >>> from riemgn.geometry import check_geodesic
    >>> M = rg.OutputManifold(rg.task.circle())
    >>> check_geodesic(M, M.problem.params).passed
    True
    """
    if options.get("steps") is None:
        options["steps"] = step_grid(1e-5, 0.2)
    probe = Probe.make(manifold, point, **options)
    functions, exp, given = probe.manifold, probe.exp(), curve is not None
    if options.get("direction") is None and exp is not None:
        probe = replace(probe, u=shorten(functions, point, probe.u, exp))
    if curve is None and exp is None:
        raise ValueError("`check_geodesic` needs a `curve`, or a manifold with an exponential map.")
    if not functions.has_connection:
        raise ValueError("`check_geodesic` needs a manifold with `to_tangent` or `christoffels`.")
    if probe.steps[-1] > TIMES[0]:
        raise ValueError(f"`steps` must not exceed {TIMES[0]} (a quarter of the curve), got {probe.steps[-1]:g}.")
    curve = probe.curve(exp) if curve is None else curve
    probe = probe.rounded_as(functions.embed(curve(0.5)))
    speed, x = functions.norm(point, probe.u), probe.x
    first, second = (geodesic_laws(probe, curve, s, speed) for s in TIMES)
    laws: list[SlopeLaw | ValueLaw] = [first[0], second[0], first[1], second[1]]
    bound = max(1e-6, float(np.sqrt(probe.eps)))  # solvers have errors near 1e-8
    laws.append(ValueLaw("starts at the point", relative(functions.array(curve(0.0)) - x, x), bound))
    for s in (TIMES[0], 1.0) if given and exp is not None else ():
        gap = functions.array(curve(s)) - functions.array(exp(point, s * probe.u))
        laws.append(ValueLaw(f"is exp(s u) at s = {s:g}", relative(gap, s * float64(probe.u)), bound))
    return Check("check_geodesic", tuple(laws))
