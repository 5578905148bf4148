"""Images of digits, their value as a regression target, an over-parameterised network, all flows and iterates, for any set of images."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import riemgn as rg
from riemgn.model import AbstractModel
from riemgn.theory.damped import path_length
from riemgn.theory.outputs import exact_residual_law

from ..checks import check
from ..picture import band
from .damping import largest_ratio, residual_levels
from .diabetes import ERROR
from .schedules import bound, FACTOR, flow, LOOKS, schedule, SCHEDULES, SHARE

ALPHA = 1e4
T1, STEPS = 16.0, 20
GF_END = 1e5  # 1 / lambda_max: the slowest mode needs 1 / lambda_min, cond(K) times as long
SHOWN = tuple(name for name in SCHEDULES if name != "residual")
ITERATED = ("exponential", "spectral", "gn")


class Displaced(AbstractModel):
    """`f(v) = alpha (phi(w0 + v / alpha) - phi(w0))`: weights counted from the start in units of 1 / alpha, as in `duplicates`, without a matrix."""

    model: AbstractModel
    origin: list
    alpha: Array
    rowwise: bool = eqx.field(static=True, default=True)
    smooth: bool = eqx.field(static=True, default=True)

    def __call__(self, params, x):
        weights = jax.tree.map(lambda start, step: start + step / self.alpha, self.origin, params)
        return self.alpha * (self.model(weights, x) - self.model(self.origin, x))


def image_problem(name, n, width, seed, data_dir=None):
    """`n` images drawn by the seed, their pixels scaled to a root mean square of 1, the value 0 to 9 standardised and divided by sqrt(n): |r_0| = 1.

    Raises: `DataUnavailableError` where the set is not at hand.
    """
    x, y = rg.load_data(name, subset=n, seed=seed, standardize=False, drop_constant=False, target="value", data_dir=data_dir)
    x, y = x / np.sqrt(np.mean(x**2)), (y - y.mean()) / y.std() / np.sqrt(n)
    net = rg.MLP((x.shape[1], width, 1))
    params = net.init(key=jax.random.key(seed))
    start = jax.tree.map(jnp.zeros_like, params)
    return rg.Problem(Displaced(net, params, jnp.asarray(ALPHA)), start, jnp.asarray(x), jnp.asarray(y))


def image_data(name, n, width, seeds, data_dir=None):
    """Everything an item of images needs: curves of all flows and iterates for each seed, bounds, checks."""
    cells = [cell(image_problem(name, n, width, seed, data_dir)) for seed in seeds]
    result = {key: {flow: [c[key][flow] for c in cells] for flow in cells[0][key]} for key in ("levels", "bounds", "iterates")}
    result |= {key: [c[key] for c in cells] for key in ("cond", "law", "path_ratio", "displacement_ratio", "excess")}
    result |= {"times": cells[0]["times"], "gf_times": cells[0]["gf_times"]}
    inputs = cells[0]["inputs"]
    cond = f"{min(result['cond']):.1e} to {max(result['cond']):.1e}"
    result["setup"] = {
        "data": f"{name}, {n} images, value of the digit as target, tanh network {inputs}-{width}-1; cond(K) = {cond}",
        **{"n": n, "p": cells[0]["p"], "alpha": ALPHA, "tolerance": "rtol 1e-8 (Gauss-Newton), 1e-7 (damped), 1e-5 (gradient flow)"},
        "seeds": f"{seeds[0]}-{seeds[-1]}, of images and weights (line: median, band: least to largest)",
        "rho": f"{SHARE:g} lambda_max(K_0) at the start (constant, exponential), {FACTOR:g} lambda_min(K_t) (spectral)",
    }
    result["checks"] = checks(result)
    return result


def cell(problem):
    """All flows and iterates on one problem."""
    times = np.linspace(0.0, T1, 33)
    runs = {"gn": rg.solve(problem, rg.GaussNewton(), T1, ts=times, rtol=1e-8, atol=1e-10, dense=True, step_to_ts=True)}
    cond, slowest = runs["gn"].stats["cond"] ** 2, float(runs["gn"].sigma_min[0]) ** 2
    fastest = slowest * cond
    rho = SHARE * fastest
    for name in ("constant", "exponential", "spectral"):
        runs[name] = rg.solve(problem, flow(name, rho, together=True), T1, ts=times, rtol=1e-7, atol=1e-9)
    gf_times = np.concatenate([[0.0], np.geomspace(1e-2, GF_END, 32)])
    runs["gf"] = rg.solve(problem, rg.GradientFlow(), GF_END / fastest, ts=gf_times / fastest, rtol=1e-5, atol=1e-5)
    levels = {name: residual_levels(traj) for name, traj in runs.items()}
    least = {name: float(traj.sigma_min.min()) for name, traj in runs.items()}
    bounds = {name: bound(name, np.asarray(traj.ts), least[name] ** 2, rho, None) for name, traj in runs.items()}
    iterated = {name: rg.iterate(problem, method(name, rho), steps=STEPS) for name in ITERATED}
    share = {name: least[name] * farthest_point(traj) / (1 - levels[name][-1]) for name, traj in runs.items()}
    return {
        **{"levels": levels, "bounds": bounds, "times": times, "gf_times": gf_times, "cond": cond, "p": problem.p, "inputs": problem.x.shape[1]},
        "iterates": {name: residual_levels(traj) for name, traj in iterated.items()},
        "law": exact_residual_law(runs["gn"]).conclusions[0].measured,
        "path_ratio": path_length(runs["gn"]).conclusions[0].measured / (1 - levels["gn"][-1]),
        "displacement_ratio": max(share.values()),
        "excess": max(largest_ratio(levels[name], bounds[name]) for name in runs),
    }


def method(name, rho):
    """The discrete method called `name` with step size 1."""
    return rg.GaussNewtonMethod(step_size=1.0) if name == "gn" else rg.LevenbergMarquardtMethod(schedule(name, rho, together=True))


def farthest_point(traj):
    """Largest `|w_t - w_0|` at the saved times; `|r_0| = 1`."""
    return float(np.linalg.norm(np.asarray(traj.params), axis=1).max())


def draw(data, fig):
    """Residuals along the flows, gradient flow's on its own clock, and along the iterates."""
    fig.set_size_inches(12, 4.4)
    left, middle, right = fig.subplots(1, 3, sharey=True)
    for name in SHOWN:
        title, look = LOOKS[name]
        ax, times = (middle, data["gf_times"][1:]) if name == "gf" else (left, data["times"])
        rows = np.atleast_2d(data["levels"][name])[:, -len(times) :]
        limits = np.median(np.atleast_2d(data["bounds"][name])[:, -len(times) :], axis=0)
        ax.plot(times, limits, color="0.7", linewidth=3, label="bounds" if name in ("gf", "gn") else None)
        band(ax, times, rows, label=title, markevery=4, **look)
    for name in ITERATED:
        title, look = LOOKS[name]
        rows = np.maximum(np.atleast_2d(data["iterates"][name]), 1e-10)
        band(right, np.arange(rows.shape[1]), rows, label=title, markevery=2, **look)
    left.set(yscale="log", ylim=(1e-10, 3), xlabel="time t", ylabel="$|r| / |r_0|$", title="flows")
    middle.set(xscale="log", xlabel=r"time x $\lambda_{\max}(K_0)$", title="gradient flow, as far as it was run")
    right.set(xlabel="iteration k", xticks=range(0, STEPS + 1, 4), title="iterates, step size 1 (cut at $10^{-10}$)")
    for ax in (left, middle):
        ax.legend(loc="lower left")
    right.legend(loc="upper right")


