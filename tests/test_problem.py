"""Problem: Jacobians, points, reparametrisation, the data it accepts and the errors it raises."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from tests.helpers import relative_error, tanh_net, ZOO

X = np.random.default_rng(0).standard_normal((6, 3))
Y = np.zeros(6)
NET = rg.MLP((3, 4, 1))
PARAMS = NET.init(key=jax.random.key(0))
PROBLEM = rg.Problem(NET, PARAMS, X, Y)


@pytest.mark.parametrize("name", ZOO)
def test_jacobian_matches_reverse_mode(name):
    problem = ZOO[name]()
    w = problem.w0 + 0.05  # nothing special about the start is used
    jac, reverse = eqx.filter_jit(lambda problem, w: (problem.jac(w), jax.jacrev(problem.outputs)(w)))(problem, w)
    assert jac.shape == (problem.n, problem.p)
    assert relative_error(jac, reverse) < 1e-12


def test_several_outputs_are_stacked_row_by_row():
    problem = ZOO["several outputs"]()
    out = problem.model(problem.params, problem.x)
    assert (problem.n, out.shape) == (18, (9, 2))
    assert np.array_equal(problem.outputs(problem.w0), np.asarray(out).reshape(-1))


# --- points -------------------------------------------------------------------------------------


@eqx.filter_jit
def all_results(problem, w):
    """Every method that takes a point."""
    point = problem.linearise(w)
    f, forward, backward = problem.products(w)
    results = [problem.outputs(w), problem.objective(w), problem.jac(w), problem.gram(w), problem.ntk(w), point.jac]
    return [*results, f, forward(jnp.ones(problem.p)), backward(jnp.ones(problem.n)), problem.flatten(w)]


def test_a_point_may_be_flat_or_a_pytree():
    w = PROBLEM.w0 + 0.1
    for other in (PROBLEM.unflatten(w), jax.tree.map(np.asarray, PROBLEM.unflatten(w)), np.asarray(w)):
        for one, expected in zip(all_results(PROBLEM, other), all_results(PROBLEM, w), strict=True):
            assert np.array_equal(one, expected)
    assert np.array_equal(PROBLEM.outputs(PROBLEM.params), PROBLEM.outputs(PROBLEM.w0))
    matrix = rg.Problem(rg.LinearModel(), np.ones((3, 2)), X, np.zeros((6, 2)))
    assert np.array_equal(matrix.outputs(matrix.params), matrix.outputs(matrix.w0))


def test_a_flat_point_is_not_copied_and_traces_as_before():
    w = PROBLEM.w0
    assert PROBLEM.flatten(w) is w
    batched = jax.vmap(PROBLEM.outputs)(jnp.stack([w, w + 1.0]))
    assert relative_error(batched[1], PROBLEM.outputs(w + 1.0)) < 1e-13


@pytest.mark.parametrize("point", [np.ones(3), jnp.ones((21, 1)), [np.ones(21)], {"a": 1.0}, 2.0, None])
def test_a_point_of_another_shape_is_rejected(point):
    with pytest.raises(ValueError, match=r"^A point must be a flat array of shape \(21,\) or a PyTree .* got "):
        PROBLEM.outputs(point)


def test_with_params_changes_the_start():
    problem = ZOO["several outputs"]()
    w = problem.w0 + 1.0
    for params in (w, np.asarray(w), problem.unflatten(w)):
        moved = problem.with_params(params)
        assert np.array_equal(moved.w0, w)
        assert relative_error(moved.outputs(moved.params), problem.outputs(w)) < 1e-15


# --- working memory -----------------------------------------------------------------------------


def problem_of(model, shape, memory):
    net = model if isinstance(model, rg.MLP) else NET
    x = np.random.default_rng(1).standard_normal((shape[0], 3))
    return rg.Problem(model, net.init(key=jax.random.key(0)), x, np.zeros(shape), working_memory=memory)


def mixing(params, x):
    """A function that makes no promise about rows."""
    return NET(params, x)


CHUNKED = {
    "by samples": (NET, (6,)),
    "by samples of several outputs": (rg.MLP((3, 4, 2)), (7, 2)),
    "by rows": (mixing, (6,)),
    "by columns": (mixing, (25,)),
}


@pytest.mark.parametrize("name", CHUNKED)
def test_jacobian_in_chunks_is_the_jacobian(name):
    """Also its derivatives, in chunks of one row and of several rows of unequal numbers."""
    plain = problem_of(*CHUNKED[name], 1e9)
    w, probe = plain.w0 + 0.05, jnp.cos(jnp.arange(plain.n * plain.p)).reshape(plain.n, plain.p)

    @eqx.filter_jit
    def derivatives(problem, w):
        return *jax.jvp(problem.jac, (w,), (jnp.sin(w),)), jax.grad(lambda w: jnp.sum(probe * problem.jac(w)))(w)

    expected = derivatives(plain, w)
    for memory in (1, 700):
        problem = problem_of(*CHUNKED[name], memory)
        assert "while" in jax.jit(lambda w, problem=problem: problem.jac(w)).lower(w).as_text()
        for chunked, one in zip(derivatives(problem, w), expected, strict=True):
            assert relative_error(chunked, one) < 1e-15


def test_working_memory_is_respected():
    """The bytes that the compiler reserves for a network's Jacobian, less the Jacobian itself."""
    net, bound = rg.MLP((3, 40, 40, 1)), 2e6
    params, inputs = net.init(key=jax.random.key(0)), np.random.default_rng(0).standard_normal((150, 3))

    def reserved(memory):
        problem = rg.Problem(lambda params, x: net(params, x), params, inputs, np.zeros(150), working_memory=memory)
        memory = jax.jit(lambda w: problem.jac(w)).lower(problem.w0).compile().memory_analysis()
        return memory.temp_size_in_bytes - memory.output_size_in_bytes

    assert reserved(1e12) > 3 * bound
    assert reserved(bound) < 1.25 * bound


