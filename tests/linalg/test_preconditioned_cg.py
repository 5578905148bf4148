"""Directions with the preconditioner of an earlier step: the same directions, fewer steps, and a new inverse where the old one no longer pays."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn.linalg import damped_direction, Recycled, recycled_direction
from riemgn.linalg.preconditioned_cg import ROWS_PER_STEP
from riemgn.method import GGNScore
from riemgn.penalty import PseudoHuberPenalty
from tests.helpers import relative_error, tanh_net

SIZES = [(64, 150), (150, 64)]
direction = jax.jit(recycled_direction)
expected = jax.jit(lambda *a: damped_direction(*a).w_dot, static_argnums=(3, 4))


def drifting(n, p, count, drift, seed=0):
    """Jacobians with singular values over four decades, each a little different from the one before."""
    rng = np.random.default_rng(seed)
    u, v = (np.linalg.qr(rng.standard_normal((size, min(n, p))))[0] for size in (n, p))
    jac = u * np.logspace(1, -3, min(n, p)) @ v.T
    for _ in range(count):
        yield jnp.asarray(jac), jnp.asarray(rng.standard_normal(n))
        jac = jac + drift * rng.standard_normal((n, p)) / np.sqrt(n * p)


def followed(n, p, count, drift, damping, start=None):
    """The largest error of a direction against Cholesky, the steps of each system, and the number of inverses computed."""
    recycled, worst, excess = Recycled.start(min(n, p), jnp.float64) if start is None else start, 0.0, []
    for jac, g in drifting(n, p, count, drift):
        w_dot, recycled = direction(jac, g, damping, recycled)
        worst = max(worst, relative_error(w_dot, expected(jac, g, damping, 1.0, min(n, p))))
        excess.append(int(recycled.excess))
    return worst, excess, recycled


@pytest.mark.parametrize(("n", "p"), SIZES)
@pytest.mark.parametrize("drift", [0.0, 1e-3, 10.0])
def test_directions_are_those_of_cholesky_however_much_the_systems_change(n, p, drift):
    worst, _, recycled = followed(n, p, 12, drift, 1e-2)
    assert worst < 1e-10
    # the first system needs an inverse in any case; that of a foreign one is of no use
    assert int(recycled.renewals) == 12 if drift == 10.0 else 1 <= int(recycled.renewals) <= 2


def test_excess_accumulates_until_a_new_inverse_pays():
    _, excess, recycled = followed(160, 300, 40, 1e-3, 1e-2)
    assert 2 <= int(recycled.renewals) <= 20
    again = [later for earlier, later in itertools.pairwise(excess) if later < earlier]
    assert set(again) == {0}  # only a new inverse takes the count back
    assert max(excess) <= 2 * 160 // ROWS_PER_STEP


def test_an_inverse_of_nothing_costs_time_and_not_accuracy():
    rng = np.random.default_rng(3)
    root = rng.standard_normal((64, 64))
    foreign = Recycled(jnp.asarray(root @ root.T + np.eye(64)), jnp.array(2), jnp.array(0), jnp.array(0))
    worst, _, recycled = followed(64, 150, 3, 1e-4, 1e-2, foreign)
    assert worst < 1e-10
    assert int(recycled.renewals) == 1


@pytest.mark.parametrize("damping", [1e-13, 1e-20])
def test_where_the_inverse_is_of_no_use_the_ordinary_way_takes_over(damping):
    worst, _, recycled = followed(64, 150, 3, 0.0, damping)
    assert np.isfinite(worst)
    assert worst < 1e-7
    assert int(recycled.renewals) <= 3


def test_a_batch_of_systems_gives_each_its_own_direction():
    systems = list(drifting(64, 150, 3, 5.0))
    jacs, loss_gradient = (jnp.stack(each) for each in zip(*systems, strict=True))
    first = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (3, *leaf.shape)), Recycled.start(64, jnp.float64))
    got, recycled = jax.jit(jax.vmap(lambda jac, g, before: recycled_direction(jac, g, jnp.array(1e-2), before)))(
        jacs, loss_gradient, first
    )
    for one, (jac, g) in zip(got, systems, strict=True):
        assert relative_error(one, expected(jac, g, 1e-2, 1.0, 64)) < 1e-10
    assert recycled.inverse.shape == (3, 64, 64)


@pytest.mark.parametrize("mu", [0.05, 4.0])
def test_ggn_score_takes_the_same_steps(mu):
    problem = tanh_net(40, (3, 30, 1))

    def after(recycle):
        method = GGNScore(PseudoHuberPenalty(mu), 1e-3, recycle=recycle)
        return rg.iterate(problem, method, steps=30, save_every=30)

    plain, recycled = after(False), after(True)
    assert relative_error(recycled.params[-1], plain.params[-1]) < 1e-9
    assert relative_error(recycled.params[-1], problem.w0) > 1e-3  # it went somewhere
    np.testing.assert_allclose(recycled.stats["per_step"]["decrement"], plain.stats["per_step"]["decrement"], rtol=1e-8)


def test_what_cannot_be_recycled_is_said():
    with pytest.raises(ValueError, match="leave `batch_size` out"):
        GGNScore(PseudoHuberPenalty(1.0), 1e-3, batch_size=4, recycle=True)
    with pytest.raises(ValueError, match="`recycle` must be True or False, got 'yes'"):
        GGNScore(PseudoHuberPenalty(1.0), 1e-3, recycle="yes")
    with jax.enable_x64(False), pytest.raises(ValueError, match="enable_x64"):
        GGNScore(PseudoHuberPenalty(1.0), 1e-3, recycle=True)


# --- when a new inverse pays -----------------------------------------------------------------------------------------


def spread(equations, distinct, dual=True):
    """A Jacobian whose smaller Gram matrix has so many distinct eigenvalues: so many steps without a preconditioner."""
    jac = np.zeros((equations, equations + 1))
    np.fill_diagonal(jac, 1.0 + np.arange(equations) % distinct)
    return jnp.asarray(jac if dual else jac.T), jnp.asarray(
        np.random.default_rng(0).standard_normal(equations + (not dual))
    )


@pytest.mark.parametrize("dual", [True, False])
@pytest.mark.parametrize(("equations", "most"), [(7, 1), (8, 1), (15, 1), (16, 2), (23, 2), (24, 3)])
def test_an_eighth_of_the_equations_are_as_many_steps_as_pay(equations, most, dual):
    for distinct in (most, most + 1):
        jac, g = spread(equations, distinct, dual)
        w_dot, after = direction(jac, g, 0.5, Recycled.start(equations, jnp.float64))
        assert relative_error(w_dot, expected(jac, g, 0.5, 1.0, equations)) < 1e-12
        assert (int(after.renewals), int(after.fresh), int(after.excess)) == (
            (0, 0, distinct) if distinct == most else (1, -1, 0)
        )


def test_steps_beyond_those_of_a_new_inverse_are_counted():
    jac, g = spread(24, 2)
    eye = jnp.eye(24)
    for before, counts in (
        (
            Recycled(eye, jnp.array(-1), jnp.array(0), jnp.array(5)),
            (2, 0, 5),
        ),  # the first system with this inverse sets the measure
        (Recycled(eye, jnp.array(1), jnp.array(2), jnp.array(5)), (1, 3, 5)),
        (Recycled(eye, jnp.array(9), jnp.array(3), jnp.array(5)), (9, 3, 5)),
        (Recycled(eye, jnp.array(1), jnp.array(4), jnp.array(5)), (-1, 0, 6)),  # more than 24 / 8 have been lost
    ):
        w_dot, after = direction(jac, g, 0.5, before)
        assert (int(after.fresh), int(after.excess), int(after.renewals)) == counts
        assert relative_error(w_dot, expected(jac, g, 0.5, 1.0, 24)) < 1e-12
        inverse = np.linalg.inv(np.asarray(jac @ jac.T) + 0.5 * np.eye(24)) if counts[2] == 6 else eye
        assert np.allclose(after.inverse, inverse, rtol=1e-12, atol=1e-15)
