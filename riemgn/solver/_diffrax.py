"""All code of riemgn that depends on diffrax internals: wrapped solvers, its loop, its stages."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree

from .._types import Scalar, Weights

ROUNDING_ERRORS = 1e3  # of the parameters, in units of eps, that one step may accumulate


class WrappedSolver(diffrax.AbstractAdaptiveSolver):
    """Base of solvers that change the `step` of another one."""

    solver: diffrax.AbstractSolver

    @property
    def term_structure(self):
        return self.solver.term_structure

    @property
    def interpolation_cls(self):
        return self.solver.interpolation_cls

    def order(self, terms):
        return self.solver.order(terms)

    def error_order(self, terms):
        return self.solver.error_order(terms)

    def init(self, terms, t0, t1, y0, args):
        return self.solver.init(terms, t0, t1, y0, args)

    def func(self, terms, t0, y0, args):
        return self.solver.func(terms, t0, y0, args)


class OutputGapControl(WrappedSolver):
    """Count the growth of the gap between `psi` and `f(w)` as an error of the outputs.

    The gap is tiny as long as a step follows the flow. A step over a fold of `M` lands on another
    branch, which `psi` alone does not show. With `dense` the outputs are left out of the dense
    output, because all stages of `max_steps` steps may take gigabytes.
    """

    dense: bool = eqx.field(static=True)

    def init(self, terms, t0, t1, y0, args):
        return self.solver.init(terms, t0, t1, y0, args), jnp.zeros_like(y0["psi"])

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        inner, gap = solver_state
        y1, error, dense_info, inner, result = self.solver.step(terms, t0, t1, y0, args, inner, made_jump)
        outputs, jac_w = jax.jvp(args.problem.outputs, (y1["w"],), (y1["w"],))
        gap_after = outputs - y1["psi"]
        if error is not None:
            eps = jnp.finfo(outputs.dtype).eps
            largest = jnp.maximum(jnp.max(jnp.abs(outputs)), jnp.max(jnp.abs(args.problem.y)))
            # `J w` measures how a rounding of the parameters changes the outputs
            rounding = jnp.sqrt(eps) * largest + ROUNDING_ERRORS * eps * jnp.max(jnp.abs(jac_w))
            growth = jnp.maximum(jnp.abs(gap_after - gap) - rounding, 0.0)
            error = {**error, "psi": jnp.maximum(jnp.abs(error["psi"]), growth)}
        if self.dense:

            def has_outputs(part):
                return isinstance(part, dict) and "psi" in part

            dense_info = jax.tree.map(
                lambda part: {"w": part["w"]} if has_outputs(part) else part, dense_info, is_leaf=has_outputs
            )
        return y1, error, dense_info, (inner, gap_after), result


class ForwardLoop(diffrax.AbstractAdjoint):
    """`diffrax.ForwardMode` without the check of the saved times `ts` and the location of events.

    diffrax checks the times in a callback to Python, and programs with callbacks are not cached.
    `stats["last_step"]` holds the step of the event, so that only solves with an event compile the
    root search. `margin` is the value of the event function at the start.
    """

    ts: Array
    margin: Scalar

    def loop(self, *, solver, saveat, event, init_state, **kwargs):
        saveat = eqx.tree_at(lambda s: s.subs[0].ts, saveat, self.ts)
        if event is not None:
            init_state = eqx.tree_at(lambda s: s.event_values, init_state, self.margin)
        end, stats = diffrax.ForwardMode().loop(
            solver=solver, saveat=saveat, event=event, init_state=init_state, **kwargs
        )
        if event is not None:
            last = {"t0": end.event_tprev, "t1": end.event_tnext, **end.event_dense_info}
            stats["last_step"] = solver.interpolation_cls(**last)
        return end, stats


def parameters_only(solution: diffrax.Solution, w0: Weights) -> diffrax.Solution:
    """Return the solution with a dense output of `w` alone, also for a solve of length 0."""
    return eqx.tree_at(lambda s: s.interpolation.y0_if_trivial, solution, {"w": w0})


class StageProblem(eqx.Module):
    """One stage `k = F(t, y + c k)` of an implicit Runge-Kutta method, `c = h gamma`."""

    increment: Scalar  # what one unit of the unknown, `k` or `h k`, adds to `y`
    c: Scalar
    t: Scalar
    partial: PyTree  # `y`
    args: Any  # of diffeqsolve

    @staticmethod
    def of(arguments: Any) -> "StageProblem":
        """Unpack the `args` that diffrax passes to the root finder of a stage."""
        if not isinstance(arguments, tuple) or len(arguments) not in (7, 8):
            raise ValueError(
                "`LowRankChord` solves the stages of a diffrax implicit Runge-Kutta method, "
                f"got arguments of another problem ({type(arguments).__name__})."
            )
        _, diagonal, *_, t, partial, args, control = arguments
        if any(getattr(args, name, None) is None for name in ("problem", "flow", "rank")):
            raise ValueError(
                "`LowRankChord` needs `args` of diffeqsolve with `problem`, `flow` and `rank`, "
                f"got {type(args).__name__}."
            )
        c = diagonal * control
        return StageProblem(c if len(arguments) == 8 else diagonal, c, t, partial, args)

    def point(self, unknown: PyTree) -> Weights:
        """Return the flat point `y + c k` of the unknown."""
        return ravel_pytree(self.partial)[0] + self.increment * ravel_pytree(unknown)[0]
