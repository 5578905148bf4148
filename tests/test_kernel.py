"""The layer-wise tangent kernel against `J J^T` of the Jacobian."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn.kernel import is_layerwise, layer_jacobian, layer_kernel
from riemgn.model import ACTIVATIONS, Reparametrised, Weighted

from .helpers import network_jacobian, relative_error, tanh_net

HIDDEN = {1: (), 2: (5,), 3: (4, 6), 4: (3, 5, 4)}
SCALINGS = itertools.cycle(("ntk", "standard", "standard"))
CASES = [(*case, next(SCALINGS)) for case in itertools.product(HIDDEN, (1, 3), (True, False))]
ROUNDING = 1e-14  # both sides are sums of a few dozen products; the largest of all cases is 2e-15


def moved(problem: rg.Problem):
    """A point at which the biases are not zero."""
    return problem.w0 + 0.3 * jax.random.normal(jax.random.key(7), problem.w0.shape)


def dense(problem: rg.Problem, w, x=None) -> np.ndarray:
    """`J(x) J^T` from the Jacobian of the network in NumPy."""
    net, params = problem.model, problem.unflatten(w)
    jac = network_jacobian(net, params, problem.x)
    return (jac if x is None else network_jacobian(net, params, x)) @ jac.T


@eqx.filter_jit
def ntk(problem: rg.Problem, w, x=None):
    return problem.ntk(w, x)


@pytest.mark.parametrize(("depth", "outputs", "bias", "scaling"), CASES)
def test_layer_kernel_is_the_gram_matrix_of_the_jacobian(depth, outputs, bias, scaling):
    problem = tanh_net(7, (3, *HIDDEN[depth], outputs), bias=bias, scaling=scaling)
    w = moved(problem)
    kernel = ntk(problem, w)
    assert kernel.shape == (7 * outputs, 7 * outputs)
    assert relative_error(kernel, dense(problem, w)) < ROUNDING


@eqx.filter_jit
def every_use(problem: rg.Problem, w, v, u, factors):
    """What a `LayerJacobian` tells, and what NumPy tells of the Jacobian."""
    jac = layer_jacobian(problem.model, problem.unflatten(w), problem.x)
    scaled = jac.scale_rows(factors)
    return jac.formed(), jac @ v, u @ jac, jac.kernel(), jac.squared_norm()[None], scaled @ v, u @ scaled, scaled.kernel(), scaled.formed()


def every_use_dense(jac, v, u, factors):
    scaled = factors[:, None] * jac
    return jac, jac @ v, u @ jac, jac @ jac.T, np.sum(jac**2)[None], scaled @ v, u @ scaled, scaled @ scaled.T, scaled


@pytest.mark.parametrize(("depth", "outputs", "bias", "scaling"), CASES)
def test_layer_jacobian_is_the_jacobian(depth, outputs, bias, scaling):
    problem = tanh_net(7, (3, *HIDDEN[depth], outputs), bias=bias, scaling=scaling)
    w, rng = moved(problem), np.random.default_rng(3)
    v, u, factors = rng.standard_normal(problem.p), rng.standard_normal(problem.n), rng.uniform(0.5, 2.0, problem.n)
    exact = every_use_dense(network_jacobian(problem.model, problem.unflatten(w), problem.x), v, u, factors)
    for found, value in zip(every_use(problem, w, v, jnp.asarray(u), factors), exact, strict=True):
        assert found.shape == value.shape
        assert relative_error(found, value) < ROUNDING


@pytest.mark.parametrize("outputs", [1, 2])
def test_weights_in_the_last_input_scale_the_rows(outputs):
    plain = tanh_net(6, (3, 5, outputs))
    w, weights = moved(plain), np.geomspace(1.0, 1e-3, 6)
    problem = rg.Problem(rg.Scaled(Weighted(plain.model), 2.0), plain.params, np.column_stack([plain.x, weights]), np.zeros((6, outputs)).squeeze())
    assert is_layerwise(problem.model)
    factors = 2.0 * np.repeat(weights, outputs)
    jac = network_jacobian(plain.model, plain.unflatten(w), plain.x)
    assert relative_error(problem.outputs(w), factors * np.asarray(plain.outputs(w))) < ROUNDING
    assert relative_error(layer_jacobian(problem.model, problem.unflatten(w), problem.x).formed(), factors[:, None] * jac) < ROUNDING
    assert relative_error(problem.jac(w), factors[:, None] * jac) < ROUNDING


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_layer_kernel_knows_every_activation(activation):
    problem = tanh_net(6, (3, 5, 4, 2), activation=activation)
    assert relative_error(ntk(problem, moved(problem)), dense(problem, moved(problem))) < ROUNDING


WRAPPERS = [
    (lambda net, params: rg.Scaled(net, 3.0), 9.0),
    (rg.Centred, 1.0),
    (lambda net, params: rg.Scaled(rg.Centred(net, params), 0.5), 0.25),
]


@pytest.mark.parametrize(("wrap", "factor"), WRAPPERS)
def test_layer_kernel_through_wrappers(wrap, factor):
    plain = tanh_net(6, (3, 5, 2))
    w = moved(plain)
    problem = rg.Problem(wrap(plain.model, plain.params), plain.params, plain.x, np.zeros((6, 2)))
    assert is_layerwise(problem.model)
    assert relative_error(ntk(problem, w), factor * dense(plain, w)) < ROUNDING


def test_layer_kernel_is_the_gram_matrix_of_the_derivative_in_reverse_mode():
    problem = tanh_net(7, (3, 5, 4, 2))
    jac = jax.jit(jax.jacrev(lambda w: problem.outputs(w)))(moved(problem))
    assert relative_error(ntk(problem, moved(problem)), jac @ jac.T) < ROUNDING


@pytest.mark.parametrize("make", [lambda: tanh_net(7, (3, 5, 4, 2)), lambda: tanh_net(7, (3, 5, 1))])
def test_cross_kernel(make):
    problem = make()
    w, x = moved(problem), jnp.asarray(np.random.default_rng(5).standard_normal((4, 3)))
    assert relative_error(ntk(problem, w, x), dense(problem, w, x)) < ROUNDING
    assert relative_error(ntk(problem, w, problem.x), ntk(problem, w)) < ROUNDING


@pytest.mark.parametrize("rowwise", [True, False])
def test_other_models_take_the_product(rowwise):
    plain = tanh_net(6, (3, 5, 2))
    net, params, w = plain.model, plain.params, plain.w0
    model = Reparametrised(net, params, jnp.eye(w.size)) if rowwise else lambda params, x: net(params, x)
    problem = rg.Problem(model, jnp.zeros_like(w) if rowwise else params, plain.x, np.zeros((6, 2)))
    assert not is_layerwise(problem.model)
    assert relative_error(ntk(problem, problem.w0), dense(plain, w)) < ROUNDING
    assert relative_error(ntk(problem, problem.w0, problem.x[:2]), dense(plain, w, plain.x[:2])) < ROUNDING
    with pytest.raises(ValueError, match=f"needs an MLP, .* got {type(problem.model).__name__}"):
        layer_kernel(problem.model, problem.params, problem.x)


def test_layer_kernel_differentiates_batches_and_keeps_float32():
    problem = tanh_net(5, (3, 4, 2))
    w = moved(problem)
    by_rule = jax.jvp(lambda w: ntk(problem, w), (w,), (jnp.ones_like(w),))[1]
    difference = (ntk(problem, w + 1e-6) - ntk(problem, w - 1e-6)) / 2e-6
    assert relative_error(by_rule, difference) < 1e-8
    many = jax.vmap(lambda w: ntk(problem, w))(jnp.stack([w, 2 * w]))
    assert relative_error(many[1], ntk(problem, 2 * w)) < ROUNDING
    low = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (problem.unflatten(w), problem.x))
    kernel = layer_kernel(problem.model, *low)
    assert kernel.dtype == jnp.float32
    assert relative_error(kernel, ntk(problem, w)) < 1e-6
