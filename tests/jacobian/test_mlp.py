"""The layer-wise Jacobian of a network against one by back-propagation in NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn.jacobian import layer_jacobian, mlp
from riemgn.model import Weighted
from tests.helpers import network_jacobian, relative_error, tanh_net

ROUNDING = 1e-14  # both sides are sums of a few dozen products
CASES = {
    "no hidden layer": ((3, 1), {}),
    "no hidden layer, three outputs, no bias": ((3, 3), {"bias": False, "scaling": "standard"}),
    "one layer": ((3, 5, 1), {"scaling": "output"}),
    "two layers": ((3, 4, 6, 1), {}),
    "two layers, wide": ((3, 4, 16, 2), {"scaling": "standard"}),
    "two layers, three outputs": ((3, 4, 6, 3), {}),
    "three layers, no bias": ((3, 3, 5, 4, 1), {"bias": False}),
    "three layers, three outputs, no bias": ((3, 3, 5, 4, 3), {"bias": False, "scaling": "output"}),
}


def moved(problem: rg.Problem):
    """A point at which the biases are not zero."""
    return problem.w0 + 0.3 * jax.random.normal(jax.random.key(7), problem.w0.shape)


def random_vectors(problem: rg.Problem):
    """`v`, `u`, and factors of the rows and of the columns."""
    rng = np.random.default_rng(3)
    return (
        jnp.asarray(rng.standard_normal(problem.p)),
        jnp.asarray(rng.standard_normal(problem.n)),
        jnp.asarray(rng.uniform(0.5, 2.0, problem.n)),
        jnp.asarray(rng.uniform(0.1, 10.0, problem.p)),
    )


@eqx.filter_jit
def uses(problem: rg.Problem, w, v, u, rows, columns, block_bytes):
    """All operations, without and with scaled columns; a new `block_bytes` compiles anew."""
    jac = layer_jacobian(problem.model, problem.unflatten(w), problem.x)
    results = []
    for each in (jac, jac.scale_rows(rows), jac.scale_columns(columns), jac.scale_columns(columns).scale_rows(rows)):
        results += [each.formed(), each @ v, u @ each, each.kernel(), each.squared_norm()[None]]
    return results


def dense_uses(jac, v, u, rows, columns):
    results = []
    for each in (jac, rows[:, None] * jac, jac * columns, rows[:, None] * jac * columns):
        results += [each, each @ v, u @ each, each @ each.T, np.sum(each**2)[None]]
    return results


@pytest.mark.parametrize(
    ("name", "block_bytes"), [*((name, 2**28) for name in CASES), ("two layers", 200)], ids=[*CASES, "small blocks"]
)
def test_layer_jacobian_acts_like_the_matrix(name, block_bytes, monkeypatch):
    monkeypatch.setattr(mlp, "BLOCK_BYTES", block_bytes)
    sizes, options = CASES[name]
    problem = tanh_net(7, sizes, **options)
    w, vectors = moved(problem), random_vectors(problem)
    exact = dense_uses(network_jacobian(problem.model, problem.unflatten(w), problem.x), *map(np.asarray, vectors))
    for actual, expected in zip(uses(problem, w, *vectors, block_bytes), exact, strict=True):
        assert actual.shape == expected.shape
        assert relative_error(actual, expected) < ROUNDING


def test_kernel_with_scaled_columns_needs_little_memory():
    """An MNIST batch of 16 with 512 hidden units: J has 160 x 406 528 entries, 520 MB."""
    net = rg.MLP((784, 512, 10), "relu", scaling="output", bias=False)
    params = jax.eval_shape(lambda: net.init(key=jax.random.key(0)))
    x, columns = jax.ShapeDtypeStruct((16, 784), float), jax.ShapeDtypeStruct((512 * 794,), float)

    def kernel(params, x, columns):
        return layer_jacobian(net, params, x).scale_columns(columns).kernel()

    compiled = jax.jit(kernel).lower(params, x, columns).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 30e6


@pytest.mark.parametrize("outputs", [1, 2])
def test_weights_in_the_last_input_scale_the_rows(outputs):
    plain = tanh_net(6, (3, 5, outputs))
    w, weights = moved(plain), np.geomspace(1.0, 1e-3, 6)
    inputs = np.column_stack([plain.x, weights])
    problem = rg.Problem(rg.Scaled(Weighted(plain.model), 2.0), plain.params, inputs, plain.y.reshape(6, -1).squeeze())
    factors = 2.0 * np.repeat(weights, outputs)
    jac = factors[:, None] * network_jacobian(plain.model, plain.unflatten(w), plain.x)
    by_layers = layer_jacobian(problem.model, problem.unflatten(w), problem.x).formed()
    assert relative_error(problem.outputs(w), factors * np.asarray(plain.outputs(w))) < ROUNDING
    assert relative_error(by_layers, jac) < ROUNDING
    assert relative_error(problem.jac(w), jac) < ROUNDING
