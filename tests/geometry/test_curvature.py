"""OutputManifold against closed forms: geomstats where it has them, formulas written out in NumPy where it has not or is wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import riemgn as rg
from riemgn.geometry import curvature
from riemgn.geometry.charts import embedded_problem
from riemgn.geometry.geodesic import integrate
from riemgn.geometry.interop.geomstats_import import load
from tests.helpers import relative_error, tanh_net

MINKOWSKI = np.array([-1.0, 1.0, 1.0])
TORUS = (2.0, 0.7)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@dataclass(frozen=True)
class Closed:
    """A manifold and its closed forms, in ambient arrays: the base point comes last, as in geomstats."""

    manifold: rg.OutputManifold
    points: list[np.ndarray]  # parameters
    to_tangent: Callable
    exp: Callable
    dist: Callable
    curvature: Callable  # sectional, (u, v, point)


def from_space(space, manifold, points, curvature):
    shape = space.shape

    def shaped(function):
        return lambda *arrays: np.reshape(function(*(np.reshape(a, shape) for a in arrays)), -1)

    metric = space.metric
    dist = shaped(metric.dist)
    return Closed(manifold, points, shaped(space.to_tangent), shaped(metric.exp), lambda a, b: dist(a, b)[0], curvature)


def constant(value):
    return lambda u, v, point: value


def stiefel(n: int, p: int) -> Closed:
    """The Euclidean metric, which geomstats has not: tangent projection and geodesics of Edelman, Arias and Smith (1998), section 2.2."""
    space = load("geomstats.geometry.stiefel").Stiefel(n, p)
    manifold = rg.OutputManifold(embedded_problem(space, np.eye(n, p)))

    def exp(u, point):
        x, h = point.reshape(n, p), u.reshape(n, p)
        a, s = x.T @ h, h.T @ h
        block = scipy.linalg.expm(np.block([[a, -s], [np.eye(p), a]]))
        return (np.hstack([x, h]) @ block[:, :p] @ scipy.linalg.expm(-a)).reshape(-1)

    def bend(u, v, point):
        x, u, v = (a.reshape(n, p) for a in (point, u, v))
        return -x @ (u.T @ v + v.T @ u) / 2

    def sectional(u, v, point):
        area = (u @ u) * (v @ v) - (u @ v) ** 2
        return (np.vdot(bend(u, u, point), bend(v, v, point)) - np.vdot(bend(u, v, point), bend(u, v, point))) / area

    def to_tangent(v, point):
        return space.to_tangent(v.reshape(n, p), point.reshape(n, p)).reshape(-1)

    points = [0.4 * row for row in rng(3).standard_normal((2, manifold.p))]
    return Closed(manifold, points, to_tangent, exp, None, sectional)


def cone(point, rows=4, columns=3):
    """`X = r a b^T` as (r, a, b)."""
    left, values, right = np.linalg.svd(point.reshape(rows, columns))
    return values[0], left[:, 0], right[0]


def cone_split(u, point):
    """The radial part and the two link parts `r a'`, `r b'` of a tangent vector of the rank-one matrices."""
    (_, a, b), u = cone(point), u.reshape(4, 3)
    return a @ u @ b, u @ b - (a @ u @ b) * a, u.T @ a - (a @ u @ b) * b


def rank_one() -> Closed:
    """The cone `dr^2 + r^2 (|da|^2 + |db|^2)` over S^3 x S^2 / +-1: straight lines in the plane of (r, angle), great circles in the link."""
    manifold = rg.OutputManifold(rg.task.rank_one(4, 3, key=jax.random.key(0)))

    def to_tangent(v, point):
        _, a, b = cone(point)
        v = v.reshape(4, 3)
        return (v - (v - np.outer(a, a @ v)) @ (np.eye(3) - np.outer(b, b))).reshape(-1)

    def exp(u, point):
        (r, a, b), (radial, da, db) = cone(point), cone_split(u, point)
        omega = np.hypot(np.linalg.norm(da), np.linalg.norm(db)) / r
        length, angle = np.hypot(r + radial, r * omega), np.arctan2(r * omega, r + radial)

        def turned(start, move):
            size = np.linalg.norm(move)
            return np.cos(angle * size / r / omega) * start + np.sin(angle * size / r / omega) * move / size

        return length * np.outer(turned(a, da), turned(b, db)).reshape(-1)

    def dist(one, two):
        (r, a, b), (s, c, d) = cone(one), cone(two)
        sign = np.sign(a @ c)
        angle = np.hypot(np.arccos(sign * (a @ c)), np.arccos(np.clip(sign * (b @ d), -1, 1)))
        return np.sqrt(r**2 + s**2 - 2 * r * s * np.cos(angle))

    def sectional(u, v, point):
        (_, ua, ub), (_, va, vb) = cone_split(u, point), cone_split(v, point)

        def area(x, y):
            return (x @ x) * (y @ y) - (x @ y) ** 2

        link = area(np.append(ua, ub), np.append(va, vb))
        return (area(ua, va) + area(ub, vb) - link) / cone(point)[0] ** 2 / area(u, v)

    start = np.asarray(manifold.problem.w0)
    return Closed(manifold, [start, start + 0.3 * rng(4).standard_normal(7)], to_tangent, exp, dist, sectional)


@cache
def closed(name: str) -> Closed:
    if name == "sphere":
        space = load("geomstats.geometry.hypersphere").Hypersphere(2)
        points = [np.array([1.2, 0.7]), np.array([1.9, -2.0])]
        return from_space(space, rg.OutputManifold(rg.task.sphere()), points, constant(1.0))
    if name == "hypersphere":
        space = load("geomstats.geometry.hypersphere").Hypersphere(4)
        points = list(rng(1).standard_normal((2, 4)))
        return from_space(space, rg.OutputManifold(embedded_problem(space, np.ones(5))), points, constant(1.0))
    if name == "hyperboloid":
        space = load("geomstats.geometry.hyperboloid").Hyperboloid(2)
        problem = embedded_problem(space, [0.5, 1.0, -0.5])
        return from_space(
            space,
            rg.OutputManifold(problem, ambient=problem.model.ambient),
            list(rng(2).standard_normal((2, 2))),
            constant(-1.0),
        )
    if name == "spd":
        matrices = load("geomstats.geometry.spd_matrices")
        space = matrices.SPDMatrices(2, equip=False)
        space.equip_with_metric(matrices.SPDEuclideanMetric)
        points = [np.array([0.3, -0.2, 0.5]), np.array([0.1, 0.4, -0.6])]
        return from_space(space, rg.OutputManifold(embedded_problem(space, np.eye(2))), points, constant(0.0))
    return stiefel(4, 2) if name == "stiefel" else rank_one()


WITH_LOG = ["sphere", "hyperboloid", "rank one"]  # each costs seconds of compilation
CLOSED = ["sphere", "hypersphere", "hyperboloid", "spd", "stiefel", "rank one"]


def tangents(manifold, w, count: int, seed: int = 0, length: float = 0.5):
    return [length * np.asarray(manifold.random_tangent(w, key=jax.random.key(seed + i))) for i in range(count)]


@eqx.filter_jit
def carried(immersion, w, u, v, ts):
    """A geodesic at `ts`: parameters, velocities, and `v` transported, the last two in coordinates."""
    curve = integrate(immersion, immersion.frame(w), u, v, ts, jnp.asarray(1e-11))
    return curve.params, curve.velocity, curve.carried


# --- closed forms ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLOSED)
def test_tangent_projection(name):
    case = closed(name)
    form = MINKOWSKI if name == "hyperboloid" else np.ones(case.manifold.ambient_dim)
    for w in case.points:
        point = np.asarray(case.manifold.embed(w))
        projector = np.asarray(case.manifold.projector(w))
        assert np.abs(projector @ projector - projector).max() < 1e-13
        assert (
            np.abs(form[:, None] * projector - (form[:, None] * projector).T).max() < 1e-13
        )  # orthogonal, not oblique
        assert np.linalg.matrix_rank(projector) == case.manifold.dim
        for vector in rng(5).standard_normal((3, point.size)):
            tangent = case.manifold.to_tangent(w, vector)
            assert relative_error(tangent, case.to_tangent(vector, point)) < 1e-12
            assert relative_error(projector @ vector, tangent) < 1e-12
            assert case.manifold.is_tangent(w, tangent) and not case.manifold.is_tangent(
                w, tangent + 1e-3 * (vector - tangent)
            )
            lifted = case.manifold.tangent_coordinates(w, vector)
            assert relative_error(case.manifold.push_forward(w, lifted), tangent) < 1e-12


@pytest.mark.parametrize("name", CLOSED)
def test_exponential_map_distance_and_logarithm(name):
    """`exp` and `dist` are the closed forms, `log` undoes `exp`, distance is symmetric and the length of `log`."""
    case = closed(name)
    manifold = case.manifold
    for w in case.points:
        point = np.asarray(manifold.embed(w))
        (u,) = tangents(manifold, w, 1)
        reached = manifold.exp(w, u)
        assert relative_error(manifold.embed(reached), case.exp(u, point)) < 1e-10
        length = np.sqrt(float(manifold.inner(u, u)))
        expected = length if case.dist is None else case.dist(point, np.asarray(manifold.embed(reached)))
        assert abs(length - expected) < 1e-12
        assert (
            float(np.linalg.norm(point + u - case.exp(u, point))) > 1e-3 or name == "spd"
        )  # a straight line only where it is flat
        if name in WITH_LOG:
            assert relative_error(manifold.log(w, reached), u) < 1e-9
            assert abs(float(manifold.dist(w, reached)) - expected) < 1e-9
            assert abs(float(manifold.dist(reached, w)) - expected) < 1e-9


@pytest.mark.parametrize("name", CLOSED)
def test_sectional_curvature(name):
    case = closed(name)
    for w in case.points:
        point = np.asarray(case.manifold.embed(w))
        for seed in (0, 1):
            u, v = tangents(case.manifold, w, 2, seed=10 * seed)
            inner = np.array([[case.manifold.inner(a, b) for a in (u, v)] for b in (u, v)])
            if np.linalg.det(inner) < 1e-6:
                continue
            sectional = float(case.manifold.sectional_curvature(w, u, v))
            assert abs(sectional - case.curvature(u, v, point)) < 1e-10
            turned = case.manifold.curvature(w, u, v, v)
            assert abs(float(case.manifold.inner(turned, u)) / np.linalg.det(inner) - sectional) < 1e-8
            against = np.linalg.norm(case.manifold.curvature(w, v, u, v) + turned)
            assert against < 1e-10 * (1.0 if name == "spd" else np.linalg.norm(turned))  # which is flat


def test_rank_one_planes_have_the_curvature_of_the_cone():
    """Flat where the plane lies in one factor or is radial, `-1 / r^2` where it mixes the factors."""
    case = closed("rank one")
    w = case.points[1]
    r, a, b = cone(np.asarray(case.manifold.embed(w)))
    left, right = scipy.linalg.null_space(a[None]).T, scipy.linalg.null_space(b[None]).T
    planes = {
        "one factor": (np.outer(left[0], b), np.outer(left[1], b), 0.0),
        "radial": (np.outer(a, b), np.outer(left[0], b), 0.0),
        "mixed": (np.outer(left[0], b), np.outer(a, right[1]), -1 / r**2),
    }
    for u, v, expected in planes.values():
        assert abs(float(case.manifold.sectional_curvature(w, u.reshape(-1), v.reshape(-1))) - expected) < 1e-12


def test_spd_is_flat_and_has_an_end():
    """II = 0; a geodesic out of the cone is refused. geomstats' exp_domain ends at -inf where no time is too late: eigenvalues are the witness."""
    case = closed("spd")
    u, v = tangents(case.manifold, case.points[0], 2)
    assert float(jnp.linalg.norm(case.manifold.second_fundamental_form(case.points[0], u, v))) < 1e-14
    outward = np.linalg.eigvalsh(np.reshape(case.manifold.embed(case.points[0]), (2, 2)))[0] * 2 * np.eye(2).reshape(-1)
    with pytest.raises(rg.GeometryError):
        case.manifold.exp(case.points[0], -outward)
    assert (
        relative_error(
            case.manifold.embed(case.manifold.exp(case.points[0], outward)),
            case.manifold.embed(case.points[0]) + outward,
        )
        < 1e-9
    )
    metric = load("geomstats.geometry.spd_matrices").SPDEuclideanMetric(
        load("geomstats.geometry.spd_matrices").SPDMatrices(2)
    )
    assert metric.exp_domain(np.eye(2), np.eye(2))[1] == -np.inf
    assert all(np.linalg.eigvalsh(np.eye(2) + t * np.eye(2))[0] > 0 for t in (1.0, 1e3, 1e9))


