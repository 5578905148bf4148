"""Projectors, metric, Christoffel symbols and curvature, against closed forms and identities."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import riemgn as rg
from riemgn.geometry import curvature
from tests.geometry.examples import (
    carry,
    CLOSED,
    closed,
    cone,
    IMMERSED,
    immersed,
    LENGTHS,
    MINKOWSKI,
    rng,
    tangents,
    TORUS,
)  # fmt: skip
from tests.helpers import relative_error, tanh_net

# --- closed forms ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hyperboloid", "rank one"])
def test_projector_is_idempotent_and_orthogonal(name):
    manifold, w = closed(name).manifold, closed(name).points[1]
    form = MINKOWSKI if name == "hyperboloid" else np.ones(manifold.ambient_dim)
    projector = np.asarray(manifold.projector(w))
    assert np.abs(projector @ projector - projector).max() < 1e-13
    assert np.abs(form[:, None] * projector - (form[:, None] * projector).T).max() < 1e-13
    assert np.linalg.matrix_rank(projector) == manifold.dim
    vector = rng(5).standard_normal(manifold.ambient_dim)
    tangent = manifold.to_tangent(w, vector)
    assert relative_error(projector @ vector, tangent) < 1e-12
    assert relative_error(manifold.push_forward(w, manifold.tangent_coordinates(w, vector)), tangent) < 1e-12
    if name == "rank one":
        _, a, b = cone(np.asarray(manifold.embed(w)))
        x = vector.reshape(4, 3)
        exact = x - (x - np.outer(a, a @ x)) @ (np.eye(3) - np.outer(b, b))
        assert relative_error(tangent, exact.reshape(-1)) < 1e-12


@pytest.mark.parametrize("name", CLOSED)
def test_sectional_curvature_is_the_closed_form(name):
    case = closed(name)
    manifold, w = case.manifold, case.points[1]
    point = np.asarray(manifold.embed(w))
    for seed in (0, 10):
        u, v = tangents(manifold, w, 2, seed=seed)
        gram = np.linalg.det([[manifold.inner(a, b) for a in (u, v)] for b in (u, v)])
        sectional = float(manifold.sectional_curvature(w, u, v))
        assert abs(sectional - case.curvature(u, v, point)) < 1e-10
        turned = manifold.curvature(w, u, v, v)
        assert abs(float(manifold.inner(turned, u)) / gram - sectional) < 1e-8
        reversed_sum = np.linalg.norm(manifold.curvature(w, v, u, v) + turned)
        assert reversed_sum < 1e-10 * max(float(np.linalg.norm(turned)), 1e-4)


def test_rank_one_planes_have_the_curvature_of_the_cone():
    """Flat if the plane lies in one factor or is radial, `-1 / r^2` if it mixes the factors."""
    case = closed("rank one")
    w = case.points[1]
    r, a, b = cone(np.asarray(case.manifold.embed(w)))
    left, right = scipy.linalg.null_space(a[None]).T, scipy.linalg.null_space(b[None]).T
    planes = [
        (np.outer(left[0], b), np.outer(left[1], b), 0.0),
        (np.outer(a, b), np.outer(left[0], b), 0.0),
        (np.outer(left[0], b), np.outer(a, right[1]), -1 / r**2),
    ]
    for u, v, expected in planes:
        assert abs(float(case.manifold.sectional_curvature(w, u.reshape(-1), v.reshape(-1))) - expected) < 1e-12


def test_sphere_metric_christoffels_and_mean_curvature():
    radius, polar = 3.0, 1.1
    manifold, w = rg.OutputManifold(rg.task.sphere(radius=radius)), np.array([polar, 0.4])
    symbols = np.zeros((2, 2, 2))
    symbols[0, 1, 1], symbols[1, 0, 1] = -np.sin(polar) * np.cos(polar), 1 / np.tan(polar)
    symbols[1, 1, 0] = symbols[1, 0, 1]
    point = np.asarray(manifold.embed(w))
    assert relative_error(manifold.metric_matrix(w), radius**2 * np.diag([1, np.sin(polar) ** 2])) < 1e-13
    assert np.abs(manifold.christoffels(w) - symbols).max() < 1e-14
    assert relative_error(manifold.mean_curvature(w), -point / radius**2) < 1e-13
    u, v = tangents(manifold, w, 2)
    assert relative_error(manifold.second_fundamental_form(w, u, v), -(u @ v) / radius**2 * point) < 1e-12


def test_torus_metric_christoffels_and_curvature():
    """`g = diag((R + r cos v)^2, r^2)` and `K = cos v / (r (R + r cos v))`."""
    (major, minor), manifold = TORUS, rg.OutputManifold(rg.task.torus(*TORUS))
    for w in np.array([[1.0, 0.5], [0.2, 2.6]]):
        ring = major + minor * np.cos(w[1])
        symbols = np.zeros((2, 2, 2))
        symbols[0, 0, 1] = symbols[0, 1, 0] = -minor * np.sin(w[1]) / ring
        symbols[1, 0, 0] = ring * np.sin(w[1]) / minor
        assert np.abs(manifold.metric_matrix(w) - np.diag([ring**2, minor**2])).max() < 1e-13
        assert np.abs(manifold.christoffels(w) - symbols).max() < 1e-13
        sectional = float(manifold.sectional_curvature(w, *tangents(manifold, w, 2)))
        assert abs(sectional - np.cos(w[1]) / (minor * ring)) < 1e-12
        outward = np.array([np.cos(w[1]) * np.cos(w[0]), np.cos(w[1]) * np.sin(w[0]), np.sin(w[1])])
        assert np.abs(manifold.mean_curvature(w) + (1 / minor + np.cos(w[1]) / ring) / 2 * outward).max() < 1e-13


# --- identities that hold on every manifold -------------------------------------------------------


@eqx.filter_jit
def tensors(immersion, w):
    """Tensors of the chart at `w` and their derivatives (the last index) by forward mode."""
    parts = {
        "metric": lambda w: curvature.metric_matrix(immersion, immersion.frame(w)),
        "gamma": lambda w: curvature.christoffels(immersion, immersion.frame(w)),
        "second": lambda w: curvature.second_fundamental_tensor(immersion, immersion.frame(w)),
    }
    values = {name: part(w) for name, part in parts.items()}
    derivatives = {f"d {name}": jax.jacfwd(part)(w) for name, part in parts.items()}
    riemann = curvature.riemann_tensor(immersion, immersion.frame(w))
    return values | derivatives | {"jac": immersion.jac(w), "riemann": riemann}


@pytest.mark.parametrize("name", IMMERSED)
def test_tensors_satisfy_gauss_and_codazzi(name):
    """Also metric compatibility, and II is normal and symmetric."""
    manifold, w = immersed(name)
    form = MINKOWSKI if name == "hyperboloid" else np.ones(manifold.ambient_dim)
    t = {key: np.asarray(value) for key, value in tensors(manifold.immersion, jnp.asarray(w)).items()}
    jac, metric, gamma, second = t["jac"], t["metric"], t["gamma"], t["second"]
    assert relative_error(metric, jac.T @ (form[:, None] * jac)) < 1e-13
    # d_k g_ij = Gamma^l_ki g_lj + Gamma^l_kj g_li
    lowered = np.einsum("lki,lj->kij", gamma, metric)
    assert relative_error(t["d metric"], np.einsum("kij->ijk", lowered) + np.einsum("kji->ijk", lowered)) < 1e-11
    assert relative_error(gamma, np.swapaxes(gamma, 1, 2)) < 1e-14
    # R_ijk^l = d_i Gamma^l_jk - d_j Gamma^l_ik + Gamma^l_im Gamma^m_jk - Gamma^l_jm Gamma^m_ik
    derived = np.einsum("ljki->ijkl", t["d gamma"]) + np.einsum("lim,mjk->ijkl", gamma, gamma)
    derived = derived - np.swapaxes(derived, 0, 1)
    assert relative_error(t["riemann"], derived) < 1e-9
    normal = np.einsum("ma,mij->aij", jac, form[:, None, None] * second)
    assert np.abs(normal).max() < 1e-12 * np.linalg.norm(jac) * np.linalg.norm(second)
    # Codazzi: the normal derivative of II is symmetric in all three tangent arguments.
    projector = np.asarray(manifold.projector(w))
    change = np.einsum("mn,nijk->mijk", np.eye(len(projector)) - projector, t["d second"])
    change -= np.einsum("mlj,lki->mijk", second, gamma) + np.einsum("mil,lkj->mijk", second, gamma)
    assert np.linalg.norm(np.swapaxes(change, 2, 3) - change) < 1e-10 * (1 + np.linalg.norm(change))
    assert np.linalg.norm(change) > 1e-3 or name == "hyperboloid"  # II is parallel there


@pytest.mark.parametrize("name", ["hyperboloid", "rank one"])
def test_second_fundamental_form_shape_operator_and_hessian_agree(name):
    manifold, w = closed(name).manifold, closed(name).points[1]
    u, v = tangents(manifold, w, 2)
    second = np.asarray(manifold.second_fundamental_form(w, u, v))
    assert relative_error(second, manifold.second_fundamental_form(w, v, u)) < 1e-12
    assert float(jnp.linalg.norm(manifold.to_tangent(w, second))) < 1e-12 * (1 + np.linalg.norm(second))
    normal = np.asarray(manifold.normal_part(w, rng(6).standard_normal(manifold.ambient_dim)))
    shape = [manifold.shape_operator(w, normal, a) for a in (u, v)]
    expected = float(manifold.inner(normal, second))
    assert abs(expected) > 1e-4 and bool(manifold.is_tangent(w, shape[0], atol=1e-11))
    assert float(manifold.inner(shape[0], v)) == pytest.approx(expected, rel=1e-11, abs=1e-12)
    assert float(manifold.inner(u, shape[1])) == pytest.approx(expected, rel=1e-11, abs=1e-12)
    hessian = float(manifold.riemannian_hess(w, u, v))
    assert float(manifold.inner(manifold.riemannian_hessp(w, u), v)) == pytest.approx(hessian, rel=1e-10, abs=1e-11)
    slope = jax.jvp(manifold.objective, (jnp.asarray(w),), (manifold.tangent_coordinates(w, u),))[1]
    assert float(manifold.inner(manifold.riemannian_grad(w), u)) == pytest.approx(float(slope), abs=1e-11)


@pytest.mark.parametrize("name", ["hyperboloid", "damped net"])
def test_hessian_is_the_second_difference_along_geodesics(name):
    """`|g(exp(t u)) - g - t dg(u) - t^2 / 2 Hess[u, u]| = O(t^3)`."""
    manifold, w = immersed(name)
    (u,) = tangents(manifold, w, 1, length=LENGTHS[name])
    ts = 0.2 * 0.5 ** np.arange(5.0)
    path = carry(manifold.immersion, jnp.asarray(w), u, u, ts[::-1])[0][::-1]
    values = np.array([float(manifold.objective(point)) for point in path])
    first = float(manifold.inner(manifold.riemannian_grad(w), u))
    flat = float(u[: manifold.problem.n] @ u[: manifold.problem.n])  # Hess g[u, u] alone
    for second, order in ((float(manifold.riemannian_hess(w, u, u)), 3), (flat, 2)):
        error = np.abs(values - float(manifold.objective(w)) - ts * first - ts**2 / 2 * second)
        assert abs(np.log2(error[-2] / error[-1]) - order) < 0.1


def test_gradient_decays_at_the_rate_of_the_hessian():
    """Statement C4: `-1/2 d/dt log |u|^2 = Hess_M g[u, u] / |u|^2`, `u = grad_M g`."""
    manifold = rg.OutputManifold(tanh_net(20, (2, 2, 1), seed=2))
    w = manifold.problem.w0
    u = manifold.riemannian_grad(w)
    change = jax.jvp(manifold.riemannian_grad, (w,), (-manifold.tangent_coordinates(w, u),))[1]
    assert float(-(u @ change)) == pytest.approx(float(manifold.riemannian_hess(w, u, u)), rel=1e-10)


def test_gradient_and_metric_in_an_ambient_form():
    """A diagonal form and its matrix agree with weighted least squares."""
    problem = tanh_net(12, (2, 2, 1), seed=1)
    weights, vector = 0.5 + rng(3).random(12), rng(4).standard_normal(12)
    jac = np.sqrt(weights)[:, None] * np.asarray(problem.jac(problem.w0))
    coordinates = np.linalg.lstsq(jac, np.sqrt(weights) * vector)[0]
    for form in (weights, np.diag(weights)):
        manifold = rg.OutputManifold(problem, ambient=form)
        assert relative_error(manifold.tangent_coordinates(problem.w0, vector), coordinates) < 1e-8
        assert relative_error(manifold.metric_matrix(problem.w0), jac.T @ jac) < 1e-12
        gradient = np.linalg.lstsq(
            jac, np.asarray(problem.loss_gradient(manifold.embed(problem.w0))) / np.sqrt(weights)
        )
        assert (
            relative_error(manifold.tangent_coordinates(problem.w0, manifold.riemannian_grad(problem.w0)), gradient[0])
            < 1e-8
        )
