"""Directions by the cheapest sound factorisation: against exact rational arithmetic, to `eps cond`, and the branch that each case takes."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from riemgn.jacobian import layer_jacobian
from riemgn.linalg import (
    BRANCHES,
    damped_direction,
    pseudo_inverse_direction,
)
from riemgn.linalg.least_squares import condition_estimate
from tests.helpers import finite_difference, matrix_with, relative_error, tanh_net

EPS = np.finfo(float).eps
SHAPES = [(15, 4), (4, 15), (6, 5), (5, 6), (5, 5)]
damped = jax.jit(lambda jac, g, rho, share, rank: damped_direction(jac, g, rho, share, rank)[:2])
undamped = jax.jit(lambda *arguments: pseudo_inverse_direction(*arguments)[:2])


def matrix(shape, cond, dtype=float):
    return matrix_with(*shape, np.geomspace(1, 1 / cond, min(shape))).astype(dtype)


def vector(size, dtype=float):
    return np.random.default_rng(1).standard_normal(size).astype(dtype)


def exact_direction(jac, g, rho: float = 0.0) -> tuple[np.ndarray, list]:
    """`-(G + rho I)^{-1} J^T g`, or `-J^T (K + rho I)^{-1} g` for a wide `J`, in rational arithmetic: no rounding at all."""
    rows = [[Fraction(float(entry)) for entry in row] for row in jac]
    columns, g = [list(column) for column in zip(*rows, strict=True)], [Fraction(float(entry)) for entry in g]
    wide = len(rows) < len(columns)
    small, right = (rows, g) if wide else (columns, apply(columns, g))
    shift = Fraction(float(rho))
    system = [
        [*(apply([row], other)[0] + shift * (i == j) for j, other in enumerate(small)), right[i]]
        for i, row in enumerate(small)
    ]
    solution = solve_exactly(system)
    return [-entry for entry in (apply(columns, solution) if wide else solution)], rows


def apply(rows, x):
    return [sum(a * b for a, b in zip(row, x, strict=True)) for row in rows]


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


def errors(fast, jac, g, rho=0.0):
    """Errors of the direction and of the outputs it moves, relative to the largest that such a `g` can cause."""
    exact, rows = exact_direction(jac, g, rho)
    difference = [Fraction(float(a)) - b for a, b in zip(fast, exact, strict=True)]

    def norm(v):
        return np.linalg.norm([float(entry) for entry in v])

    return norm(difference) / norm(exact), norm(apply(rows, difference)) / np.linalg.norm(g)


@pytest.mark.parametrize("cond", [1e1, 1e2, 1e4, 1e6, 1e8, 1e10, 1e12])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_undamped_direction_is_exact_to_eps_cond(shape, cond):
    jac, g = matrix(shape, cond), vector(shape[0])
    fast, branch = undamped(jac, g, min(shape))
    by_weights, by_outputs = errors(fast, jac, g)
    # in a tall matrix the part of g outside the range enters with eps cond^2 / |w'|, here of the same size
    assert by_weights < 40 * EPS * cond
    assert by_outputs < 4 * EPS * cond
    aspect = max(shape) >= 2 * min(shape)
    assert BRANCHES[int(branch)] == ("corrected Cholesky" if aspect and cond < 5e4 else "QR")


@pytest.mark.parametrize("damping", [1e-2, 1e-6, 1e-9, 1e-12, 1e-18])
@pytest.mark.parametrize("cond", [1e2, 1e6, 1e10])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_damped_direction_is_exact_to_eps_times_the_damped_cond(shape, cond, damping):
    jac, g = matrix(shape, cond), vector(shape[0])
    fast, branch = damped(jac, g, damping, 1.0, min(shape))
    by_weights, by_outputs = errors(fast, jac, g, damping)
    cond_damped = min(cond, damping**-0.5)
    # Cholesky without corrections is taken while eps cond^2 is below 1e-11
    allowed = 1e-11 if BRANCHES[int(branch)] == "Cholesky" else 0.0
    assert by_weights < max(40 * EPS * cond_damped, allowed)
    assert by_outputs < max(4 * EPS * cond_damped, allowed)


def test_the_share_scales_the_gram_matrix():
    jac, g = matrix((15, 4), 1e3), vector(15)
    for share, damping in ((0.6, 0.4), (0.999, 1e-7), (1e-3, 1e-9)):
        fast, _ = damped(jac, g, damping, share, 4)
        exact, _ = exact_direction(np.sqrt(share) * jac, g / np.sqrt(share), damping)
        assert relative_error(fast, [float(entry) for entry in exact]) < 1e-10


@pytest.mark.parametrize("shape", [(15, 4), (4, 15), (5, 6)])
def test_a_deficient_rank_takes_the_singular_values(shape):
    jac, g = matrix_with(*shape, [1.0, 1e-2, 1e-4]), vector(shape[0])
    fast, branch = undamped(jac, g, 3)
    assert BRANCHES[int(branch)] == "SVD"
    assert relative_error(fast, -np.linalg.pinv(jac, rcond=1e-10) @ g) < 1e-10
    assert relative_error(damped(jac, g, 0.0, 1.0, 3)[0], fast) < 1e-10
    # a rank lost on the way: finite where the triangle is singular
    lost, branch = undamped(jac, g, min(shape))
    assert BRANCHES[int(branch)] == "SVD"
    assert np.isfinite(lost).all()
    assert np.isfinite(undamped(np.zeros(shape), g, min(shape))[1])


@pytest.mark.parametrize("shape", [(15, 4), (4, 15)])
@pytest.mark.parametrize("damping", [None, 0.0])
def test_a_rank_that_nobody_knows_is_that_of_the_spectrum(shape, damping):
    jac, g = matrix_with(*shape, [1.0, 1e-2, 1e-4]), vector(shape[0])
    found, _, kept = damped_direction(
        jnp.asarray(jac), jnp.asarray(g), None if damping is None else jnp.asarray(damping)
    )
    assert relative_error(found, -np.linalg.pinv(jac, rcond=1e-10) @ g) < 1e-10
    assert int(kept) == 3


def test_a_wrong_branch_would_be_seen():
    """The normal equations alone lose what the bounds above allow by orders of magnitude."""
    for shape in ((15, 4), (4, 15)):
        jac, g = matrix(shape, 1e6), vector(shape[0])
        small = jac @ jac.T if shape[0] < shape[1] else jac.T @ jac
        normal = -jac.T @ np.linalg.solve(small, g) if shape[0] < shape[1] else -np.linalg.solve(small, jac.T @ g)
        assert errors(normal, jac, g)[0] > 400 * EPS * 1e6


@pytest.mark.parametrize("shape", [(15, 4), (4, 15), (5, 6)])
def test_single_precision_to_its_own_eps_cond(shape):
    eps = float(np.finfo(np.float32).eps)
    for cond in (10.0, 1e3):
        jac, g = matrix(shape, cond, np.float32), vector(shape[0], np.float32)
        fast, _ = undamped(jac, g, min(shape))
        assert fast.dtype == jnp.float32
        assert errors(fast, jac, g)[0] < 40 * eps * cond
        fast, branch = damped(jac, g, jnp.float32(1e-3), 1.0, min(shape))
        assert fast.dtype == jnp.float32
        assert BRANCHES[int(branch)] != "Cholesky"
        assert errors(fast, jac, g, np.float32(1e-3))[0] < 40 * eps * 30
        rho = np.float32(np.sum(jac**2) / 90)
        fast, branch = damped(jac, g, jnp.asarray(rho), 1.0, min(shape))
        assert BRANCHES[int(branch)] == "Cholesky"
        assert errors(fast, jac, g, rho)[0] < 40 * eps * 91


def named(branch) -> str:
    return BRANCHES[int(branch)]


@jax.jit
def _by_layers_and_formed(params, x, g, rho):
    """Directions, ways and derivatives along `x` of a network's Jacobian kept by layers and formed; undamped, then damped."""

    def directions(x, form):
        jac = layer_jacobian(NET.model, params, x)
        jac = jac.formed() if form else jac
        ordinary = (
            pseudo_inverse_direction(jac, g, g.size)[:2],
            damped_direction(jac, g, rho, 0.9, g.size)[:2],
        )
        return ordinary

    def both(form):
        return jax.jvp(lambda x: directions(x, form), (x,), (jnp.cos(x),))

    return both(False), both(True)


