"""Checks of gradients, Hessians, retractions, projections, metrics and geodesics, on any manifold: slopes of errors, each with a verdict.

Every check takes whatever `manifold_view` takes. A law is one line of the report. A wrong factor, a missing projection, a missing curvature
term change the slope; no tolerance has to be guessed.
"""

from collections.abc import Callable
from typing import Any

import jax.random as jr
import numpy as np

from ..._types import Key
from .curves import (
    acceleration_law,
    array,
    compatibility_law,
    length,
    number,
    on_submanifold,
    relative,
    rounding_unit,
    second_order_law,
    speed_law,
    start_law,
    tangential,
    velocity_law,
)
from .direction import chosen_direction, shortened, working
from .manifold_view import manifold_view, own_objective, Point, Tangent
from .slope import Check, checked_steps, measure_slope, SlopeLaw, step_grid, ValueLaw

MAX_TRACE = 512  # ambient numbers up to which the trace of a projector is summed column by column
TRIAL = 1e-3  # step on which a callable shows whether it is implemented
SEEN = 10.0  # a term under test is seen where it is this many times the remainder
BASE_TIMES = (0.25, 0.6)  # where along a curve its velocity and acceleration are looked at, in units of its length


def check_gradient(
    manifold: Any,
    point: Point,
    cost: Callable[[Point], Any] | None = None,
    grad: Callable[[Point], Tangent] | None = None,
    *,
    direction: Tangent | None = None,
    key: Key | None = None,
    steps: Any = None,
    noise: float = 0.0,
    tolerance: float = 0.1,
) -> Check:
    """Whether `grad` is the Riemannian gradient of `cost`: the linear model errs at order 2, and the gradient is tangent.

        |cost(R(t u)) - cost(x) - t <grad, u>| = O(t^2),    |grad - P grad| = 0

    Arguments:
    - `manifold`: whatever `manifold_view` takes.
    - `point`: where, in the manifold's own form (for an `OutputManifold`: parameters).
    - `cost`, `grad`: functions of a point; default: those of an `OutputManifold` or of a pymanopt problem.
    - `direction`: tangent vector; default: a random one drawn with `key` (default key 0), of length 1 or as much shorter as it takes for
      the curve along it to bend by less than half its length.
    - `steps`: multiples of the direction, increasing (s,); default 1e-8 to 1, ten a decade.
    - `noise`: absolute error of `cost` beyond rounding; `tolerance`: how far the order may lie below 2.

    Returns: a `Check`; `check.passed`, `check.order`, `check.complaints`, `str(check)`.

    Raises: `ValueError` for a manifold it does not know, or where neither a direction nor a projection is given.

    >>> import jax, riemgn as rg
    >>> from riemgn.geometry import check_gradient
    >>> M = rg.OutputManifold(rg.task.sphere())
    >>> check_gradient(M, M.problem.params, key=jax.random.key(0)).passed
    True

    Reference: Boumal, An Introduction to Optimization on Smooth Manifolds (2023), section 4.8.
    """
    view, (f, grad_f, _) = manifold_view(manifold), _objective(manifold, cost, grad, None)
    key = jr.key(0) if key is None else key
    u = chosen_direction(view, point, direction, key)
    value, gradient = number(f(point)), grad_f(point)
    slope = number(view.inner(point, gradient, u))
    eps, size = rounding_unit(view.embed(point), f(point)), _size(view, point) * length(view, point, gradient)

    def remainder(t):
        there = number(f(view.retract(point, t * u)))
        return there - value - t * slope, abs(there) + abs(value) + abs(t * slope) + size, t * slope

    law = measure_slope(
        "linear model of the cost", remainder, 2, _steps(steps), eps=eps, noise=noise, tolerance=tolerance
    )
    tangent, notes = _tangency(view, point, "gradient is tangent", gradient, eps)
    return Check("check_gradient", (law, *tangent), (*_hidden(law, slope), *notes))


