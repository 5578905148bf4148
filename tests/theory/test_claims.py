"""Each claim: a problem on which it holds, one on which a hypothesis is broken on purpose, and a corrupted computation that it catches."""

from functools import cache

import equinox as eqx
import jax.random as jr
import numpy as np
import pytest

import riemgn as rg
from riemgn.experiment.cases import (
    CASES,
    ggn_score_steps,
    iterate_with_error as steps_of,
    linear_kernel,
    minibatch_steps,
    narrow_network as under,
    RTOL,
    several_alphas,
    several_conds,
    solve_with_error as flow_of,
    wide_network as over,
)
from riemgn.experiment.certification import seeds_of
from riemgn.theory import certify, CLAIMS, path_quantities, underparameterized
from riemgn.theory.constants import Constant, output_scale

LM = rg.LevenbergMarquardtFlow


def quick_case(claim):
    return next(case for case in CASES if case.claim == claim and case.quick)


@cache
def evidence(claim):
    return quick_case(claim).evidence(0)


@cache
def underparameterised(rho=0.0, t1=3.0):
    return flow_of(under(0), LM(rho) if rho else rg.GaussNewtonFlow(), t1, dense=True)


def slowest_mode():
    """A linear model whose residual is all in its slowest mode: bounds by lambda_min are attained."""
    problem = linear_kernel(0, 100.0)
    slowest = np.linalg.svd(np.asarray(problem.x))[0][:, 7]
    return rg.Problem(problem.model, problem.params, problem.x, 3 * slowest)


def labelled(traj, flow):
    """The trajectory with another flow's name on it, and its twin: what a wrong solver would hand in."""
    traj = eqx.tree_at(lambda t: t.flow, traj, flow, is_leaf=lambda leaf: leaf is traj.flow)
    return eqx.tree_at(lambda t: t.tight.flow, traj, flow, is_leaf=lambda leaf: leaf is traj.tight.flow)


def both(where, traj, change):
    """`change` applied to one field of a trajectory and of its twin."""
    traj = eqx.tree_at(where, traj, change(where(traj)))
    return eqx.tree_at(lambda t: where(t.tight), traj, change(where(traj.tight)))


@pytest.mark.parametrize("claim", CLAIMS)
def test_it_holds(claim):
    cert = certify(claim, evidence(claim))
    assert cert.status == "holds", str(cert)


