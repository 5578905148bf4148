"""iterate(problem, method, steps=...) -> Trajectory: discrete time, one compiled scan. All defaults live here."""

import math
import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from .._types import Flag, Key, Weights
from .._validation import positive
from ..linalg import numerical_rank, spectrum
from ..method import AbstractMethod, check_use, MethodState
from ..problem import Problem
from ..result import EXPECTED, result_name, RESULTS
from ..trajectory import sample, SolveError, Trajectory
from .sharding import device_count


class _Carry(eqx.Module):
    """One point of the iteration; `finite`, `above` (the loss tolerance) and `moving` (more than the step tolerance) say whether it goes on."""

    w: Weights
    state: MethodState
    finite: Flag
    above: Flag
    moving: Flag

    @property
    def going(self) -> Flag:
        """Whether there is a next step."""
        return self.finite & self.above & self.moving


@eqx.filter_jit
def _run(
    problem: Problem,
    method: AbstractMethod,
    w0: Weights,
    rank: Array,
    key: Key,
    target: Array | None,
    step_tol: Array | None,
    saves: int,
    stride: int,
):
    """All steps in one scan of scans; after an ending the remaining steps change nothing. Everything swept is an argument."""

    def advance(carry: _Carry, _):
        def step():
            w, state = method.step(problem, carry.w, carry.state, jr.fold_in(key, carry.state.count))
            finite = jnp.all(jnp.isfinite(w))
            above = jnp.array(True) if target is None else problem.objective(w) > target
            moving = jnp.array(True)
            if step_tol is not None:
                least = step_tol * jnp.maximum(jnp.linalg.norm(w), 1.0)
                # a step that was tried and rejected is none
                moving = (jnp.linalg.norm(w - carry.w) >= least) | (state.report.get("accepted", 1.0) == 0)
            # a step that is not finite is not taken
            w, state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), (w, state), (carry.w, carry.state))
            return _Carry(w, state, finite, above | ~finite, moving | ~finite)

        new = jax.lax.cond(carry.going, step, lambda: carry)
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
    """Singular values and rank of `J(w0)` (without `spectra` none, and the full rank is presumed), the loss there and its infimum."""
    infimum = problem.loss.infimum(problem.y)
    if not spectra:
        return jnp.zeros(0), jnp.asarray(min(problem.n, problem.p)), problem.objective(problem.w0), infimum
    point = problem.linearise(problem.w0, formed=False)
    s = spectrum(point.jac)
    return s, numerical_rank(s, (problem.n, problem.p)), problem.loss(point.outputs, problem.y), infimum


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
    """Take `steps` steps of a discrete method from `problem.w0`.

    `w_{k+1} = method.step(w_k)`. The times of the trajectory are the sums of the step sizes, those of the flow that the method discretises.

    Arguments:

    - `problem`, `method`: what to iterate.
    - `steps`: number of steps.
    - `key`: JAX random key; needed by methods that draw their batches.
    - `save_every`: keep every `save_every`-th point; each point kept costs one singular value decomposition of the whole Jacobian.
    - `throw`: raise `SolveError` on numerical trouble. With False the trajectory so far comes back with its result code.
    - `error`: iterate again from `w0` perturbed by 8 eps (relative, seeded), report the difference of the outputs plus their own rounding,
      `|f - f'| + 8 eps |f|`, and keep that run as `Trajectory.tight`.
    - `rank_tol`: methods that invert `J` end with `rank_lost` where `sigma_min` falls below `rank_tol` times its starting value.
    - `loss_tol`: stop with `loss_tolerance_met` when `g - inf g` falls below it; costs one evaluation of all outputs per step.
    - `step_tol`: stop with `step_tolerance_met` after a step shorter than `step_tol max(|w|, 1)`; steps that a method rejects do not count.
    - `spectra`: with False nothing is asked of the Jacobian of all samples, neither at the start nor at the points kept: `sigma_min` and
      `grad_norms` are NaN and the rank, where a damped method asks for it, is presumed full. For mini-batches of large data: a point kept then
      costs one evaluation of all outputs, and n + p numbers.

    Returns: a `Trajectory` whose `flow` is the method. `stats["per_step"]` holds what the method reports about every step (not only about those
    kept), one NumPy array (steps,) per name; entry k is the step from `w_k` to `w_{k+1}`.

    Raises: `ValueError` for wrong arguments; `SolveError` if `throw` and the iteration got into trouble.

    >>> import riemgn as rg
    >>> traj = rg.iterate(rg.task.circle(radius=2.0, target=1.0, angle=1.0), rg.GaussNewton(step_size=1.0), steps=20)
    >>> rg.result_name(traj.result), traj.ts.shape
    ('successful', (21,))

    Reference: theory.md C9; papers.md D13 to D16.
    """
    start_time = time.perf_counter()
    _check_arguments(problem, method, key, steps, save_every, spectra)
    rank_tol = positive("rank_tol", rank_tol)
    spectra = bool(spectra) and method.matrix_free is None
    s, rank, loss, infimum = jax.device_get(_start(problem, spectra))
    if not (np.isfinite(loss) and np.all(np.isfinite(s))):
        raise ValueError(f"The problem must start from finite outputs and Jacobian, got a loss of {float(loss)}.")
    target = None if loss_tol is None else infimum + positive("loss_tol", loss_tol)
    shortest = None if step_tol is None else jnp.asarray(positive("step_tol", step_tol))
    key = jr.key(0) if key is None else key
    sigma_start = (float(s[int(rank) - 1]) if int(rank) else 0.0) if spectra else math.nan
    stats = {
        "solver": "iterate",
        "solver_reason": "a discrete method",
        "save_every": save_every,
        "rank": int(rank) if spectra else None,
        "cond": (float(s[0]) / sigma_start if int(rank) else math.inf) if spectra else None,
        "dropped_singular_values": [float(v) for v in s[int(rank) :]] if spectra else [],
        "dtype": str(problem.w0.dtype),
        "device": str(jax.devices()[0].platform),
        "devices": device_count(problem),
        "accuracy": f"{problem.w0.dtype} rounding",
    }

    def run(w0: Weights) -> Trajectory:
        started = time.perf_counter()
        saves = steps // save_every if int(rank) else 0
        raw = jax.block_until_ready(
            _run(problem, method, w0, jnp.asarray(rank), key, target, shortest, saves, save_every)
        )
        trajectory = _trajectory(
            problem, method, jnp.asarray(max(int(rank), 1)), spectra, raw, rank_tol * sigma_start, stats
        )
        trajectory.stats["seconds"] = time.perf_counter() - started
        return trajectory

    trajectory = run(problem.w0)
    trajectory.stats["seconds"] = time.perf_counter() - start_time
    if error:
        trajectory = _with_error(trajectory, run(_perturbed(problem.w0)))
    if throw and result_name(trajectory.result) not in EXPECTED:
        raise SolveError(trajectory)
    return trajectory


