"""The six checks. Each is a list of laws, and of notes (text) on what cannot be measured."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax.random as jr
import numpy as np
from numpy.linalg import norm

from ..._types import Key
from . import laws
from .laws import Curve, default_key, Probe, TRIAL
from .manifold import float64, implemented, manifold_functions, number, own_objective, Point
from .slope import Check, SlopeLaw, step_grid, ValueLaw

Function = Callable[..., Any] | None  # None: that of the manifold
TIMES = (0.25, 0.6)  # times on a curve at which its velocity and acceleration are measured
MISSING = "no `to_tangent` and no `christoffels`"
NO_EXP = "not compared with the exponential map: the manifold has none"
NO_DISTANCE = "length not compared with a distance: the manifold has none"
NO_ACCELERATION = f"tangential acceleration not measured: {MISSING}"
NO_COMPATIBILITY = f"compatibility with the connection not measured: {MISSING}"
NO_ORDER = f"not measured whether the retraction is of second order: {MISSING}"
FIRST_ORDER = "the retraction is of first order ({:.2f}) and there is no exponential map: use a critical point"
LOW_CONTRAST = (
    "the tested term is at most {:.1g} times the remainder, which could hide a mistake: try another direction"
)
MAX_TRACE = 512  # the trace of a projector is computed column by column up to this ambient dimension


def check_gradient(manifold: Any, point: Point, cost: Function = None, grad: Function = None, **options: Any) -> Check:
    """Check that `grad` is the Riemannian gradient of `cost`.

        |cost(R(t u)) - cost(x) - t <grad, u>| = O(t^2),    |grad - P grad| = 0

    Arguments:

    - `manifold`, `point`: anything that `manifold_functions` takes, and a point in its own form
        (parameters for an `OutputManifold`).
    - `cost`, `grad`: functions of a point. Default to those of the manifold.
    - `direction`: tangent vector u. Defaults to a random one of length 1, which is halved until its
        curve bends by less than half its length.
    - `key`: random key of the direction. Defaults to key 0.
    - `steps`: multiples t of the direction, increasing (s,). Defaults to 1e-8 to 1, ten a decade.
    - `noise`: absolute error of `cost` beyond rounding, such as a solver's error. Defaults to 0.
    - `tolerance`: how far a measured order may be below the expected one. Defaults to 0.1.

    Returns: a `Check`. `check.passed` is the verdict and `print(check)` shows every law. Raises
    `ValueError` for an unknown manifold, a bad direction, bad steps or a missing function.

    >>> import riemgn as rg
    >>> from riemgn.geometry import check_gradient
    >>> M = rg.OutputManifold(rg.task.sphere())
    >>> check_gradient(M, M.problem.params)
    Check('check_gradient', passed=True, laws=2, notes=0)

    Reference: Boumal, An Introduction to Optimization on Smooth Manifolds (2023), section 4.8.
    """
    f, grad_f = _objective(manifold, cost=cost, grad=grad)
    probe = Probe.make(manifold, point, **options)
    value, gradient = f(point), grad_f(point)
    probe = probe.rounded_as(value)
    model = _taylor_model(probe, f, probe.curve(probe.manifold.retract), value, gradient)
    return _check("check_gradient", *model, laws.tangency(probe, "gradient is tangent", gradient))


def check_hessian(
    manifold: Any, point: Point, cost: Function = None, grad: Function = None, hessp: Function = None, **options: Any
) -> Check:
    """Check that `hessp` is the Riemannian Hessian of `cost`: tangent, linear and symmetric.

        |cost(c(t)) - cost(x) - t <grad, u> - t^2/2 <Hess u, u>| = O(t^3)

    The curve c must have no tangential acceleration at x. If the retraction is of first order, the
    check uses the exponential map instead. Without one, the law fails unless `grad` is zero.

    Arguments and errors: as in `check_gradient`. `hessp(point, u)` applies the Hessian to u.

    Reference: Boumal, An Introduction to Optimization on Smooth Manifolds (2023), section 6.8.
    """
    f, grad_f, hess_f = _objective(manifold, cost=cost, grad=grad, hessp=hessp)
    probe = Probe.make(manifold, point, **options)
    value, gradient, applied = f(point), grad_f(point), hess_f(point, probe.u)
    probe = probe.rounded_as(value)
    curve, note = _second_order_curve(probe)
    model = _taylor_model(probe, f, curve, value, gradient, applied)
    tangent = laws.tangency(probe, "Hessian is tangent", applied)
    return _check("check_hessian", *model, note, tangent, *_self_adjoint(probe, hess_f, applied, options.get("key")))


def check_retraction(manifold: Any, point: Point, retract: Function = None, *, order: int = 1, **options: Any) -> Check:
    """Check that a retraction starts with velocity u, stays on the manifold, and has an order.

        R(0) = x,    |R(t u) - x - t u| = O(t^2),    |R(t u) - exp(t u)| = O(t^(order + 1))
        order 2:     |P (R(t u) - x - t u)| = O(t^3)    (in coordinates plus the Christoffel term)

    Arguments and errors: as in `check_gradient`. `retract` defaults to that of the manifold. A
    retraction of an order above `order` passes too. Raises `ValueError` unless `order` is 1 or 2.

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

    def gap(t):
        y, z = functions.array(curve(t)), functions.array(exp(point, t * probe.u))
        return norm(y - z), norm(y) + norm(x), t * norm(probe.u)

    steps = probe.steps[probe.steps <= TIMES[0]]  # so that central differences stay on the curve
    if steps.size < 4 or steps[-1] < 10 * steps[0]:
        steps = step_grid(1e-8, TIMES[0])
    inside = replace(probe, steps=steps)
    return _check(
        f"check_retraction (order {order})",
        NO_EXP if exp is None else probe.slope("distance to the geodesic", gap, order + 1),
        laws.start_acceleration(probe, curve) or NO_ACCELERATION if order == 2 else None,
        laws.start_velocity(probe, curve),
        probe.equal("starts at the point", functions.array(curve(0.0)) - x, x, probe.bound + probe.noise),
        None if functions.in_coordinates else laws.central_law(inside, "velocity", curve, TIMES[0]),
    )


