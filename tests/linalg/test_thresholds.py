"""Where one way of linear algebra gives over to the next: on both sides of every bound that is documented."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from riemgn.linalg.mixed import checked_precision

from riemgn.linalg import (
    BRANCHES,
    condition_estimate,
    damped_direction_and_branch,
    least_singular_value,
    MatrixFree,
    mixed as mixed_linalg,
    mixed_direction_and_branch,
    numerical_rank,
    pseudo_inverse_direction_and_branch,
    range_norm_and_least,
    spectral_direction,
    thin_svd,
    where_or_compute,
)
from riemgn.linalg.diagonal_plus_gram import score_direction
from riemgn.linalg.jacobian_operator import FilledJacobian, outer_gram, scale_columns, scale_rows
from riemgn.linalg.matrix_free import checked_matrix_free, largest_eigenvalue
from riemgn.linalg.min_singular_value import Extremes, extremes, tridiagonal_of
from riemgn.linalg.svd import _kernel_spectrum

EPS, EPS32 = float(np.finfo(float).eps), float(np.finfo(np.float32).eps)
WIDE, TALL = (3, 6), (6, 3)
damped = jax.jit(damped_direction_and_branch)
undamped = jax.jit(pseudo_inverse_direction_and_branch)
mixed = jax.jit(mixed_direction_and_branch)
estimated = jax.jit(lambda values: condition_estimate(jnp.diag(values)))


def diagonal(shape, least, dtype=float):
    """Singular values 1, ..., 1, least."""
    jac = np.zeros(shape, dtype)
    np.fill_diagonal(jac, [*[1.0] * (min(shape) - 1), least])
    return jac


def way(found) -> str:
    return BRANCHES[int(found[1])]


def least_where(bound: float, size: int = 3) -> float:
    """The least of the singular values 1, ..., 1, s whose triangle has the estimated condition number `bound`."""
    low, high = 1e-3 / bound, 1.0
    for _ in range(60):
        middle = np.sqrt(low * high)
        estimate = float(estimated(np.array([1.0] * (size - 1) + [middle])))
        low, high = (low, middle) if estimate < bound else (middle, high)
    return high


# --- damped and undamped directions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [WIDE, TALL])
@pytest.mark.parametrize(("dtype", "bound"), [(np.float64, 1e-11 / EPS), (np.float32, 100.0)])
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_cholesky_is_sound_while_share_squared_norm_over_damping_is(shape, dtype, bound, share):
    jac, g = diagonal(shape, 0.5, dtype), np.ones(shape[0], dtype)
    limit = share * 2.25 / bound
    for factor, expected in ((1.001, "Cholesky"), (0.999, "corrected Cholesky")):
        rho = dtype(limit * factor)
        w_dot, branch = damped(jac, g, rho, share, 3)
        s = np.array([1, 1, 0.5])
        assert way((w_dot, branch)) == expected
        assert w_dot[:3] == pytest.approx(-s / (share * s**2 + rho), rel=1e-9 if dtype is np.float64 else 1e-3)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((3, 6), "corrected Cholesky"), ((3, 5), "QR"), ((6, 3), "corrected Cholesky"), ((5, 3), "QR")],
)
def test_corrections_need_one_side_of_twice_the_other(shape, expected):
    g = np.ones(shape[0])
    assert way(undamped(diagonal(shape, 0.1), g, 3)) == way(damped(diagonal(shape, 0.1), g, 1e-9, 1.0, 3)) == expected


@pytest.mark.parametrize("shape", [WIDE, TALL])
def test_corrections_and_triangles_have_their_condition_numbers(shape):
    g = np.ones(shape[0])
    corrected, triangular = least_where(np.sqrt(0.1 * EPS ** (-2 / 3))), least_where(0.01 / (6 * EPS))
    ways = [
        way(undamped(diagonal(shape, least * factor), g, 3))
        for least in (corrected, triangular)
        for factor in (1.001, 0.999)
    ]
    assert ways == ["corrected Cholesky", "QR", "QR", "SVD"]
    assert way(undamped(diagonal(shape, 0.5), g, 2)) == way(damped(diagonal(shape, 0.5), g, 1e-9, 1.0, 2)) == "SVD"
    assert way(damped(diagonal(shape, 0.5), g, 1.0, 1.0, 2)) == "Cholesky"  # which needs no rank


@pytest.mark.parametrize("shape", [WIDE, TALL])
def test_mixed_precision_holds_to_the_inverse_of_its_rounding_unit(shape):
    g, limit = np.ones(shape[0]), least_where(EPS32**-0.5)
    assert [way(mixed(diagonal(shape, limit * factor), g, None, 3)) for factor in (1.01, 0.99)] == [
        "mixed Cholesky",
        "corrected Cholesky",
    ]
    assert [way(mixed(diagonal(shape, 0.5), g, None, rank)) for rank in (3, 2)] == ["mixed Cholesky", "SVD"]
    assert way(mixed(diagonal(shape, 0.5), g, 1.0, 2)) == "Cholesky"


@pytest.mark.parametrize(("ratio", "rounds", "sound"), [
    (0.01, 9, True), (0.1, 17, True), (0.12, 19, True), (0.15, 20, True), (0.2, 20, False), (0.49, 20, False), (0.51, 2, False), (0.7, 2, False),
])  # fmt: skip
def test_refinement_ends_where_the_next_round_adds_nothing_or_gains_too_little(monkeypatch, ratio, rounds, sound):
    """With `1 / (1 - ratio)` times the true matrix every round leaves `ratio` of the error; the rounds are counted as solves."""
    solves, solve = [], mixed_linalg.jsl.cho_solve
    monkeypatch.setattr(mixed_linalg.jsl, "cho_solve", lambda *args: (solves.append(1), solve(*args))[1])
    jac, g = jnp.eye(4, 6), jnp.array([1.0, -2.0, 0.5, 1.0])
    factor = jnp.eye(4, dtype=jnp.float32) * (0.25 / (1 - ratio)) ** 0.5
    with jax.disable_jit():
        w_dot, flag = mixed_linalg._refined(jac, g, jnp.zeros(()), factor, jnp.asarray(2.0), jnp.asarray(1.0))
    assert (len(solves), bool(flag)) == (rounds, sound)
    assert w_dot[:4] == pytest.approx(-(1 - ratio**rounds) * np.asarray(g), rel=1e-5) and not w_dot[4:].any()


def test_precisions_are_checked():
    assert checked_precision("full", MatrixFree()) == "full" and checked_precision("mixed") == "mixed"
    for call, words in (
        (lambda: checked_precision("half"), "Unknown precision 'half'; known: full, mixed"),
        (lambda: checked_precision("mixed", MatrixFree()), "give one of the two"),
        (lambda: checked_matrix_free(3, False), "must be a MatrixFree or None, got 3"),
        (lambda: checked_matrix_free(MatrixFree(), True), "positive damping"),
        *((lambda rtol=rtol: MatrixFree(rtol), "between 0 and 1") for rtol in (0.0, 1.0, True, "1")),
        *((lambda steps=steps: MatrixFree(max_steps=steps), "positive integer") for steps in (0, 1.0, True)),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    with jax.enable_x64(False), pytest.raises(ValueError, match=r"call riemgn\.enable_x64"):
        checked_precision("mixed")
    assert checked_matrix_free(None, True) is None and MatrixFree(0.5, 1) == checked_matrix_free(
        MatrixFree(0.5, 1), False
    )
    assert (MatrixFree().rtol, MatrixFree().max_steps) == (1e-8, 1000)


@pytest.mark.parametrize(
    "directed", [pseudo_inverse_direction_and_branch, mixed_direction_and_branch], ids=["full", "mixed"]
)
def test_a_direction_of_deficient_rank_has_its_derivative(directed):
    rng = np.random.default_rng(0)
    turn, twist, g, kept = (
        rng.standard_normal((3, 3)),
        rng.standard_normal((3, 3)),
        rng.standard_normal(3),
        np.diag([2.0, 1.0, 0.0]),
    )

    def jac(t):
        return (np.eye(3) + t * turn) @ kept @ (np.eye(3) + t * twist)

    def direction(t):
        options = (2,) if directed is pseudo_inverse_direction_and_branch else (None, 2)
        return directed(jac(t), jnp.asarray(g), *options)[0]

    value, slope = jax.jit(lambda: jax.jvp(direction, (jnp.zeros(()),), (jnp.ones(()),)))()
    after, before = (-np.linalg.pinv(jac(t), rcond=1e-10) @ g for t in (1e-5, -1e-5))
    assert value == pytest.approx(-np.linalg.pinv(kept) @ g) and slope == pytest.approx(
        (after - before) / 2e-5, rel=1e-7
    )


# --- spectra ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "sound"), [(1.0001, True), (0.9999, False)])
def test_a_kernel_is_sound_down_to_five_billionths(factor, sound):
    """`eps cond(K) <= 5e-9`; rounding moves the least eigenvalue by 5e-9 of itself."""
    least = factor * np.sqrt(EPS / 5e-9)
    for values in ([1.0, 1.0, least], [1.0, 0.5, least]):
        s, flag = _kernel_spectrum(jnp.asarray(np.eye(3, 6) * np.array(values)[:, None]))
        assert bool(flag) is sound and s == pytest.approx(values, rel=1e-8)


def test_singular_values_count_above_the_rounding_error_of_the_larger_side():
    limit = 6 * EPS * 2.0
    for shape in (WIDE, TALL):
        ranks = [
            int(numerical_rank(jnp.array([2.0, 1.0, least]), shape)) for least in (np.nextafter(limit, 1), limit, 0.0)
        ]
        assert ranks == [3, 2, 2]


def test_a_spectral_direction_leaves_out_what_does_not_count():
    svd, g = thin_svd(jnp.asarray(np.diag([4.0, 2.0, 1.0]))), jnp.array([1.0, 2.0, 3.0])
    for rank, kept in ((3, [1, 1, 1]), (2, [1, 1, 0]), (0, [0, 0, 0])):
        assert spectral_direction(svd, g, jnp.sqrt, rank) == pytest.approx(-np.array([1.0, 2.0, 3.0]) * kept)
    empty = thin_svd(jnp.asarray(np.diag([4.0, 2.0, 0.0])))
    assert spectral_direction(empty, g, lambda s: 1 / s, 3) == pytest.approx([-1 / 64, -2 / 8, 0])


@pytest.mark.parametrize("shape", [(3, 6), (6, 3), (3, 3)])
def test_the_gradient_in_the_range(shape):
    g = np.arange(1.0, shape[0] + 1)
    for rank, norm, least in ((3, 14**0.5, 0.25), (2, 5**0.5, 1.0), (1, None, 1.0)):
        found = range_norm_and_least(jnp.asarray(diagonal(shape, 0.25)), jnp.asarray(g), rank)
        assert float(found[1]) == pytest.approx(least) and (norm is None or float(found[0]) == pytest.approx(norm))


# --- the least of many singular values -------------------------------------------------------------------------------


def found(least, second, largest, size=1.0):
    """What is said of these eigenvalues, with a Jacobian whose least singular value is 3 where it is asked for; all of it `size` times as large."""
    values = Extremes(*(jnp.asarray(size**2 * value) for value in (least, second, largest)))
    asked = []

    def jac_at():
        asked.append(1)
        return jnp.asarray(size * np.diag([3.0, 7.0, 9.0]))

    value, sound = least_singular_value(values, jac_at, 3)
    return float(value) / size, bool(sound), bool(asked)


@pytest.mark.parametrize("size", [1.0, 2.0**-20])
def test_the_root_of_an_eigenvalue_is_taken_while_rounding_allows(size):
    limit = 5e-9 / EPS
    assert found(4.0, 4.0, 4 * limit * 0.999, size)[:2] == (2.0, True)  # whatever the gap
    value, sound, _ = found(9.0 - 1e-6, 49.0, 9 * limit * 1.001, size)
    assert value == pytest.approx(3.0, rel=1e-9) and sound


@pytest.mark.parametrize("size", [1.0, 2.0**-20])
def test_inverse_iteration_needs_a_gap(size):
    """`(10 error)^2 <= 5e-9 (second / least - 1)`, here an error of 7.07e-6 at a gap of 1."""
    limit = 5e-9**0.5 / 10 / EPS
    value, sound, _ = found(9.0 - 1e-6, 2 * (9.0 - 1e-6), 9 * limit * 0.999, size)
    assert value == pytest.approx(3.0, rel=1e-9) and sound
    assert found(4.0, 8.0, 4 * limit * 1.001, size)[:2] == (2.0, False)
    assert found(4.0, 4.0, 4 * limit * 0.999, size)[:2] == (2.0, False)


@pytest.mark.parametrize("least", [0.0, -1e-18])
def test_an_eigenvalue_lost_in_rounding_is_not_sound(least):
    assert found(least, 1.0, 9.0)[:2] == (0.0, False)


def test_the_bound_of_the_largest_eigenvalue_is_gershgorins():
    jac = jnp.asarray(np.random.default_rng(0).standard_normal((4, 9)))
    above, beside = tridiagonal_of(jac)
    values = extremes(above, beside)
    exact, size = np.linalg.eigvalsh(np.asarray(jac @ jac.T)), np.abs(beside)
    rows = [size[0], size[0] + size[1], size[1] + size[2], size[2]]
    assert float(values.largest) == pytest.approx(np.max(np.asarray(above) + rows))
    assert [float(values.least), float(values.second)] == pytest.approx(exact[:2], rel=1e-10)


# --- small pieces ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [255, 256, 258])
def test_a_gram_matrix_by_blocks_is_the_gram_matrix(rows):
    a = np.random.default_rng(0).standard_normal((rows, 3))
    assert np.allclose(outer_gram(jnp.asarray(a)), a @ a.T, atol=1e-12)


def test_a_filled_jacobian_is_the_matrix_it_stands_for():
    jac, fill = jnp.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]), jnp.array([0.0, 2.0])
    filled, dense = FilledJacobian(jac, fill), np.array([[1.0, 2, 3, 0, 0], [0, 0, 0, 0, 2]])
    v, u, rows, columns = np.arange(1.0, 6), np.array([2.0, 3.0]), np.array([2.0, 5.0]), np.arange(2.0, 7)
    assert filled.shape == (2, 5) and filled.dtype == float and np.array_equal(filled.formed(), dense)
    assert np.array_equal(filled @ jnp.asarray(v), dense @ v) and np.array_equal(jnp.asarray(u) @ filled, u @ dense)
    assert np.array_equal(filled.kernel(), dense @ dense.T) and float(filled.squared_norm()) == np.sum(dense**2)
    assert np.array_equal(scale_rows(jnp.asarray(rows), filled).formed(), rows[:, None] * dense)
    assert np.array_equal(scale_columns(filled, jnp.asarray(columns)).formed(), dense * columns)
    assert np.array_equal(scale_rows(jnp.asarray(rows), jac), rows[:, None] * jac)


def test_the_power_method_finds_the_largest_eigenvalue():
    s = jnp.array([1.0, 0.5, 0.1])
    assert float(largest_eigenvalue(lambda v: s * v, lambda u: s * u, jnp.zeros(3))) == pytest.approx(1.0, rel=1e-9)
    assert float(largest_eigenvalue(lambda v: 0 * v, lambda u: u, jnp.zeros(3))) == 0.0
    assert float(largest_eigenvalue(lambda v: v * jnp.inf, lambda u: u, jnp.zeros(3))) == 0.0


@pytest.mark.parametrize(("rows", "columns"), [(3, 5), (5, 3)])
def test_conjugate_gradients_take_a_step_for_each_eigenvalue(rows, columns):
    rng = np.random.default_rng(0)
    jac, g = rng.standard_normal((rows, columns)), rng.standard_normal(rows)
    exact = -np.linalg.solve(jac.T @ jac + 0.5 * np.eye(columns), jac.T @ g)

    def direction(steps):
        return MatrixFree(1e-10, steps).direction(
            lambda v: jac @ v, lambda u: jac.T @ u, jnp.zeros(columns), jnp.asarray(g), 0.5
        )

    done, short = direction(20), direction(2)
    assert done.w_dot == pytest.approx(exact, rel=1e-8) and bool(done.converged) and 3 <= int(done.steps) <= 5
    assert not bool(short.converged) and np.isnan(short.w_dot).all() and int(short.steps) == 2
    still = MatrixFree().direction(lambda v: jac @ v, lambda u: jac.T @ u, jnp.zeros(columns), jnp.zeros(rows), 0.5)
    assert bool(still.converged) and np.all(still.w_dot == 0) and int(still.steps) == 0


def test_unless_takes_the_way_only_where_it_is_not_done():
    assert [
        float(where_or_compute(jnp.array(done), jnp.array(1.0), lambda: jnp.array(2.0))) for done in (True, False)
    ] == [1.0, 2.0]
    both = jax.vmap(
        lambda done: where_or_compute(done, (jnp.array(1.0), jnp.array(2)), lambda: (jnp.array(3.0), jnp.array(4)))
    )(jnp.array([True, False]))
    assert both[0].tolist() == [1.0, 3.0] and both[1].tolist() == [2, 4]


@pytest.mark.parametrize("size", [255, 256])
@pytest.mark.parametrize("damping", [30.0, 1e-2])
def test_a_large_weighted_system_is_solved_as_well(size, damping):
    """Below 256 rows by the rule of damped directions, from there on by products or a refined factor."""
    rng = np.random.default_rng(0)
    jac, e, pull, metric = (
        rng.standard_normal((size, size + 4)) / 20,
        *(rng.standard_normal(n) for n in (size, size + 4)),
        1 + rng.random(size + 4),
    )
    exact = -np.linalg.solve(damping * np.diag(metric) + jac.T @ jac, jac.T @ e + pull)
    found = jax.jit(score_direction)(jac, e, pull, metric, damping)
    assert np.linalg.norm(found - exact) < 1e-9 * np.linalg.norm(exact)
