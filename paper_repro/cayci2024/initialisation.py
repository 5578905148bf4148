"""Paired units make the Jacobian singular, and small weights lead into a singular point.

What to see: the top left panel shows the singular values of the Jacobian at the start. With paired
units, whose output weights are opposite, the outputs start at zero. But half of the columns repeat
the other half, so the rank is (p + 1) / 2 and no statement with `sigma_min` applies. You can
subtract the outputs at the start instead because this leaves the Jacobian unchanged. The top right
panel shows the share of runs that reach a singular point in finite time, for weights `s` times the
usual ones. Small weights do, even at output scales where the usual ones converge. The bottom left
panel shows the late rates of the runs that converge, measured and predicted by `theta_min`. The
bottom right panel shows the distance travelled over the bound of the theorem. The bound holds where
alpha is at least the worst-case `alpha_0`, to the right of 1.

What it does not show: which start predicts best. Large weights are safe because the tanh units
differ from each other. Beyond the range shown they saturate.

Reference: Cayci, arXiv:2412.14031v4. Statements C5 (D11), C14 and C17 (D12).
"""

import jax
import jax.numpy as jnp
import numpy as np

import riemgn as rg
from riemgn.experiment.checkpoint import checkpointed
from riemgn.experiment.verdict import check
from riemgn.linalg import numerical_rank
from riemgn.plot.caption import band
from riemgn.theory.constants import alpha_threshold, path_bound
from riemgn.theory.curvature_spectrum import theta_min

from .diabetes import setup

SCALES = {True: (0.1, 0.3, 1.0, 3.0), False: (0.1, 0.2, 0.3, 0.5, 1.0, 3.0)}
ALPHAS = (10.0, 100.0, 1e3, 1e4)
SEEDS = {True: 3, False: 5}
TIMES = np.linspace(0.0, 40.0, 41)
PAIRED, DRAWN = (10, 4, 1), (10, 3, 1)
RATE_AT = 1e3  # the output scale of the late rates
SAFE = 1.001  # of the worst-case alpha_0
CONVERGED = 1e-6  # of |u_0|
LAST = 30.0  # the late rate is that of the last decrease of |u| by this factor
STARTS = {"paired": (True, False), "independent": (False, False), "independent, outputs subtracted": (False, True)}


def data(quick, data_dir=None):
    """Singular values at the start, results by scale, alpha and seed, and at `alpha_0`."""
    seeds = range(SEEDS[quick])
    spectra = {name: [spectrum(seed, *choice) for seed in seeds] for name, choice in STARTS.items()}
    cells = [[[one_run(scale, alpha, seed) for seed in seeds] for alpha in ALPHAS] for scale in SCALES[quick]]
    safe = [one_run(1.0, None, seed) for seed in seeds]
    result = {"scales": list(SCALES[quick]), "alphas": list(ALPHAS), "spectra": spectra, "cells": cells, "safe": safe}
    words = setup(problem_at(1.0, 1.0, 0), "10 to 1e4, and alpha_0", "rtol 1e-8", seeds=f"0-{SEEDS[quick] - 1}")
    words |= {
        "data": "diabetes (442 x 10), tanh networks 10-4-1 (top left) and 10-3-1, squared loss",
        "p": "49 (top left), 37",
    }
    result["setup"] = words
    result["checks"] = checks(result)
    return result


def problem_at(scale, alpha, seed, sizes=DRAWN, paired=False, centred=True):
    """`f = alpha (phi(w) - phi(w0))` with weights `scale` times the usual ones."""
    x, y = rg.load_data("diabetes")
    net = rg.MLP(sizes)
    params = jax.tree.map(lambda leaf: scale * leaf, net.init(key=jax.random.key(seed), paired=paired))
    model = rg.Centred(net, params) if centred else net
    return rg.Problem(rg.Scaled(model, alpha), params, jnp.asarray(x), jnp.asarray(y))


