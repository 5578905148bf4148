"""One solve of a flow by diffrax: what is integrated, how the step is controlled, which events end it."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array

from .._types import Scalar
from ..flow import AbstractFlow
from ..linalg import spectrum
from ..problem import Problem
from .implicit import parameter_velocity

# Where a mode has died out the error estimate of an implicit method all but vanishes, and an unbounded step would jump over what comes next.
STIFF_GROWTH = 3.0

# Proportional and integral gain of the step control in stiff runs. The integral control alone (0, 1) overshoots where modes die out, one after the
# other; chosen on the four problems of tests/bench/stiff.py, where these reach an output error of 1e-6 at a looser tolerance.
STIFF_GAINS = (0.1, 0.5)


# Roundings of the parameters that one step may add up.
ROUNDINGS = 1e3


class Limits(eqx.Module):
    """Thresholds of the events, as arrays: changing them compiles nothing anew.

    `loss` is that of `g - inf g`; `margin` is the least margin at the start.
    """

    sigma: Scalar
    radius: Scalar
    loss: Scalar
    infimum: Scalar
    margin: Scalar
    watched: tuple[str, ...] = eqx.field(static=True)


class Arguments(eqx.Module):
    """What the right-hand side and the events read, handed through diffrax; `rank` is that of `J` at the start."""

    problem: Problem
    flow: AbstractFlow
    rank: Array
    limits: Limits


@eqx.filter_jit
def _vector_field(t, y, args):
    if "psi" not in y:
        return {"w": parameter_velocity(args.flow, t, y["w"], args.problem, args.rank)}
    w_dot, f_dot = args.flow.velocity(t, y["w"], args.problem, args.rank)
    return {"w": w_dot, "psi": f_dot}


def _output_norm(scaled_error):
    """Root mean square of the scaled error of the outputs where they are carried, of the parameters elsewhere; NaN counts as infinite."""
    v = scaled_error.get("psi", scaled_error["w"])
    return jnp.nan_to_num(jnp.sqrt(jnp.mean(v**2)), nan=jnp.inf)


def _margin_sigma(t, y, args, **kwargs):
    return spectrum(args.problem.linearise(y["w"], formed=False).jac)[args.rank - 1] / args.limits.sigma - 1


def _margin_radius(t, y, args, **kwargs):
    return 1 - jnp.linalg.norm(y["w"] - args.problem.w0) / args.limits.radius


def _margin_loss(t, y, args, **kwargs):
    return (args.problem.objective(y["w"]) - args.limits.infimum) / args.limits.loss - 1


# By result code: positive until the event, zero there.
MARGINS = {"rank_lost": _margin_sigma, "ball_left": _margin_radius, "loss_tolerance_met": _margin_loss}


@eqx.filter_jit
def _margins(t, y, args):
    return jnp.stack([MARGINS[name](t, y, args) for name in args.limits.watched])


def _least_margin(t, y, args, **kwargs):
    return jnp.min(_margins(t, y, args))


class _OutputsWatched(diffrax.AbstractAdaptiveSolver):
    """The explicit method `solver`, whose error of the outputs is at least what a step adds to their gap to the outputs of the parameters.

    `|psi - f(w)|` stays far below the tolerance as long as the step follows the flow. A step over a fold of `M`, where the velocity of the
    parameters is unbounded and that of the outputs is not, lands on another sheet, and `psi` alone would not tell. What rounding may make of the gap
    does not count.

    Where `kept`, the parameters alone stay in the dense output: diffrax holds each stage of `max_steps` steps, 4096 x 16 vectors for Dopri8, with
    outputs, n numbers each, gigabytes.
    """

    solver: diffrax.AbstractSolver
    kept: bool = eqx.field(static=True)

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
        return self.solver.init(terms, t0, t1, y0, args), jnp.zeros_like(y0["psi"])

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        inner, gap = solver_state
        y1, error, dense_info, inner, result = self.solver.step(terms, t0, t1, y0, args, inner, made_jump)
        outputs, swell = jax.jvp(args.problem.outputs, (y1["w"],), (y1["w"],))
        gap_after = outputs - y1["psi"]
        if error is not None:
            parted = jnp.maximum(jnp.abs(gap_after - gap) - _unsure(outputs, swell, args.problem.y), 0.0)
            error = {**error, "psi": jnp.maximum(jnp.abs(error["psi"]), parted)}
        if self.kept:
            dense_info = jax.tree.map(
                lambda part: {"w": part["w"]} if _has_outputs(part) else part, dense_info, is_leaf=_has_outputs
            )
        return y1, error, dense_info, (inner, gap_after), result

    def func(self, terms, t0, y0, args):
        return self.solver.func(terms, t0, y0, args)


def _unsure(outputs, swell, y):
    """Gaps that rounding may make: `swell = J w` tells how the rounding of the parameters shows in the outputs."""
    eps, largest = jnp.finfo(outputs.dtype).eps, jnp.maximum(jnp.max(jnp.abs(outputs)), jnp.max(jnp.abs(y)))
    return jnp.sqrt(eps) * largest + ROUNDINGS * eps * jnp.max(jnp.abs(swell))


def _has_outputs(part) -> bool:
    return isinstance(part, dict) and "psi" in part


class _Loop(diffrax.AbstractAdjoint):
    """`diffrax.ForwardMode`, told what is known before: that the saved times are in order, and the margin of the events at the start.

    diffrax's check of the times calls back to Python, and a program that calls back is kept in no cache. An event is located afterwards, by
    `locate` in the last step's interpolation, since most solves have none and need not compile that.
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
            stats["last_step"] = solver.interpolation_cls(
                t0=end.event_tprev, t1=end.event_tnext, **end.event_dense_info
            )
        return end, stats