def check_hessian(
    manifold: Any,
    point: Point,
    cost: Callable[[Point], Any] | None = None,
    grad: Callable[[Point], Tangent] | None = None,
    hessp: Callable[[Point, Tangent], Tangent] | None = None,
    *,
    direction: Tangent | None = None,
    key: Key | None = None,
    steps: Any = None,
    noise: float = 0.0,
    tolerance: float = 0.1,
) -> Check:
    """Whether `hessp` is the Riemannian Hessian of `cost`: the quadratic model errs at order 3; and it is tangent, linear, symmetric.

        |cost(c(t)) - cost(x) - t <grad, u> - t^2/2 <Hess u, u>| = O(t^3)

    The curve c must have no tangential acceleration at x (a geodesic, or a second-order retraction): along any other curve the law is
    false wherever `grad` is not zero, whatever the Hessian. The retraction is measured first; where it is of first order, the
    exponential map replaces it, and without one the report says so.

    Arguments: as in `check_gradient`; `hessp(point, u)` gives the Hessian applied to a tangent vector.

    Returns: a `Check`.

    Raises: as in `check_gradient`.

    Reference: Boumal (2023), section 6.8.
    """
    view, (f, grad_f, hess_f) = manifold_view(manifold), _objective(manifold, cost, grad, hessp, second=True)
    key = jr.key(0) if key is None else key
    u = chosen_direction(view, point, direction, key)
    steps = _steps(steps)
    value, gradient, bent = number(f(point)), grad_f(point), hess_f(point, u)
    slope, second = number(view.inner(point, gradient, u)), number(view.inner(point, bent, u))
    eps, size = rounding_unit(view.embed(point), f(point)), _size(view, point) * length(view, point, gradient)
    curve, notes = _second_order_curve(view, point, u, steps, eps)

    def remainder(t):
        there, model = number(f(curve(t))), value + t * slope + 0.5 * t**2 * second
        return there - model, abs(there) + abs(value) + abs(t * slope) + abs(t**2 * second) + size, 0.5 * t**2 * second

    law = measure_slope("quadratic model of the cost", remainder, 3, steps, eps=eps, noise=noise, tolerance=tolerance)
    tangent, tangent_notes = _tangency(view, point, "Hessian is tangent", bent, eps)
    laws = (law, *tangent, *_symmetric_and_linear(view, point, hess_f, u, bent, key, eps))
    return Check("check_hessian", laws, (*_hidden(law, second), *notes, *tangent_notes))


