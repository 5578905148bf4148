"""Quantities along a trajectory: dissipation, speed, damping, curvature and logarithmic rates."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.integrate
from jaxtyping import Array, Float

from ..flow import AbstractFlow
from ..geometry.curvature import riemannian_grad, riemannian_hess
from ..geometry.immersion import Immersion
from ..linalg import singular_values, thin_svd
from ..method import AbstractMethod
from ..problem import Problem
from ..trajectory import Trajectory

# central differences of order 8: offsets 1..4 in steps, antisymmetric
WEIGHTS = np.array([4 / 5, -1 / 5, 4 / 105, -1 / 280])
NODES_PER_INTERVAL = 8  # Gauss-Legendre nodes, exact for polynomials of degree 15 on each interval


def rank_at_start(traj: Trajectory) -> int:
    """Return the rank of the Jacobian that the solver found at the starting point.

    Raises: `ValueError` if the run computed no singular values.
    """
    if traj.stats["rank"] is None:
        raise ValueError("This claim needs singular values; solve with matrix_free=False or iterate with spectra=True.")
    return int(traj.stats["rank"])


def immersion_of(traj: Trajectory) -> Immersion:
    """Return the chart of the output manifold, with the rank at the start."""
    return Immersion(traj.problem, None, None, dim=rank_at_start(traj))


def kappas(traj: Trajectory, params: Float[Array, "t p"]) -> Float[np.ndarray, " t"]:
    """Compute `kappa = Hess_M g[u, u] / |u|^2` with `u = grad_M g` at single points.

    Reference: Statement C4.
    """
    return np.asarray(_kappas(immersion_of(traj), params))


@eqx.filter_jit
def _kappas(immersion: Immersion, params):
    def at(w):
        frame = immersion.frame(w)
        u = riemannian_grad(immersion, frame)
        return riemannian_hess(immersion, frame, u, u) / (u @ u)

    return jax.lax.map(at, params)


def gradient_log_rates(traj: Trajectory, ts: Float[np.ndarray, " t"], step: float) -> Float[np.ndarray, " t"]:
    """Compute `-1/2 d/dt log |u|^2` at `ts` by differences of order 8 of the dense output.

    No derivative of the flow enters.

    Raises: `ValueError` without dense output.
    """
    offsets = np.concatenate([-np.arange(1, WEIGHTS.size + 1)[::-1], np.arange(1, WEIGHTS.size + 1)]) * step
    params = states_at(traj, (ts[:, None] + offsets).ravel())
    logs = 0.5 * np.log(np.asarray(_squared_gradients(immersion_of(traj), params))).reshape(ts.size, offsets.size)
    return -logs @ np.concatenate([-WEIGHTS[::-1], WEIGHTS]) / step


@eqx.filter_jit
def _squared_gradients(immersion: Immersion, params):
    def at(w):
        u = riemannian_grad(immersion, immersion.frame(w))
        return u @ u

    return jax.lax.map(at, params)


def states_at(traj: Trajectory, ts: Float[np.ndarray, " t"]) -> Float[Array, "t p"]:
    """Return the parameters at any times from the dense output.

    Raises: `ValueError` without dense output.
    """
    if traj.interpolation is None:
        raise ValueError("This claim needs values between the saved times; solve with dense=True.")
    return _evaluate(traj.interpolation, jnp.asarray(ts))


@eqx.filter_jit
def _evaluate(interpolation, ts):
    return jax.vmap(lambda t: interpolation.evaluate(t)["w"])(ts)


def integrals(
    traj: Trajectory, integrand: Callable, count: int = NODES_PER_INTERVAL
) -> Float[np.ndarray, " intervals"]:
    """Compute `int integrand(t, w_t) dt` over each interval between saved times.

    It uses Gauss-Legendre quadrature of the dense output with `count` nodes in each interval. The
    integrand is a function of (t, w, problem, flow, rank) at module level, so that it compiles
    once.
    """
    nodes, weights = np.polynomial.legendre.leggauss(count)
    edges = np.asarray(traj.ts)
    half, middle = 0.5 * np.diff(edges), 0.5 * (edges[1:] + edges[:-1])
    ts = (middle[:, None] + half[:, None] * nodes).ravel()
    return _mapped(integrand, traj, ts, states_at(traj, ts)).reshape(half.size, nodes.size) @ weights * half


def at_saved_times(traj: Trajectory, function: Callable) -> Float[np.ndarray, " t"]:
    """Evaluate a scalar function of (t, w, problem, flow, rank) at every saved time."""
    return _mapped(function, traj, traj.ts, traj.params)


def _mapped(function: Callable, traj: Trajectory, ts, params) -> np.ndarray:
    rank = jnp.asarray(rank_at_start(traj))
    return np.asarray(_compiled_map(function, traj.problem, traj.flow, jnp.asarray(ts), params, rank))


@eqx.filter_jit
def _compiled_map(function, problem: Problem, flow: AbstractFlow | AbstractMethod, ts, params, rank):
    return jax.lax.map(lambda pair: function(pair[0], pair[1], problem, flow, rank), (ts, params))


def dissipation(t, w, problem, flow, rank):
    """`-d/dt g(f(w_t)) = sum_i phi(s_i^2) (u_i^T grad g)^2`, from an SVD.

    It shares no code with `flow.direction`, so it is an independent check.
    """
    point = problem.linearise(w)
    point = point.whitened() if flow.whitens else point
    svd = thin_svd(point.jac)
    gain = flow.gain(svd.s**2, flow.damping(t, point, rank))
    return jnp.sum(jnp.where(jnp.arange(svd.s.size) < rank, gain * (svd.u.T @ point.loss_gradient) ** 2, 0.0))


def speed(t, w, problem, flow, rank):
    """`|w'|`."""
    return jnp.linalg.norm(flow.velocity(t, w, problem, rank)[0])


def score_dissipation(t, w, problem, flow, rank):
    """`-d/dt F(w_t) = <grad F, G^-1 grad F>` of the GGN-SCORE flow, `G = c D + J^T Q J`.

    `grad F` comes from automatic differentiation and `G^-1` from an SVD. With
    `A = Q^{1/2} J D^{-1/2} = U S V^T` and `b = D^{-1/2} grad F` it equals
    `sum_i (v_i^T b)^2 / (c + s_i^2) + |b - V V^T b|^2 / c`.
    """
    root = jnp.sqrt(flow.penalty.hessian_diagonal(w))
    b = jax.grad(flow.objective, argnums=1)(problem, w) / root
    svd = thin_svd(problem.linearise(w).whitened().jac / root)
    inside = svd.vt @ b
    return jnp.sum(inside**2 / (flow.c + svd.s**2)) + jnp.sum((b - inside @ svd.vt) ** 2) / flow.c


def objective(t, w, problem, flow, rank):
    """The function that the flow minimises."""
    return flow.objective(problem, w)


def smallest_metric_entry(t, w, problem, flow, rank):
    """The smallest entry of `c D`, a lower bound of the eigenvalues of the GGN-SCORE metric."""
    return flow.c * jnp.min(flow.penalty.hessian_diagonal(w))


def smallest_gain(t, w, problem, flow, rank):
    """`theta = phi(lambda_min(K))`, the smallest gain on the singular values that count."""
    point = problem.linearise(w)
    s = singular_values(point.jac)
    gain = flow.gain(s**2, flow.damping(t, point, rank))
    return jnp.min(jnp.where(jnp.arange(s.size) < rank, gain, jnp.inf))


def cumulative(ts: Float[np.ndarray, " t"], values: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
    """Integrate from the first time to each time, by Simpson's rule on the saved times."""
    return scipy.integrate.cumulative_simpson(values, x=ts, initial=0.0)


