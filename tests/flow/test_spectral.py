"""Spectral flows: velocity, gain and dense definition agree for every flow and problem."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn.linalg import BRANCHES
from tests.helpers import dense_direction, FLOWS, matrix_problem, matrix_with, relative_error, ZOO

LOSS = rg.PseudoHuberLoss()  # its Hessian is not the identity, so that whitening shows
MATRICES = {
    "tall": matrix_with(20, 5, np.geomspace(10, 0.1, 5)),
    "wide": matrix_with(5, 20, np.geomspace(10, 0.1, 5)),
    "tall_ill_conditioned": matrix_with(20, 5, np.geomspace(1, 1e-6, 5)),
    "wide_ill_conditioned": matrix_with(5, 20, np.geomspace(1, 1e-6, 5)),
    "tall_rank_deficient": matrix_with(20, 5, [1.0, 1e-3, 1e-6]),
    "wide_rank_deficient": matrix_with(5, 20, [1.0, 1e-3, 1e-6]),
}
PROBLEMS = {name: matrix_problem(matrix, LOSS) for name, matrix in MATRICES.items()}
RANKS = {name: 3 if "rank" in name else 5 for name in MATRICES}
T = 0.25
S = jnp.asarray(np.geomspace(1e-8, 1e4, 25))


@eqx.filter_jit
def _velocity(flow, problem, rank, t):
    point = flow.preconditioned(problem.linearise(problem.w0))
    return flow.velocity(t, problem.w0, problem, rank), flow.damping(t, point, rank), point


def velocity_and_point(flow, problem, rank, t=T):
    """Return `(w', f')`, the damping, and the linearisation whose gain the flow applies."""
    return _velocity(flow, problem, jnp.asarray(rank), jnp.asarray(t))


def velocity(flow, problem, rank):
    return velocity_and_point(flow, problem, rank)[0][0]


def by_gain(flow, point, rho, rank):
    """Return `w' = -V phi(S^2) S^+ U^T g` by NumPy's SVD."""
    u, s, vt = np.linalg.svd(np.asarray(point.jac), full_matrices=False)
    u, s, vt = u[:, :rank], s[:rank], vt[:rank]
    return -vt.T @ (np.asarray(flow.gain(jnp.asarray(s**2), rho)) / s * (u.T @ np.asarray(point.loss_gradient)))


# --- one velocity ---


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("name", FLOWS)
def test_velocity_equals_the_gain_formula(name, matrix):
    flow, problem, rank = FLOWS[name], PROBLEMS[matrix], RANKS[matrix]
    (w_dot, f_dot), rho, point = velocity_and_point(flow, problem, rank)
    exact = by_gain(flow, point, rho, rank)
    # two backward stable algorithms differ by a few eps cond(J), which is 2.2e-10 at 1e6
    assert relative_error(w_dot, exact) < 5e-10
    assert relative_error(f_dot, MATRICES[matrix] @ exact) < 1e-9


@pytest.mark.parametrize("matrix", ["tall", "wide"])
@pytest.mark.parametrize("name", FLOWS)
def test_velocity_equals_the_dense_definition(name, matrix):
    flow, problem = FLOWS[name], PROBLEMS[matrix]
    (w_dot, _), rho, _ = velocity_and_point(flow, problem, 5)
    point = problem.linearise(problem.w0)
    kind = "gn" if flow.name in ("lm", "interpolated") and rho < 1e-6 else flow.name
    dense = dense_direction(kind, point.jac, point.loss_gradient, point.loss_hessian, float(rho))
    # the reference squares the condition number if n < p, and neglects the weak damping
    assert relative_error(w_dot, dense) < (1e-6 if kind != flow.name or matrix == "wide" else 1e-10)


ZOO_CASES = [("gn", zoo) for zoo in ("over-parameterised", "several outputs", "standard scaling, no bias", "rank one")]


@pytest.mark.parametrize(("name", "zoo"), [*ZOO_CASES, ("lm", "deep"), ("ggn", "torus")])
def test_velocity_on_the_problem_zoo(name, zoo):
    problem, flow = ZOO[zoo](), FLOWS[name]
    jac = np.asarray(problem.jac(problem.w0))
    rank = np.linalg.matrix_rank(jac)
    (w_dot, f_dot), rho, _ = velocity_and_point(flow, problem, rank)
    point = flow.preconditioned(problem.linearise(problem.w0))
    assert relative_error(w_dot, by_gain(flow, point, rho, rank)) < 5e-10
    assert relative_error(f_dot, jac @ np.asarray(w_dot)) < 1e-12
    assert float(f_dot @ problem.loss_gradient(problem.outputs(problem.w0))) < 0  # the loss falls


