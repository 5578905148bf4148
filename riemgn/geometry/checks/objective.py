"""Checks of the Riemannian gradient and Hessian of a cost."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax.random as jr
import numpy as np

from .laws import choose_direction, Curve, default_key, Probe, relative, start_laws
from .manifold import float64, number, own_objective, Point, Tangent
from .slope import Check, SlopeLaw, ValueLaw


def check_gradient(
    manifold: Any,
    point: Point,
    cost: Callable[[Point], Any] | None = None,
    grad: Callable[[Point], Tangent] | None = None,
    **options: Any,
) -> Check:
    """Check that `grad` is the Riemannian gradient of `cost`.

        |cost(R(t u)) - cost(x) - t <grad, u>| = O(t^2),    |grad - P grad| = 0

    Arguments:

    - `manifold`: anything that `manifold_functions` takes.
    - `point`: a point in the manifold's own form (parameters for an `OutputManifold`).
    - `cost`, `grad`: functions of a point. Default to those of the manifold.
    - `direction`: tangent vector u. Defaults to a random one of length 1, which is halved until its
        curve bends by less than half its length.
    - `key`: random key of the direction. Defaults to key 0.
    - `steps`: multiples t of the direction, increasing (s,). Defaults to 1e-8 to 1, ten a decade.
    - `noise`: absolute error of `cost` beyond rounding, such as a solver's error. Defaults to 0.
    - `tolerance`: how far the measured order may be below 2. Defaults to 0.1.

    Returns: a `Check`. `check.passed` is the verdict and `print(check)` shows every law.

    Raises: `ValueError` for an unknown manifold, a bad direction, bad steps or a missing function.

    >>> import riemgn as rg
    >>> from riemgn.geometry import check_gradient
    >>> M = rg.OutputManifold(rg.task.sphere())
    >>> check_gradient(M, M.problem.params)
    Check('check_gradient', passed=True, laws=2, notes=0)

    Reference: Boumal, An Introduction to Optimization on Smooth Manifolds (2023), section 4.8.
    """
    f, grad_f = _objective(manifold, cost=cost, grad=grad)
    probe = Probe.make(manifold, point, **options)
    value, gradient, size, probe = _expand(probe, f, grad_f)
    slope = number(probe.manifold.inner(point, gradient, probe.u))

    def remainder(t):
        there = number(f(probe.manifold.retract(point, t * probe.u)))
        return there - value - t * slope, abs(there) + abs(value) + abs(t * slope) + size, t * slope

    law = probe.slope("linear model of the cost", remainder, 2)
    tangent, notes = probe.tangency("gradient is tangent", gradient)
    return Check("check_gradient", (law, *tangent), (*_contrast_note(law, slope), *notes))


def check_hessian(
    manifold: Any,
    point: Point,
    cost: Callable[[Point], Any] | None = None,
    grad: Callable[[Point], Tangent] | None = None,
    hessp: Callable[[Point, Tangent], Tangent] | None = None,
    **options: Any,
) -> Check:
    """Check that `hessp` is the Riemannian Hessian of `cost`: tangent, linear and symmetric.

        |cost(c(t)) - cost(x) - t <grad, u> - t^2/2 <Hess u, u>| = O(t^3)

    The curve c must have no tangential acceleration at x. If the retraction is of first order, the
    check uses the exponential map instead. Without one, the law fails unless `grad` is zero.

    Arguments: as in `check_gradient`. `hessp(point, u)` applies the Hessian to a tangent vector.

    Returns: a `Check`.

    Raises: as in `check_gradient`.

    Reference: Boumal, An Introduction to Optimization on Smooth Manifolds (2023), section 6.8.
    """
    f, grad_f, hess_f = _objective(manifold, cost=cost, grad=grad, hessp=hessp)
    probe = Probe.make(manifold, point, **options)
    value, gradient, size, probe = _expand(probe, f, grad_f)
    applied = hess_f(point, probe.u)
    slope, second = (number(probe.manifold.inner(point, v, probe.u)) for v in (gradient, applied))
    curve, notes = _second_order_curve(probe)

    def remainder(t):
        there, terms = number(f(curve(t))), (t * slope, 0.5 * t**2 * second)
        size_t = abs(there) + abs(value) + abs(terms[0]) + 2 * abs(terms[1]) + size
        return there - value - terms[0] - terms[1], size_t, terms[1]

    law = probe.slope("quadratic model of the cost", remainder, 3)
    tangent, tangent_notes = probe.tangency("Hessian is tangent", applied)
    laws = (law, *tangent, *_symmetric_and_linear(probe, hess_f, applied, options.get("key")))
    return Check("check_hessian", laws, (*_contrast_note(law, second), *notes, *tangent_notes))


def _objective(manifold, **functions):
    """Return the functions, or the manifold's own where they are None."""
    own = dict(zip(("cost", "grad", "hessp"), own_objective(manifold), strict=True))
    functions = {name: own[name] if function is None else function for name, function in functions.items()}
    missing = [f"`{name}`" for name, function in functions.items() if function is None]
    if missing:
        raise ValueError(f"Pass {' and '.join(missing)}: a {type(manifold).__name__} has no objective of its own.")
    return functions.values()


def _expand(probe, cost, grad):
    """Return cost, gradient, a size for rounding errors, and the probe with its rounding unit."""
    value, gradient = cost(probe.point), grad(probe.point)
    size = float(np.linalg.norm(probe.x)) * probe.manifold.norm(probe.point, gradient)
    return number(value), gradient, size, probe.rounded_as(value)


def _contrast_note(law: SlopeLaw, term: float) -> tuple[str, ...]:
    """Return a note if a wrong value of the tested term would hardly change the error."""
    ratio = f"the tested term is at most {law.contrast:.1g} times the remainder, which could hide a mistake"
    return () if term == 0 or law.contrast >= 10 else (f"{ratio}: try another direction",)


def _second_order_curve(probe: Probe) -> tuple[Curve, tuple[str, ...]]:
    """Return a curve without tangential acceleration if there is one, and notes for the report."""
    curve = probe.curve(probe.manifold.retract)
    _, law = start_laws(replace(probe, noise=0.0, tolerance=0.1), curve)
    if law is not None and law.passed:
        return curve, ()
    exp = probe.exp()
    if exp is not None:
        return probe.curve(exp), ()
    if law is None:
        reason = "not measured whether the retraction is of second order: no `to_tangent` and no `christoffels`"
    else:
        reason = (
            f"the retraction is of first order ({law.order:.2f}) and there is no exponential map: use a critical point"
        )
    return curve, (reason,)


def _symmetric_and_linear(probe, hessp, applied, key):
    """Return the laws that the Hessian is symmetric and linear, for a second tangent vector."""
    manifold, point, u = probe.manifold, probe.point, probe.u
    if not manifold.has_connection:
        return ()
    v = choose_direction(manifold, point, None, jr.fold_in(default_key(key), 1))
    applied, applied_v, both = (float64(w) for w in (applied, hessp(point, v), hessp(point, float64(u) - 2 * v)))
    scale = manifold.norm(point, applied) * manifold.norm(point, v)
    scale += manifold.norm(point, u) * manifold.norm(point, applied_v)
    asymmetry = abs(number(manifold.inner(point, applied, v)) - number(manifold.inner(point, u, applied_v)))
    nonlinearity = relative(both - (applied - 2 * applied_v), np.concatenate([applied, applied_v]))
    bound = float(np.sqrt(probe.eps))
    return (
        ValueLaw("Hessian is symmetric", asymmetry / (scale or 1.0), bound),
        ValueLaw("Hessian is linear", nonlinearity, bound),
    )
