"""OutputManifold: the image `M = F(W)` of a problem's outputs as a Riemannian submanifold. A face with checked arguments; the numerics lie below."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Bool, Float

from .._types import Key, Params, Scalar, Weights
from .._validation import is_traced
from ..linalg import singular_values
from ..problem import Problem
from . import curvature, geodesic
from .immersion import Ambient, Form, Immersion, lower_index, TangentFrame
from .rank import choose_rank, rank_report, RankPolicy, RankReport
from .retraction import AbstractRetraction, checked_retraction, nearest


class GeometryError(RuntimeError):
    """A geodesic, projection or logarithm that did not arrive; the sentence says where it stopped and what to try."""


class OutputManifold(eqx.Module):
    """The submanifold `M = f(W)` of R^n with the metric induced from R^n, near the problem's starting point.

    `T M = range J`,  `P = J J^+`,  `grad_M g = P grad g`: the Gauss-Newton flow is the Riemannian gradient flow of `g` on `M`.

    A point of `M` is named by its parameters, flat (p,) or a PyTree like `problem.params`: `f` need not be injective. Tangent and normal vectors are
    ambient, shape (m,). Methods work under `jax.jit`, `jax.vmap` and forward-mode derivatives. Called with plain arrays they are compiled once and
    complain about vectors that are not tangent and points where the chart is singular; inside a transformation nothing can be checked.

    Arguments:

    - `problem`: gives `f`, the loss `g` and the starting point `w0`.
    - `rank`: the dimension of `M`, decided once at `w0`: None counts the singular values of `J` above `max(m, p) eps s_max`; `"full"` asks for
        `min(m, p)`; an integer asks for so many; a number in (0, 1) is a tolerance relative to `s_max`.
    - `damping`: with `rho > 0` the manifold is the graph `w -> (f(w), sqrt(rho) (w - w0))` in R^(n + p), immersed everywhere, with metric
        `J^T J + rho I`; its Riemannian gradient flow is the Levenberg-Marquardt flow.
    - `ambient`: symmetric form `Q` of a constant ambient inner product, (m,) diagonal or (m, m); it may be indefinite as long as it is positive
        on tangent vectors, as for the hyperboloid in Minkowski space. By default Euclidean.

    Raises: `ValueError` for a policy the Jacobian cannot meet, negative damping, a form that does not fit.

    >>> import jax.numpy as jnp, riemgn as rg
    >>> sphere = rg.OutputManifold(rg.task.sphere(radius=2.0))
    >>> w = sphere.problem.w0
    >>> u, v = sphere.push_forward(w, jnp.array([1.0, 0.0])), sphere.push_forward(w, jnp.array([0.0, 1.0]))
    >>> round(float(sphere.sectional_curvature(w, u, v)), 5)
    0.25

    Reference: theory.md section 2; Cayci, arXiv:2412.14031v4.
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
        undecided = Immersion(problem, None, rho, dim=problem.p)
        form = _checked_form(ambient, undecided.m)
        spectrum = np.asarray(_spectrum(undecided, problem.w0))
        dim = choose_rank(spectrum, (undecided.m, undecided.p), rank)
        self.immersion = Immersion(problem, form, rho, dim=dim)
        self.policy = rank
        if form is not None:
            least = float(np.linalg.eigvalsh(np.asarray(_inner_on_basis(self.immersion, problem.w0)))[0])
            if not least > 0:
                raise ValueError(
                    f"`ambient` must be positive definite on the tangent space at `w0`, got a least eigenvalue of {least:.3g} there."
                )

    def __hash__(self) -> int:
        return id(self)  # `jax.jit(manifold.exp)` hashes the bound method, and arrays have no hash

    # --- what it is ---------------------------------------------------------------------------------------------------

    @property
    def problem(self) -> Problem:
        """The problem whose outputs this is."""
        return self.immersion.problem

    @property
    def dim(self) -> int:
        """Dimension of the manifold, the rank held everywhere."""
        return self.immersion.dim

    @property
    def ambient_dim(self) -> int:
        """Dimension m of the space around: n, or n + p for the graph."""
        return self.immersion.m

    @property
    def p(self) -> int:
        """Number of parameters; above `dim` where the chart is over-complete."""
        return self.immersion.p

    def embed(self, params: Params) -> Ambient:
        """The ambient point `F(w)`, shape (m,)."""
        return _embed(self.immersion, self._weights(params))

    def objective(self, params: Params) -> Scalar:
        """`g(f(w))`."""
        return _objective(self.immersion, self._weights(params))

    def rank_report(self, params: Params | None = None) -> RankReport:
        """Kept and dropped singular values at a point, by default the starting point; `print` it."""
        w = self.problem.w0 if params is None else self._weights(params)
        spectrum = np.asarray(_spectrum(self.immersion, w))
        return rank_report(spectrum, (self.ambient_dim, self.p), self.policy, self.dim)

    # --- points -------------------------------------------------------------------------------------------------------

    def project(self, target: ArrayLike, start: Params | None = None, tol: float = 1e-12) -> Weights:
        """Parameters of the point of `M` nearest to an ambient point (m,): Newton's method downhill from `start`, by default `w0`.

        A local minimum of the distance: the sheet of `M` that `start` lies on. `tol` bounds the tangent part of the residual, relative to
        `1 + |z - F|`.

        Raises: `GeometryError` where the iteration ends with a larger tangent part than `sqrt(tol)`.
        """
        z, w = self._vector("target", target), self.problem.w0 if start is None else self._weights(start)
        nearest_params, residual = _project(self.immersion, z, w, jnp.asarray(tol))
        if _concrete(residual) and not float(residual) <= tol**0.5:
            raise GeometryError(
                f"The projection stopped where the residual still has a tangent part of {float(residual):.3g} relative to its length; "
                "start nearer, or damp the chart."
            )
        return nearest_params

    def belongs(self, point: ArrayLike, atol: float = 1e-8, start: Params | None = None) -> Bool[Array, ""]:
        """Whether an ambient point (m,) lies within `atol` of the sheet of `M` through `start`."""
        z, w = self._vector("point", point), self.problem.w0 if start is None else self._weights(start)
        return _distance(self.immersion, z, w)[1] <= atol

    def point(self, point: ArrayLike, atol: float = 1e-8, start: Params | None = None) -> Weights:
        """Parameters of an ambient point (m,) of `M`.

        Raises: `ValueError` with the distance where the point is not on the sheet of `M` through `start`.
        """
        z, w = self._vector("point", point), self.problem.w0 if start is None else self._weights(start)
        params, distance = _distance(self.immersion, z, w)
        if _concrete(distance) and not float(distance) <= atol:
            raise ValueError(
                f"The point is not on the manifold: it lies {float(distance):.3g} off the sheet through the start, more than {atol:g}."
            )
        return params

    # --- tangent space ------------------------------------------------------------------------------------------------

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
        """`P` as a matrix; `to_tangent` applies it without forming it."""
        return self._at(_projector, params)

    def inner(self, u: ArrayLike, v: ArrayLike) -> Scalar:
        """`<u, v>` in the ambient form."""
        return self._vector("u", u) @ lower_index(self.immersion.form, self._vector("v", v))

    def norm(self, u: ArrayLike) -> Scalar:
        """Length of a tangent vector."""
        return jnp.sqrt(self.inner(u, u))

    def tangent_coordinates(self, params: Params, u: ArrayLike) -> Weights:
        """`J^+ u`, the shortest velocity of the parameters (p,) whose image is the tangent part of `u`."""
        return self._at(TangentFrame.coordinates, params, ambient={"u": u})

    def push_forward(self, params: Params, velocity: ArrayLike) -> Ambient:
        """`J a`, the tangent vector (m,) of a velocity of the parameters (p,)."""
        velocity = jnp.asarray(velocity, dtype=float)
        if velocity.shape != (self.p,):
            raise ValueError(f"`velocity` must have shape {(self.p,)}, got {velocity.shape}.")
        return _push_forward(self.immersion, self._weights(params), velocity)

    def random_tangent(self, params: Params, *, key: Key) -> Ambient:
        """A tangent vector of unit length, uniform on the unit sphere of the tangent space."""
        return self._at(_random_tangent, params, rest=(key,))

    # --- metric and derivatives of the loss ---------------------------------------------------------------------------

    def metric_matrix(self, params: Params) -> Float[Array, "p p"]:
        """`G = J^T Q J`, the induced metric in the chart. For display: solving with it squares the condition number."""
        return self._at(curvature.metric_matrix, params)

    def christoffels(self, params: Params) -> Float[Array, "p p p"]:
        """`Gamma^k_ij`, contravariant index first. Geodesics and transport do without them."""
        return self._at(curvature.christoffels, params)

    def riemannian_grad(self, params: Params) -> Ambient:
        """`grad_M g = P grad g`, shape (m,)."""
        return self._at(curvature.riemannian_grad, params)

    def riemannian_hess(self, params: Params, u: ArrayLike, v: ArrayLike) -> Scalar:
        """`Hess_M g[u, v] = Hess g[u, v] + dg(II(u, v))`, for tangent `u`, `v`."""
        return self._at(curvature.riemannian_hess, params, tangent={"u": u, "v": v})

    def riemannian_hessp(self, params: Params, u: ArrayLike) -> Ambient:
        """`Hess_M g[u]`, the tangent vector with `<Hess_M g[u], v> = Hess_M g[u, v]`."""
        return self._at(curvature.riemannian_hessp, params, tangent={"u": u})

    # --- curvature ----------------------------------------------------------------------------------------------------

    def second_fundamental_form(self, params: Params, u: ArrayLike, v: ArrayLike) -> Ambient:
        """`II(u, v) = (I - P) D^2 f[J^+ u, J^+ v]`, a normal vector."""
        return self._at(curvature.second_fundamental_form, params, tangent={"u": u, "v": v})

    def shape_operator(self, params: Params, normal: ArrayLike, u: ArrayLike) -> Ambient:
        """`S_N u`, the tangent vector with `<S_N u, v> = <N, II(u, v)>`; the tangent part of `normal` is ignored."""
        return self._at(curvature.shape_operator, params, tangent={"u": u}, ambient={"normal": normal})

    def mean_curvature(self, params: Params) -> Ambient:
        """`H = (1 / dim) trace II`, a normal vector; of length 1 / R on a sphere of radius R."""
        return self._at(curvature.mean_curvature, params)

    def curvature(self, params: Params, u: ArrayLike, v: ArrayLike, z: ArrayLike) -> Ambient:
        """`R(u, v) z`, with the sign for which `<R(u, v) v, u>` is positive on a sphere."""
        return self._at(curvature.curvature, params, tangent={"u": u, "v": v, "z": z})

    def sectional_curvature(self, params: Params, u: ArrayLike, v: ArrayLike) -> Scalar:
        """Curvature of the plane of `u` and `v`, by the Gauss equation; NaN where they are parallel."""
        return self._at(curvature.sectional_curvature, params, tangent={"u": u, "v": v})

    # --- moving -------------------------------------------------------------------------------------------------------

    def exp(self, params: Params, u: ArrayLike, rtol: float | None = None) -> Weights:
        """Parameters (p,) of `exp(u)`: the geodesic with velocity `u` after unit time.

        Raises: `GeometryError` where the geodesic leaves the chart.
        """
        reached = self._at(geodesic.exp, params, tangent={"u": u}, rest=(_tolerance(rtol),))
        return _arrived(reached, "geodesic")

    def geodesic(self, params: Params, u: ArrayLike, ts: ArrayLike, rtol: float | None = None) -> Float[Array, "t p"]:
        """Parameters along the geodesic with velocity `u`, at the increasing times `ts >= 0`; NaN where it had ended, inside a transformation.

        Raises: `GeometryError` where it leaves the chart; `ValueError` for times that decrease or are negative.
        """
        times = jnp.asarray(ts, dtype=float)
        if (
            times.ndim != 1
            or times.size == 0
            or (_concrete(times) and not (float(times[0]) >= 0 and bool(jnp.all(jnp.diff(times) > 0))))
        ):
            raise ValueError(
                f"`ts` must be increasing times >= 0, got {np.asarray(times) if _concrete(times) else times.shape}."
            )
        return _arrived(
            self._at(_geodesic_params, params, tangent={"u": u}, rest=(times, _tolerance(rtol))), "geodesic"
        )

    def parallel_transport(
        self, params: Params, u: ArrayLike, direction: ArrayLike, rtol: float | None = None
    ) -> Ambient:
        """`u` transported parallel along `exp(t direction)` to t = 1: a tangent vector at `exp(params, direction)`.

        Raises: `GeometryError` where the geodesic leaves the chart.
        """
        moved = self._at(geodesic.transport, params, tangent={"u": u, "direction": direction}, rest=(_tolerance(rtol),))
        return _arrived(moved, "transport")

    def log(self, params: Params, other: Params, rtol: float | None = None) -> Ambient:
        """The tangent vector `u` with `exp(params, u) = other`, by shooting from the chord.

        Raises: `GeometryError` with the distance at which shooting stopped.
        """
        u, miss = self._at(geodesic.log, params, rest=(self._weights(other), _tolerance(rtol)))
        if _concrete(miss):
            reach = 1e-6 if u.dtype == jnp.float64 else 1e-2
            if not float(miss) <= reach * (1 + float(jnp.linalg.norm(u))):
                raise GeometryError(
                    f"No geodesic to the other point was found: shooting stopped {float(miss):.3g} short of it. Choose nearer points."
                )
        return u

    def dist(self, params: Params, other: Params, rtol: float | None = None) -> Scalar:
        """Geodesic distance `|log|`, of the geodesic that shooting finds."""
        return self.norm(self.log(params, other, rtol))

    def retract(self, params: Params, u: ArrayLike, retraction: str | AbstractRetraction = "chart") -> Weights:
        """Parameters (p,) of the retraction of a tangent vector: "chart", "corrected", "projection", "exponential", or a retraction of your own.

        Raises: `ValueError` for an unknown retraction; `GeometryError` where it did not arrive.
        """
        retraction = checked_retraction(retraction)
        return _arrived(
            self._at(_retract, params, tangent={"u": u}, rest=(retraction,)), f"{retraction.name} retraction"
        )

    # --- checked arguments --------------------------------------------------------------------------------------------

    def _weights(self, params: Params) -> Weights:
        if isinstance(params, jax.Array | np.ndarray | list) and np.shape(params) == (self.p,):
            return jnp.asarray(params, dtype=float)
        expected = [leaf.shape for leaf in jax.tree.leaves(self.problem.params)]
        if (
            jax.tree.structure(params) != jax.tree.structure(self.problem.params)
            or [np.shape(leaf) for leaf in jax.tree.leaves(params)] != expected
        ):
            shapes = [np.shape(leaf) for leaf in jax.tree.leaves(params)]
            raise ValueError(
                f"A point is named by its parameters, flat of shape {(self.p,)} or like problem.params; got shapes {shapes}."
            )
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
        """`kernel(immersion, frame, *tangent, *ambient, *rest)` at a point, after a look at the point and the tangent vectors."""
        tangents = {name: self._vector(name, value) for name, value in (tangent or {}).items()}
        others = [self._vector(name, value) for name, value in (ambient or {}).items()]
        w = self._weights(params)
        value, inverse_condition_bound, normal_fractions = _evaluate(
            kernel, self.immersion, w, tuple(tangents.values()), (*others, *rest)
        )
        if _concrete(inverse_condition_bound):
            self._complain_singular(w, float(inverse_condition_bound))
        for (name, vector), fraction in zip(tangents.items(), normal_fractions, strict=True):
            # what rounding in a projector leaves, with room for a vector that was projected at a point reached by a solver
            if _concrete(fraction) and not float(fraction) <= 10 * float(jnp.finfo(vector.dtype).eps) ** 0.5:
                raise ValueError(
                    f"`{name}` is not tangent: its normal part is {float(fraction):.3g} of its length. Use to_tangent first."
                )
        return value

    def _complain_singular(self, w: Weights, inverse_condition_bound: float) -> None:
        eps = float(jnp.finfo(w.dtype).eps)
        if inverse_condition_bound > max(self.ambient_dim, self.p) * eps:
            return
        report = self.rank_report(w)
        raise ValueError(
            f"Singular chart point: of the {self.dim} singular values kept the smallest is {report.kept[-1]:.3g} beside a largest of "
            f"{report.kept[0]:.3g}. Choose another point, a lower rank, or damping."
        )