def test_duplicated_neurons_move_alike():
    """The minimum-norm velocity of a rank-deficient network keeps the symmetry of the pairs."""
    problem = ZOO["duplicated neurons"]()
    jac = np.asarray(problem.jac(problem.w0))
    rank = np.linalg.matrix_rank(jac)
    assert rank < min(jac.shape)
    w_dot = velocity(rg.GaussNewtonFlow(), problem, rank)
    loss_gradient = problem.loss_gradient(problem.outputs(problem.w0))
    assert relative_error(w_dot, dense_direction("gn", jac, loss_gradient, np.ones(1), 0.0)) < 1e-9
    weight = np.asarray(problem.unflatten(w_dot)[1]["weight"])[0]
    np.testing.assert_allclose(weight[:2], weight[2:], atol=1e-12 * np.abs(weight).max() + 1e-9)


@pytest.mark.parametrize("loss", [rg.PseudoHuberLoss(0.3), rg.LogisticLoss(), rg.PoissonLoss()])
@pytest.mark.parametrize("matrix", ["tall", "wide"])
def test_generalised_velocity_equals_the_dense_one(matrix, loss):
    a = MATRICES[matrix]
    problem = matrix_problem(a, loss, targets=np.linspace(0.1, 0.9, a.shape[0]))
    problem = problem.with_params(0.05 * np.arange(1.0, a.shape[1] + 1))
    point = problem.linearise(problem.w0)
    w_dot = velocity(rg.GeneralizedGaussNewtonFlow(), problem, 5)
    root = np.sqrt(np.asarray(point.loss_hessian))
    assert relative_error(w_dot, -np.linalg.pinv(root[:, None] * a) @ (np.asarray(point.loss_gradient) / root)) < 1e-10
    literal = dense_direction("ggn", a, point.loss_gradient, point.loss_hessian, 0.0)
    assert relative_error(w_dot, literal) < 1e-6  # J^T B J squares the condition number


def test_generalised_is_gauss_newton_for_the_squared_loss():
    problem = matrix_problem(MATRICES["tall"])
    one, other = velocity(rg.GeneralizedGaussNewtonFlow(), problem, 5), velocity(rg.GaussNewtonFlow(), problem, 5)
    assert relative_error(one, other) < 1e-12


@pytest.mark.parametrize("mix", [1e-3, 0.9])
def test_interpolated_is_levenberg_marquardt_on_another_clock(mix):
    rho = mix / (1 - mix)
    one, other = rg.InterpolatedFlow(mix), rg.LevenbergMarquardtFlow(rho)
    np.testing.assert_allclose(one.gain(S, mix), other.gain(S, rho) / (1 - mix), rtol=1e-13)
    for matrix, rank in RANKS.items():
        problem = PROBLEMS[matrix]
        assert relative_error(velocity(one, problem, rank), velocity(other, problem, rank) / (1 - mix)) < 1e-10


@pytest.mark.parametrize("matrix", ["tall", "wide", "tall_rank_deficient"])
def test_limits_of_the_damping(matrix):
    def at(flow):
        return velocity(flow, PROBLEMS[matrix], RANKS[matrix])

    gauss_newton, gradient = at(rg.GaussNewtonFlow()), at(rg.GradientFlow())
    assert relative_error(at(rg.LevenbergMarquardtFlow(0.0)), gauss_newton) < 1e-10
    assert relative_error(at(rg.LevenbergMarquardtFlow(1e-24)), gauss_newton) < 1e-8
    assert relative_error(at(rg.InterpolatedFlow(0.0)), gauss_newton) < 1e-10
    assert relative_error(at(rg.InterpolatedFlow(1.0)), gradient) < 1e-12
    assert relative_error(1e12 * at(rg.LevenbergMarquardtFlow(1e12)), gradient) < 1e-8


