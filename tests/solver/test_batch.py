"""A batch of solves against each of its members solved alone, and the choices of linear algebra that make one under `vmap`."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn.flow import AbstractFlow
from riemgn.linalg import (
    range_norm_and_min,
)
from riemgn.solver.implicit import LowRankChord
from riemgn.trajectory import sample
from tests.helpers import jnp_matrix, tanh_net

ROOT = Path(__file__).resolve().parents[2]
TIMES = np.linspace(0.0, 0.5, 6)


def squares(params, x):
    return x[:, 0] * params["w"] ** 2


def exploding(params, x):
    return jnp.exp(x[:, 0] * params["w"])


def squares_to(*targets: float) -> list[rg.Problem]:
    """`f = w^2` from `w = 1`: Gauss-Newton ends at `w = 0`, where the slope is lost, on the way to a negative target."""
    return [rg.Problem(squares, {"w": jnp.ones(1)}, np.ones((1, 1)), np.array([target])) for target in targets]


def wide_nets(count: int) -> list[rg.Problem]:
    """Networks with n = 33 < p = 41, wide enough for the least singular values of all times to be searched for together."""
    return [tanh_net(33, (3, 8, 1), seed=seed) for seed in range(count)]


def same(one: rg.Trajectory, other: rg.Trajectory, tolerance: float = 1e-9) -> None:
    """That two trajectories of one problem agree to rounding, codes and steps included; parameters less closely, as outputs control the steps."""
    assert one.status == other.status
    assert one.ts.shape == other.ts.shape
    for name in ("num_steps", "num_accepted_steps", "num_rejected_steps", "solver", "rank", "rtol", "message"):
        assert one.stats.get(name) == other.stats.get(name), name
    for name, ours in one.arrays().items():
        theirs = other.arrays()[name]
        slack = 1e-7 if name in ("sigma_min", "params") else tolerance
        np.testing.assert_allclose(
            ours, theirs, rtol=slack, atol=slack * max(1.0, np.nanmax(np.abs(theirs))), err_msg=name
        )


def hold_to_solve(
    problems: list[rg.Problem], flows: AbstractFlow | Sequence[AbstractFlow], *, stacked: bool = False, **options
) -> list[str]:
    """The result codes of a batch, each member of which is what `solve` makes of it alone."""
    batch = rg.solve_batch(problems, flows, stacked=stacked, throw=False, **options)
    each = [flows] * len(problems) if isinstance(flows, AbstractFlow) else flows
    for problem, flow, trajectory in zip(problems, each, batch, strict=True):
        assert np.array_equal(trajectory.problem.w0, problem.w0) and np.array_equal(trajectory.problem.y, problem.y)
        alone = rg.solve(problem, flow, throw=False, **options)
        same(trajectory, alone)
        if trajectory.tight is not None and alone.tight is not None:
            same(trajectory.tight, alone.tight)
            assert "error" in trajectory.arrays()
    return [trajectory.status for trajectory in batch]


# --- a batch is its members ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flow", [rg.GaussNewtonFlow(), rg.LevenbergMarquardtFlow(0.1), rg.GradientFlow()], ids=lambda flow: flow.name
)
def test_members_are_what_solve_makes_of_them(flow):
    assert set(hold_to_solve(wide_nets(3), flow, t1=0.5, ts=TIMES)) == {"successful"}


def test_flows_of_other_damping_share_a_batch():
    flows = [rg.LevenbergMarquardtFlow(rho) for rho in (1e-3, 0.1, 10.0)]
    names = hold_to_solve([rg.task.circle(angle=a) for a in (0.5, 1.0, 1.5)], flows, t1=2.0, ts=[1.0, 2.0], error=True)
    assert names == ["successful"] * 3


def test_events_are_each_members_own():
    problems = squares_to(0.5, -1.0, 9.0, 1.0 + 1e-9)
    names = hold_to_solve(problems, rg.GaussNewtonFlow(), t1=4.0, ball_radius=1.5, loss_tol=1e-4, ts=[1.0, 4.0])
    assert names == ["loss_tolerance_met", "rank_lost", "ball_left", "loss_tolerance_met"]


def test_members_that_need_other_solvers_are_solved_by_theirs():
    """Gradient flow on `x^2 theta` stiff for one scale of the data and not for the other."""
    problems = [
        rg.Problem(rg.LinearModel(), jnp.ones(2), scale * np.array([[1.0, 0.0], [0.0, 1e-2]]), np.zeros(2))
        for scale in (1.0, 300.0)
    ]
    batch = rg.solve_batch(problems, rg.GradientFlow(), t1=1.0, ts=np.ones(1))
    assert [trajectory.stats["solver"] for trajectory in batch] == ["Dopri8", "Kvaerno5"]
    for problem, trajectory in zip(problems, batch, strict=True):
        exact = np.exp(-(np.diag(np.asarray(problem.x)) ** 2))
        np.testing.assert_allclose(trajectory.params[-1], exact, atol=1e-6)


def trouble() -> tuple[list[rg.Problem], list[str]]:
    """Members in trouble between sound ones: one that is not finite at the start, one that needs more steps than it may have."""
    sound = [(0.3, 0.5), (-0.2, 2.0)]
    wrong = [(1e3, 1.0), (30.0, -1.0)]
    pairs = [sound[0], wrong[0], wrong[1], sound[1]]
    problems = [
        rg.Problem(exploding, {"w": jnp.ones(1)}, np.array([[slope]]), np.array([target])) for slope, target in pairs
    ]
    return problems, ["successful", "non_finite", "step_limit", "successful"]


def test_trouble_of_one_member_reaches_no_other():
    problems, names = trouble()
    options = {"t1": 5.0, "ts": np.array([1.0, 5.0]), "max_steps": 40, "solver": diffrax.Tsit5()}
    batch = rg.solve_batch(problems, rg.GradientFlow(), throw=False, **options)
    assert [trajectory.status for trajectory in batch] == names
    quiet = rg.solve_batch([problems[0], problems[3]], rg.GradientFlow(), **options)
    for ours, theirs in zip((batch[0], batch[3]), quiet, strict=True):
        assert all(np.array_equal(value, theirs.arrays()[name]) for name, value in ours.arrays().items())
        assert np.all(np.isfinite(ours.params))
    with pytest.raises(rg.SolveError, match=r"2 of 4 solves failed, first member 1: .*`error\.trajectories`") as caught:
        rg.solve_batch(problems, rg.GradientFlow(), **options)
    assert [trajectory.status for trajectory in caught.value.trajectories] == names
    with pytest.raises(ValueError, match="must start from finite outputs"):
        rg.solve(problems[1], rg.GradientFlow(), **options)


# --- stacked ---------------------------------------------------------------------------------------------------------


def stacked_batches_hold() -> None:
    """What the members of a stacked batch must be; called in a process of one core, see below."""
    assert set(hold_to_solve(wide_nets(3), rg.GaussNewtonFlow(), stacked=True, t1=0.5, ts=TIMES)) == {"successful"}
    problems = squares_to(0.5, -1.0, 9.0)
    names = hold_to_solve(
        problems, rg.GaussNewtonFlow(), stacked=True, t1=4.0, ball_radius=1.5, loss_tol=1e-4, ts=[1.0, 4.0]
    )
    assert names == ["loss_tolerance_met", "rank_lost", "ball_left"]
    stiff = diffrax.Kvaerno5(root_finder=diffrax.with_stepsize_controller_tols(LowRankChord)())
    assert set(hold_to_solve(wide_nets(2), rg.GradientFlow(), stacked=True, t1=0.5, ts=TIMES, solver=stiff)) == {
        "successful"
    }
    problems, names = trouble()
    vars(sys.modules["riemgn.solver.batch"])["MAX_STACKED_STEPS"] = 30
    options = {"t1": 5.0, "ts": np.array([1.0, 5.0]), "max_steps": 40, "solver": diffrax.Tsit5()}
    batch = rg.solve_batch(problems, rg.GradientFlow(), stacked=True, throw=False, **options)
    assert [trajectory.status for trajectory in batch] == names
    assert [trajectory.stats["num_steps"] for trajectory in batch][1:3] == [0, 40]
    for i in (0, 3):
        same(batch[i], rg.solve(problems[i], rg.GradientFlow(), **options))


@pytest.mark.skipif("sched_setaffinity" not in dir(os), reason="needs a process held to one core")
def test_stacked_members_are_what_solve_makes_of_them():
    """In a process of one core, where jaxlib's batched factorisations cannot wait for each other."""
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); import tests.solver.test_batch as t; t.stacked_batches_hold()"
    programs = {
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.values["jax_compilation_cache_dir"]),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **programs, "JAX_ENABLE_X64": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]