def check_retraction(
    manifold: Any,
    point: Point,
    retract: Callable[[Point, Tangent], Point] | None = None,
    *,
    order: int = 1,
    direction: Tangent | None = None,
    key: Key | None = None,
    steps: Any = None,
    noise: float = 0.0,
    tolerance: float = 0.1,
) -> Check:
    """Whether a retraction has the claimed order: it starts at x along u, stays on the manifold, and follows the geodesic.

        R(0) = x,    |R(t u) - x - t u| = O(t^2),    |R(t u) - exp(t u)| = O(t^(order + 1))
        order 2:     |P (R(t u) - x - t u)| = O(t^3),    that is no tangential acceleration (in coordinates: plus Christoffel symbols)

    Arguments: as in `check_gradient`, and
    - `retract`: the retraction; default: the one of the view.
    - `order`: what is claimed, 1 or 2; a retraction that does better passes too, and the report shows the measured order.

    Returns: a `Check`; the first slope is the one that decides the claimed order.

    Raises: `ValueError` for another order; and as in `check_gradient`.

    >>> import riemgn as rg
    >>> from riemgn.geometry import check_retraction
    >>> M = rg.OutputManifold(rg.task.sphere())
    >>> chart = lambda w, u: M.retract(w, u, retraction="chart")
    >>> check_retraction(M, M.problem.params, chart, order=2).passed
    False

    Reference: Absil, Mahony, Sepulchre (2008), section 4.1; Boumal (2023), section 5.10; theory.md section 2.
    """
    if order not in (1, 2):
        raise ValueError(f"`order` must be 1 or 2, got {order!r}.")
    view = manifold_view(manifold)
    retract = view.retract if retract is None else retract
    u = chosen_direction(view, point, direction, jr.key(0) if key is None else key)
    steps, x = _steps(steps), array(view.embed(point))
    eps = rounding_unit(view.embed(point), view.embed(retract(point, u)))
    options = {"eps": eps, "noise": noise, "tolerance": tolerance}

    def curve(t):
        return retract(point, t * u)

    laws: list[SlopeLaw | ValueLaw] = []
    notes: list[str] = []
    exp = working(view.exp, point, TRIAL * u)
    if exp is None:
        notes.append("not compared with the exponential map: there is none")
    else:

        def gap(t):
            here, there = array(view.embed(curve(t))), array(view.embed(exp(point, t * u)))
            return np.linalg.norm(here - there), np.linalg.norm(here) + np.linalg.norm(x), t * np.linalg.norm(u)

        laws.append(measure_slope("distance to the geodesic", gap, order + 1, steps, **options))
    if order == 2:
        second = second_order_law(view, point, u, curve, steps, options)
        laws += [] if second is None else [second]
        notes += (
            ["tangential acceleration not measured: no `to_tangent` and no `christoffels`"] if second is None else []
        )
    laws.append(start_law(view, point, u, curve, steps, options))
    laws.append(ValueLaw("starts at the point", relative(array(view.embed(curve(0.0))) - x, x), np.sqrt(eps) + noise))
    if on_submanifold(view):
        laws.append(velocity_law(view, curve, BASE_TIMES[0], _short(steps), options))
    return Check(f"check_retraction (order {order})", tuple(laws), tuple(notes))


def check_projection(
    manifold: Any,
    point: Point,
    to_tangent: Callable[[Point, Any], Tangent] | None = None,
    *,
    dim: int | None = None,
    key: Key | None = None,
) -> Check:
    """Whether `to_tangent` is the orthogonal projector on the tangent space.

        P P a = P a,    P (a + s b) = P a + s P b,    <P a, b> = <a, P b>,    trace P = dim,    |(I - P)(R(t P a) - x)| = O(t^2)

    Symmetry tells an orthogonal projector from an oblique one; the last law ties its range to the velocities of curves on the manifold.

    Arguments: as in `check_gradient`, and
    - `to_tangent`: the projector; default: the one of the view.
    - `dim`: dimension of the manifold; default: the manifold's own `dim`, if it has one.

    Returns: a `Check`.

    Raises: `ValueError` without a projector.

    >>> import riemgn as rg
    >>> from riemgn.geometry import check_projection
    >>> M = rg.OutputManifold(rg.task.torus())
    >>> check_projection(M, M.problem.params).passed
    True
    """
    view = manifold_view(manifold)
    project = view.to_tangent if to_tangent is None else to_tangent
    if project is None:
        raise ValueError("`check_projection` needs a `to_tangent`, and the manifold has none.")
    x = array(view.embed(point))
    eps = rounding_unit(view.embed(point), project(point, x))
    bound = float(np.sqrt(eps))
    a, b = (np.asarray(jr.normal(k, x.shape)) for k in jr.split(jr.key(0) if key is None else key))
    pa, pb = array(project(point, a)), array(project(point, b))
    asymmetry = number(view.inner(point, pa, b)) - number(view.inner(point, a, pb))
    laws: list[SlopeLaw | ValueLaw] = [
        ValueLaw("idempotent", relative(array(project(point, pa)) - pa, a), bound),
        ValueLaw("linear", relative(array(project(point, a - 2 * b)) - (pa - 2 * pb), a), bound),
        ValueLaw("symmetric", abs(asymmetry) / (length(view, point, a) * length(view, point, b)), bound),
    ]
    notes = []
    dim = getattr(manifold, "dim", None) if dim is None else dim
    if dim is None or x.size > MAX_TRACE:
        notes.append(
            "trace not compared: " + ("no `dim` is known" if dim is None else f"more than {MAX_TRACE} ambient numbers")
        )
    else:
        columns = np.eye(x.size).reshape(x.size, *x.shape)
        trace = sum(np.vdot(e, array(project(point, e))) for e in columns)
        laws.append(ValueLaw(f"trace is the dimension {dim}", abs(float(trace) - dim), bound * x.size))

    def outside(t):
        step = array(view.embed(view.retract(point, t * pa))) - x
        return np.linalg.norm(step - array(project(point, step))), np.linalg.norm(x), t * np.linalg.norm(pa)

    range_law = measure_slope("range holds the velocities of curves", outside, 2, step_grid(), eps=eps)
    return Check("check_projection", (range_law, *laws), tuple(notes))


