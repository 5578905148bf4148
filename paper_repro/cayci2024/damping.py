"""Adaptive damping removes the dependence on the condition number that constant damping has.

What to see: an over-parameterised network fits diabetes samples and near-duplicates of them. Closer
duplicates give a larger cond(K), from 10^2 to 10^10. For gradient flow and for constant damping the
time to a millionth of the residual grows in proportion to cond(K). The same holds for damping
proportional to the residual, because it has to fall below the smallest eigenvalue first. Only its
constant is better. Exponentially falling damping costs the logarithm of cond(K). Damping equal to
the smallest eigenvalue costs nothing, and Gauss-Newton is `exp(-t)` throughout. The thin lines are
closed forms for a frozen kernel, and an upper bound for residual damping. In the left panel, at the
worst conditioning, each curve stays below its bound.

What it does not show: independence of `lambda_min > 0` itself. Here alpha is large enough that the
kernel hardly moves, and this size depends on `lambda_min`.

Reference: Cayci, arXiv:2412.14031v4. Statements C7, C8, D5 and D7.
"""

import numpy as np

import riemgn as rg
from paper_repro.fits import farthest, slopes
from riemgn.experiment.checkpoint import checkpointed
from riemgn.experiment.verdict import check
from riemgn.plot.caption import band
from riemgn.solver.plan import choose_solver
from riemgn.theory.output_laws import exact_residual_law
from riemgn.theory.overparameterized import slowest_mode_ratio

from .diabetes import ERROR
from .duplicates import duplicates, SAMPLES, WIDTH
from .schedules import bound, FACTOR, flow, frozen_time, LOOKS, SCHEDULES, SHARE

# At cond(K) = 1e10 the kernel moves by one percent. A larger alpha would make the rounding
# errors of the outputs, 1e-16 alpha, visible to a stiff solver.
ALPHA = 3e5
CONDITIONS = {True: (1e2, 1e4, 1e6, 1e8, 1e10), False: (1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10)}
SEEDS = {True: (0, 1, 2), False: (0, 1, 2, 3, 4)}
REACHED = 1e-6
SLOW = ("gf", "constant", "residual")  # stiff: solved by an implicit method
FLOOR = 1e-5  # of |r(0)|: below it the solves resolve less than 1e-3
WORST = ("law", "mode_ratio", "excess", "departure", "residual_ratio")
DAMPED_MUCH = 30.0  # rho_0 / lambda_min from which the slope in cond(K) is used


def data(quick, data_dir=None):
    """Time to a millionth of the residual at every conditioning, curves and bounds at the worst."""
    cells = [[cell(cond, seed) for seed in SEEDS[quick]] for cond in CONDITIONS[quick]]
    shown = {name: curves(name, cells[-1]) for name in SCHEDULES}
    result = {
        "cond": [float(np.median([c["cond"] for c in row])) for row in cells],
        "distance": [[c["distance"] for c in row] for row in cells],
        "reached": {
            name: [[row[i]["reached"][name] for row in cells] for i in range(len(SEEDS[quick]))] for name in SCHEDULES
        },
        "predicted": {
            name: [float(np.median([c["predicted"][name] for c in row])) for row in cells] for name in SCHEDULES
        },
        "curves": shown,
    }
    result["worst"] = {name: float(np.max([c[name] for row in cells for c in row])) for name in WORST}
    first = cells[0][0]
    result["setup"] = {
        "data": f"diabetes, {SAMPLES} samples and a near-duplicate of each, network 10-{WIDTH}-1; small "
        f"panels: cond(K) = {result['cond'][-1]:.1e}",
        **{"n": first["n"], "p": first["p"], "alpha": ALPHA, "tolerance": "rtol 1e-9 (first three: 1e-7)"},
        "seeds": f"{SEEDS[quick][0]}-{SEEDS[quick][-1]}, of samples, copies and weights (line: median, "
        f"band: least to largest)",
        "rho": f"{SHARE:g} lambda_max(K_0) at the start (constant, residual, exponential), {FACTOR:g} "
        f"lambda_min(K_t) (spectral)",
    }
    result["checks"] = checks(result)
    return result