FULL_STEP = rg.GaussNewton(step_size=1.0)
BROKEN = {
    "equivalence": lambda: (labelled(evidence("equivalence")[0], rg.GradientFlow()), evidence("equivalence")[1]),
    "dissipation": lambda: rg.solve(
        under(0), rg.GaussNewtonFlow(), t1=3.0, dense=True, error=True, throw=False, max_steps=4
    ),
    "invariance": lambda: [evidence("invariance")[0]] * 2,
    "rate_identity": lambda: underparameterised(1.0),
    "underparameterized_convergence": lambda: underparameterised(),
    "exact_residual_law": lambda: underparameterised(),
    "damped_rate": lambda: underparameterised(1.0),
    "adaptive_damping": lambda: several_conds(1.0, (1e2,), 10.0)(0, RTOL),
    "path_length": lambda: underparameterised(1.0),
    "generalized_law": lambda: flow_of(over(0, loss=rg.LogisticLoss()), rg.GeneralizedGaussNewtonFlow(0.2), 5.0),
    "asymptotic_rate": lambda: underparameterised(t1=1.0),
    "curvature_scaling": lambda: several_alphas(under, (10.0, 30.0, 100.0), 5.0)(0, RTOL),
    "kernel_limit": lambda: several_alphas(over, (1.0, 3.0, 10.0), 5.0)(0, RTOL),
    "discrete_quadratic": lambda: steps_of(over(0), rg.GaussNewton(step_size=0.5), 6),
    "discrete_adaptive": lambda: steps_of(
        over(0, alpha=1.0), rg.LevenbergMarquardt(rg.SpectralDamping(1.0), step_size=0.5), 30
    ),
    "minibatch_contraction": lambda: steps_of(
        linear_kernel(0, 10.0), rg.GramGaussNewton(batch_size=3, order="cyclic"), 200
    ),
    "ggn_score_descent": lambda: steps_of(over(0), rg.GGNScore(rg.OstrovskiiBachPenalty(), weight=1e-2), 5),
    "ggn_score_flow_descent": lambda: underparameterised(),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_broken_hypothesis_is_seen(claim):
    cert = certify(claim, BROKEN[claim]())
    assert cert.status == "not applicable", str(cert)


def gradient_flow_in_coordinates():
    ts = np.linspace(0, 1e-6, 9)
    problems = [under(0), rg.task.reparametrised(under(0), 1e3, key=jr.key(3))]
    return [
        labelled(flow_of(problem, rg.GradientFlow(), 1e-6, ts=ts, rtol=1e-8), rg.GaussNewtonFlow())
        for problem in problems
    ]


def gradient_flow_beside_manifold():
    _, path = evidence("equivalence")
    ts = np.asarray(path.ts)
    return labelled(flow_of(under(0, alpha=1.0), rg.GradientFlow(), float(ts[-1]), ts=ts), rg.GaussNewtonFlow()), path


def no_projector(t, w, problem, flow, rank):
    return (problem.loss_gradient(problem.outputs(w)) ** 2).sum()


def turned_curvature(monkeypatch):
    true = path_quantities.kappas
    monkeypatch.setattr(path_quantities, "kappas", lambda traj, params: 2 - true(traj, params))


def fast_speed(t, w, problem, flow, rank):
    return 1.01 * true_speed(t, w, problem, flow, rank)


true_speed, true_theta, true_curvature, true_jacobian = (
    path_quantities.speed,
    underparameterized.theta_min,
    underparameterized.directional_curvature,
    path_quantities.jacobian,
)


def turned_theta(problem, w):
    return Constant("theta_min", 2 - true_theta(problem, w).value, "sign of the curvature turned", "exact")


def slow_curvature(problem, w):
    found = true_curvature(problem, w)
    return Constant("k_N", found.value * output_scale(problem.model) ** 0.2, found.formula, found.source)


def wrong_jacobian(problem, w):
    return true_jacobian(problem, w + 0.1)


CORRUPTIONS = {
    "equivalence": ("gradient flow instead of Gauss-Newton", gradient_flow_beside_manifold, None),
    "dissipation": (
        "projector replaced by the identity",
        underparameterised,
        (path_quantities, "dissipation", no_projector),
    ),
    "invariance": ("gradient flow instead of Gauss-Newton", gradient_flow_in_coordinates, None),
    "rate_identity": ("sign of the curvature term", lambda: evidence("rate_identity"), turned_curvature),
    "underparameterized_convergence": (
        "rate quartered",
        lambda: both(lambda t: t.ts, evidence("underparameterized_convergence"), lambda ts: 4 * ts),
        None,
    ),
    "exact_residual_law": (
        "a little damping",
        lambda: labelled(flow_of(over(0), LM(1e-3), 5.0), rg.GaussNewtonFlow()),
        None,
    ),
    "damped_rate": (
        "damping off by a factor of ten",
        lambda: labelled(flow_of(slowest_mode(), LM(1.0), 10.0), LM(0.1)),
        None,
    ),
    "adaptive_damping": (
        "damping off by a fifth",
        lambda: [
            labelled(traj, LM(rg.SpectralDamping(1.0)))
            for traj in several_conds(rg.SpectralDamping(1.2), (1e2, 1e4), 20.0)(0, RTOL)
        ],
        None,
    ),
    "path_length": (
        "speed one percent too large",
        lambda: flow_of(slowest_mode(), rg.GaussNewtonFlow(), 20.0, dense=True),
        (path_quantities, "speed", fast_speed),
    ),
    "generalized_law": (
        "loss Hessian left out",
        lambda: labelled(
            flow_of(over(0, loss=rg.LogisticLoss()), rg.GaussNewtonFlow(), 5.0), rg.GeneralizedGaussNewtonFlow()
        ),
        None,
    ),
    "asymptotic_rate": (
        "sign of the curvature term",
        lambda: evidence("asymptotic_rate"),
        (underparameterized, "theta_min", turned_theta),
    ),
    "curvature_scaling": (
        "a power of alpha missing",
        lambda: evidence("curvature_scaling"),
        (underparameterized, "directional_curvature", slow_curvature),
    ),
    "discrete_quadratic": (
        "a damped step",
        lambda: [
            labelled(steps_of(over(0, alpha=a), rg.LevenbergMarquardt(rg.SpectralDamping(0.02)), 6), FULL_STEP)
            for a in (1e4, 1e5, 1e6)
        ],
        None,
    ),
    "discrete_adaptive": (
        "damping off by a factor of a thousand",
        lambda: labelled(
            steps_of(over(0, alpha=1e5), rg.LevenbergMarquardt(rg.SpectralDamping(10.0), step_size=0.5), 30),
            rg.LevenbergMarquardt(rg.SpectralDamping(0.01), step_size=0.5),
        ),
        None,
    ),
    "minibatch_contraction": (
        "a tenth of the step",
        lambda: labelled(
            steps_of(
                linear_kernel(0, 10.0), rg.GramGaussNewton(batch_size=3, step_size=0.1, order="subset"), 200, jr.key(0)
            ),
            minibatch_steps(0).flow,
        ),
        None,
    ),
    "kernel_limit": (
        "Jacobian at another point",
        lambda: evidence("kernel_limit"),
        (path_quantities, "jacobian", wrong_jacobian),
    ),
    "ggn_score_descent": (
        "predicted decrease doubled",
        lambda: both(
            lambda t: t.stats["per_step"]["predicted_decrease"],
            ggn_score_steps(rg.OstrovskiiBachPenalty(), "analytic")(0, RTOL),
            lambda d: 2 * d,
        ),
        None,
    ),
    "ggn_score_flow_descent": (
        "the metric of a damping one in ten thousand larger",
        lambda: labelled(evidence("ggn_score_flow_descent"), rg.GGNScoreFlow(rg.PseudoHuberPenalty(), 1e-2, 1.0001)),
        None,
    ),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_corrupted_computation_is_caught(claim, monkeypatch):
    what, make, patch = CORRUPTIONS[claim]
    corrupted = make()
    if callable(patch):
        patch(monkeypatch)
    elif patch is not None:
        monkeypatch.setattr(*patch)
    cert = certify(claim, corrupted)
    assert cert.status == "fails", f"{what}: {cert}"


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_verdict_does_not_turn_with_the_tolerance(claim):
    found = {certify(claim, quick_case(claim).evidence(0, rtol)).status for rtol in (1e-8, 1e-11)}
    assert "holds" in found and found <= {"holds", "undecided"}


@pytest.mark.parametrize(("damping", "free"), [(rg.SpectralDamping(1.0), True), (1.0, False)])
def test_the_rate_is_free_of_the_conditioning_under_adaptive_damping_alone(damping, free):
    rates = []
    for traj in several_conds(damping, (1e2, 1e6), 10.0)(0, RTOL):
        slowest = np.linalg.svd(np.asarray(traj.problem.x))[0][:, 7]
        amplitude = np.abs(np.asarray(traj.tight.outputs - traj.problem.y) @ slowest)
        rates.append(np.log(amplitude[0] / amplitude[-1]) / 10.0)
    assert (abs(rates[1] / rates[0] - 1) < 1e-6) == free
    assert free or rates[1] < 1e-3 * rates[0]


def test_every_claim_has_one_quick_problem_and_no_problem_comes_twice():
    assert sorted(case.claim for case in CASES if case.quick) == sorted(CLAIMS)
    assert len({(case.claim, case.title) for case in CASES}) == len(CASES)


def test_seeds_are_the_cases_own_in_the_full_set():
    case, fixed = quick_case("discrete_quadratic"), quick_case("asymptotic_rate")
    assert [len(seeds_of(case, *how)) for how in ((True,), (False,), (True, 3), (False, 3))] == [1, 50, 3, 3]
    assert [len(seeds_of(fixed, *how)) for how in ((True,), (False,), (False, 3))] == [1, 1, 1]


def test_claims_want_their_own_kind_of_evidence():
    first, second = evidence("invariance")
    other = rg.solve(under(0), rg.GaussNewtonFlow(), t1=1.0, error=True)
    with pytest.raises(ValueError, match="same times"):
        certify("invariance", [first, other])
    with pytest.raises(ValueError, match="three output scales"):
        certify("kernel_limit", [first, second])
    with pytest.raises(ValueError, match="dense=True"):
        certify("path_length", rg.solve(over(0), rg.GaussNewtonFlow(), t1=1.0, error=True))


def test_a_claim_on_another_method_is_not_applicable():
    problem = linear_kernel(0, 10.0)
    flow = rg.solve(problem, LM(rg.SpectralDamping(1.0)), t1=1.0)
    for claim, method in (("adaptive_damping", rg.GaussNewton()), ("minibatch_contraction", rg.GramGaussNewton())):
        assert certify(claim, rg.iterate(problem, method, steps=3)).status == "not applicable"
    assert certify("discrete_adaptive", flow).status == "not applicable"
