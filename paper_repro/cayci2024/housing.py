"""On California housing the Gauss-Newton flow reaches the best network at the rate of the loss.

What to see: the left panel shows the gap `g(f(w_t)) - g_inf` of Gauss-Newton flows from several
random weights. It stays below `exp(-2 kappa t)`, where `kappa` is the smallest `kappa_t = Hess_M
g[u, u] / |u|^2` on each path. SciPy's trust-region least squares finds `g_inf`. The middle panel
shows gradient flow from the same weights, on a time axis where its fastest mode has rate 1. It
needs as many decades of time as the squared condition number of the Jacobian has. The right panel
shows the late rate of each Gauss-Newton run between two numbers from the geometry: the smallest
curvature on the path, and `theta_min` at its end.

What it does not show: how well the network predicts. You see training losses of a small network
with fewer parameters than samples.

Reference: Cayci, arXiv:2412.14031v4. Statements C4, C5 (D11) and C17 (D12).
"""

import jax
import jax.numpy as jnp
import numpy as np

import riemgn as rg
from riemgn.experiment.checkpoint import checkpointed
from riemgn.experiment.verdict import check
from riemgn.plot.caption import band

from .diabetes import ERROR
from .last_iterate import AGREED, excess, one_run
from .optimum import least_squares

# The columns of numbers. The rarest value of the last column occurs in 5 of 20 640 rows, which
# is too few for a network.
NUMERIC = 8
ROWS, SEEDS, STARTS = {True: 2000, False: 16000}, {True: 3, False: 4}, {True: 1, False: 2}
ALPHA, HORIZON = 100.0, 40.0
CLOCK = np.concatenate([[0.0], np.logspace(-1, 9, 61)])


def data(quick, data_dir=None):
    """Both flows from each seed's weights, the optimum by SciPy, and the rates."""
    problem = network(ROWS[quick], 0, data_dir)
    runs = [run_from(ROWS[quick], seed, STARTS[quick], data_dir) for seed in range(SEEDS[quick])]
    runs = [run for run in runs if run["ending"] == "converged"]
    result = {"clock": CLOCK, "runs": runs}
    seeds = f"0-{SEEDS[quick] - 1} (line: median, band: least to largest)"
    result["setup"] = {
        "data": f"California housing ({ROWS[quick]} x {NUMERIC}), tanh network 8-4-1, squared loss",
        **{
            "n": problem.n,
            "p": problem.p,
            "alpha": ALPHA,
            "rho": 0,
            "seeds": seeds,
            "tolerance": "rtol 1e-10 (GN), 1e-5 (GF)",
        },
    }
    result["checks"] = checks(runs, SEEDS[quick])
    return result


@checkpointed
def run_from(rows, seed, starts, data_dir):
    """Gauss-Newton from the weights of one seed and, if it converges, gradient flow."""
    problem = network(rows, seed, data_dir)
    run = one_run(problem, HORIZON, seed, starts)
    return run | (gradient_flow(problem) if run["ending"] == "converged" else {})


def network(rows, seed, data_dir=None):
    """`f = alpha (phi(w) - phi(w0))`, an 8-4-1 tanh network on the columns of numbers: p = 41."""
    x, y = rg.load_data("california_housing", subset=rows, seed=0, data_dir=data_dir)
    net = rg.MLP((NUMERIC, 4, 1))
    params = net.init(key=jax.random.key(seed))
    return rg.Problem(rg.Scaled(rg.Centred(net, params), ALPHA), params, jnp.asarray(x)[:, :NUMERIC], jnp.asarray(y))


def gradient_flow(problem):
    """The gaps of gradient flow on its time axis, and cond(J) at the start."""
    spread = np.linalg.svd(np.asarray(problem.jac(problem.w0)), compute_uv=False)
    times = CLOCK / spread[0] ** 2
    traj = rg.solve(problem, rg.GradientFlow(), t1=times[-1], ts=times, rtol=1e-5, atol=1e-7)
    gaps = np.asarray(traj.losses) - least_squares(problem, np.asarray(traj.params[-1])).cost
    return {"slow_gaps": gaps / gaps[0], "cond": float(spread[0] / spread[-1])}


