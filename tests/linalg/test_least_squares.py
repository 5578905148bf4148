"""Directions against exact rational arithmetic: accurate to `eps cond` on every branch."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from riemgn.jacobian import layer_jacobian
from riemgn.linalg import BRANCHES, damped_direction, pseudo_inverse_direction
from riemgn.linalg.least_squares import condition_estimate
from tests.helpers import finite_difference, jnp_matrix, matrix_with, relative_error, tanh_net

EPS = np.finfo(float).eps
SHAPES = [(15, 4), (4, 15), (6, 5), (5, 6), (5, 5)]
DEFICIENT = [1.0, 1e-2, 1e-4]  # the singular values of a matrix of rank 3
damped, undamped = jax.jit(damped_direction), jax.jit(pseudo_inverse_direction)


def matrix(shape, cond, dtype=float):
    return matrix_with(*shape, np.geomspace(1, 1 / cond, min(shape))).astype(dtype)


def vector(size, dtype=float):
    return np.random.default_rng(1).standard_normal(size).astype(dtype)


def branch(direction) -> str:
    return BRANCHES[int(direction.branch)]


def product(rows, x):
    return [sum(a * b for a, b in zip(row, x, strict=True)) for row in rows]


def exact_direction(jac, g, rho: float = 0.0) -> tuple[list, list]:
    """`-(G + rho I)^{-1} J^T g = -J^T (K + rho I)^{-1} g`, and `J`, without rounding."""
    rows = [[Fraction(float(entry)) for entry in row] for row in jac]
    columns, g = [list(column) for column in zip(*rows, strict=True)], [Fraction(float(entry)) for entry in g]
    wide = len(rows) < len(columns)
    small, right = (rows, g) if wide else (columns, product(columns, g))
    shift = Fraction(float(rho))
    system = [
        [*(product([row], other)[0] + shift * (i == j) for j, other in enumerate(small)), right[i]]
        for i, row in enumerate(small)
    ]
    solution = solve_exactly(system)
    return [-entry for entry in (product(columns, solution) if wide else solution)], rows


def solve_exactly(system):
    """Gauss-Jordan elimination of the augmented rows."""
    for i in range(len(system)):
        pivot = next(r for r in range(i, len(system)) if system[r][i])
        system[i], system[pivot] = system[pivot], system[i]
        system[i] = [entry / system[i][i] for entry in system[i]]
        for r in range(len(system)):
            if r != i:
                system[r] = [a - system[r][i] * b for a, b in zip(system[r], system[i], strict=True)]
    return [row[-1] for row in system]


def errors(w_dot, jac, g, rho=0.0):
    """Relative errors of the direction, and of the change of the outputs relative to `|g|`."""
    exact, rows = exact_direction(jac, g, rho)
    difference = [Fraction(float(a)) - b for a, b in zip(w_dot, exact, strict=True)]

    def norm(v):
        return np.linalg.norm([float(entry) for entry in v])

    return norm(difference) / norm(exact), norm(product(rows, difference)) / np.linalg.norm(g)


@pytest.mark.parametrize("cond", [1e1, 1e4, 1e7, 1e12])
@pytest.mark.parametrize("shape", SHAPES)
def test_undamped_direction_is_exact_to_eps_cond(shape, cond):
    jac, g = matrix(shape, cond), vector(shape[0])
    direction = undamped(jac, g, min(shape))
    by_weights, by_outputs = errors(direction.w_dot, jac, g)
    # for a tall matrix the part of g outside the range adds eps cond^2 / |w'|, as large here
    assert by_weights < 40 * EPS * cond
    assert by_outputs < 4 * EPS * cond
    elongated = max(shape) >= 2 * min(shape)
    assert branch(direction) == ("corrected Cholesky" if elongated and cond < 5e4 else "QR")


@pytest.mark.parametrize("damping", [1e-2, 1e-9, 1e-18])
@pytest.mark.parametrize("cond", [1e2, 1e10])
@pytest.mark.parametrize("shape", SHAPES)
def test_damped_direction_is_exact_to_eps_times_the_damped_cond(shape, cond, damping):
    jac, g = matrix(shape, cond), vector(shape[0])
    direction = damped(jac, g, damping, 1.0, min(shape))
    by_weights, by_outputs = errors(direction.w_dot, jac, g, damping)
    cond_damped = min(cond, damping**-0.5)
    # Cholesky without corrections is used while eps cond^2 is below 1e-11
    allowed = 1e-11 if branch(direction) == "Cholesky" else 0.0
    assert by_weights < max(40 * EPS * cond_damped, allowed)
    assert by_outputs < max(4 * EPS * cond_damped, allowed)


def test_no_damping_in_between_loses_digits():
    """Against the exact filter of a matrix whose SVD is known."""
    rng = np.random.default_rng(0)
    u, v = np.linalg.qr(rng.standard_normal((15, 4)))[0], np.linalg.qr(rng.standard_normal((4, 4)))[0]
    s, g = np.geomspace(1, 1e-4, 4), vector(15)
    for rho in np.geomspace(1e-12, 1e2, 29):
        exact = -v @ (s / (s**2 + rho) * (u.T @ g))
        assert relative_error(damped((u * s) @ v.T, g, rho, 1.0, 4).w_dot, exact) < 1e-10, rho


def test_share_scales_the_gram_matrix():
    jac, g = matrix((15, 4), 1e3), vector(15)
    for share, damping in ((0.6, 0.4), (0.999, 1e-7), (1e-3, 1e-9)):
        exact, _ = exact_direction(np.sqrt(share) * jac, g / np.sqrt(share), damping)
        direction = damped(jac, g, damping, share, 4)
        assert relative_error(direction.w_dot, [float(entry) for entry in exact]) < 1e-10


@pytest.mark.parametrize("shape", [(15, 4), (4, 15), (5, 6)])
def test_deficient_rank_gives_the_minimum_norm_solution(shape):
    jac, g = matrix_with(*shape, DEFICIENT), vector(shape[0])
    exact = -np.linalg.pinv(jac, rcond=1e-10) @ g
    for direction in (
        undamped(jac, g, 3),
        undamped(jac, g),
        damped(jac, g, 0.0, 1.0, 3),
        damped(jac, g, 0.0),
        damped(jac, g, None),
    ):
        assert (branch(direction), int(direction.rank)) == ("SVD", 3)
        assert relative_error(direction.w_dot, exact) < 1e-10


@pytest.mark.parametrize("shape", [(15, 4), (4, 15), (5, 6)])
def test_a_rank_lost_on_the_way_gives_a_finite_direction(shape):
    g = vector(shape[0])
    direction = undamped(matrix_with(*shape, DEFICIENT), g, min(shape))
    assert branch(direction) == "SVD"
    assert np.isfinite(direction.w_dot).all()
    assert not undamped(np.zeros(shape), g, min(shape)).w_dot.any()


@pytest.mark.parametrize("shape", [(15, 4), (4, 15), (5, 6)])
def test_float32_directions_are_exact_to_their_eps_cond(shape):
    eps, k = float(np.finfo(np.float32).eps), min(shape)
    for cond in (10.0, 1e3):
        jac, g = matrix(shape, cond, np.float32), vector(shape[0], np.float32)
        weakly, strongly = np.float32(1e-3), np.float32(np.sum(jac**2) / 90)
        for direction, rho, bound in (
            (undamped(jac, g, k), 0.0, cond),
            (damped(jac, g, weakly, 1.0, k), weakly, 30),
            (damped(jac, g, strongly, 1.0, k), strongly, 91),
        ):
            assert direction.w_dot.dtype == jnp.float32
            assert (branch(direction) == "Cholesky") == (rho == strongly)
            assert errors(direction.w_dot, jac, g, rho)[0] < 40 * eps * bound


NET = tanh_net(6, (3, 8, 1))


@jax.jit
def _by_layers_and_formed(x, g, rho):
    """Directions and their derivatives along `x`, for a Jacobian as an operator and as an array."""

    def directions(x, form):
        jac = layer_jacobian(NET.model, NET.params, x)
        jac = jac.formed() if form else jac
        return pseudo_inverse_direction(jac, g, g.size)[:2], damped_direction(jac, g, rho, 0.9, g.size)[:2]

    return [jax.jvp(lambda x, form=form: directions(x, form), (x,), (jnp.cos(x),)) for form in (False, True)]


@pytest.mark.parametrize(
    ("distance", "damping", "branches"),
    [(1.0, 10.0, (1, 0)), (1.0, 1e-6, (1, 1)), (1e-3, 1e-9, (1, 1)), (1e-9, 1e-30, (2, 2))],
)
def test_a_layer_jacobian_gives_the_direction_of_the_array(distance, damping, branches):
    """The distance of near duplicates among the samples sets the condition number."""
    x = np.array(NET.x)
    x[3:] = x[:3] + distance * x[3:]
    (layered, layered_tangent), (dense, dense_tangent) = _by_layers_and_formed(jnp.asarray(x), NET.y, damping)
    cond = np.linalg.cond(layer_jacobian(NET.model, NET.params, jnp.asarray(x)).formed())
    for (one, index), (other, other_index), expected in zip(layered, dense, branches, strict=True):
        assert int(index) == int(other_index) == expected
        assert relative_error(one, other) < 100 * EPS * cond + 1e-11
    for (one, _), (other, _) in zip(layered_tangent, dense_tangent, strict=True):
        assert relative_error(one, other) < 1e3 * EPS * cond**2 + 1e-10


DERIVATIVES = {
    "tall": ((9, 4), 4, None),
    "wide": ((4, 9), 4, None),
    "tall, rank 3": ((9, 4), 3, None),
    "wide, rank 3": ((4, 9), 3, None),
    "tall, damped": ((9, 4), 4, 1e-6),
    "wide, damped, rank 3": ((4, 9), 3, 2.0),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives_match_finite_differences(name):
    """Along matrices of constant rank with equal singular values, where the SVD has none."""
    shape, rank, damping = DERIVATIVES[name]
    left, right = matrix_with(shape[0], rank, np.ones(rank)), matrix_with(rank, shape[1], np.ones(rank), seed=3)

    @jax.jit
    def direction(v):
        turned = left + v[0] * jnp.sin(1 + jnp.arange(left.size)).reshape(left.shape)
        jac = turned @ (right + v[1] * jnp.cos(jnp.arange(right.size)).reshape(right.shape))
        rho = None if damping is None else damping * (1 + v[3])
        return damped_direction(jac, vector(shape[0]) * (1 + v[2]), rho, 0.9, rank).w_dot

    point = jnp.zeros(4)
    forward, reverse = jax.jit(jax.jacfwd(direction))(point), jax.jit(jax.jacrev(direction))(point)
    assert relative_error(forward, finite_difference(direction, point, 1e-5)) < 1e-7
    assert relative_error(reverse, forward) < 1e-11


@pytest.mark.parametrize(("shape", "damping"), [((15, 4), None), ((4, 15), 1e-10)])
def test_each_member_of_a_batch_has_its_own_direction(shape, damping):
    def directions(jac):
        return damped_direction(jac, vector(shape[0]), damping, 1.0, 4)

    jacs = np.stack([matrix(shape, cond) for cond in (1e2, 1e6)])
    batch = jax.jit(jax.vmap(directions))(jacs)
    for i, jac in enumerate(jacs):
        single = damped(jac, vector(shape[0]), damping, 1.0, 4)
        assert int(batch.branch[i]) == int(single.branch)
        assert relative_error(batch.w_dot[i], single.w_dot) < 1e-9


def test_directions_are_linearised_alike_under_vmap():
    jacs = jnp.stack([jnp_matrix(4, 9, [2.0, 1.0, 0.5, smallest]) for smallest in (1e-5, 0.2)])

    def direction(jac):
        return damped_direction(jac, jnp.arange(1.0, 5.0), 1e-9, rank=4).w_dot

    @jax.jit
    def tangents(jac):
        w_dot, linear = jax.linearize(direction, jac)
        return w_dot, linear(jnp.ones_like(jac)), jax.grad(lambda j: jnp.sum(direction(j)))(jac)

    batched = jax.jit(jax.vmap(tangents))(jacs)
    for i, jac in enumerate(jacs):
        for ours, theirs in zip(batched, tangents(jac), strict=True):
            np.testing.assert_allclose(ours[i], theirs, rtol=1e-8, atol=1e-8 * float(jnp.abs(theirs).max()))


@pytest.mark.parametrize("cond", [1.0, 1e3, 1e9])
def test_condition_estimate_is_within_a_factor_of_ten(cond):
    for k in (1, 30):
        r = np.linalg.qr(matrix_with(k + 5, k, np.geomspace(1, 1 / cond, k)))[1]
        estimate, exact = float(condition_estimate(jnp.asarray(r))), np.linalg.cond(r)
        assert exact / 10 < estimate < exact * (1 + 1e-6 + EPS * exact)
    assert not condition_estimate(jnp.diag(jnp.array([1.0, 0.0]))) < 1e15