def test_a_matrix_too_large_for_the_memory_is_rejected():
    problem = rg.Problem(rg.LinearModel(), jnp.zeros(1), jnp.ones((10**6, 1)), jnp.zeros(10**6))
    assert problem.jac(problem.w0).shape == (10**6, 1)
    with pytest.raises(
        ValueError, match=r"^The tangent kernel of shape \(1000000, 1000000\) takes 8000.0 GB, 24000.0 GB"
    ):
        problem.ntk(problem.w0)
    net = rg.MLP((4, 2000, 2000, 1))
    problem = rg.Problem(net, net.init(key=jax.random.key(0)), jnp.ones((2 * 10**4, 4)), jnp.zeros(2 * 10**4))
    with pytest.raises(ValueError, match=r"takes 642.2 GB, .* use LevenbergMarquardtFlow\(rho, matrix_free=MatrixFree"):
        rg.solve(problem, rg.GaussNewtonFlow(), t1=1.0)


# --- objective and coordinates ------------------------------------------------------------------


def test_gradient_and_whitening_belong_to_the_objective():
    problem = tanh_net(9, (3, 5, 1), loss=rg.PseudoHuberLoss())
    point = problem.linearise(problem.w0)
    assert relative_error(point.jac.T @ point.loss_gradient, jax.grad(problem.objective)(problem.w0)) < 1e-13
    assert relative_error(point.residual, problem.outputs(problem.w0) - problem.y) < 1e-15
    white = point.whitened()
    assert relative_error(white.jac.T @ white.loss_gradient, point.jac.T @ point.loss_gradient) < 1e-13
    assert relative_error(white.jac.T @ white.jac, point.jac.T @ (point.loss_hessian[:, None] * point.jac)) < 1e-13


@pytest.mark.parametrize("name", ["several outputs", "rank one", "circle"])
def test_reparametrisation_keeps_the_outputs(name):
    problem = ZOO[name]()
    a = rg.conditioned_matrix(problem.p, 1.0 if problem.p == 1 else 1e3, key=jax.random.key(1))
    other = problem.reparametrise(a)
    assert (other.n, other.p) == (problem.n, problem.p)
    assert np.all(np.asarray(other.w0) == 0)
    assert np.array_equal(other.outputs(other.w0), problem.outputs(problem.w0))
    assert relative_error(other.jac(other.w0), problem.jac(problem.w0) @ a) < 1e-12
    v = 0.1 * jnp.arange(1.0, problem.p + 1)
    assert relative_error(other.outputs(v), problem.outputs(problem.w0 + a @ v)) < 1e-13


@pytest.mark.parametrize(
    ("matrix", "fragment"),
    [
        (np.eye(3), r"`matrix` must have shape \(21, 21\), got \(3, 3\)"),
        (np.full((21, 21), math.nan), "`matrix` must be finite, got 441"),
    ],
)
def test_bad_reparametrisations_are_rejected(matrix, fragment):
    with pytest.raises(ValueError, match=fragment):
        PROBLEM.reparametrise(matrix)


# --- repr, data and errors ----------------------------------------------------------------------