def test_parallel_transport_on_the_sphere_is_that_of_geomstats():
    case = closed("sphere")
    space = load("geomstats.geometry.hypersphere").Hypersphere(2)
    for w in case.points:
        u, v, direction = tangents(case.manifold, w, 3, seed=20)
        moved = [np.asarray(case.manifold.parallel_transport(w, a, direction)) for a in (u, v)]
        point = np.asarray(case.manifold.embed(w))
        assert relative_error(moved[0], space.metric.parallel_transport(u, point, direction=direction)) < 1e-10
        assert abs(moved[0] @ moved[1] - u @ v) < 1e-12
        assert relative_error(moved[0], u) > 1e-3


# --- sphere and circle of radius R, torus ------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [0.5, 3.0])
def test_sphere_metric_christoffels_mean_curvature(radius):
    manifold = rg.OutputManifold(rg.task.sphere(radius=radius))
    polar = 1.1
    w = np.array([polar, 0.4])
    symbols = np.zeros((2, 2, 2))
    symbols[0, 1, 1], symbols[1, 0, 1] = -np.sin(polar) * np.cos(polar), 1 / np.tan(polar)
    symbols[1, 1, 0] = symbols[1, 0, 1]
    point = np.asarray(manifold.embed(w))
    assert np.abs(manifold.metric_matrix(w) - radius**2 * np.diag([1, np.sin(polar) ** 2])).max() < 1e-14 * (
        1 + radius**2
    )
    assert np.abs(manifold.christoffels(w) - symbols).max() < 1e-14
    assert relative_error(manifold.mean_curvature(w), -point / radius**2) < 1e-13
    u, v = tangents(manifold, w, 2)
    assert relative_error(manifold.second_fundamental_form(w, u, v), -(u @ v) / radius**2 * point) < 1e-12
    assert abs(float(manifold.sectional_curvature(w, u, v)) * radius**2 - 1) < 1e-12
    circle = rg.OutputManifold(rg.task.circle(radius=radius))
    assert relative_error(circle.mean_curvature([0.3]), -circle.embed([0.3]) / radius**2) < 1e-13


