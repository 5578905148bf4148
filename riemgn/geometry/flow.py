"""The Riemannian gradient flow `psi' = -grad_M g` on the output manifold: fixed steps through a retraction, and an ODE in the outputs themselves."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, ArrayLike, Float

from .._types import Scalar, Times, Weights
from .._validation import finest_tolerance, positive, times_until
from ..solver.exponential_time import explicit_solver, solver_name
from .immersion import Ambient, Immersion, TangentFrame
from .output_manifold import OutputManifold
from .path import (
    checked_manifold,
    checked_retraction,
    checked_steps,
    finished,
    gradient_at,
    least_singular_value,
    ManifoldPath,
    PathError as PathError,
    RANK_TOL,
    room,
)
from .retraction import AbstractRetraction, ExponentialRetraction, nearest, newton_step

# Rows of the strictly lower triangular stage matrices, and weights; the flow is autonomous, so that the nodes do not matter.
TABLEAUX: dict[str, tuple[list[list[float]], list[float]]] = {
    "euler": ([[]], [1.0]),
    "heun": ([[], [1.0]], [0.5, 0.5]),
    "rk4": ([[], [0.5], [0.0, 0.5], [0.0, 0.0, 1.0]], [1 / 6, 1 / 3, 1 / 3, 1 / 6]),
}
METHODS = (*TABLEAUX, "geodesic_euler")
MAX_STEPS = 4096
NEWTON_STEPS = 16


def riemannian_flow(
    manifold: OutputManifold,
    method: str = "rk4",
    *,
    step_size: float,
    steps: int,
    retraction: str | AbstractRetraction = "projection",
    throw: bool = True,
) -> ManifoldPath:
    """Integrate `psi' = -grad_M g` from the problem's starting point with a fixed step, staying on `M`.

    An explicit Runge-Kutta method in the local chart `c -> F(R(B c))` that the retraction `R` gives at the present point:

        c' = -(D_c F(R(B c)))^+ grad_M g(R(B c)),  c(0) = 0

    whose stages are points of `M`; the step ends at `R(h B sum_i b_i k_i)`. Since the chart is smooth the order is the method's, with any retraction.

    Arguments:

    - `manifold`: an `OutputManifold`.
    - `method`: "euler", "heun", "rk4" of order 1, 2, 4; "geodesic_euler" is Euler's along geodesics, whatever `retraction` says.
    - `step_size`: `h > 0`, in the flow's time.
    - `steps`: their number.
    - `retraction`: "chart", "corrected", "projection", "exponential" or a retraction of your own.
    - `throw`: raise `PathError` where a step does not arrive or the Jacobian loses rank; with False the path so far comes back.

    Returns: a `ManifoldPath` with `steps + 1` points.

    Raises: `ValueError` for wrong arguments; `PathError` if `throw` and the path got into trouble.

    >>> import riemgn as rg
    >>> from riemgn.geometry.flow import riemannian_flow
    >>> path = riemannian_flow(rg.OutputManifold(rg.task.circle()), "rk4", step_size=0.1, steps=50)
    >>> round(float(path.ts[-1]), 9), path.result
    (5.0, 'successful')

    Reference: Hairer, Lubich, Wanner, Geometric Numerical Integration, 2nd ed. (2006), section IV.5; theory.md section 2.
    """
    checked_manifold(manifold)
    if method not in METHODS:
        raise ValueError(f"`method` must be one of {', '.join(METHODS)}, got {method!r}.")
    h, steps = positive("step_size", step_size), checked_steps(steps)
    step = ExponentialRetraction() if method == "geodesic_euler" else checked_retraction(retraction)
    rows, weights = TABLEAUX["euler" if method == "geodesic_euler" else method]
    matrix = [row + [0.0] * (len(weights) - len(row)) for row in rows]
    saved, alive = _march(
        manifold.immersion,
        step,
        jnp.asarray(matrix),
        jnp.asarray(weights),
        jnp.asarray(h),
        jnp.asarray(steps),
        room(steps),
    )
    saved, alive = jax.tree.map(lambda x: np.asarray(x)[: steps + 1], (saved, alive))
    good = alive & np.isfinite(saved["points"]).all(1) & np.isfinite(saved["losses"])
    count = int(np.argmin(good)) if not good.all() else steps + 1
    result = "successful" if count == steps + 1 else "non_finite" if alive[count] else "retraction_failed"
    lost = np.flatnonzero(saved["sigma_min"][:count] < RANK_TOL * saved["sigma_min"][0])
    if lost.size:
        count, result = int(lost[0]) + 1, "rank_lost"
    if count == 0:
        raise ValueError("The path must start from finite outputs.")
    path = ManifoldPath(
        manifold=manifold,
        ts=h * jnp.arange(count),
        params=jnp.asarray(saved["params"][:count]),
        points=jnp.asarray(saved["points"][:count]),
        losses=jnp.asarray(saved["losses"][:count]),
        grad_norms=jnp.asarray(saved["grad_norms"][:count]),
        result=result,
        stats={"method": method, "retraction": step.name, "step_size": h, "num_steps": count - 1},
    )
    return finished(path, throw)


@eqx.filter_jit
def _march(immersion: Immersion, retraction: AbstractRetraction, matrix, weights, h: Scalar, steps: Array, length: int):
    """One scan over steps; what lies behind `steps`, or behind a step that did not arrive, is skipped."""

    def body(carry, i):
        w, alive = carry
        alive = alive & jnp.all(jnp.isfinite(w))
        frame = immersion.frame(w)
        point = immersion(w)
        gradient, size = gradient_at(immersion, frame, point)
        now = {
            "params": w,
            "points": point,
            "losses": immersion.problem.objective(w),
            "grad_norms": size,
            "sigma_min": least_singular_value(frame),
        }
        move = alive & (i < steps) & (size > 0)
        after = jax.lax.cond(move, lambda: _step(immersion, retraction, frame, gradient, matrix, weights, h), lambda: w)
        return (after, alive), (now, alive)

    def skipped(carry, i):
        return jax.lax.cond(
            i <= steps,
            body,
            lambda carry, i: (carry, jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)),
            carry,
            i,
        )

    start = (immersion.problem.w0, jnp.array(True))
    shapes = jax.eval_shape(body, start, jnp.zeros((), int))[1]
    return jax.lax.scan(skipped, start, jnp.arange(length))[1]


def _step(
    immersion: Immersion,
    retraction: AbstractRetraction,
    frame: TangentFrame,
    gradient: Ambient,
    matrix,
    weights,
    h: Scalar,
) -> Weights:
    """One Runge-Kutta step in the chart of the retraction at `frame.w`."""

    def located(c):
        w = retraction(immersion, frame, frame.basis @ c)
        point = immersion(w)
        return point, (w, point)

    def velocity(c):
        jac, (w, point) = jax.jacfwd(located, has_aux=True)(c)
        v = -gradient_at(immersion, immersion.frame(w), point)[0]
        q, r = jnp.linalg.qr(jac)
        return jax.scipy.linalg.solve_triangular(r, q.T @ v)

    first = -frame.components(gradient)  # D_c F(R(B c)) = B at c = 0
    stages = jnp.zeros((weights.size, first.size), first.dtype).at[0].set(first)
    if weights.size > 1:
        stages = jax.lax.fori_loop(1, weights.size, lambda i, k: k.at[i].set(velocity(h * (matrix[i] @ k))), stages)
    return retraction(immersion, frame, frame.basis @ (h * (weights @ stages)))


# --- the flow as an ODE in the outputs -------------------------------------------------------------------------------


class _Args(eqx.Module):
    immersion: Immersion
    tol: Scalar
    least_sigma: Scalar
    farthest: Scalar  # from M


def output_flow(
    manifold: OutputManifold,
    t1: float = 20.0,
    *,
    ts: ArrayLike | None = None,
    rtol: float = 1e-10,
    atol: float = 1e-12,
    throw: bool = True,
    error: bool = False,
) -> ManifoldPath:
    """Integrate `psi' = -P grad g(psi)` as an ODE in the ambient point `psi`, by Dopri8 with the step controlled by `psi`.

    Where `Hess g` is a multiple of the identity at the start, the steps are taken in exponential time, as those of `solve` are.

    At every evaluation the parameters are found again from `psi` as those of the nearest point of `M`, `P` is taken there and `grad g` at `psi`. They
    start from the `w` that `w' = J^+ psi'` carries beside and that decides nothing else. So this shares neither state nor linear algebra with
    `solve(problem, GaussNewtonFlow())`, which differentiates the parameters: that both give the same outputs is claim C1.

    The distance of `psi` from `M` is constant along the exact flow, since both `psi'` and the velocity of the nearest point are tangent there and the
    offset is normal: errors off the manifold are neither damped nor amplified. So a state farther than `sqrt(rtol) (1 + |psi_0|)` from `M` has
    crossed an edge of `M`, where the chart is singular: the path ends there with "rank_lost", or "retraction_failed" where the chart is regular.

    Arguments:

    - `manifold`: an `OutputManifold`.
    - `t1`: end time > 0.
    - `ts`: increasing times in [0, t1] to save at; by default 129 equally spaced ones. Between steps the solver interpolates, with a larger error
        than that of its steps: where the last digits matter, end there.
    - `rtol`, `atol`: relative and absolute tolerance of one step, `atol` in units of the outputs; in float32 `rtol` is at least 1e-5.
    - `throw`: raise `PathError` where the flow runs into its singular set or the steps are used up; with False the path so far comes back.
    - `error`: integrate again at a hundredth of the tolerances and keep that path as `tight`.

    Returns: a `ManifoldPath` with `points` the states `psi`, `params` those of the nearest points, `drift` and `distance`.

    Raises: `ValueError` for wrong arguments; `PathError` if `throw` and the path got into trouble.

    >>> import jax.numpy as jnp, riemgn as rg
    >>> from riemgn.geometry.flow import output_flow
    >>> problem = rg.task.circle()
    >>> path = output_flow(rg.OutputManifold(problem), t1=5.0)
    >>> traj = rg.solve(problem, rg.GaussNewtonFlow(), t1=5.0, rtol=1e-10, atol=1e-12)
    >>> bool(jnp.abs(path.points - traj.outputs).max() < 1e-8)
    True

    Reference: theory.md C1; the extension off `M` is derived here.
    """
    immersion, t1 = checked_manifold(manifold).immersion, positive("t1", t1)
    rtol, atol = max(positive("rtol", rtol), finest_tolerance()), positive("atol", atol)
    times = times_until(ts, t1)
    psi0, sigma, slowest, fastest = _start(immersion)
    if not bool(jnp.all(jnp.isfinite(psi0)) & jnp.isfinite(sigma)):
        raise ValueError("The path must start from finite outputs and Jacobian.")
    # the projection stops at the rounding of psi, or a hundred times below what the integrator is asked for
    rounding = 16 * float(jnp.finfo(psi0.dtype).eps) * (1 + float(jnp.linalg.norm(psi0)))
    farthest = rtol**0.5 * (1 + float(jnp.linalg.norm(psi0)))
    args = _Args(immersion, jnp.asarray(max(rounding, 1e-2 * atol)), RANK_TOL * sigma, jnp.asarray(farthest))
    solver = explicit_solver(float(slowest), float(fastest))
    solution = _integrate(args, times, jnp.asarray(t1), jnp.asarray(rtol), jnp.asarray(atol), solver, MAX_STEPS)
    path = _path(
        manifold,
        args,
        times,
        solution,
        float(sigma),
        {"method": f"output flow ({solver_name(solver)})", "rtol": rtol, "atol": atol},
    )
    if error:
        tight = output_flow(manifold, t1, ts=times, rtol=rtol / 100, atol=atol / 100, throw=False)
        path = eqx.tree_at(lambda path: path.tight, path, tight, is_leaf=lambda leaf: leaf is None)
    return finished(path, throw)


def _path(manifold: OutputManifold, args: _Args, times: Times, solution, sigma: float, settings: dict) -> ManifoldPath:
    """Trim what was not reached, append the end, evaluate the saved quantities, name the ending."""
    reached = np.isfinite(solution.ts[0])
    t_end, end = solution.ts[1], solution.ys[1]
    append = bool(jnp.all(jnp.isfinite(end["psi"]))) and float(t_end[0]) > (
        float(times[reached][-1]) if reached.any() else -1.0
    ) * (1 + 1e-12)
    kept = np.append(reached, append)
    states = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), solution.ys[0], end)
    quantities = {name: value[kept] for name, value in _sample(args, states).items()}
    if bool(solution.event_mask):
        inside = quantities["params"][-2] if kept.sum() > 1 else manifold.problem.w0
        edge = _edge(args, quantities["points"][-1], inside)
        if bool(edge["distance"] < quantities["distance"][-1]):
            quantities = {name: value.at[-1].set(edge.get(name, value[-1])) for name, value in quantities.items()}
    result = _ending(
        solution, float(quantities["sigma_min"][-1]), sigma, bool(jnp.all(jnp.isfinite(quantities["losses"])))
    )
    stats = {**settings, "num_steps": int(solution.stats["num_accepted_steps"])}
    return ManifoldPath(
        manifold=manifold,
        ts=jnp.append(times, t_end)[kept],
        params=quantities["params"],
        points=quantities["points"],
        losses=quantities["losses"],
        grad_norms=quantities["grad_norms"],
        result=result,
        drift=quantities["drift"],
        distance=quantities["distance"],
        stats=stats,
    )


def _foot(psi: Ambient, w: Weights, args: _Args) -> Weights:
    """Parameters of the nearest point of `M`, by Newton's method from parameters within the integrator's error of it: no line search is needed."""

    def body(state):
        w, _, count = state
        step, gradient = newton_step(args.immersion, args.immersion.frame(w), psi)
        return w + step, jnp.linalg.norm(gradient) > args.tol, count + 1

    return jax.lax.while_loop(lambda s: s[1] & (s[2] < NEWTON_STEPS), body, (w, jnp.array(True), 0))[0]


def _field(t, y, args: _Args):
    w = _foot(y["psi"], y["w"], args)
    frame = args.immersion.frame(w)
    velocity = -gradient_at(args.immersion, frame, y["psi"])[0]
    return {"psi": velocity, "w": frame.coordinates(velocity)}


def _ambient_norm(scaled_error):
    return jnp.nan_to_num(jnp.sqrt(jnp.mean(scaled_error["psi"] ** 2)), nan=jnp.inf)


def _margin(t, y, args: _Args, **kwargs):
    """Positive while the chart is regular and the state on `M`."""
    sigma = least_singular_value(args.immersion.frame(y["w"])) / args.least_sigma - 1
    distance = jnp.linalg.norm(y["psi"] - args.immersion(_foot(y["psi"], y["w"], args)))
    return jnp.nan_to_num(jnp.minimum(sigma, 1 - distance / args.farthest), nan=-1.0)


@eqx.filter_jit
def _integrate(
    args: _Args, ts: Times, t1: Scalar, rtol: Scalar, atol: Scalar, solver: diffrax.AbstractSolver, max_steps: int
):
    w0 = args.immersion.problem.w0
    shortest = 8 * jnp.finfo(t1.dtype).eps * t1
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
            rtol=rtol, atol=atol, norm=_ambient_norm, dtmin=shortest, force_dtmin=False
        ),
        event=diffrax.Event(_margin, optx.Bisection(1e-9, 1e-9, flip=True)),
        max_steps=max_steps,
        throw=False,
    )


@eqx.filter_jit
def _start(immersion: Immersion):
    w0 = immersion.problem.w0
    psi0 = immersion(w0)
    curvature = immersion.problem.without_jacobian(immersion.problem.outputs(w0)).loss_hessian
    return psi0, least_singular_value(immersion.frame(w0)), jnp.min(curvature), jnp.max(curvature)


def _held(args: _Args, psi: Ambient, w: Weights) -> dict[str, Array]:
    """What a `ManifoldPath` holds at a state and the parameters of its nearest point."""
    immersion = args.immersion
    frame = immersion.frame(w)
    return {
        "params": w,
        "points": psi,
        "losses": immersion.problem.loss(psi[: immersion.problem.n], immersion.problem.y),
        "grad_norms": gradient_at(immersion, frame, psi)[1],
        "distance": jnp.linalg.norm(psi - immersion(w)),
        "sigma_min": least_singular_value(frame),
    }


@eqx.filter_jit
def _sample(args: _Args, states: dict[str, Float[Array, "t _"]]) -> dict[str, Array]:
    """What a `ManifoldPath` holds at each state; `drift` against the parameters carried."""

    def at(y):
        return {
            **_held(args, y["psi"], _foot(y["psi"], y["w"], args)),
            "drift": jnp.linalg.norm(y["psi"] - args.immersion(y["w"])),
        }

    return jax.lax.map(at, states)


@eqx.filter_jit
def _edge(args: _Args, psi: Ambient, start: Weights) -> dict[str, Array]:
    """The same beyond an edge of `M`, where Newton's method has no aim: the nearest point is sought downhill from parameters inside."""
    return _held(args, psi, nearest(args.immersion, psi, start, args.tol))


def _ending(solution, sigma_end: float, sigma_start: float, finite: bool) -> str:
    if bool(solution.event_mask):
        return "rank_lost" if sigma_end < 0.1 * sigma_start else "retraction_failed"
    if not finite:
        return "non_finite"
    if bool(solution.result == diffrax.RESULTS.successful):
        return "successful"
    if (
        sigma_end < 0.1 * sigma_start
    ):  # at the singular set the speed of the parameters is unbounded, and steps are cut without end
        return "rank_lost"
    return "step_limit" if bool(solution.result == diffrax.RESULTS.max_steps_reached) else "step_collapsed"
