"""The output scale decides between a rank loss and the rate of the loss.

What to see: below a threshold of alpha the Gauss-Newton flow reaches, in finite time, a point where
the Jacobian loses rank (crosses). Above it the flow converges. Its late rate tends to nu = 1
because the curvature of the output manifold falls like 1 / alpha. The measured rate is the slope of
`log |u|` with `u = P grad g(f)`. The predicted rate is the mean of `kappa_t = Hess_M g[u, u] /
|u|^2` over the same window. The smallest possible late rate is `theta_min`, the smallest root of
`det(Hess R(w_inf) - theta J^T J) = 0`. The left panel shows one draw of the weights, the right
panel several draws.

What it does not show: a threshold for your data. It changes by a factor of ten from one draw to the
next. The worst-case threshold of the theorem is far larger, see `curvature`.

Reference: Cayci, arXiv:2412.14031v4. Statements C4 (rate), C14 (singular set) and C17
(`theta_min`).
"""

import numpy as np
import scipy.integrate

import riemgn as rg
from riemgn.experiment.verdict import check
from riemgn.plot.caption import band
from riemgn.theory import path_quantities
from riemgn.theory.curvature_spectrum import theta_min

from .diabetes import ERROR, network, setup

ALPHAS = {True: (1, 3, 10, 30, 100, 1e3, 1e4), False: (1, 3, 10, 20, 30, 50, 100, 200, 300, 1e3, 3e3, 1e4, 1e5)}
SEEDS = {True: 3, False: 5}
CONVERGED = 1e-5  # of |u_0|: a run that is slower has no late rate yet


def data(quick, data_dir=None):
    """One Gauss-Newton flow per alpha and seed, with its result and late rates."""
    # fine where most runs decay, and long enough for the slowest run
    times = np.concatenate([np.linspace(0.0, 40.0, 161), np.arange(42.0, 162.0, 2.0)])
    runs = [
        one_run(network(float(alpha), seed), float(alpha), seed, times)
        for alpha in ALPHAS[quick]
        for seed in range(SEEDS[quick])
    ]
    result = {"runs": runs, "nu": 1.0}
    seeds = f"0 (left), 0-{SEEDS[quick] - 1} (right; line: median, band: least to largest)"
    result["setup"] = setup(network(1.0), "as in the legend", "rtol 1e-10", seeds=seeds)
    result["checks"] = checks(runs)
    return result


def one_run(problem, alpha, seed, times):
    """Gradient norm along one flow, how it ended, and its late rates where it converged."""
    traj = rg.solve(problem, rg.GaussNewtonFlow(), t1=times[-1], ts=times, rtol=1e-10, atol=1e-12, throw=False)
    if traj.status not in ("successful", "rank_lost"):
        raise rg.SolveError(traj)
    run = {
        "alpha": alpha,
        "seed": seed,
        "times": np.asarray(traj.ts),
        "grad_norms": np.asarray(traj.grad_norms),
        "result": traj.status,
        "stop_time": None if traj.succeeded else float(traj.ts[-1]),
    }
    converged = traj.succeeded and float(traj.grad_norms[-1] / traj.grad_norms[0]) < CONVERGED
    return run | (late_rates(problem, traj) if converged else {})


