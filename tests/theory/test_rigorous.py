"""Rigorous mode: enclosures against exact rational arithmetic and 60-digit decimals."""

import importlib
from decimal import Decimal, localcontext
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn.theory import rigorous
from riemgn.theory.constants import alpha_threshold
from riemgn.theory.path_quantities import jacobian
from riemgn.theory.rigorous import enclose_start, Interval
from tests.helpers import paired_net, relative_error, tanh_net, ZOO

flint = pytest.importorskip("flint")


def eigenvalues_below(matrix, shift) -> int:
    """Number of eigenvalues below `shift`, from pivots in the arithmetic of the entries."""
    rows = [[value - (shift if i == j else 0) for j, value in enumerate(row)] for i, row in enumerate(matrix)]
    negative = 0
    for k in range(len(rows)):
        negative += rows[k][k] < 0
        for i in range(k + 1, len(rows)):
            factor = rows[i][k] / rows[k][k]
            rows[i] = [a - factor * b for a, b in zip(rows[i], rows[k], strict=True)]
    return negative


def encloses(interval: Interval, matrix, number=Fraction) -> bool:
    """Whether the smallest eigenvalue of the matrix is in the interval."""
    return (
        eigenvalues_below(matrix, number(interval.lower)) == 0
        and eigenvalues_below(matrix, number(interval.upper)) >= 1
    )


def rational_gram(x):
    table = [[Fraction(float(v)) for v in row] for row in x]
    return [[sum(a * b for a, b in zip(row, other, strict=True)) for other in table] for row in table]


def near_duplicates(n: int = 8, p: int = 10, distance: float = 1e-7):
    x = np.random.default_rng(0).standard_normal((n, p))
    x[1] = x[0] + distance * x[2]
    return rg.Problem(rg.LinearModel(), jnp.ones(p), x, np.arange(n, dtype=float))


def test_ill_conditioned_kernel_where_float64_is_off():
    problem = near_duplicates()
    found = enclose_start(problem)
    exact = rational_gram(np.asarray(problem.x))
    assert found.positive == "holds" and found.eigenvalue.relative_width < 1e-8
    assert encloses(found.eigenvalue, exact)
    float64 = float(np.linalg.eigvalsh(np.asarray(problem.ntk(problem.w0)))[0])
    assert abs(float64 / found.eigenvalue.lower - 1) > 0.01 and float64 not in found.eigenvalue


def test_the_exact_reference_says_no():
    exact = rational_gram(np.asarray(near_duplicates().x))
    found = enclose_start(near_duplicates()).eigenvalue
    assert not encloses(Interval(found.lower * 1.0001, found.upper * 1.0001), exact)
    assert not encloses(Interval(found.lower * 0.9999, found.upper * 0.9999), exact)


def decimal_jacobian(problem) -> np.ndarray:
    """Jacobian of `V tanh(W x / sqrt(d) + b) / sqrt(m) + c`, written by hand, in decimals."""
    d, m, _ = problem.model.sizes
    exact = np.vectorize(lambda v: Decimal(float(v)), otypes=[object])
    b, w, _, v = np.split(exact(np.asarray(problem.w0)), np.cumsum([m, m * d, 1]))
    x, root_d, root_m = exact(np.asarray(problem.x)), Decimal(d).sqrt(), Decimal(m).sqrt()
    tanh = np.vectorize(lambda z: ((2 * z).exp() - 1) / ((2 * z).exp() + 1), otypes=[object])
    h = tanh(x.dot(w.reshape(m, d).T) / root_d + b)
    by_bias = (1 - h * h) * v / root_m
    by_weight = by_bias[:, :, None] * x[:, None, :] / root_d
    return np.concatenate([by_bias, by_weight.reshape(len(h), -1), exact(np.ones((len(h), 1))), h / root_m], axis=1)


def test_network_kernel_against_sixty_digits():
    problem = tanh_net(6, (2, 4, 1))
    found = enclose_start(problem)
    with localcontext() as context:
        context.prec = 60
        jac = decimal_jacobian(problem)
        assert encloses(found.eigenvalue, (jac @ jac.T).tolist(), Decimal)
        length = sum(Decimal(float(v)) ** 2 for v in problem.y).sqrt()
        assert Decimal(found.targets.lower) <= length <= Decimal(found.targets.upper)
    assert found.targets.relative_width < 1e-14


