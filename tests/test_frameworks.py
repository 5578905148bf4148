"""One network as a function, in equinox, in flax linen and in flax nnx: the same problem."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from tests.helpers import relative_error

linen = pytest.importorskip("flax.linen")
nnx = pytest.importorskip("flax.nnx")

X = np.random.default_rng(0).standard_normal((5, 3))
Y = np.random.default_rng(1).standard_normal((5, 2))
NET = rg.MLP((3, 4, 2), scaling="standard")
LAYERS = NET.init(key=jax.random.key(0))
NAMES = ("plain", "equinox", "linen", "nnx")


class LinenNet(linen.Module):
    width: int

    @linen.compact
    def __call__(self, x):
        return linen.Dense(2, name="out")(jnp.tanh(linen.Dense(self.width, name="hidden")(x)))


class NnxNet(nnx.Module):
    def __init__(self, rngs):
        self.hidden, self.out = nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)
        self.dropout = nnx.Dropout(0.0, rngs=rngs)  # a random state: integers, which are no parameters

    def __call__(self, x):
        return self.out(self.dropout(jnp.tanh(self.hidden(x))))


def plain():
    def forward(params, x):
        return jnp.tanh(x @ params["w1"].T + params["b1"]) @ params["w2"].T + params["b2"]

    names = (("w1", "b1"), ("w2", "b2"))
    params = {
        key: layer[part]
        for pair, layer in zip(names, LAYERS, strict=True)
        for key, part in zip(pair, ("weight", "bias"), strict=True)
    }
    return rg.FunctionModel(forward, rowwise=True), params


def equinox():
    module = eqx.nn.MLP(3, 2, 4, 1, activation=jnp.tanh, key=jax.random.key(1))
    values = [layer[part] for layer in LAYERS for part in ("weight", "bias")]
    return eqx.tree_at(
        lambda tree: [leaf for layer in tree.layers for leaf in (layer.weight, layer.bias)], module, values
    ), None


def in_linen():
    module = LinenNet(4)
    drawn = module.init(jax.random.key(1), X)
    params = {
        "params": {
            name: {"kernel": layer["weight"].T, "bias": layer["bias"]}
            for name, layer in zip(("hidden", "out"), LAYERS, strict=True)
        }
    }
    assert jax.tree.map(jnp.shape, drawn) == jax.tree.map(jnp.shape, params)
    return rg.FunctionModel(module.apply, rowwise=True), params


def in_nnx():
    module = NnxNet(nnx.Rngs(1))
    for part, layer in zip((module.hidden, module.out), LAYERS, strict=True):
        part.kernel, part.bias = nnx.Param(layer["weight"].T), nnx.Param(layer["bias"])
    graph, params, rest = nnx.split(module, nnx.Param, ...)
    return rg.FunctionModel(lambda params, x: nnx.merge(graph, params, rest)(x), rowwise=True), params


@pytest.fixture(scope="module")
def problems():
    made = dict(zip(NAMES, (plain(), equinox(), in_linen(), in_nnx()), strict=True))
    return {name: rg.Problem(model, params, X, Y) for name, (model, params) in made.items()}


@pytest.fixture(scope="module")
def ours():
    return rg.Problem(NET, LAYERS, X, Y)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_and_kernel_do_not_depend_on_the_framework(name, problems, ours):
    problem = problems[name]
    assert (problem.n, problem.p, problem.w0.dtype) == (ours.n, ours.p, jnp.float64)
    assert relative_error(problem.outputs(problem.w0), ours.outputs(ours.w0)) < 1e-14
    assert relative_error(problem.ntk(problem.w0), ours.ntk(ours.w0)) < 1e-13  # K = J J^T does not see their order
    assert jax.tree.structure(problem.unflatten(problem.w0)) == jax.tree.structure(problem.params)


@pytest.mark.parametrize("name", NAMES)
def test_row_wise_models_have_the_right_jacobian(name, problems, ours):
    problem = problems[name]
    assert problem.model.rowwise and not problem.has_layer_jacobian and ours.has_layer_jacobian
    assert relative_error(problem.jac(problem.w0), jax.jacrev(problem.outputs)(problem.w0)) < 1e-13


def test_a_step_does_not_depend_on_the_framework(problems, ours):
    method = rg.LevenbergMarquardt(0.1)
    expected = rg.iterate(ours, method, steps=1, spectra=False).outputs[-1]
    for name in ("linen", "nnx"):
        stepped = rg.iterate(problems[name], method, steps=1, spectra=False).outputs[-1]
        assert relative_error(stepped, expected) < 1e-10, name


def test_fitted_parameters_go_back_into_the_module(problems):
    problem = problems["linen"]
    fitted = problem.unflatten(problem.w0 + 0.1)
    assert relative_error(LinenNet(4).apply(fitted, X).reshape(-1), problem.outputs(problem.w0 + 0.1)) < 1e-14


def test_a_false_promise_of_rows_gives_a_wrong_jacobian():
    """Batch means mix the rows, which only the general Jacobian takes into account."""

    def centred(params, x):
        h = x @ params
        return h - h.mean()

    honest, false = (
        rg.Problem(rg.FunctionModel(centred, rowwise=rows), jnp.ones(3), X, Y[:, 0]) for rows in (False, True)
    )
    exact = X - X.mean(axis=0)
    assert relative_error(honest.jac(honest.w0), exact) < 1e-14 < 0.1 < relative_error(false.jac(false.w0), exact)


@pytest.mark.parametrize("module", [LinenNet(4), NnxNet(nnx.Rngs(0))], ids=["linen", "nnx"])
def test_a_flax_module_needs_its_parameters(module):
    with pytest.raises(
        ValueError, match=r"only an equinox module has its own, not \w+\. For a flax module pass .* `nnx.split`"
    ):
        rg.Problem(module, None, X, Y)