@checkpointed
def cell(cond, seed):
    """All flows on one problem: residuals, bounds, times to `REACHED`, and their errors."""
    case = duplicates(cond, ALPHA, seed)
    rho = SHARE * case.fastest
    runs = {name: solved(case, name, rho) for name in SCHEDULES}
    levels = {name: residual_levels(traj) for name, traj in runs.items()}
    reached = {
        name: float(traj.ts[-1]) if traj.status == "loss_tolerance_met" else float("nan") for name, traj in runs.items()
    }
    predicted = {name: frozen_time(name, REACHED, case.eigenvalues, case.amplitudes, rho) for name in SCHEDULES}
    bounds = {
        name: bound(name, np.asarray(traj.ts), float(traj.sigma_min.min()) ** 2, rho, levels[name])
        for name, traj in runs.items()
    }
    ratios = [
        slowest_mode_ratio(runs["spectral"], rg.SpectralDamping(FACTOR)),
        slowest_mode_ratio(runs["exponential"], rg.ExponentialDamping(rho)),
    ]
    clock = {name: case.fastest if name == "gf" else 1.0 for name in SCHEDULES}
    return {
        **{"cond": case.cond, "distance": case.distance, "n": case.problem.n, "p": case.problem.p},
        "times": {name: clock[name] * np.asarray(traj.ts) for name, traj in runs.items()},
        "levels": levels,
        "bounds": bounds,
        "reached": {name: clock[name] * reached[name] for name in SCHEDULES},
        "predicted": {name: clock[name] * predicted[name] for name in SCHEDULES},
        "law": exact_residual_law(runs["gn"]).conclusions[0].measured,
        "mode_ratio": float(np.max(np.abs(np.array(ratios) - 1))),
        "excess": max(largest_ratio(levels[name], bounds[name]) for name in SCHEDULES),
        "departure": float(
            np.max([abs(reached[name] / predicted[name] - 1) for name in SCHEDULES if name != "residual"])
        ),
        "residual_ratio": reached["residual"] / predicted["residual"],
    }


def solved(case, name, rho):
    """The flow until `|r| = REACHED |r_0|`, on times that depend on cond(K) alone.

    Times of gradient flow are in units of 1 / lambda_max.
    """
    ratio = rho / case.slowest
    horizon = {
        "gf": 16.0 * case.cond,
        "constant": 16.0 * (1 + ratio),
        "residual": 16.0 + ratio,
        "exponential": 18.0 + np.log1p(ratio),
    }
    end = horizon.get(name, 16.0 if name == "gn" else 16.0 * (1 + FACTOR))
    # the start of the decay on the left, its end on the right
    grid = np.unique(np.concatenate([[0.0], np.geomspace(1e-2, end, 60), np.linspace(0.02, 1.0, 50) * end]))
    times = grid / case.fastest if name == "gf" else grid
    solver = choose_solver(rg.GradientFlow(), np.inf, times[-1])[0] if name in SLOW else None
    # The tolerance applies to the weights: 1e-9 of the outputs of the slowest mode.
    tolerances = {"rtol": 1e-7, "atol": 1e-9 / np.sqrt(case.slowest)} if name in SLOW else {"rtol": 1e-9, "atol": 1e-9}
    settings = {"ts": times, "solver": solver, "max_steps": 8000, "throw": False, **tolerances}
    return rg.solve(case.problem, flow(name, rho), times[-1], loss_tol=0.5 * REACHED**2, **settings)


def residual_levels(traj):
    """`|r_t| / |r_0|` at the saved times."""
    norms = np.linalg.norm(np.asarray(traj.outputs - traj.problem.y), axis=1)
    return norms / norms[0]


def curves(name, row):
    """Levels and bounds of all seeds at one conditioning, as far as all go, and the arrival."""
    shared = min(c["times"][name].size for c in row) - 1  # the last time differs between runs
    times = np.append(row[0]["times"][name][:shared], np.median([c["times"][name][-1] for c in row]))
    levels, bounds = ([np.append(c[key][name][:shared], c[key][name][-1]) for c in row] for key in ("levels", "bounds"))
    return {"times": times, "levels": levels, "bounds": bounds}


def draw(data, fig):
    """Draw residuals and bounds at the worst conditioning, and times to a millionth."""
    fig.set_size_inches(12, 5.2)
    grid = fig.add_gridspec(2, 4, width_ratios=(1, 1, 1, 1.6))
    curve_panels(fig, grid, data)
    upper, lower = (fig.add_subplot(place) for place in grid[:, 3].subgridspec(2, 1, height_ratios=(1.8, 1)))
    for name in SCHEDULES:
        time_curve(upper, name, data)
        if name not in SLOW:
            time_curve(lower, name, data)
    upper.plot([], [], color="0.5", linewidth=0.8, label="closed form")
    upper.set(
        xscale="log",
        yscale="log",
        ylim=(5, None),
        title=r"time to $|r_t| = 10^{-6} |r_0|$ (gradient flow: $\lambda_{\max} t$)",
        ylabel="time",
    )
    upper.legend(loc="upper left")
    lower.set(xscale="log", xlabel="cond(K)", ylabel="time t", ylim=(0, 45), title="the lower three, linear scale")


