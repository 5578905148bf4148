"""OutputManifold: points, tangent vectors and their checks, damping, transformations, bad input."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn.geometry import OutputManifold
from tests.geometry.examples import manifold_of, rng, tangents
from tests.helpers import matrix_problem, matrix_with, relative_error, tanh_net

EPS = float(np.finfo(float).eps)
PLANE = manifold_of(lambda w, x: jnp.stack([w[0], 2 * w[1], 0 * w[0]]), [1.0, 1.0], 3)
UP = np.array([0.0, 0.0, 1.0])
SPHERE = OutputManifold(rg.task.sphere(radius=2.0))
START = SPHERE.problem.w0

# --- points and tangent vectors -------------------------------------------------------------------


@pytest.mark.parametrize("atol", [1e-8, 0.5])
def test_points_lie_on_the_manifold_to_a_tolerance(atol):
    point, vector, w = np.array([1.0, 2.0, 0.0]), np.array([3.0, 4.0, 0.0]), PLANE.problem.w0
    inside, outside = 0.999 * atol * UP, 1.001 * atol * UP
    assert PLANE.belongs(point + inside, atol) and not PLANE.belongs(point + outside, atol)
    assert PLANE.is_tangent(w, vector + inside, atol) and not PLANE.is_tangent(w, vector + outside, atol)
    assert PLANE.point(point + inside, atol) == pytest.approx([1.0, 1.0])
    with pytest.raises(ValueError, match="off the manifold, more than"):
        PLANE.point(point + outside, atol)


def test_vectors_are_tangent_up_to_rounding():
    w, vector = PLANE.problem.w0, np.array([3.0, 4.0, 0.0])
    limit = 10 * EPS**0.5 * 5.0 * UP
    assert PLANE.exp(w, vector + 0.999 * limit) == pytest.approx([4.0, 3.0])
    with pytest.raises(ValueError, match=r"`u` is not tangent: its normal part is 1\.49e-07 of its length"):
        PLANE.exp(w, vector + 1.001 * limit)


def test_a_chart_is_singular_at_its_rounding_error():
    """`psi = (w_1, w_2^2, 0)`: the ratio `2 w_2` must exceed `max(m, p) eps`."""
    manifold = manifold_of(lambda w, x: jnp.stack([w[0], w[1] ** 2, 0 * w[0]]), [1.0, 1.0], 3)
    limit = 3 * EPS / 2
    assert manifold.to_tangent([1.0, 1.01 * limit], UP + 1) == pytest.approx([1.0, 1.0, 0.0])
    with pytest.raises(ValueError, match=r"smallest of the 2 singular values is 6\.59e-16, the largest 1\."):
        manifold.to_tangent([1.0, 0.99 * limit], UP + 1)


def test_lengths_in_the_ambient_form():
    form = np.array([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 4.0]])
    manifold = OutputManifold(PLANE.problem, ambient=form)
    u, v, w = np.array([1.0, 2.0, 3.0]), np.array([1.0, -1.0, 1.0]), manifold.problem.w0
    assert float(manifold.inner(u, v)) == pytest.approx(u @ form @ v)
    assert float(manifold.norm(u)) == pytest.approx((u @ form @ u) ** 0.5)
    one, other = tangents(manifold, w, 2, length=1.0)
    assert [float(manifold.norm(a)) for a in (one, other)] == pytest.approx([1.0, 1.0]) and not np.allclose(one, other)


def test_a_point_can_be_a_pytree_a_list_or_an_array():
    problem = rg.Problem(
        lambda w, x: w["a"] * jnp.array([1.0, 2.0]) + w["b"],
        {"a": jnp.ones(()), "b": jnp.zeros(2)},
        jnp.zeros((2, 1)),
        jnp.zeros(2),
    )
    manifold = OutputManifold(problem)
    for name in ([2.0, 1.0, 0.0], np.array([2.0, 1.0, 0.0]), {"a": np.array(2.0), "b": np.array([1.0, 0.0])}):
        assert manifold.embed(name).tolist() == [3.0, 4.0]
    assert (manifold.dim, manifold.ambient_dim, manifold.p) == (2, 2, 3)
    for wrong in ({"a": np.zeros(()), "b": np.zeros(3)}, {"a": np.zeros(())}, np.zeros(2), 1.0):
        with pytest.raises(ValueError, match=r"flat of shape \(3,\) or like problem.params; got shapes"):
            manifold.embed(wrong)


def test_repr_fits_in_three_lines():
    net = OutputManifold(tanh_net(20, (2, 2, 1)), damping=0.5)
    assert repr(net) == "OutputManifold(dim=9, ambient_dim=29, MLP 2-2-1 tanh, form=None, damping=0.5)"
    assert "form=f64[3]" in repr(OutputManifold(SPHERE.problem, ambient=np.ones(3)))


# --- damping --------------------------------------------------------------------------------------


def test_the_damped_gradient_is_the_levenberg_marquardt_direction():
    problem, rho = tanh_net(20, (2, 2, 1), seed=2), 0.3
    manifold = OutputManifold(problem, damping=rho)
    w = np.asarray(problem.w0) + 0.1 * rng(1).standard_normal(problem.p)
    jac, residual = np.asarray(problem.jac(w)), np.asarray(problem.outputs(w) - problem.y)
    gram = jac.T @ jac + rho * np.eye(problem.p)
    assert (manifold.ambient_dim, manifold.dim) == (20 + problem.p, problem.p)
    graph = np.append(problem.outputs(w), np.sqrt(rho) * (w - problem.w0))
    assert relative_error(manifold.embed(w), graph) < 1e-15
    assert relative_error(manifold.metric_matrix(w), gram) < 1e-13
    direction = manifold.tangent_coordinates(w, manifold.riemannian_grad(w))
    assert relative_error(direction, np.linalg.solve(gram, jac.T @ residual)) < 1e-11


def test_damping_makes_an_ill_conditioned_chart_regular():
    problem = tanh_net(20, (1, 4, 1), seed=0)
    report, cut = OutputManifold(problem).rank_report(), OutputManifold(problem, rank=1e-6)
    assert report.rank == 13 and report.cond > 1e8 and cut.dim < 13
    assert cut.rank_report().cond < 1e6 and cut.rank_report().dropped[0] < 1e-6 * cut.rank_report().kept[0]
    damped = OutputManifold(problem, damping=1e-4)
    assert damped.rank_report().cond < 1e3 and damped.dim == 13
    u, v = tangents(damped, problem.w0, 2, length=1e-2)
    hessian = float(damped.riemannian_hess(problem.w0, u, v))
    assert float(damped.inner(damped.riemannian_hessp(problem.w0, u), v)) == pytest.approx(hessian, rel=1e-10)


# --- jit and vmap ---------------------------------------------------------------------------------


def pointwise(m, w, u, v, z) -> dict:
    """Every method that needs one tangent frame."""
    return {
        **{name: getattr(m, name)(w) for name in ("embed", "objective", "projector", "riemannian_grad")},
        **{name: getattr(m, name)(w) for name in ("mean_curvature", "metric_matrix", "christoffels")},
        **{name: getattr(m, name)(w, u + 1) for name in ("to_tangent", "normal_part", "tangent_coordinates")},
        **{name: getattr(m, name)(w, u, v) for name in ("riemannian_hess", "second_fundamental_form")},
        "is_tangent": m.is_tangent(w, u),
        "riemannian_hessp": m.riemannian_hessp(w, u),
        "sectional_curvature": m.sectional_curvature(w, u, v),
        "shape_operator": m.shape_operator(w, u + 1, v),
        "curvature": m.curvature(w, u, v, z),
        "inner": m.inner(u, v),
        "norm": m.norm(u),
        "push_forward": m.push_forward(w, u[:2]),
        "random_tangent": m.random_tangent(w, key=jax.random.key(3)),
    }


def shooting(m, w, u, v, z) -> dict:
    return {"log": m.log(w, w + 0.1), "geodesic": m.geodesic(w, u, [0.5, 1.0])}


def iterating(m, w, u, v, z) -> dict:
    return {"project": m.project(m.embed(w) + u), "retract": m.retract(w, u, "corrected")}


@pytest.mark.parametrize("methods", [pointwise, iterating, pytest.param(shooting, marks=pytest.mark.slow)])
def test_methods_agree_under_jit_and_vmap(methods):
    points = START + 0.2 * rng(2).standard_normal((2, 2))
    vectors = jnp.stack([jnp.stack(tangents(SPHERE, w, 3)) for w in points])
    batched = jax.jit(jax.vmap(lambda w, v: methods(SPHERE, w, *v)))(points, vectors)
    for i in range(2):
        for name, value in methods(SPHERE, points[i], *vectors[i]).items():
            assert np.abs(np.asarray(batched[name][i], float) - np.asarray(value, float)).max() < 1e-10, name


def test_a_manifold_can_be_an_argument_of_a_compiled_function():
    gradient = eqx.filter_jit(lambda m, w: m.riemannian_grad(w))(SPHERE, START)
    assert relative_error(gradient, SPHERE.riemannian_grad(START)) < 1e-14


# --- bad input ------------------------------------------------------------------------------------

ZERO = jnp.zeros(3)
BAD = {
    "problem": (lambda: OutputManifold(3.0), "must be a Problem, got float"),
    "negative damping": (lambda: OutputManifold(SPHERE.problem, damping=-0.5), "damping.*got -0.5"),
    "infinite damping": (lambda: OutputManifold(SPHERE.problem, damping=np.inf), "damping.*got inf"),
    "rank": (lambda: OutputManifold(SPHERE.problem, rank=5), r"at most min\(m, p\) = 2, got 5"),
    "full rank": (
        lambda: OutputManifold(matrix_problem(matrix_with(6, 3, [2.0, 1.0])), rank="full"),
        "number 3 is .*e-1",
    ),
    "form shape": (lambda: OutputManifold(SPHERE.problem, ambient=np.ones(4)), r"\(3,\) or \(3, 3\), got shape \(4,\)"),
    "form asymmetric": (
        lambda: OutputManifold(SPHERE.problem, ambient=np.eye(3) + 4e-12 * np.eye(3, k=1)),
        "asymmetry of 4e-12",
    ),
    "form indefinite": (lambda: OutputManifold(SPHERE.problem, ambient=[-1.0, -1, 1]), "got the eigenvalue -"),
    "form with NaN": (lambda: OutputManifold(SPHERE.problem, ambient=[1.0, np.nan, 1]), "finite"),
    "point off": (lambda: SPHERE.point(jnp.array([3.0, 0, 0])), "The point is 1 off"),
    "point shape": (lambda: SPHERE.point(jnp.ones(2)), r"shape \(3,\), got \(2,\)"),
    "parameters": (lambda: SPHERE.embed(jnp.ones(3)), r"\(2,\).*got shapes \[\(3,\)\]"),
    "normal vector": (lambda: SPHERE.exp(START, SPHERE.embed(START)), "`u` is not tangent: .* 1 of its length"),
    "vector shape": (lambda: SPHERE.to_tangent(START, jnp.ones(4)), r"shape \(3,\), got \(4,\)"),
    "velocity shape": (lambda: SPHERE.push_forward(START, jnp.ones(3)), r"shape \(2,\), got \(3,\)"),
    "singular point": (lambda: SPHERE.to_tangent([0.0, 1.0], ZERO), "Singular chart point: .* is 0, the largest 2"),
    "retraction": (lambda: SPHERE.retract(START, ZERO, "straight"), "chart, corrected, .*got 'straight'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_quoted(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()