@checkpointed
def spectrum(seed, paired, centred):
    """Singular values of `J(w0)` over the largest one, numerical rank, and largest output."""
    problem = problem_at(1.0, 1.0, seed, PAIRED, paired, centred)
    values = np.linalg.svd(np.asarray(problem.jac(problem.w0)), compute_uv=False)
    rank = int(numerical_rank(jnp.asarray(values), (problem.n, problem.p)))
    return {"values": values / values[0], "rank": rank, "output": float(jnp.abs(problem.outputs(problem.w0)).max())}


@checkpointed
def one_run(scale, alpha, seed):
    """Result, late rate, and distance over the bound of the theorem.

    If `alpha` is None, it is the worst-case `alpha_0`.
    """
    threshold = alpha_threshold(problem_at(scale, 1.0, seed)).value
    share = SAFE if alpha is None else alpha / threshold
    problem = problem_at(scale, share * threshold, seed)
    rounding = 1e2 * np.finfo(float).eps * share * threshold
    traj = rg.solve(
        problem, rg.GaussNewtonFlow(), t1=TIMES[-1], ts=TIMES, rtol=1e-8, atol=max(1e-10, rounding), throw=False
    )
    level = np.asarray(traj.grad_norms / traj.grad_norms[0])
    run = {"result": traj.status, "share": share}
    if not traj.succeeded or level[-1] > CONVERGED:
        return run
    reached = alpha_threshold(problem)
    bound = path_bound(problem, reached.ball, reached.loss, gap=float(traj.losses[0] - traj.losses[-1])).value
    # Use the first time below a tenth of it, because the integrator's error grows later.
    last = int(np.argmax(level <= CONVERGED / 10)) or len(level) - 1
    first = int(np.flatnonzero(level[:last] > LAST * level[last])[-1]) + 1
    rate = np.log(level[first] / level[last]) / (TIMES[last] - TIMES[first])
    moved = float(np.linalg.norm(np.asarray(traj.params - traj.params[0]), axis=1).max())
    return run | {
        "rate": float(rate),
        "theta_min": theta_min(problem, traj.params[-1]).value,
        "distance": moved / bound,
    }


def draw(data, fig):
    """Singular values, singular stops, late rates and distances."""
    fig.set_size_inches(10.5, 7.6)
    (first, second), (third, fourth) = fig.subplots(2, 2)
    looks = {
        "paired": ("#D55E00", "s", "--"),
        "independent": ("#0072B2", "o", "-"),
        "independent, outputs subtracted": ("black", "x", "none"),
    }
    for name, rows in data["spectra"].items():
        colour, marker, dash = looks[name]
        values = np.maximum([row["values"] for row in rows], 1e-18)
        index = np.arange(1, values.shape[1] + 1)
        band(first, index, values, label=name, color=colour, marker=marker, linestyle=dash, markersize=4, markevery=2)
    first.axvline((values.shape[1] + 1) / 2, color="0.5", linewidth=1, linestyle=":")
    first.set(
        yscale="log",
        xlabel="index (dotted: (p + 1) / 2)",
        ylabel=r"$\sigma_i / \sigma_1$ of $J(w_0)$",
        title="Jacobian at the start",
    )
    first.legend(loc="lower left", fontsize=8)
    stop_panel(second, data)
    rate_panel(third, data)
    distance_panel(fourth, data)


def stop_panel(ax, data):
    """Share of singular stops as shaded, numbered cells."""
    shares = stops(data["cells"])
    ax.imshow(shares, cmap="Greys", vmin=0, vmax=1.6, aspect="auto", origin="lower")
    for i, row in enumerate(shares):
        for j, value in enumerate(row):
            ax.text(j, i, f"{value:.2g}", ha="center", va="center")
    ax.set_xticks(range(len(data["alphas"])), [f"{alpha:g}" for alpha in data["alphas"]])
    ax.set_yticks(range(len(data["scales"])), [f"{scale:g}" for scale in data["scales"]])
    ax.grid(False)
    ax.set(
        xlabel="output scale alpha", ylabel="scale s of the weights", title="share of runs that reach a singular point"
    )