def test_repr_is_one_readable_line():
    scaled = rg.Scaled(rg.Centred(NET, PARAMS), 1000)
    assert repr(PROBLEM) == "Problem(MLP 3-4-1 tanh, n=6, p=21, SquaredLoss)"
    assert repr(rg.Problem(scaled, PARAMS, X, Y, rg.PseudoHuberLoss(0.5))) == (
        "Problem(Scaled(Centred(MLP 3-4-1 tanh), alpha=1000), n=6, p=21, PseudoHuberLoss(delta=0.5))"
    )
    assert repr(rg.Problem(mixing, PARAMS, X, Y)) == "Problem(FunctionModel, n=6, p=21, SquaredLoss)"
    assert all(each in PROBLEM._repr_html_() for each in ("<td>MLP 3-4-1 tanh</td>", "<td>21</td>", "<td>6 x 3</td>"))
    traced = []
    jax.jit(lambda w: traced.append(repr(PROBLEM.with_params(w))))(PROBLEM.w0)
    assert traced == [repr(PROBLEM)]


def test_integers_and_float32_are_promoted():
    x = np.arange(18).reshape(6, 3)
    for kind in (np.int64, np.uint8, np.float32, bool):
        params = jax.tree.map(lambda a: np.asarray(a, np.float32), PARAMS)
        problem = rg.Problem(NET, params, x.astype(kind), x[:, 0].astype(kind))
        assert (problem.x.dtype, problem.y.dtype, problem.w0.dtype) == (np.float64,) * 3
    rg.Problem(NET, PARAMS, x.tolist(), [0] * 6)


@pytest.mark.parametrize(("x", "y"), [(X[:1], [0.5]), (X, np.full(6, 3.0))], ids=["one sample", "constant targets"])
def test_degenerate_data_can_be_solved(x, y):
    assert rg.solve(rg.Problem(NET, PARAMS, x, y), rg.LevenbergMarquardtFlow(0.1), t1=1.0, ts=[0.0, 1.0]).succeeded


NAN_X = np.where(np.arange(18).reshape(6, 3) == 7, math.nan, X)
BAD_INPUTS = {
    "NaN in x": ((NET, PARAMS, NAN_X, Y), "`x` must be finite, got 1 NaN or infinite of 18 entries"),
    "inf in y": ((NET, PARAMS, X, [0, 0, 0, 0, 0, -math.inf]), "`y` must be finite, got 1 NaN"),
    "sample counts": ((NET, PARAMS, X, np.zeros(5)), "same number of samples, got 6 and 5"),
    "column targets": ((NET, PARAMS, X, np.zeros((6, 1))), r"targets' shape \(6, 1\), got \(6,\)"),
    "features": ((NET, PARAMS, np.ones((6, 4)), Y), r"cannot be applied to `params` and `x` of shape \(6, 4\)"),
    "empty x": ((NET, PARAMS, np.ones((0, 3)), np.ones(0)), r"`x` must hold at least one sample, got shape \(0, 3\)"),
    "scalar y": ((NET, PARAMS, X, 1.0), r"`y` must hold at least one sample, got shape \(\)"),
    "text": ((NET, PARAMS, [["a", "b", "c"]] * 6, Y), "`x` must hold real numbers, got dtype <U1"),
    "objects": ((NET, PARAMS, X, [None] * 6), "`y` must hold real numbers, got dtype object"),
    "complex": ((NET, PARAMS, X, np.ones(6) * 1j), "`y` must hold real numbers, got dtype complex128"),
    "ragged": ((NET, PARAMS, [[1.0, 2.0, 3.0], [1.0]], [0, 0]), "`x` must be a rectangular array"),
    "integer params": ((rg.LinearModel(), np.ones(3, int), X, Y), "floating-point arrays, got a leaf of dtype int64"),
    "NaN params": ((rg.LinearModel(), np.full(3, math.nan), X, Y), r"`params` must be finite, .* shape \(3,\)"),
    "no params": ((NET, None, X, Y), "`params` must hold at least one number, got None"),
    "no params of a function": ((mixing, None, X, Y), "only an equinox module has its own, not function"),
    "empty params": ((NET, [], X, Y), r"`params` must hold at least one number, got \[\]"),
    "two outputs": ((lambda w, x: (x @ w, x @ w), np.ones(3), X, Y), r"shape \(6,\), got tuple"),
    "no model": ((None, np.ones(3), X, Y), "`model` must be a function .* got NoneType"),
    "loss by name": ((NET, PARAMS, X, Y, "squared"), r"`loss` must be a riemgn loss .* got 'squared'"),
    "targets of the loss": ((NET, PARAMS, X, Y + 2, rg.LogisticLoss()), r"targets in \[0, 1\], got values from 2 to 2"),
    "no working memory": ((NET, PARAMS, X, Y, None, 0), "`working_memory` must be positive and finite, got 0"),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input_is_rejected_in_one_sentence(name):
    arguments, fragment = BAD_INPUTS[name]
    with pytest.raises(ValueError, match=fragment) as caught:
        rg.Problem(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 300
