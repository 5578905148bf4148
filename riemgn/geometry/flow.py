"""The Riemannian gradient flow `psi' = -grad_M g`, by fixed steps or as an ODE in the outputs."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, ArrayLike, Float

from .._types import Scalar, Times, Weights
from .._validation import finest_tolerance, positive, times_until
from ..result import RESULTS
from ..solver.exponential_time import explicit_solver, solver_name
from ..solver.solve import with_error
from ..trajectory import ManifoldMethod, raise_unless_expected, Trajectory
from .curvature import gradient_and_norm
from .immersion import Ambient, Immersion, TangentFrame
from .output_manifold import checked_manifold, OutputManifold
from .retraction import AbstractRetraction, checked_retraction, nearest, newton_step

# Strictly lower triangular stage matrices and weights. An autonomous flow needs no nodes.
TABLEAUX: dict[str, tuple[list[list[float]], list[float]]] = {
    "euler": ([[0.0]], [1.0]),
    "heun": ([[0.0, 0.0], [1.0, 0.0]], [0.5, 0.5]),
    "rk4": (np.diag([0.5, 0.5, 1.0], -1).tolist(), [1 / 6, 1 / 3, 1 / 3, 1 / 6]),
}
RANK_TOL = 1e-5  # relative to the smallest singular value at the start, the default of `solve`
MAX_STEPS = 4096
NEWTON_STEPS = 16
MIN_LENGTH = 64  # runs of up to this number of steps share one compiled program


def riemannian_flow(
    manifold: OutputManifold,
    method: str = "rk4",
    *,
    step_size: float,
    steps: int,
    retraction: str | AbstractRetraction = "projection",
    throw: bool = True,
) -> Trajectory:
    """Integrate `psi' = -grad_M g` with fixed steps that stay on the output manifold.

    Each step is an explicit Runge-Kutta step in the chart `c -> F(R(B c))` of the retraction `R`:

        c' = -(D_c F(R(B c)))^+ grad_M g(R(B c)),  c(0) = 0

    The order is that of the method for every retraction, because the chart is smooth.

    Arguments:

    - `manifold`: an `OutputManifold`. The flow starts at `manifold.problem.w0`.
    - `method`: "euler", "heun" or "rk4" (default), of order 1, 2 and 4.
    - `step_size`: `h > 0`, in the flow's time.
    - `steps`: number of steps.
    - `retraction`: "chart", "corrected", "projection" (default), "exponential", or your own
      `AbstractRetraction`.
    - `throw`: raise `SolveError` if a retraction fails or the Jacobian loses rank. With False you
      get the trajectory so far.

    Returns: a `Trajectory` with `steps + 1` points.

    Raises: `ValueError` for wrong arguments; `SolveError` on numerical trouble if `throw`.

    >>> import riemgn as rg
    >>> M = rg.OutputManifold(rg.task.circle())
    >>> traj = rg.riemannian_flow(M, "rk4", step_size=0.1, steps=50)
    >>> round(float(traj.ts[-1]), 9), traj.status
    (5.0, 'successful')

    Reference: Hairer, Lubich, Wanner, Geometric Numerical Integration, 2nd ed. (2006), section
    IV.5.
    """
    checked_manifold(manifold)
    if method not in TABLEAUX:
        raise ValueError(f"`method` must be one of {', '.join(TABLEAUX)}, got {method!r}.")
    h, steps, move = positive("step_size", step_size), checked_steps(steps), checked_retraction(retraction)
    tableau = tuple(map(jnp.asarray, TABLEAUX[method]))
    count, rows = _march(manifold.immersion, move, tableau, jnp.asarray(h), jnp.asarray(steps), padded_length(steps))
    saved = {name: np.asarray(value)[: int(count)] for name, value in rows.items()}
    finite = np.isfinite(saved["points"]).all(1) & np.isfinite(saved["losses"])
    lost = saved["sigma_min"] < RANK_TOL * saved["sigma_min"][0]
    status = "successful" if finite.size == steps + 1 else "retraction_failed"
    valid = finite.size
    if not finite.all():
        valid, status = int(np.argmin(finite)), "non_finite"
    if valid == 0:
        raise ValueError(f"The flow must start from finite outputs, got a loss of {saved['losses'][0]}; move `w0`.")
    if lost[:valid].any():
        valid, status = int(np.argmax(lost)) + 1, "rank_lost"
    saved = {"ts": h * np.arange(valid), **{name: value[:valid] for name, value in saved.items()}}
    flow = ManifoldMethod("riemannian flow", method, move.name)
    trajectory = manifold_trajectory(manifold, flow, saved, status, num_steps=valid - 1, step_size=h)
    return raise_unless_expected(trajectory, throw)


def checked_steps(steps: Any) -> int:
    """Check that a number of steps is a positive integer."""
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise ValueError(f"`steps` must be a positive integer, got {steps!r}.")
    return steps


def padded_length(steps: int) -> int:
    """Length of the arrays of a compiled run: one more than a power of two that holds `steps`."""
    return max(MIN_LENGTH, 1 << (steps - 1).bit_length()) + 1


def manifold_trajectory(
    manifold: OutputManifold, flow: ManifoldMethod, saved: dict[str, Any], status: str, **stats: Any
) -> Trajectory:
    """The `Trajectory` of saved rows, with the statistics that all methods on a manifold have."""
    saved = {name: jnp.asarray(value) for name, value in saved.items()}
    common = {"solver": flow.variant, "retraction": flow.retraction, "rank": manifold.dim}
    common["event_time"] = None if status == "successful" else float(saved["ts"][-1])
    return Trajectory(
        problem=manifold.problem,
        flow=flow,
        outputs=saved["points"][:, : manifold.problem.n],
        error=None,
        result=getattr(RESULTS, status),
        stats=common | stats,
        **saved,
    )


class PointData(eqx.Module):
    """A point of `M`: its tangent frame at `w`, and the loss and `grad_M g` at `psi`."""

    frame: TangentFrame
    psi: Ambient
    gradient: Ambient
    norm: Scalar
    loss: Scalar
    sigma: Scalar

    def __init__(self, immersion: Immersion, w: Weights, psi: Ambient | None = None):
        problem = immersion.problem
        self.frame, self.psi = immersion.frame(w), immersion(w) if psi is None else psi
        self.gradient, self.norm = gradient_and_norm(immersion, self.frame, self.psi)
        self.loss, self.sigma = problem.loss(self.psi[: problem.n], problem.y), self.frame.min_singular_value()

    @property
    def row(self) -> dict[str, Array]:
        """What a trajectory saves."""
        values = (self.frame.w, self.psi, self.loss, self.norm, self.sigma)
        return dict(zip(("params", "points", "losses", "grad_norms", "sigma_min"), values, strict=True))


def empty_rows(row: dict[str, Array], length: int) -> dict[str, Array]:
    """Zero arrays for `length` rows."""
    return {name: jnp.zeros((length, *value.shape), value.dtype) for name, value in row.items()}


@eqx.filter_jit
def _march(immersion: Immersion, retraction: AbstractRetraction, tableau, h: Scalar, steps: Array, length: int):
    """Take up to `steps` steps while the parameters are finite: the rows, and their number."""

    def body(state):
        w, count, rows = state
        at = PointData(immersion, w)
        rows = {name: rows[name].at[count].set(value) for name, value in at.row.items()}
        move = (count < steps) & (at.norm > 0)
        return jax.lax.cond(move, lambda: _step(immersion, retraction, at, tableau, h), lambda: w), count + 1, rows

    def unfinished(state):
        w, count, _ = state
        return (count <= steps) & jnp.all(jnp.isfinite(w))

    w0 = immersion.problem.w0
    row = jax.eval_shape(lambda: PointData(immersion, w0).row)
    return jax.lax.while_loop(unfinished, body, (w0, jnp.zeros((), int), empty_rows(row, length)))[1:]


def _step(immersion: Immersion, retraction: AbstractRetraction, at: PointData, tableau, h: Scalar) -> Weights:
    """One Runge-Kutta step in the chart of the retraction at a point."""
    frame, (matrix, weights) = at.frame, tableau

    def chart(c):
        w = retraction(immersion, frame, frame.basis @ c)
        psi = immersion(w)
        return psi, (w, psi)

    def velocity(c):
        jac, (w, psi) = jax.jacfwd(chart, has_aux=True)(c)
        v = -gradient_and_norm(immersion, immersion.frame(w), psi)[0]
        q, r = jnp.linalg.qr(jac)
        return jax.scipy.linalg.solve_triangular(r, q.T @ v)

    first = -frame.components(at.gradient)  # the chart's derivative at c = 0 is B
    stages = jnp.zeros((weights.size, first.size), first.dtype).at[0].set(first)
    if weights.size > 1:
        stages = jax.lax.fori_loop(1, weights.size, lambda i, k: k.at[i].set(velocity(h * (matrix[i] @ k))), stages)
    return retraction(immersion, frame, frame.basis @ (h * (weights @ stages)))


# --- the flow as an ODE in the outputs ------------------------------------------------------------


class _Args(eqx.Module):
    """The immersion, the tolerance of the projection, and the limits of the two events."""

    immersion: Immersion
    tol: Scalar
    min_sigma: Scalar
    max_distance: Scalar


def output_flow(
    manifold: OutputManifold,
    t1: float = 20.0,
    *,
    ts: ArrayLike | None = None,
    rtol: float = 1e-10,
    atol: float = 1e-12,
    throw: bool = True,
    error: bool = False,
) -> Trajectory:
    """Integrate `psi' = -P grad g(psi)` as an ODE in the ambient point `psi`.

    `P` is the projector at the nearest point of `M`, which is computed at each evaluation. This
    shares neither state nor linear algebra with `solve(problem, GaussNewtonFlow())`, so you can use
    it to check that both give the same outputs (Statement C1).

    The distance of `psi` from `M` is constant along the exact flow. If it exceeds `sqrt(rtol) (1 +
    |psi_0|)`, then `psi` has crossed an edge of `M`, where the chart is singular. The flow ends
    there with "rank_lost", or with "retraction_failed" if the chart is regular.

    Arguments:

    - `manifold`: an `OutputManifold`. The flow starts at `manifold.problem.w0`.
    - `t1`: end time > 0. Defaults to 20.
    - `ts`: increasing times in [0, t1] to save at. Defaults to 129 equally spaced times. Between
      steps the solver interpolates, with a larger error than that of a step. If you need the last
      digits at a time, end the flow there.
    - `rtol`, `atol`: tolerances of one step, relative to `psi` and in units of the outputs. In
      float32 `rtol` is at least 1e-5.
    - `throw`: raise `SolveError` if the Jacobian loses rank or all 4096 steps are used. With False
      you get the trajectory so far.
    - `error`: integrate again at a hundredth of the tolerances. The result is `Trajectory.tight`,
      and `Trajectory.error` is the difference of the outputs.

    Returns: a `Trajectory`, with `points` the states `psi` and `params` those of the nearest
    points.

    Raises: `ValueError` for wrong arguments; `SolveError` on numerical trouble if `throw`.

    >>> import jax.numpy as jnp, riemgn as rg
    >>> problem = rg.task.circle()
    >>> one = rg.output_flow(rg.OutputManifold(problem), t1=5.0)
    >>> other = rg.solve(problem, rg.GaussNewtonFlow(), t1=5.0, rtol=1e-10, atol=1e-12)
    >>> bool(jnp.abs(one.outputs - other.outputs).max() < 1e-8)
    True

    Reference: Statement C1; Cayci, arXiv:2412.14031v4.
    """
    immersion, t1 = checked_manifold(manifold).immersion, positive("t1", t1)
    rtol, atol = max(positive("rtol", rtol), finest_tolerance()), positive("atol", atol)
    times = times_until(ts, t1)
    psi0, sigma, *rates = _start(immersion)
    if not bool(jnp.all(jnp.isfinite(psi0)) & jnp.isfinite(sigma)):
        raise ValueError("The flow must start from finite outputs and Jacobian; move `w0` or rescale the data.")
    scale = 1 + float(jnp.linalg.norm(psi0))
    # The projection stops at the rounding of psi, or a hundred times below the tolerance of a step.
    tol = max(16 * float(jnp.finfo(psi0.dtype).eps) * scale, 1e-2 * atol)
    args = _Args(immersion, *map(jnp.asarray, (tol, RANK_TOL * sigma, rtol**0.5 * scale)))
    solver = explicit_solver(*map(float, rates))
    solution = _integrate(args, times, *map(jnp.asarray, (t1, rtol, atol)), solver, MAX_STEPS)
    flow = ManifoldMethod("output flow", solver_name(solver))
    trajectory = _trajectory(manifold, flow, args, times, solution, {"rtol": rtol, "atol": atol})
    if error:
        tight = output_flow(manifold, t1, ts=times, rtol=rtol / 100, atol=atol / 100, throw=False)
        trajectory = with_error(trajectory, tight)
    return raise_unless_expected(trajectory, throw)


def _trajectory(
    manifold: OutputManifold, flow: ManifoldMethod, args: _Args, times: Times, solution, tolerances: dict
) -> Trajectory:
    """Trim the times that were not reached, append the end, evaluate the rows, name the status."""
    reached = np.isfinite(solution.ts[0])
    t_end, end = solution.ts[1], solution.ys[1]
    last = float(times[reached][-1]) if reached.any() else -1.0
    append = bool(jnp.all(jnp.isfinite(end["psi"]))) and float(t_end[0]) > last * (1 + 1e-12)
    valid = np.append(reached, append)
    states = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), solution.ys[0], end)
    rows = {name: value[valid] for name, value in _sample(args, states).items()}
    if bool(solution.event_mask):
        inside = rows["params"][-2] if valid.sum() > 1 else manifold.problem.w0
        edge = _row_beyond_edge(args, rows["points"][-1], inside)
        if bool(edge["distance"] < rows["distance"][-1]):
            rows = {name: value.at[-1].set(edge.get(name, value[-1])) for name, value in rows.items()}
    rank_fell = bool(rows["sigma_min"][-1] < 0.1 / RANK_TOL * args.min_sigma)
    status = _status(solution, rank_fell, bool(jnp.all(jnp.isfinite(rows["losses"]))))
    stats = {name: float(rows.pop(name).max()) for name in ("drift", "distance")}
    stats |= tolerances | {"num_steps": int(solution.stats["num_accepted_steps"])}
    return manifold_trajectory(manifold, flow, {"ts": jnp.append(times, t_end)[valid], **rows}, status, **stats)


def _status(solution, rank_fell: bool, finite: bool) -> str:
    if bool(solution.event_mask):
        return "rank_lost" if rank_fell else "retraction_failed"
    if not finite:
        return "non_finite"
    if bool(solution.result == diffrax.RESULTS.successful):
        return "successful"
    if rank_fell:  # the speed of the parameters is unbounded at the singular set, and steps are cut without end
        return "rank_lost"
    return "step_limit" if bool(solution.result == diffrax.RESULTS.max_steps_reached) else "step_collapsed"


def _nearest(psi: Ambient, w: Weights, args: _Args) -> Weights:
    """Parameters of the nearest point, by Newton's method from nearby parameters."""

    def body(state):
        w, _, count = state
        step, gradient = newton_step(args.immersion, args.immersion.frame(w), psi)
        return w + step, jnp.linalg.norm(gradient) > args.tol, count + 1

    return jax.lax.while_loop(lambda s: s[1] & (s[2] < NEWTON_STEPS), body, (w, jnp.array(True), 0))[0]


