"""optax: its optimisers as methods, and methods as its gradient transformations."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn import GaussNewton, GradientDescent, GramGaussNewton, iterate, LevenbergMarquardt, OptaxMethod, TrustRegion
from tests.helpers import relative_error
from tests.method.shared import NET

optax = pytest.importorskip("optax")
KEY = jax.random.key(0)
METHODS = {
    "gn": GaussNewton(0.5),
    "lm_spectral": LevenbergMarquardt(rg.SpectralDamping(0.5)),
    "lm_trust_region": LevenbergMarquardt(TrustRegion()),
    "lm_matrix_free": LevenbergMarquardt(0.1, matrix_free=rg.MatrixFree()),
    "ggn": GramGaussNewton(3, 0.5, 0.05),
}
BATCH = (NET.x[:3], NET.y[:3])


def test_sgd_equals_gradient_descent():
    one, other = (iterate(NET, method, steps=4) for method in (OptaxMethod(optax.sgd(0.1)), GradientDescent(0.1)))
    assert relative_error(one.params, other.params) < 1e-14
    assert np.array_equal(one.ts, np.arange(5.0))


def test_adam_equals_its_formula():
    adam = iterate(NET, OptaxMethod(optax.adam(0.01)), steps=4)
    gradient_of = jax.jit(jax.grad(NET.objective))
    w, m, v = np.asarray(NET.w0), 0.0, 0.0
    for k in range(1, 5):
        gradient = np.asarray(gradient_of(jnp.asarray(w)))
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        w = w - 0.01 * (m / (1 - 0.9**k)) / (np.sqrt(v / (1 - 0.999**k)) + 1e-8)
        assert relative_error(adam.params[k], w) < 1e-12


def test_missing_optax_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "optax", None)
    with pytest.raises(ValueError, match="OptaxMethod needs optax, which is not installed; install it with `pip inst"):
        OptaxMethod(object())


def trained(optimiser, params, steps: int, *batches):
    """A user's training loop with jitted steps that takes the `batches` in turn."""

    @jax.jit
    def step(params, state, **extra):
        grads = jax.tree.map(jnp.zeros_like, params)
        updates, state = optimiser.update(grads, state, params, **extra)
        return optax.apply_updates(params, updates), state

    state = jax.jit(optimiser.init)(params)
    for k in range(steps):
        params, state = step(params, state, **({"batch": batches[k % len(batches)]} if batches else {}))
    return params, state


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_updates_equal_the_steps_of_iterate(method):
    params, state = trained(rg.as_optax(method, NET, key=KEY), NET.params, 4)
    ours = iterate(NET, method, steps=4, key=KEY)
    assert jax.tree.structure(params) == jax.tree.structure(NET.params)
    assert relative_error(NET.with_params(params).w0, ours.params[-1]) < 1e-12
    assert set(state.report) == set(ours.stats["per_step"])
    for name, values in ours.stats["per_step"].items():
        np.testing.assert_allclose(state.report[name], values[-1], rtol=1e-9)


def test_own_batches_replace_those_of_the_problem():
    rows = ([0, 1, 2], [3, 4, 5], [5, 6, 7])
    y = NET.y
    params, _ = trained(
        rg.as_optax(GramGaussNewton(damping=0.05), NET),
        NET.params,
        4,
        *((NET.x[np.array(r)], y[np.array(r)]) for r in rows),
    )
    w = NET.w0
    for r in (*rows, rows[0]):
        part = rg.Problem(NET.model, NET.unflatten(w), NET.x[np.array(r)], y[np.array(r)])
        jac, loss_gradient = part.jac(w), part.loss_gradient(part.outputs(w))
        w = w - jac.T @ jnp.linalg.solve(jac @ jac.T + 0.05 * jnp.eye(3), loss_gradient)
    assert relative_error(NET.with_params(params).w0, w) < 1e-12


def test_transformation_composes_with_schedule_and_momentum():
    first = rg.as_optax(GaussNewton(), NET)
    schedule = optax.piecewise_constant_schedule(0.5, {2: 0.5})  # 0.5, 0.5, then 0.25
    params, _ = trained(optax.chain(first, optax.scale_by_schedule(schedule)), NET.params, 4)
    w = NET.w0
    for eta in (0.5, 0.5, 0.25, 0.25):
        w = iterate(NET.with_params(w), GaussNewton(eta), steps=1).params[-1]
    assert relative_error(NET.with_params(params).w0, w) < 1e-12
    # heavy ball: s_k = d_k + 0.5 s_{k-1}
    params, _ = trained(optax.chain(first, optax.trace(0.5), optax.scale(0.3)), NET.params, 3)
    w, s = NET.w0, 0.0
    for _ in range(3):
        s = 0.5 * s + iterate(NET.with_params(w), GaussNewton(), steps=1).params[-1] - w
        w = w + 0.3 * s
    assert relative_error(NET.with_params(params).w0, w) < 1e-12


