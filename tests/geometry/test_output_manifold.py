"""OutputManifold as a user meets it: rank policies, damping, the rate along flows, transformations, bad input."""

from functools import cache, partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn.geometry import RankReport
from tests.helpers import matrix_problem, matrix_with, relative_error, tanh_net


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@cache
def sphere() -> rg.OutputManifold:
    return rg.OutputManifold(rg.task.sphere(radius=2.0))


def start(manifold):
    return manifold.problem.w0


def tangents(manifold, w, count: int, length: float = 0.5):
    return [length * manifold.random_tangent(w, key=jax.random.key(i)) for i in range(count)]


# --- the rate along the flow (C4) --------------------------------------------------------------------------------------


@cache
def flow_of_a_network():
    problem = rg.teacher_student(n=100, width=5, cond=3.0, key=jax.random.key(1), alpha=1e3, noise=0.3)
    return rg.OutputManifold(problem), rg.solve(
        problem, rg.GaussNewtonFlow(), t1=4.0, rtol=1e-10, atol=1e-12, dense=True
    )


@eqx.filter_jit
def rates(manifold, w):
    """`-1/2 d/dt log |u|^2` along the flow by the derivative of `u = grad_M g` in its direction, `kappa` and the share of its curvature part."""
    u = manifold.riemannian_grad(w)
    change = jax.jvp(manifold.riemannian_grad, (w,), (-manifold.tangent_coordinates(w, u),))[1]
    kappa = manifold.riemannian_hess(w, u, u) / (u @ u)
    return -(u @ change) / (u @ u), kappa, u @ u


def test_rate_identity_along_gauss_newton():
    """C4: `-1/2 d/dt log |grad_M g|^2 = Hess_M g[u, u] / |u|^2`, n = 100, p = 31, alpha = 1e3."""
    manifold, trajectory = flow_of_a_network()
    assert trajectory.succeeded and manifold.p == 31
    step = 0.1
    shares = []
    for t in (0.5, 1.5, 2.5, 3.5):  # later |u| nears the integrator's tolerance
        exact, kappa, _ = rates(manifold, trajectory.evaluate(t))
        assert abs(float(exact / kappa) - 1) < 1e-11

        def log_norm(t):
            return float(jnp.log(rates(manifold, trajectory.evaluate(t))[2]))

        # central differences of the trajectory, extrapolated twice
        by = [(log_norm(t + h) - log_norm(t - h)) / (2 * h) for h in (step, step / 2, step / 4)]
        once = [(4 * by[1] - by[0]) / 3, (4 * by[2] - by[1]) / 3]
        measured = -0.5 * (16 * once[1] - once[0]) / 15
        assert abs(measured / float(kappa) - 1) < 1e-6
        shares.append(abs(float(kappa) - 1))  # Hess g is the identity: the rest is curvature
    assert max(shares) > 1e-2


# --- damping: the graph ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rho", [1e-4, 0.3])
def test_damped_manifold_is_the_graph_and_its_gradient_is_the_levenberg_marquardt_direction(rho):
    problem = tanh_net(20, (2, 2, 1), seed=2)
    manifold = rg.OutputManifold(problem, damping=rho)
    w = np.asarray(start(manifold)) + 0.1 * rng(1).standard_normal(problem.p)
    jac, residual = np.asarray(problem.jac(w)), np.asarray(problem.outputs(w) - problem.y)
    gram = jac.T @ jac + rho * np.eye(problem.p)
    assert manifold.ambient_dim == 20 + problem.p and manifold.dim == problem.p
    assert (
        relative_error(manifold.embed(w), np.append(problem.outputs(w), np.sqrt(rho) * (w - start(manifold)))) < 1e-15
    )
    assert relative_error(manifold.metric_matrix(w), gram) < 1e-13
    direction = manifold.tangent_coordinates(w, manifold.riemannian_grad(w))
    assert relative_error(direction, np.linalg.solve(gram, jac.T @ residual)) < 1e-11
    velocity = rg.LevenbergMarquardtFlow(rho).velocity(0.0, jnp.asarray(w), problem, jnp.asarray(problem.p))[0]
    assert relative_error(-direction, velocity) < 1e-11
    assert relative_error(direction, np.linalg.lstsq(jac, residual)[0]) > 1e-6  # not the undamped one


