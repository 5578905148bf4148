"""Geodesics, exponential map, parallel transport and logarithm, without Christoffel symbols.

    w'' = -J^+ D^2 F[w', w']        b' = -J^+ D^2 F[w', b]

The integrator also carries the ambient `psi' = J w'` and `theta' = J b`. Their error alone controls
the step, so the step does not depend on the coordinates of the parameters.
"""

from typing import NamedTuple

import diffrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Scalar, Times, Weights
from .immersion import Ambient, Immersion, TangentFrame

MAX_STEPS = 4096
SHOOTING_STEPS = 64


def default_tolerance() -> float:
    """Relative tolerance of one step: 1e-11 in float64, 1e-5 in float32."""
    return 1e-11 if jnp.zeros(()).dtype == jnp.float64 else 1e-5


class Curve(NamedTuple):
    """A geodesic at the requested times, NaN after the integrator stopped.

    `params`, their `velocity` and the `transported` vector in coordinates, each (t, p).
    """

    params: Float[Array, "t p"]
    velocity: Float[Array, "t p"]
    transported: Float[Array, "t p"]


def _field(t, y, immersion):
    frame = immersion.frame(y["w"])
    return {
        "w": y["a"],
        "a": -frame.coordinates(immersion.second_derivative(y["w"], y["a"], y["a"])),
        "b": -frame.coordinates(immersion.second_derivative(y["w"], y["a"], y["b"])),
        "psi": frame.push_forward(y["a"]),
        "theta": frame.push_forward(y["b"]),
    }


def _ambient_norm(scaled_error):
    ambient = jnp.concatenate([scaled_error["psi"], scaled_error["theta"]])
    return jnp.nan_to_num(jnp.sqrt(jnp.mean(ambient**2)), nan=jnp.inf)


def integrate(immersion: Immersion, frame: TangentFrame, u: Ambient, v: Ambient, ts: Times, rtol: Scalar) -> Curve:
    """The geodesic with velocity `u`, and `v` transported along it, at increasing times."""
    psi = immersion(frame.w)
    y0 = {"w": frame.w, "a": frame.coordinates(u), "b": frame.coordinates(v), "psi": psi, "theta": jnp.zeros_like(psi)}
    # The absolute tolerance is relative to the length of the curve.
    scale = jnp.maximum(jnp.linalg.norm(u) * jnp.max(jnp.abs(ts)), jnp.finfo(psi.dtype).tiny ** 0.5)
    atol = 0.1 * rtol * jnp.minimum(scale, 1.0)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(_field),
        diffrax.Dopri8(),
        t0=jnp.zeros((), psi.dtype),
        t1=ts[-1],
        dt0=None,
        y0=y0,
        args=immersion,
        saveat=diffrax.SaveAt(ts=ts, fn=lambda t, y, args: (y["w"], y["a"], y["b"])),
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol, norm=_ambient_norm),
        adjoint=diffrax.ForwardMode(),
        max_steps=MAX_STEPS,
        throw=False,
    )
    return Curve(*jax.tree.map(lambda y: jnp.where(jnp.isfinite(y), y, jnp.nan), solution.ys))


def points(immersion: Immersion, frame: TangentFrame, u: Ambient, ts: Times, rtol: Scalar) -> Float[Array, "t p"]:
    """The parameters of the geodesic with velocity `u` at increasing times."""
    return integrate(immersion, frame, u, jnp.zeros_like(u), ts, rtol).params


def exp(immersion: Immersion, frame: TangentFrame, u: Ambient, rtol: Scalar) -> Weights:
    """`exp(u)`, the parameters after unit time. NaN if the integrator did not reach it."""
    return points(immersion, frame, u, jnp.ones(1, u.dtype), rtol)[-1]


def transport(immersion: Immersion, frame: TangentFrame, u: Ambient, direction: Ambient, rtol: Scalar) -> Ambient:
    """Parallel transport of `u` along the geodesic `exp(t direction)` to t = 1."""
    curve = integrate(immersion, frame, direction, u, jnp.ones(1, u.dtype), rtol)
    return jax.jvp(immersion, (curve.params[-1],), (curve.transported[-1],))[1]


def log(immersion: Immersion, frame: TangentFrame, other: Weights, rtol: Scalar) -> tuple[Ambient, Scalar]:
    """`log`, the initial velocity of the geodesic to `F(other)`, and the distance missed.

    Shooting by Gauss-Newton with step halving on `miss(c) = F(exp(B c)) - F(other)`. The unknowns
    `c` are components in the basis of the tangent space, so the chart may be rank-deficient. The
    start is the tangent part of the chord, stretched to the length of the chord.
    """
    target = immersion(other)
    chord = target - immersion(frame.w)
    start = frame.components(chord)
    length = jnp.linalg.norm(start)
    start = start * jnp.linalg.norm(chord) / jnp.where(length > 0, length, 1.0)
    eps = jnp.finfo(target.dtype).eps

    def miss(components):
        value = immersion(exp(immersion, frame, frame.basis @ components, rtol)) - target
        return value, value

    def body(state):
        c, best, step, share, count = state
        trial = c + share * step
        jac, value = jax.jacfwd(miss, has_aux=True)(trial)
        size = jnp.linalg.norm(value)
        better = size < best  # False for the NaN of a geodesic that left the chart
        q, r = jnp.linalg.qr(jac)
        new_step = -jax.scipy.linalg.solve_triangular(r, q.T @ value)
        c, best = jnp.where(better, trial, c), jnp.where(better, size, best)
        return c, best, jnp.where(better, new_step, step), jnp.where(better, 1.0, 0.5 * share), count + 1

    def unfinished(state):
        c, _, step, share, count = state
        moving = share * jnp.linalg.norm(step) > 100 * eps * jnp.linalg.norm(c)
        return (count < SHOOTING_STEPS) & moving

    state = (jnp.zeros_like(start), jnp.linalg.norm(chord), start, jnp.ones((), target.dtype), 0)
    c, best, *_ = jax.lax.while_loop(unfinished, body, state)
    return frame.basis @ c, best