def check_metric(
    manifold: Any,
    point: Point,
    *,
    direction: Tangent | None = None,
    key: Key | None = None,
    steps: Any = None,
    noise: float = 0.0,
    tolerance: float = 0.1,
) -> Check:
    """Whether `inner` is a metric that its connection preserves and its distance measures.

        <a, b> = <b, a>,    Gram matrix of three tangent vectors positive definite,    dist(x, R(t u)) = t |u| + O(t^2)
        <X, Y>(c(t)) - <X, Y>(x) - t (<D_u X, Y> + <X, D_u Y>) = O(t^2),    c(t) = R(t u)

    On a submanifold X = P a and Y = P b with constant a, b, and D_u is the tangential part of the derivative. In coordinates X and Y are
    constant, D_u X = Gamma(u, X), and the symbols must be free of torsion: `Gamma^k_ij = Gamma^k_ji`.

    Arguments: as in `check_gradient`.

    Returns: a `Check`.

    Raises: as in `check_gradient`.

    Reference: Boumal (2023), sections 5.4 and 10.1.

    >>> import riemgn as rg
    >>> from riemgn.geometry import chart_view, check_metric
    >>> M = rg.OutputManifold(rg.task.torus())
    >>> check_metric(chart_view(M), M.problem.params).passed
    True
    """
    view, keys = manifold_view(manifold), jr.split(jr.key(0) if key is None else key, 3)
    u = chosen_direction(view, point, direction, keys[0])
    x = array(view.embed(point))
    a, b = (np.asarray(jr.normal(k, x.shape)) for k in keys[1:])
    far = (
        step_grid(1e-3, 1.0)[::2] if steps is None else checked_steps(steps)
    )  # a distance may cost a shooting problem each
    eps, steps = rounding_unit(view.embed(point), view.inner(point, u, u)), _steps(steps)
    options = {"eps": eps, "noise": noise, "tolerance": tolerance}
    gram = _gram(
        view,
        point,
        [u]
        if view.to_tangent is None and view.christoffels is None
        else [tangential(view, point, v) for v in (u, a, b)],
    )
    values = np.linalg.eigvalsh((gram + gram.T) / 2)
    narrowness = values[-1] / values[0] if values[0] > 0 else np.inf
    laws: list[SlopeLaw | ValueLaw] = [
        ValueLaw("symmetric", relative(gram - gram.T, gram), float(np.sqrt(eps))),
        ValueLaw("positive definite (condition number of the Gram matrix)", narrowness, 0.01 / eps),
    ]
    notes = []
    if view.christoffels is not None:
        symbols = np.asarray(view.christoffels(point))
        laws.append(
            ValueLaw("free of torsion", relative(symbols - symbols.swapaxes(-1, -2), symbols), float(np.sqrt(eps)))
        )
    if view.to_tangent is not None or view.christoffels is not None:
        laws.insert(0, compatibility_law(view, point, u, a, b, steps, options))
    else:
        notes.append("compatibility with the connection not measured: no `to_tangent` and no `christoffels`")
    dist = working(view.dist, point, view.retract(point, TRIAL * u))
    if dist is None:
        notes.append("length not compared with a distance: there is none")
    else:
        speed = length(view, point, u)

        def excess(t):
            return number(dist(point, view.retract(point, t * u))) - t * speed, t * speed, t * speed

        laws.append(measure_slope("distance is length", excess, 2, far, **options))
    return Check("check_metric", tuple(laws), tuple(notes))