# --- rank policies -----------------------------------------------------------------------------------------------------

SPECTRUM = np.array([3.0, 1.0, 1e-3, 1e-9, 0.0])


@pytest.mark.parametrize(
    ("policy", "dim", "kept"), [(None, 4, 1e-9), (3, 3, 1e-3), (1e-2, 2, 1.0), (1e-6, 3, 1e-3), (4, 4, 1e-9)]
)
def test_rank_policies_keep_what_they_say(policy, dim, kept):
    problem = matrix_problem(matrix_with(12, 5, SPECTRUM[:4]))
    manifold = rg.OutputManifold(problem, rank=policy)
    report = manifold.rank_report()
    assert manifold.dim == report.rank == dim
    assert relative_error(report.kept[-1], kept) < 1e-5
    assert relative_error(report.kept + report.dropped, SPECTRUM) < 1e-14
    assert abs(report.cond * report.kept[-1] / 3.0 - 1) < 1e-6
    assert report.is_regular
    projector = np.linalg.svd(np.asarray(problem.x))[0][:, :dim]
    assert np.abs(manifold.projector(start(manifold)) - projector @ projector.T).max() < 1e-6


def test_the_report_reads_like_a_sentence():
    manifold = rg.OutputManifold(matrix_problem(matrix_with(12, 5, SPECTRUM[:4])), rank=1e-2)
    text = str(manifold.rank_report())
    assert text.startswith(
        "rank policy relative tolerance 0.01: kept 2 singular values from 3 to 1 (cond 3); dropped 3, the largest 0.001"
    )
    singular = sphere().rank_report([0.0, 1.0])
    assert isinstance(singular, RankReport) and not singular.is_regular and "singular point" in str(singular)
    assert "dropped none" in str(sphere().rank_report())


def test_ill_conditioned_chart_reports_and_holds_its_identities_with_damping():
    """A 1-4-1 tanh net: a condition number of 1e8 is reported, damping 1e-4 brings it to 1e3, and the identities hold again."""
    problem = tanh_net(20, (1, 4, 1), seed=0)
    report = rg.OutputManifold(problem).rank_report()
    assert report.rank == 13 and report.cond > 1e8
    full, cut = rg.OutputManifold(problem, rank="full"), rg.OutputManifold(problem, rank=1e-6)
    assert full.dim == 13 and cut.dim < 13
    assert cut.rank_report().cond < 1e6 and cut.rank_report().dropped[0] < 1e-6 * cut.rank_report().kept[0]
    damped = rg.OutputManifold(problem, damping=1e-4)
    assert damped.rank_report().cond < 1e3 and damped.dim == 13
    w = start(damped)
    u, v = tangents(damped, w, 2, length=1e-2)
    end = damped.exp(w, u)
    moved = [damped.parallel_transport(w, a, u) for a in (u, v)]
    for a, b, at_start in ((0, 0, u @ u), (0, 1, u @ v), (1, 1, v @ v)):
        assert abs(float(moved[a] @ moved[b] - at_start)) < 1e-11 * 1e-4
    assert bool(damped.is_tangent(end, moved[0]))
    bend = damped.second_fundamental_form(w, u, v)
    assert float(jnp.linalg.norm(damped.to_tangent(w, bend))) < 1e-12 * float(jnp.linalg.norm(bend))
    hessian = damped.riemannian_hess(w, u, v)
    assert relative_error(damped.inner(damped.riemannian_hessp(w, u), v), hessian) < 1e-10


