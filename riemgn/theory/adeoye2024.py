"""Claims on GGN-SCORE: Adeoye, Petersen, Bemporad, arXiv:2404.14875v1, as far as its released code and self-concordance tell."""

import numpy as np

from ..flow import GGNScoreFlow
from ..method import GGNScore
from ..model import LinearModel
from ..penalty import AbstractSeparablePenalty
from ..trajectory import Trajectory
from . import path_quantities
from .certificate import Conclusion, Findings, Hypothesis
from .claim import Claim
from .hypotheses import arrived, constant_curvature, flow_is, smooth, strictly_convex, truth

BALANCE = "largest |F(w_0) - F(w_t) - int |grad F|^2_{1/G}| / (F(w_0) - F(w_T))"
NODES = (10, 8)  # Gauss-Legendre nodes between saved times, and fewer: the difference bounds the error of the first
ROUNDED = 1e-10  # share of F(w_0) below which the square of the decrement is rounding


def ggn_score_descent(traj: Trajectory) -> Findings:
    """C13: `<grad F, d> = -lambda^2`, and for linear outputs the step lowers `F` by at least what self-concordance predicts."""
    method = traj.flow
    is_score = isinstance(method, GGNScore)
    steps = traj.stats.get("per_step", {}) if is_score else {}
    least = method.penalty.tight_constant(float(method.penalty.order)) if is_score else float("nan")
    used = (
        float(method.penalty.constant) * traj.problem.p ** ((3 - float(method.penalty.order)) / 2)
        if is_score
        else float("nan")
    )
    predicted = np.asarray(steps.get("predicted_decrease", [np.nan]))
    decrease, objective = np.asarray(steps.get("decrease", [np.nan])), np.asarray(steps.get("objective", [np.nan]))
    square, slope = np.asarray(steps.get("decrement", [np.nan])) ** 2, np.asarray(steps.get("slope", [np.nan]))
    scale = float(np.abs(objective[0]))
    kept = (decrease - predicted) / scale  # a prediction of minus infinity promises nothing and is kept
    moving = square > ROUNDED * scale
    hypotheses = (
        truth("the method is GGN-SCORE on all samples", is_score and method.batch_size is None),
        truth("the outputs are linear in the parameters", isinstance(traj.problem.model, LinearModel)),
        constant_curvature(traj),
        truth(
            "the penalty is separable, so that the metric D is its Hessian",
            is_score and isinstance(method.penalty, AbstractSeparablePenalty),
        ),
        Hypothesis("p^{(3 - nu)/2} M_h used for the sum", used, "at_least", least, "least true M_h"),
        Hypothesis("steps that promise something", float(np.isfinite(predicted).sum()), "at_least", 1.0, "counted"),
        arrived(traj),
    )
    tilt = float(np.max(np.abs(slope[moving] / square[moving] + 1))) if moving.any() else float("nan")
    return Findings(
        hypotheses,
        (
            Conclusion("largest |<grad F, d> / lambda^2 + 1|", 0.0, tilt, "equal", 1e-7),
            Conclusion(
                "least (decrease - predicted decrease) / F(w_0)",
                0.0,
                float(kept.min()),
                "at_least",
                1e-12,
                constant="M_g of the penalty",
            ),
        ),
    )


def ggn_score_flow_descent(traj: Trajectory) -> Findings:
    """C13 in continuous time: `F(w_0) - F(w_t) = int |grad F|^2 dt` in the norm of `G^{-1}`, `G = c D + J^T Q J`, up to every saved time."""
    the_flow = flow_is(traj, GGNScoreFlow)
    if the_flow.margin < 0:
        return Findings((the_flow,), (Conclusion(BALANCE, 0.0, float("nan"), "equal", 1e-8),))
    values = path_quantities.at_saved_times(traj, path_quantities.objective)
    fallen = values[0] - values
    fine, coarse = (
        np.cumsum(path_quantities.integrals(traj, path_quantities.score_dissipation, count)) for count in NODES
    )
    hypotheses = (
        the_flow,
        smooth(traj),
        strictly_convex(traj),
        Hypothesis(
            "least entry of c D on the path (metric positive)",
            float(np.min(path_quantities.at_saved_times(traj, path_quantities.least_metric))),
            "at_least",
            float(np.finfo(np.float64).tiny),
            "measured on the path",
        ),
        Hypothesis(
            "(F(w_0) - F(w_T)) / F(w_0)", float(fallen[-1] / values[0]), "at_least", 1e-6, "measured on the path"
        ),
        arrived(traj),
    )
    gap = float(np.max(np.abs(fallen[1:] - fine)) / fallen[-1])
    quadrature = float(np.max(np.abs(fine - coarse)) / fallen[-1])
    return Findings(hypotheses, (Conclusion(BALANCE, 0.0, gap, "equal", 1e-8, error=quadrature),))


CLAIMS = (
    Claim(
        "ggn_score_descent",
        "A GGN-SCORE step is along a descent direction, <grad F, d> = -lambda^2, and lowers F at least as self-concordance predicts.",
        *("C13", "ggn_score.md 3, 5", "adeoye2024", "arXiv:2404.14875v1", "a Trajectory of iterate with GGNScore"),
        ggn_score_descent,
    ),
    Claim(
        "ggn_score_flow_descent",
        "GGN-SCORE's flow is the Riemannian gradient flow of F in the metric G = c D + J^T Q J: dF/dt = -<grad F, G^{-1} grad F>.",
        *("C13", "derived; ggn_score.md 3.2", "adeoye2024", "derived, following arXiv:2404.14875v1"),
        "a Trajectory of GGNScoreFlow solved with dense=True",
        ggn_score_flow_descent,
    ),
)