def test_torus_closed_forms():
    """`g = diag((R + r cos v)^2, r^2)`, `K = cos v / (r (R + r cos v))`, mean curvature, and Clairaut's law along a geodesic."""
    (major, minor), manifold = TORUS, rg.OutputManifold(rg.task.torus(*TORUS))
    for w in ((1.0, 0.5), (0.2, 2.6), (-2.0, -1.2)):
        ring = major + minor * np.cos(w[1])
        symbols = np.zeros((2, 2, 2))
        symbols[0, 0, 1] = symbols[0, 1, 0] = -minor * np.sin(w[1]) / ring
        symbols[1, 0, 0] = ring * np.sin(w[1]) / minor
        w = np.array(w)
        assert np.abs(manifold.metric_matrix(w) - np.diag([ring**2, minor**2])).max() < 1e-13
        assert np.abs(manifold.christoffels(w) - symbols).max() < 1e-13
        u, v = tangents(manifold, w, 2, seed=int(10 * w[0] ** 2))
        assert abs(float(manifold.sectional_curvature(w, u, v)) - np.cos(w[1]) / (minor * ring)) < 1e-12
        outward = np.array([np.cos(w[1]) * np.cos(w[0]), np.cos(w[1]) * np.sin(w[0]), np.sin(w[1])])
        assert np.abs(manifold.mean_curvature(w) + (1 / minor + np.cos(w[1]) / ring) / 2 * outward).max() < 1e-13
        path, velocity, _ = carried(manifold.immersion, jnp.asarray(w), 3 * u, v, jnp.linspace(0, 1, 5))
        rings = major + minor * np.cos(path[:, 1])
        clairaut = rings**2 * velocity[:, 0]
        speed = np.sqrt((rings * velocity[:, 0]) ** 2 + (minor * velocity[:, 1]) ** 2)
        assert np.abs(clairaut - clairaut[0]).max() < 1e-9  # between steps: the integrator's interpolation
        assert np.abs(speed - 1.5).max() < 1e-9
        assert np.ptp(rings) > 0.05


