"""Tangent kernels against `J J^T`, quadrature, and an average over networks."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import riemgn as rg
from riemgn.jacobian import infinite_width_kernel, is_layerwise, layer_kernel
from riemgn.model import ACTIVATIONS, Reparametrised
from tests.helpers import network_jacobian, relative_error, tanh_net

ROUNDING = 1e-14
NET = tanh_net(6, (3, 5, 4, 2))
W = NET.w0 + 0.3 * jax.random.normal(jax.random.key(7), NET.w0.shape)  # the biases are not zero
OTHER_X = np.random.default_rng(5).standard_normal((4, 3))


def dense_kernel(problem: rg.Problem, w, x=None) -> np.ndarray:
    """`J(x) J^T` from the Jacobian of the network in NumPy."""
    params = problem.unflatten(w)
    jac = network_jacobian(problem.model, params, problem.x)
    return (jac if x is None else network_jacobian(problem.model, params, x)) @ jac.T


@eqx.filter_jit
def ntk(problem: rg.Problem, w, x=None):
    return problem.ntk(w, x)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_kernel_is_the_gram_matrix_of_the_jacobian(activation):
    problem = tanh_net(6, (3, 5, 4, 2), activation=activation)
    assert relative_error(ntk(problem, W), dense_kernel(problem, W)) < ROUNDING


def test_cross_kernel_multiplies_two_jacobians():
    assert relative_error(ntk(NET, W, jnp.asarray(OTHER_X)), dense_kernel(NET, W, OTHER_X)) < ROUNDING
    assert relative_error(ntk(NET, W, NET.x), ntk(NET, W)) < ROUNDING


WRAPPERS = {
    "scaled": (lambda net, params: rg.Scaled(net, 3.0), 9.0),
    "centred": (rg.Centred, 1.0),
    "scaled centred": (lambda net, params: rg.Scaled(rg.Centred(net, params), 0.5), 0.25),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_kernel_through_wrappers(name):
    wrap, factor = WRAPPERS[name]
    problem = rg.Problem(wrap(NET.model, NET.params), NET.params, NET.x, np.zeros((6, 2)))
    assert is_layerwise(problem.model)
    assert relative_error(ntk(problem, W), factor * dense_kernel(NET, W)) < ROUNDING


@pytest.mark.parametrize("rowwise", [True, False])
def test_kernel_of_other_models_is_the_product(rowwise):
    net, params, w = NET.model, NET.params, NET.w0
    model = Reparametrised(net, params, jnp.eye(w.size)) if rowwise else lambda params, x: net(params, x)
    problem = rg.Problem(model, jnp.zeros_like(w) if rowwise else params, NET.x, np.zeros((6, 2)))
    assert not is_layerwise(problem.model)
    assert relative_error(ntk(problem, problem.w0), dense_kernel(NET, w)) < ROUNDING
    assert relative_error(ntk(problem, problem.w0, problem.x[:2]), dense_kernel(NET, w, NET.x[:2])) < ROUNDING
    with pytest.raises(ValueError, match=f"needs an MLP, .* got {type(problem.model).__name__}"):
        layer_kernel(problem.model, problem.params, problem.x)


def test_kernel_differentiates_batches_and_keeps_float32():
    by_rule = jax.jvp(lambda w: ntk(NET, w), (W,), (jnp.ones_like(W),))[1]
    difference = (ntk(NET, W + 1e-6) - ntk(NET, W - 1e-6)) / 2e-6
    assert relative_error(by_rule, difference) < 1e-8
    many = jax.vmap(lambda w: ntk(NET, w))(jnp.stack([W, 2 * W]))
    assert relative_error(many[1], ntk(NET, 2 * W)) < ROUNDING
    low = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (NET.unflatten(W), NET.x))
    kernel = layer_kernel(NET.model, *low)
    assert kernel.dtype == jnp.float32
    assert relative_error(kernel, ntk(NET, W)) < 1e-6


# --- infinite width -----------------------------------------------------------------------------

INPUTS = np.array([[1.0, -0.5, 0.3], [0.2, 0.9, -1.1], [0.0, 2.0, 0.5], [-1.0, 0.5, -0.3]])


def gaussian_mean(function, covariance, points=120):
    """`E[function(u) function(v)]` for centred Gaussian (u, v), by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    factor = np.linalg.cholesky(covariance + 1e-15 * np.eye(2))
    u = factor[0, 0] * nodes[:, None] + 0 * nodes
    v = factor[1, 0] * nodes[:, None] + factor[1, 1] * nodes
    return float(np.sum(np.outer(weights, weights) * function(u) * function(v)) / (2 * np.pi))


def quadrature_kernel(x, hidden, bias):
    """The recursion of the kernel with expectations by quadrature, entry by entry."""
    q = x @ x.T / x.shape[1]
    theta = q + bias
    for _ in range(hidden):
        means = []
        for function in (scipy.special.erf, lambda z: 2 / np.sqrt(np.pi) * np.exp(-(z**2))):
            pairs = [(i, j) for i in range(len(x)) for j in range(len(x))]
            entries = [gaussian_mean(function, q[np.ix_([i, j], [i, j])]) for i, j in pairs]
            means.append(np.reshape(entries, q.shape))
        q, theta = means[0], means[0] + bias + theta * means[1]
    return theta


@pytest.mark.parametrize(("hidden", "bias"), [(1, True), (1, False), (3, True)])
def test_infinite_width_kernel_matches_quadrature(hidden, bias):
    x = INPUTS[:3]
    kernel = infinite_width_kernel(rg.MLP((3, *[7] * hidden, 1), activation="erf", bias=bias), jnp.asarray(x))
    assert relative_error(kernel, quadrature_kernel(x, hidden, bias)) < 1e-9


def test_infinite_width_kernel_is_the_mean_over_networks():
    net = rg.MLP((3, 500, 2), activation="erf")
    x, other = jnp.asarray(INPUTS), jnp.asarray(INPUTS[:2])
    keys = jax.random.split(jax.random.key(0), 200)
    empirical = jax.jit(jax.vmap(lambda key: layer_kernel(net, net.init(key=key), x, other)))(keys)
    # each of 200 networks is off by about m^(-1/2) = 0.045, the mean by 0.003
    assert relative_error(empirical.mean(axis=0), infinite_width_kernel(net, x, other)) < 0.015


def test_infinite_width_kernel_of_wrappers_and_of_other_networks():
    net, x = rg.MLP((3, 5, 1), activation="erf"), jnp.asarray(INPUTS)
    wrapped = rg.Scaled(rg.Centred(net, net.init(key=jax.random.key(0))), 3.0)
    assert relative_error(infinite_width_kernel(wrapped, x), 9 * infinite_width_kernel(net, x)) < ROUNDING
    for other in (rg.MLP((3, 5, 1)), rg.MLP((3, 5, 1), activation="erf", scaling="standard"), rg.LinearModel()):
        with pytest.raises(ValueError, match=f"infinite width .* got {type(other).__name__}"):
            infinite_width_kernel(other, x)


def test_infinite_width_kernel_matches_neural_tangents():
    stax = pytest.importorskip("neural_tangents").stax
    dense, x = (lambda width: stax.Dense(width, W_std=1.0, b_std=0.0)), jnp.asarray(INPUTS)
    kernel = stax.serial(dense(8), stax.Erf(), dense(8), stax.Erf(), dense(1))[2](x, None, "ntk")
    ours = infinite_width_kernel(rg.MLP((3, 8, 8, 1), activation="erf", bias=False), x)
    assert relative_error(ours, np.asarray(kernel)) < 1e-9
