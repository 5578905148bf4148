"""In discrete time too, adaptive damping removes the dependence on the condition number.

What to see: Levenberg-Marquardt with step size 1 on the kernels of `damping`. With `rho =
lambda_min(K_k)` every step at least halves the residual for every cond(K), so 20 iterations give a
millionth. With `rho_0 exp(-k)` the count grows by one for each factor e of cond(K). Gauss-Newton
converges quadratically and needs at most three steps. At cond(K) = 1e10 its first step is so long
that it leaves the linear regime. Constant damping and damping proportional to the residual need a
number of iterations proportional to cond(K), such as gradient descent with step `1 / lambda_max`
does. As the step size eta goes to 0, the iterates approach the flow at `t = k eta` with order 1.

What it does not show: a schedule without knowledge of lambda_min and without cost, or steps at an
output scale where the kernel moves.

Reference: Cayci, arXiv:2412.14031v4. We know its discrete iterates only by the abstract. Statements
C9 and D13.
"""

import numpy as np

import riemgn as rg
from paper_repro.fits import farthest, slopes
from riemgn.experiment.checkpoint import checkpointed
from riemgn.experiment.verdict import check
from riemgn.plot.caption import band
from riemgn.theory.constants import second_derivative_norm

from .damping import residual_levels
from .diabetes import ERROR
from .duplicates import duplicates, SAMPLES, WIDTH
from .schedules import FACTOR, flow, LOOKS, schedule, SHARE

ALPHA = 1e7
REACHED = 1e-6
CONDITIONS = {True: (1e2, 1e4, 1e6, 1e8, 1e10), False: (1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10)}
MANY = {
    True: (1e2, 1e3, 1e4),
    False: (1e2, 3e2, 1e3, 3e3, 1e4),
}  # for methods whose number of steps is proportional to cond(K)
SEEDS = {True: (0, 1, 2), False: (0, 1, 2, 3, 4)}
QUICKER, SLOWER = ("exponential", "spectral", "gn"), ("gd", "constant", "residual")
FEW, MOST = 256, 200_000  # maximum numbers of steps
TITLES = {name: look for name, (_, look) in LOOKS.items()} | {"gd": LOOKS["gf"][1]}
SIZES = np.array([1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4])  # eta
T1 = FEW * SIZES[0]
ORDER_COND = 1e4
FLOOR = 1e-5  # of |r_0|: contractions are compared above it, because of rounding
DAMPED_MUCH = 30.0  # rho_0 / lambda_min from which the slope in cond(K) is used


def data(quick, data_dir=None):
    """Iterations against cond(K), residuals at the worst, and distances from the flow."""
    seeds = SEEDS[quick]
    quicker = [[quick_cell(cond, seed) for seed in seeds] for cond in CONDITIONS[quick]]
    slower = [[slow_cell(cond, seed) for seed in seeds] for cond in MANY[quick]]
    orders = [order_cell(seed) for seed in seeds]
    rows = {name: quicker if name in QUICKER else slower for name in (*QUICKER, *SLOWER)}
    result = {
        "cond": {name: [float(np.median([c["cond"] for c in row])) for row in rows[name]] for name in rows},
        "counts": {name: [[row[i]["counts"][name] for row in rows[name]] for i in range(len(seeds))] for name in rows},
        "frozen": {
            name: [[row[i]["frozen"][name] for row in rows[name]] for i in range(len(seeds))]
            for name in rows
            if name != "residual"
        },
        "levels": {name: [c["levels"][name] for c in quicker[-1]] for name in QUICKER},
        "limits": {name: [c["limits"][name] for c in quicker[-1]] for name in ("exponential", "spectral")},
        "excess": float(np.max([c["excess"] for row in quicker for c in row])),
        "sizes": SIZES,
        "distances": {name: [cell[name] for cell in orders] for name in orders[0]},
    }
    case = duplicates(1e4, ALPHA, 0)
    result["setup"] = {
        "data": f"diabetes, {SAMPLES} samples and a near-duplicate of each, tanh network 10-{WIDTH}-1; "
        f"middle: cond(K) = 1e10, right: 1e4",
        **{"n": case.problem.n, "p": case.problem.p, "alpha": ALPHA, "tolerance": "none (steps); rtol 1e-10 (flow)"},
        "seeds": f"{seeds[0]}-{seeds[-1]}, of samples, copies and weights (line: median, band: least to largest)",
        "rho": f"{SHARE:g} lambda_max(K_0) at the start (constant, residual, exponential), {FACTOR:g} "
        f"lambda_min(K_k) (spectral)",
    }
    result["checks"] = checks(result)
    return result


def method(name, case, size=1.0):
    """The method called `name` with step size `size` (gradient descent: 1 / lambda_max)."""
    if name == "gd":
        return rg.GradientDescent(1.0 / case.fastest)
    if name == "gn":
        return rg.GaussNewton(step_size=size)
    return rg.LevenbergMarquardt(schedule(name, SHARE * case.fastest), step_size=size)


