"""What damping costs, and how adaptive damping wins it back, on kernels with cond(K) up to 10^8.

What to see: an over-parameterised network on diabetes samples and near-duplicates of them; the closer the duplicates, the larger cond(K). Constant
damping and gradient flow crawl with the smallest eigenvalue of K; damping tied to that eigenvalue or to the residual does not, and damping that falls
exponentially in time pays the logarithm of the conditioning. Each curve stays below its closed-form bound (grey).

What it does not show: independence of `lambda_min > 0` itself, which every bound needs.

Reference: following Cayci, arXiv:2412.14031v4; bounds derived in theory.md C7, C8 (papers.md D5, D7).
"""

import jax
import jax.numpy as jnp
import numpy as np

import riemgn as rg

from ..checks import check
from .conditioning import first_time
from .diabetes import ERROR

SAMPLES, WIDTH, ALPHA = 12, 6, 300.0
DISTANCES = {True: (1.0, 0.1, 1e-2), False: (2.0, 1.0, 0.3, 0.1, 0.03, 1e-2)}
REACHED = 1e-3
CONSTANT = 1e-3  # of lambda_max(K): the damping of a user who does not know lambda_min
RESIDUAL = 5.0  # of lambda_min(K)
FLOOR = 1e-5  # of |r(0)|: no bound is compared below the error of the stiff solves
SCHEDULES = ("gf", "constant", "spectral", "residual", "exponential", "gn")


def data(quick, data_dir=None):
    """Residual curves and bounds at the worst conditioning, and time to a thousandth of the residual at every one."""
    cells = [cell(distance) for distance in DISTANCES[quick]]
    shown = cells[-1]
    result = {
        "cond": [c["cond"] for c in cells],
        "reached": {name: [c["reached"][name] for c in cells] for name in SCHEDULES},
        "times": shown["times"],
        "curves": shown["curves"],
        "bounds": shown["bounds"],
        "lambda_min": [c["lambda_min"] for c in cells],
        "setup": {
            "data": f"diabetes, {SAMPLES} samples and near-duplicates, tanh network 10-{WIDTH}-1; left: cond(K) = {shown['cond']:.1e}",
            **{"n": 2 * SAMPLES, "p": shown["p"], "alpha": ALPHA, "seeds": "0", "tolerance": "rtol 1e-9, GF 1e-6"},
            "rho": f"rho_0 = {CONSTANT:g} lambda_max(K_0), c = {RESIDUAL:g} lambda_min(K_0)",
        },
    }
    result["checks"] = checks(result, cells)
    return result


LOOKS = {
    "gf": ("gradient flow", "s", "--"),
    "constant": (r"$\rho$ constant", "^", "-."),
    "residual": (r"$\rho = c\,|r_t|$", "D", (0, (5, 1, 1, 1))),
    "exponential": (r"$\rho = \rho_0 e^{-t}$", "v", ":"),
    "spectral": (r"$\rho = \lambda_{\min}(K_t)$", "P", (0, (3, 1))),
    "gn": ("Gauss-Newton", "o", "-"),
}
COLOURS = {"gf": "#D55E00", "constant": "#009E73", "residual": "#CC79A7", "exponential": "#E69F00", "spectral": "#000000", "gn": "#0072B2"}


