"""iterate(problem, method, steps=...) -> Trajectory: take the steps of a discrete method."""

import dataclasses
import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from .._types import Flag, Key, Weights
from .._validation import positive, positive_integer
from ..linalg import numerical_rank, spectrum
from ..method import AbstractMethod, check_use, MethodState
from ..problem import check_problem, Problem
from ..result import RESULTS
from ..trajectory import raise_unless_expected, sample, Trajectory
from .plan import stats_at_start


def iterate(
    problem: Problem,
    method: AbstractMethod,
    *,
    steps: int,
    key: Key | None = None,
    save_every: int = 1,
    throw: bool = True,
    error: bool = False,
    rank_tol: float = 1e-5,
    loss_tol: float | None = None,
    step_tol: float | None = None,
    spectra: bool = True,
) -> Trajectory:
    """Take steps `w_{k+1} = method.step(w_k)` of a discrete method from `problem.w0`.

    The times of the trajectory are the sums of the step sizes.

    Arguments:

    - `problem`, `method`, `steps`: what to iterate, and the maximum number of steps.
    - `key`: JAX random key, for methods that draw batches.
    - `save_every`: save every `save_every`-th point. Each costs one singular value decomposition.
    - `throw`, `rank_tol`, `loss_tol`: as in `solve`.
    - `error`: iterate again from `w0` perturbed by 8 eps relative to its entries, and report
      `|f - f'| + 8 eps |f|` as `Trajectory.error` and that run as `Trajectory.tight`.
    - `step_tol`: stop with `step_tolerance_met` after a step shorter than `step_tol max(|w|, 1)`.
      Rejected steps do not count.
    - `spectra`: with False `J` is never formed for diagnostics, for example for mini-batches of
      large data. Then `sigma_min` and `grad_norms` are NaN, and damped methods assume full rank.

    Returns: a `Trajectory` whose `flow` is the method. `stats["per_step"]` holds one array (steps,)
    for each number that the method reports.

    Raises: `ValueError` for wrong arguments, `SolveError` if `throw` and the iteration failed.

    >>> import riemgn as rg
    >>> traj = rg.iterate(rg.task.circle(radius=2.0, target=1.0), rg.GaussNewton(), steps=20)
    >>> traj.status, traj.ts.shape
    ('successful', (21,))

    Reference: Statements C9 and D13 to D16.
    """
    start_time = time.perf_counter()
    _check_arguments(problem, method, key, steps, save_every, spectra)
    rank_tol = positive("rank_tol", rank_tol)
    spectra = bool(spectra) and method.matrix_free is None
    s, rank, loss, infimum = jax.device_get(_start(problem, spectra))
    if not (np.isfinite(loss) and np.all(np.isfinite(s))):
        raise ValueError(f"The problem must start from finite outputs and Jacobian, got a loss of {float(loss)}.")
    tolerances = (
        None if loss_tol is None else infimum + positive("loss_tol", loss_tol),
        None if step_tol is None else jnp.asarray(positive("step_tol", step_tol)),
    )
    key = jr.key(0) if key is None else key
    sigma_start, stats = stats_at_start(problem, s, int(rank), spectra)
    stats |= {"solver": "iterate", "solver_reason": "a discrete method", "save_every": save_every}
    stats["accuracy"] = f"{problem.w0.dtype} rounding"

    def run(w0: Weights, began: float) -> Trajectory:
        saves = steps // save_every if int(rank) else 0
        raw = _run(problem, method, w0, jnp.asarray(rank), key, tolerances, saves, save_every)
        quantities = _sample(problem, raw[1], jnp.asarray(max(int(rank), 1)), spectra)
        trajectory = _trajectory(problem, method, quantities, raw, rank_tol * sigma_start, stats)
        trajectory.stats["seconds"] = time.perf_counter() - began
        return trajectory

    trajectory = run(problem.w0, start_time)
    if error:
        trajectory = _with_error(trajectory, run(_perturbed(problem.w0), time.perf_counter()))
    return raise_unless_expected(trajectory, throw)


class _Carry(eqx.Module):
    """One point of the iteration, and the three conditions for another step."""

    w: Weights
    state: MethodState
    finite: Flag  # the last step was finite
    above: Flag  # the loss is above its tolerance
    moving: Flag  # the last step was longer than its tolerance


@eqx.filter_jit
def _run(problem: Problem, method: AbstractMethod, w0, rank, key, tolerances, saves: int, stride: int):
    """Return the last carry, parameters, times and counts of the saved points, and the reports."""
    target, step_tol = tolerances

    def advance(carry: _Carry, _):
        def step():
            w, state = method.step(problem, carry.w, carry.state, jr.fold_in(key, carry.state.count))
            finite = jnp.all(jnp.isfinite(w))
            above = jnp.array(True) if target is None else problem.objective(w) > target
            moving = jnp.array(True)
            if step_tol is not None:
                shortest = step_tol * jnp.maximum(jnp.linalg.norm(w), 1.0)
                # a rejected step has length 0 but does not end the iteration
                moving = (jnp.linalg.norm(w - carry.w) >= shortest) | (state.report.get("accepted", 1.0) == 0)
            w, state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), (w, state), (carry.w, carry.state))
            return _Carry(w, state, finite, above | ~finite, moving | ~finite)

        new = jax.lax.cond(carry.finite & carry.above & carry.moving, step, lambda: carry)
        return new, new.state.report

    def advance_to_save(carry: _Carry, _):
        carry, reports = jax.lax.scan(advance, carry, None, length=stride)
        return carry, (carry.w, carry.state.time, carry.state.count, reports)

    above = jnp.array(True) if target is None else problem.objective(w0) > target
    start = _Carry(w0, method.init(problem, w0, rank), jnp.array(True), above, jnp.array(True))
    end, (params, times, counts, reports) = jax.lax.scan(advance_to_save, start, None, length=saves)
    params = jnp.concatenate([w0[None], params])
    times, counts = jnp.append(start.state.time, times), jnp.append(start.state.count, counts)
    return end, params, times, counts, jax.tree.map(lambda values: values.reshape(saves * stride), reports)


