"""Run the experiment that the items `digits` and `mnist` share.

Over-parameterised networks on images of digits: six flows and two discrete methods, until a
millionth of the residual is left. The regression target is the standardised value of the digit.
"""

import jax
import jax.numpy as jnp
import numpy as np

import riemgn as rg
from riemgn.experiment.checkpoint import checkpointed
from riemgn.experiment.verdict import check
from riemgn.plot.caption import band
from riemgn.theory.discrete_steps import discrete_quadratic
from riemgn.theory.output_laws import exact_residual_law

from .damping import curve_panels, curves, largest_ratio, residual_levels
from .diabetes import ERROR
from .schedules import bound, FACTOR, flow, frozen_time, LOOKS, SCHEDULES

ALPHA = 100.0
SEEDS = {True: (0, 1), False: (0, 1, 2)}
REACHED = 1e-6
DAMPED = 10.0  # rho_0 / lambda_min(K_0) of the constant, residual and exponential schedules
STEPS = {"gn": 3, "spectral": 22}  # of the discrete methods: to rounding, and to a millionth
CONTRACTION = FACTOR / (1 + FACTOR)  # of the slowest mode in a Levenberg-Marquardt step with rho = c lambda_min(K)
WORST = ("law", "excess", "departure", "residual_ratio", "path", "quadratic", "contraction")


def study(name, n, width, quick, data_dir=None):
    """The data of an item: the networks of all seeds on `n` images of the data set `name`."""
    x, y = images(name, n, data_dir)
    starts = [start(network(x, y, width, seed)) for seed in SEEDS[quick]]
    # one grid of times for all seeds, longer than predicted
    ends = {flow_name: 1.2 * max(begun["predicted"][flow_name] for begun in starts) for flow_name in SCHEDULES}
    cells = [
        begun | cell_of(name, n, width, seed, data_dir, tuple(ends.items()))
        for begun, seed in zip(starts, SEEDS[quick], strict=True)
    ]
    by_flow = ("reached", "predicted")
    result = {key: {flow_name: [c[key][flow_name] for c in cells] for flow_name in SCHEDULES} for key in by_flow}
    result |= {key: [c[key] for c in cells] for key in ("cond", "gf_left", "order")}
    result["curves"] = {flow_name: curves(flow_name, cells) for flow_name in SCHEDULES}
    result["steps"] = {method: [c["steps"][method] for c in cells] for method in STEPS}
    result["worst"] = {key: float(np.max([c[key] for c in cells])) for key in WORST}
    size = x.shape[1]
    result["setup"] = {
        "data": f"{name}, {n} images of {size} pixels drawn with seed 0, target: the digit's value; tanh "
        f"network {size}-{width}-1 with biases; "
        f"cond(K) = {min(result['cond']):.1e} to {max(result['cond']):.1e}",
        **{"n": n, "p": cells[0]["p"], "alpha": ALPHA, "tolerance": "rtol 1e-9"},
        "seeds": f"{SEEDS[quick][0]}-{SEEDS[quick][-1]}, of the weights (line: median, band: least to largest)",
        "rho": f"{DAMPED:g} lambda_min(K_0) at the start (constant, residual, exponential), {FACTOR:g} "
        f"lambda_min(K_t) (spectral)",
    }
    result["checks"] = checks(result)
    return result


def images(name, n, data_dir=None):
    """`n` images (n, d), centred and with mean square 1, and their standardised digits (n,)."""
    x, y = rg.load_data(name, data_dir=data_dir, subset=n, seed=0, standardize=False, drop_constant=False)
    x = x - x.mean(axis=0)
    return jnp.asarray(x / np.sqrt(np.mean(x**2))), jnp.asarray((y - y.mean()) / y.std())


def network(x, y, width, seed):
    """`f = ALPHA (phi(w) - phi(w0))`, a d-width-1 tanh network with biases in NTK scaling."""
    net = rg.MLP((x.shape[1], width, 1))
    params = net.init(key=jax.random.key(seed))
    return rg.Problem(rg.Scaled(rg.Centred(net, params), ALPHA), params, x, y)


def start(problem):
    """Eigenvalues, damping and residual at the start, and times for a frozen kernel."""
    eigenvalues, vectors = np.linalg.eigh(np.asarray(problem.ntk(problem.w0)))
    residual = np.asarray(problem.outputs(problem.w0) - problem.y)
    least, fastest = eigenvalues[0], eigenvalues[-1]
    rho = DAMPED * least
    predicted = {
        name: clock(name, fastest) * frozen_time(name, REACHED, eigenvalues, vectors.T @ residual, rho)
        for name in SCHEDULES
    }
    at_start = {
        "p": problem.p,
        "cond": float(fastest / least),
        "fastest": fastest,
        "rho": rho,
        "residual": float(np.linalg.norm(residual)),
    }
    return at_start | {"predicted": predicted}