NET = tanh_net(6, (3, 8, 1))


@pytest.mark.parametrize(
    ("distance", "damping", "branches"),
    [(1.0, 10.0, (1, 0)), (1.0, 1e-6, (1, 1)), (1e-3, 1e-9, (1, 1)), (1e-9, 1e-30, (2, 2))],
)
def test_a_jacobian_kept_by_layers_gives_the_direction_of_the_formed_one(distance, damping, branches):
    """Near duplicates among the samples set the condition number, and with it the way, which stays the same."""
    x = np.array(NET.x)
    x[3:] = x[:3] + distance * x[3:]
    layered, dense = _by_layers_and_formed(NET.params, jnp.asarray(x), NET.y, damping)
    cond = np.linalg.cond(layer_jacobian(NET.model, NET.params, jnp.asarray(x)).formed())
    for (one, way), (other, other_way), expected in zip(layered[0], dense[0], branches, strict=True):
        assert int(way) == int(other_way) == expected
        assert relative_error(one, other) < 100 * EPS * cond + 1e-11
    for (one, _), (other, _) in zip(layered[1], dense[1], strict=True):
        assert relative_error(one, other) < 1e3 * EPS * cond**2 + 1e-10


CASES = [
    ((9, 4), 4, None),
    ((4, 9), 4, None),
    ((5, 5), 5, None),
    ((9, 4), 3, None),
    ((4, 9), 3, None),
    ((9, 4), 4, 1e-6),
    ((4, 9), 4, 1e-6),
    ((4, 9), 3, 2.0),
]


