"""GGN-SCORE is Euler's method for the flow `w' = -(c D + J^T Q J)^{-1} (J^T e + tau h')`.

What to see: the left panel shows the objective `F = g(f(w)) + tau sum h_mu(w_i)` against the sum of
the step sizes. GGN-SCORE follows the flow more closely if you make the step size alpha smaller.
Longer steps run ahead, as Euler steps do where modes decay. One step differs from the flow by
`s^2/2 |w''|`, where `w''` is the derivative of the velocity at the start. The distance of the
iterates from the flow, up to the last time, is of order one in alpha (right). The flow is the
Riemannian gradient flow of `F` in the metric `c D + J^T Q J`. For every seed a certificate confirms
that `F` falls by the integral of `|grad F|^2` in this metric.

What it does not show: that the flow or the method trains well, or faster than gradient descent.
With `c = 1` no rate of the Gauss-Newton part is above 1. Therefore even a step of 0.95 is well
inside Euler's limit of stability. Nothing is shown for `c = tau`.

Reference: Adeoye, Petersen, Bemporad, arXiv:2404.14875. The flow and its metric are our own
derivation.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import riemgn as rg
from paper_repro.fits import farthest, slopes
from riemgn.experiment.verdict import check
from riemgn.plot.caption import band
from riemgn.theory import path_quantities

from .network import initial, network, problem_of, teacher_data

SAMPLES, INPUTS, WIDTH = 60, 5, 50
TAU, MU = 1e-4, WIDTH**0.5
T1, SAVED = 20.0, 65
ALPHAS = {True: (0.95, 0.5, 0.2, 0.1, 0.05, 0.02), False: (0.95, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)}
MARKS = {"markersize": 5, "fillstyle": "none", "linestyle": "none"}
SHOWN = {
    0.95: {"color": "#D55E00", "marker": "o", **MARKS},
    0.5: {"color": "#0072B2", "marker": "s", **MARKS},
    0.1: {"color": "#009E73", "marker": "^", **MARKS},
}
SMALL = 0.1  # the slopes use alphas up to this
SEEDS = {True: 3, False: 10}
ERROR = 1.0  # golden rtol of numbers that are errors: their tolerance


def data(quick, data_dir=None):
    """For each seed: the flow, GGN-SCORE at each alpha, their distances, and the certificate."""
    seeds, alphas = range(SEEDS[quick]), ALPHAS[quick]
    runs = [one_seed(seed, alphas) for seed in seeds]
    result = {"runs": runs, "alphas": list(alphas), "times": np.linspace(0.0, T1, SAVED)}
    result["setup"] = {
        "data": f"teacher of 5 units, {INPUTS} inputs on the unit sphere; SiLU network of {WIDTH} units "
        f"without biases; "
        f"tau = {TAU:g}, pseudo-Huber with mu = sqrt({WIDTH})",
        "n": SAMPLES,
        "p": WIDTH * (INPUTS + 1),
        "alpha": "the step size, as in the legend",
        "rho": "c = 1 in the metric",
        "seeds": f"0-{len(seeds) - 1} (line: median, left one in the middle; band: least to largest)",
        "tolerance": "rtol 1e-10",
    }
    result["checks"] = checks(runs, alphas)
    return result


def one_seed(seed, alphas):
    """The flow for one draw of data and weights, with GGN-SCORE from the same start."""
    teacher_key, weights_key = jr.split(jr.key(seed))
    net, drawn = network(INPUTS, WIDTH), teacher_data(SAMPLES, 1, INPUTS, teacher_key)
    problem = problem_of(net, initial(net, weights_key), drawn.x, drawn.y)
    penalty = rg.PseudoHuberPenalty(MU)
    flow, ts = rg.GGNScoreFlow(penalty, TAU), np.linspace(0.0, T1, SAVED)
    traj = rg.solve(problem, flow, t1=T1, ts=ts, rtol=1e-10, atol=1e-12, dense=True, error=True, step_to_ts=True)
    bend = float(second_derivative(problem, flow))
    scale = float(jnp.linalg.norm(traj.params[-1] - traj.params[0]))
    return {
        "seed": seed,
        "objectives": objectives(problem, flow, traj.params),
        "certificate": str(rg.certify("ggn_score_flow_descent", traj).status),
        "steps": [compared(problem, flow, traj, alpha, min(alphas), bend, scale) for alpha in alphas],
    }


def compared(problem, flow, traj, alpha, least, bend, scale):
    """GGN-SCORE at one alpha: times, objectives, and distances from the flow at those times."""
    method = rg.GGNScore(flow.penalty, TAU, alpha)
    # The number of steps is that of the smallest alpha, so all share one compilation.
    steps = rg.iterate(problem, method, steps=int(1.02 * T1 / least), spectra=False)
    ts = np.asarray(steps.ts)
    inside = ts <= T1
    states, tight = (path_quantities.states_at(solved, np.minimum(ts, T1)) for solved in (traj, traj.tight))
    gaps = np.linalg.norm(np.asarray(steps.params - states), axis=1)
    own = np.linalg.norm(np.asarray(tight - states), axis=1)
    thinned = slice(0, int(inside.sum()), max(1, int(inside.sum()) // 64))
    return {
        "alpha": alpha,
        "first": float(ts[1]),
        "local": float(gaps[1]),
        "predicted": 0.5 * float(ts[1]) ** 2 * bend,
        "gap": float(gaps[inside].max()) / scale,
        "flow_error": float(max(own[inside].max() / gaps[inside].max(), own[1] / gaps[1])),
        "ts": ts[thinned],
        "objectives": np.asarray(objectives(problem, flow, steps.params))[thinned],
    }


@eqx.filter_jit
def objectives(problem, flow, params):
    """`F` at rows of parameters."""
    return jax.lax.map(lambda w: flow.objective(problem, w), params)


@eqx.filter_jit
def second_derivative(problem, flow):
    """`|w''|` at the start, by differentiating the velocity along itself."""

    def velocity(w):
        return flow.velocity(0.0, w, problem, problem.n)[0]

    return jnp.linalg.norm(jax.jvp(velocity, (problem.w0,), (velocity(problem.w0),))[1])


def checks(runs, alphas):
    """Compare the numbers of the figure with their predictions."""
    small = [i for i, alpha in enumerate(alphas) if alpha <= SMALL]
    last = int(np.argmin(alphas))
    steps = [[run["steps"][i] for i in small] for run in runs]
    globals_, locals_ = (
        np.concatenate([slopes([step[x] for step in row], [[step[y] for step in row]]) for row in steps])
        for x, y in (("alpha", "gap"), ("first", "local"))
    )
    ratios = [run["steps"][last]["local"] / run["steps"][last]["predicted"] for run in runs]
    own = max(step["flow_error"] for run in runs for step in run["steps"])
    held = sum(run["certificate"] == "holds" for run in runs) / len(runs)
    return [
        check("slope of max |w_k - w(t_k)| in alpha, farthest seed", farthest(globals_, 1.0), "equal", 1.0, 0.05),
        check("slope of |w_1 - w(s)| in s, farthest seed", farthest(locals_, 2.0), "equal", 2.0, 0.05),
        check(
            f"|w_1 - w(s)| / (s^2 |w''| / 2) at alpha = {alphas[last]:g}, farthest seed",
            farthest(ratios, 1.0),
            "equal",
            1.0,
            0.05,
        ),
        check(
            "error of the flow's solve / distance of the steps, largest", own, "at_most", 0.0, 1e-2, golden_rtol=ERROR
        ),
        check("share of seeds whose energy balance is certified", held, "equal", 1.0, 0.0),
    ]


def draw(data, fig):
    """Draw the objectives against time, and the distances against the step size."""
    fig.set_size_inches(10, 4.2)
    left, right = fig.subplots(1, 2, width_ratios=(3, 2))
    curves = np.array([run["objectives"] for run in data["runs"]])
    middle = int(np.argsort(curves[:, -1])[len(curves) // 2])
    left.fill_between(data["times"], curves.min(axis=0), curves.max(axis=0), color="0.35", alpha=0.2, linewidth=0)
    left.plot(data["times"], curves[middle], color="0.35", label="flow")
    for step in data["runs"][middle]["steps"]:
        if step["alpha"] in SHOWN:
            left.plot(
                step["ts"], step["objectives"], label=f"GGN-SCORE, alpha = {step['alpha']:g}", **SHOWN[step["alpha"]]
            )
    left.set(yscale="log", xlabel="time t = sum of the step sizes", ylabel=r"$F(w)$", title="objective")
    left.legend(loc="upper right")
    gaps = np.array([[step["gap"] for step in run["steps"]] for run in data["runs"]])
    locals_ = np.array([[step["local"] for step in run["steps"]] for run in data["runs"]])
    predicted = np.array([[step["predicted"] for step in run["steps"]] for run in data["runs"]])
    band(
        right,
        data["alphas"],
        gaps,
        color="#0072B2",
        marker="o",
        linestyle="-",
        label=r"$\max_k |w_k - w(t_k)|\,/\,|w(T) - w_0|$",
    )
    right.plot(
        data["alphas"],
        np.median(gaps[:, -1]) * np.divide(data["alphas"], data["alphas"][-1]),
        color="0.45",
        linestyle="--",
        label="slope 1",
    )
    band(right, data["alphas"], locals_, color="#D55E00", marker="s", linestyle="-", label=r"$|w_1 - w(s)|$, one step")
    right.plot(
        data["alphas"],
        np.median(predicted, axis=0),
        color="black",
        linestyle=":",
        label=r"$s^2\,|w''(0)|\,/\,2$ (predicted)",
    )
    right.set(
        xscale="log",
        yscale="log",
        xlabel="step size alpha",
        ylabel="distance from the flow",
        title="the step against the flow",
    )
    right.legend(loc="lower right", fontsize=8)
