"""Ready-made problems with known answers or a prescribed condition number."""

import jax.numpy as jnp
import jax.random as jr

from ._types import Key
from .data import conditioned_matrix, synthetic_inputs
from .loss import AbstractLoss
from .model import Centred, LinearModel, MLP, Scaled
from .problem import Problem


def teacher_student(
    n: int = 64,
    width: int = 8,
    cond: float = 1e2,
    *,
    key: Key,
    inputs: int = 4,
    depth: int = 1,
    activation: str = "tanh",
    alpha: float = 1.0,
    noise: float = 0.0,
    loss: AbstractLoss | None = None,
) -> Problem:
    """Fit a student network to a teacher of the same shape, with a given condition number.

    By definition `f(w) = alpha (phi(w) - phi(w0))` and `y = phi(teacher) - phi(w0) + noise`.

    Arguments:

    - `n`, `inputs`, `cond`: shape and condition number of the input matrix.
    - `width`, `depth`, `activation`: size and number of the hidden layers, and see `MLP`.
    - `key`: JAX random key of inputs, student, teacher and noise.
    - `alpha`, `noise`: output scale, and standard deviation of the noise in the targets.
    - `loss`: defaults to `SquaredLoss()`.

    Raises: `ValueError` for sizes or `cond` below 1, `alpha <= 0`, and negative noise.

    >>> import jax, riemgn as rg
    >>> rg.teacher_student(n=20, width=3, cond=10.0, key=jax.random.key(0)).p
    19
    """
    if n < 1 or width < 1 or depth < 1 or inputs < 1:
        raise ValueError(
            f"`n`, `width`, `depth` and `inputs` must be positive, got {n}, {width}, {depth} and {inputs}."
        )
    if not noise >= 0:
        raise ValueError(f"`noise` must be >= 0, got {noise}.")
    x_key, w_key, teacher_key, noise_key = jr.split(key, 4)
    x = jnp.asarray(synthetic_inputs(n, inputs, cond, key=x_key))
    net = MLP((inputs, *[width] * depth, 1), activation)
    params, teacher = net.init(key=w_key), net.init(key=teacher_key)
    y = net(teacher, x) - net(params, x) + noise * jr.normal(noise_key, (n,))
    return Problem(Scaled(Centred(net, params), alpha), params, x, y, loss)


def linear(n: int = 20, p: int = 5, cond: float = 1e2, *, key: Key) -> Problem:
    """Make the linear model `f = X w` with `cond(X) = cond`, for which the flows have closed forms.

    Gauss-Newton: `P (f_t - y) = exp(-t) P (f_0 - y)`. Gradient flow, on the range:
    `f_t - y = exp(-X X^T t) (f_0 - y)`, by definition. `X` is (`n`, `p`), drawn with `key`.
    """
    x_key, y_key, w_key = jr.split(key, 3)
    x = jnp.asarray(synthetic_inputs(n, p, cond, key=x_key))
    return Problem(LinearModel(), jr.normal(w_key, (p,)), x, jr.normal(y_key, (n,)))


def circle(radius: float = 2.0, target: float = 1.0, angle: float = 1.0) -> Problem:
    """Make `f(theta) = R (cos theta, sin theta)`, from the angle `phi_0` towards `s (1, 0)`.

    `radius` is `R`, `target` is `s`, and `angle` is `phi_0` in radians. For Gauss-Newton one
    derives `tan(phi_t / 2) = tan(phi_0 / 2) exp(-(s / R) t)`: curvature slows it if s < R.

    Raises: `ValueError` unless radius and target are positive.
    """
    _check_radius_and_target(radius, target)
    params = {"angle": jnp.array([angle], dtype=float)}
    return Problem(_circle, params, jnp.full((2, 1), radius), jnp.array([target, 0.0]))


def _circle(params, x):
    theta = params["angle"][0]
    return x[:, 0] * jnp.stack([jnp.cos(theta), jnp.sin(theta)])


def sphere(radius: float = 1.0, target: float = 0.5, polar: float = 1.2, azimuth: float = 0.7) -> Problem:
    """Make spherical coordinates of `S^2` of radius R, towards `s` times the north pole.

    The angle to the north pole obeys the law of `circle`, with the same `radius` and `target`. The
    start `polar`, `azimuth` is in radians. The chart is singular at the pole, `polar = 0`.

    Raises: `ValueError` unless radius and target are positive.
    """
    _check_radius_and_target(radius, target)
    params = jnp.array([polar, azimuth], dtype=float)
    return Problem(_sphere, params, jnp.full((3, 1), radius), jnp.array([0.0, 0.0, target]))


def _check_radius_and_target(radius: float, target: float) -> None:
    if not (radius > 0 and target > 0):
        raise ValueError(f"`radius` and `target` must be positive, got {radius} and {target}.")


def _sphere(params, x):
    polar, azimuth = params
    return x[:, 0] * jnp.stack([jnp.sin(polar) * jnp.cos(azimuth), jnp.sin(polar) * jnp.sin(azimuth), jnp.cos(polar)])


def torus(major: float = 2.0, minor: float = 0.7, *, start: tuple[float, float] = (1.0, 0.5)) -> Problem:
    """Make a torus of revolution in R^3, towards a point outside it.

    `major` and `minor` are the radii of the axis and of the tube, `start` holds the angles about
    them, in radians.

    Raises: `ValueError` unless 0 < minor < major.
    """
    if not 0 < minor < major:
        raise ValueError(f"`minor` and `major` must satisfy 0 < minor < major, got {minor} and {major}.")
    x, y = jnp.array([[major, minor]] * 3), jnp.array([major + 2 * minor, 0.0, 0.0])
    return Problem(_torus, jnp.array(start, dtype=float), x, y)


def _torus(params, x):
    (u, v), (major, minor) = params, x[0]
    ring = major + minor * jnp.cos(v)
    return jnp.stack([ring * jnp.cos(u), ring * jnp.sin(u), minor * jnp.sin(v)])


def rank_one(rows: int = 4, columns: int = 3, *, key: Key) -> Problem:
    """Make rank-one matrices `f(u, v) = u v^T`, a chart with one parameter too many.

    By definition its Jacobian lacks one rank everywhere: the direction `(u, -v)` does not change
    the outputs. `key` draws the start and the target near it.

    Raises: `ValueError` unless `rows` and `columns` are at least 2.
    """
    if rows < 2 or columns < 2:
        raise ValueError(f"`rows` and `columns` must be at least 2, got {rows} and {columns}.")
    u_key, v_key, y_key = jr.split(key, 3)
    params = {"u": jr.normal(u_key, (rows,)), "v": jr.normal(v_key, (columns,))}
    target = jnp.outer(params["u"], params["v"]) + 0.3 * jr.normal(y_key, (rows, columns))
    return Problem(_outer, params, jnp.zeros((rows, 1)), target)


def _outer(params, x):
    return jnp.outer(params["u"], params["v"])


def reparametrised(problem: Problem, cond: float, *, key: Key) -> Problem:
    """Write `problem` in coordinates `v`, `w = w0 + A v`, with a random `A` (Statement C3).

    `A` is drawn with `key` and has the condition number `cond` and `|A| = 1`.

    Raises: `ValueError` for `cond < 1`.
    """
    return problem.reparametrise(jnp.asarray(conditioned_matrix(problem.p, cond, key=key)))
