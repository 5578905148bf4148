"""One call of diffrax: the state that is integrated, the step-size controller and the events."""

import diffrax
import equinox as eqx
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array

from .._types import Scalar
from ..flow import AbstractFlow
from ..linalg import spectrum
from ..problem import Problem
from ._diffrax import ForwardLoop, OutputGapControl, parameters_only
from .implicit import parameter_velocity

# after a mode has decayed, the error estimate of an implicit method nearly vanishes, and the
# integral gain alone, (0, 1), overshoots if modes decay one after the other
STIFF_GROWTH, STIFF_GAINS = 3.0, (0.1, 0.5)


class Limits(eqx.Module):
    """Thresholds of events and steps, as arrays so that other values do not recompile."""

    sigma: Scalar  # of `rank_lost`
    radius: Scalar  # of `ball_left`
    loss: Scalar  # of `loss_tolerance_met`, for the loss minus `infimum`
    infimum: Scalar
    margin: Scalar  # smallest margin at the start
    min_step: Scalar
    watched: tuple[str, ...] = eqx.field(static=True)  # names of the events in use


class Arguments(eqx.Module):
    """What the vector field and the events read. `rank` is the rank of `J` at the start."""

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


def _error_norm(scaled_error):
    """Return the root mean square error of the outputs if present, else of the parameters."""
    v = scaled_error.get("psi", scaled_error["w"])
    return jnp.nan_to_num(jnp.sqrt(jnp.mean(v**2)), nan=jnp.inf)


def _margin_sigma(w, args):
    return spectrum(args.problem.linearise(w, formed=False).jac)[args.rank - 1] / args.limits.sigma - 1


# by result code: positive before the event, 0 at the event
MARGINS = {
    "rank_lost": _margin_sigma,
    "ball_left": lambda w, args: 1 - jnp.linalg.norm(w - args.problem.w0) / args.limits.radius,
    "loss_tolerance_met": lambda w, args: (args.problem.objective(w) - args.limits.infimum) / args.limits.loss - 1,
}


@eqx.filter_jit
def _margins(y, args):
    return jnp.stack([MARGINS[name](y["w"], args) for name in args.limits.watched])


def _min_margin(t, y, args, **kwargs):
    return jnp.min(_margins(y, args))


@eqx.filter_jit
def locate(args: Arguments, last_step):
    """Return time, state and margins where a margin of the last step first becomes negative."""
    root = optx.root_find(
        lambda t, _: _min_margin(t, last_step.evaluate(t), args),
        optx.Bisection(1e-12, 1e-12, flip=True),
        last_step.t1,
        options={"lower": last_step.t0, "upper": last_step.t1},
        throw=False,
    ).value
    y = last_step.evaluate(root)
    return root, y, _margins(y, args)


@eqx.filter_jit
def integrate(args: Arguments, solver, numbers, max_steps: int, step_to_ts: bool, dense: bool, progress: bool):
    """Integrate from `problem.w0` at time 0. `numbers`: saved times, end time, `rtol`, `atol`.

    Explicit solvers of intrinsic flows carry `psi' = J w'` with `w`. Then `psi` and its gap to
    `f(w)` control the step, otherwise `w` does.
    """
    ts, t1, rtol, atol = numbers
    w0 = args.problem.w0
    implicit = isinstance(solver, diffrax.AbstractImplicitSolver)
    # a flow that is not intrinsic has no law for the outputs alone: their error says too little
    with_outputs = not implicit and args.flow.intrinsic
    growth, (proportional, integral) = (STIFF_GROWTH, STIFF_GAINS) if implicit else (10.0, (0.0, 1.0))
    controller = diffrax.PIDController(
        rtol, atol, pcoeff=proportional, icoeff=integral, factormax=growth,
        dtmin=args.limits.min_step, force_dtmin=False, norm=_error_norm,
    )  # fmt: skip
    if step_to_ts:
        controller = diffrax.ClipStepSizeController(controller, step_ts=ts)
    saved = diffrax.SubSaveAt(ts=ts, fn=lambda t, y, args: y["w"])
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(_vector_field),
        OutputGapControl(solver, dense) if with_outputs else solver,
        t0=0.0,
        t1=t1,
        dt0=None,
        y0={"w": w0, "psi": args.problem.outputs(w0)} if with_outputs else {"w": w0},
        args=args,
        saveat=diffrax.SaveAt(subs=[saved, diffrax.SubSaveAt(t1=True)], dense=dense),
        stepsize_controller=controller,
        event=diffrax.Event(_min_margin) if args.limits.watched else None,
        adjoint=ForwardLoop(ts, args.limits.margin),
        max_steps=max_steps,
        throw=False,
        progress_meter=diffrax.TqdmProgressMeter() if progress else diffrax.NoProgressMeter(),
    )
    return parameters_only(solution, w0) if dense else solution