def clock(name, fastest):
    """The unit of time: gradient flow's counts in 1 / lambda_max(K_0)."""
    return fastest if name == "gf" else 1.0


@checkpointed
def cell_of(name, n, width, seed, data_dir, ends):
    """Call `cell` for one seed. `ends` are pairs of the name of a flow and its last time."""
    problem = network(*images(name, n, data_dir), width, seed)
    return cell(problem, start(problem), dict(ends))


def cell(problem, begun, ends):
    """All flows and methods on one problem: residuals, bounds, times to `REACHED`, and errors."""
    units, rho, predicted = (
        {name: clock(name, begun["fastest"]) for name in SCHEDULES},
        begun["rho"],
        begun["predicted"],
    )
    runs = {name: solved(problem, flow(name, rho, begun["residual"]), ends[name], units[name]) for name in SCHEDULES}
    levels = {name: residual_levels(traj) for name, traj in runs.items()}
    times = {name: units[name] * np.asarray(traj.ts) for name, traj in runs.items()}
    arrived = {name: traj.status == "loss_tolerance_met" for name, traj in runs.items()}
    reached = {name: float(times[name][-1]) if arrived[name] else float("nan") for name in SCHEDULES}
    bounds = {
        name: bound(name, np.asarray(traj.ts), float(traj.sigma_min.min()) ** 2, rho, levels[name])
        for name, traj in runs.items()
    }
    return {
        **{"times": times, "levels": levels, "bounds": bounds, "reached": reached},
        "gf_left": float(np.interp(times["gn"][-1], times["gf"], levels["gf"])),
        "law": exact_residual_law(runs["gn"]).conclusions[0].measured,
        "excess": max(largest_ratio(levels[name], bounds[name]) for name in SCHEDULES),
        "departure": float(
            np.max([abs(reached[name] / predicted[name] - 1) for name in SCHEDULES if name != "residual"])
        ),
        "residual_ratio": reached["residual"] / predicted["residual"],
        "path": float(np.max([path_share(traj) for traj in runs.values()])),
        **iterated(problem),
    }


def solved(problem, dynamics, end, unit):
    """The flow until `|r| = REACHED |r_0|`, saved at times up to `end` in units of 1 / `unit`."""
    # the start of the decay on the left, its end on the right
    grid = np.sort(np.concatenate([[0.0], np.geomspace(1e-2, end, 40), (np.arange(1, 40) - 0.5) / 40 * end])) / unit
    level = 0.5 * REACHED**2 * float(problem.y @ problem.y)
    return rg.solve(problem, dynamics, grid[-1], ts=grid, rtol=1e-9, atol=1e-9, loss_tol=level, throw=False)


def path_share(traj):
    """Length of the path over its bound `(|r_0| - |r_T|) / sigma_0` (Statement C15).

    `sigma_0` is the smallest singular value of J on the path. The length of the polygon through the
    saved points is extrapolated from that through every second point.
    """
    points = np.asarray(traj.params)
    points = points[: len(points) - (len(points) + 1) % 2]  # an even number of sides
    fine, coarse = (np.linalg.norm(np.diff(points[::stride], axis=0), axis=1).sum() for stride in (1, 2))
    residuals = np.linalg.norm(np.asarray(traj.outputs - traj.problem.y), axis=1)
    return float((fine + (fine - coarse) / 3) * traj.sigma_min.min() / (residuals[0] - residuals[len(points) - 1]))


def iterated(problem):
    """Full Gauss-Newton steps, and Levenberg-Marquardt steps damped by the smallest eigenvalue."""
    gn = rg.iterate(problem, rg.GaussNewton(), steps=STEPS["gn"])
    lm = rg.iterate(problem, rg.LevenbergMarquardt(rg.SpectralDamping(FACTOR)), steps=STEPS["spectral"])
    steps = {"gn": residual_levels(gn), "spectral": residual_levels(lm)}
    return {
        "steps": steps,
        "order": order(steps["gn"]),
        "quadratic": discrete_quadratic(gn).conclusions[0].measured,
        "contraction": float(np.max(steps["spectral"][1:] / steps["spectral"][:-1])),
    }


def order(levels):
    """Order of convergence of the first two steps, `log(r_2 / r_1) / log(r_1 / r_0)`."""
    logs = np.log(np.asarray(levels)[:3])
    return float((logs[2] - logs[1]) / (logs[1] - logs[0]))


def draw(data, fig):
    """Draw residuals with bounds, the discrete methods, and the times to a millionth."""
    fig.set_size_inches(12, 5.6)
    grid = fig.add_gridspec(2, 4, width_ratios=(1, 1, 1, 1.5))
    curve_panels(fig, grid, data)
    steps_panel(fig.add_subplot(grid[0, 3]), data["steps"])
    times_panel(fig.add_subplot(grid[1, 3]), data)


