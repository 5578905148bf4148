"""Riemannian gradient descent on the output manifold, with three step rules."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._types import Count, Flag, Scalar
from .._validation import positive
from ..result import EXPECTED
from ..trajectory import ManifoldMethod, raise_unless_expected, Trajectory
from .flow import checked_steps, empty_rows, manifold_trajectory, padded_length, PointData, RANK_TOL
from .immersion import Ambient, Form, Immersion, lower_index
from .output_manifold import checked_manifold, OutputManifold
from .retraction import AbstractRetraction, checked_retraction

# Sufficient decrease, as a share of the slope. On a parabola 1/4 accepts up to 1.5 times the exact
# step, so doubling the last step finds one between 0.75 and 1.5 times. Barzilai-Borwein steps need
# the freedom of 1e-4.
SUFFICIENT_DECREASE = {"armijo": 0.25, "barzilai_borwein": 1e-4}
MEMORY = 0.85  # Zhang and Hager's weight of the previous losses, for Barzilai-Borwein steps
MAX_TRIALS = 50
SAFEGUARD = 1e4  # a Barzilai-Borwein step lies within this factor of the step that is exact on a flat manifold
FAILURES = ("", "line_search_failed", "retraction_failed", "non_finite", "rank_lost")


def riemannian_gradient_descent(
    manifold: OutputManifold,
    *,
    step: str | float = "armijo",
    retraction: str | AbstractRetraction = "projection",
    steps: int = 500,
    grad_tol: float = 1e-8,
    throw: bool = True,
) -> Trajectory:
    """Minimise the loss `g` on the output manifold by `psi -> R(-t u)` with `u = grad_M g`.

    A trial step `t` is halved until `g(R(-t u)) <= C - c t |u|^2`. If rounding hides the difference
    of the losses, the slope at the new point decides: `<grad_M g(R(-t u)), u> >= (2 c - 1) |u|^2`,
    which is equivalent on a parabola.

    Arguments:

    - `manifold`: an `OutputManifold`. The descent starts at `manifold.problem.w0`.
    - `step`: the step rule. Defaults to "armijo". "armijo" takes `c = 1/4` and `C = g`, so the loss
      never rises by more than rounding. The first trial `|u|^2 / Hess g[u, u]` is exact on a flat
      manifold. Later trials are twice the last step. "barzilai_borwein" tries `<s, s> / <s, y>` and
      `<s, y> / <y, y>` in turn, where `s` is the last step and `y` the change of the gradient, both
      projected to the new tangent space. It takes `c = 1e-4` and Zhang and Hager's mean of the
      losses for `C`, so the loss may rise for a while. A number is the step that is always taken.
    - `retraction`: "chart", "corrected", "projection" (default), "exponential", or your own
      `AbstractRetraction`.
    - `steps`: maximum number of steps. Defaults to 500.
    - `grad_tol`: stop when `|u|` is at most `grad_tol` times its value at the start.
    - `throw`: raise `SolveError` on numerical trouble. With False you get the trajectory so far.
      Reaching `steps` does not raise.

    Returns: a `Trajectory` with status "gradient_tolerance_met", "step_limit",
    "line_search_failed", "retraction_failed", "non_finite" or "rank_lost". Its times are the sums
    of the step sizes, which are in `stats["per_step"]["step_size"]`.

    Raises: `ValueError` for wrong arguments; `SolveError` on numerical trouble if `throw`.

    >>> import riemgn as rg
    >>> M = rg.OutputManifold(rg.task.circle(radius=2.0, target=1.0))
    >>> traj = rg.riemannian_gradient_descent(M, step="barzilai_borwein")
    >>> traj.status, round(float(traj.losses[-1]), 9)
    ('gradient_tolerance_met', 0.5)

    Reference: Iannazzo and Porcelli, IMA J. Numer. Anal. 38 (2018); Zhang and Hager, SIAM J. Optim.
    14 (2004); Hager and Zhang, SIAM J. Optim. 16 (2005), for the slope in place of the loss.
    """
    checked_manifold(manifold)
    if isinstance(step, str) and step not in SUFFICIENT_DECREASE:
        rules = ", ".join(SUFFICIENT_DECREASE)
        raise ValueError(f"`step` must be one of {rules} or a positive number, got {step!r}.")
    rule, size = (step, 0.0) if isinstance(step, str) else ("fixed", positive("step", step))
    move, steps = checked_retraction(retraction), checked_steps(steps)
    if not 0 <= grad_tol < 1:
        raise ValueError(f"`grad_tol` must lie in [0, 1), got {grad_tol}.")
    limits = (jnp.asarray(steps), jnp.asarray(grad_tol))
    end = _descend(manifold.immersion, move, rule, jnp.asarray(size), *limits, padded_length(steps))
    count, step_sizes = int(end.count), end.step_sizes[: int(end.count)]
    saved = {name: value[: count + 1] for name, value in end.saved.items()}
    norms, loss = saved["grad_norms"], float(saved["losses"][0])
    if not bool(jnp.isfinite(loss) & jnp.isfinite(norms[0])):
        raise ValueError(f"The descent must start from a finite loss and gradient, got a loss of {loss}; move `w0`.")
    saved["ts"] = jnp.concatenate([jnp.zeros(1, step_sizes.dtype), jnp.cumsum(step_sizes)])
    met = bool(norms[count] <= grad_tol * norms[0])
    status = FAILURES[int(end.failure)] or ("gradient_tolerance_met" if met else "step_limit")
    flow = ManifoldMethod("riemannian gradient descent", rule, move.name)
    stats = {
        "num_steps": count,
        "num_evaluations": int(end.evaluations),
        "per_step": {"step_size": np.asarray(step_sizes)},
    }
    trajectory = manifold_trajectory(manifold, flow, saved, status, **stats)
    return raise_unless_expected(trajectory, throw, (*EXPECTED, "step_limit"))


class _Search(eqx.Module):
    """The next trial step, the reference loss `C`, and the weight of that mean."""

    trial: Scalar
    reference: Scalar
    weight: Scalar


class _State(eqx.Module):
    """The current point and all rows so far. `failure` is an index of `FAILURES`."""

    point: PointData
    search: _Search
    count: Count
    evaluations: Count
    failure: Count
    saved: dict[str, Array]
    step_sizes: Array


@eqx.filter_jit
def _descend(
    immersion: Immersion,
    retraction: AbstractRetraction,
    rule: str,
    fixed: Scalar,
    steps: Array,
    grad_tol: Scalar,
    length: int,
) -> _State:
    first = PointData(immersion, immersion.problem.w0)

    def body(state: _State) -> _State:
        t, accepted, new, trials = _line_search(immersion, retraction, rule, state.point, state.search)
        failure = jnp.where(new.sigma < RANK_TOL * first.sigma, 4, 0)
        failure = jnp.where(jnp.isfinite(new.loss) & jnp.isfinite(new.norm), failure, 3)
        failure = jnp.where(jnp.all(jnp.isfinite(new.frame.w)), failure, 2)
        failure = jnp.where(accepted, failure, 1)
        moved = (failure == 0) | (failure == 4)
        count = state.count + moved
        saved = {
            name: state.saved[name].at[count].set(jnp.where(moved, value, state.saved[name][count]))
            for name, value in new.row.items()
        }
        step_sizes = state.step_sizes.at[state.count].set(t)
        search = _next_search(immersion, rule, state, new, t, count)
        return _State(new, search, count, state.evaluations + trials, failure, saved, step_sizes)

    def unfinished(state: _State) -> Flag:
        return (state.point.norm > grad_tol * first.norm) & (state.count < steps) & (state.failure == 0)

    saved = {name: rows.at[0].set(first.row[name]) for name, rows in empty_rows(first.row, length).items()}
    search = _Search(fixed if rule == "fixed" else _flat_step(immersion, first), first.loss, jnp.ones_like(first.loss))
    zero = jnp.zeros((), int)
    start = _State(first, search, zero, zero, zero, saved, jnp.zeros(length, first.loss.dtype))
    return jax.lax.while_loop(unfinished, body, start)


def _line_search(
    immersion: Immersion, retraction: AbstractRetraction, rule: str, old: PointData, search: _Search
) -> tuple[Scalar, Flag, PointData, Count]:
    """Halve the trial until accepted: the step, whether accepted, the point, the trials."""

    def accepts(new: PointData, t: Scalar) -> Flag:
        share = SUFFICIENT_DECREASE.get(rule, 0.0)
        rounding = 8 * jnp.finfo(new.loss.dtype).eps * jnp.abs(search.reference)
        hidden = jnp.abs(new.loss - search.reference) <= rounding
        by_slope = old.gradient @ lower_index(immersion.form, new.gradient) >= (2 * share - 1) * old.norm**2
        return jnp.where(hidden, by_slope, new.loss <= search.reference - share * t * old.norm**2)

    def unfinished(state):
        _, accepted, _, trials = state
        return ~accepted & (trials < MAX_TRIALS)

    def shorten(state):
        t, _, _, trials = state
        t = jnp.where(trials == 0, t, 0.5 * t)
        new = PointData(immersion, retraction(immersion, old.frame, -t * old.gradient))
        accepted = jnp.array(True) if rule == "fixed" else accepts(new, t)
        return t, accepted, new, trials + 1

    return jax.lax.while_loop(unfinished, shorten, (search.trial, jnp.array(False), old, jnp.zeros((), int)))


def _next_search(immersion: Immersion, rule: str, state: _State, new: PointData, t: Scalar, count: Count) -> _Search:
    old, search = state.point, state.search
    if rule != "barzilai_borwein":
        return _Search(search.trial if rule == "fixed" else 2 * t, new.loss, search.weight)
    projected = new.frame.tangent_part(old.gradient)
    trial = _secant_step(immersion.form, -t * projected, new.gradient - projected, _flat_step(immersion, new), count)
    weight = MEMORY * search.weight + 1
    return _Search(trial, (MEMORY * search.weight * search.reference + new.loss) / weight, weight)


def _flat_step(immersion: Immersion, at: PointData) -> Scalar:
    """`|u|^2 / Hess g[u, u]`: the exact step along the gradient if `M` were flat."""
    curvature = jnp.sum(immersion.loss_hessian(at.psi) * at.gradient**2)
    return jnp.where(curvature > 0, at.norm**2 / curvature, 1.0)


def _secant_step(form: Form, s: Ambient, y: Ambient, flat: Scalar, count: Count) -> Scalar:
    """Barzilai and Borwein's two steps in turn, within a factor `SAFEGUARD` of the flat one."""

    def inner(a, b):
        return a @ lower_index(form, b)

    sy = inner(s, y)
    step = jnp.where(count % 2 == 0, inner(s, s) / sy, sy / inner(y, y))
    return jnp.where(sy > 0, jnp.clip(step, flat / SAFEGUARD, flat * SAFEGUARD), flat)
