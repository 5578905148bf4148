"""What the output scale alpha does: from the singular stop at small alpha to the rate nu of the loss at large alpha.

What to see: below a threshold the Gauss-Newton flow reaches, in finite time, a point where the Jacobian loses rank (crosses); above it the flow
converges, and its rate tends to nu = 1 as the curvature of the output manifold, which falls like 1 / alpha, drops out. Measured is the slope of
`log |u|`, `u = P grad g(f)`; predicted is the mean over the same window of `kappa_t = Hess_M g[u, u] / |u|^2`, geometry at single points. The slowest
rate possible in the end is `theta_min`, the least root of `det(Hess R(w_inf) - theta J^T J) = 0`.

What it does not show: a threshold that holds for other data or seeds; the worst-case alpha_0 of the theorem is far larger.

Reference: following Cayci, arXiv:2412.14031v4; rate identity derived in theory.md C4, `theta_min` in C17, singular stop in C14.
"""

import numpy as np
import scipy.integrate

import riemgn as rg
from riemgn.theory import along
from riemgn.theory.directional import theta_min

from ..checks import check
from .diabetes import ERROR, network, setup

ALPHAS = {True: (1, 3, 10, 30, 100, 1e3, 1e4), False: (1, 3, 10, 20, 30, 50, 100, 200, 300, 1e3, 3e3, 1e4, 1e5)}


def data(quick, data_dir=None):
    """One Gauss-Newton flow per alpha: gradient norm along it, how it ended, its late rate and the predicted one."""
    # fine where most runs decay, then long enough for the slowest to reach its last rate
    times = np.concatenate([np.linspace(0.0, 40.0, 321), np.arange(40.5, 160.5, 0.5)])
    runs = []
    for alpha in ALPHAS[quick]:
        problem = network(alpha=float(alpha))
        traj = rg.solve(problem, rg.GaussNewton(), t1=times[-1], ts=times, rtol=1e-10, atol=1e-12, throw=False)
        if rg.result_name(traj.result) not in ("successful", "rank_lost"):
            raise rg.SolveError(traj)
        run = {
            "alpha": float(alpha),
            "times": np.asarray(traj.ts),
            "grad_norms": np.asarray(traj.grad_norms),
            "result": rg.result_name(traj.result),
            "stop_time": None if traj.succeeded else float(traj.ts[-1]),
        }
        runs.append(run | (late_rates(problem, traj) if traj.succeeded else {}))
    result = {"runs": runs, "nu": 1.0, "setup": setup(problem, "as in the legend", "rtol 1e-10")}
    result["checks"] = checks(runs)
    return result


def draw(data, fig):
    """Gradient norms for each alpha with the singular stops marked, and the late rates against alpha."""
    fig.set_size_inches(10, 4.2)
    left, right = fig.subplots(1, 2, width_ratios=(3, 2))
    dashes = ["-", "--", "-.", ":"]
    for i, run in enumerate(data["runs"]):
        level = np.asarray(run["grad_norms"]) / run["grad_norms"][0]
        shade = str(0.6 * i / len(data["runs"]))
        left.plot(run["times"], np.where(level > 1e-10, level, np.nan), color=shade, linestyle=dashes[i % 4], label=f"{run['alpha']:g}")
        if run["stop_time"] is not None:
            left.plot(run["times"][-1], level[-1], marker="x", markersize=9, markeredgewidth=2, color="#D55E00", linestyle="none")
    left.plot([], [], marker="x", markersize=9, markeredgewidth=2, color="#D55E00", linestyle="none", label="rank lost")
    left.set(
        yscale="log", xlabel="time t", ylabel=r"$|P\,\nabla g(f(w_t))|$ / value at 0", title="Gauss-Newton flow at output scale alpha", xlim=(0, 60)
    )
    left.legend(title="alpha", ncols=2, loc="upper right")
    rate_panel(right, data)


def rate_panel(ax, data):
    """Late rate of the gradient norm: measured, from the geometry, and its limits."""
    runs = [run for run in data["runs"] if "measured_rate" in run]
    alphas = [run["alpha"] for run in runs]
    ax.axhline(data["nu"], color="0.45", linestyle="--", linewidth=1.2, label=r"$\nu$, no curvature")
    ax.plot(alphas, [run["theta_min"] for run in runs], color="0.45", linestyle=":", label=r"$\theta_{\min}$, slowest in the end")
    ax.plot(alphas, [run["predicted_rate"] for run in runs], "s", markersize=9, fillstyle="none", color="black", label=r"mean $\kappa_t$ (predicted)")
    ax.plot(alphas, [run["measured_rate"] for run in runs], "o", color="#0072B2", label="measured")
    stops = [run["alpha"] for run in data["runs"] if run["stop_time"] is not None]
    if stops:
        ax.axvspan(min(stops) / 1.5, max(stops) * 1.2, color="0.9", zorder=0)
        ax.text(min(stops), 0.05, "singular stop", rotation=90, va="bottom", ha="center")
    ax.set(xscale="log", ylim=(0, 1.15), xlabel="output scale alpha", ylabel="rate (per unit time)", title="late rate")
    ax.legend(loc="lower right")


def checks(runs):
    """The numbers the figure stands for."""
    stopped = [run for run in runs if run["result"] == "rank_lost"]
    converged = [run for run in runs if "measured_rate" in run]
    smallest, largest = converged[0], converged[-1]
    slowest = smallest["measured_rate"] / smallest["theta_min"]
    gap = max(abs(run["measured_rate"] / run["predicted_rate"] - 1) for run in converged)
    slack = min(run["measured_rate"] - run["theta_min"] for run in converged)
    return [
        check("runs stopped at the singular set", float(len(stopped)), "at_least", 1.0, 0.0),
        check("late rate / mean kappa - 1, worst alpha", gap, "at_most", 0.0, 1e-3, golden_rtol=ERROR),
        check("late rate - theta_min, worst alpha", slack, "at_least", 0.0, 1e-3, golden_rtol=ERROR),
        check(f"rate / theta_min at alpha = {smallest['alpha']:g}", slowest, "equal", 1.0, 1e-2),
        check(f"rate at alpha = {largest['alpha']:g} against nu", largest["measured_rate"], "equal", 1.0, 1e-2),
    ]


def late_rates(problem, traj):
    """Measured and predicted rate over the last four decades of `|u|` above the integrator's floor (1e-9 of the start), and `theta_min`."""
    times, level = np.asarray(traj.ts), np.asarray(traj.grad_norms / traj.grad_norms[0])
    low = max(level.min() * 10, 1e-9)
    window = np.flatnonzero((level > low) & (level < 1e4 * low))
    first, last = window[0], window[-1]
    span = times[last] - times[first]
    kappas = along.kappas(traj, traj.params)[first : last + 1]
    return {
        "measured_rate": float(np.log(level[first] / level[last]) / span),
        "predicted_rate": float(scipy.integrate.simpson(kappas, x=times[first : last + 1]) / span),
        "theta_min": theta_min(problem, traj.params[-1]).value,
    }
