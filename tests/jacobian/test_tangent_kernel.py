"""The layer-wise tangent kernel against `J J^T` of the Jacobian."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import riemgn as rg
from riemgn.jacobian import infinite_width_kernel, is_layerwise, layer_jacobian, layer_kernel, mlp as layers
from riemgn.model import ACTIVATIONS, Reparametrised, Weighted
from tests.helpers import network_jacobian, relative_error, tanh_net

HIDDEN = {1: (), 2: (5,), 3: (4, 6), 4: (3, 5, 4)}
SCALINGS = itertools.cycle(("ntk", "standard", "output"))
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
def every_use(problem: rg.Problem, w, v, u, factors, few):
    """What a `LayerJacobian` tells, and what NumPy tells of the Jacobian; compiled anew for another `FEW`."""
    jac = layer_jacobian(problem.model, problem.unflatten(w), problem.x)
    scaled = jac.scale_rows(factors)
    return (
        jac.formed(),
        jac @ v,
        u @ jac,
        jac.kernel(),
        jac.squared_norm()[None],
        scaled @ v,
        u @ scaled,
        scaled.kernel(),
        scaled.formed(),
    )


def every_use_dense(jac, v, u, factors):
    scaled = factors[:, None] * jac
    return jac, jac @ v, u @ jac, jac @ jac.T, np.sum(jac**2)[None], scaled @ v, u @ scaled, scaled @ scaled.T, scaled


THIN = [(*case, 0) for case in CASES if case[:2] == (3, 1)]  # no product column by column


@pytest.mark.parametrize(("depth", "outputs", "bias", "scaling", "few"), [(*case, layers.FEW) for case in CASES] + THIN)
def test_layer_jacobian_is_the_jacobian(depth, outputs, bias, scaling, few, monkeypatch):
    monkeypatch.setattr(layers, "FEW", few)
    problem = tanh_net(7, (3, *HIDDEN[depth], outputs), bias=bias, scaling=scaling)
    w, rng = moved(problem), np.random.default_rng(3)
    v, u, factors = rng.standard_normal(problem.p), rng.standard_normal(problem.n), rng.uniform(0.5, 2.0, problem.n)
    exact = every_use_dense(network_jacobian(problem.model, problem.unflatten(w), problem.x), v, u, factors)
    for found, value in zip(every_use(problem, w, v, jnp.asarray(u), factors, few), exact, strict=True):
        assert found.shape == value.shape
        assert relative_error(found, value) < ROUNDING


@eqx.filter_jit
def every_scaled_use(problem: rg.Problem, w, v, u, factors, columns, block_bytes):
    """The same of a `ScaledLayerJacobian`, compiled anew for other blocks."""
    jac = layer_jacobian(problem.model, problem.unflatten(w), problem.x).scale_columns(columns)
    scaled = jac.scale_rows(factors)
    return (
        jac.formed(),
        jac @ v,
        u @ jac,
        jac.kernel(),
        jac.squared_norm()[None],
        scaled @ v,
        u @ scaled,
        scaled.kernel(),
        scaled.formed(),
    )


ONE_NEURON = [(*case, 200) for case in CASES if case[:2] == (3, 1)]  # bytes


@pytest.mark.parametrize(
    ("depth", "outputs", "bias", "scaling", "block_bytes"), [(*case, 2**28) for case in CASES] + ONE_NEURON
)
def test_columns_are_scaled_without_forming_the_jacobian(depth, outputs, bias, scaling, block_bytes, monkeypatch):
    monkeypatch.setattr(layers, "BLOCK_BYTES", block_bytes)
    problem = tanh_net(7, (3, *HIDDEN[depth], outputs), bias=bias, scaling=scaling)
    w, rng = moved(problem), np.random.default_rng(3)
    v, u, factors = rng.standard_normal(problem.p), rng.standard_normal(problem.n), rng.uniform(0.5, 2.0, problem.n)
    columns = rng.uniform(0.1, 10.0, problem.p)
    exact = every_use_dense(network_jacobian(problem.model, problem.unflatten(w), problem.x) * columns, v, u, factors)
    for found, value in zip(
        every_scaled_use(problem, w, v, jnp.asarray(u), factors, columns, block_bytes), exact, strict=True
    ):
        assert found.shape == value.shape
        assert relative_error(found, value) < ROUNDING


def test_the_kernel_of_scaled_columns_forms_nothing_of_the_size_of_the_jacobian():
    """An MNIST batch of 16 with 512 hidden units: J has 160 x 406 528 entries, 520 MB."""
    net = rg.MLP((784, 512, 10), "relu", scaling="output", bias=False)
    params = jax.eval_shape(lambda: net.init(key=jax.random.key(0)))
    x, columns = jax.ShapeDtypeStruct((16, 784), float), jax.ShapeDtypeStruct((512 * 794,), float)

    def kernel(params, x, columns, by_layers):
        jac = layer_jacobian(net, params, x)
        return jac.scale_columns(columns).kernel() if by_layers else (jac.formed() * columns) @ jac.formed().T

    taken = [
        jax.jit(kernel, static_argnums=3).lower(params, x, columns, way).compile().memory_analysis().temp_size_in_bytes
        for way in (True, False)
    ]
    assert taken[0] < 30e6  # the weights once more, and T of one sample
    assert taken[1] > 160 * 406_528 * 8


@pytest.mark.parametrize("outputs", [1, 2])
def test_weights_in_the_last_input_scale_the_rows(outputs):
    plain = tanh_net(6, (3, 5, outputs))
    w, weights = moved(plain), np.geomspace(1.0, 1e-3, 6)
    problem = rg.Problem(
        rg.Scaled(Weighted(plain.model), 2.0),
        plain.params,
        np.column_stack([plain.x, weights]),
        np.zeros((6, outputs)).squeeze(),
    )
    assert is_layerwise(problem.model)
    factors = 2.0 * np.repeat(weights, outputs)
    jac = network_jacobian(plain.model, plain.unflatten(w), plain.x)
    assert relative_error(problem.outputs(w), factors * np.asarray(plain.outputs(w))) < ROUNDING
    assert (
        relative_error(layer_jacobian(problem.model, problem.unflatten(w), problem.x).formed(), factors[:, None] * jac)
        < ROUNDING
    )
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


# --- infinite width ---------------------------------------------------------------------------------------------------

ERF_INPUTS = np.array([[1.0, -0.5, 0.3], [0.2, 0.9, -1.1], [0.0, 2.0, 0.5], [-1.0, 0.5, -0.3]])


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
            entries = [
                gaussian_mean(function, np.array([[q[i, i], q[i, j]], [q[i, j], q[j, j]]]))
                for i in range(len(x))
                for j in range(len(x))
            ]
            means.append(np.reshape(entries, q.shape))
        q, theta = means[0], means[0] + bias + theta * means[1]
    return theta


@pytest.mark.parametrize(("hidden", "bias"), [((7,), True), ((7,), False), ((7, 7), True), ((7, 7, 7), False)])
def test_kernel_of_infinite_width_against_quadrature(hidden, bias):
    x = ERF_INPUTS[:3]
    kernel = infinite_width_kernel(rg.MLP((3, *hidden, 1), activation="erf", bias=bias), jnp.asarray(x))
    assert relative_error(kernel, quadrature_kernel(x, len(hidden), bias)) < 1e-9


def test_kernel_of_infinite_width_is_the_mean_over_networks():
    net = rg.MLP((3, 2000, 2), activation="erf")
    x, other = jnp.asarray(ERF_INPUTS), jnp.asarray(ERF_INPUTS[:2])
    empirical = jax.vmap(lambda key: layer_kernel(net, net.init(key=key), x, other))(
        jax.random.split(jax.random.key(0), 50)
    )
    # each of 50 networks is off by about m^(-1/2) = 0.022: the mean by 0.003
    assert relative_error(empirical.mean(axis=0), infinite_width_kernel(net, x, other)) < 0.015


def test_kernel_of_infinite_width_of_wrappers_and_of_other_networks():
    net, x = rg.MLP((3, 5, 1), activation="erf"), jnp.asarray(ERF_INPUTS)
    wrapped = rg.Scaled(rg.Centred(net, net.init(key=jax.random.key(0))), 3.0)
    assert relative_error(infinite_width_kernel(wrapped, x), 9 * infinite_width_kernel(net, x)) < ROUNDING
    for other in (rg.MLP((3, 5, 1)), rg.MLP((3, 5, 1), activation="erf", scaling="standard"), rg.LinearModel()):
        with pytest.raises(ValueError, match="infinite width"):
            infinite_width_kernel(other, x)


def test_kernel_of_infinite_width_against_neural_tangents():
    stax = pytest.importorskip("neural_tangents").stax
    x = jnp.asarray(ERF_INPUTS)
    layers = (
        stax.Dense(8, W_std=1.0, b_std=0.0),
        stax.Erf(),
        stax.Dense(8, W_std=1.0, b_std=0.0),
        stax.Erf(),
        stax.Dense(1, W_std=1.0, b_std=0.0),
    )
    kernel = stax.serial(*layers)[2](x, None, "ntk")
    assert (
        relative_error(infinite_width_kernel(rg.MLP((3, 8, 8, 1), activation="erf", bias=False), x), np.asarray(kernel))
        < 1e-9
    )