def checked_manifold(manifold: Any) -> OutputManifold:
    """Check that an argument is an `OutputManifold`."""
    if not isinstance(manifold, OutputManifold):
        raise ValueError(f"`manifold` must be an OutputManifold, got {type(manifold).__name__}.")
    return manifold


def _concrete(value) -> bool:
    return not is_traced(value)


def _arrived(value: Array, what: str) -> Array:
    if _concrete(value) and not bool(jnp.all(jnp.isfinite(value))):
        raise GeometryError(
            f"The {what} did not arrive: the chart became singular or the steps ran out on the way. Take a shorter vector, or damp."
        )
    return value


def _tolerance(rtol: float | None) -> Scalar:
    rtol = geodesic.default_tolerance() if rtol is None else rtol
    if not 0 < float(rtol) < 1:
        raise ValueError(f"`rtol` must lie in (0, 1), got {rtol}.")
    return jnp.asarray(rtol, dtype=float)


def _checked_form(ambient: ArrayLike | None, m: int) -> Form:
    if ambient is None:
        return None
    form = np.asarray(ambient, dtype=float)
    if form.shape not in ((m,), (m, m)) or not np.isfinite(form).all():
        raise ValueError(f"`ambient` must be finite of shape {(m,)} or {(m, m)}, got shape {form.shape}.")
    if form.ndim == 2 and not np.allclose(form, form.T, rtol=1e-12, atol=0):
        raise ValueError(f"`ambient` must be symmetric, got an asymmetry of {np.abs(form - form.T).max():.3g}.")
    return jnp.asarray(form)


