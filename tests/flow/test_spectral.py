"""Every flow is a gain: its fast direction, its spectral formula and its dense definition agree."""

import math
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn.linalg import BRANCHES
from tests.helpers import dense_direction, FLOWS, matrix_problem, matrix_with, relative_error, ZOO

LOSS = rg.PseudoHuberLoss()  # its curvature is not the identity: whitening shows
MATRICES = {
    "tall, cond 1e6": matrix_with(20, 5, np.geomspace(1, 1e-6, 5)),
    "wide, cond 1e6": matrix_with(5, 20, np.geomspace(1, 1e-6, 5)),
    "tall, cond 1e2": matrix_with(20, 5, np.geomspace(10, 0.1, 5)),
    "wide, cond 1e2": matrix_with(5, 20, np.geomspace(10, 0.1, 5)),
    "tall, rank 3, cond 1e6": matrix_with(20, 5, [1.0, 1e-3, 1e-6]),
    "wide, rank 3, cond 1e6": matrix_with(5, 20, [1.0, 1e-3, 1e-6]),
}
RANKS = {name: 3 if "rank" in name else 5 for name in MATRICES}
T = 0.25


@eqx.filter_jit
def _velocities(flow, problem, rank, t):
    w_dot, f_dot = flow.velocity(t, problem.w0, problem, rank)
    return w_dot, f_dot, flow.spectral_velocity(t, problem.w0, problem, rank)


def fast_and_spectral(flow, problem, rank, t=T):
    """`(w', f')` of the fast direction and `w'` of the gain; compiled once per kind of flow and shape."""
    return _velocities(flow, problem, jnp.asarray(rank), jnp.asarray(t))


def velocity(flow, problem, rank):
    return fast_and_spectral(flow, problem, rank, 0.0)[0]


def agree(fast, slow) -> bool:
    # two backward stable ways differ by a few eps cond(J), 2.2e-10 at 1e6
    return relative_error(fast, slow) < 5e-10


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("name", FLOWS)
def test_direction_equals_the_gain_formula(name, matrix):
    problem = matrix_problem(MATRICES[matrix], LOSS)
    fast, _, slow = fast_and_spectral(FLOWS[name], problem, RANKS[matrix])
    assert agree(fast, slow)


@pytest.mark.parametrize("name", ["gf", "gn", "lm", "lm spectral", "lm residual", "interpolated", "ggn", "ggn damped"])
def test_the_opening_holds_the_rates_of_the_outputs(name):
    """With `J` held, `psi' = -U phi(S^2) U^T grad g` has the rates of `B^{1/2} U phi(S^2) U^T B^{1/2}`; with `B` inside they are `phi` itself."""
    flow, problem = FLOWS[name], matrix_problem(MATRICES["wide, cond 1e2"], LOSS)
    point, rank = problem.linearise(problem.w0), jnp.asarray(5)
    root = np.sqrt(point.loss_hessian)
    opening = flow.initial_rates(problem, point, jnp.linalg.svd(point.jac, compute_uv=False), rank)
    seen = point.whitened() if flow.whitens else point
    u, s, _ = np.linalg.svd(np.asarray(seen.jac), full_matrices=False)
    velocity = (u * np.asarray(flow.gain(s**2, flow.damping(jnp.zeros(()), seen, rank)))) @ u.T
    rates = np.linalg.eigvalsh(velocity if flow.whitens else root[:, None] * velocity * root)
    assert opening.slowest <= rates.min() * (1 + 1e-9) and rates.max() <= opening.fastest * (1 + 1e-9)
    if flow.whitens:
        assert np.allclose([opening.slowest, opening.fastest], [rates.min(), rates.max()], rtol=1e-9)
    else:
        assert opening.fastest <= rates.max() * root.max() ** 2 / root.min() ** 2 * (1 + 1e-9)