def stepped(name, case, most, every):
    """The iterates until `|r| = REACHED |r_0|`."""
    return rg.iterate(case.problem, method(name, case), steps=most, save_every=every, loss_tol=0.5 * REACHED**2)


def count(traj):
    """Steps taken to the tolerance, NaN where it was not reached."""
    return float(traj.stats["num_steps"]) if traj.status == "loss_tolerance_met" else float("nan")


@checkpointed
def quick_cell(cond, seed):
    """Counts, residuals and contractions of the methods that need few steps."""
    case = duplicates(cond, ALPHA, seed)
    runs = {name: stepped(name, case, FEW, 1) for name in QUICKER}
    levels = {name: residual_levels(traj) for name, traj in runs.items()}
    factors = {name: contractions(runs[name]) for name in ("exponential", "spectral")}
    bend = second_derivative_norm(case.problem, case.problem.w0).value
    excess = max(largest_excess(levels[name], factors[name], 0.5 * bend * moved(runs[name])) for name in factors)
    return {
        "cond": case.cond,
        "counts": {name: count(traj) for name, traj in runs.items()},
        "frozen": {name: frozen_count(name, case) for name in QUICKER},
        "levels": {name: padded(level) for name, level in levels.items()},
        "limits": {name: padded(np.concatenate([[1.0], np.cumprod(factor)])) for name, factor in factors.items()},
        "excess": excess,
    }


def contractions(traj):
    """`rho_k / (lambda_min(K_k) + rho_k)` of each step, (steps,) (Statement D13)."""
    least, rho = np.asarray(traj.sigma_min)[:-1] ** 2, traj.stats["per_step"]["damping"]
    return rho / (least + rho)


def moved(traj):
    """`|w_{k+1} - w_k|^2` of each step, (steps,)."""
    return np.sum(np.diff(np.asarray(traj.params), axis=0) ** 2, axis=1)


def largest_excess(levels, factors, second):
    """Largest `|r_{k+1}| / (factor_k |r_k| + second_k)` above rounding (Statement D13).

    `second` is `L |w_{k+1} - w_k|^2 / 2`.
    """
    limits = factors * levels[:-1] + second
    mask = limits > FLOOR
    return float(np.max(levels[1:][mask] / limits[mask]))


def padded(values, length=40):
    """The first `length` values, padded with NaN."""
    return np.concatenate([values, np.full(length, np.nan)])[:length]


@checkpointed
def slow_cell(cond, seed):
    """Counts of the methods whose number of steps grows in proportion to cond(K)."""
    case = duplicates(cond, ALPHA, seed)
    counts = {name: count(stepped(name, case, MOST, MOST)) for name in SLOWER}
    return {
        "cond": case.cond,
        "counts": counts,
        "frozen": {name: frozen_count(name, case) for name in SLOWER if name != "residual"},
    }


def frozen_count(name, case):
    """Number of steps of size 1 to `REACHED` for a frozen kernel."""
    values, rho = case.eigenvalues, SHARE * case.fastest
    if name == "exponential":
        factors = [rho * np.exp(-k) / (values + rho * np.exp(-k)) for k in range(FEW)]
        levels = np.linalg.norm(np.cumprod(factors, axis=0) * case.amplitudes, axis=1)
        return float(1 + np.argmax(levels <= REACHED))
    factor = {"gd": 1 - values / case.fastest, "gn": 0 * values}.get(name)
    if factor is None:
        damping = rho if name == "constant" else FACTOR * case.slowest
        factor = damping / (values + damping)
    low, high = 0, MOST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if np.linalg.norm(factor**middle * case.amplitudes) <= REACHED else (middle, high)
    return float(high)