@pytest.mark.parametrize("name", ["gn", "lm"])
def test_velocity_is_zero_at_zero_residual(name):
    problem = matrix_problem(MATRICES["wide"])
    solved = rg.Problem(problem.model, problem.w0, problem.x, problem.outputs(problem.w0))
    assert np.all(np.asarray(FLOWS[name].velocity(T, solved.w0, solved, 5)[0]) == 0.0)


@pytest.mark.parametrize(("name", "matrix", "branch"), [
    ("gf", "tall_ill_conditioned", "product"),
    ("gn", "wide", "corrected Cholesky"),
    ("gn", "wide_ill_conditioned", "QR"),
    ("gn", "tall_rank_deficient", "SVD"),
    ("lm", "tall_ill_conditioned", "Cholesky"),
    ("interpolated", "wide_ill_conditioned", "Cholesky"),
    ("lm weakly damped", "tall_ill_conditioned", "corrected Cholesky"),
    ("ggn", "tall_ill_conditioned", "QR"),
])  # fmt: skip
def test_direction_reports_its_linear_solver(name, matrix, branch):
    flow = FLOWS[name]
    _, rho, point = velocity_and_point(flow, PROBLEMS[matrix], RANKS[matrix])
    solve = eqx.filter_jit(lambda flow, point, rank: flow.direction_and_branch(point, rho, rank)[1])
    assert BRANCHES[int(solve(flow, point, jnp.asarray(RANKS[matrix])))] == branch


# --- gains and rates ---


def test_gains_have_their_closed_forms():
    assert np.array_equal(rg.GaussNewtonFlow().gain(S, 0.0), np.ones(25))
    assert np.array_equal(rg.GradientFlow().gain(S, 0.0), S)
    for rho in (1e-12, 1.0, 1e6):
        gain = np.asarray(rg.LevenbergMarquardtFlow(rho).gain(S, rho))
        assert np.all((gain >= 0) & (gain <= 1) & (np.diff(gain, prepend=0) >= 0))
        np.testing.assert_allclose(gain, S / (S + rho))
        np.testing.assert_allclose(rg.GeneralizedGaussNewtonFlow(rho).gain(S, rho), gain)
    assert np.array_equal(rg.LevenbergMarquardtFlow(0.0).gain(S, 0.0), np.ones(25))
    assert np.array_equal(rg.InterpolatedFlow(0.0).gain(S, 0.0), np.ones(25))
    np.testing.assert_allclose(rg.InterpolatedFlow(1.0).gain(S, 1.0), S)


DIAGONAL = rg.Problem(rg.LinearModel(), jnp.ones(3), np.diag([3.0, 2.0, 0.5]), np.zeros(3), LOSS)
GAINS = {
    "gf": lambda s: s,
    "gn": np.ones_like,
    "lm": lambda s: s / (s + 0.3),
    "interpolated": lambda s: s / (0.6 * s + 0.4),
    "ggn": np.ones_like,
    "ggn damped": lambda s: s / (s + 0.2),
}


@pytest.mark.parametrize("name", GAINS)
def test_velocity_and_rates_of_a_diagonal_problem(name):
    """`w' = -phi(s^2) g / s` by entry, and the rates are `phi` times the loss Hessian."""
    flow, a = FLOWS[name], np.array([3.0, 2.0, 0.5])
    point = DIAGONAL.linearise(DIAGONAL.w0)
    hessian, g = np.asarray(point.loss_hessian), np.asarray(point.loss_gradient)
    s, whitened = (a * np.sqrt(hessian), g / np.sqrt(hessian)) if flow.whitens else (a, g)
    expected = -GAINS[name](s**2) * whitened / s
    w_dot, f_dot = flow.velocity(0.0, DIAGONAL.w0, DIAGONAL, 3)
    assert w_dot == pytest.approx(expected) and f_dot == pytest.approx(a * expected)
    for rank in (3, 2):
        rates = flow.initial_rates(DIAGONAL, point, jnp.asarray(a), jnp.asarray(rank))
        phi, bounds = GAINS[name](np.sort(s)[::-1][:rank] ** 2), np.ones(1) if flow.whitens else hessian
        exact = (phi.max() * bounds.max(), phi.min() * bounds.min())
        assert (float(rates.fastest), float(rates.slowest)) == pytest.approx(exact)