PROBLEMS = {
    **{name: ZOO[name] for name in ("under-parameterised", "several outputs", "standard scaling, no bias", "linear")},
    "deep silu": lambda: tanh_net(12, (2, 4, 3, 1), activation="silu"),
    "erf": lambda: tanh_net(5, (2, 4, 1), activation="erf"),
    "gelu": lambda: tanh_net(5, (2, 4, 1), activation="gelu"),
    "scaled, centred": lambda: rg.teacher_student(n=20, width=2, cond=3.0, key=jax.random.key(0), alpha=10.0),
    "other coordinates": lambda: rg.task.reparametrised(tanh_net(10, (2, 2, 1)), 10.0, key=jax.random.key(1)),
    "linear, two outputs": lambda: rg.Problem(
        rg.LinearModel(), jnp.arange(6.0).reshape(3, 2), np.eye(5, 3), np.ones((5, 2))
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_ball_arithmetic_evaluates_the_model(name):
    problem = PROBLEMS[name]()
    weights = [flint.arb(float(v)) for v in problem.w0]
    outputs, jac = rigorous._evaluate(flint, problem.model, weights, rigorous._matrix(flint, problem.x))
    assert np.array([float(f) for f in outputs]) == pytest.approx(np.asarray(problem.outputs(problem.w0)), abs=1e-13)
    assert relative_error([[float(v) for v in row] for row in jac.tolist()], jacobian(problem, problem.w0)) < 1e-13
    s = np.linalg.svd(np.asarray(jacobian(problem, problem.w0)), compute_uv=False)
    found = enclose_start(problem)
    assert found.sigma_min.lower * (1 - 1e-8) <= s[-1] <= found.sigma_min.upper * (1 + 1e-8)
    assert (
        found.residual.lower * (1 - 1e-12)
        <= float(jnp.linalg.norm(problem.outputs(problem.w0) - problem.y))
        <= found.residual.upper * (1 + 1e-12)
    )


def test_positivity_of_a_singular_kernel_is_undecided():
    x = np.random.default_rng(0).standard_normal((5, 2))
    x[3] = x[0]
    net = rg.MLP((2, 6, 1))
    equal_rows = rg.Problem(net, net.init(key=jax.random.key(0)), x, np.ones(5))
    for problem in (equal_rows, paired_net(20, 4)):
        found = enclose_start(problem)
        assert found.positive == "undecided" and found.eigenvalue.lower == 0 and found.eigenvalue.upper < 1e-12
        assert found.threshold is None and found.threshold_met == "undecided"


def test_more_digits_are_taken_where_needed():
    found = enclose_start(near_duplicates(distance=1e-13))
    assert found.positive == "holds" and found.eigenvalue.upper < 1e-24
    assert encloses(found.eigenvalue, rational_gram(np.asarray(near_duplicates(distance=1e-13).x)))
    # the rows are 1e-60 apart: a parameter of the problem that only a long product sees
    x = np.array([[1.0, 0.0], [1.0, 2.0**-200]])
    tiny = enclose_start(rg.Problem(rg.LinearModel(), jnp.zeros(2), x, np.ones(2)))
    assert tiny.bits > 128 and tiny.positive == "holds" and tiny.eigenvalue.lower == pytest.approx(2.0**-401, rel=1e-6)


def test_definiteness_is_not_claimed_of_an_indefinite_matrix():
    matrix = flint.arb_mat([[2, 1, 0], [1, 2, 1], [0, 1, 2]])
    identity = flint.arb_mat([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    least = 2 - 2**0.5
    assert rigorous._positive_definite(flint, matrix - identity * flint.arb(least - 1e-12))
    assert not rigorous._positive_definite(flint, matrix - identity * flint.arb(least + 1e-12))
    assert not rigorous._positive_definite(flint, matrix - identity * flint.arb(least, 1e-3))


def test_threshold_is_enclosed_and_decided():
    for n, sizes in ((20, (2, 2, 1)), (4, (2, 6, 1))):
        base = tanh_net(n, sizes, bias=False)
        model = rg.Centred(base.model, base.params)
        problem = rg.Problem(model, base.params, base.x, base.y)
        known = alpha_threshold(problem).value
        found = enclose_start(problem)
        assert found.threshold.lower == pytest.approx(known, rel=1e-6) and found.threshold.relative_width < 1e-7
        assert found.threshold_met == "fails"
        above = enclose_start(rg.Problem(rg.Scaled(model, 1.001 * known), base.params, base.x, base.y))
        assert above.threshold_met == "holds" and known == pytest.approx(above.threshold.upper, rel=1e-6)
    assert enclose_start(tanh_net(5, (2, 3, 1), loss=rg.PseudoHuberLoss())).threshold is None


@pytest.mark.parametrize(
    ("problem", "options", "sentence"),
    [
        (lambda: ZOO["circle"](), {}, "got FunctionModel"),
        (lambda: tanh_net(4, (2, 3, 1), activation="relu"), {}, "got MLP with relu"),
        (lambda: tanh_net(4, (2, 3, 1)), {"tolerance": 0.7}, r"\(0, 1/2\), got 0.7"),
        (lambda: tanh_net(1001, (30, 32, 1)), {}, "at most 1,000,000 entries of J, got 1001 x 1025"),
    ],
)
def test_bad_input_is_named(problem, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        enclose_start(problem(), **options)


def test_missing_library_is_named(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ValueError, match="needs python-flint"):
        enclose_start(near_duplicates())