def time_curve(ax, name, data):
    """Time to a millionth against cond(K), over the closed form."""
    title, look = LOOKS[name]
    ax.plot(data["cond"], data["predicted"][name], color="0.5", linewidth=0.8)
    band(ax, data["cond"], data["reached"][name], label=title, markersize=6, **look)


def curve_panels(fig, grid, data):
    """Six small panels left in the grid, one a flow, on one scale of residuals."""
    first = None
    for i, name in enumerate(LOOKS):
        ax = fig.add_subplot(grid[i // 3, i % 3], sharey=first)
        first = first or ax
        curve_panel(ax, name, data["curves"][name])
        if i % 3 == 0:
            ax.set_ylabel("$|r_t| / |r_0|$")
        else:
            ax.tick_params(labelleft=False)


def curve_panel(ax, name, curve):
    """One flow at the worst conditioning: residual and bound."""
    title, look = LOOKS[name]
    times = curve["times"][1:]
    ax.plot(times, np.median(np.atleast_2d(curve["bounds"]), axis=0)[1:], color="0.6", linewidth=4, label="bound")
    band(ax, times, np.atleast_2d(curve["levels"])[:, 1:], label="measured", markevery=12, **look)
    unit = r"$\lambda_{\max} t$" if name == "gf" else "t"
    ax.set(xscale="log" if name in SLOW else "linear", yscale="log", ylim=(3e-7, 3), title=title, xlabel=f"time {unit}")
    ax.legend(loc="lower left")


def largest_ratio(curve, limit):
    """Largest curve / bound where the bound is above the floor of the solves."""
    above = np.asarray(limit) > FLOOR
    return float(np.max(np.asarray(curve)[above] / np.asarray(limit)[above]))


def checks(result):
    """Compare the numbers of the figure with their predictions, for the worst seed."""
    worst, cond = result["worst"], np.asarray(result["cond"])
    times = {name: np.asarray(result["reached"][name]) for name in SCHEDULES}
    damped = SHARE * cond > DAMPED_MUCH
    slope = {name: slopes(cond, rows) for name, rows in times.items() if name not in ("constant", "residual")}
    slope |= {name: slopes(cond[damped], times[name][:, damped]) for name in ("constant", "residual")}
    delay = slopes(cond[damped], times["exponential"][:, damped], natural=True)
    return [
        check("GN residual against exp(-t)", worst["law"], "at_most", 0.0, 1e-7, golden_rtol=ERROR),
        # the residual has an error of 1e-8, the bound is at least FLOOR
        check("largest curve / bound", worst["excess"], "at_most", 1.0, 1e-3, golden_rtol=1e-3),
        check("GF: exponent of cond(K), worst seed", farthest(slope["gf"], 1.0), "equal", 1.0, 0.05),
        check("GN: exponent of cond(K), worst seed", farthest(slope["gn"], 0.0), "equal", 0.0, 0.02, golden_rtol=ERROR),
        check(
            "rho = lambda_min: exponent of cond(K), worst seed",
            farthest(slope["spectral"], 0.0),
            "equal",
            0.0,
            0.02,
            golden_rtol=ERROR,
        ),
        check("rho constant: exponent of cond(K), worst seed", farthest(slope["constant"], 1.0), "equal", 1.0, 0.05),
        check("rho = c |r|: exponent of cond(K), worst seed", farthest(slope["residual"], 1.0), "equal", 1.0, 0.05),
        check(
            "rho = rho_0 exp(-t): slope of time in log cond(K), worst seed", farthest(delay, 1.0), "equal", 1.0, 0.05
        ),
        check("times / closed forms - 1, worst of all", worst["departure"], "at_most", 0.0, 3e-2, golden_rtol=ERROR),
        check("rho = c |r|: time / its bound, worst of all", worst["residual_ratio"], "at_most", 1.0, 0.0),
        check(
            "decay of the slowest mode / closed form - 1, worst of all",
            worst["mode_ratio"],
            "at_most",
            0.0,
            1e-2,
            golden_rtol=ERROR,
        ),
    ]
