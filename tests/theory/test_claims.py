"""Each claim: evidence on which it holds, a broken hypothesis, a corruption, and wrong evidence."""

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
from riemgn.theory import certify, CLAIMS, path_quantities, underparameterized
from riemgn.theory.constants import Constant, output_scale

LM = rg.LevenbergMarquardtFlow


def quick_case(claim):
    return next(case for case in CASES if case.claim == claim and case.quick)


@cache
def evidence(claim):
    return quick_case(claim).evidence(0)


@cache
def damped_under(rho=0.0, t1=3.0):
    return flow_of(under(0), LM(rho) if rho else rg.GaussNewtonFlow(), t1, dense=True)


def slowest_mode():
    """A linear model with the residual in its slowest mode, which attains bounds by lambda_min."""
    problem = linear_kernel(0, 100.0)
    slowest = np.linalg.svd(np.asarray(problem.x))[0][:, 7]
    return rg.Problem(problem.model, problem.params, problem.x, 3 * slowest)


def labelled(traj, flow):
    """The trajectory and its twin with the name of another flow, as from a wrong solver."""
    traj = eqx.tree_at(lambda t: t.flow, traj, flow, is_leaf=lambda leaf: leaf is traj.flow)
    return eqx.tree_at(lambda t: t.tight.flow, traj, flow, is_leaf=lambda leaf: leaf is traj.tight.flow)


def both(where, traj, change):
    """`change` applied to one field of a trajectory and of its twin."""
    traj = eqx.tree_at(where, traj, change(where(traj)))
    return eqx.tree_at(lambda t: where(t.tight), traj, change(where(traj.tight)))


@pytest.mark.parametrize("claim", CLAIMS)
def test_claim_holds(claim):
    cert = certify(claim, evidence(claim))
    assert cert.status == "holds", str(cert)


FULL_STEP = rg.GaussNewton(step_size=1.0)
BROKEN = {
    "equivalence": lambda: (labelled(evidence("equivalence")[0], rg.GradientFlow()), evidence("equivalence")[1]),
    "dissipation": lambda: rg.solve(
        under(0), rg.GaussNewtonFlow(), t1=3.0, dense=True, error=True, throw=False, max_steps=4
    ),
    "invariance": lambda: [evidence("invariance")[0]] * 2,
    "rate_identity": lambda: damped_under(1.0),
    "underparameterized_convergence": lambda: damped_under(),
    "exact_residual_law": lambda: damped_under(),
    "damped_rate": lambda: damped_under(1.0),
    "adaptive_damping": lambda: several_conds(1.0, (1e2,), 10.0)(0, RTOL),
    "path_length": lambda: damped_under(1.0),
    "generalized_law": lambda: flow_of(over(0, loss=rg.LogisticLoss()), rg.GeneralizedGaussNewtonFlow(0.2), 5.0),
    "asymptotic_rate": lambda: damped_under(t1=1.0),
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
    "ggn_score_flow_descent": lambda: damped_under(),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_broken_hypothesis(claim):
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
    "dissipation": ("projector replaced by the identity", damped_under, (path_quantities, "dissipation", no_projector)),
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
def test_corruption_fails(claim, monkeypatch):
    what, make, patch = CORRUPTIONS[claim]
    corrupted = make()
    if callable(patch):
        patch(monkeypatch)
    elif patch is not None:
        monkeypatch.setattr(*patch)
    cert = certify(claim, corrupted)
    assert cert.status == "fails", f"{what}: {cert}"


def test_every_claim_has_one_quick_case():
    assert sorted(case.claim for case in CASES if case.quick) == sorted(CLAIMS)
    assert len({(case.claim, case.title) for case in CASES}) == len(CASES)


@cache
def of_other_methods():
    """Trajectories of flows and methods that few claims apply to."""
    flow = rg.solve(over(0, alpha=1.0), rg.GradientFlow(matrix_free=True), t1=0.01, error=True, dense=True)
    steps = [steps_of(problem, rg.GradientDescent(1e-9), 3) for problem in (over(0), under(0))]
    return flow, *steps


@pytest.mark.parametrize("claim", CLAIMS)
def test_wrong_evidence(claim):
    path = rg.riemannian_flow(rg.OutputManifold(rg.task.circle()), steps=2, step_size=0.1)
    for wrong in (None, 3.0, over(0), "text", [], [over(0)], path, [path, path]):
        with pytest.raises(ValueError, match=rf"The claim `{claim}` needs .*; got (list of )?\w+"):
            certify(claim, wrong)
    several = CLAIMS[claim].kind != "trajectory"
    for traj in of_other_methods():
        try:
            assert certify(claim, [traj, traj, traj] if several else traj).status == "not applicable"
        except ValueError as error:
            assert "claim" in str(error)


def test_evidence_must_suit_the_claim():
    first, second = evidence("invariance")
    other = flow_of(under(0), rg.GaussNewtonFlow(), 1.0)
    with pytest.raises(ValueError, match="same times"):
        certify("invariance", [first, other])
    with pytest.raises(ValueError, match="three output scales"):
        certify("kernel_limit", [first, second])
    with pytest.raises(ValueError, match="dense=True"):
        certify("rate_identity", other)
