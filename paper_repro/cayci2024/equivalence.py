"""The Gauss-Newton flow of the parameters is the Riemannian gradient flow of the outputs.

What to see: two computations of one curve. The parameter flow `w' = -J^+ grad g(f(w))` gives the
outputs `f(w_t)`. The flow `psi' = -P grad g(psi)` is an ODE in the outputs, whose parameters are
found by projection at every evaluation. On every problem they differ only by the errors of the
integrators. At rtol 1e-10 the gap is below 1e-8 of the distance that the outputs travel. Most of it
is interpolation. At the end of a solve, where nothing is interpolated, the gap is smaller (filled
markers) and falls in proportion to the tolerance. For comparison, gradient flow from the same point
is eight orders of magnitude away.

What it does not show: what happens where the Jacobian loses rank. There both flows end.

Reference: Cayci, arXiv:2412.14031v4. Statement C1.
"""

import jax
import jax.numpy as jnp
import numpy as np

import riemgn as rg
from riemgn.experiment.verdict import check
from riemgn.geometry.flow import output_flow

from .diabetes import ERROR, network

RTOL, TARGET, T1 = 1e-10, 1e-8, 5.0
ENDS = (0.5, 2.0, T1)
FLOOR = 1e-11  # smaller gaps are rounding errors
QUICK = ("diabetes network", "deep network, logistic", "rank-one matrices")
TOLERANCES = {True: (1e-4, 1e-6, 1e-8, 1e-10), False: (1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10)}


def deep_logistic():
    """A 2-2-2-1 network on 30 samples of an exclusive or, softened, with logistic loss."""
    inputs, weights = jax.random.split(jax.random.key(12))
    net = rg.MLP((2, 2, 2, 1))
    x = jax.random.normal(inputs, (30, 2))
    y = jnp.where(x[:, 0] * x[:, 1] > 0, 0.8, 0.2)
    params = net.init(key=weights)
    return rg.Problem(rg.Scaled(rg.Centred(net, params), 100.0), params, x, y, rg.LogisticLoss())


PROBLEMS = {
    "diabetes network": lambda: network(alpha=1e3),
    "teacher-student network": lambda: rg.teacher_student(
        n=40, width=2, cond=2.0, inputs=2, noise=0.1, alpha=3.0, key=jax.random.key(28)
    ),
    "deep network, logistic": deep_logistic,
    "rank-one matrices": lambda: rg.task.rank_one(4, 3, key=jax.random.key(2)),
    "torus": rg.task.torus,
    "sphere": lambda: rg.task.sphere(radius=2.0, target=1.0),
}


def data(quick, data_dir=None):
    """Gaps over time at rtol 1e-10, gaps at the ends of solves, and the gap of gradient flow."""
    share = np.linspace(0.0, 1.0, 51)
    times = T1 * share
    runs = []
    for name in QUICK if quick else PROBLEMS:
        problem = PROBLEMS[name]()
        manifold = rg.OutputManifold(problem)
        parameter, output = both_flows(problem, manifold, T1, times, RTOL)
        way = np.linalg.norm(parameter.outputs - parameter.outputs[0], axis=1).max()
        rtols = TOLERANCES[quick]
        pairs = [[both_flows(problem, manifold, end, end * share, rtol) for end in ENDS] for rtol in rtols]
        run = {
            "name": name,
            "size": f"n = {problem.n}, p = {problem.p}, dim M = {manifold.dim}",
            "gaps": distances(output.points, parameter.outputs) / way,
            "rtols": list(rtols),
            "end_gaps": [[float(distances(psi.points, w.outputs)[-1] / way) for w, psi in row] for row in pairs],
            "distance": float(output.stats["distance"] / way),
        }
        if name == QUICK[0]:
            run["contrast"] = distances(output.points, gradient_flow(problem, times)) / way
        runs.append(run)
    result = {"times": times, "ends": list(ENDS), "runs": runs, "rtol": RTOL, "target": TARGET}
    result["setup"] = {
        "data": "diabetes (442 x 10) and problems made here, as in the legend",
        **{
            "n": "as in the legend",
            "p": "as in the legend",
            "alpha": "1000 (diabetes), 100 (logistic), 3 (teacher-student), 1",
        },
        **{"rho": 0, "seeds": "one each", "tolerance": f"rtol {RTOL:g} (left), as on the axis (right)"},
    }
    result["checks"] = checks(runs)
    return result


def both_flows(problem, manifold, end, times, rtol):
    """The parameter flow and the manifold flow, solved independently with the same tolerances."""
    settings = {"ts": times, "rtol": rtol, "atol": 1e-2 * rtol}
    return rg.solve(problem, rg.GaussNewtonFlow(), end, **settings), output_flow(manifold, end, **settings)


