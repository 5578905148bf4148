"""All methods: first order as Euler methods of their flows, representation, wrong arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from tests.helpers import matrix_problem, relative_error
from tests.method.shared import NET, WIDE

PENALTY, DAMPING = rg.PseudoHuberPenalty(), rg.ExponentialDamping(0.3)


@pytest.mark.parametrize(
    ("flow", "method", "t1"),
    [
        (rg.GaussNewtonFlow(), rg.GaussNewton, 0.5),
        (rg.LevenbergMarquardtFlow(DAMPING), lambda eta: rg.LevenbergMarquardt(DAMPING, eta), 0.5),
        (rg.GradientFlow(), rg.GradientDescent, 0.05),
    ],
    ids=["gn", "lm", "gf"],
)
def test_method_follows_its_flow_to_first_order(flow, method, t1):
    exact = rg.solve(NET, flow, t1=t1, ts=[t1], rtol=1e-10, atol=1e-12).outputs[-1]
    errors = [relative_error(rg.iterate(NET, method(t1 / k), steps=32).outputs[k], exact) for k in (16, 32)]
    assert 0.9 < np.log2(errors[0] / errors[1]) < 1.1
    assert errors[1] > 1e-7  # far above the tolerances of the flow


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (rg.GaussNewton(), "GaussNewton()"),
        (rg.LevenbergMarquardt(0.1), "LevenbergMarquardt(damping=0.1)"),
        (rg.LevenbergMarquardt(rg.TrustRegion(start=2)), "LevenbergMarquardt(damping=TrustRegion(start=2))"),
        (rg.GramGaussNewton(32, 0.5, 10), "GramGaussNewton(batch_size=32, step_size=0.5, damping=10)"),
        (rg.GGNScore(PENALTY, damping="tau"), "GGNScore(penalty=PseudoHuberPenalty(), damping='tau')"),
        (rg.GGNScore(rg.PseudoHuberPenalty(0.1), 1.0), "GGNScore(penalty=PseudoHuberPenalty(smoothing=0.1), weight=1)"),
        (rg.GradientDescent(1e-3, 4, "subset"), "GradientDescent(step_size=0.001, batch_size=4, order='subset')"),
        (jax.vmap(rg.GaussNewton)(jnp.ones(3)), "GaussNewton(step_size=f64[3])"),
    ],
)
def test_repr_is_the_call_with_changed_settings(value, expected):
    assert repr(value) == expected


@pytest.mark.parametrize("method", [rg.GaussNewton(), rg.GramGaussNewton(), rg.LevenbergMarquardt(0.0)])
def test_undamped_method_needs_spectra(method):
    with pytest.raises(ValueError, match=f"'{method.name}' inverts J and needs its rank, but got `spectra=False`"):
        rg.iterate(matrix_problem(WIDE), method, steps=1, spectra=False)


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (lambda: rg.GaussNewton(0.0), "`step_size` must be positive and finite, got 0.0"),
        (lambda: rg.GaussNewton("full"), "`step_size` must be a number, got 'full'"),
        (lambda: rg.GradientDescent(float("nan")), "got nan"),
        (lambda: rg.LevenbergMarquardt(-0.1), "`damping` must be >= 0 and finite, got -0.1"),
        (lambda: rg.LevenbergMarquardt("small"), "`damping` must be a number, got 'small'"),
        (lambda: rg.LevenbergMarquardt(rg.TrustRegion(), line_search=True), "give it or `line_search=True`, not both"),
        (lambda: rg.GramGaussNewton(0), "`batch_size` must be a positive integer or None, got 0"),
        (lambda: rg.GramGaussNewton(2.5), "got 2.5"),
        (lambda: rg.GramGaussNewton(4, order="sorted"), "Unknown order 'sorted'; known: cyclic, shuffled, random, sub"),
        (lambda: rg.GramGaussNewton(4, damping=float("inf")), "`damping` must be >= 0 and finite, got inf"),
        (lambda: rg.GGNScore(1.0), "`penalty` must be a penalty such as .*, got 1.0"),
        (lambda: rg.GGNScore(PENALTY, -1.0), "`weight` must be >= 0 and finite, got -1.0"),
        (lambda: rg.GGNScore(PENALTY, damping=0.0), "`damping` must be positive and finite, got 0.0"),
        (lambda: rg.GGNScore(PENALTY, damping="one"), "`damping` must be a positive number, 'unit' or 'tau', got 'on"),
        (lambda: rg.GGNScore(PENALTY, 0.0, damping="tau"), "`weight` must be positive .*, got 0"),
        (lambda: rg.GGNScore(PENALTY, rule="newton"), "Unknown rule 'newton'; known: reference, theory, analytic"),
        (lambda: rg.GGNScore(PENALTY, recycle=1), "`recycle` must be True or False, got 1"),
        (lambda: rg.GGNScore(PENALTY, batch_size=2, recycle=True), "needs all samples at every step, got batch_size=2"),
        (lambda: rg.TrustRegion(0.0), "`start` must be positive and finite, got 0.0"),
        (lambda: rg.TrustRegion(increase=1.0), "`increase` must be above 1, got 1"),
        (lambda: rg.TrustRegion(decrease=0.5), "`decrease` must be above 1, got 0.5"),
        (lambda: rg.TrustRegion(1.0, lower=2.0), "`start` must be between `lower` = 2 and `upper` = 1e.12, got 1"),
        (lambda: rg.iterate(NET, rg.GramGaussNewton(9, order="cyclic"), steps=1), "number of samples, 8, got 9"),
    ],
)
def test_wrong_argument_is_quoted(make, fragment):
    with pytest.raises(ValueError, match=fragment):
        make()