def check_geodesic(
    manifold: Any,
    point: Point,
    curve: Callable[[float], Point] | None = None,
    *,
    direction: Tangent | None = None,
    key: Key | None = None,
    steps: Any = None,
    noise: float = 0.0,
    tolerance: float = 0.1,
) -> Check:
    """Whether a curve on [0, 1] is the geodesic that leaves `point` along `direction`.

    At times s inside, with differences over s - h, s, s + h:

        |P (c(s+h) - 2 c(s) + c(s-h))| = O(h^4)    acceleration is normal (in coordinates: plus Gamma(d, d)); order 2 where it is not
        |c(s+h) - c(s-h)| - 2 h |u| = O(h^3)       speed is |u|, order 1 where it is not
        c(0) = x,    c(s) = exp(s u)               where there is an exponential map

    Arguments: as in `check_gradient`, and
    - `curve`: function of time in [0, 1] that returns points; default `exp(point, t direction)`.
    - `steps`: h, increasing, at most a quarter; default 1e-5 to 0.2.

    Returns: a `Check`.

    Raises: `ValueError` where there is neither a curve nor an exponential map, or neither a projection nor Christoffel symbols.

    >>> import riemgn as rg
    >>> from riemgn.geometry import check_geodesic
    >>> M = rg.OutputManifold(rg.task.sphere())
    >>> check_geodesic(M, M.problem.params).passed
    True
    """
    view = manifold_view(manifold)
    u = chosen_direction(view, point, direction, jr.key(0) if key is None else key)
    exp = working(view.exp, point, TRIAL * u)
    if direction is None and exp is not None:
        u = shortened(view, point, u, exp)
    given = curve is not None
    if curve is None and exp is None:
        raise ValueError("`check_geodesic` needs a `curve`, or a manifold with an exponential map.")
    if view.to_tangent is None and view.christoffels is None:
        raise ValueError(
            "`check_geodesic` needs a manifold with `to_tangent` or `christoffels`, to tell normal from tangential acceleration."
        )
    if curve is None:
        curve = _along(exp, point, u)
    steps = step_grid(1e-5, 0.2) if steps is None else checked_steps(steps)
    if steps[-1] > BASE_TIMES[0]:
        raise ValueError(f"`steps` must not exceed {BASE_TIMES[0]} (a quarter of the curve), got {steps[-1]:g}.")
    x, eps = array(view.embed(point)), rounding_unit(view.embed(point), view.embed(curve(0.5)))
    options = {"eps": eps, "noise": noise, "tolerance": tolerance}
    laws: list[SlopeLaw | ValueLaw] = []
    for s in BASE_TIMES:
        laws.append(acceleration_law(view, curve, s, steps, options))
    for s in BASE_TIMES:
        laws.append(speed_law(view, curve, s, length(view, point, u), steps, options))
    bound = max(
        1e-6, float(np.sqrt(eps))
    )  # a curve and an exponential map both come from solvers, whose tolerances are near 1e-8
    laws.append(ValueLaw("starts at the point", relative(array(view.embed(curve(0.0))) - x, x), bound))
    if given and exp is not None:
        for s in (BASE_TIMES[0], 1.0):
            there = array(view.embed(exp(point, s * u)))
            laws.append(
                ValueLaw(
                    f"is exp(s u) at s = {s:g}", relative(array(view.embed(curve(s))) - there, s * array(u)), bound
                )
            )
    return Check("check_geodesic", tuple(laws), ())


