"""Run a spec: build its problem and flow, solve, and collect what is stored."""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.random as jr
import numpy as np

from .._validation import SAVED_TIMES
from ..data import conditioned_matrix, load_data
from ..flow import (
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
from ..solver.solve import solve
from ..trajectory import Trajectory
from .provenance import provenance
from .spec import RunSpec, SOLVERS

MIN_TIMES = 33  # saved times; a curve with fewer of them is too coarse to plot

# A program with a progress bar calls back to Python and cannot be cached. For a Jacobian of fewer
# entries, its compilation takes longer than the solve.
ENTRIES_FOR_PROGRESS = 300_000


@dataclass(frozen=True, eq=False)
class Record:
    """A finished run: its `spec`, `trajectory`, and the `arrays` and `metadata` of its files."""

    spec: RunSpec
    trajectory: Trajectory
    arrays: dict[str, np.ndarray]
    metadata: dict[str, Any]


def run(spec: RunSpec, *, progress: bool = False) -> Record:
    """Solve the run that `spec` describes, with a `progress` bar if the problem is large.

    Raises: `ValueError` if the data cannot be found or do not fit the loss.
    """
    start = time.perf_counter()
    problem, data_record = build_problem(spec)
    progress = progress and problem.n * problem.p >= ENTRIES_FOR_PROGRESS
    solve_flow = partial(solve, problem, build_flow(spec), progress=progress, throw=False, **solve_options(spec))
    trajectory = solve_flow()
    t_end = float(trajectory.ts[-1])
    if trajectory.ts.size < MIN_TIMES and t_end > 0:
        # the flow ended between the first saved times: solve again with saved times until that end
        trajectory = solve_flow(ts=np.linspace(0.0, t_end, SAVED_TIMES))
    described = {"spec": spec.model_dump(mode="json"), "hash": spec.hash, **run_metadata(trajectory)}
    origin = {"seed": spec.seed, "seconds": time.perf_counter() - start, "data": data_record, **provenance()}
    return Record(spec, trajectory, trajectory.arrays(), {**described, **origin})


def solve_options(spec: RunSpec) -> dict[str, Any]:
    """Return the keyword arguments of `solve` that a spec sets."""
    solver = SOLVERS[spec.solver]
    names = ("t1", "rtol", "atol", "error", "ball_radius", "loss_tol", "max_steps")
    return {**{name: getattr(spec, name) for name in names}, "solver": None if solver is None else solver()}


def build_problem(spec: RunSpec) -> tuple[Problem, dict[str, Any]]:
    """Return the problem of a spec at its starting point, and the record of its data."""
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
    """Return the flow of a spec, with its damping."""
    value = 0.0 if spec.damping is None else spec.damping
    if spec.flow in ("gf", "gn"):
        return GradientFlow() if spec.flow == "gf" else GaussNewtonFlow()
    if spec.flow == "interpolated":
        return InterpolatedFlow(value)
    damping = {
        "constant": lambda: ConstantDamping(value) if value else 0.0,  # with 0.0 the flow uses J^+ itself
        "exponential": lambda: ExponentialDamping(value, spec.damping_rate),
        "spectral": lambda: SpectralDamping(value),
        "residual": lambda: ResidualDamping(value, spec.damping_power),
        "gradient": lambda: GradientDamping(value, spec.damping_power),
    }[spec.damping_kind]()
    return LevenbergMarquardtFlow(damping) if spec.flow == "lm" else GeneralizedGaussNewtonFlow(damping)


def run_metadata(trajectory: Trajectory) -> dict[str, Any]:
    """Return what the record of any run stores about its solve."""
    problem = trajectory.problem
    curves = ("losses", "grad_norms", "sigma_min")
    ends = {name: np.asarray(getattr(trajectory, name), float)[[0, -1]].tolist() for name in curves}
    max_error = None if trajectory.error is None else float(np.max(np.asarray(trajectory.error)))
    return {
        "result": trajectory.status,
        "message": trajectory.message,
        "n": problem.n,
        "p": problem.p,
        "summary": {"t_end": float(np.asarray(trajectory.ts)[-1]), **ends, "max_error": max_error},
        "stats": trajectory.stats,
        "dtype": str(problem.w0.dtype),
        "device": jax.devices()[0].device_kind,
    }