# --- keys and wrong arguments ----------------------------------------------------------------------------------------


def test_keys_are_equal_where_one_program_serves():
    a, b = wide_nets(2)
    key = rg.batch_key(a, rg.LevenbergMarquardtFlow(0.1))
    assert {key: 1}[rg.batch_key(b, rg.LevenbergMarquardtFlow(0.2))] == 1
    others = [
        (tanh_net(34, (3, 8, 1)), rg.LevenbergMarquardtFlow(0.1)),
        (tanh_net(33, (3, 8, 1), activation="softplus"), rg.LevenbergMarquardtFlow(0.1)),
        (tanh_net(33, (3, 8, 1), loss=rg.SquaredLoss(mean=True)), rg.LevenbergMarquardtFlow(0.1)),
        (a, rg.LevenbergMarquardtFlow(0.0)),
        (a, rg.LevenbergMarquardtFlow(rg.ExponentialDamping(0.1))),
        (a, rg.GaussNewtonFlow()),
    ]
    assert len({key, *(rg.batch_key(*pair) for pair in others)}) == 1 + len(others)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (([rg.task.circle(), rg.task.torus()], rg.GaussNewtonFlow()), "another one for problem 1"),
        (([rg.task.circle()] * 2, [rg.GaussNewtonFlow(), rg.GradientFlow()]), "another one for problem 1"),
        (([], rg.GaussNewtonFlow()), "got 0 for 0 problems"),
        (([rg.task.circle()], [rg.GaussNewtonFlow()] * 2), "got 2 for 1 problems"),
        (([3], rg.GaussNewtonFlow()), "got int"),
        (([rg.task.circle()], rg.GaussNewtonFlow(), -1.0), "`t1`"),
    ],
)
def test_what_cannot_be_a_batch_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        rg.solve_batch(*arguments)