@pytest.mark.parametrize(
    ("name", "matrix", "branch"),
    [
        ("gf", "tall, cond 1e6", "product"),
        ("gn", "wide, cond 1e2", "corrected Cholesky"),
        ("gn", "wide, cond 1e6", "QR"),
        ("gn", "tall, rank 3, cond 1e6", "SVD"),
        ("lm", "tall, cond 1e6", "Cholesky"),
        ("interpolated", "wide, cond 1e6", "Cholesky"),
        ("lm weakly damped", "tall, cond 1e6", "corrected Cholesky"),
        ("ggn", "tall, cond 1e6", "QR"),
        ("gn mixed", "wide, cond 1e2", "mixed Cholesky"),
        ("gn mixed", "wide, cond 1e6", "QR"),
        ("gn mixed", "tall, rank 3, cond 1e6", "SVD"),
        ("lm mixed", "tall, cond 1e6", "mixed Cholesky"),
    ],
)
def test_a_direction_says_which_way_it_took(name, matrix, branch):
    problem, flow = matrix_problem(MATRICES[matrix], LOSS), FLOWS[name]
    point = problem.linearise(problem.w0)
    seen = point.whitened() if flow.whitens else point
    ways = eqx.filter_jit(lambda flow, seen, rank: flow.direction_and_branch(seen, flow.damping(T, seen, rank), rank))
    assert BRANCHES[int(ways(flow, seen, jnp.asarray(RANKS[matrix]))[1])] == branch


def test_the_comparison_rejects_a_corrupted_direction():
    problem = matrix_problem(MATRICES["tall, cond 1e6"], LOSS)
    for flow in FLOWS.values():
        fast, _, slow = fast_and_spectral(flow, problem, 5)
        assert not agree(fast.at[0].add(1e-9 * jnp.linalg.norm(fast)), slow)
        assert not agree(-fast, slow)
    damped = [velocity(rg.LevenbergMarquardtFlow(rho), problem, 5) for rho in (1.0, 1.0 + 1e-8)]
    assert not agree(*damped)


@pytest.mark.parametrize("matrix", [name for name in MATRICES if "1e2" in name])
@pytest.mark.parametrize("name", FLOWS)
def test_direction_equals_the_dense_definition(name, matrix):
    problem, flow = matrix_problem(MATRICES[matrix], LOSS), FLOWS[name]
    fast, _, _ = fast_and_spectral(flow, problem, RANKS[matrix])
    point = problem.linearise(problem.w0)
    seen = point.whitened() if flow.whitens else point
    rho = float(flow.damping(T, seen, RANKS[matrix]))
    kind = "gn" if flow.name in ("lm", "interpolated") and rho < 1e-6 else flow.name
    dense = dense_direction(kind, point.jac, point.loss_gradient, point.loss_hessian, rho)
    if kind != flow.name or matrix.startswith("wide"):
        assert relative_error(fast, dense) < 1e-6  # the reference itself squares the condition number, or rho is not 0
    else:
        assert relative_error(fast, dense) < 1e-10


@pytest.mark.parametrize("matrix", MATRICES)
def test_gauss_newton_is_the_minimum_norm_solution(matrix):
    problem = matrix_problem(MATRICES[matrix], LOSS)
    expected = dense_direction(
        "gn", MATRICES[matrix], problem.loss_gradient(problem.outputs(problem.w0)), np.ones(1), 0.0
    )
    w_dot = velocity(rg.GaussNewtonFlow(), problem, RANKS[matrix])
    assert relative_error(w_dot, expected) < 1e-9


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("name", [name for name, flow in FLOWS.items() if not flow.whitens])
def test_outputs_move_by_the_filtered_gradient(name, matrix):
    """`f' = J w' = -U phi(S^2) U^T grad g`, with NumPy's SVD."""
    problem, flow, rank = matrix_problem(MATRICES[matrix], LOSS), FLOWS[name], RANKS[matrix]
    _, f_dot, _ = fast_and_spectral(flow, problem, rank)
    point = problem.linearise(problem.w0)
    u, s, _ = np.linalg.svd(MATRICES[matrix], full_matrices=False)
    u, s = u[:, :rank], s[:rank]
    phi = np.asarray(flow.gain(jnp.asarray(s**2), flow.damping(T, point, rank)))
    assert relative_error(f_dot, -u @ (phi * (u.T @ np.asarray(point.loss_gradient)))) < 1e-9