def check_geodesic(manifold: Any, point: Point, curve: Function = None, **options: Any) -> Check:
    """Check that a curve on [0, 1] is the geodesic that leaves `point` with velocity `direction`.

        |P (c(s+h) - 2 c(s) + c(s-h))| = O(h^4)    no tangential acceleration, else O(h^2)
        |c(s+h) - c(s-h)| - 2 h |u| = O(h^3)       speed |u|, else O(h)
        c(0) = x,    c(s) = exp(s u)               if there is an exponential map

    Arguments and errors: as in `check_gradient`. `curve` defaults to `exp(point, t direction)`, and
    `steps` to h from 1e-5 to 0.2. They may not exceed 0.25. Raises `ValueError` if a curve and an
    exponential map are both missing, or a projection and Christoffel symbols.
    """
    if options.get("steps") is None:
        options["steps"] = step_grid(1e-5, 0.2)
    probe = Probe.make(manifold, point, **options)
    functions, exp, given = probe.manifold, probe.exp(), curve is not None
    if options.get("direction") is None and exp is not None:
        probe = replace(probe, u=laws.shorten(functions, point, probe.u, exp))
    if curve is None and exp is None:
        raise ValueError("`check_geodesic` needs a `curve`, or a manifold with an exponential map.")
    if not functions.has_connection:
        raise ValueError("`check_geodesic` needs a manifold with `to_tangent` or `christoffels`.")
    if probe.steps[-1] > TIMES[0]:
        raise ValueError(f"`steps` must not exceed {TIMES[0]} (a quarter of the curve), got {probe.steps[-1]:g}.")
    curve = probe.curve(exp) if curve is None else curve
    probe = probe.rounded_as(functions.embed(curve(0.5)))
    speed, bound = functions.norm(point, probe.u), max(1e-6, probe.bound)  # solvers have errors near 1e-8
    inner = [laws.central_law(probe, kind, curve, s, speed) for kind in ("acceleration", "speed") for s in TIMES]
    inner.append(probe.equal("starts at the point", functions.array(curve(0.0)) - probe.x, probe.x, bound))
    for s in (TIMES[0], 1.0) if given and exp is not None else ():
        gap = functions.array(curve(s)) - functions.array(exp(point, s * probe.u))
        inner.append(probe.equal(f"is exp(s u) at s = {s:g}", gap, s * float64(probe.u), bound))
    return _check("check_geodesic", *inner)