@pytest.mark.parametrize("name", ["gf", "gn", "lm spectral", "lm residual", "interpolated", "ggn", "ggn damped"])
def test_initial_rates_bound_those_of_the_outputs(name):
    """At fixed `J` the outputs have the eigenvalues of `B^{1/2} U phi(S^2) U^T B^{1/2}`."""
    flow, problem = FLOWS[name], PROBLEMS["wide"]
    point, rank = problem.linearise(problem.w0), jnp.asarray(5)
    root = np.sqrt(point.loss_hessian)
    rates = flow.initial_rates(problem, point, jnp.linalg.svd(point.jac, compute_uv=False), rank)
    whitened = flow.preconditioned(point)
    u, s, _ = np.linalg.svd(np.asarray(whitened.jac), full_matrices=False)
    matrix = (u * np.asarray(flow.gain(s**2, flow.damping(jnp.zeros(()), whitened, rank)))) @ u.T
    exact = np.linalg.eigvalsh(matrix if flow.whitens else root[:, None] * matrix * root)
    assert rates.slowest <= exact.min() * (1 + 1e-9) and exact.max() <= rates.fastest * (1 + 1e-9)
    assert rates.fastest <= exact.max() * (1.0 if flow.whitens else root.max() / root.min()) ** 2 * (1 + 1e-9)


@pytest.mark.parametrize(
    "flow",
    [rg.GradientFlow(matrix_free=True), rg.LevenbergMarquardtFlow(0.3, matrix_free=rg.MatrixFree(rtol=1e-12))],
    ids=["gf", "lm"],
)
def test_matrix_free_flow_equals_the_formed_one(flow):
    point, name = DIAGONAL.linearise(DIAGONAL.w0), flow.name
    rates = flow.initial_rates(DIAGONAL, point, jnp.zeros(0), jnp.asarray(3))
    fastest = GAINS[name](9.0) * float(point.loss_hessian.max())
    assert (float(rates.fastest), float(rates.slowest)) == pytest.approx((fastest, 0.0), rel=1e-6)
    assert int(rates.branch) == (BRANCHES.index("product") if name == "gf" else -1)
    for one, other in zip(*(each.velocity(0.0, DIAGONAL.w0, DIAGONAL, 3) for each in (flow, FLOWS[name])), strict=True):
        assert one == pytest.approx(np.asarray(other))


# --- attributes, repr and bad input ---


def test_only_undamped_inverses_end_where_the_rank_is_lost():
    assert {name for name, flow in FLOWS.items() if flow.inverts} == {"gn", "lm undamped", "interpolated 0", "ggn"}


@pytest.mark.parametrize("flow", [*FLOWS.values(), rg.LevenbergMarquardtFlow(0.1, matrix_free=rg.MatrixFree())])
def test_flow_is_a_pytree_of_arrays_with_a_short_repr(flow):
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(flow))
    assert "f64[]" not in repr(flow) and len(repr(flow)) < 200


@pytest.mark.parametrize(("flow", "text"), [
    (rg.GaussNewtonFlow(), "GaussNewtonFlow()"),
    (rg.GradientFlow(matrix_free=True), "GradientFlow(matrix_free=True)"),
    (rg.LevenbergMarquardtFlow(0.1), "LevenbergMarquardtFlow(damping=0.1)"),
    (rg.InterpolatedFlow(0.4), "InterpolatedFlow(mix=0.4)"),
])  # fmt: skip
def test_repr_is_the_call_that_creates_the_flow(flow, text):
    assert repr(flow) == text


@pytest.mark.parametrize(("make", "fragment"), [
    (lambda: rg.LevenbergMarquardtFlow(-1.0), "`rho` must be >= 0 and finite, got -1.0"),
    (lambda: rg.LevenbergMarquardtFlow("small"), "`rho` must be a number, got 'small'"),
    (lambda: rg.GeneralizedGaussNewtonFlow(np.nan), "got nan"),
    (lambda: rg.InterpolatedFlow(1.5), "`mix` must be >= 0 and <= 1, got 1.5"),
    (lambda: rg.InterpolatedFlow(-0.1), "got -0.1"),
    (lambda: rg.GradientFlow(matrix_free=1), "must be True or False, got 1"),
])  # fmt: skip
def test_bad_arguments_are_rejected(make, fragment):
    with pytest.raises(ValueError, match=fragment):
        make()