@eqx.filter_jit
def locate(args, last_step):
    """Time and state where the least margin of the last step passes from positive to negative, and the margins there."""
    bounds = {"lower": last_step.t0, "upper": last_step.t1}
    found = optx.root_find(
        lambda t, _: _least_margin(t, last_step.evaluate(t), args),
        optx.Bisection(1e-12, 1e-12, flip=True),
        last_step.t1,
        options=bounds,
        throw=False,
    )
    y = last_step.evaluate(found.value)
    return found.value, y, _margins(found.value, y, args)


@eqx.filter_jit
def integrate(
    args: Arguments, ts, t1, rtol, atol, dtmin, solver, max_steps: int, dense: bool, progress: bool, step_to_ts: bool
):
    """One diffrax solve from `problem.w0` at time 0. Everything swept (data, damping, tolerances, times, limits) is an argument.

    Explicit solvers carry `psi' = J w'` beside `w` and the step is controlled by `psi` and its gap to `f(w)`; implicit ones carry and control `w`.
    The dense output has `w` alone.
    """
    w0 = args.problem.w0
    implicit = isinstance(solver, diffrax.AbstractImplicitSolver)
    # a flow that is not intrinsic has no law for the outputs alone, so that their error says too little
    with_outputs = not implicit and args.flow.intrinsic
    y0 = {"w": w0, "psi": args.problem.outputs(w0)} if with_outputs else {"w": w0}
    growth, (proportional, integral) = (STIFF_GROWTH, STIFF_GAINS) if implicit else (10.0, (0.0, 1.0))
    gains = {"pcoeff": proportional, "icoeff": integral, "factormax": growth}
    controller = diffrax.PIDController(rtol=rtol, atol=atol, norm=_output_norm, dtmin=dtmin, force_dtmin=False, **gains)
    if step_to_ts:
        controller = diffrax.ClipStepSizeController(controller, step_ts=ts)
    event = diffrax.Event(_least_margin) if args.limits.watched else None
    end = diffrax.SubSaveAt(t1=True)
    saved = diffrax.SubSaveAt(ts=ts, fn=lambda t, y, args: y["w"])
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(_vector_field),
        _OutputsWatched(solver, kept=dense) if with_outputs else solver,
        t0=0.0,
        t1=t1,
        dt0=None,
        y0=y0,
        args=args,
        saveat=diffrax.SaveAt(subs=[saved, end], dense=dense),
        stepsize_controller=controller,
        event=event,
        adjoint=_Loop(ts, args.limits.margin),
        max_steps=max_steps,
        throw=False,
        progress_meter=diffrax.TqdmProgressMeter() if progress else diffrax.NoProgressMeter(),
    )
    return eqx.tree_at(lambda s: s.interpolation.y0_if_trivial, solution, {"w": w0}) if dense else solution