@eqx.filter_jit
def _evaluate(kernel, immersion, w, tangents, rest):
    """The kernel's value, the frame's inverse_condition_bound, and for each tangent argument the share of its length that is normal."""
    frame = immersion.frame(w)
    normal_fractions = [
        jnp.linalg.norm(frame.normal_part(u)) / jnp.maximum(jnp.linalg.norm(u), jnp.finfo(u.dtype).tiny)
        for u in tangents
    ]
    first = (
        (frame,)
        if kernel in (TangentFrame.tangent_part, TangentFrame.normal_part, TangentFrame.coordinates)
        else (immersion, frame)
    )
    return kernel(*first, *tangents, *rest), frame.inverse_condition_bound(), normal_fractions


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


def _projector(immersion, frame):
    return jax.vmap(frame.tangent_part, 1, 1)(jnp.eye(immersion.m, dtype=frame.basis.dtype))


def _random_tangent(immersion, frame, key):
    components = jr.normal(key, (immersion.dim,))
    return frame.orthonormal() @ (components / jnp.linalg.norm(components))


def _geodesic_params(immersion, frame, u, ts, rtol):
    return geodesic.integrate(immersion, frame, u, jnp.zeros_like(u), ts, rtol).params


def _retract(immersion, frame, u, retraction):
    return retraction(immersion, frame, u)