@pytest.mark.parametrize(("shape", "rank", "damping"), CASES)
def test_derivatives_equal_differences(shape, rank, damping):
    """Along matrices that keep their rank; forward and reverse mode, with equal singular values, where those of the SVD are infinite."""
    left, right = matrix_with(shape[0], rank, np.ones(rank)), matrix_with(rank, shape[1], np.ones(rank), seed=3)
    g = vector(shape[0])

    def direction(v):
        turned = left + v[0] * jnp.sin(1 + jnp.arange(left.size)).reshape(left.shape)
        jac = turned @ (right + v[1] * jnp.cos(jnp.arange(right.size)).reshape(right.shape))
        loss_gradient = g * (1 + v[2])
        if damping is None:
            return pseudo_inverse_direction(jac, loss_gradient, rank).w_dot
        return damped_direction(jac, loss_gradient, damping * (1 + v[3]), 0.9, rank).w_dot

    direction = jax.jit(direction)
    point = jnp.zeros(4)
    differences = finite_difference(direction, point, 1e-5)
    forward, reverse = jax.jit(jax.jacfwd(direction))(point), jax.jit(jax.jacrev(direction))(point)
    assert relative_error(forward, differences) < 1e-7
    assert relative_error(reverse, forward) < 1e-11


@pytest.mark.parametrize(("shape", "damping"), [((15, 4), None), ((4, 15), 1e-10)])
def test_directions_batch(shape, damping):
    g = vector(shape[0])

    def one(jac):
        return undamped(jac, g, 4) if damping is None else damped(jac, g, damping, 1.0, 4)

    jacs = np.stack([matrix(shape, cond) for cond in (1e2, 1e6)])
    for jac, fast, branch in zip(jacs, *jax.vmap(one)(jacs), strict=True):
        single, its_branch = one(jac)
        assert int(branch) == int(its_branch)
        assert relative_error(fast, single) < 1e-9


@pytest.mark.parametrize("cond", [1.0, 1e3, 1e9])
def test_condition_estimates(cond):
    for k in (1, 2, 30):
        r = np.linalg.qr(matrix_with(k + 5, k, np.geomspace(1, 1 / cond, k)))[1]
        estimate, true = float(condition_estimate(jnp.asarray(r))), np.linalg.cond(r)
        assert true / 10 < estimate < true * (1 + 1e-6 + EPS * true)
    assert not condition_estimate(jnp.diag(jnp.array([1.0, 0.0]))) < 1e15