@pytest.mark.parametrize(
    ("name", "zoo"), [("gn", name) for name in ZOO if name != "duplicated neurons"] + [("lm", "deep"), ("ggn", "torus")]
)
def test_directions_on_the_problem_zoo(name, zoo):
    problem, flow = ZOO[zoo](), FLOWS[name]
    jac = np.asarray(problem.jac(problem.w0))
    rank = np.linalg.matrix_rank(jac)
    fast, f_dot, slow = fast_and_spectral(flow, problem, rank)
    assert agree(fast, slow)
    assert relative_error(f_dot, jac @ np.asarray(fast)) < 1e-12
    assert float(f_dot @ problem.loss_gradient(problem.outputs(problem.w0))) < 0  # the loss falls


def test_duplicated_neurons_move_alike():
    """Rank-deficient network: the minimum-norm direction keeps the symmetry of the pairs."""
    problem = ZOO["duplicated neurons"]()
    jac = np.asarray(problem.jac(problem.w0))
    rank = np.linalg.matrix_rank(jac)
    assert rank < min(jac.shape)
    w_dot = velocity(rg.GaussNewtonFlow(), problem, rank)
    point = problem.linearise(problem.w0)
    assert relative_error(w_dot, dense_direction("gn", jac, point.loss_gradient, np.ones(1), 0.0)) < 1e-9
    weight = np.asarray(problem.unflatten(w_dot)[1]["weight"])[0]
    np.testing.assert_allclose(weight[:2], weight[2:], atol=1e-12 * np.abs(weight).max() + 1e-9)


S = jnp.asarray(np.geomspace(1e-8, 1e4, 25))


def test_gains():
    assert np.array_equal(rg.GaussNewtonFlow().gain(S, 0.0), np.ones(25))
    assert np.array_equal(rg.GradientFlow().gain(S, 0.0), S)
    for rho in (1e-12, 1e-3, 1.0, 1e6):
        gain = np.asarray(rg.LevenbergMarquardtFlow(rho).gain(S, rho))
        assert np.all((gain >= 0) & (gain <= 1) & (np.diff(gain, prepend=0) >= 0))
        np.testing.assert_allclose(gain, S / (S + rho))
        np.testing.assert_allclose(rg.GeneralizedGaussNewtonFlow(rho).gain(S, rho), gain)
    assert np.array_equal(rg.LevenbergMarquardtFlow(0.0).gain(S, 0.0), np.ones(25))
    assert np.array_equal(rg.InterpolatedFlow(0.0).gain(S, 0.0), np.ones(25))
    np.testing.assert_allclose(rg.InterpolatedFlow(1.0).gain(S, 1.0), S)
    np.testing.assert_allclose(rg.LevenbergMarquardtFlow(1e-20).gain(S, 1e-20), 1.0)


@pytest.mark.parametrize("mix", [1e-3, 0.4, 0.9])
def test_interpolated_is_levenberg_marquardt_on_another_clock(mix):
    rho = mix / (1 - mix)
    np.testing.assert_allclose(
        rg.InterpolatedFlow(mix).gain(S, mix), rg.LevenbergMarquardtFlow(rho).gain(S, rho) / (1 - mix), rtol=1e-13
    )
    for matrix, rank in RANKS.items():
        problem = matrix_problem(MATRICES[matrix], LOSS)
        one = velocity(rg.InterpolatedFlow(mix), problem, rank)
        other = velocity(rg.LevenbergMarquardtFlow(rho), problem, rank)
        assert relative_error(one, other / (1 - mix)) < 1e-10