def check_projection(
    manifold: Any, point: Point, to_tangent: Function = None, *, dim: int | None = None, key: Key | None = None
) -> Check:
    """Check that `to_tangent` is the orthogonal projector onto the tangent space.

        P P a = P a,    P (a + s b) = P a + s P b,    <P a, b> = <a, P b>,    trace P = dim
        |(I - P)(R(t P a) - x)| = O(t^2)

    Arguments: as in `check_gradient`. `to_tangent` and `dim` default to those of the manifold.
    `key` is that of the random vectors a and b. Raises `ValueError` if there is no projector.
    """
    functions = manifold_functions(manifold)
    project = functions.to_tangent if to_tangent is None else to_tangent
    if project is None:
        raise ValueError("`check_projection` needs `to_tangent`: this manifold has none, so pass one.")
    x = functions.array(point)
    a, b = (np.asarray(jr.normal(k, x.shape)) for k in jr.split(default_key(key)))

    def p(vector):
        return float64(project(point, vector))

    pa, pb = p(a), p(b)
    probe = Probe(functions, point, pa, step_grid()).rounded_as(project(point, x))
    asymmetry = abs(number(functions.inner(point, pa, b)) - number(functions.inner(point, a, pb)))
    asymmetry /= functions.norm(point, a) * functions.norm(point, b)

    def normal(t):
        step = functions.array(functions.retract(point, t * pa)) - x
        return norm(step - p(step)), norm(x), t * norm(pa)

    dim = getattr(manifold, "dim", None) if dim is None else dim
    if dim is None or x.size > MAX_TRACE:
        reason = "no `dim` is known" if dim is None else f"more than {MAX_TRACE} ambient numbers"
        trace: ValueLaw | str = f"trace not compared: {reason}"
    else:
        total = float(sum(np.vdot(e, p(e)) for e in np.eye(x.size).reshape(x.size, *x.shape)))
        trace = ValueLaw(f"trace is the dimension {dim}", abs(total - dim), probe.bound * x.size)
    return _check(
        "check_projection",
        probe.slope("range holds the velocities of curves", normal, 2),
        probe.equal("idempotent", p(pa) - pa, a),
        probe.equal("linear", p(a - 2 * b) - (pa - 2 * pb), a),
        ValueLaw("symmetric", asymmetry, probe.bound),
        trace,
    )


def check_metric(manifold: Any, point: Point, *, key: Key | None = None, **options: Any) -> Check:
    """Check that `inner` is a metric that its connection preserves and its distance measures.

        <a, b> = <b, a>,    Gram matrix positive definite,    dist(x, R(t u)) = t |u| + O(t^2)
        <X, Y>(c(t)) - <X, Y>(x) - t (<D_u X, Y> + <X, D_u Y>) = O(t^2),    c(t) = R(t u)

    On a submanifold X = P a and Y = P b with constant a, b, and D_u is the tangential part of the
    derivative. In coordinates X and Y are constant, D_u X = Gamma(u, X), and the symbols must
    satisfy `Gamma^k_ij = Gamma^k_ji`. Arguments and errors: as in `check_gradient`.

    >>> import riemgn as rg
    >>> from riemgn.geometry import chart_functions, check_metric
    >>> M = rg.OutputManifold(rg.task.circle())
    >>> check_metric(chart_functions(M), M.problem.w0).passed
    True

    Reference: Boumal, An Introduction to Optimization on Smooth Manifolds (2023), section 5.4.
    """
    keys = jr.split(default_key(key), 3)
    probe = Probe.make(manifold, point, keys[0], **options)
    functions, u = probe.manifold, probe.u
    probe = probe.rounded_as(functions.inner(point, u, u))
    a, b = (np.asarray(jr.normal(k, probe.x.shape)) for k in keys[1:])
    connected, torsion = functions.has_connection, None
    vectors = [functions.tangent_part(point, v) for v in (u, a, b)] if connected else [u]
    gram = _gram_matrix(probe, vectors)
    values = np.linalg.eigvalsh((gram + gram.T) / 2)
    condition = values[-1] / values[0] if values[0] > 0 else np.inf
    if functions.christoffels is not None:
        symbols = np.asarray(functions.christoffels(point))
        torsion = probe.equal("free of torsion", symbols - symbols.swapaxes(-1, -2), symbols)
    dist = implemented(functions.dist, point, functions.retract(point, TRIAL * u))
    speed = functions.norm(point, u)

    def excess(t):
        return number(dist(point, functions.retract(point, t * u))) - t * speed, t * speed, t * speed

    # few and large steps, because each distance may need an iteration
    steps = step_grid(1e-3, 1.0)[::2] if options.get("steps") is None else probe.steps
    return _check(
        "check_metric",
        laws.metric_compatibility(probe, a, b) if connected else NO_COMPATIBILITY,
        probe.equal("symmetric", gram - gram.T, gram),
        ValueLaw("positive definite (condition number)", condition, 0.01 / probe.eps),
        torsion,
        NO_DISTANCE if dist is None else probe.slope("distance is length", excess, 2, steps),
    )