def steps_panel(ax, steps):
    """Draw the residual against the iteration for both discrete methods."""
    gn, lm = np.atleast_2d(steps["gn"]), np.atleast_2d(steps["spectral"])
    k = np.arange(gn.shape[1])
    ax.plot(k, np.median(gn[:, 1]) ** (2.0**k - 1), color="0.6", linewidth=4, label="order 2 from step 1 on")
    band(ax, k, gn, label="Gauss-Newton", **LOOKS["gn"][1])
    j = np.arange(lm.shape[1])
    ax.plot(j, CONTRACTION**j, color="0.45", linewidth=1.2, linestyle="--", label="$2^{-k}$, bound of the next")
    band(ax, j, lm, label=r"Levenberg-Marquardt, $\rho = \lambda_{\min}(K_k)$", markevery=2, **LOOKS["spectral"][1])
    ax.set(yscale="log", ylim=(1e-20, 30), xlabel="iteration k", ylabel="$|r_k| / |r_0|$", title="discrete methods")
    ax.legend(loc="lower right")


def times_panel(ax, data):
    """Draw the time to a millionth of every flow and seed with its closed form."""
    for i, name in enumerate(SCHEDULES):
        look = LOOKS[name][1]
        ax.plot(
            [i - 0.3, i + 0.3],
            [np.median(data["predicted"][name])] * 2,
            color="0.6",
            linewidth=4,
            solid_capstyle="butt",
        )
        times = np.asarray(data["reached"][name])
        ax.plot(
            np.linspace(i - 0.15, i + 0.15, times.size),
            times,
            color=look["color"],
            marker=look["marker"],
            linestyle="none",
            markersize=6,
        )
    ax.axhline(np.median(data["cond"]) * np.log(1 / REACHED), color="0.3", linestyle=":", linewidth=1.2)
    ax.text(
        5.4,
        0.75 * np.median(data["cond"]) * np.log(1 / REACHED),
        r"cond(K) x $\log 10^6$",
        ha="right",
        va="top",
        color="0.3",
    )
    ax.plot([], [], color="0.6", linewidth=4, label=r"closed form, kernel frozen ($\rho \propto |r|$: bound)")
    ax.set(yscale="log", ylabel="time", title=r"time to $|r_t| = 10^{-6} |r_0|$ (gradient flow: $\lambda_{\max} t$)")
    ax.set_ylim(5, 30 * np.median(data["cond"]))
    ax.set_xticks(range(len(SCHEDULES)), [SHORT[name] for name in SCHEDULES])
    ax.legend(loc="center right")


SHORT = {
    "gf": "gradient\nflow",
    "constant": "$\\rho$ const.",
    "residual": "$\\rho \\propto |r|$",
    "exponential": "$\\rho_0 e^{-t}$",
    "spectral": "$\\rho = \\lambda_{\\min}$",
    "gn": "Gauss-\nNewton",
}


def checks(result):
    """Compare the numbers of the figure with their predictions, for the worst seed."""
    worst, cond = result["worst"], np.asarray(result["cond"])
    slowdown = np.asarray(result["reached"]["gf"]) / np.asarray(result["reached"]["gn"]) / cond
    orders = np.asarray(result["order"])
    return [
        check("GN residual against exp(-t)", worst["law"], "at_most", 0.0, 1e-7, golden_rtol=ERROR),
        check("largest curve / bound", worst["excess"], "at_most", 1.0, 1e-3, golden_rtol=1e-3),
        check(
            "times / closed forms of a frozen kernel - 1, worst of all",
            worst["departure"],
            "at_most",
            0.0,
            5e-2,
            golden_rtol=ERROR,
        ),
        check("rho = c |r|: time / its bound", worst["residual_ratio"], "at_most", 1.0, 0.0),
        check("path length x sigma_0 / (|r_0| - |r_t|), all flows", worst["path"], "at_most", 1.0, 0.0),
        check(
            "GF: share of the residual left when GN is at 1e-6, least",
            float(np.min(result["gf_left"])),
            "at_least",
            0.1,
            0.0,
        ),
        check("GF time / GN time over cond(K), least", float(np.min(slowdown)), "at_least", 0.3, 0.0),
        check("GF time / GN time over cond(K), largest", float(np.max(slowdown)), "at_most", 1.0, 5e-2),
        check("GN step: |r_{k+1}| / (C |r_k|^2), analytic C", worst["quadratic"], "at_most", 1.0, 0.0),
        check("GN step: order of convergence", float(orders[np.argmax(np.abs(orders - 2))]), "equal", 2.0, 0.5),
        check(
            "LM step, rho = c lambda_min: factor of the residual", worst["contraction"], "at_most", CONTRACTION, 1e-3
        ),
    ]