def checks(result):
    """The numbers the figure stands for, each of the worst seed; a NaN anywhere is the worst."""
    worst = {key: float(np.max(result[key])) for key in ("law", "path_ratio", "displacement_ratio", "excess")}
    iterates = {name: np.asarray(rows) for name, rows in result["iterates"].items()}
    halved = float(np.max(iterates["spectral"][:, -1])) * (1 + 1 / FACTOR) ** STEPS
    slow = float(np.min(np.asarray(result["levels"]["gf"])[:, -1]))
    return [
        check("Gauss-Newton: residual against exp(-t)", worst["law"], "at_most", 0.0, 1e-6, golden_rtol=ERROR),
        check("Gauss-Newton: path length / bound", worst["path_ratio"], "at_most", 1.0, 0.0),
        check("displacement / bound of the path, worst flow", worst["displacement_ratio"], "at_most", 1.0, 0.0),
        check("largest curve / bound", worst["excess"], "at_most", 1.0, 1e-3, golden_rtol=1e-3),
        check(f"Gauss-Newton: |r_{STEPS}| / |r_0|", float(np.max(iterates["gn"][:, -1])), "at_most", 0.0, 1e-8, golden_rtol=ERROR),
        check(f"rho = lambda_min: |r_{STEPS}| / |r_0| x 2^{STEPS}", halved, "at_most", 1.0, 0.1),
        check(f"gradient flow: |r| / |r_0| at {GF_END:g} / lambda_max", slow, "at_least", 1e-2, 0.0, golden_rtol=5e-2),
    ]
