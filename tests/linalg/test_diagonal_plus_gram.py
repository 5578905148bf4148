"""The directions of GGN-SCORE, and preconditioners of an earlier step, renewed if that pays."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn.linalg import damped_direction, Recycled, recycled_direction, score_direction
from riemgn.method import GGNScore
from riemgn.penalty import PseudoHuberPenalty
from tests.helpers import relative_error, tanh_net

direction = jax.jit(recycled_direction)
expected = jax.jit(lambda jac, g, rho: damped_direction(jac, g, rho).w_dot)


def drifting(n, p, count, drift, seed=0):
    """Jacobians with singular values over four decades, each a little different from the last."""
    rng = np.random.default_rng(seed)
    u, v = (np.linalg.qr(rng.standard_normal((size, min(n, p))))[0] for size in (n, p))
    jac = u * np.logspace(1, -3, min(n, p)) @ v.T
    for _ in range(count):
        yield jnp.asarray(jac), jnp.asarray(rng.standard_normal(n))
        jac = jac + drift * rng.standard_normal((n, p)) / np.sqrt(n * p)


def run(n, p, count, drift, damping, start=None):
    """The largest error, the excess steps after each system, and the last `Recycled`."""
    recycled, worst, excess = Recycled.start(min(n, p), jnp.float64) if start is None else start, 0.0, []
    for jac, g in drifting(n, p, count, drift):
        w_dot, recycled = direction(jac, g, damping, recycled)
        worst = max(worst, relative_error(w_dot, expected(jac, g, damping)))
        excess.append(int(recycled.excess))
    return worst, excess, recycled


@pytest.mark.parametrize(("n", "p"), [(64, 150), (150, 64)])
@pytest.mark.parametrize(("drift", "renewals"), [(0.0, {1, 2}), (1e-3, {1, 2}), (10.0, {12})])
def test_directions_are_those_of_cholesky(n, p, drift, renewals):
    """The first system needs an inverse, and unrelated systems need one each."""
    worst, _, recycled = run(n, p, 12, drift, 1e-2)
    assert worst < 1e-10
    assert int(recycled.renewals) in renewals


def test_excess_steps_add_up_until_a_new_inverse_pays():
    _, excess, recycled = run(64, 150, 60, 3e-3, 1e-2)
    assert 2 <= int(recycled.renewals) <= 30
    assert {later for earlier, later in itertools.pairwise(excess) if later < earlier} == {0}
    assert max(excess) <= 2 * 64 // 8  # a new inverse costs as much as 64 / 8 steps


def test_a_useless_inverse_costs_time_but_not_accuracy():
    root = np.random.default_rng(3).standard_normal((64, 64))
    foreign = Recycled(jnp.asarray(root @ root.T + np.eye(64)), jnp.array(2), jnp.array(0), jnp.array(0))
    worst, _, recycled = run(64, 150, 3, 1e-4, 1e-2, foreign)
    assert worst < 1e-10
    assert int(recycled.renewals) == 1


@pytest.mark.parametrize("damping", [1e-13, 1e-20])
def test_ill_conditioned_systems_are_factorised(damping):
    worst, _, recycled = run(64, 150, 3, 0.0, damping)
    assert worst < 1e-7
    assert int(recycled.renewals) <= 3


def test_each_member_of_a_batch_has_its_own_direction():
    systems = list(drifting(64, 150, 3, 5.0))
    jacs, gradients = (jnp.stack(each) for each in zip(*systems, strict=True))
    start = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (3, *leaf.shape)), Recycled.start(64, jnp.float64))
    batch = jax.jit(jax.vmap(lambda jac, g, before: recycled_direction(jac, g, jnp.array(1e-2), before)))
    directions, recycled = batch(jacs, gradients, start)
    for one, (jac, g) in zip(directions, systems, strict=True):
        assert relative_error(one, expected(jac, g, 1e-2)) < 1e-10
    assert recycled.inverse.shape == (3, 64, 64)


@pytest.mark.parametrize("mu", [0.05, 4.0])
def test_ggn_score_takes_the_same_steps(mu):
    problem = tanh_net(40, (3, 30, 1))
    plain, recycled = (
        rg.iterate(problem, GGNScore(PseudoHuberPenalty(mu), 1e-3, recycle=recycle), steps=30, save_every=30)
        for recycle in (False, True)
    )
    assert relative_error(recycled.params[-1], plain.params[-1]) < 1e-9
    assert relative_error(recycled.params[-1], problem.w0) > 1e-3  # the steps are not zero
    np.testing.assert_allclose(recycled.stats["per_step"]["decrement"], plain.stats["per_step"]["decrement"], rtol=1e-8)


def test_wrong_uses_of_recycle_are_rejected():
    with pytest.raises(ValueError, match="batch_size=4"):
        GGNScore(PseudoHuberPenalty(1.0), 1e-3, batch_size=4, recycle=True)
    with pytest.raises(ValueError, match="`recycle` must be True or False, got 'yes'"):
        GGNScore(PseudoHuberPenalty(1.0), 1e-3, recycle="yes")
    with jax.enable_x64(False), pytest.raises(ValueError, match="enable_x64"):
        GGNScore(PseudoHuberPenalty(1.0), 1e-3, recycle=True)


@pytest.mark.parametrize("size", [64, 256])
@pytest.mark.parametrize("damping", [30.0, 1e-2], ids=["strong", "weak"])
def test_score_direction_solves_the_system(size, damping):
    rng = np.random.default_rng(0)
    jac, e = rng.standard_normal((size, size + 4)) / 20, rng.standard_normal(size)
    pull, metric = rng.standard_normal(size + 4), 1 + rng.random(size + 4)
    exact = -np.linalg.solve(damping * np.diag(metric) + jac.T @ jac, jac.T @ e + pull)
    direction, recycled = jax.jit(score_direction)(jac, e, pull, metric, damping)
    assert np.linalg.norm(direction - exact) < 1e-9 * np.linalg.norm(exact)
    assert recycled is None