def _objective(manifold: Any, *given: Any, second: bool = False) -> list[Any]:
    """The functions given, and the manifold's own where none is."""
    functions = [own if mine is None else mine for mine, own in zip(given, own_objective(manifold), strict=True)]
    wanted = ("cost", "grad", "hessp") if second else ("cost", "grad")
    missing = [f"`{name}`" for name, function in zip(wanted, functions, strict=False) if function is None]
    if missing:
        raise ValueError(f"Give {' and '.join(missing)}: a {type(manifold).__name__} has no objective of its own.")
    return functions


def _gram(view, point, vectors):
    """Inner products of an orthonormal basis (of the ambient dot product) of what the vectors span."""
    _, sizes, rows = np.linalg.svd(np.stack([array(v).ravel() for v in vectors]), full_matrices=False)
    basis = [row.reshape(np.shape(vectors[0])) for row in rows[sizes > 1e-6 * sizes[0]]]
    return np.array([[number(view.inner(point, v, w)) for w in basis] for v in basis])


def _steps(steps):
    return step_grid() if steps is None else checked_steps(steps)


def _short(steps):
    """Steps that keep a central difference around the first base time inside the curve."""
    kept = steps[steps <= BASE_TIMES[0]]
    return kept if kept.size >= 4 and kept[-1] >= 10 * kept[0] else step_grid(1e-8, BASE_TIMES[0])


def _size(view, point):
    return float(np.linalg.norm(array(view.embed(point))))


def _tangency(view, point, name, vector, eps):
    """The law that a vector is tangent, or the note that it cannot be told."""
    if not on_submanifold(view):
        return (), () if view.christoffels is not None else (f"not measured whether the {name}: no `to_tangent`",)
    vector = array(vector)
    return (ValueLaw(name, relative(vector - tangential(view, point, vector), vector), float(np.sqrt(eps))),), ()


def _hidden(law, term):
    """The note that a wrong value of the term under test would hardly be noticed."""
    if term == 0 or law.contrast >= SEEN:
        return ()
    return (
        f"the term under test is at most {law.contrast:.1g} times what the model leaves over: a wrong one could hide; try another direction",
    )


def _along(move: Any, point, u):
    return lambda t: move(point, t * u)


def _second_order_curve(view, point, u, steps, eps):
    """A curve along u without tangential acceleration, as far as the view can tell; and what to say about it."""
    law = second_order_law(view, point, u, _along(view.retract, point, u), steps, {"eps": eps})
    if law is not None and law.passed:
        return _along(view.retract, point, u), ()
    exp = working(view.exp, point, TRIAL * u)
    if exp is not None:
        return _along(exp, point, u), ()
    if law is None:
        return _along(view.retract, point, u), (
            "taken on trust that the retraction is of second order: no `to_tangent` and no `christoffels`",
        )
    reason = f"the retraction is of first order ({law}) and there is no exponential map: order 3 is to be had at a critical point only"
    return _along(view.retract, point, u), (reason,)


def _symmetric_and_linear(view, point, hessp, u, bent, key, eps):
    """The Hessian is symmetric and linear; both need a second tangent vector."""
    if view.to_tangent is None and view.christoffels is None:
        return ()
    v = chosen_direction(view, point, None, jr.fold_in(key, 1))
    bent_v, both = array(hessp(point, v)), array(hessp(point, array(u) - 2 * v))
    bent = array(bent)
    scale = length(view, point, bent) * length(view, point, v) + length(view, point, u) * length(view, point, bent_v)
    asymmetry = abs(number(view.inner(point, bent, v)) - number(view.inner(point, u, bent_v)))
    bound = float(np.sqrt(eps))
    return (
        ValueLaw("Hessian is symmetric", asymmetry / scale if scale > 0 else asymmetry, bound),
        ValueLaw("Hessian is linear", relative(both - (bent - 2 * bent_v), np.concatenate([bent, bent_v])), bound),
    )