def draw(data, fig):
    """Draw gradient norms for each alpha with the rank losses, and the late rates against alpha."""
    fig.set_size_inches(10, 4.2)
    left, right = fig.subplots(1, 2, width_ratios=(3, 2))
    dashes, markers = ["-", "--", "-.", ":"], "os^DvP*X<>ph8"
    shown = [run for run in data["runs"] if run["seed"] == 0]
    for i, run in enumerate(shown):
        level = np.asarray(run["grad_norms"]) / run["grad_norms"][0]
        shade = str(0.6 * i / len(shown))
        mask = np.cumprod(level > 1e-10) > 0  # the rest is the integrator's error
        apart = max(
            1, int(mask.sum()) // 3
        )  # three markers for each curve, at different places because many curves coincide
        look = {
            "linestyle": dashes[i % 4],
            "marker": markers[i % len(markers)],
            "markersize": 5,
            "markevery": (i * apart // len(shown), apart),
        }
        left.plot(run["times"][mask], level[mask], color=shade, label=f"{run['alpha']:g}", **look)
        if run["stop_time"] is not None:
            left.plot(
                run["times"][-1],
                level[-1],
                marker="x",
                markersize=9,
                markeredgewidth=2,
                color="#D55E00",
                linestyle="none",
            )
    left.plot([], [], marker="x", markersize=9, markeredgewidth=2, color="#D55E00", linestyle="none", label="rank lost")
    left.set(
        yscale="log",
        xlabel="time t",
        ylabel=r"$|P\,\nabla g(f(w_t))|$ / value at 0",
        title="Gauss-Newton flow at output scale alpha",
        xlim=(0, 60),
    )
    left.legend(title="alpha", ncols=3, loc="upper right")
    rate_panel(right, data)


def rate_panel(ax, data):
    """Draw late rates, measured and from the geometry, with their limits and the lost runs."""
    alphas = sorted({run["alpha"] for run in data["runs"]})
    cells = [[run for run in data["runs"] if run["alpha"] == alpha] for alpha in alphas]
    rates = [[run for run in cell if "measured_rate" in run] for cell in cells]
    places = [alpha for alpha, runs in zip(alphas, rates, strict=True) if runs]
    rates = [runs for runs in rates if runs]
    ax.axhline(data["nu"], color="0.45", linestyle="--", linewidth=1.2, label=r"$\nu$, no curvature")
    band(
        ax,
        places,
        columns(rates, "theta_min"),
        color="0.45",
        linestyle=":",
        label=r"$\theta_{\min}$, slowest in the end",
    )
    for alpha, runs in zip(places, rates, strict=True):
        ax.plot(
            [alpha] * len(runs),
            [run["predicted_rate"] for run in runs],
            "s",
            markersize=9,
            fillstyle="none",
            color="black",
        )
    ax.plot([], [], "s", markersize=9, fillstyle="none", color="black", label=r"mean $\kappa_t$ (predicted)")
    band(
        ax,
        places,
        columns(rates, "measured_rate"),
        color="#0072B2",
        marker="o",
        markersize=5,
        linestyle="-",
        label="measured",
    )
    for i, (alpha, cell) in enumerate(zip(alphas, cells, strict=True)):
        lost = sum(run["result"] == "rank_lost" for run in cell)
        if lost:
            ax.text(alpha, 1.03 + 0.045 * (i % 2), f"{lost}/{len(cell)}", ha="center", va="bottom", fontsize=7)
    ax.text(0.75 * alphas[0], 1.14, "runs that lose rank:", ha="left", va="bottom", fontsize=7)
    ax.set(
        xscale="log",
        xlim=(0.6 * alphas[0], 2 * alphas[-1]),
        ylim=(0, 1.2),
        xlabel="output scale alpha",
        ylabel="rate (per unit time)",
        title="late rate",
    )
    ax.legend(loc="lower right", fontsize=8)


def columns(cells, key):
    """The numbers of the cells as (seeds, cells), short cells filled up with NaN."""
    longest = max(map(len, cells))
    return np.array([[run[key] for run in cell] + [np.nan] * (longest - len(cell)) for cell in cells]).T


def checks(runs):
    """Compare the numbers of the figure with their predictions."""
    stopped = [run for run in runs if run["result"] == "rank_lost"]
    converged = [run for run in runs if "measured_rate" in run]
    smallest = min(converged, key=lambda run: (run["alpha"], run["seed"]))
    largest = max(run["alpha"] for run in converged)
    slowest = smallest["measured_rate"] / smallest["theta_min"]
    gap = max(abs(run["measured_rate"] / run["predicted_rate"] - 1) for run in converged)
    slack = min(run["measured_rate"] - run["theta_min"] for run in converged)
    last = max((run["measured_rate"] for run in converged if run["alpha"] == largest), key=lambda rate: abs(rate - 1))
    return [
        check("runs stopped at the singular set", float(len(stopped)), "at_least", 1.0, 0.0, golden_rtol=0.2),
        check("late rate / mean kappa - 1, worst run", gap, "at_most", 0.0, 1e-3, golden_rtol=ERROR),
        check("late rate - theta_min, worst run", slack, "at_least", 0.0, 1e-3, golden_rtol=ERROR),
        check(
            f"rate / theta_min at alpha = {smallest['alpha']:g}, seed {smallest['seed']}", slowest, "equal", 1.0, 1e-2
        ),
        check(f"rate at alpha = {largest:g} against nu, farthest seed", last, "equal", 1.0, 1e-2),
    ]


def late_rates(problem, traj):
    """Measured and predicted late rate, and `theta_min`.

    The window is the last four decades of `|u|` above the integrator's error (1e-9 of the start).
    """
    times, level = np.asarray(traj.ts), np.asarray(traj.grad_norms / traj.grad_norms[0])
    low = max(level.min() * 10, 1e-9)
    window = np.flatnonzero((level > low) & (level < 1e4 * low))
    first, last = window[0], window[-1]
    span = times[last] - times[first]
    kappas = path_quantities.kappas(traj, traj.params)[first : last + 1]
    return {
        "measured_rate": float(np.log(level[first] / level[last]) / span),
        "predicted_rate": float(scipy.integrate.simpson(kappas, x=times[first : last + 1]) / span),
        "theta_min": theta_min(problem, traj.params[-1]).value,
    }