@pytest.mark.parametrize("matrix", ["tall, cond 1e2", "wide, cond 1e2", "tall, rank 3, cond 1e6"])
def test_limits_of_the_damping(matrix):
    problem, rank = matrix_problem(MATRICES[matrix], LOSS), RANKS[matrix]

    def at(flow):
        return velocity(flow, problem, rank)

    gauss_newton, gradient = at(rg.GaussNewtonFlow()), at(rg.GradientFlow())
    assert relative_error(at(rg.LevenbergMarquardtFlow(0.0)), gauss_newton) < 1e-10
    assert relative_error(at(rg.LevenbergMarquardtFlow(1e-24)), gauss_newton) < 1e-8
    assert relative_error(at(rg.InterpolatedFlow(0.0)), gauss_newton) < 1e-10
    assert relative_error(at(rg.InterpolatedFlow(1.0)), gradient) < 1e-12
    assert relative_error(1e12 * at(rg.LevenbergMarquardtFlow(1e12)), gradient) < 1e-8


@pytest.mark.parametrize("loss", [rg.PseudoHuberLoss(0.3), rg.LogisticLoss(), rg.PoissonLoss()])
@pytest.mark.parametrize("matrix", ["tall, cond 1e2", "wide, cond 1e2"])
def test_generalised_direction_equals_the_dense_one(matrix, loss):
    a = MATRICES[matrix]
    problem = matrix_problem(a, loss, targets=np.linspace(0.1, 0.9, a.shape[0])).with_params(
        0.05 * np.arange(1.0, a.shape[1] + 1)
    )
    point = problem.linearise(problem.w0)
    w_dot = velocity(rg.GeneralizedGaussNewtonFlow(), problem, 5)
    root = np.sqrt(np.asarray(point.loss_hessian))
    dense = -np.linalg.pinv(root[:, None] * a) @ (np.asarray(point.loss_gradient) / root)
    assert relative_error(w_dot, dense) < 1e-10
    literal = dense_direction("ggn", a, point.loss_gradient, point.loss_hessian, 0.0)
    assert relative_error(w_dot, literal) < 1e-6  # forms J^T B J: squares the condition number


def test_generalised_is_gauss_newton_for_the_squared_loss():
    problem = matrix_problem(MATRICES["tall, cond 1e2"])
    one, other = velocity(rg.GeneralizedGaussNewtonFlow(), problem, 5), velocity(rg.GaussNewtonFlow(), problem, 5)
    assert relative_error(one, other) < 1e-12


def test_values_of_the_damping_schedules():
    a = MATRICES["tall, rank 3, cond 1e6"]
    problem = matrix_problem(a, LOSS)
    point = problem.linearise(problem.w0)
    residual = np.linalg.norm(a @ np.asarray(problem.w0) - np.asarray(problem.y))
    gradient = np.linalg.norm(point.loss_gradient)
    cases = [
        (rg.ConstantDamping(0.7), 0.7),
        (rg.ConstantDamping(0.0), 0.0),
        (rg.ExponentialDamping(0.0), 0.0),
        (rg.ExponentialDamping(2.0, 0.0), 2.0),
        (rg.ResidualDamping(0.0), 0.0),
        (rg.ResidualDamping(0.5, 0.0), 0.5),
        (rg.GradientDamping(0.0), 0.0),
        (rg.GradientDamping(0.5, 0.0), 0.5),
        (rg.ExponentialDamping(2.0, 3.0), 2.0 * math.exp(-3.0 * T)),
        (rg.ExponentialDamping(2.0), 2.0 * math.exp(-T)),
        (rg.SpectralDamping(4.0), 4.0 * (1e-6) ** 2),  # the smallest of the three non-zero ones
        (rg.ResidualDamping(0.5), 0.5 * residual),
        (rg.ResidualDamping(0.5, 2.0), 0.5 * residual**2),
        (rg.GradientDamping(0.5), 0.5 * gradient),
        (rg.GradientDamping(0.5, 1.5), 0.5 * gradient**1.5),
    ]
    for schedule, expected in cases:
        np.testing.assert_allclose(schedule(T, point, 3), expected, rtol=1e-8)


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (lambda: rg.LevenbergMarquardtFlow(-1.0), "`rho` must be >= 0 and finite, got -1.0"),
        (lambda: rg.LevenbergMarquardtFlow(math.nan), "got nan"),
        (lambda: rg.LevenbergMarquardtFlow(math.inf), "got inf"),
        (lambda: rg.LevenbergMarquardtFlow("small"), "`rho` must be a number, got 'small'"),
        (lambda: rg.LevenbergMarquardtFlow(None), "got None"),
        (lambda: rg.GeneralizedGaussNewtonFlow(-2), "got -2"),
        (lambda: rg.InterpolatedFlow(1.5), "`mix` must be >= 0 and <= 1, got 1.5"),
        (lambda: rg.InterpolatedFlow(-0.1), "got -0.1"),
        (lambda: rg.ExponentialDamping(-1.0), "`rho0` must be"),
        (lambda: rg.ExponentialDamping(1.0, -1.0), "`rate` must be"),
        (lambda: rg.SpectralDamping(-1.0), "`factor` must be"),
        (lambda: rg.ResidualDamping(-1.0), "`factor` must be"),
        (lambda: rg.ResidualDamping(1.0, math.nan), "`power` must be"),
        (lambda: rg.GradientDamping(math.inf), "`factor` must be"),
    ],
)
def test_damping_out_of_range_is_rejected(make, fragment):
    with pytest.raises(ValueError, match=fragment.replace("(", r"\(")):
        make()