# --- identities that hold on every manifold ----------------------------------------------------------------------------


@cache
def immersed(name: str) -> tuple[rg.OutputManifold, np.ndarray]:
    if name == "torus":
        return rg.OutputManifold(rg.task.torus(*TORUS)), np.array([1.0, 0.5])
    if name == "hyperboloid":
        return closed("hyperboloid").manifold, closed("hyperboloid").points[0]
    manifold = rg.OutputManifold(tanh_net(20, (2, 2, 1), seed=2), damping=1e-2 if name == "damped net" else 0.0)
    return manifold, np.asarray(manifold.problem.w0)


STRIDE = {"net": 0.1, "damped net": 0.1}  # tangent vectors short beside the radius of curvature
IMMERSED = ["torus", "hyperboloid", "net", "damped net"]


@eqx.filter_jit
def tensors(immersion, w):
    """Tensors of the chart at `w` and their derivatives (the last index) by forward mode through the whole computation."""
    parts = {
        "metric": lambda w: curvature.metric_matrix(immersion, immersion.frame(w)),
        "gamma": lambda w: curvature.christoffels(immersion, immersion.frame(w)),
        "bend": lambda w: curvature.second_fundamental_tensor(immersion, immersion.frame(w)),
    }
    out = {name: part(w) for name, part in parts.items()} | {
        f"d {name}": jax.jacfwd(part)(w) for name, part in parts.items()
    }
    out |= {"jac": immersion.jac(w), "riemann": curvature.riemann_tensor(immersion, immersion.frame(w))}
    return out