def draw(data, fig):
    """Residuals and bounds at the worst conditioning, and the time to a thousandth against cond(K)."""
    fig.set_size_inches(12, 5)
    grid = fig.add_gridspec(2, 4, width_ratios=(1, 1, 1, 1.7))
    times = np.asarray(data["times"])
    first = None
    for i, name in enumerate(LOOKS):
        ax = fig.add_subplot(grid[i // 3, i % 3], sharex=first, sharey=first)
        first = first or ax
        title, marker, dash = LOOKS[name]
        ax.plot(times, data["bounds"][name], color="0.6", linewidth=4, label="bound")
        ax.plot(times, data["curves"][name], color=COLOURS[name], marker=marker, markevery=10, linestyle=dash, label="measured")
        ax.set(yscale="log", ylim=(1e-7, 3), xlim=(0, 15), title=title)
        ax.label_outer()
        if i // 3 == 1:
            ax.set_xlabel("time t")
        if i % 3 == 0:
            ax.set_ylabel("$|r_t| / |r_0|$")
        ax.legend(loc="lower left")
    right = fig.add_subplot(grid[:, 3])
    for name, (title, marker, dash) in LOOKS.items():
        # the schedule that lies under Gauss-Newton shows as a ring around it
        look = {"markersize": 12, "fillstyle": "none", "markeredgewidth": 2} if name == "residual" else {"markersize": 6}
        right.plot(data["cond"], data["reached"][name], color=COLOURS[name], marker=marker, linestyle=dash, label=title, **look)
    right.set(xscale="log", yscale="log", xlabel="cond(K)", ylabel=r"time to $|r_t| = 10^{-3} |r_0|$", title="time against conditioning")
    right.legend()


def problem_at(distance):
    """`f = alpha (phi(w) - phi(w0))` on diabetes samples and duplicates at `distance`; residuals of norm 1 that no eigenvector is spared."""
    x, y = rg.load_data("diabetes", subset=SAMPLES, seed=0)
    x = jnp.asarray(rg.near_duplicates(np.asarray(x), distance, key=jax.random.key(3)))
    y = jnp.concatenate([jnp.asarray(y)] * 2) + 0.3 * jax.random.normal(jax.random.key(4), (2 * SAMPLES,))
    net = rg.MLP((10, WIDTH, 1))
    params = net.init(key=jax.random.key(0))
    return rg.Problem(rg.Scaled(rg.Centred(net, params), ALPHA), params, x, y / jnp.linalg.norm(y))


def cell(distance):
    """All flows on one problem: relative residuals on one grid of times, bounds, and the time to `REACHED`."""
    problem = problem_at(distance)
    times = np.concatenate([[0.0], np.logspace(-2, np.log10(20.0), 80)])
    start = rg.solve(problem, rg.GaussNewton(), t1=20.0, ts=times, rtol=1e-9, atol=1e-12)
    smallest = float(start.sigma_min[0]) ** 2
    rho = CONSTANT * smallest * start.stats["cond"] ** 2
    slope = RESIDUAL * smallest
    flows = {
        "constant": rg.LevenbergMarquardt(rg.ConstantDamping(rho)),
        "spectral": rg.LevenbergMarquardt(rg.SpectralDamping(1.0)),
        "residual": rg.LevenbergMarquardt(rg.ResidualDamping(slope, 1.0)),
        "exponential": rg.LevenbergMarquardt(rg.ExponentialDamping(rho, 1.0)),
    }
    trajectories = {"gn": start} | {name: rg.solve(problem, flow, t1=20.0, ts=times, rtol=1e-9, atol=1e-12) for name, flow in flows.items()}
    slow_times = np.concatenate([[0.0], np.logspace(-9, np.log10(12.0), 160)]) / smallest
    gf = rg.solve(problem, rg.GradientFlow(), t1=slow_times[-1], ts=slow_times, rtol=1e-6, atol=1e-8)
    curves = {name: residual_norms(traj) for name, traj in trajectories.items()}
    reached = {name: first_time(times, curve, REACHED) for name, curve in curves.items()} | {
        "gf": first_time(slow_times, residual_norms(gf), REACHED)
    }
    if np.isnan(reached["constant"]):
        reached["constant"] = slow_constant(problem, flows["constant"], smallest, rho)
    gf_short = rg.solve(problem, rg.GradientFlow(), t1=20.0, ts=times, rtol=1e-6, atol=1e-8)
    curves["gf"] = residual_norms(gf_short)
    l0 = min(float(traj.sigma_min.min()) for traj in (*trajectories.values(), gf_short)) ** 2
    return {
        "cond": start.stats["cond"] ** 2,
        "lambda_min": smallest,
        "p": problem.p,
        "times": times,
        "curves": curves,
        "reached": reached,
        "bounds": bounds(times, curves, l0, rho, slope),
    }


def slow_constant(problem, flow, smallest, rho):
    """Constant damping needs a horizon of its own: its slowest mode has rate `lambda_min / (lambda_min + rho)`."""
    times = np.concatenate([[0.0], np.logspace(-2, np.log10(12.0 * (1 + rho / smallest)), 160)])
    traj = rg.solve(problem, flow, t1=times[-1], ts=times, rtol=1e-6, atol=1e-8)
    return first_time(times, residual_norms(traj), REACHED)


def residual_norms(traj):
    """`|r(t)| / |r(0)|` at the asked times."""
    norms = np.sqrt(2 * np.asarray(traj.losses))
    return norms / norms[0]


def bounds(times, curves, l0, rho, slope):
    """The closed-form bounds on `|r(t)| / |r(0)|`, with `l0` the least eigenvalue of K met on the paths and |r(0)| = 1."""
    return {
        "gf": np.exp(-times * l0),
        "constant": np.exp(-times * l0 / (l0 + rho)),
        "spectral": np.exp(-times / 2),
        "residual": np.minimum(1.0, np.exp(-times + slope * (1 - curves["residual"]) / l0)),
        "exponential": (l0 + rho) / (l0 * np.exp(times) + rho),
        "gn": np.exp(-times),
    }


def largest_ratio(curve, bound):
    """Largest curve / bound where the bound is above the floor of the solves."""
    above = np.asarray(bound) > FLOOR
    return float(np.max(np.asarray(curve)[above] / np.asarray(bound)[above]))


def checks(result, cells):
    """The numbers the figure stands for."""
    decades = np.log10(result["cond"])
    slope = {name: float(np.polyfit(decades, np.log10(result["reached"][name]), 1)[0]) for name in SCHEDULES}
    excess = max(largest_ratio(c["curves"][name], c["bounds"][name]) for c in cells for name in SCHEDULES)
    law = max(float(np.max(np.abs(c["curves"]["gn"] - np.exp(-c["times"])))) for c in cells)
    return [
        check("GN residual against exp(-t)", law, "at_most", 0.0, 1e-7, golden_rtol=ERROR),
        # a residual known to 1e-8 over a bound of FLOOR
        check("largest curve / bound", excess, "at_most", 1.0, 1e-3),
        check("GF: slope of time in cond(K)", slope["gf"], "equal", 1.0, 0.1),
        check("GN: slope of time in cond(K)", slope["gn"], "equal", 0.0, 1e-3, golden_rtol=ERROR),
        check("rho = lambda_min(K): slope of time in cond(K)", slope["spectral"], "equal", 0.0, 0.02, golden_rtol=ERROR),
    ]