def _field(t, y, args: _Args):
    """`psi'`, and the `w' = J^+ psi'` that only gives Newton's method its start."""
    frame = args.immersion.frame(_nearest(y["psi"], y["w"], args))
    velocity = -gradient_and_norm(args.immersion, frame, y["psi"])[0]
    return {"psi": velocity, "w": frame.coordinates(velocity)}


def _ambient_norm(scaled_error):
    return jnp.nan_to_num(jnp.sqrt(jnp.mean(scaled_error["psi"] ** 2)), nan=jnp.inf)


def _margin(t, y, args: _Args, **kwargs):
    """Positive while the chart is regular and the state on `M`."""
    sigma = args.immersion.frame(y["w"]).min_singular_value() / args.min_sigma - 1
    distance = jnp.linalg.norm(y["psi"] - args.immersion(_nearest(y["psi"], y["w"], args)))
    return jnp.nan_to_num(jnp.minimum(sigma, 1 - distance / args.max_distance), nan=-1.0)


@eqx.filter_jit
def _integrate(
    args: _Args, ts: Times, t1: Scalar, rtol: Scalar, atol: Scalar, solver: diffrax.AbstractSolver, max_steps: int
):
    w0 = args.immersion.problem.w0
    dtmin = 8 * jnp.finfo(t1.dtype).eps * t1
    return diffrax.diffeqsolve(
        diffrax.ODETerm(_field),
        solver,
        t0=0.0,
        t1=t1,
        dt0=None,
        y0={"psi": args.immersion(w0), "w": w0},
        args=args,
        saveat=diffrax.SaveAt(subs=[diffrax.SubSaveAt(ts=ts), diffrax.SubSaveAt(t1=True)]),
        stepsize_controller=diffrax.PIDController(
            rtol=rtol, atol=atol, norm=_ambient_norm, dtmin=dtmin, force_dtmin=False
        ),
        event=diffrax.Event(_margin, optx.Bisection(1e-9, 1e-9, flip=True)),
        max_steps=max_steps,
        throw=False,
    )


