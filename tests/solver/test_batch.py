"""A batch of solves gives the trajectories of its members solved alone."""

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
from riemgn.solver.implicit import LowRankChord
from tests.helpers import tanh_net

ROOT = Path(__file__).resolve().parents[2]
TIMES = np.linspace(0.0, 0.5, 3)


def squares(params, x):
    return x[:, 0] * params["w"] ** 2


def exploding(params, x):
    return jnp.exp(x[:, 0] * params["w"])


def squares_to(*targets: float) -> list[rg.Problem]:
    """`f = w^2` from `w = 1`: for a negative target Gauss-Newton loses the rank at `w = 0`."""
    return [rg.Problem(squares, {"w": jnp.ones(1)}, np.ones((1, 1)), np.array([target])) for target in targets]


def nets(count: int) -> list[rg.Problem]:
    """Networks with n = 9 < p = 11."""
    return [tanh_net(9, (3, 2, 1), seed=seed) for seed in range(count)]


def assert_same(one: rg.Trajectory, other: rg.Trajectory) -> None:
    """Compare steps, status and arrays; outputs control the steps, so they agree more closely."""
    assert one.status == other.status
    for name in ("num_steps", "num_accepted_steps", "num_rejected_steps", "solver", "rank", "rtol"):
        assert one.stats.get(name) == other.stats.get(name), name
    for name, ours in one.arrays().items():
        theirs, slack = other.arrays()[name], 1e-7 if name in ("sigma_min", "params") else 1e-9
        atol = slack * max(1.0, np.nanmax(np.abs(theirs)))
        np.testing.assert_allclose(ours, theirs, rtol=slack, atol=atol, err_msg=name)


def statuses_like_solve(
    problems: list[rg.Problem], flows: AbstractFlow | Sequence[AbstractFlow], *, stacked: bool = False, **options
) -> list[str]:
    """Return the statuses of a batch, after comparing each member with `solve`."""
    batch = rg.solve_batch(problems, flows, stacked=stacked, throw=False, **options)
    each = [flows] * len(problems) if isinstance(flows, AbstractFlow) else flows
    for problem, flow, trajectory in zip(problems, each, batch, strict=True):
        assert np.array_equal(trajectory.problem.w0, problem.w0) and np.array_equal(trajectory.problem.y, problem.y)
        alone = rg.solve(problem, flow, throw=False, **options)
        assert_same(trajectory, alone)
        assert (trajectory.tight is None) == (alone.tight is None) == (trajectory.error is None)
        if trajectory.tight is not None and alone.tight is not None:
            assert_same(trajectory.tight, alone.tight)
    return [trajectory.status for trajectory in batch]


# --- members in threads ---


def test_members_equal_their_solves_alone():
    assert set(statuses_like_solve(nets(3), rg.LevenbergMarquardtFlow(0.1), t1=0.5, ts=TIMES)) == {"successful"}


def test_flows_of_different_damping_share_a_batch():
    flows = [rg.LevenbergMarquardtFlow(rho) for rho in (1e-3, 0.1, 10.0)]
    circles = [rg.task.circle(angle=a) for a in (0.5, 1.0, 1.5)]
    assert set(statuses_like_solve(circles, flows, t1=2.0, ts=[1.0, 2.0], error=True)) == {"successful"}


LIMITS = {"t1": 4.0, "ball_radius": 1.5, "loss_tol": 1e-4, "ts": [1.0, 4.0]}


def test_each_member_has_its_own_events():
    statuses = statuses_like_solve(squares_to(0.5, -1.0, 9.0, 1.0 + 1e-9), rg.GaussNewtonFlow(), **LIMITS)
    assert statuses == ["loss_tolerance_met", "rank_lost", "ball_left", "loss_tolerance_met"]


def test_each_member_gets_its_own_solver():
    """Gradient flow is stiff for one scale of the data and not for the other."""
    problems = [
        rg.Problem(rg.LinearModel(), jnp.ones(2), scale * np.array([[1.0, 0.0], [0.0, 1e-2]]), np.zeros(2))
        for scale in (1.0, 300.0)
    ]
    batch = rg.solve_batch(problems, rg.GradientFlow(), t1=1.0, ts=np.ones(1))
    assert [trajectory.stats["solver"] for trajectory in batch] == ["Dopri8", "Kvaerno5"]
    for problem, trajectory in zip(problems, batch, strict=True):
        np.testing.assert_allclose(trajectory.params[-1], np.exp(-(np.diag(np.asarray(problem.x)) ** 2)), atol=1e-6)


TROUBLE = ["successful", "non_finite", "step_limit", "successful"]
OPTIONS = {"t1": 5.0, "ts": np.array([1.0, 5.0]), "max_steps": 40, "solver": diffrax.Tsit5()}


def problems_in_trouble() -> list[rg.Problem]:
    """One member is not finite at the start, and one needs more steps than allowed."""
    pairs = [(0.3, 0.5), (1e3, 1.0), (30.0, -1.0), (-0.2, 2.0)]
    return [
        rg.Problem(exploding, {"w": jnp.ones(1)}, np.array([[slope]]), np.array([target])) for slope, target in pairs
    ]


