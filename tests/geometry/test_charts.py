"""Flows on geomstats' embedded manifolds: they stay there, end at the nearest point or the closed form, and do not see the chart."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.optimize

import riemgn as rg
from riemgn.geometry.charts import (
    CayleyChart,
    CholeskyChart,
    Constrained,
    embedded_problem,
    from_geomstats,
    HyperboloidChart,
)
from riemgn.geometry.interop.geomstats_import import load
from tests.helpers import finite_difference, relative_error

TIGHT = {"rtol": 1e-10, "atol": 1e-12}
SPHERE = load("geomstats.geometry.hypersphere").Hypersphere(3)
HYPERBOLOID = load("geomstats.geometry.hyperboloid").Hyperboloid(3)
STIEFEL = load("geomstats.geometry.stiefel").Stiefel(4, 2)
SPD = load("geomstats.geometry.spd_matrices").SPDMatrices(3)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def polar(matrix):
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    return left @ right


def nearest_on_hyperboloid(target):
    """Euclidean nearest point, by a root of the multiplier: `(x_0, x) = (t_0 / (1 - a), t / (1 + a))` for the normal `a (-x_0, x)`."""

    def equation(a):
        return -((target[0] / (1 - a)) ** 2) + np.sum((target[1:] / (1 + a)) ** 2) + 1

    a = scipy.optimize.brentq(equation, -1 + 1e-9, 1 - 1e-9, xtol=1e-16)
    return np.concatenate([[target[0] / (1 - a)], target[1:] / (1 + a)])


@dataclass(frozen=True)
class Case:
    space: Any
    chart: type
    target: np.ndarray  # off the manifold
    nearest: np.ndarray
    points: tuple[np.ndarray, np.ndarray]  # two points to start from


@cache
def case(name: str) -> Case:
    if name == "sphere":
        points = [x / np.linalg.norm(x) for x in rng(1).standard_normal((2, 4))]
        target = np.array([0.3, -1.2, 1.5, 0.4])
        return Case(SPHERE, CayleyChart, target, SPHERE.projection(target), tuple(points))
    if name == "hyperboloid":
        points = [np.concatenate([[np.sqrt(1 + x @ x)], x]) for x in rng(2).standard_normal((2, 3))]
        target = np.array([0.5, 0.9, -1.3, 0.6])
        return Case(HYPERBOLOID, HyperboloidChart, target, nearest_on_hyperboloid(target), tuple(points))
    if name == "stiefel":
        points = [polar(x) for x in rng(3).standard_normal((2, 4, 2))]
        target = 2.0 * rng(4).standard_normal((4, 2))
        return Case(STIEFEL, CayleyChart, target, STIEFEL.projection(target), tuple(points))
    points = [x @ x.T + 0.3 * np.eye(3) for x in rng(5).standard_normal((2, 3, 3))]
    inside = points[1] + 0.5 * np.ones((3, 3))
    target = inside + np.array([[0, 1, 2], [-1, 0, 3], [-2, -3, 0]])  # a skew part: nearest is the symmetric one
    return Case(SPD, CholeskyChart, target, SPD.projection(target), tuple(points))


NAMES = ["sphere", "hyperboloid", "stiefel", "spd"]
NEAREST_BY_GEOMSTATS = ["sphere", "stiefel", "spd"]


@cache
def flow(name: str) -> rg.Trajectory:
    setting = case(name)
    problem = embedded_problem(setting.space, setting.target, base_point=setting.points[0])
    return rg.solve(problem, rg.GaussNewtonFlow(), t1=40.0, **TIGHT)


# --- the manifold as target ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_flow_stays_on_the_manifold(name):
    setting, trajectory = case(name), flow(name)
    assert trajectory.succeeded
    points = np.array(trajectory.outputs).reshape(-1, *setting.target.shape)
    assert np.all(setting.space.belongs(points, atol=1e-8))
    off = points + 1e-6 * (0.1 + np.arange(points[0].size).reshape(points[0].shape) ** 2)
    assert not np.any(setting.space.belongs(off, atol=1e-8))


@pytest.mark.parametrize("name", NAMES)
def test_the_flow_ends_at_the_nearest_point(name):
    setting, trajectory = case(name), flow(name)
    end = np.asarray(trajectory.outputs[-1]).reshape(setting.target.shape)
    assert relative_error(end, setting.nearest) < 1e-8
    assert relative_error(trajectory.outputs[0], setting.points[0].reshape(-1)) < 1e-14
    assert relative_error(setting.points[0], setting.nearest) > 0.1  # there was a way to go


def test_projection_of_geomstats_hyperboloid_is_neither_nearest_nor_continuous():
    """Hyperboloid.projection of 2.8.0 divides by x_0 off the manifold only; the nearest point is known by a scalar equation."""
    target, nearest = case("hyperboloid").target, case("hyperboloid").nearest
    free = scipy.optimize.minimize(
        lambda x: np.sum((np.append(np.sqrt(1 + x @ x), x) - target) ** 2), np.zeros(3), tol=1e-12
    )
    assert np.linalg.norm(free.x - nearest[1:]) < 1e-5
    theirs = HYPERBOLOID.projection(target)
    assert np.linalg.norm(theirs - target) > np.linalg.norm(nearest - target) + 0.1
    point = np.array([np.sqrt(3.0), 1.0, 1.0, 0.0])
    near = point + np.array([0.0, 1e-6, 0.0, 0.0])
    assert np.linalg.norm(HYPERBOLOID.projection(near) - HYPERBOLOID.projection(point)) > 0.5
    ours = [np.asarray(nearest_on_hyperboloid(z)) for z in (near, point * (1 + 1e-12))]
    assert np.linalg.norm(ours[0] - ours[1]) < 2e-6


@pytest.mark.parametrize("name", NAMES)
def test_the_path_does_not_depend_on_the_base_point_of_the_chart(name):
    """C3: another chart, another starting parameter, the same curve on the manifold."""
    setting = case(name)
    other = embedded_problem(setting.space, setting.target, base_point=setting.points[1])
    moved = other.with_params(other.model.coordinates(jnp.asarray(setting.points[0])))
    assert float(jnp.linalg.norm(moved.w0)) > 0.1
    again = rg.solve(moved, rg.GaussNewtonFlow(), t1=40.0, **TIGHT)
    assert relative_error(again.outputs, flow(name).outputs) < 1e-8


def test_gradient_flow_sees_the_base_point():
    setting = case("spd")
    outputs = []
    for base in setting.points:
        problem = embedded_problem(setting.space, setting.target, base_point=base)
        start = problem.with_params(problem.model.coordinates(jnp.asarray(setting.points[0])))
        outputs.append(rg.solve(start, rg.GradientFlow(), t1=0.2).outputs)
    assert relative_error(*outputs) > 1e-3


# --- charts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_charts_start_at_the_base_point_invert_and_have_exact_derivatives(name):
    setting = case(name)
    chart = from_geomstats(setting.space, setting.points[0])
    assert isinstance(chart, setting.chart)
    assert chart.dim == setting.space.dim
    assert relative_error(chart.point(jnp.zeros(chart.dim)), setting.points[0]) < 1e-15
    v = 0.7 * rng(6).standard_normal(chart.dim)
    assert relative_error(chart.coordinates(chart.point(jnp.asarray(v))), v) < 1e-13
    assert relative_error(chart.point(chart.coordinates(jnp.asarray(setting.points[1]))), setting.points[1]) < 1e-13
    derivative = jax.jacfwd(lambda v: chart.point(v).reshape(-1))(jnp.asarray(v))
    assert relative_error(derivative, finite_difference(lambda v: chart.point(v).reshape(-1), v)) < 1e-8
    assert np.linalg.matrix_rank(derivative) == chart.dim


@pytest.mark.parametrize("name", ["sphere", "stiefel"])
def test_cayley_charts_are_isometric_at_the_base_point(name):
    setting = case(name)
    chart = from_geomstats(setting.space, setting.points[1])
    derivative = jax.jacfwd(lambda v: chart.point(v).reshape(-1))(jnp.zeros(chart.dim))
    assert np.abs(derivative.T @ derivative - np.eye(chart.dim)).max() < 1e-14


@pytest.mark.parametrize(("space", "size"), [(load("geomstats.geometry.stiefel").Stiefel(3, 3), 3), (STIEFEL, 5)])
def test_cayley_chart_is_the_cayley_transform(space, size):
    """Against `(I - B / 2)^-1 (I + B / 2) X` with the skew matrix B written out."""
    base = polar(rng(7).standard_normal((space.n, space.p)))
    chart = from_geomstats(space, base)
    assert chart.dim == space.dim == size
    v = rng(8).standard_normal(size)
    b = np.zeros((space.n, space.n))
    above = np.triu_indices(space.p, 1)
    b[above] = v[: above[0].size] / np.sqrt(2)
    b[space.p :, : space.p] = v[above[0].size :].reshape(space.n - space.p, space.p)
    b[: space.p, : space.p] -= b[: space.p, : space.p].T
    b[: space.p, space.p :] = -b[space.p :, : space.p].T
    frame = np.concatenate([base, np.asarray(chart.complement)], axis=1)
    turned = frame @ np.linalg.solve(np.eye(space.n) - b / 2, np.eye(space.n) + b / 2)[:, : space.p]
    assert relative_error(chart.point(jnp.asarray(v)), turned) < 1e-14


@pytest.mark.parametrize("space", [SPHERE, HYPERBOLOID, STIEFEL, SPD], ids=NAMES)
def test_default_base_points_belong(space):
    chart = from_geomstats(space)
    assert space.belongs(np.array(chart.base))
    assert relative_error(chart.point(jnp.zeros(chart.dim)), chart.base) < 1e-15


# --- the manifold as constraint --------------------------------------------------------------------------------------


def test_least_squares_on_the_sphere_ends_at_the_secular_equation():
    """`min |A x - b|` over `|x| = 1`: `(A^T A + mu I) x = A^T b` with `mu > -lambda_min` such that `|x| = 1`."""
    a, b = rng(9).standard_normal((7, 4)), 3 * rng(10).standard_normal(7)
    values, vectors = np.linalg.eigh(a.T @ a)
    rotated = vectors.T @ (a.T @ b)
    mu = scipy.optimize.brentq(
        lambda mu: np.sum((rotated / (values + mu)) ** 2) - 1, -values[0] + 1e-9, 1e4, xtol=1e-15
    )
    exact = vectors @ (rotated / (values + mu))
    ends = []
    for base in case("sphere").points:
        problem = embedded_problem(SPHERE, b, rg.LinearModel(), a, base_point=base)
        assert problem.model.rowwise
        ends.append(problem.model.chart.point(rg.solve(problem, rg.GaussNewtonFlow(), t1=40.0, **TIGHT).params[-1]))
    assert relative_error(ends[0], exact) < 1e-8
    assert relative_error(ends[1], exact) < 1e-8
    unconstrained = np.linalg.lstsq(a, b)[0]
    assert relative_error(unconstrained / np.linalg.norm(unconstrained), exact) > 1e-3


def test_procrustes_ends_at_the_polar_factor():
    """`min |A Q - B|` over rotations: the polar factor of `A^T B`, from charts around two rotations of its component."""
    space = load("geomstats.geometry.stiefel").Stiefel(3, 3)
    a, turn = (
        rng(11).standard_normal((6, 3)),
        scipy.linalg.expm(np.array([[0, 1.0, -0.4], [-1.0, 0, 0.8], [0.4, -0.8, 0]])),
    )
    b = a @ turn + 0.1 * rng(12).standard_normal((6, 3))
    exact = polar(a.T @ b)
    start = scipy.linalg.expm(np.array([[0, 0.1, 0.2], [-0.1, 0, 0.3], [-0.2, -0.3, 0]]))
    paths = []
    for base in (np.eye(3), start):
        problem = embedded_problem(space, b, rg.LinearModel(), a, base_point=base)
        problem = problem.with_params(problem.model.chart.coordinates(jnp.asarray(start)))
        paths.append(
            jax.vmap(problem.model.chart.point)(rg.solve(problem, rg.GaussNewtonFlow(), t1=40.0, **TIGHT).params)
        )
    assert relative_error(paths[0][-1], exact) < 1e-8
    assert relative_error(paths[0], paths[1]) < 1e-8
    assert np.all(space.belongs(np.array(paths[0]), atol=1e-8))


def test_principal_subspace_by_a_flow_on_frames():
    """`min |X - X Q Q^T|` over St(4, 2): the leading right singular vectors; outputs do not see the rotation in it."""
    x = rng(13).standard_normal((9, 4)) * np.array([3.0, 2.0, 0.6, 0.2])
    leading = np.linalg.svd(x)[2][:2].T
    paths = []

    def reconstruction(frame, x):
        return x @ frame @ frame.T

    for base in (np.eye(4, 2), case("stiefel").points[1]):
        problem = embedded_problem(STIEFEL, x, reconstruction, x, base_point=base)
        problem = problem.with_params(problem.model.chart.coordinates(jnp.asarray(case("stiefel").points[0])))
        trajectory = rg.solve(problem, rg.GaussNewtonFlow(), t1=60.0, **TIGHT)
        frame = problem.model.chart.point(trajectory.params[-1])
        assert trajectory.stats["rank"] == 4
        assert relative_error(frame @ frame.T, leading @ leading.T) < 1e-8
        paths.append(trajectory.outputs)
    assert relative_error(*paths) < 1e-7


def test_a_function_of_the_point_needs_no_inputs():
    problem = embedded_problem(HYPERBOLOID, [0.4, 1.1], lambda point, x: point[1:3] ** 3)
    assert problem.x.shape == (2, 1)
    assert relative_error(problem.jac(problem.w0 + 0.5), [[0.75, 0, 0], [0, 0.75, 0]]) < 1e-15
    assert isinstance(problem.model, Constrained)


# --- tangent spaces --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_tangent_projection_is_that_of_geomstats(name):
    setting = case(name)
    problem = embedded_problem(setting.space, setting.target, base_point=setting.points[0])
    manifold = rg.OutputManifold(problem, ambient=problem.model.ambient)
    assert manifold.dim == setting.space.dim
    params = problem.model.coordinates(jnp.asarray(setting.points[1]))
    for vector in rng(14).standard_normal((5, *setting.target.shape)):
        theirs = setting.space.to_tangent(vector, setting.points[1])
        ours = np.asarray(manifold.to_tangent(params, vector.reshape(-1))).reshape(vector.shape)
        assert relative_error(ours, theirs) < 1e-12
        assert setting.space.is_tangent(ours, setting.points[1], atol=1e-10)
    if name == "hyperboloid":
        euclidean = np.asarray(rg.OutputManifold(problem).to_tangent(params, vector))
        assert relative_error(euclidean, theirs) > 1e-2


def test_hyperbolic_gradient_is_the_minkowski_one():
    """`grad_M g = P Q^-1 dg` by geomstats' to_tangent, while the metric of the flow is the Euclidean one."""
    setting = case("hyperboloid")
    problem = embedded_problem(setting.space, setting.target, base_point=setting.points[0])
    manifold = rg.OutputManifold(problem, ambient=problem.model.ambient)
    raised = np.array([-1.0, 1, 1, 1]) * (setting.points[0] - setting.target)
    assert (
        relative_error(manifold.riemannian_grad(problem.w0), HYPERBOLOID.to_tangent(raised, setting.points[0])) < 1e-12
    )


