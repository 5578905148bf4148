"""Why a solve stopped: `RESULTS` extends the result codes of diffrax."""

import diffrax


class RESULTS(diffrax.RESULTS):  # pyright: ignore[reportGeneralTypeIssues]
    """Result codes of a solve. `RESULTS[code]` is the message: the cause, then what to do."""

    rank_lost = (
        "The flow reached its singular set: the smallest singular value of the Jacobian fell below `rank_tol` times "
        "its value at the start. Raise the output scale alpha, start elsewhere, or add damping."
    )
    ball_left = "The parameters left the ball of `ball_radius` around the start. Raise alpha or the radius."
    loss_tolerance_met = "The loss minus its infimum fell below `loss_tol`, as requested."
    step_tolerance_met = (
        "A step was shorter than `step_tol` times the larger of 1 and the parameter norm, as requested."
    )
    step_limit = (
        "All `max_steps` steps were used before t1. The flow is stiff for this solver, or t1 is too large: "
        "add damping, set `loss_tol`, or raise `max_steps`."
    )
    step_collapsed = (
        "The step size fell below the resolution of the time, although the Jacobian kept its rank. "
        "The velocity is too rough for the tolerances: loosen `rtol`, or use a smooth activation."
    )
    krylov_limit = (
        "The conjugate gradients did not reach their `rtol` within their `max_steps`. "
        "Raise the damping, loosen `rtol`, or raise `max_steps` of MatrixFree."
    )
    gradient_tolerance_met = (
        "The norm of the Riemannian gradient fell to `grad_tol` times its value at the start, as requested."
    )
    line_search_failed = (
        "No step along the gradient lowered the loss, because of rounding or because the retraction fails. "
        "Loosen `grad_tol`, or choose another retraction."
    )
    retraction_failed = (
        "A retraction failed: the step left the domain of the chart. Take smaller steps, or damp the manifold."
    )
    non_finite = "The outputs or the loss became infinite or NaN. Lower alpha, scale the data, or start elsewhere."


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

SUCCEEDED = ("successful", "gradient_tolerance_met")

# endings that the caller requested: they raise no error
EXPECTED = (*SUCCEEDED, "ball_left", "loss_tolerance_met", "step_tolerance_met")


def result_name(result: RESULTS) -> str:
    """Return the short name of a result code, `"other"` for a code of diffrax itself."""
    return next((name for name in NAMES if bool(result == getattr(RESULTS, name))), "other")