@checkpointed
def order_cell(seed):
    """Largest distance of the iterates from the flow up to `T1`, over |r_0|, for each step size."""
    case = duplicates(ORDER_COND, ALPHA, seed)
    rho, times = SHARE * case.fastest, np.linspace(0.0, T1, FEW + 1)
    collected = {}
    for name in (*QUICKER, "constant", "residual"):
        exact = rg.solve(case.problem, flow(name, rho), T1, ts=times, rtol=1e-10, atol=1e-10, step_to_ts=True)
        collected[name] = []
        for size in SIZES:
            # The tolerance is never met. It is there so that the compiled program is reused.
            run = rg.iterate(case.problem, method(name, case, float(size)), steps=FEW, loss_tol=1e-300)
            stride = round(size / SIZES[0])
            apart = np.asarray(run.outputs[: FEW // stride + 1] - exact.outputs[: FEW + 1 : stride])
            collected[name].append(float(np.linalg.norm(apart, axis=1).max()))
    return collected


def draw(data, fig):
    """Draw iterations against cond(K), residuals at the worst, and distances from the flow."""
    fig.set_size_inches(12, 4.4)
    left, middle, right = fig.subplots(1, 3)
    titles = {name: title for name, (title, _) in LOOKS.items()} | {
        "gd": r"gradient descent, $\eta = 1/\lambda_{\max}$"
    }
    for name in ("gd", "constant", "residual", *QUICKER):
        band(left, data["cond"][name], data["counts"][name], label=titles[name], markersize=6, **TITLES[name])
    left.set(
        xscale="log",
        yscale="log",
        ylim=(0.8, 1e7),
        xlabel="cond(K)",
        ylabel=r"iterations to $|r_k| = 10^{-6} |r_0|$",
        title="step size 1",
    )
    left.legend(loc="upper right")
    for name in QUICKER:
        if name in data["limits"]:
            middle.plot(np.median(np.atleast_2d(data["limits"][name]), axis=0), color="0.6", linewidth=4)
        levels = np.atleast_2d(data["levels"][name])
        shared = int(np.min(np.sum(np.isfinite(levels), axis=1)))
        band(
            middle,
            np.arange(shared),
            levels[:, :shared],
            label=titles[name],
            markevery=2 if name != "gn" else 1,
            **TITLES[name],
        )
    middle.plot([], [], color="0.6", linewidth=4, label="product of the bounds")
    middle.set(
        yscale="log",
        ylim=(1e-10, 3),
        xlabel="iteration k",
        ylabel="$|r_k| / |r_0|$",
        title="worst conditioning, step size 1",
    )
    middle.legend(loc="lower right")
    for name in (*QUICKER, "constant", "residual"):
        band(right, data["sizes"], data["distances"][name], label=titles[name], **TITLES[name])
    guide = 0.15 * data["sizes"]
    right.plot(data["sizes"], 4 * guide, color="0.45", linewidth=1.2, linestyle="--", label="order 1")
    right.set_xscale("log", base=2)
    right.set(yscale="log", xlabel=r"step size $\eta$", title=r"distance from the flow, $t_k = k\eta$")
    right.set_ylabel(r"largest $|f(w_k) - f(w(t_k))| / |r_0|$")
    right.legend(loc="lower right")


def checks(result):
    """Compare the numbers of the figure with their predictions, for the worst seed."""
    cond, counts, frozen = (
        {name: np.asarray(values) for name, values in result[key].items()} for key in ("cond", "counts", "frozen")
    )
    damped = {name: SHARE * cond[name] > DAMPED_MUCH for name in ("constant", "residual", "exponential")}
    slope = {name: slopes(cond[name], counts[name]) for name in ("gd", "spectral")}
    slope["constant"] = slopes(cond["constant"][damped["constant"]], counts["constant"][:, damped["constant"]])
    delay = slopes(
        cond["exponential"][damped["exponential"]], counts["exponential"][:, damped["exponential"]], natural=True
    )
    order = np.concatenate([slopes(result["sizes"], rows) for rows in result["distances"].values()])
    off = max(float(np.max(np.abs(counts[name] - frozen[name]))) for name in ("exponential", "spectral"))
    apart = float(np.max([np.abs(counts[name] / frozen[name] - 1) for name in ("gd", "constant")]))
    waiting = float(np.max(counts["residual"] * (1 / (np.log(1 / REACHED) + SHARE * cond["residual"]))))
    return [
        check("gradient descent: exponent of cond(K), worst seed", farthest(slope["gd"], 1.0), "equal", 1.0, 0.05),
        check("rho constant: exponent of cond(K), worst seed", farthest(slope["constant"], 1.0), "equal", 1.0, 0.05),
        check(
            "rho = lambda_min: exponent of cond(K), worst seed",
            farthest(slope["spectral"], 0.0),
            "equal",
            0.0,
            0.02,
            golden_rtol=ERROR,
        ),
        # The counts are whole numbers, with a range of 13.
        check(
            "rho = rho_0 exp(-k): slope of iterations in log cond(K), worst seed",
            farthest(delay, 1.0),
            "equal",
            1.0,
            0.1,
        ),
        check("Gauss-Newton: most iterations", float(np.max(counts["gn"])), "at_most", 4.0, 0.0, golden_rtol=0.5),
        check(
            "iterations - those of a frozen kernel, exponential and spectral",
            off,
            "at_most",
            0.0,
            1.0,
            golden_rtol=ERROR,
        ),
        check(
            "iterations / those of a frozen kernel - 1, GD and constant", apart, "at_most", 0.0, 1e-2, golden_rtol=ERROR
        ),
        check("rho = c |r|: iterations / those of its flow's bound", waiting, "at_most", 1.0, 0.0),
        # The bound has the factor and a second-order term with L at the start.
        check("contraction of a step / its bound", result["excess"], "at_most", 1.0, 1e-2),
        check("order of the distance from the flow in eta, worst of all", farthest(order, 1.0), "equal", 1.0, 0.1),
    ]
