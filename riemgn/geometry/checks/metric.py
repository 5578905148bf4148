"""Checks of tangent projections and metrics."""

from collections.abc import Callable
from typing import Any

import jax.random as jr
import numpy as np

from ..._types import Key
from .laws import default_key, metric_compatibility, Probe, relative, TRIAL
from .manifold import float64, implemented, manifold_functions, number, Point, Tangent
from .slope import Check, SlopeLaw, step_grid, ValueLaw

MAX_TRACE = 512  # the trace of a projector is computed column by column up to this ambient dimension


def check_projection(
    manifold: Any,
    point: Point,
    to_tangent: Callable[[Point, Any], Tangent] | None = None,
    *,
    dim: int | None = None,
    key: Key | None = None,
) -> Check:
    """Check that `to_tangent` is the orthogonal projector onto the tangent space.

        P P a = P a,    P (a + s b) = P a + s P b,    <P a, b> = <a, P b>,    trace P = dim
        |(I - P)(R(t P a) - x)| = O(t^2)

    Arguments: `manifold` and `point` as in `check_gradient`, and

    - `to_tangent`: the projector. Defaults to that of the manifold.
    - `dim`: dimension of the manifold. Defaults to `manifold.dim` if there is one.
    - `key`: random key of the vectors a and b. Defaults to key 0.

    Returns: a `Check`.

    Raises: `ValueError` if there is no projector.

    >>> import riemgn as rg
    >>> from riemgn.geometry import check_projection
    >>> M = rg.OutputManifold(rg.task.torus())
    >>> check_projection(M, M.problem.params).passed
    True
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
    bound = float(np.sqrt(probe.eps))
    asymmetry = abs(number(functions.inner(point, pa, b)) - number(functions.inner(point, a, pb)))

    def normal(t):
        step = functions.array(functions.retract(point, t * pa)) - x
        return np.linalg.norm(step - p(step)), np.linalg.norm(x), t * np.linalg.norm(pa)

    laws: list[SlopeLaw | ValueLaw] = [
        probe.slope("range holds the velocities of curves", normal, 2),
        ValueLaw("idempotent", relative(p(pa) - pa, a), bound),
        ValueLaw("linear", relative(p(a - 2 * b) - (pa - 2 * pb), a), bound),
        ValueLaw("symmetric", asymmetry / (functions.norm(point, a) * functions.norm(point, b)), bound),
    ]
    dim = getattr(manifold, "dim", None) if dim is None else dim
    if dim is None or x.size > MAX_TRACE:
        reason = "no `dim` is known" if dim is None else f"more than {MAX_TRACE} ambient numbers"
        return Check("check_projection", tuple(laws), (f"trace not compared: {reason}",))
    trace = float(sum(np.vdot(e, p(e)) for e in np.eye(x.size).reshape(x.size, *x.shape)))
    laws.append(ValueLaw(f"trace is the dimension {dim}", abs(trace - dim), bound * x.size))
    return Check("check_projection", tuple(laws))


def check_metric(manifold: Any, point: Point, *, key: Key | None = None, **options: Any) -> Check:
    """Check that `inner` is a metric that its connection preserves and its distance measures.

        <a, b> = <b, a>,    Gram matrix positive definite,    dist(x, R(t u)) = t |u| + O(t^2)
        <X, Y>(c(t)) - <X, Y>(x) - t (<D_u X, Y> + <X, D_u Y>) = O(t^2),    c(t) = R(t u)

    On a submanifold X = P a and Y = P b with constant a, b, and D_u is the tangential part of the
    derivative. In coordinates X and Y are constant, D_u X = Gamma(u, X), and the symbols must
    satisfy `Gamma^k_ij = Gamma^k_ji`.

    Arguments: as in `check_gradient`.

    Returns: a `Check`.

    Raises: as in `check_gradient`.

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
    vectors = [functions.tangent_part(point, v) for v in (u, a, b)] if functions.has_connection else [u]
    gram = _gram_matrix(probe, vectors)
    values = np.linalg.eigvalsh((gram + gram.T) / 2)
    condition = values[-1] / values[0] if values[0] > 0 else np.inf
    bound = float(np.sqrt(probe.eps))
    laws: list[SlopeLaw | ValueLaw] = []
    notes = []
    if functions.has_connection:
        laws.append(metric_compatibility(probe, a, b))
    else:
        notes.append("compatibility with the connection not measured: no `to_tangent` and no `christoffels`")
    laws.append(ValueLaw("symmetric", relative(gram - gram.T, gram), bound))
    laws.append(ValueLaw("positive definite (condition number)", condition, 0.01 / probe.eps))
    if functions.christoffels is not None:
        symbols = np.asarray(functions.christoffels(point))
        laws.append(ValueLaw("free of torsion", relative(symbols - symbols.swapaxes(-1, -2), symbols), bound))
    dist = implemented(functions.dist, point, functions.retract(point, TRIAL * u))
    if dist is None:
        notes.append("length not compared with a distance: the manifold has none")
    else:
        speed = functions.norm(point, u)

        def excess(t):
            return number(dist(point, functions.retract(point, t * u))) - t * speed, t * speed, t * speed

        # few and large steps, because each distance may need an iteration
        steps = step_grid(1e-3, 1.0)[::2] if options.get("steps") is None else probe.steps
        laws.append(probe.slope("distance is length", excess, 2, steps))
    return Check("check_metric", tuple(laws), tuple(notes))


def _gram_matrix(probe, vectors):
    """Compute inner products of an (ambient) orthonormal basis of the span of the vectors."""
    _, sizes, rows = np.linalg.svd(np.stack([float64(v).ravel() for v in vectors]), full_matrices=False)
    basis = [row.reshape(np.shape(vectors[0])) for row in rows[sizes > 1e-6 * sizes[0]]]
    return np.array([[number(probe.manifold.inner(probe.point, v, w)) for w in basis] for v in basis])
