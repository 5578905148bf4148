"""Claims on GGN-SCORE: Adeoye, Petersen, Bemporad, arXiv:2404.14875v1, from its released code."""

import math

import numpy as np

from ..flow import GGNScoreFlow
from ..method import GGNScore
from ..model import LinearModel
from ..penalty import AbstractSeparablePenalty
from ..trajectory import Trajectory
from . import path_quantities
from .certificate import Conclusion, Findings, Hypothesis
from .claim import Claim
from .hypotheses import by_inspection, flow_is, ON_PATH, reached_end, smooth_model, squared_loss, strictly_convex, TINY

BALANCE = "largest |F(w_0) - F(w_t) - int |grad F|^2_{1/G}| / (F(w_0) - F(w_T))"
NODES = (10, 8)  # Gauss-Legendre nodes between saved times; the difference bounds the error of the first
ROUNDED = 1e-10  # share of F(w_0) below which the square of the decrement is rounding


def ggn_score_descent(traj: Trajectory) -> Findings:
    """Check `<grad F, d> = -lambda^2`, and the decrease that self-concordance predicts.

    The decrease is predicted for linear outputs.

    Reference: Statement C13.
    """
    method = traj.flow
    tight = used = math.nan
    steps, separable, full = {}, False, False
    if isinstance(method, GGNScore):
        penalty, steps, full = method.penalty, traj.stats.get("per_step", {}), method.batch_size is None
        order, separable = float(penalty.order), isinstance(penalty, AbstractSeparablePenalty)
        tight = penalty.tight_constant(order)
        used = float(penalty.constant) * traj.problem.p ** ((3 - order) / 2)
    names = ("predicted_decrease", "decrease", "objective", "decrement", "slope")
    predicted, decrease, objective, decrement, slope = (np.asarray(steps.get(name, [np.nan])) for name in names)
    scale = float(np.abs(objective[0]))
    above = (decrease - predicted) / scale  # -inf is no prediction and keeps its place
    moving = decrement**2 > ROUNDED * scale
    tilt = float(np.max(np.abs(slope[moving] / decrement[moving] ** 2 + 1))) if moving.any() else math.nan
    counted = float(np.isfinite(predicted).sum())
    hypotheses = (
        by_inspection("the method is GGN-SCORE on all samples", full),
        by_inspection("the outputs are linear in the parameters", isinstance(traj.problem.model, LinearModel)),
        squared_loss(traj),
        by_inspection("the penalty is separable, so that the metric D is its Hessian", separable),
        Hypothesis("p^{(3 - nu)/2} M_h used for the sum", used, "at_least", tight, "smallest true M_h"),
        Hypothesis("steps with a finite prediction", counted, "at_least", 1.0, "counted"),
        reached_end(traj),
    )
    name, constant = "smallest (decrease - predicted decrease) / F(w_0)", "M_g of the penalty"
    conclusions = (
        Conclusion("largest |<grad F, d> / lambda^2 + 1|", 0.0, tilt, "equal", 1e-7),
        Conclusion(name, 0.0, float(above.min()), "at_least", 1e-12, constant=constant),
    )
    return Findings(hypotheses, conclusions)


def ggn_score_flow_descent(traj: Trajectory) -> Findings:
    """Check `F(w_0) - F(w_t) = int |grad F|^2 dt` in the norm of `G^-1`, `G = c D + J^T Q J`.

    It is compared at every saved time.

    Reference: Statement C13.
    """
    is_score = flow_is(traj, GGNScoreFlow)
    if is_score.margin < 0:
        return Findings((is_score,), (Conclusion(BALANCE, 0.0, math.nan, "equal", 1e-8),))
    values = path_quantities.at_saved_times(traj, path_quantities.objective)
    fallen = values[0] - values
    smallest = float(np.min(path_quantities.at_saved_times(traj, path_quantities.smallest_metric_entry)))
    hypotheses = (
        is_score,
        smooth_model(traj),
        strictly_convex(traj),
        Hypothesis("smallest entry of c D on the path (metric positive)", smallest, "at_least", TINY, ON_PATH),
        Hypothesis("(F(w_0) - F(w_T)) / F(w_0)", float(fallen[-1] / values[0]), "at_least", 1e-6, ON_PATH),
        reached_end(traj),
    )
    parts = (path_quantities.integrals(traj, path_quantities.score_dissipation, count) for count in NODES)
    fine, coarse = map(np.cumsum, parts)
    gap = float(np.max(np.abs(fallen[1:] - fine)) / fallen[-1])
    quadrature = float(np.max(np.abs(fine - coarse)) / fallen[-1])
    return Findings(hypotheses, (Conclusion(BALANCE, 0.0, gap, "equal", 1e-8, error=quadrature),))


PAPER, ARXIV = "adeoye2024", "following arXiv:2404.14875v1"

CLAIMS = (
    Claim(
        "ggn_score_descent",
        "A GGN-SCORE step is along a descent direction, <grad F, d> = -lambda^2, "
        "and lowers F at least as self-concordance predicts.",
        *("C13", "G3, G4", PAPER, ARXIV, "a Trajectory of iterate with GGNScore"),
        ggn_score_descent,
    ),
    Claim(
        "ggn_score_flow_descent",
        "GGN-SCORE's flow is the Riemannian gradient flow of F in the metric G = c D + J^T Q J: "
        "dF/dt = -<grad F, G^{-1} grad F>.",
        *("C13", "G3", PAPER, f"derived, {ARXIV}", "a Trajectory of GGNScoreFlow solved with dense=True"),
        ggn_score_flow_descent,
    ),
)
