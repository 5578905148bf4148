"""Ready-made problems with known answers or a prescribed condition number."""

import jax
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
    """A student network fitted to a teacher of the same shape, on inputs of a prescribed condition number.

    `f(w) = alpha (phi(w) - phi(w0))` with targets `y = phi(teacher) - phi(w0) + noise`.

    Arguments:

    - `n`: number of samples; `width`, `depth`: hidden layers of the tanh (or other) network; `inputs`: input dimension.
    - `cond`: condition number of the input matrix (n, inputs), at least 1.
    - `key`: JAX random key of inputs, student, teacher and noise.
    - `alpha`: output scale; `noise`: standard deviation added to the targets; `loss`: by default `SquaredLoss()`.

    Raises: `ValueError` for sizes below 1, `cond < 1`, an unknown activation, `alpha <= 0`, negative noise.

    Reference: theory.md section 5.

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
    """The linear model `f = X w` with `cond(X) = cond`; the flows have closed forms (theory.md section 4).

    `P (f_t - y) = exp(-t) P (f_0 - y)` for Gauss-Newton, `f_t - y = exp(-X X^T t) (f_0 - y)` on the range for gradient flow.

    Arguments:

    - `n`, `p`: the shape of `X`; `cond`: its condition number, at least 1.
    - `key`: JAX random key of inputs, targets and start.
    """
    x_key, y_key, w_key = jr.split(key, 3)
    x = jnp.asarray(synthetic_inputs(n, p, cond, key=x_key))
    return Problem(LinearModel(), jr.normal(w_key, (p,)), x, jr.normal(y_key, (n,)))


def circle(radius: float = 2.0, target: float = 1.0, angle: float = 1.0) -> Problem:
    """`f(theta) = R (cos theta, sin theta)` towards the point `s (1, 0)`, from the angle `phi_0`.

    Gauss-Newton: `tan(phi_t / 2) = tan(phi_0 / 2) exp(-(s / R) t)`: curvature slows the flow where the target lies inside (s < R).

    Arguments:

    - `radius`: `R > 0`; `target`: `s > 0`; `angle`: `phi_0` in radians.

    Raises: `ValueError` unless radius and target are positive.
    """
    if not (radius > 0 and target > 0):
        raise ValueError(f"`radius` and `target` must be positive, got {radius} and {target}.")
    return Problem(
        _circle, {"angle": jnp.array([angle], dtype=float)}, jnp.full((2, 1), radius), jnp.array([target, 0.0])
    )


def _circle(params, x):
    theta = params["angle"][0]
    return x[:, 0] * jnp.stack([jnp.cos(theta), jnp.sin(theta)])


def sphere(radius: float = 1.0, target: float = 0.5, polar: float = 1.2, azimuth: float = 0.7) -> Problem:
    """Spherical coordinates of `S^2` of radius R, towards `s` times the north pole; the angle to it obeys the circle's law.

    Arguments:

    - `radius`: `R > 0`; `target`: `s > 0`.
    - `polar`, `azimuth`: the start, in radians; the north pole has `polar = 0`, where the chart is singular.

    Raises: `ValueError` unless radius and target are positive.
    """
    if not (radius > 0 and target > 0):
        raise ValueError(f"`radius` and `target` must be positive, got {radius} and {target}.")
    return Problem(
        _sphere, jnp.array([polar, azimuth], dtype=float), jnp.full((3, 1), radius), jnp.array([0.0, 0.0, target])
    )


def _sphere(params, x):
    polar, azimuth = params
    return x[:, 0] * jnp.stack([jnp.sin(polar) * jnp.cos(azimuth), jnp.sin(polar) * jnp.sin(azimuth), jnp.cos(polar)])


def torus(major: float = 2.0, minor: float = 0.7, *, start: tuple[float, float] = (1.0, 0.5)) -> Problem:
    """Torus of revolution in R^3, towards a point outside it.

    Arguments:

    - `major`, `minor`: radii of the axis and of the tube, 0 < minor < major.
    - `start`: angles about the axis and about the tube, in radians.

    Raises: `ValueError` for other radii.
    """
    if not 0 < minor < major:
        raise ValueError(f"`minor` and `major` must satisfy 0 < minor < major, got {minor} and {major}.")
    return Problem(
        _torus, jnp.array(start, dtype=float), jnp.array([[major, minor]] * 3), jnp.array([major + 2 * minor, 0.0, 0.0])
    )


def _torus(params, x):
    (u, v), (major, minor) = params, x[0]
    ring = major + minor * jnp.cos(v)
    return jnp.stack([ring * jnp.cos(u), ring * jnp.sin(u), minor * jnp.sin(v)])


def rank_one(rows: int = 4, columns: int = 3, *, key: Key) -> Problem:
    """Rank-one matrices `f(u, v) = u v^T`: an over-complete chart whose Jacobian lacks one rank everywhere.

    Arguments:

    - `rows`, `columns`: of the matrix, at least 2 each.
    - `key`: JAX random key of the start and of the target near it.

    Raises: `ValueError` for fewer.

    Reference: derived here: `(u, -v)` is the direction that is lost.
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
    """`problem` in coordinates `w = w0 + A v` with `cond(A) = cond` and `|A| = 1`, drawn with `key` (theory.md C3).

    Raises: `ValueError` for `cond < 1`.
    """
    return problem.reparametrise(jax.numpy.asarray(conditioned_matrix(problem.p, cond, key=key)))