# --- jit and vmap ------------------------------------------------------------------------------------------------------

ONE_POINT = ["embed", "objective", "projector", "riemannian_grad", "mean_curvature", "metric_matrix", "christoffels"]
VECTORS = {
    "to_tangent": 1,
    "normal_part": 1,
    "is_tangent": 1,
    "tangent_coordinates": 1,
    "riemannian_hessp": 1,
    "exp": 1,
    "riemannian_hess": 2,
    "second_fundamental_form": 2,
    "shape_operator": 2,
    "sectional_curvature": 2,
    "parallel_transport": 2,
    "curvature": 3,
}
CALLS = {name: (name, 0) for name in ONE_POINT} | {name: (name, count) for name, count in VECTORS.items()}


@cache
def three_points():
    manifold = sphere()
    points = [start(manifold) + 0.2 * jnp.asarray(row) for row in rng(2).standard_normal((3, 2))]
    return jnp.stack(points), jnp.stack([jnp.stack(tangents(manifold, w, 3)) for w in points])


@pytest.mark.parametrize("name", CALLS)
def test_methods_agree_under_jit_and_vmap(name):
    method, count = CALLS[name]
    function = partial(getattr(rg.OutputManifold, method), sphere())
    points, vectors = three_points()
    if name in ("normal_part", "shape_operator"):
        vectors = vectors.at[:, 0].add(1.0)  # these take an ambient vector first
    arguments = [(points[i], *vectors[i, :count]) for i in range(3)]
    eager = np.stack([function(*a) for a in arguments])
    batched = jax.jit(jax.vmap(lambda w, v: function(w, *v)))(points, vectors[:, :count])
    assert batched.shape == eager.shape
    assert np.abs(batched - eager).max() < 1e-10 if eager.dtype != bool else np.array_equal(batched, eager)
    assert eager.dtype == bool or np.linalg.norm(eager[0]) > 1e-6


OTHERS = [
    "log",
    "project",
    "point",
    "belongs",
    "retract",
    "geodesic",
    "push_forward",
    "inner",
    "norm",
    "random_tangent",
]


@pytest.mark.parametrize("name", OTHERS)
def test_other_methods_agree_under_jit_and_vmap(name):
    m = sphere()
    points, vectors = three_points()
    calls = {
        "log": lambda w, u: m.log(w, w + 0.1),
        "project": lambda w, u: m.project(m.embed(w) + u[0]),
        "point": lambda w, u: m.point(m.embed(w)),
        "belongs": lambda w, u: m.belongs(m.embed(w) + 0 * u[0]),
        "retract": lambda w, u: m.retract(w, u[0], "corrected"),
        "geodesic": lambda w, u: m.geodesic(w, u[0], [0.5, 1.0]),
        "push_forward": lambda w, u: m.push_forward(w, u[0][:2]),
        "inner": lambda w, u: m.inner(u[0], u[1]),
        "norm": lambda w, u: m.norm(u[0]),
        "random_tangent": lambda w, u: m.random_tangent(w, key=jax.random.key(3)),
    }
    eager = np.stack([calls[name](points[i], vectors[i]) for i in range(3)])
    batched = jax.jit(jax.vmap(calls[name]))(points, vectors)
    assert np.abs(np.asarray(batched, float) - eager).max() < 1e-10


def test_pytree_points_and_manifolds_as_arguments():
    manifold = rg.OutputManifold(rg.task.rank_one(4, 3, key=jax.random.key(0)))
    params = manifold.problem.params
    assert relative_error(manifold.embed(params), manifold.embed(start(manifold))) == 0
    assert (
        relative_error(
            eqx.filter_jit(lambda m, w: m.riemannian_grad(w))(manifold, params), manifold.riemannian_grad(params)
        )
        < 1e-14
    )


# --- bad input ---------------------------------------------------------------------------------------------------------