def distances(points, outputs):
    """`|psi_t - f(w_t)|` at each time."""
    return np.linalg.norm(np.asarray(points) - np.asarray(outputs), axis=1)


def gradient_flow(problem, times):
    """Outputs of gradient flow on a clock on which its fastest rate is that of the loss."""
    unit = float(jnp.linalg.norm(problem.jac(problem.w0), 2)) ** -2
    return rg.solve(problem, rg.GradientFlow(), unit * times[-1], ts=unit * times).outputs


def draw(data, fig):
    """Draw the gap over time, and the gap at the ends of solves against the tolerance."""
    fig.set_size_inches(10, 4.4)
    left, right = fig.subplots(1, 2)
    for i, run in enumerate(data["runs"]):
        shade, dash, marker = look(i)
        left.plot(data["times"][1:], run["gaps"][1:], color=shade, linestyle=dash, linewidth=0.9)
        left.plot(
            data["ends"], end_gaps_at(run, data["rtol"]), color=shade, marker=marker, linestyle="none", markersize=6
        )
        largest = np.max(run["end_gaps"], axis=1)
        right.plot(
            run["rtols"],
            largest,
            color=shade,
            linestyle=dash,
            marker=marker,
            markersize=6,
            label=f"{run['name']} ({run['size']})",
        )
        if "contrast" in run:
            left.plot(data["times"][1:], run["contrast"][1:], color="#D55E00", linewidth=2)
            left.annotate(
                f"gradient flow instead ({run['name']})",
                (data["times"][-1], 0.25 * run["contrast"][-1]),
                ha="right",
                va="top",
            )
    for ax in (left, right):
        ax.axhline(data["target"], color="0.45", linestyle="--", linewidth=1.2)
        ax.set(yscale="log", ylim=(1e-15, 20), ylabel="distance / way the outputs travel")
    left.annotate("at most 1e-8 is asked", (0, 1.6 * data["target"]), color="0.3", va="bottom")
    left.set(
        xlabel="time t", title=f"both at rtol = {data['rtol']:g}; lines: interpolated, markers: a solve ends there"
    )
    rtols = np.asarray(data["runs"][0]["rtols"])
    right.plot(rtols, rtols, color="0.45", linestyle=":", linewidth=1.2, label="gap = rtol")
    right.set(xscale="log", xlabel="relative tolerance of both", title="largest gap at the ends of solves")
    right.set_ylim(1e-15, 1e4)
    right.legend(loc="upper left", fontsize=8)
    fig.suptitle(
        r"$|f(w_t) - \psi_t|$: parameter flow $w' = -J^+ \nabla g(f(w))$ against manifold flow $\psi' = "
        r"-P\,\nabla g(\psi)$, each by Dopri8"
    )


def end_gaps_at(run, rtol):
    """The gaps at the ends of solves at one tolerance."""
    return run["end_gaps"][int(np.argmin(np.abs(np.log(np.asarray(run["rtols"]) / rtol))))]


def look(i):
    """Shade, dash and marker of the i-th problem."""
    colours = ("#000000", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
    return colours[i % 6], ("-", "--", "-.", (0, (1, 1)))[i % 4], "oD^vXP"[i % 6]


def slope(runs):
    """Exponent of the tolerance in the largest gap of all problems, above rounding."""
    largest = np.max([run["end_gaps"] for run in runs], axis=(0, 2))
    mask = largest > FLOOR
    return (
        float(np.polyfit(np.log10(np.asarray(runs[0]["rtols"])[mask]), np.log10(largest[mask]), 1)[0])
        if mask.sum() > 1
        else float("nan")
    )


def checks(runs):
    """Compare the numbers of the figure with their predictions. A NaN counts as the worst value."""
    worst = float(np.max([np.max(run["gaps"]) for run in runs]))
    at_ends = float(np.max([end_gaps_at(run, RTOL) for run in runs]))
    off = float(np.max([run["distance"] for run in runs]))
    contrast = float(np.max([np.max(run["contrast"]) for run in runs if "contrast" in run]))
    return [
        check("gap at rtol 1e-10, interpolated, worst problem", worst, "at_most", 0.0, TARGET, golden_rtol=ERROR),
        check(
            "gap at rtol 1e-10, ends of solves, worst problem", at_ends, "at_most", 0.0, TARGET / 10, golden_rtol=ERROR
        ),
        check("distance of psi from the manifold, worst problem", off, "at_most", 0.0, TARGET, golden_rtol=ERROR),
        check("exponent of the largest gap in rtol", slope(runs), "at_least", 0.75, 0.0, golden_rtol=0.2),
        check("gradient flow instead: gap", contrast, "at_least", 1e-3, 0.0),
    ]
