"""run(spec) -> Record: data, network, problem and flow from a spec, solved, with everything that is needed to do it again."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.random as jr
import numpy as np

from .._validation import SAVED_TIMES
from ..data import conditioned_matrix, load_data
from ..flow import (
    AbstractDamping,
    AbstractFlow,
    ConstantDamping,
    ExponentialDamping,
    GaussNewtonFlow,
    GeneralizedGaussNewtonFlow,
    GradientDamping,
    GradientFlow,
    InterpolatedFlow,
    LevenbergMarquardtFlow,
    ResidualDamping,
    SpectralDamping,
)
from ..loss import LOSSES
from ..model import Centred, MLP, Scaled
from ..problem import Problem
from ..result import result_name
from ..solver.solve import solve
from ..trajectory import Trajectory
from .provenance import provenance
from .spec import RunSpec, SOLVERS

FEW_TIMES = 33  # saved times below which a curve is too coarse to read

# A program with a progress bar calls back to Python and is kept in no cache: a Jacobian of fewer entries takes longer to compile than to follow.
ENTRIES_FOR_PROGRESS = 300_000


@dataclass(frozen=True, eq=False)
class Record:
    """A finished run: the `spec`, its `trajectory`, and what to store.

    - `arrays`: name -> array, for the npz file.
    - `metadata`: plain values for the JSON file: spec, hash, result, stats, data, versions, commit, seconds.
    """

    spec: RunSpec
    trajectory: Trajectory
    arrays: dict[str, np.ndarray]
    metadata: dict[str, Any]


def run(spec: RunSpec, *, progress: bool = False) -> Record:
    """Solve what `spec` says; numerical trouble is recorded, not raised. `progress` shows a bar where the problem is large.

    Raises: `ValueError` for data that cannot be found or does not fit the loss.
    """
    start = time.perf_counter()
    problem, data_record = build_problem(spec)
    progress = progress and problem.n * problem.p >= ENTRIES_FOR_PROGRESS
    trajectory = _solve(problem, spec, None, progress)
    t_end = float(trajectory.ts[-1])
    if trajectory.ts.size < FEW_TIMES and t_end > 0:
        # it ended early, between the saved times: the same solve again, saved on the way to where it ended
        trajectory = _solve(problem, spec, np.linspace(0.0, t_end, SAVED_TIMES), progress)
    metadata = {
        "spec": spec.model_dump(mode="json"),
        "hash": spec.hash,
        **told(trajectory),
        "seed": spec.seed,
        "seconds": time.perf_counter() - start,
        "data": data_record,
        **provenance(),
    }
    return Record(spec, trajectory, trajectory.arrays(), metadata)


def _solve(problem: Problem, spec: RunSpec, ts: np.ndarray | None, progress: bool) -> Trajectory:
    return solve(problem, build_flow(spec), ts=ts, progress=progress, throw=False, **solve_options(spec))


def solve_options(spec: RunSpec) -> dict[str, Any]:
    """What a spec says of the integration, as keyword arguments of `solve`."""
    solver = SOLVERS[spec.solver]
    plain = {
        name: getattr(spec, name) for name in ("t1", "rtol", "atol", "error", "ball_radius", "loss_tol", "max_steps")
    }
    return {**plain, "solver": None if solver is None else solver()}


def build_problem(spec: RunSpec) -> tuple[Problem, dict[str, Any]]:
    """The problem of a spec at its starting point, and the record of its data."""
    if spec.data_dir is not None and not Path(spec.data_dir).expanduser().is_dir():
        raise ValueError(f"`data_dir` must name a folder, got '{spec.data_dir}'.")
    data = load_data(spec.data, data_dir=spec.data_dir, subset=spec.subset, seed=spec.seed, target=spec.target)
    outputs = 1 if data.y.ndim == 1 else data.y.shape[1]
    net = MLP((data.x.shape[1], *[spec.width] * spec.depth, outputs), spec.activation, spec.scaling, spec.bias)
    net_key, coordinate_key = jr.split(jr.key(spec.seed))
    params = net.init(key=net_key)
    model = Scaled(Centred(net, params) if spec.centre else net, spec.alpha)
    y = data.y.reshape(-1) if outputs == 1 else data.y
    problem = Problem(model, params, data.x, y, LOSSES[spec.loss]())
    if spec.cond is not None:
        problem = problem.reparametrise(jax.numpy.asarray(conditioned_matrix(problem.p, spec.cond, key=coordinate_key)))
    return problem, data.record


def build_flow(spec: RunSpec) -> AbstractFlow:
    """The flow of a spec, with its damping."""
    if spec.flow == "gf":
        return GradientFlow()
    if spec.flow == "gn":
        return GaussNewtonFlow()
    if spec.flow == "interpolated":
        return InterpolatedFlow(_value(spec))
    if spec.flow == "lm":
        return LevenbergMarquardtFlow(_damping(spec))
    return GeneralizedGaussNewtonFlow(0.0 if spec.damping is None else _damping(spec))


def _damping(spec: RunSpec) -> AbstractDamping | float:
    value = _value(spec)
    if spec.damping_kind == "exponential":
        return ExponentialDamping(value, spec.damping_rate)
    if spec.damping_kind == "spectral":
        return SpectralDamping(value)
    if spec.damping_kind == "residual":
        return ResidualDamping(value, spec.damping_power)
    if spec.damping_kind == "gradient":
        return GradientDamping(value, spec.damping_power)
    # the plain number 0 says that the flow inverts J itself
    return ConstantDamping(value) if value else 0.0


def _value(spec: RunSpec) -> float:
    return 0.0 if spec.damping is None else spec.damping


def told(trajectory: Trajectory) -> dict[str, Any]:
    """What the record of any run says of its solve."""
    problem = trajectory.problem
    return {
        "result": result_name(trajectory.result),
        "message": trajectory.message,
        "n": problem.n,
        "p": problem.p,
        "summary": _summary(trajectory),
        "stats": trajectory.stats,
        "dtype": str(problem.w0.dtype),
        "device": jax.devices()[0].device_kind,
    }


def _summary(trajectory: Trajectory) -> dict[str, Any]:
    """First and last value of what is tabled."""
    curves = {name: np.asarray(getattr(trajectory, name)) for name in ("losses", "grad_norms", "sigma_min")}
    ends = {name: [float(values[0]), float(values[-1])] for name, values in curves.items()}
    error = None if trajectory.error is None else float(np.max(np.asarray(trajectory.error)))
    return {"t_end": float(np.asarray(trajectory.ts)[-1]), **ends, "max_error": error}