@pytest.mark.parametrize(
    "make",
    [rg.GaussNewtonFlow, rg.GaussNewton, partial(rg.LevenbergMarquardtFlow, 0.1), partial(rg.LevenbergMarquardt, 0.1)],
)
def test_precisions_that_cannot_be_are_rejected(make):
    with pytest.raises(ValueError, match=r"^Unknown precision 'half'; known: full, mixed\.$"):
        make(precision="half")
    with (
        jax.enable_x64(False),
        pytest.raises(
            ValueError, match=r"^`precision=\"mixed\"` refines in float64: call riemgn.enable_x64\(\) first\.$"
        ),
    ):
        make(precision="mixed")
    if isinstance(make, partial):
        with pytest.raises(ValueError, match=r"`matrix_free` never forms: give one of the two\.$"):
            make(matrix_free=rg.MatrixFree(), precision="mixed")


def test_only_undamped_inverses_end_where_the_rank_is_lost():
    undamped = {name for name, flow in FLOWS.items() if flow.inverts}
    assert undamped == {"gn", "gn mixed", "lm undamped", "interpolated 0", "ggn"}
    assert rg.GradientFlow().matrix_free is None  # its Jacobian is formed unless it is told otherwise


@pytest.mark.parametrize("name", ["gn", "gn mixed", "lm", "lm mixed"])
def test_nothing_moves_where_the_residual_is_zero(name):
    problem = matrix_problem(MATRICES["wide, cond 1e2"])
    still = rg.Problem(problem.model, problem.w0, problem.x, problem.outputs(problem.w0))
    assert np.all(np.asarray(FLOWS[name].velocity(T, still.w0, still, 5)[0]) == 0.0)


def test_flows_work_without_jit():
    problem = matrix_problem(MATRICES["wide, cond 1e2"], LOSS)
    eager, _ = FLOWS["lm"].velocity(T, problem.w0, problem, 5)
    assert relative_error(fast_and_spectral(FLOWS["lm"], problem, 5)[0], eager) < 1e-10


# --- what a flow says of itself --------------------------------------------------------------------------------------

DIAGONAL = rg.Problem(rg.LinearModel(), jnp.ones(3), np.diag([3.0, 2.0, 0.5]), np.zeros(3), LOSS)


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_knows_its_kind(name):
    flow = FLOWS[name]
    assert flow.intrinsic is True and flow.matrix_free is None and flow.whitens is name.startswith("ggn")
    assert (
        flow.name == name.split()[0]
        and rg.LevenbergMarquardtFlow(0.1).precision == rg.GaussNewtonFlow().precision == "full"
    )
    fixed = {"gf": 0.0, "gn": 0.0, "lm": 0.3, "interpolated": 0.4, "ggn": 0.0, "ggn damped": 0.2}
    assert name not in fixed or float(flow.damping.rho) == fixed[name]


