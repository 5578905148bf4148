"""Why a solve stopped: a member of `RESULTS`, which extends diffrax's, so that messages from below survive."""

import diffrax


class RESULTS(diffrax.RESULTS):  # pyright: ignore[reportGeneralTypeIssues]
    """Result codes of a solve; `RESULTS[code]` is the sentence, cause first and cure second."""

    rank_lost = (
        "The flow ran into its singular set: the smallest singular value of the Jacobian fell below `rank_tol` times its value at the start. "
        "Raise the output scale alpha, start elsewhere, or add damping."
    )
    ball_left = "The parameters left the ball of radius `ball_radius` around the starting point. Raise the output scale alpha or the radius."
    loss_tolerance_met = "The loss minus its infimum fell below `loss_tol`, as asked."
    step_tolerance_met = (
        "A step was shorter than `step_tol` times the larger of 1 and the norm of the parameters, as asked."
    )
    step_limit = (
        "All `max_steps` steps were used before t1. The flow is stiff for this solver, or t1 is too large: "
        "damp, set `loss_tol`, or raise `max_steps`."
    )
    step_collapsed = (
        "The step size fell below what the time can resolve although the Jacobian kept its rank. "
        "The vector field is too rough for the tolerances: loosen `rtol`, or use a smooth activation."
    )
    krylov_limit = (
        "The conjugate gradients did not reach their `rtol` within their `max_steps`. "
        "Raise the damping, loosen `rtol` or raise `max_steps` of MatrixFree."
    )
    gradient_tolerance_met = (
        "The norm of the Riemannian gradient fell to `grad_tol` times its value at the start, as asked."
    )
    line_search_failed = (
        "No step along the gradient lowered the loss: rounding hides what is left to gain, or the retraction fails. "
        "Loosen `grad_tol`, or choose another retraction."
    )
    retraction_failed = (
        "A retraction failed: the step left the domain of the chart. Take smaller steps, or damp the manifold."
    )
    non_finite = "The outputs or the loss became infinite or NaN. Lower the learning scale (alpha), scale the data, or start elsewhere."


NAMES = (
    "successful",
    "rank_lost",
    "ball_left",
    "loss_tolerance_met",
    "step_tolerance_met",
    "step_limit",
    "step_collapsed",
    "krylov_limit",
    "gradient_tolerance_met",
    "line_search_failed",
    "retraction_failed",
    "non_finite",
)

# Results of a solve that did all it was asked for.
SUCCEEDED = ("successful", "gradient_tolerance_met")

# Endings a caller asked for: `throw=True` lets them pass.
EXPECTED = ("successful", "ball_left", "loss_tolerance_met", "step_tolerance_met", "gradient_tolerance_met")


def result_name(result: RESULTS) -> str:
    """The short name of a result code, the `result` of a trajectory: `"successful"`, `"rank_lost"`, ...; `"other"` for a code of the libraries below.

    >>> import riemgn as rg
    >>> rg.result_name(rg.RESULTS.rank_lost)
    'rank_lost'
    """
    for name in NAMES:
        if bool(result == getattr(RESULTS, name)):
            return name
    return "other"
