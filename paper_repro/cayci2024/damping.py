"""What damping costs, and how adaptive damping wins it back, on kernels with cond(K) from 10^2 to 10^8.

What to see: an over-parameterised network on diabetes samples and near-duplicates of them; the closer the duplicates, the larger cond(K). Constant
damping and gradient flow crawl with the smallest eigenvalue of K; damping tied to that eigenvalue, to the residual, or falling exponentially in time does not. Each curve
stays below its closed-form bound (grey).

What it does not show: independence of `lambda_min > 0` itself, which every bound needs.

Reference: following Cayci, arXiv:2412.14031v4; bounds derived in theory.md C7, C8 (papers.md D5, D7).
"""

import jax
import jax.numpy as jnp
import numpy as np

import riemgn as rg

from .conditioning import first_time

SAMPLES, WIDTH, ALPHA = 12, 6, 30.0
DISTANCES = {True: (1.0, 0.1, 1e-2), False: (2.0, 1.0, 0.3, 0.1, 0.03, 1e-2)}
REACHED = 1e-3
STRENGTH = 1e3
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
        "n": 2 * SAMPLES,
        "p": shown["p"],
        "alpha": ALPHA,
        "strength": STRENGTH,
    }
    result["checks"] = checks(result, cells)
    return result


def problem_at(distance):
    """`f = alpha (phi(w) - phi(w0))` on diabetes samples and duplicates at `distance`; residuals of norm 1 that no eigenvector is spared."""
    x, y = rg.load_data("diabetes", subset=SAMPLES, seed=0)
    x = jnp.asarray(rg.near_duplicates(np.asarray(x), distance, key=jax.random.key(3)))
    y = jnp.concatenate([jnp.asarray(y)] * 2) + 0.3 * jax.random.normal(jax.random.key(4), (2 * SAMPLES,))
    net = rg.MLP((10, WIDTH, 1))
    params = net.init(key=jax.random.key(0))
    return rg.Problem(rg.Scaled(rg.Centred(net, params), ALPHA / distance), params, x, y / jnp.linalg.norm(y))


def cell(distance):
    """All flows on one problem: relative residuals on one grid of times, bounds, and the time to `REACHED`."""
    problem = problem_at(distance)
    times = np.concatenate([[0.0], np.logspace(-2, np.log10(20.0), 80)])
    start = rg.solve(problem, rg.GaussNewton(), t1=20.0, ts=times, rtol=1e-9, atol=1e-12)
    smallest = float(start.sigma_min[0]) ** 2
    rho = STRENGTH * smallest
    flows = {
        "constant": rg.LevenbergMarquardt(rg.ConstantDamping(rho)),
        "spectral": rg.LevenbergMarquardt(rg.SpectralDamping(1.0)),
        "residual": rg.LevenbergMarquardt(rg.ResidualDamping(rho, 1.0)),
        "exponential": rg.LevenbergMarquardt(rg.ExponentialDamping(rho, 1.0)),
    }
    trajectories = {"gn": start} | {name: rg.solve(problem, flow, t1=20.0, ts=times, rtol=1e-9, atol=1e-12) for name, flow in flows.items()}
    slow_times = np.concatenate([[0.0], np.logspace(-8, np.log10(12.0), 160)]) / smallest
    gf = rg.solve(problem, rg.GradientFlow(), t1=slow_times[-1], ts=slow_times, rtol=1e-6, atol=1e-9)
    curves = {name: residual_norms(traj) for name, traj in trajectories.items()}
    reached = {name: first_time(times, curve, REACHED) for name, curve in curves.items()} | {"gf": first_time(slow_times, residual_norms(gf), REACHED)}
    if np.isnan(reached["constant"]):
        reached["constant"] = slow_constant(problem, flows["constant"], smallest, rho)
    l0 = min(float(traj.sigma_min.min()) for traj in trajectories.values()) ** 2
    curves["gf"] = np.interp(times, slow_times, residual_norms(gf))
    return {
        "cond": start.stats["cond"] ** 2,
        "lambda_min": smallest,
        "p": problem.p,
        "times": times,
        "curves": curves,
        "reached": reached,
        "bounds": bounds(times, curves, l0, rho),
    }


def slow_constant(problem, flow, smallest, rho):
    """Constant damping needs a horizon of its own: its slowest mode has rate `lambda_min / (lambda_min + rho)`."""
    times = np.concatenate([[0.0], np.logspace(-2, np.log10(12.0 * (1 + rho / smallest)), 160)])
    traj = rg.solve(problem, flow, t1=times[-1], ts=times, rtol=1e-6, atol=1e-9, max_steps=20_000)
    return first_time(times, residual_norms(traj), REACHED)


def residual_norms(traj):
    """`|r(t)| / |r(0)|` at the asked times."""
    norms = np.sqrt(2 * np.asarray(traj.losses))
    return norms / norms[0]


def bounds(times, curves, l0, rho):
    """The closed-form bounds on `|r(t)| / |r(0)|`, with `l0` the least eigenvalue of K met on the paths and |r(0)| = 1."""
    return {
        "gf": np.exp(-times * l0),
        "constant": np.exp(-times * l0 / (l0 + rho)),
        "spectral": np.exp(-times / 2),
        "residual": np.minimum(1.0, np.exp(-times + rho * (1 - curves["residual"]) / l0)),
        "exponential": (l0 + rho) / (l0 * np.exp(times) + rho),
        "gn": np.exp(-times),
    }


def checks(result, cells):
    """The numbers the figure stands for."""
    decades = np.log10(result["cond"])
    slope = {name: float(np.polyfit(decades, np.log10(result["reached"][name]), 1)[0]) for name in SCHEDULES}
    excess = max(float(np.max(c["curves"][name] / c["bounds"][name])) for c in cells for name in SCHEDULES)
    law = max(float(np.max(np.abs(c["curves"]["gn"] - np.exp(-c["times"])))) for c in cells)
    return [
        {"name": "GN residual against exp(-t)", "predicted": 0.0, "measured": law, "tolerance": 1e-7, "relation": "at_most"},
        {"name": "largest curve / bound", "predicted": 1.0, "measured": excess, "tolerance": 1e-5, "relation": "at_most"},
        {"name": "GF: slope of time in cond(K)", "predicted": 1.0, "measured": slope["gf"], "tolerance": 0.1, "relation": "equal"},
        {"name": "GN: slope of time in cond(K)", "predicted": 0.0, "measured": slope["gn"], "tolerance": 1e-3, "relation": "equal"},
        {"name": "rho = lambda_min(K): slope of time in cond(K)", "predicted": 0.0, "measured": slope["spectral"], "tolerance": 0.02, "relation": "equal"},
    ]
