"""Retractions, which move along a tangent vector and stay on the manifold; and the nearest point.

A retraction of order q agrees with the geodesic up to `|R(t u) - exp(t u)| = O(t^(q + 1))`.
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from .._types import Flag, Scalar, Weights
from .geodesic import default_tolerance, exp
from .immersion import Ambient, Immersion, lower_index, TangentFrame

MAX_NEWTON_STEPS = 64
MAX_HALVINGS = 40


class AbstractRetraction(eqx.Module):
    """`R(u)` at a point: `R(0)` is the point and `DR(0)` the identity.

    - `order`: order of agreement with the geodesic, `math.inf` for the geodesic itself.
    - `name`: the name that `OutputManifold.retract` accepts.
    """

    order: eqx.AbstractClassVar[float]
    name: eqx.AbstractClassVar[str]

    @abc.abstractmethod
    def __call__(self, immersion: Immersion, frame: TangentFrame, u: Ambient) -> Weights:
        """The parameters (p,) of `R(u)` at `F(frame.w)`, for a tangent vector `u` (m,)."""


class ChartRetraction(AbstractRetraction):
    """`R(u) = F(w + J^+ u)`: a straight line in the parameters. First order, and the cheapest.

    Reference: Absil, Mahony, Sepulchre, Optimization Algorithms on Matrix Manifolds (2008), section
    4.1.
    """

    order: ClassVar[float] = 1
    name: ClassVar[str] = "chart"

    def __call__(self, immersion: Immersion, frame: TangentFrame, u: Ambient) -> Weights:
        return frame.w + frame.coordinates(u)


class CorrectedRetraction(AbstractRetraction):
    """`R(u) = F(w + a - 1/2 J^+ D^2 F[a, a])` with `a = J^+ u`. Second order, one more solve.

    The correction is the geodesic's acceleration.

    Reference: the "geodesic acceleration" of Transtrum and Sethna, arXiv:1207.4999.
    """

    order: ClassVar[float] = 2
    name: ClassVar[str] = "corrected"

    def __call__(self, immersion: Immersion, frame: TangentFrame, u: Ambient) -> Weights:
        a = frame.coordinates(u)
        return frame.w + a - 0.5 * frame.coordinates(immersion.second_derivative(frame.w, a, a))


class ProjectionRetraction(AbstractRetraction):
    """`R(u) = argmin_{psi in M} |F(w) + u - psi|`: the metric projection. Second order.

    Arguments:

    - `tol`: the inner iteration stops when the tangent part of the residual is below `tol` times 1
      plus the length of the residual. Defaults to 1e-12.

    Reference: Absil and Malick, SIAM J. Optim. 22 (2012), section 4.
    """

    tol: Scalar
    order: ClassVar[float] = 2
    name: ClassVar[str] = "projection"

    def __init__(self, tol: float = 1e-12):
        self.tol = jnp.asarray(tol, dtype=float)

    def __call__(self, immersion: Immersion, frame: TangentFrame, u: Ambient) -> Weights:
        w, converged = descend(immersion, immersion(frame.w) + u, frame.w + frame.coordinates(u), self.tol)
        return jnp.where(converged, w, jnp.nan)


class ExponentialRetraction(AbstractRetraction):
    """`R(u) = exp(u)`: the geodesic itself, to the integrator's tolerance.

    Arguments:

    - `rtol`: relative tolerance of one step. Defaults to 1e-11 in float64 and 1e-5 in float32.

    Reference: Absil, Mahony, Sepulchre, Optimization Algorithms on Matrix Manifolds (2008), section
    5.4.
    """

    rtol: Scalar
    order: ClassVar[float] = float("inf")
    name: ClassVar[str] = "exponential"

    def __init__(self, rtol: float | None = None):
        self.rtol = jnp.asarray(default_tolerance() if rtol is None else rtol, dtype=float)

    def __call__(self, immersion: Immersion, frame: TangentFrame, u: Ambient) -> Weights:
        return exp(immersion, frame, u, self.rtol)


RETRACTIONS: dict[str, Callable[[], AbstractRetraction]] = {
    cls.name: cls for cls in (ChartRetraction, CorrectedRetraction, ProjectionRetraction, ExponentialRetraction)
}


def checked_retraction(retraction: Any) -> AbstractRetraction:
    """The retraction itself, or the one with that name.

    Raises: `ValueError` for anything else.
    """
    if isinstance(retraction, AbstractRetraction):
        return retraction
    if not isinstance(retraction, str) or retraction not in RETRACTIONS:
        names = ", ".join(RETRACTIONS)
        raise ValueError(f"`retraction` must be one of {names} or an AbstractRetraction, got {retraction!r}.")
    return RETRACTIONS[retraction]()


def newton_step(immersion: Immersion, frame: TangentFrame, target: Ambient) -> tuple[Weights, Ambient]:
    """A descent step (p,) for `1/2 |F(w) - z|^2`, and its gradient in the basis (k,).

    The Hessian in the basis of the tangent space is `S - <(I - P)(z - F), II(b_i, b_j)>`. If it is
    not positive definite, the second term is left out, which gives a Gauss-Newton step.
    """
    residual = target - immersion(frame.w)
    gradient = frame.basis.T @ lower_index(immersion.form, residual)
    identity = jnp.eye(immersion.dim, dtype=residual.dtype)
    inner = identity if frame.inner_on_basis is None else frame.inner_on_basis
    normal = lower_index(immersion.form, frame.normal_part(residual))

    def curvature_term(direction):
        second = immersion.pulled_second_derivative(frame.w, normal, frame.lift(direction))
        return frame.covector_components(second)

    hessian = inner - jax.vmap(curvature_term)(identity)
    factor = jnp.linalg.cholesky(0.5 * (hessian + hessian.T))
    factor = jnp.where(jnp.all(jnp.isfinite(factor)), factor, jnp.linalg.cholesky(inner))
    return frame.lift(jax.scipy.linalg.cho_solve((factor, True), gradient)), gradient


def nearest(immersion: Immersion, target: Ambient, start: Weights, tol: Scalar) -> Weights:
    """Parameters of the point of `M` nearest to `target`; see `descend`."""
    return descend(immersion, target, start, tol)[0]


def descend(immersion: Immersion, target: Ambient, start: Weights, tol: Scalar) -> tuple[Weights, Flag]:
    """Minimise the distance to `target`: the last parameters, and whether it converged.

    Newton's method on `1/2 |F(w) - z|^2` along the manifold with step halving. It stops when the
    tangent part of the residual is below `tol (1 + |z - F|)`, and has converged if that part is
    below `sqrt(tol) (1 + |z - F|)`. A last full step from a constant gives derivatives with respect
    to `target` that are those of the exact projection.
    """

    def merit(w):
        residual = target - immersion(w)
        return 0.5 * residual @ lower_index(immersion.form, residual)

    def body(state):
        w, _, count = state
        frame = immersion.frame(w)
        step, gradient = newton_step(immersion, frame, target)
        value = merit(w)
        slope = gradient @ frame.components(jax.jvp(immersion, (w,), (step,))[1])
        rounding = 8 * jnp.finfo(value.dtype).eps * (jnp.abs(value) + jnp.abs(slope))

        def too_long(state):
            length, halvings = state
            decreases = merit(w + length * step) <= value - 1e-4 * length * slope + rounding
            return ~decreases & (halvings < MAX_HALVINGS)

        start = (jnp.ones((), value.dtype), 0)
        length, halvings = jax.lax.while_loop(too_long, lambda h: (0.5 * h[0], h[1] + 1), start)
        accepted = halvings < MAX_HALVINGS
        residual_norm = jnp.linalg.norm(target - immersion(w))
        done = (jnp.linalg.norm(gradient) <= tol * (1 + residual_norm)) | ~accepted
        return jnp.where(accepted, w + length * step, w), done, count + 1

    def unfinished(state):
        return ~state[1] & (state[2] < MAX_NEWTON_STEPS)

    target_value, target = target, jax.lax.stop_gradient(target)
    w, *_ = jax.lax.while_loop(unfinished, body, (jax.lax.stop_gradient(start), jnp.array(False), 0))
    step, gradient = newton_step(immersion, immersion.frame(w), target_value)
    converged = jnp.linalg.norm(gradient) <= jnp.sqrt(tol) * (1 + jnp.linalg.norm(target - immersion(w)))
    return jnp.where(converged, w + step, w), converged
