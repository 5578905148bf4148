"""OutputManifold: the outputs `M = F(W)` of a problem as a Riemannian submanifold."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Bool, Float

from .._types import Key, Params, Scalar, Weights
from .._validation import is_traced
from ..linalg import singular_values
from ..problem import Problem
from . import curvature, geodesic
from .immersion import Ambient, checked_form, Immersion, lower_index, TangentFrame
from .rank import choose_rank, rank_report, RankPolicy, RankReport
from .retraction import AbstractRetraction, checked_retraction, nearest


class GeometryError(RuntimeError):
    """A geodesic, projection, logarithm or retraction did not converge."""


class OutputManifold(eqx.Module):
    """The submanifold `M = f(W)` of R^n with the induced metric, near the starting point.

    `T M = range J`,  `P = J J^+`,  `grad_M g = P grad g`. So the Gauss-Newton flow is the
    Riemannian gradient flow of `g` on `M`.

    You name a point by its parameters, flat (p,) or a PyTree like `problem.params`. Tangent and
    normal vectors are ambient, shape (m,). Methods work under `jax.jit`, `jax.vmap` and
    forward-mode derivatives. With concrete arrays they raise `ValueError` for vectors that are not
    tangent and for singular points. Inside a transformation a failed computation gives NaN.

    Arguments:

    - `problem`: gives `f`, the loss `g` and the starting point `w0`.
    - `rank`: the dimension of `M`, decided once at `w0`. None (default) counts the singular values
      of `J` above `max(m, p) eps s_max`, where `s_max` is the largest. `"full"` requires `min(m,
      p)`, an integer requires that many, and a number in (0, 1) is a tolerance relative to `s_max`.
    - `damping`: with `rho > 0` the manifold is the graph `w -> (f(w), sqrt(rho) (w - w0))` in R^(n
      + p). It is immersed everywhere, has the metric `J^T J + rho I`, and its Riemannian gradient
      flow is the Levenberg-Marquardt flow. Defaults to 0.
    - `ambient`: symmetric form `Q` of a constant ambient inner product, (m,) diagonal or (m, m). It
      may be indefinite if it is positive on tangent vectors, for example in Minkowski space.
      Defaults to the Euclidean form.

    Raises: `ValueError` for a rank that the Jacobian does not have, negative damping, or a wrong
    form.

    >>> import jax.numpy as jnp, riemgn as rg
    >>> sphere = rg.OutputManifold(rg.task.sphere(radius=2.0))
    >>> w = sphere.problem.w0
    >>> u, v = (sphere.push_forward(w, e) for e in jnp.eye(2))
    >>> round(float(sphere.sectional_curvature(w, u, v)), 5)
    0.25

    Reference: Statements, geometry; Cayci, arXiv:2412.14031v4.
    """

    immersion: Immersion
    policy: RankPolicy = eqx.field(static=True)

    def __init__(
        self, problem: Problem, *, rank: RankPolicy = None, damping: float = 0.0, ambient: ArrayLike | None = None
    ):
        if not isinstance(problem, Problem):
            raise ValueError(f"`problem` must be a Problem, got {type(problem).__name__}.")
        if not 0 <= float(damping) < float("inf"):
            raise ValueError(f"`damping` must be >= 0 and finite, got {damping}.")
        rho = jnp.asarray(damping, dtype=float) if damping else None
        full = Immersion(problem, None, rho, dim=problem.p)
        form = checked_form(ambient, full.m)
        dim = choose_rank(np.asarray(_spectrum(full, problem.w0)), (full.m, full.p), rank)
        self.immersion = Immersion(problem, form, rho, dim=dim)
        self.policy = rank
        if form is not None:
            smallest = float(np.linalg.eigvalsh(np.asarray(_inner_on_basis(self.immersion, problem.w0)))[0])
            if not smallest > 0:
                raise ValueError(
                    f"`ambient` must be positive on tangent vectors, got the eigenvalue {smallest:.3g} at `w0`."
                )

    def __hash__(self) -> int:
        return id(self)  # because `jax.jit(manifold.exp)` hashes the bound method

    def __repr__(self) -> str:
        form = None if self.immersion.form is None else eqx.tree_pformat(self.immersion.form)
        damping = "" if self.immersion.damping is None else f", damping={float(self.immersion.damping):g}"
        sizes = f"dim={self.dim}, ambient_dim={self.ambient_dim}, {self.problem.model.short_name}"
        return f"OutputManifold({sizes}, form={form}{damping})"

    @property
    def problem(self) -> Problem:
        """The problem that gives the outputs."""
        return self.immersion.problem

    @property
    def dim(self) -> int:
        """Dimension of the manifold, the same at all points."""
        return self.immersion.dim

    @property
    def ambient_dim(self) -> int:
        """Dimension m of the ambient space: n, or n + p for the graph."""
        return self.immersion.m

    @property
    def p(self) -> int:
        """Number of parameters, at least `dim`."""
        return self.immersion.p

    def embed(self, params: Params) -> Ambient:
        """The ambient point `F(w)`, shape (m,)."""
        return _embed(self.immersion, self._weights(params))

    def objective(self, params: Params) -> Scalar:
        """`g(f(w))`."""
        return _objective(self.immersion, self._weights(params))

    def rank_report(self, params: Params | None = None) -> RankReport:
        """Kept and dropped singular values at a point. Defaults to `w0`."""
        spectrum = np.asarray(_spectrum(self.immersion, self._start(params)))
        return rank_report(spectrum, (self.ambient_dim, self.p), self.policy, self.dim)

    def project(self, target: ArrayLike, start: Params | None = None, tol: float = 1e-12) -> Weights:
        """Parameters of the point of `M` nearest to an ambient point (m,).

        Newton's method finds a local minimum of the distance, on the sheet of `M` through `start`
        (default `w0`). `tol` bounds the tangent part of the residual relative to 1 plus its length.

        Raises: `GeometryError` if the tangent part is still larger than `sqrt(tol)`.
        """
        w, residual = _project(self.immersion, self._vector("target", target), self._start(start), jnp.asarray(tol))
        if _concrete(residual) and not float(residual) <= tol**0.5:
            tangent = f"a tangent part of {float(residual):.3g} relative to the residual"
            raise GeometryError(f"The projection stopped with {tangent}; pass a nearer `start`, or damp the manifold.")
        return w

    def belongs(self, point: ArrayLike, atol: float = 1e-8, start: Params | None = None) -> Bool[Array, ""]:
        """Whether an ambient point (m,) is within `atol` of the sheet of `M` through `start`."""
        return _distance(self.immersion, self._vector("point", point), self._start(start))[1] <= atol

    def point(self, point: ArrayLike, atol: float = 1e-8, start: Params | None = None) -> Weights:
        """Parameters of an ambient point (m,) of `M`.

        Raises: `ValueError` with the distance if the point is farther than `atol` from the sheet of
        `M` through `start`.
        """
        w, distance = _distance(self.immersion, self._vector("point", point), self._start(start))
        if _concrete(distance) and not float(distance) <= atol:
            raise ValueError(f"The point is {float(distance):.3g} off the manifold, more than {atol:g}; use `project`.")
        return w

    # --- tangent space and metric -----------------------------------------------------------------

    def to_tangent(self, params: Params, vector: ArrayLike) -> Ambient:
        """`P v`, the orthogonal projection of an ambient vector on the tangent space."""
        return self._at(TangentFrame.tangent_part, params, ambient={"vector": vector})

    def normal_part(self, params: Params, vector: ArrayLike) -> Ambient:
        """`(I - P) v`."""
        return self._at(TangentFrame.normal_part, params, ambient={"vector": vector})

    def is_tangent(self, params: Params, vector: ArrayLike, atol: float = 1e-8) -> Bool[Array, ""]:
        """Whether the normal part of an ambient vector is at most `atol` long."""
        return jnp.linalg.norm(self.normal_part(params, vector)) <= atol

    def projector(self, params: Params) -> Float[Array, "m m"]:
        """`P` as a matrix. `to_tangent` applies it without forming it."""
        return self._at(TangentFrame.projector, params)

    def inner(self, u: ArrayLike, v: ArrayLike) -> Scalar:
        """`<u, v>` in the ambient form."""
        return self._vector("u", u) @ lower_index(self.immersion.form, self._vector("v", v))

    def norm(self, u: ArrayLike) -> Scalar:
        """Length of a tangent vector."""
        return jnp.sqrt(self.inner(u, u))

    def tangent_coordinates(self, params: Params, u: ArrayLike) -> Weights:
        """`J^+ u`, the shortest velocity of the parameters (p,) with that tangent part."""
        return self._at(TangentFrame.coordinates, params, ambient={"u": u})

    def push_forward(self, params: Params, velocity: ArrayLike) -> Ambient:
        """`J a`, the tangent vector (m,) of a velocity of the parameters (p,)."""
        if np.shape(velocity) != (self.p,):
            raise ValueError(f"`velocity` must have shape {(self.p,)}, got {np.shape(velocity)}.")
        return _push_forward(self.immersion, self._weights(params), jnp.asarray(velocity, dtype=float))

    def random_tangent(self, params: Params, *, key: Key) -> Ambient:
        """A random tangent vector, uniform on the unit sphere of the tangent space."""
        return self._at(TangentFrame.random_unit, params, rest=(key,))

    def metric_matrix(self, params: Params) -> Float[Array, "p p"]:
        """`G = J^T Q J`, the metric in the chart. Solving with it squares `cond(J)`."""
        return self._at(curvature.metric_matrix, params)

    def christoffels(self, params: Params) -> Float[Array, "p p p"]:
        """`Gamma^k_ij`, upper index first. Geodesics and transport do not need them."""
        return self._at(curvature.christoffels, params)

    # --- derivatives of the loss, curvature -------------------------------------------------------

    def riemannian_grad(self, params: Params) -> Ambient:
        """`grad_M g = P grad g`, shape (m,)."""
        return self._at(curvature.riemannian_grad, params)

    def riemannian_hess(self, params: Params, u: ArrayLike, v: ArrayLike) -> Scalar:
        """`Hess_M g[u, v] = Hess g[u, v] + dg(II(u, v))`, for tangent `u`, `v`."""
        return self._at(curvature.riemannian_hess, params, tangent={"u": u, "v": v})

    def riemannian_hessp(self, params: Params, u: ArrayLike) -> Ambient:
        """`Hess_M g[u]`, the tangent vector with `<Hess_M g[u], v> = Hess_M g[u, v]`."""
        return self._at(curvature.riemannian_hessp, params, tangent={"u": u})

    def second_fundamental_form(self, params: Params, u: ArrayLike, v: ArrayLike) -> Ambient:
        """`II(u, v) = (I - P) D^2 f[J^+ u, J^+ v]`, a normal vector."""
        return self._at(curvature.second_fundamental_form, params, tangent={"u": u, "v": v})

    def shape_operator(self, params: Params, normal: ArrayLike, u: ArrayLike) -> Ambient:
        """`S_N u` with `<S_N u, v> = <N, II(u, v)>`, for the normal part N of `normal`."""
        return self._at(curvature.shape_operator, params, tangent={"u": u}, ambient={"normal": normal})

    def mean_curvature(self, params: Params) -> Ambient:
        """`H = (1 / dim) trace II`, a normal vector of length 1 / R on a sphere."""
        return self._at(curvature.mean_curvature, params)

    def curvature(self, params: Params, u: ArrayLike, v: ArrayLike, z: ArrayLike) -> Ambient:
        """`R(u, v) z`, with the sign that makes `<R(u, v) v, u>` positive on a sphere."""
        return self._at(curvature.curvature, params, tangent={"u": u, "v": v, "z": z})

    def sectional_curvature(self, params: Params, u: ArrayLike, v: ArrayLike) -> Scalar:
        """Curvature of the plane of `u` and `v`. NaN if they are parallel."""
        return self._at(curvature.sectional_curvature, params, tangent={"u": u, "v": v})

    # --- geodesics and retractions ----------------------------------------------------------------

    def exp(self, params: Params, u: ArrayLike, rtol: float | None = None) -> Weights:
        """Parameters (p,) of `exp(u)`, the geodesic with velocity `u` after unit time.

        Raises: `GeometryError` if the geodesic leaves the chart.
        """
        return _checked_finite(self._at(geodesic.exp, params, {"u": u}, rest=(_tolerance(rtol),)), "geodesic")

    def geodesic(self, params: Params, u: ArrayLike, ts: ArrayLike, rtol: float | None = None) -> Float[Array, "t p"]:
        """Parameters along the geodesic with velocity `u`, at increasing times `ts >= 0`.

        Raises: `GeometryError` if it leaves the chart; `ValueError` for wrong times.
        """
        times = jnp.asarray(ts, dtype=float)
        increasing = times.ndim == 1 and times.size > 0
        if increasing and _concrete(times):
            increasing = float(times[0]) >= 0 and bool(jnp.all(jnp.diff(times) > 0))
        if not increasing:
            got = np.asarray(times) if _concrete(times) else times.shape
            raise ValueError(f"`ts` must be increasing times >= 0, got {got}.")
        params = self._at(geodesic.points, params, {"u": u}, rest=(times, _tolerance(rtol)))
        return _checked_finite(params, "geodesic")

    def parallel_transport(
        self, params: Params, u: ArrayLike, direction: ArrayLike, rtol: float | None = None
    ) -> Ambient:
        """Parallel transport of `u` along `exp(t direction)` to t = 1, a tangent vector at the end.

        Raises: `GeometryError` if the geodesic leaves the chart.
        """
        vectors = {"u": u, "direction": direction}
        return _checked_finite(self._at(geodesic.transport, params, vectors, rest=(_tolerance(rtol),)), "transport")

    def log(self, params: Params, other: Params, rtol: float | None = None) -> Ambient:
        """The tangent vector `u` with `exp(params, u) = other`, by shooting from the chord.

        Raises: `GeometryError` with the distance at which shooting stopped.
        """
        u, miss = self._at(geodesic.log, params, rest=(self._weights(other), _tolerance(rtol)))
        reach = 1e-6 if u.dtype == jnp.float64 else 1e-2
        if _concrete(miss) and not float(miss) <= reach * (1 + float(jnp.linalg.norm(u))):
            raise GeometryError(f"Shooting stopped {float(miss):.3g} short of the other point; choose nearer points.")
        return u

    def dist(self, params: Params, other: Params, rtol: float | None = None) -> Scalar:
        """Geodesic distance `|log|`, the length of the geodesic that shooting finds."""
        return self.norm(self.log(params, other, rtol))

    def retract(self, params: Params, u: ArrayLike, retraction: str | AbstractRetraction = "chart") -> Weights:
        """Parameters (p,) of the retraction of a tangent vector.

        `retraction` is one of `RETRACTIONS` (default "chart"), or your own `AbstractRetraction`.

        Raises: `ValueError` for an unknown retraction; `GeometryError` if the retraction fails.
        """
        retraction = checked_retraction(retraction)
        return _checked_finite(self._at(retraction, params, {"u": u}), f"{retraction.name} retraction")

    def _start(self, start: Params | None) -> Weights:
        return self.problem.w0 if start is None else self._weights(start)

    def _weights(self, params: Params) -> Weights:
        if isinstance(params, jax.Array | np.ndarray | list) and np.shape(params) == (self.p,):
            return jnp.asarray(params, dtype=float)
        shapes, expected = (
            [np.shape(leaf) for leaf in jax.tree.leaves(tree)] for tree in (params, self.problem.params)
        )
        if jax.tree.structure(params) != jax.tree.structure(self.problem.params) or shapes != expected:
            expected = f"flat of shape {(self.p,)} or like problem.params"
            raise ValueError(f"A point must be parameters, {expected}; got shapes {shapes}.")
        return ravel_pytree(jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=float), params))[0]

    def _vector(self, name: str, value: ArrayLike) -> Ambient:
        vector = jnp.asarray(value, dtype=float)
        if vector.shape != (self.ambient_dim,):
            raise ValueError(f"`{name}` must be an ambient vector of shape {(self.ambient_dim,)}, got {vector.shape}.")
        return vector

    def _at(
        self,
        kernel: Callable,
        params: Params,
        tangent: dict | None = None,
        ambient: dict | None = None,
        rest: tuple = (),
    ):
        """`kernel(immersion, frame, *tangent, *ambient, *rest)` after checks."""
        tangents = {name: self._vector(name, value) for name, value in (tangent or {}).items()}
        others = [self._vector(name, value) for name, value in (ambient or {}).items()]
        w = self._weights(params)
        rest = (*others, *rest)
        value, bound, normal_fractions = _evaluate(kernel, self.immersion, w, tuple(tangents.values()), rest)
        eps = float(jnp.finfo(w.dtype).eps)
        if _concrete(bound) and float(bound) <= max(self.ambient_dim, self.p) * eps:
            kept = self.rank_report(w).kept
            ends = f"the smallest of the {self.dim} singular values is {kept[-1]:.3g}, the largest {kept[0]:.3g}"
            raise ValueError(f"Singular chart point: {ends}. Choose another point, a lower rank, or damping.")
        for name, fraction in zip(tangents, normal_fractions, strict=True):
            # A vector projected at a point that a solver found has a small normal part.
            if _concrete(fraction) and not float(fraction) <= 10 * eps**0.5:
                part = f"its normal part is {float(fraction):.3g} of its length"
                raise ValueError(f"`{name}` is not tangent: {part}. Use to_tangent first.")
        return value


def checked_manifold(manifold: Any) -> OutputManifold:
    """Check that an argument is an `OutputManifold`."""
    if not isinstance(manifold, OutputManifold):
        raise ValueError(f"`manifold` must be an OutputManifold, got {type(manifold).__name__}.")
    return manifold


def _concrete(value: Any) -> bool:
    return not is_traced(value)


def _checked_finite(value: Array, operation: str) -> Array:
    if is_traced(value) or bool(jnp.all(jnp.isfinite(value))):
        return value
    cause = "the chart became singular or the steps ran out"
    raise GeometryError(f"The {operation} failed: {cause}. Take a shorter vector, or damp.")


def _tolerance(rtol: float | None) -> Scalar:
    rtol = geodesic.default_tolerance() if rtol is None else rtol
    if not 0 < float(rtol) < 1:
        raise ValueError(f"`rtol` must lie in (0, 1), got {rtol}.")
    return jnp.asarray(rtol, dtype=float)


@eqx.filter_jit
def _evaluate(kernel, immersion, w, tangents, rest):
    """The kernel's value, a bound of `1 / cond(J)`, the normal fractions of tangent vectors."""
    frame = immersion.frame(w)
    tiny = jnp.finfo(w.dtype).tiny
    fractions = [jnp.linalg.norm(frame.normal_part(u)) / jnp.maximum(jnp.linalg.norm(u), tiny) for u in tangents]
    methods = ("tangent_part", "normal_part", "coordinates", "projector", "random_unit")
    of_frame = any(kernel is getattr(TangentFrame, name) for name in methods)
    first = (frame,) if of_frame else (immersion, frame)
    return kernel(*first, *tangents, *rest), frame.inverse_condition_bound(), fractions


_embed = eqx.filter_jit(lambda immersion, w: immersion(w))
_objective = eqx.filter_jit(lambda immersion, w: immersion.problem.objective(w))
_spectrum = eqx.filter_jit(lambda immersion, w: singular_values(immersion.jac(w)))
_inner_on_basis = eqx.filter_jit(lambda immersion, w: immersion.frame(w).inner_on_basis)
_push_forward = eqx.filter_jit(lambda immersion, w, a: jax.jvp(immersion, (w,), (a,))[1])


@eqx.filter_jit
def _project(immersion, z, start, tol):
    w = nearest(immersion, z, start, tol)
    residual = z - immersion(w)
    return w, jnp.linalg.norm(immersion.frame(w).tangent_part(residual)) / (1 + jnp.linalg.norm(residual))


@eqx.filter_jit
def _distance(immersion, z, start):
    w = nearest(immersion, z, start, jnp.asarray(1e-12))
    return w, jnp.linalg.norm(z - immersion(w))