def _check(name: str, *results: SlopeLaw | ValueLaw | str | None) -> Check:
    """Sort laws and notes, and leave out None."""
    found = tuple(result for result in results if isinstance(result, SlopeLaw | ValueLaw))
    return Check(name, found, tuple(result for result in results if isinstance(result, str)))


def _objective(manifold, **functions):
    """Return the functions, or the manifold's own where they are None."""
    own = dict(zip(("cost", "grad", "hessp"), own_objective(manifold), strict=True))
    functions = {name: own[name] if function is None else function for name, function in functions.items()}
    missing = [f"`{name}`" for name, function in functions.items() if function is None]
    if missing:
        raise ValueError(f"Pass {' and '.join(missing)}: a {type(manifold).__name__} has no objective of its own.")
    return functions.values()


def _taylor_model(probe: Probe, f: Any, curve: Curve, value: Any, gradient: Any, applied: Any = None):
    """Measure `f(c(t))` minus its Taylor polynomial. Note a remainder that could hide a mistake."""
    manifold, point, value = probe.manifold, probe.point, number(value)
    slope = number(manifold.inner(point, gradient, probe.u))
    second = 0.0 if applied is None else number(manifold.inner(point, applied, probe.u))
    size = float(norm(probe.x)) * manifold.norm(point, gradient)

    def remainder(t):
        there, linear, quadratic = number(f(curve(t))), t * slope, 0.5 * t**2 * second
        size_t = abs(there) + abs(value) + abs(linear) + 2 * abs(quadratic) + size
        return there - value - linear - quadratic, size_t, linear if applied is None else quadratic

    name, term = ("linear", slope) if applied is None else ("quadratic", second)
    law = probe.slope(f"{name} model of the cost", remainder, 2 if applied is None else 3)
    return law, None if term == 0 or law.contrast >= 10 else LOW_CONTRAST.format(law.contrast)


def _second_order_curve(probe: Probe) -> tuple[Curve, str | None]:
    """Return a curve without tangential acceleration if there is one, or a note."""
    curve = probe.curve(probe.manifold.retract)
    law = laws.start_acceleration(replace(probe, noise=0.0, tolerance=0.1), curve)
    if law is not None and law.passed:
        return curve, None
    exp = probe.exp()
    if exp is not None:
        return probe.curve(exp), None
    return curve, NO_ORDER if law is None else FIRST_ORDER.format(law.order)


def _self_adjoint(probe, hessp, applied, key):
    """Return the laws that the Hessian is symmetric and linear, for a second tangent vector."""
    manifold, point, u = probe.manifold, probe.point, probe.u
    if not manifold.has_connection:
        return ()
    v = laws.choose_direction(manifold, point, None, jr.fold_in(default_key(key), 1))
    applied, applied_v, both = (float64(w) for w in (applied, hessp(point, v), hessp(point, float64(u) - 2 * v)))
    scale = manifold.norm(point, applied) * manifold.norm(point, v)
    scale += manifold.norm(point, u) * manifold.norm(point, applied_v)
    asymmetry = abs(number(manifold.inner(point, applied, v)) - number(manifold.inner(point, u, applied_v)))
    return (
        ValueLaw("Hessian is symmetric", asymmetry / (scale or 1.0), probe.bound),
        probe.equal("Hessian is linear", both - (applied - 2 * applied_v), np.concatenate([applied, applied_v])),
    )


def _gram_matrix(probe, vectors):
    """Compute inner products of an (ambient) orthonormal basis of the span of the vectors."""
    _, sizes, rows = np.linalg.svd(np.stack([float64(v).ravel() for v in vectors]), full_matrices=False)
    basis = [row.reshape(np.shape(vectors[0])) for row in rows[sizes > 1e-6 * sizes[0]]]
    return np.array([[number(probe.manifold.inner(probe.point, v, w)) for w in basis] for v in basis])