def test_masked_transformation_trains_one_layer():
    """The model of the problem keeps the first layer, and `optax.masked` leaves it unchanged."""
    first, last = NET.params
    part = rg.Problem(lambda params, x: NET.model([first, params[1]], x), [None, last], NET.x, NET.y)
    mask = [jax.tree.map(lambda _: False, first), jax.tree.map(lambda _: True, last)]
    optimiser = optax.masked(rg.as_optax(LevenbergMarquardt(0.1), part), mask)
    params, _ = trained(optimiser, NET.params, 3)
    for name in first:
        np.testing.assert_array_equal(params[0][name], first[name])
    ours = iterate(part, LevenbergMarquardt(0.1), steps=3)
    assert relative_error(part.with_params([None, params[1]]).w0, ours.params[-1]) < 1e-12


def test_parameters_keep_their_tree_and_type():
    """A dictionary of float32 leaves, one of them a scalar, in a float64 problem."""
    params = {"rate": jnp.asarray(0.5, jnp.float32), "sizes": jnp.ones((2, 1), jnp.float32)}
    x = jnp.linspace(0, 3, 20)

    def model(params, x):
        return params["sizes"].sum() * jnp.exp(-params["rate"] * x)

    problem = rg.Problem(model, params, x, jnp.exp(-2.0 * x))
    fitted, _ = trained(rg.as_optax(LevenbergMarquardt(TrustRegion()), problem), params, 20)
    assert [leaf.dtype for leaf in jax.tree.leaves(fitted)] == [jnp.float32] * 2
    assert [leaf.shape for leaf in jax.tree.leaves(fitted)] == [(), (2, 1)]
    assert abs(fitted["rate"] - 2.0) < 1e-5
    assert abs(fitted["sizes"].sum() - 1.0) < 1e-5


def test_init_works_without_spectra():
    params, _ = trained(rg.as_optax(LevenbergMarquardt(0.1), NET, spectra=False), NET.params, 2)
    assert relative_error(NET.with_params(params).w0, iterate(NET, LevenbergMarquardt(0.1), steps=2).params[-1]) < 1e-12


def updated(method, *arguments, **extra):
    transformation = rg.as_optax(method, NET)
    return transformation.update(None, transformation.init(NET.params), *arguments, **extra)


@pytest.mark.parametrize(
    ("call", "fragment"),
    [
        (
            lambda: rg.as_optax(rg.GaussNewtonFlow(), NET),
            "`method` must be a discrete method such as .*, got GaussNewtonFlow",
        ),
        (lambda: rg.as_optax(GaussNewton(), "net"), "`problem` must be a riemgn.Problem, got str"),
        (
            lambda: rg.as_optax(GramGaussNewton(3), NET),
            "'gram-gauss-newton' draws its batches: `key` must be a JAX random key, got None",
        ),
        (lambda: rg.as_optax(GaussNewton(), NET, spectra=False), "'gauss-newton' inverts J and needs its rank"),
        (
            lambda: rg.as_optax(GaussNewton(), NET).init({"w": jnp.ones(3)}),
            r"leaves of the shapes of the problem's, .*, got \[\(3,\)\]",
        ),
        (lambda: updated(GaussNewton()), r"needs the parameters: call `update\(grads, state, params\)`"),
        (
            lambda: updated(GaussNewton(), NET.params, batch=BATCH),
            r"uses the rank of all samples: use GramGaussNewton\(\)",
        ),
        (
            lambda: updated(GradientDescent(0.1, 3), NET.params, batch=BATCH),
            "draws batches of 3: create the method with `batch_size=None`",
        ),
        (
            lambda: updated(GradientDescent(0.1), NET.params, batch=(NET.x[:3], NET.y[:2])),
            "the same number of samples, got 3 and 2",
        ),
    ],
)
def test_wrong_use_is_one_sentence(call, fragment):
    with pytest.raises(ValueError, match=fragment):
        call()