_sample = eqx.filter_jit(sample)


@eqx.filter_jit
def _start(problem: Problem, spectra: bool):
    """Return singular values and rank of `J(w0)`, the loss there, and its infimum."""
    infimum = problem.loss.infimum(problem.y)
    if not spectra:
        return jnp.zeros(0), jnp.asarray(min(problem.n, problem.p)), problem.objective(problem.w0), infimum
    point = problem.linearise(problem.w0, formed=False)
    s = spectrum(point.jac)
    return s, numerical_rank(s, (problem.n, problem.p)), problem.loss(point.outputs, problem.y), infimum


def _trajectory(
    problem: Problem, method: AbstractMethod, quantities: dict, raw: tuple, min_sigma: float, stats: dict
) -> Trajectory:
    """Cut the saved points at the first one in trouble, and name the status."""
    end, params, times, counts, reports = raw
    read, counts, reports, finite_end, above_end, moving_end = jax.device_get(
        (quantities, counts, reports, end.finite, end.above, end.moving)
    )
    finite = np.isfinite(read["losses"]) & np.all(np.isfinite(read["outputs"]), axis=1)
    lost = read["sigma_min"] < min_sigma if method.inverts else np.zeros(finite.size, bool)
    status = "successful"
    if not finite_end:
        # if all outputs are finite, conjugate gradients marked a direction that did not converge
        status = "krylov_limit" if method.matrix_free is not None and finite.all() else "non_finite"
    elif not above_end:
        status = "loss_tolerance_met"
    elif not moving_end:
        status = "step_tolerance_met"
    last = int(np.argmax(counts))  # after an early end the last point is repeated
    if not finite[: last + 1].all():
        last, status = int(np.argmin(finite)) - 1, "non_finite"
    if lost[: last + 1].any():
        last, status = int(np.argmax(lost)), "rank_lost"
    if min_sigma == 0:
        status = "rank_lost"
    taken = int(counts[last])
    rejected = int(np.sum(reports["accepted"][:taken] == 0)) if "accepted" in reports else 0
    stats = stats | {"num_steps": taken, "num_accepted_steps": taken - rejected, "num_rejected_steps": rejected}
    stats["event_time"] = float(times[last]) if status != "successful" else None
    stats["per_step"] = {name: values[:taken] for name, values in reports.items()}
    rows: dict[str, Any] = {"ts": times, "params": params, **quantities}
    if last + 1 < times.size:
        rows = {name: value[: last + 1] for name, value in rows.items()}
    return Trajectory(problem, method, error=None, result=getattr(RESULTS, status), stats=stats, **rows)


def _perturbed(w0: Weights) -> Weights:
    """Return `w0` moved by 8 eps times the rms of its entries, in a fixed random direction."""
    spread = jnp.sqrt(jnp.mean(w0**2))
    scale = 8 * jnp.finfo(w0.dtype).eps * jnp.where(spread > 0, spread, 1.0)
    return w0 + scale * jr.normal(jr.key(8), w0.shape, w0.dtype)


def _with_error(trajectory: Trajectory, tight: Trajectory) -> Trajectory:
    """Attach the perturbed run and the error, which is infinite after the end of that run."""
    shared = min(trajectory.ts.size, tight.ts.size)
    outputs = trajectory.outputs
    rounding = 8 * jnp.finfo(outputs.dtype).eps * jnp.linalg.norm(outputs, axis=1)
    difference = jnp.linalg.norm(outputs[:shared] - tight.outputs[:shared], axis=1)
    error = rounding + jnp.concatenate([difference, jnp.full(trajectory.ts.size - shared, jnp.inf, outputs.dtype)])
    return dataclasses.replace(trajectory, error=error, tight=tight)


def _check_arguments(problem: Any, method: Any, key: Any, steps: Any, save_every: Any, spectra: Any) -> None:
    check_problem(problem)
    if not isinstance(method, AbstractMethod):
        raise ValueError(f"`method` must be a discrete method such as GaussNewton(), got {type(method).__name__}.")
    for name, value in (("steps", steps), ("save_every", save_every)):
        positive_integer(name, value)
    if steps % save_every:
        raise ValueError(f"`steps` must be a multiple of `save_every`, got {steps} and {save_every}.")
    check_use(method, key, spectra)
    if key is not None and not isinstance(key, jax.Array):
        raise ValueError(f"`key` must be a JAX random key such as jax.random.key(0), got {key!r}.")
