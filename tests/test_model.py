"""Models against NumPy, initialisation, and wrappers."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import riemgn as rg
from riemgn.model import ACTIVATIONS
from tests.helpers import paired_net, relative_error

NUMPY_ACTIVATIONS = {
    "tanh": np.tanh,
    "softplus": lambda z: np.logaddexp(0, z),
    "silu": lambda z: z * scipy.special.expit(z),
    "erf": scipy.special.erf,
    "gelu": lambda z: 0.5 * z * (1 + scipy.special.erf(z / math.sqrt(2))),
    "relu": lambda z: np.maximum(z, 0),
}
X = np.random.default_rng(0).standard_normal((7, 3))
KEY = jax.random.key(0)


def numpy_forward(net: rg.MLP, params, x):
    h, act = x, NUMPY_ACTIVATIONS[net.activation]
    for depth, layer in enumerate(params):
        weight = np.asarray(layer["weight"])
        z = h @ weight.T
        if net.scaling == "ntk" or (net.scaling == "output" and depth == len(params) - 1):
            z = z / math.sqrt(weight.shape[1])
        if net.bias:
            z = z + np.asarray(layer["bias"])
        h = z if depth == len(params) - 1 else act(z)
    return h[:, 0] if net.sizes[-1] == 1 else h


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("scaling", "bias"), [("ntk", True), ("standard", False), ("output", True)])
def test_mlp_matches_numpy(activation, scaling, bias):
    for sizes in [(3, 5, 1), (3, 4, 5, 3, 2), (3, 2)]:
        net = rg.MLP(sizes, activation, scaling, bias)
        params = jax.tree.map(lambda leaf: leaf + 0.1, net.init(key=KEY))  # biases are not zero
        out = net(params, jnp.asarray(X))
        assert out.shape == ((7,) if sizes[-1] == 1 else (7, sizes[-1]))
        assert relative_error(out, numpy_forward(net, params, X)) < 1e-12


def test_initial_weights_have_the_stated_spread():
    for scaling, spread in (("ntk", 1.0), ("standard", 400**-0.5)):
        params = rg.MLP((400, 300, 1), scaling=scaling).init(key=KEY)
        assert [layer["weight"].shape for layer in params] == [(300, 400), (1, 300)]
        assert [layer["bias"].shape for layer in params] == [(300,), (1,)]
        assert abs(float(params[0]["weight"].std()) / spread - 1) < 0.02
        assert not any(np.any(np.asarray(layer["bias"])) for layer in params)
    assert all(set(layer) == {"weight"} for layer in rg.MLP((3, 4, 1), bias=False).init(key=KEY))


def test_initialisation_depends_on_the_key_alone():
    net = rg.MLP((3, 5, 4, 1))
    one, again, other = (jax.flatten_util.ravel_pytree(net.init(key=jax.random.key(k)))[0] for k in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.any(np.isclose(one, other) & (one != 0))
    hidden = net.init(key=KEY)
    assert not np.isclose(hidden[0]["weight"][0, 0], hidden[1]["weight"][0, 0])  # each layer has its own key


def test_paired_initialisation_starts_at_zero_and_is_singular():
    problem = paired_net(n=60, width=6)
    assert problem.p < problem.n
    assert np.abs(problem.outputs(problem.w0)).max() < 1e-15
    eigenvalues = np.linalg.eigvalsh(problem.gram(problem.w0))
    assert eigenvalues[0] < 1e-13 * eigenvalues[-1]
    for sizes in [(3, 5, 1), (3, 4, 4, 1), (3, 1)]:
        with pytest.raises(ValueError, match=r"one hidden layer of even width, got sizes \(3, "):
            rg.MLP(sizes).init(key=KEY, paired=True)


def test_centred_starts_at_zero_and_keeps_the_jacobian():
    net = rg.MLP((3, 4, 2))
    params = net.init(key=KEY)
    plain = rg.Problem(net, params, X, np.zeros((7, 2)))
    centred = rg.Problem(rg.Centred(net, params), params, X, np.zeros((7, 2)))
    assert np.all(np.asarray(centred.outputs(centred.w0)) == 0)
    assert relative_error(centred.jac(centred.w0), plain.jac(plain.w0)) < 1e-14
    w = plain.w0 + 0.1
    assert relative_error(centred.outputs(w), plain.outputs(w) - plain.outputs(plain.w0)) < 1e-12


def test_scaled_multiplies():
    net = rg.MLP((3, 4, 1))
    params = net.init(key=KEY)
    assert relative_error(rg.Scaled(net, 7.0)(params, X), 7 * net(params, jnp.asarray(X))) < 1e-15
    for alpha in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"`alpha` must be positive and finite, got {alpha}"):
            rg.Scaled(net, alpha)


def test_wrappers_keep_smooth_and_rowwise():
    for name in ACTIVATIONS:
        net = rg.MLP((3, 4, 1), activation=name)
        assert net.smooth == (name != "relu")
        assert rg.Scaled(rg.Centred(net, net.init(key=KEY)), 2.0).smooth == net.smooth
        assert rg.Scaled(net, 2.0).rowwise


def test_equinox_module_is_accepted():
    module = eqx.nn.MLP(3, "scalar", 8, 1, activation=jnp.tanh, key=KEY)
    problem = rg.Problem(module, None, X, np.zeros(7))
    assert relative_error(problem.outputs(problem.w0), jax.vmap(module)(jnp.asarray(X))) < 1e-14
    assert problem.p == 3 * 8 + 8 + 8 + 1
    assert relative_error(problem.jac(problem.w0), jax.jacrev(problem.outputs)(problem.w0)) < 1e-12
    several = eqx.nn.MLP(3, 2, 4, 1, key=KEY)
    assert rg.Problem(several, None, X, np.zeros((7, 2))).n == 14
    given = rg.Problem(module, module, X, np.zeros(7))
    assert np.array_equal(given.w0, problem.w0)


def test_plain_function_is_accepted():
    problem = rg.Problem(lambda params, x: params["a"] * x[:, 0] + params["b"], {"a": 2.0, "b": -1.0}, X, np.zeros(7))
    assert relative_error(problem.outputs(problem.w0), 2 * X[:, 0] - 1) < 1e-15
    np.testing.assert_allclose(problem.jac(problem.w0), np.stack([X[:, 0], np.ones(7)], axis=1), atol=1e-14)


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (((3,),), r"at least two positive integers .*, got \(3,\)"),
        (((3, 0, 1),), r"got \(3, 0, 1\)"),
        (((3, 2.5, 1),), r"got \(3, 2.5, 1\)"),
        (((3, -4, 1),), r"got \(3, -4, 1\)"),
        (((3, 4, 1), "sine"), "Unknown activation 'sine'; known: tanh"),
        (((3, 4, 1), "tanh", "mup"), "Unknown scaling 'mup'; known: ntk, standard, output"),
    ],
)
def test_bad_networks_are_rejected(arguments, fragment):
    with pytest.raises(ValueError, match=fragment):
        rg.MLP(*arguments)