@pytest.mark.parametrize(
    "flow",
    [*FLOWS.values(), rg.GradientFlow(matrix_free=True), rg.LevenbergMarquardtFlow(0.1, matrix_free=rg.MatrixFree())],
)
def test_a_flow_is_a_tree_of_arrays(flow):
    """`jax.jit` takes nothing else."""
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(flow))


GAINS = {
    "gf": lambda s: s,
    "gn": np.ones_like,
    "lm": lambda s: s / (s + 0.3),
    "interpolated": lambda s: s / (0.6 * s + 0.4),
    "ggn": np.ones_like,
    "ggn damped": lambda s: s / (s + 0.2),
}


@pytest.mark.parametrize("name", GAINS)
def test_a_diagonal_problem_is_moved_by_its_gains(name):
    """`w' = -phi(s^2) g / s` entry by entry, of the whitened ones for "ggn"; the rates at the start are `phi` and the curvature."""
    flow, a = FLOWS[name], np.array([3.0, 2.0, 0.5])
    point = DIAGONAL.linearise(DIAGONAL.w0)
    curvature, g = np.asarray(point.loss_hessian), np.asarray(point.loss_gradient)
    s, seen = (a * np.sqrt(curvature), g / np.sqrt(curvature)) if flow.whitens else (a, g)
    expected = -GAINS[name](s**2) * seen / s
    assert flow.spectral_velocity(0.0, DIAGONAL.w0, DIAGONAL, 3) == pytest.approx(expected)
    w_dot, f_dot = flow.velocity(0.0, DIAGONAL.w0, DIAGONAL, 3)
    assert w_dot == pytest.approx(expected) and f_dot == pytest.approx(a * expected)
    for rank in (3, 2):
        opening = flow.initial_rates(DIAGONAL, point, jnp.asarray(a), jnp.asarray(rank))
        rates, bends = GAINS[name](np.sort(s)[::-1][:rank] ** 2), np.ones(1) if flow.whitens else curvature
        assert (float(opening.fastest), float(opening.slowest)) == pytest.approx(
            (rates.max() * bends.max(), rates.min() * bends.min())
        )
    assert BRANCHES[int(opening.branch)] == (
        "product" if name == "gf" else "Cholesky" if name in ("lm", "interpolated", "ggn damped") else "SVD"
    )


@pytest.mark.parametrize(
    "flow",
    [rg.GradientFlow(matrix_free=True), rg.LevenbergMarquardtFlow(0.3, matrix_free=rg.MatrixFree(rtol=1e-12))],
    ids=["gf", "lm"],
)
def test_a_flow_of_products_says_what_it_can(flow):
    point, name = DIAGONAL.linearise(DIAGONAL.w0), flow.name
    opening = flow.initial_rates(DIAGONAL, point, jnp.zeros(0), jnp.asarray(3))
    assert (
        float(opening.fastest) == pytest.approx(GAINS[name](9.0) * float(point.loss_hessian.max()), rel=1e-6)
        and float(opening.slowest) == 0.0
    )
    assert int(opening.branch) == (BRANCHES.index("product") if name == "gf" else -1)
    one, other = (each.velocity(0.0, DIAGONAL.w0, DIAGONAL, 3) for each in (flow, FLOWS[name]))
    assert one[0] == pytest.approx(np.asarray(other[0])) and one[1] == pytest.approx(np.asarray(other[1]))


def test_damping_by_the_spectrum_needs_one():
    bare = DIAGONAL.without_jacobian(DIAGONAL.outputs(DIAGONAL.w0))
    with pytest.raises(ValueError, match="SpectralDamping needs the singular values of J"):
        rg.SpectralDamping()(T, bare, 3)
    point = DIAGONAL.linearise(DIAGONAL.w0)
    assert [float(rg.SpectralDamping()(T, point, rank)) for rank in (1, 2, 3)] == pytest.approx([9.0, 4.0, 0.25])
    assert float(rg.SpectralDamping(0.0)(T, point, 3)) == 0
    with pytest.raises(ValueError, match="must be True or False, got 1"):
        rg.GradientFlow(matrix_free=1)