@eqx.filter_jit
def _start(immersion: Immersion):
    """The point, the smallest singular value, and the slowest and fastest rate at the start."""
    w0 = immersion.problem.w0
    psi0 = immersion(w0)
    hessian = immersion.problem.without_jacobian(immersion.problem.outputs(w0)).loss_hessian
    return psi0, immersion.frame(w0).min_singular_value(), jnp.min(hessian), jnp.max(hessian)


def _row(args: _Args, psi: Ambient, w: Weights) -> dict[str, Array]:
    """The saved quantities at a state and the parameters of its nearest point."""
    return {**PointData(args.immersion, w, psi).row, "distance": jnp.linalg.norm(psi - args.immersion(w))}


@eqx.filter_jit
def _sample(args: _Args, states: dict[str, Float[Array, "t _"]]) -> dict[str, Array]:
    """The rows at all states; `drift` is the distance to the point of the integrated parameters."""

    def row(y):
        drift = jnp.linalg.norm(y["psi"] - args.immersion(y["w"]))
        return {**_row(args, y["psi"], _nearest(y["psi"], y["w"], args)), "drift": drift}

    return jax.lax.map(row, states)


@eqx.filter_jit
def _row_beyond_edge(args: _Args, psi: Ambient, start: Weights) -> dict[str, Array]:
    """The row at a state beyond an edge of `M`, where Newton's method needs a line search."""
    return _row(args, psi, nearest(args.immersion, psi, start, args.tol))