def _trajectory(
    problem: Problem, method: AbstractMethod, rank: Array, spectra: bool, raw, sigma_least: float, stats: dict
) -> Trajectory:
    """Evaluate the points kept, cut at the first that is in trouble, name the ending."""
    end, params, times, counts, reports = raw
    quantities = _sample(problem, params, rank, spectra)
    read, counts, reports, finite_end, above_end, moving_end = jax.device_get(
        (quantities, counts, reports, end.finite, end.above, end.moving)
    )
    finite = np.isfinite(read["losses"]) & np.all(np.isfinite(read["outputs"]), axis=1)
    lost = read["sigma_min"] < sigma_least if method.inverts else np.zeros(finite.size, bool)
    code = "successful"
    if not finite_end:
        # at finite outputs it is the direction that is not finite: conjugate gradients mark so what did not converge
        code = "krylov_limit" if method.matrix_free is not None and finite.all() else "non_finite"
    elif not above_end:
        code = "loss_tolerance_met"
    elif not moving_end:
        code = "step_tolerance_met"
    last = int(np.argmax(counts))  # the first of the points that an early end repeats
    if not finite[: last + 1].all():
        last, code = int(np.argmin(finite)) - 1, "non_finite"
    if lost[: last + 1].any():
        last, code = int(np.argmax(lost)), "rank_lost"
    if sigma_least == 0:
        code = "rank_lost"
    taken = int(counts[last])
    rejected = int(np.sum(reports["accepted"][:taken] == 0)) if "accepted" in reports else 0
    stats = stats | {
        "num_steps": taken,
        "num_accepted_steps": taken - rejected,
        "num_rejected_steps": rejected,
        "event_time": float(times[last]) if code != "successful" else None,
        "per_step": {name: values[:taken] for name, values in reports.items()},
    }
    kept: dict[str, Any] = {"ts": times, "params": params, **quantities}
    if last + 1 < times.size:
        kept = {name: value[: last + 1] for name, value in kept.items()}
    return Trajectory(problem, method, error=None, result=getattr(RESULTS, code), stats=stats, **kept)


def _perturbed(w0: Weights) -> Weights:
    """`w0` moved by 8 eps times the root mean square of its entries (1 where all are zero), in a seeded direction."""
    spread = jnp.sqrt(jnp.mean(w0**2))
    scale = 8 * jnp.finfo(w0.dtype).eps * jnp.where(spread > 0, spread, 1.0)
    return w0 + scale * jr.normal(jr.key(8), w0.shape, w0.dtype)


def _with_error(trajectory: Trajectory, tight: Trajectory) -> Trajectory:
    """Attach the perturbed run and what rounding may have done to the outputs; where that run had ended the error is infinite."""
    shared = min(trajectory.ts.size, tight.ts.size)
    outputs = trajectory.outputs
    rounding = 8 * jnp.finfo(outputs.dtype).eps * jnp.linalg.norm(outputs, axis=1)
    difference = jnp.linalg.norm(outputs[:shared] - tight.outputs[:shared], axis=1)
    error = rounding + jnp.concatenate([difference, jnp.full(trajectory.ts.size - shared, jnp.inf, outputs.dtype)])
    return eqx.tree_at(
        lambda traj: (traj.error, traj.tight), trajectory, (error, tight), is_leaf=lambda leaf: leaf is None
    )


def _check_arguments(problem: Any, method: Any, key: Any, steps: Any, save_every: Any, spectra: Any) -> None:
    if not isinstance(problem, Problem):
        raise ValueError(f"`problem` must be a riemgn.Problem, got {type(problem).__name__}.")
    if not isinstance(method, AbstractMethod):
        raise ValueError(f"`method` must be a discrete method such as GaussNewton(), got {type(method).__name__}.")
    for name, value in (("steps", steps), ("save_every", save_every)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"`{name}` must be a positive integer, got {value!r}.")
    if steps % save_every:
        raise ValueError(f"`steps` must be a multiple of `save_every`, got {steps} and {save_every}.")
    check_use(method, key, spectra)
    if key is not None and not isinstance(key, jax.Array):
        raise ValueError(f"`key` must be a JAX random key such as jax.random.key(0), got {key!r}.")