# --- what it rests on ------------------------------------------------------------------------------------------------


def test_samples_of_a_wide_jacobian_are_those_taken_one_by_one():
    """Also where the rank is not full, and where the smallest singular value is beyond the kernel's digits."""
    net = wide_nets(1)[0]
    lost = rg.Problem(rg.LinearModel(), jnp.ones(60), jnp_matrix(40, 60, np.geomspace(1.0, 0.1, 39)), np.ones(40))
    steep = rg.Problem(rg.LinearModel(), jnp.ones(60), jnp_matrix(40, 60, np.geomspace(1.0, 1e-7, 40)), np.ones(40))
    for problem, rank in ((net, 33), (lost, 39), (steep, 40)):
        params = problem.w0 + jnp.linspace(0.0, 0.1, 3)[:, None]
        found = sample(problem, params, jnp.asarray(rank), True)
        points = [problem.linearise(w) for w in params]
        one_by_one = [range_norm_and_min(point.jac, point.loss_gradient, jnp.asarray(rank)) for point in points]
        expected = {
            "outputs": [point.outputs for point in points],
            "losses": [problem.loss(point.outputs, problem.y) for point in points],
            "grad_norms": [grad_norm for grad_norm, _ in one_by_one],
            "sigma_min": [least for _, least in one_by_one],
        }
        assert set(found) == set(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-7, err_msg=name)