@pytest.mark.parametrize("name", IMMERSED)
def test_tensor_identities(name):
    """Metric compatibility, Gauss against derivatives of the Christoffel symbols, normality of II, Codazzi."""
    manifold, w = immersed(name)
    form = MINKOWSKI if name == "hyperboloid" else np.ones(manifold.ambient_dim)
    t = {key: np.asarray(value) for key, value in tensors(manifold.immersion, jnp.asarray(w)).items()}
    jac, metric, gamma, bend = t["jac"], t["metric"], t["gamma"], t["bend"]
    assert relative_error(metric, jac.T @ (form[:, None] * jac)) < 1e-13
    # d_k g_ij = Gamma^l_ki g_lj + Gamma^l_kj g_li
    lowered = np.einsum("lki,lj->kij", gamma, metric)
    assert relative_error(t["d metric"], np.einsum("kij->ijk", lowered) + np.einsum("kji->ijk", lowered)) < 1e-11
    assert relative_error(gamma, np.swapaxes(gamma, 1, 2)) < 1e-14
    # R_ijk^l = d_i Gamma^l_jk - d_j Gamma^l_ik + Gamma^l_im Gamma^m_jk - Gamma^l_jm Gamma^m_ik
    derived = np.einsum("ljki->ijkl", t["d gamma"]) + np.einsum("lim,mjk->ijkl", gamma, gamma)
    derived = derived - np.swapaxes(derived, 0, 1)
    assert relative_error(t["riemann"], derived) < 1e-9
    assert relative_error(-t["riemann"], derived) > 1  # the sign counts
    normal = np.einsum("ma,mij->aij", jac, form[:, None, None] * bend)
    assert np.abs(normal).max() < 1e-12 * np.linalg.norm(jac) * np.linalg.norm(bend)
    assert relative_error(bend, np.swapaxes(bend, 1, 2)) < 1e-14
    # Codazzi: the normal derivative of II is symmetric in all three tangent slots
    projector = np.asarray(manifold.projector(w))
    change = np.einsum("mn,nijk->mijk", np.eye(len(projector)) - projector, t["d bend"])
    change -= np.einsum("mlj,lki->mijk", bend, gamma) + np.einsum("mil,lkj->mijk", bend, gamma)
    assert np.linalg.norm(np.swapaxes(change, 2, 3) - change) < 1e-10 * (1 + np.linalg.norm(change))
    assert np.linalg.norm(change) > 1e-3 or name == "hyperboloid"  # whose II is parallel


