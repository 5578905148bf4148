"""Problem: Jacobians, Gram matrices, reparametrisation, what data it takes and what it rejects."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn._memory import working_bytes
from tests.helpers import finite_difference, relative_error, tanh_net, TwoLayerTanh, ZOO

X = np.random.default_rng(0).standard_normal((6, 3))
NET = rg.MLP((3, 4, 1))
PARAMS = NET.init(key=jax.random.key(0))


@pytest.mark.parametrize("name", ZOO)
def test_jacobian_matches_reverse_mode_and_finite_differences(name):
    problem = ZOO[name]()
    w = problem.w0 + 0.05  # nothing special about the start is used
    jac, reverse = eqx.filter_jit(lambda problem, w: (problem.jac(w), jax.jacrev(problem.outputs)(w)))(problem, w)
    outputs = eqx.filter_jit(problem.outputs)
    assert jac.shape == (problem.n, problem.p)
    assert relative_error(jac, reverse) < 1e-12
    assert relative_error(jac, finite_difference(outputs, w)) < 1e-8


def test_several_outputs_are_stacked_row_by_row():
    problem = ZOO["several outputs"]()
    out = problem.model(problem.params, problem.x)
    assert (problem.n, out.shape) == (18, (9, 2))
    assert np.array_equal(problem.outputs(problem.w0), np.asarray(out).reshape(-1))


def test_jacobian_matches_one_written_by_hand():
    problem = tanh_net(9, (3, 5, 1))
    reference, w = TwoLayerTanh(problem.x, 5), np.asarray(problem.w0) + 0.1
    assert relative_error(problem.outputs(jnp.asarray(w)), reference.outputs(w)) < 1e-13
    assert relative_error(problem.jac(jnp.asarray(w)), reference.jac(w)) < 1e-13


CHUNKED = {
    "by samples": lambda memory: rg.Problem(NET, PARAMS, X, np.zeros(6), working_memory=memory),
    "by samples of several outputs": lambda memory: _of_outputs(rg.MLP((3, 4, 2)), (7, 2), memory),
    "by rows": lambda memory: rg.Problem(
        lambda params, x: NET(params, x), PARAMS, X, np.zeros(6), working_memory=memory
    ),
    "by columns": lambda memory: _of_outputs(lambda params, x: NET(params, x), (25,), memory),
}


def _of_outputs(model, shape, memory):
    params = (NET if len(shape) == 1 else model).init(key=jax.random.key(0))
    return rg.Problem(
        model, params, np.random.default_rng(1).standard_normal((shape[0], 3)), np.zeros(shape), working_memory=memory
    )


@pytest.mark.parametrize("name", CHUNKED)
def test_a_jacobian_in_chunks_is_the_jacobian(name):
    """With its derivatives, forward and reverse, in chunks of one and of several rows that do not divide them evenly."""
    whole = CHUNKED[name](1e9)
    w = whole.w0 + 0.05
    probe = jnp.cos(jnp.arange(whole.n * whole.p)).reshape(whole.n, whole.p)

    def derivatives(problem, w):
        return *jax.jvp(problem.jac, (w,), (jnp.sin(w),)), jax.grad(lambda w: jnp.sum(probe * problem.jac(w)))(w)

    derivatives = eqx.filter_jit(derivatives)
    expected = derivatives(whole, w)
    assert "while" not in eqx.filter_jit(lambda problem, w: problem.jac(w)).lower(whole, w).as_text()
    for memory in (1, 700):
        problem = CHUNKED[name](memory)
        assert "while" in eqx.filter_jit(lambda problem, w: problem.jac(w)).lower(problem, w).as_text()
        for chunked, one in zip(derivatives(problem, w), expected, strict=True):
            assert relative_error(chunked, one) < 1e-15


def test_where_one_chunk_does_the_program_is_that_of_jax():
    def program(function, problem):
        return jax.jit(function).lower(problem.w0).as_text()

    for problem, jacobian in ((CHUNKED["by rows"](1e9), jax.jacrev), (CHUNKED["by columns"](1e9), jax.jacfwd)):
        assert program(lambda w, problem=problem: problem.jac(w), problem) == program(
            lambda w, p=problem, d=jacobian: d(p.outputs)(w), problem
        )


@pytest.mark.parametrize(("samples", "width"), [(150, 40), (500, 10)])
def test_the_working_memory_is_kept(samples, width):
    """Reverse and forward mode of a batched network hold activations x rows: by what the compiler reserves, less one Jacobian."""
    net = rg.MLP((3, width, width, 1))
    inputs = np.random.default_rng(0).standard_normal((samples, 3))

    def reserved(memory):
        problem = rg.Problem(
            lambda params, x: net(params, x),
            net.init(key=jax.random.key(0)),
            inputs,
            np.zeros(samples),
            working_memory=memory,
        )
        compiled = jax.jit(lambda w: problem.jac(w)).lower(problem.w0).compile().memory_analysis()
        return compiled.temp_size_in_bytes - compiled.output_size_in_bytes

    bound = 2e6
    assert reserved(1e12) > 3 * bound
    assert reserved(bound) < 1.25 * bound


def test_values_alive_at_once_are_counted():
    def chain(x):
        y = jnp.outer(x, x)  # 10 x 10, beside its two factors
        return jnp.sum(jnp.sin(y) * constant)

    constant = jnp.ones((10, 10))
    assert 2 * 800 <= working_bytes(chain, jnp.ones(10))[0] <= 2 * 800 + 4 * 80
    assert (
        working_bytes(lambda x: jnp.sum(constant @ constant) + x, 1.0)[0] <= 16
    )  # what does not depend on the argument is free
    assert working_bytes(jax.jit(chain), jnp.ones(10)) == working_bytes(chain, jnp.ones(10))


@pytest.mark.parametrize("name", ["under-parameterised", "over-parameterised", "rank one"])
def test_gram_matrices(name):
    problem = ZOO[name]()
    jac = np.asarray(problem.jac(problem.w0))
    assert relative_error(problem.gram(problem.w0), jac.T @ jac) < 1e-14
    assert relative_error(problem.ntk(problem.w0), jac @ jac.T) < 1e-14


def test_objective_and_gradient_belong_together():
    problem = tanh_net(9, (3, 5, 1), loss=rg.PseudoHuberLoss())
    point = problem.linearise(problem.w0)
    assert relative_error(point.jac.T @ point.loss_gradient, jax.grad(problem.objective)(problem.w0)) < 1e-13
    assert relative_error(point.residual, problem.outputs(problem.w0) - problem.y) < 1e-15
    white = point.whitened()
    assert relative_error(white.jac.T @ white.loss_gradient, point.jac.T @ point.loss_gradient) < 1e-13
    assert relative_error(white.jac.T @ white.jac, point.jac.T @ (point.loss_hessian[:, None] * point.jac)) < 1e-13


@pytest.mark.parametrize("name", ["under-parameterised", "several outputs", "rank one", "circle"])
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


def test_with_params_starts_elsewhere():
    problem = ZOO["several outputs"]()
    w = problem.w0 + 1.0
    for params in (w, np.asarray(w), problem.unflatten(w)):
        moved = problem.with_params(params)
        assert np.array_equal(moved.w0, w)
        assert relative_error(moved.outputs(moved.w0), problem.outputs(w)) < 1e-15


def test_integer_and_single_precision_data_are_promoted():
    x = np.arange(18).reshape(6, 3)
    for kind in (np.int64, np.uint8, np.float32, bool):
        params = jax.tree.map(lambda a: np.asarray(a, np.float32), PARAMS)
        problem = rg.Problem(NET, params, x.astype(kind), x[:, 0].astype(kind))
        assert (problem.x.dtype, problem.y.dtype, problem.w0.dtype) == (np.float64,) * 3
    rg.Problem(NET, PARAMS, x.tolist(), [0] * 6)


def test_one_sample_and_constant_targets_work():
    one = rg.Problem(NET, PARAMS, X[:1], [0.5])
    assert (one.n, one.jac(one.w0).shape) == (1, (1, one.p))
    flat = rg.Problem(NET, PARAMS, X, np.full(6, 3.0))
    for problem in (one, flat):
        assert rg.solve(problem, rg.LevenbergMarquardtFlow(0.1), t1=1.0).succeeded


def with_entry(value):
    x = X.copy()
    x[2, 1] = value
    return x


class NotAModel:
    pass


Y = np.zeros(6)
BAD_INPUTS = {
    "NaN in x": ((NET, PARAMS, with_entry(math.nan), Y), "`x` must be finite, got 1 NaN or infinite of 18 entries"),
    "inf in x": ((NET, PARAMS, with_entry(math.inf), Y), "`x` must be finite, got 1 NaN or infinite"),
    "NaN in y": ((NET, PARAMS, X, np.full(6, math.nan)), "`y` must be finite, got 6 NaN or infinite of 6"),
    "inf in y": ((NET, PARAMS, X, [0, 0, 0, 0, 0, -math.inf]), "`y` must be finite, got 1 NaN"),
    "sample counts": ((NET, PARAMS, X, np.zeros(5)), "same number of samples, got 6 and 5"),
    "column targets": ((NET, PARAMS, X, np.zeros((6, 1))), r"targets' shape \(6, 1\), got \(6,\)"),
    "features": ((NET, PARAMS, np.ones((6, 4)), Y), r"cannot be applied to `params` and `x` of shape \(6, 4\)"),
    "flat x": ((NET, PARAMS, np.ones(6), Y), r"cannot be applied to `params` and `x` of shape \(6,\)"),
    "empty x": ((NET, PARAMS, np.ones((0, 3)), np.ones(0)), r"`x` must hold at least one sample, got shape \(0, 3\)"),
    "empty y": ((NET, PARAMS, X, []), r"`y` must hold at least one sample, got shape \(0,\)"),
    "scalar y": ((NET, PARAMS, X, 1.0), r"`y` must hold at least one sample, got shape \(\)"),
    "text": ((NET, PARAMS, [["a", "b", "c"]] * 6, Y), "`x` must hold real numbers, got dtype <U1"),
    "text targets": ((NET, PARAMS, X, ["cat"] * 6), "`y` must hold real numbers, got dtype <U3"),
    "objects": ((NET, PARAMS, X, [None] * 6), "`y` must hold real numbers, got dtype object"),
    "complex": ((NET, PARAMS, X, np.ones(6) * 1j), "`y` must hold real numbers, got dtype complex128"),
    "ragged": ((NET, PARAMS, [[1.0, 2.0, 3.0], [1.0]], [0, 0]), "`x` must be a rectangular array"),
    "integer params": ((rg.LinearModel(), np.ones(3, int), X, Y), "floating-point arrays, got a leaf of dtype int64"),
    "complex params": ((rg.LinearModel(), np.ones(3) * 1j, X, Y), "got a leaf of dtype complex128"),
    "text params": ((rg.LinearModel(), "weights", X, Y), "floating-point arrays, got a leaf of dtype <U7"),
    "NaN params": ((rg.LinearModel(), np.full(3, math.nan), X, Y), r"`params` must be finite, .* shape \(3,\)"),
    "no params": ((NET, None, X, Y), "`params` must hold at least one number, got None"),
    "empty params": ((NET, [], X, Y), r"`params` must hold at least one number, got \[\]"),
    "wrong output": ((lambda w, x: x @ w[:, None], np.ones(3), X, Y), r"shape \(6,\), got \(6, 1\)"),
    "scalar output": ((lambda w, x: jnp.sum(x @ w), np.ones(3), X, Y), r"shape \(6,\), got \(\)"),
    "two outputs": ((lambda w, x: (x @ w, x @ w), np.ones(3), X, Y), r"shape \(6,\), got tuple"),
    "no model": ((NotAModel(), np.ones(3), X, Y), "`model` must be a function .* got NotAModel"),
    "model is None": ((None, np.ones(3), X, Y), "`model` must be a function .* got NoneType"),
    "loss by name": ((NET, PARAMS, X, Y, "squared"), r"`loss` must be a riemgn loss .* got 'squared'"),
    "loss class": ((NET, PARAMS, X, Y, rg.SquaredLoss), "`loss` must be a riemgn loss"),
    "targets of the loss": ((NET, PARAMS, X, Y + 2, rg.LogisticLoss()), r"targets in \[0, 1\], got values from 2 to 2"),
    "no working memory": ((NET, PARAMS, X, Y, None, 0), "`working_memory` must be positive and finite, got 0"),
    "zero-size params": ((rg.LinearModel(), np.ones(0), X, Y), r"`params` must hold at least one number, got array"),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input_is_rejected_in_one_sentence(name):
    arguments, fragment = BAD_INPUTS[name]
    with pytest.raises(ValueError, match=fragment) as caught:
        rg.Problem(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 300


@pytest.mark.parametrize(
    ("matrix", "fragment"),
    [
        (np.eye(3), r"`matrix` must have shape \(21, 21\), got \(3, 3\)"),
        (np.full((21, 21), math.nan), "`matrix` must be finite, got 441"),
    ],
)
def test_bad_reparametrisations_are_rejected(matrix, fragment):
    with pytest.raises(ValueError, match=fragment):
        rg.Problem(NET, PARAMS, X, Y).reparametrise(matrix)


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (lambda key: rg.teacher_student(n=0, key=key), "must be positive, got 0, 8, 1 and 4"),
        (lambda key: rg.teacher_student(cond=0.5, key=key), "`cond` must be at least 1 .* got 0.5"),
        (lambda key: rg.teacher_student(noise=-1.0, key=key), "`noise` must be >= 0, got -1.0"),
        (lambda key: rg.teacher_student(alpha=0.0, key=key), "`alpha` must be a positive finite number, got 0.0"),
        (lambda key: rg.task.circle(radius=-1.0), "`radius` and `target` must be positive, got -1.0 and 1.0"),
        (lambda key: rg.task.sphere(target=0.0), "got 1.0 and 0.0"),
        (lambda key: rg.task.torus(major=0.5), "0 < minor < major, got 0.7 and 0.5"),
        (lambda key: rg.task.rank_one(1, 3, key=key), "at least 2, got 1 and 3"),
    ],
)
def test_bad_tasks_are_rejected(make, fragment):
    with pytest.raises(ValueError, match=fragment):
        make(jax.random.key(0))


def test_teacher_student_has_the_condition_number_asked_for():
    problem = rg.teacher_student(n=40, width=3, cond=1e4, key=jax.random.key(0), alpha=5.0)
    assert abs(np.linalg.cond(problem.x) / 1e4 - 1) < 1e-8
    assert np.all(np.asarray(problem.outputs(problem.w0)) == 0)
    assert np.linalg.matrix_rank(problem.jac(problem.w0)) == problem.p
