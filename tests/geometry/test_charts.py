"""Flows on geomstats' manifolds: they stay there and end at the nearest point or a closed form."""

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
from tests.geometry.examples import rng
from tests.helpers import finite_difference, relative_error

TIGHT = {"rtol": 1e-10, "atol": 1e-12}
SPHERE = load("geomstats.geometry.hypersphere").Hypersphere(3)
HYPERBOLOID = load("geomstats.geometry.hyperboloid").Hyperboloid(3)
STIEFEL = load("geomstats.geometry.stiefel").Stiefel(4, 2)
SPD = load("geomstats.geometry.spd_matrices").SPDMatrices(3)


def polar(matrix):
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    return left @ right


def nearest_on_hyperboloid(target):
    """`(t_0 / (1 - a), t / (1 + a))`, because the normal is `a (-x_0, x)`."""

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


@cache
def flow(name: str) -> rg.Trajectory:
    setting = case(name)
    problem = embedded_problem(setting.space, setting.target, base_point=setting.points[0])
    return rg.solve(problem, rg.GaussNewtonFlow(), t1=40.0, **TIGHT)


# --- the manifold as target -----------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_flow_stays_on_the_manifold_and_ends_at_the_nearest_point(name):
    setting, trajectory = case(name), flow(name)
    points = np.array(trajectory.outputs).reshape(-1, *setting.target.shape)
    assert trajectory.succeeded and np.all(setting.space.belongs(points, atol=1e-8))
    end = np.asarray(trajectory.outputs[-1]).reshape(setting.target.shape)
    assert relative_error(end, setting.nearest) < 1e-8
    assert relative_error(trajectory.outputs[0], setting.points[0].reshape(-1)) < 1e-14
    assert relative_error(setting.points[0], setting.nearest) > 0.1  # there was a way to go


@pytest.mark.parametrize("name", ["stiefel", "spd"])
def test_the_path_does_not_depend_on_the_base_point(name):
    """Statement C3: another chart and starting parameter give the same curve on the manifold."""
    setting = case(name)
    other = embedded_problem(setting.space, setting.target, base_point=setting.points[1])
    moved = other.with_params(other.model.coordinates(jnp.asarray(setting.points[0])))
    assert float(jnp.linalg.norm(moved.w0)) > 0.1
    again = rg.solve(moved, rg.GaussNewtonFlow(), t1=40.0, **TIGHT)
    assert relative_error(again.outputs, flow(name).outputs) < 1e-8


# --- charts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_chart_starts_at_its_base_point_and_inverts(name):
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


def test_default_base_points_are_axes_and_identities():
    assert from_geomstats(SPHERE).base.tolist() == from_geomstats(HYPERBOLOID).base.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert np.array_equal(from_geomstats(STIEFEL).base, np.eye(4, 2))
    assert np.array_equal(from_geomstats(SPD).base, np.eye(3))
    assert from_geomstats(HYPERBOLOID).ambient.tolist() == [-1.0, 1.0, 1.0, 1.0] and from_geomstats(SPD).ambient is None


def test_hyperboloid_and_cholesky_charts_in_closed_form():
    v = np.array([0.75, -1.0])
    assert HyperboloidChart([1.0, 0, 0]).point(v) == pytest.approx([(1 + 0.5625 + 1) ** 0.5, 0.75, -1.0])
    v = [np.log(2.0), np.log(3.0), 0.5]
    point = CholeskyChart(np.diag([4.0, 9.0])).point(jnp.array(v))
    assert point == pytest.approx(np.array([[16.0, 6.0], [6.0, 81 + 2.25]]))
    assert CholeskyChart(np.diag([4.0, 9.0])).coordinates(point) == pytest.approx(v)


def test_charts_are_smooth_models():
    for chart in (CayleyChart(np.eye(3, 2)), HyperboloidChart([1.0, 0, 0]), CholeskyChart(np.eye(2))):
        assert chart.smooth is True and chart.rowwise is False
    assert Constrained(chart, rg.LinearModel()).rowwise is True
    assert Constrained(chart, rg.MLP((2, 3, 1), activation="relu")).smooth is False


# --- the manifold as constraint -------------------------------------------------------------------


def test_least_squares_on_the_sphere_solves_its_secular_equation():
    """`(A^T A + mu I) x = A^T b` with `mu > -lambda_min` such that `|x| = 1`."""
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
    """`min |A Q - B|` over rotations is attained at the polar factor of `A^T B`."""
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
    """`min |X - X Q Q^T|` over St(4, 2) gives the span of the leading right singular vectors."""
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


# --- tangent spaces -------------------------------------------------------------------------------


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


# --- bad input ------------------------------------------------------------------------------------

BAD = [
    (lambda: from_geomstats(load("geomstats.geometry.poincare_ball").PoincareBall(2)), "not for PoincareBall"),
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
def test_bad_input_is_quoted(call, message):
    with pytest.raises(ValueError, match=message):
        call()