BAD = {
    "no problem": (lambda: rg.OutputManifold(3.0), ValueError, "must be a Problem, got float"),
    "negative damping": (lambda: rg.OutputManifold(sphere().problem, damping=-0.5), ValueError, "damping.*got -0.5"),
    "infinite damping": (lambda: rg.OutputManifold(sphere().problem, damping=np.inf), ValueError, "damping.*got inf"),
    "rank too large": (lambda: rg.OutputManifold(sphere().problem, rank=5), ValueError, r"at most min\(m, p\) = 2, got 5"),
    "rank 0": (lambda: rg.OutputManifold(sphere().problem, rank=0), ValueError, "at least 1, got 0"),
    "rank tolerance": (lambda: rg.OutputManifold(sphere().problem, rank=1.5), ValueError, r"in \(0, 1\), got 1.5"),
    "rank word": (lambda: rg.OutputManifold(sphere().problem, rank="most"), ValueError, "got 'most'"),
    "rank flag": (lambda: rg.OutputManifold(sphere().problem, rank=True), ValueError, "got True"),
    "full rank of less": (
        lambda: rg.OutputManifold(matrix_problem(matrix_with(6, 3, [2.0, 1.0])), rank="full"), ValueError, "number 3 is .*e-1",
    ),
    "no tangent space": (lambda: rg.OutputManifold(matrix_problem(np.zeros((4, 2)))), ValueError, "vanishes .*0"),
    "ambient shape": (lambda: rg.OutputManifold(sphere().problem, ambient=np.ones(4)), ValueError, r"\(3,\) or \(3, 3\), got shape \(4,\)"),
    "ambient asymmetric": (
        lambda: rg.OutputManifold(sphere().problem, ambient=np.eye(3) + np.eye(3, k=1)), ValueError, "asymmetry of 1",
    ),
    "ambient indefinite": (lambda: rg.OutputManifold(sphere().problem, ambient=[-1.0, -1, 1]), ValueError, "least eigenvalue of -"),
    "ambient with NaN": (lambda: rg.OutputManifold(sphere().problem, ambient=[1.0, np.nan, 1]), ValueError, "finite"),
    "point off": (lambda: sphere().point(jnp.array([3.0, 0, 0])), ValueError, "lies 1 off"),
    "point shape": (lambda: sphere().point(jnp.ones(2)), ValueError, r"shape \(3,\), got \(2,\)"),
    "parameters": (lambda: sphere().embed(jnp.ones(3)), ValueError, r"\(2,\).*got shapes \[\(3,\)\]"),
    "not tangent": (lambda: sphere().exp(start(sphere()), sphere().embed(start(sphere()))), ValueError, "`u` is not tangent: .* 1 of its length"),
    "vector shape": (lambda: sphere().to_tangent(start(sphere()), jnp.ones(4)), ValueError, r"shape \(3,\), got \(4,\)"),
    "velocity shape": (lambda: sphere().push_forward(start(sphere()), jnp.ones(3)), ValueError, r"shape \(2,\), got \(3,\)"),
    "singular point": (lambda: sphere().to_tangent([0.0, 1.0], jnp.ones(3)), ValueError, "Singular chart point: .*smallest is 0 beside .* 2"),
    "retraction": (lambda: sphere().retract(start(sphere()), jnp.zeros(3), "straight"), ValueError, "chart, corrected, .*got 'straight'"),
    "one time": (lambda: sphere().geodesic(start(sphere()), jnp.zeros(3), 1.0), ValueError, r"increasing times >= 0, got 1\.0"),
    "times": (lambda: sphere().geodesic(start(sphere()), jnp.zeros(3), [1.0, 0.5]), ValueError, r"increasing.*\[1\. +0\.5\]"),
    "negative times": (lambda: sphere().geodesic(start(sphere()), jnp.zeros(3), [-1.0]), ValueError, r"got \[-1\.\]"),
    "tolerance": (lambda: sphere().exp(start(sphere()), jnp.zeros(3), rtol=2.0), ValueError, r"in \(0, 1\), got 2.0"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_answered_in_one_sentence_with_the_number(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()


def half_line() -> rg.OutputManifold:
    """`(exp(v), 0)`: the open half line x > 0, whose geodesics end at 0; with a bump that `log` cannot jump."""
    return rg.OutputManifold(
        rg.Problem(lambda v, x: jnp.array([jnp.exp(v[0]), 0.0]), jnp.zeros(1), np.zeros((2, 1)), np.zeros(2))
    )


def test_a_geodesic_that_leaves_the_chart_is_refused():
    manifold = half_line()
    inside = manifold.exp([0.0], jnp.array([-0.9, 0.0]))
    assert relative_error(manifold.embed(inside), [0.1, 0.0]) < 1e-9
    with pytest.raises(rg.GeometryError, match="geodesic did not arrive"):
        manifold.exp([0.0], jnp.array([-1.1, 0.0]))
    with pytest.raises(rg.GeometryError, match="transport did not arrive"):
        manifold.parallel_transport([0.0], jnp.array([1.0, 0.0]), jnp.array([-1.1, 0.0]))
    assert np.isnan(jax.jit(manifold.exp)(jnp.zeros(1), jnp.array([-1.1, 0.0]))).all()
    path = jax.jit(manifold.geodesic)(
        jnp.zeros(1), jnp.array([-1.1, 0.0]), jnp.array([0.0, 0.5, 0.95])
    )  # ends at 1 / 1.1
    assert np.isnan(path[2]) and np.exp(path[:2, 0]) == pytest.approx([1.0, 0.45])
    with pytest.raises(rg.GeometryError, match="geodesic did not arrive"):
        manifold.geodesic([0.0], jnp.array([-1.1, 0.0]), [0.0, 0.5, 0.95])


def test_a_point_that_no_geodesic_reaches_is_refused():
    """The cone over a curve of the unit 3-sphere: flat, the polar angle is the curve's arc length, and straight lines turn by less than pi."""

    def cone(v, x):
        a = v[1]
        return jnp.exp(v[0]) * jnp.array([jnp.cos(a), jnp.sin(a), jnp.cos(3 * a), jnp.sin(3 * a)]) / jnp.sqrt(2.0)

    manifold = rg.OutputManifold(rg.Problem(cone, jnp.zeros(2), np.zeros((4, 1)), np.zeros(4)))
    angle = np.sqrt(5.0)  # arc length for each unit of a
    radial, around = np.array([1.0, 0, 1, 0]) / np.sqrt(2), np.array([0, 1.0, 0, 3]) / np.sqrt(10)
    expected = (np.cos(angle) - 1) * radial + np.sin(angle) * around
    assert relative_error(manifold.log(jnp.zeros(2), jnp.array([0.0, 1.0])), expected) < 1e-9
    with pytest.raises(rg.GeometryError, match=r"shooting stopped [\d.]+ short"):
        manifold.log(jnp.zeros(2), jnp.array([0.0, 2.0]))


def test_matrices_of_the_ambient_form_agree_with_their_diagonal():
    problem = tanh_net(12, (2, 2, 1), seed=1)
    weights = 0.5 + rng(3).random(12)
    diagonal, matrix = rg.OutputManifold(problem, ambient=weights), rg.OutputManifold(problem, ambient=np.diag(weights))
    vector = rng(4).standard_normal(12)
    jac = np.sqrt(weights)[:, None] * np.asarray(problem.jac(problem.w0))
    coordinates = np.linalg.lstsq(jac, np.sqrt(weights) * vector)[0]
    for manifold in (diagonal, matrix):
        assert relative_error(manifold.tangent_coordinates(problem.w0, vector), coordinates) < 1e-8
        assert relative_error(manifold.metric_matrix(problem.w0), jac.T @ jac) < 1e-12