def gradients(traj: Trajectory) -> Float[np.ndarray, "t n"]:
    """Compute `grad g(f(w_t))` at the saved times."""
    return np.asarray(jax.vmap(traj.problem.loss_gradient)(traj.outputs))


def gaps(traj: Trajectory) -> Float[np.ndarray, " t"]:
    """Compute `g(f(w_t)) - inf g` at the saved times."""
    return np.asarray(traj.losses - traj.problem.loss.infimum(traj.problem.y))


def jacobian_change(traj: Trajectory) -> float:
    """Compute `|J(w_T) - J(w_0)| / |J(w_0)|` in the Frobenius norm, small in the lazy regime."""
    start, end = (np.asarray(jacobian(traj.problem, traj.params[i])) for i in (0, -1))
    return float(np.linalg.norm(end - start) / np.linalg.norm(start))


def metric_change(traj: Trajectory) -> float:
    """Compute `|J(w_T) - J(w_0)|_2 / sigma_min(J(w_0))`, which bounds the change of `|J v|`."""
    start, end = (np.asarray(jacobian(traj.problem, traj.params[i])) for i in (0, -1))
    return float(np.linalg.norm(end - start, 2) / np.linalg.svd(start, compute_uv=False)[-1])


@eqx.filter_jit
def jacobian(problem: Problem, w: Float[Array, " p"]) -> Float[Array, "n p"]:
    """`J(w)`, compiled."""
    return problem.jac(w)


def polyak_quotient(traj: Trajectory, floor: float = 1e-20) -> float:
    """Compute `min |grad g|^2 / (2 (g - inf g))` over gaps above `floor` times the first gap."""
    gap = gaps(traj)
    above = gap > floor * gap[0]
    return float(np.min(np.sum(gradients(traj) ** 2, axis=1)[above] / (2 * gap[above])))