# --- bad input -------------------------------------------------------------------------------------------------------

BAD = [
    (lambda: from_geomstats(load("geomstats.geometry.poincare_ball").PoincareBall(2)), "Hyperboloid, Stiefel, SPDMatrices, not for PoincareBall"),
    (lambda: from_geomstats(np.eye(3)), "not for ndarray"),
    (lambda: from_geomstats(SPHERE, [1.0, 0, 0]), r"of shape \(4,\), got shape \(3,\)"),
    (lambda: from_geomstats(SPHERE, [1.0, 0, 0, np.nan]), "finite"),
    (lambda: from_geomstats(SPHERE, [1.0, 0.5, 0, 0]), "Hypersphere: X.T X differs from the identity by 0.25"),
    (lambda: from_geomstats(STIEFEL, np.ones((4, 2))), "Stiefel: X.T X differs from the identity by 4"),
    (lambda: from_geomstats(HYPERBOLOID, [-1.0, 0, 0, 0]), "Hyperboloid: x_0 differs .* by 2"),
    (lambda: from_geomstats(SPD, np.diag([1.0, -0.5, 2])), "SPDMatrices: its smallest eigenvalue is -0.5"),
    (lambda: from_geomstats(SPD, np.eye(3) + np.eye(3, k=1)), "differs from its transpose by 1"),
    (lambda: embedded_problem(STIEFEL, np.ones(8)), r"shape of a point, \(4, 2\), got \(8,\)"),
    (lambda: embedded_problem(SPHERE, [1.0], lambda point, x: point), r"targets' shape \(1,\), got \(4,\)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_answered_in_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
