"""Retractions: ways to move along a tangent vector and stay on the manifold, each with its order stated.

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
    """`R(u)` at a point: `R(0)` is the point, `DR(0)` the identity.

    - `order`: the order of agreement with the geodesic; `math.inf` for the geodesic itself.
    - `name`: the word `OutputManifold.retract` knows it by.
    """

    order: eqx.AbstractClassVar[float]
    name: eqx.AbstractClassVar[str]

    @abc.abstractmethod
    def __call__(self, immersion: Immersion, frame: TangentFrame, u: Ambient) -> Weights:
        """The parameters (p,) of `R(u)` at `F(frame.w)`, for a tangent vector `u` (m,)."""


class ChartRetraction(AbstractRetraction):
    """`R(u) = F(w + J^+ u)`: a straight line in the parameters; first order in general, no solve beyond the frame's.

    Reference: theory.md section 2 (a).
    """

    order: ClassVar[float] = 1
    name: ClassVar[str] = "chart"

    def __call__(self, immersion: Immersion, frame: TangentFrame, u: Ambient) -> Weights:
        return frame.w + frame.coordinates(u)


class CorrectedRetraction(AbstractRetraction):
    """`R(u) = F(w + a - 1/2 J^+ D^2 F[a, a])`, `a = J^+ u`: the chart with the geodesic's acceleration; second order, one extra solve.

    Reference: theory.md section 2; the "geodesic acceleration" of Transtrum and Sethna, arXiv:1207.4999.
    """

    order: ClassVar[float] = 2
    name: ClassVar[str] = "corrected"

    def __call__(self, immersion: Immersion, frame: TangentFrame, u: Ambient) -> Weights:
        a = frame.coordinates(u)
        return frame.w + a - 0.5 * frame.coordinates(immersion.second_derivative(frame.w, a, a))


class ProjectionRetraction(AbstractRetraction):
    """`R(u) = argmin_{psi in M} |F(w) + u - psi|`: metric projection; second order.

    Arguments:

    - `tol`: the inner iteration stops where the tangent part of the residual is below `tol` times `1 + |u|`.

    Reference: theory.md section 2 (b); Absil and Malick, SIAM J. Optim. 22 (2012), section 4.
    """

    tol: Scalar
    order: ClassVar[float] = 2
    name: ClassVar[str] = "projection"

    def __init__(self, tol: float = 1e-12):
        self.tol = jnp.asarray(tol, dtype=float)

    def __call__(self, immersion: Immersion, frame: TangentFrame, u: Ambient) -> Weights:
        w, arrived = descend(immersion, immersion(frame.w) + u, frame.w + frame.coordinates(u), self.tol)
        return jnp.where(arrived, w, jnp.nan)


class ExponentialRetraction(AbstractRetraction):
    """`R(u) = exp(u)`: the geodesic itself, to the integrator's tolerance.

    Arguments:

    - `rtol`: relative tolerance of one step; by default 1e-11 in float64.

    Reference: Absil, Mahony, Sepulchre, Optimization Algorithms on Matrix Manifolds (2008), section 5.4.
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
        raise ValueError(
            f"`retraction` must be one of {', '.join(RETRACTIONS)} or an AbstractRetraction, got {retraction!r}."
        )
    return RETRACTIONS[retraction]()


def newton_step(immersion: Immersion, frame: TangentFrame, target: Ambient) -> tuple[Weights, Ambient]:
    """A descent step for `1/2 |F(w) - z|^2` from `frame.w`, (p,), and the gradient it stems from, (m,).

    In the basis of the tangent space the Hessian is `S - <(I - P)(z - F), II(b_i, b_j)>`; where it is not positive definite the second term is
    left out, which is a Gauss-Newton step.
    """
    residual = target - immersion(frame.w)
    gradient = frame.basis.T @ lower_index(immersion.form, residual)
    inner = jnp.eye(immersion.dim, dtype=residual.dtype) if frame.inner_on_basis is None else frame.inner_on_basis
    normal = lower_index(immersion.form, frame.normal_part(residual))

    def bent(direction):
        return frame.covector_components(immersion.pulled_second_derivative(frame.w, normal, frame.lift(direction)))

    hessian = inner - jax.vmap(bent)(jnp.eye(immersion.dim, dtype=residual.dtype))
    factor = jnp.linalg.cholesky(0.5 * (hessian + hessian.T))
    usable = jnp.all(jnp.isfinite(factor))
    factor = jnp.where(usable, factor, jnp.linalg.cholesky(inner))
    return frame.lift(jax.scipy.linalg.cho_solve((factor, True), gradient)), gradient


def nearest(immersion: Immersion, target: Ambient, start: Weights, tol: Scalar) -> Weights:
    """Parameters of the point of `M` nearest to `target`, found downhill from `start`; see `descend`."""
    return descend(immersion, target, start, tol)[0]


def descend(immersion: Immersion, target: Ambient, start: Weights, tol: Scalar) -> tuple[Weights, Flag]:
    """Parameters where the descent on the distance to `target` from `start` ended, and whether it arrived at a nearest point.

    Newton on `1/2 |F(w) - z|^2` along the manifold with step halving; stops where the tangent part of the residual is below `tol (1 + |z - F|)`.
    It arrived where that part is below `sqrt(tol) (1 + |z - F|)`; then a last full step is taken from a constant, which makes derivatives with
    respect to `target` those of the exact projection.
    """
    form = immersion.form

    def merit(w):
        residual = target - immersion(w)
        return 0.5 * residual @ lower_index(form, residual)

    def body(state):
        w, _, count = state
        frame = immersion.frame(w)
        step, gradient = newton_step(immersion, frame, target)
        value = merit(w)
        slope = gradient @ frame.components(jax.jvp(immersion, (w,), (step,))[1])
        rounding = 8 * jnp.finfo(value.dtype).eps * (jnp.abs(value) + jnp.abs(slope))

        def too_long(halving):
            length, halvings = halving
            now = merit(w + length * step)
            return ~(now <= value - 1e-4 * length * slope + rounding) & (halvings < MAX_HALVINGS)

        length, halvings = jax.lax.while_loop(
            too_long, lambda h: (0.5 * h[0], h[1] + 1), (jnp.ones((), value.dtype), 0)
        )
        accepted = halvings < MAX_HALVINGS
        residual_norm = jnp.linalg.norm(target - immersion(w))
        done = (jnp.linalg.norm(gradient) <= tol * (1 + residual_norm)) | ~accepted
        return jnp.where(accepted, w + length * step, w), done, count + 1

    target_value, target = target, jax.lax.stop_gradient(target)
    w, _, _ = jax.lax.while_loop(
        lambda s: ~s[1] & (s[2] < MAX_NEWTON_STEPS), body, (jax.lax.stop_gradient(start), jnp.array(False), 0)
    )
    step, gradient = newton_step(immersion, immersion.frame(w), target_value)
    arrived = jnp.linalg.norm(gradient) <= jnp.sqrt(tol) * (1 + jnp.linalg.norm(target - immersion(w)))
    return jnp.where(arrived, w + step, w), arrived