def rate_panel(ax, data):
    """Late rates against the scale of the weights, one column a seed."""
    column = list(data["alphas"]).index(RATE_AT)
    drawn = False
    for scale, row in zip(data["scales"], data["cells"], strict=True):
        runs = [run for run in row[column] if "rate" in run]
        places = scale * np.geomspace(0.9, 1.1, max(len(runs), 2))[: len(runs)]
        names = {"label": r"$\theta_{\min}$"}, {"label": "measured"}
        ax.plot(
            places,
            [r["theta_min"] for r in runs],
            "s",
            color="black",
            fillstyle="none",
            markersize=9,
            **({} if drawn else names[0]),
        )
        ax.plot(places, [r["rate"] for r in runs], "o", color="#0072B2", markersize=5, **({} if drawn else names[1]))
        drawn = True
    ax.set(
        xscale="log",
        ylim=(0, 1.1),
        xlabel="scale s of the weights",
        ylabel="late rate (per unit time)",
        title=f"runs that converge, alpha = {RATE_AT:g}",
    )
    ax.minorticks_off()
    ax.set_xticks(data["scales"], [f"{scale:g}" for scale in data["scales"]])
    ax.legend(loc="lower right")


def distance_panel(ax, data):
    """Draw the distance over its bound against `alpha / alpha_0` for each scale of the weights."""
    for i, (scale, row) in enumerate(zip(data["scales"], data["cells"], strict=True)):
        runs = [run for cell in row for run in cell if "distance" in run]
        shade = str(0.75 * i / len(data["scales"]))
        ax.plot(
            [r["share"] for r in runs],
            [r["distance"] for r in runs],
            "ovs^DPX"[i % 7],
            color=shade,
            fillstyle="none",
            label=f"s = {scale:g}",
        )
    safe = [run for run in data["safe"] if "distance" in run]
    ax.plot(
        [r["share"] for r in safe],
        [r["distance"] for r in safe],
        "*",
        color="#D55E00",
        markersize=11,
        label=r"s = 1, at $\alpha_0$",
    )
    ax.axhline(1.0, color="0.4", linestyle="--", linewidth=1.2)
    ax.axvline(1.0, color="0.4", linestyle=":", linewidth=1.2)
    ax.set(
        xscale="log",
        yscale="log",
        xlabel=r"$\alpha / \alpha_0$",
        ylabel=r"$\max_t |w_t - w_0|$ / bound",
        title="distance travelled",
    )
    ax.set_ylim(None, 10)
    ax.legend(loc="upper left", ncols=3, fontsize=8)


def stops(cells):
    """Share of runs that lost rank, (scales, alphas)."""
    return np.array([[np.mean([run["result"] == "rank_lost" for run in cell]) for cell in row] for row in cells])


def checks(result):
    """Compare the numbers of the figure with their predictions."""
    ranks = {name: [row["rank"] for row in rows] for name, rows in result["spectra"].items()}
    p = len(result["spectra"]["paired"][0]["values"])
    shares = stops(result["cells"])
    usual = list(result["scales"]).index(1.0)
    runs = [run for row in result["cells"] for cell in row for run in cell if "rate" in run]
    zero = max(row["output"] for row in result["spectra"]["paired"])
    centred = [rank for name, some in ranks.items() if name != "paired" for rank in some]
    return [
        check("paired: largest rank of J(w0)", float(max(ranks["paired"])), "equal", (p + 1) / 2, 0.0),
        check("paired: largest output at the start", zero, "at_most", 0.0, 1e-12, golden_rtol=1.0),
        check("independent, with and without subtraction: least rank", float(min(centred)), "equal", float(p), 0.0),
        check(
            f"share of singular stops at s = {result['scales'][0]:g}",
            float(shares[0].mean()),
            "at_least",
            0.5,
            0.0,
            golden_rtol=0.3,
        ),
        check("share of singular stops at s = 1, alpha >= 1000", float(shares[usual, -2:].mean()), "at_most", 0.0, 0.0),
        check(
            "least late rate / theta_min",
            float(np.min([run["rate"] / run["theta_min"] for run in runs])),
            "at_least",
            1.0,
            0.02,
        ),
        check(
            "at alpha_0: largest distance / bound",
            float(np.max([run["distance"] for run in result["safe"]])),
            "at_most",
            1.0,
            0.0,
        ),
    ]