def test_failed_members_do_not_affect_the_others():
    problems = problems_in_trouble()
    batch = rg.solve_batch(problems, rg.GradientFlow(), throw=False, **OPTIONS)
    assert [trajectory.status for trajectory in batch] == TROUBLE
    sound = rg.solve_batch([problems[0], problems[3]], rg.GradientFlow(), **OPTIONS)
    for ours, theirs in zip((batch[0], batch[3]), sound, strict=True):
        assert all(np.array_equal(value, theirs.arrays()[name]) for name, value in ours.arrays().items())
    with pytest.raises(ValueError, match="must start from finite outputs"):
        rg.solve(problems[1], rg.GradientFlow(), **OPTIONS)


def test_error_of_a_batch_carries_all_trajectories():
    message = r"2 of 4 solves failed, first member 1: .*`error\.trajectories`, or pass throw=False"
    with pytest.raises(rg.SolveError, match=message) as caught:
        rg.solve_batch(problems_in_trouble(), rg.GradientFlow(), **OPTIONS)
    assert [trajectory.status for trajectory in caught.value.trajectories] == TROUBLE
    assert caught.value.trajectory is caught.value.trajectories[1]


# --- stacked ---


def stacked_batches_agree() -> None:
    """Compare stacked batches with `solve`, in a process of one core."""
    problems = squares_to(0.5, -1.0, 9.0)
    statuses = statuses_like_solve(problems, rg.GaussNewtonFlow(), stacked=True, **LIMITS)
    assert statuses == ["loss_tolerance_met", "rank_lost", "ball_left"]
    stiff = diffrax.Kvaerno5(root_finder=diffrax.with_stepsize_controller_tols(LowRankChord)())
    statuses = statuses_like_solve(nets(2), rg.GradientFlow(), stacked=True, t1=0.5, ts=TIMES, solver=stiff)
    assert set(statuses) == {"successful"}
    problems = problems_in_trouble()
    vars(sys.modules["riemgn.solver.batch"])["MAX_STACKED_STEPS"] = 30
    batch = rg.solve_batch(problems, rg.GradientFlow(), stacked=True, throw=False, **OPTIONS)
    assert [trajectory.status for trajectory in batch] == TROUBLE
    assert [trajectory.stats["num_steps"] for trajectory in batch][1:3] == [0, 40]
    for i in (0, 3):
        assert_same(batch[i], rg.solve(problems[i], rg.GradientFlow(), **OPTIONS))


@pytest.mark.slow
@pytest.mark.skipif("sched_setaffinity" not in dir(os), reason="needs a process held to one core")
def test_stacked_members_equal_their_solves_alone():
    """Run on one core, where batched factorisations of jaxlib cannot deadlock."""
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "import tests.solver.test_batch as t; t.stacked_batches_agree()"
    )
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.values["jax_compilation_cache_dir"]),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_ENABLE_X64": "1",
    }
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


# --- keys and wrong arguments ---


def test_keys_are_equal_if_one_program_serves():
    a, b = nets(2)
    key = rg.batch_key(a, rg.LevenbergMarquardtFlow(0.1))
    assert {key: 1}[rg.batch_key(b, rg.LevenbergMarquardtFlow(0.2))] == 1
    others = [
        (tanh_net(10, (3, 2, 1)), rg.LevenbergMarquardtFlow(0.1)),
        (tanh_net(9, (3, 2, 1), activation="softplus"), rg.LevenbergMarquardtFlow(0.1)),
        (tanh_net(9, (3, 2, 1), loss=rg.SquaredLoss(mean=True)), rg.LevenbergMarquardtFlow(0.1)),
        (a, rg.LevenbergMarquardtFlow(0.0)),
        (a, rg.LevenbergMarquardtFlow(rg.ExponentialDamping(0.1))),
        (a, rg.GaussNewtonFlow()),
    ]
    assert len({key, *(rg.batch_key(*pair) for pair in others)}) == 1 + len(others)


@pytest.mark.parametrize(("arguments", "words"), [
    (([rg.task.circle(), rg.task.torus()], rg.GaussNewtonFlow()), "another one for problem 1"),
    (([rg.task.circle()] * 2, [rg.GaussNewtonFlow(), rg.GradientFlow()]), "another one for problem 1"),
    (([], rg.GaussNewtonFlow()), "got 0 for 0 problems"),
    (([rg.task.circle()], [rg.GaussNewtonFlow()] * 2), "got 2 for 1 problems"),
    (([3], rg.GaussNewtonFlow()), "got int"),
    (([rg.task.circle()], rg.GaussNewtonFlow(), -1.0), "`t1`"),
])  # fmt: skip
def test_bad_batches_are_rejected(arguments, words):
    with pytest.raises(ValueError, match=words):
        rg.solve_batch(*arguments)


def test_unknown_options_are_rejected():
    with pytest.raises(TypeError, match="tolerance"):
        rg.solve_batch([rg.task.circle()], rg.GaussNewtonFlow(), tolerance=1e-3)