def draw(data, fig):
    """Gaps along both flows, and the rates of the Gauss-Newton runs."""
    fig.set_size_inches(12, 4.2)
    left, middle, right = fig.subplots(1, 3)
    runs = data["runs"]
    times = np.asarray(runs[0]["times"])
    floor = 1e-12
    bounds = np.exp(-2 * np.asarray([[run["kappa"]] for run in runs]) * times)
    band(left, times, bounds, color="0.4", linestyle="--", label=r"bound $e^{-2 \min\kappa_t\, t}$")
    gaps = np.asarray([run["gaps"] for run in runs])
    mask = (gaps > floor).all(axis=0)
    band(left, times[mask], gaps[:, mask], color="#0072B2", marker="o", markersize=4, markevery=3, label="Gauss-Newton")
    left.set(
        yscale="log",
        ylim=(1.5 * floor, 3),
        xlim=(0, 16),
        xlabel="time t",
        ylabel=r"$(g_t - g_\infty) / (g_0 - g_\infty)$",
    )
    slow = np.maximum(np.asarray([run["slow_gaps"] for run in runs]), floor)
    band(
        middle,
        data["clock"][1:],
        slow[:, 1:],
        color="#D55E00",
        marker="s",
        markersize=4,
        markevery=4,
        linestyle="-",
        label="gradient flow",
    )
    conds = np.asarray([run["cond"] for run in runs]) ** 2
    middle.axvspan(conds.min(), conds.max(), color="0.88", zorder=0, label=r"cond$(J(w_0))^2$")
    middle.set(xscale="log", yscale="log", ylim=(1.5 * floor, 3), xlabel=r"time t x $\sigma_{\max}(J(w_0))^2$")
    places = np.arange(len(runs))
    for key, marker, look, label in RATES:
        right.plot(places, [run[key] for run in runs], linestyle="none", marker=marker, label=label, **look)
    right.set(xlabel="seed", ylabel=r"rate of $|P\,\nabla g|$ (per unit time)", ylim=(0.2, 1.05))
    right.set_xticks(places)
    for ax in (left, middle, right):
        ax.legend(loc="lower left")


HOLLOW = {"color": "black", "fillstyle": "none", "markersize": 9}
RATES = (
    ("theta_min", "s", HOLLOW, r"$\theta_{\min}$ at the optimum"),
    ("kappa", "_", {"color": "#D55E00", "markersize": 16, "markeredgewidth": 2}, r"$\min_t \kappa_t$"),
    ("late_rate", "o", {"color": "#0072B2", "markersize": 5}, "measured, late"),
)


def checks(runs, seeds):
    """Compare the numbers of the figure with their predictions. A NaN counts as the worst value."""
    apart = float(np.max([run["loss_gaps"][0] for run in runs]))
    others = np.concatenate([run["loss_gaps"][1:] for run in runs])
    slowest = float(np.min([run["late_rate"] / run["theta_min"] for run in runs]))
    slow = float(
        np.min([reached(run["slow_gaps"], CLOCK, 1e-6) / reached(run["gaps"], run["times"], 1e-6) for run in runs])
    )
    return [
        check("runs that converge", float(len(runs)), "equal", float(seeds), 0.0),
        check(
            "|g_T - g_scipy| / g_0 from the flow's start, worst run", apart, "at_most", 0.0, AGREED, golden_rtol=ERROR
        ),
        check(
            "share of random starts that end at the flow's loss",
            float(np.mean(others <= AGREED)),
            "at_least",
            0.5,
            0.0,
            golden_rtol=0.5,
        ),
        check("largest gap / exp(-2 min kappa t)", float(np.max([excess(run) for run in runs])), "at_most", 1.0, 1e-2),
        check("least late rate of |u| / theta_min", slowest, "at_least", 1.0, 1e-2),
        check(
            "GF: time to 1e-6 in its fastest time constants, over GN's, least",
            slow,
            "at_least",
            100.0,
            0.0,
            golden_rtol=0.6,
        ),
    ]


def reached(gaps, times, level):
    """The first time at which the gap is at most `level`, or infinity."""
    below = np.flatnonzero(np.asarray(gaps) <= level)
    return float(np.asarray(times)[below[0]]) if below.size else float("inf")