@pytest.mark.parametrize("name", ["hyperboloid", "damped net", "rank one"])
def test_second_fundamental_form_shape_operator_and_hessian_agree(name):
    manifold, w = (closed(name).manifold, closed(name).points[1]) if name == "rank one" else immersed(name)
    u, v = tangents(manifold, w, 2)
    bend = np.asarray(manifold.second_fundamental_form(w, u, v))
    assert relative_error(bend, manifold.second_fundamental_form(w, v, u)) < 1e-12
    assert float(jnp.linalg.norm(manifold.to_tangent(w, bend))) < 1e-12 * (1 + np.linalg.norm(bend))
    normal = np.asarray(manifold.normal_part(w, rng(6).standard_normal(manifold.ambient_dim)))
    along_u, along_v = manifold.shape_operator(w, normal, u), manifold.shape_operator(w, normal, v)
    expected = float(manifold.inner(normal, bend))
    assert abs(expected) > 1e-4
    assert abs(float(manifold.inner(along_u, v)) - expected) < 1e-12 * (1 + abs(expected))
    assert abs(float(manifold.inner(u, along_v)) - expected) < 1e-12 * (1 + abs(expected))
    assert bool(manifold.is_tangent(w, along_u, atol=1e-11))
    hessian = float(manifold.riemannian_hess(w, u, v))
    assert abs(float(manifold.inner(manifold.riemannian_hessp(w, u), v)) - hessian) < 1e-11 * (1 + abs(hessian))
    assert abs(float(manifold.inner(u, manifold.riemannian_hessp(w, v))) - hessian) < 1e-11 * (1 + abs(hessian))
    gradient = manifold.riemannian_grad(w)
    velocity = manifold.tangent_coordinates(w, u)
    assert (
        abs(float(manifold.inner(gradient, u)) - float(jax.jvp(manifold.objective, (jnp.asarray(w),), (velocity,))[1]))
        < 1e-11
    )


@pytest.mark.parametrize("name", ["torus", "hyperboloid", "net", "rank one"])
def test_hessian_is_the_second_difference_along_geodesics(name):
    """`|g(exp(t u)) - g - t dg(u) - t^2 / 2 Hess[u, u]| = O(t^3)`; without the curvature term only O(t^2)."""
    manifold, w = (closed(name).manifold, closed(name).points[1]) if name == "rank one" else immersed(name)
    (u,) = tangents(manifold, w, 1, length=STRIDE.get(name, 0.5))
    ts = 0.2 * 0.5 ** np.arange(5.0)
    path = carried(manifold.immersion, jnp.asarray(w), u, u, ts[::-1])[0][::-1]
    values = np.array([float(manifold.objective(point)) for point in path])
    first, hessian = float(manifold.inner(manifold.riemannian_grad(w), u)), float(manifold.riemannian_hess(w, u, u))
    error = np.abs(values - float(manifold.objective(w)) - ts * first - ts**2 / 2 * hessian)
    slopes = np.diff(np.log(error)) / np.diff(np.log(ts))
    assert abs(slopes[-1] - 3) < 0.1, slopes
    flat = float(u[: manifold.problem.n] @ u[: manifold.problem.n])  # Hess g[u, u] alone
    error = np.abs(values - float(manifold.objective(w)) - ts * first - ts**2 / 2 * flat)
    assert abs(np.log2(error[-2] / error[-1]) - 2) < 0.2


@pytest.mark.parametrize("name", IMMERSED)
def test_geodesics_have_constant_speed_and_transport_keeps_inner_products(name):
    manifold, w = immersed(name)
    u, direction = tangents(manifold, w, 2, length=STRIDE.get(name, 0.5))
    path, velocity, moved = carried(manifold.immersion, jnp.asarray(w), direction, u, jnp.linspace(0, 1, 5))
    for here, a, b in zip(path, velocity, moved, strict=True):
        pushed = [manifold.push_forward(here, a), manifold.push_forward(here, b)]
        drift = [
            manifold.inner(pushed[i], pushed[j]) - manifold.inner((direction, u)[i], (direction, u)[j])
            for i, j in ((0, 0), (0, 1), (1, 1))
        ]
        assert np.abs(np.array(drift)).max() < 1e-10
    assert relative_error(pushed[1], u) > 1e-4
