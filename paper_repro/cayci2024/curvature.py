"""The measured curvature falls like 1 / alpha, thousands of times below its worst-case bound.

What to see: the left panel shows the curvature `k_N = max_v |<N, II(v, v)>| / |v|^2`, `N = (I - P)
grad g`, at the end of Gauss-Newton flows. The bound `L |N| / sigma_min^2` uses the analytic
Lipschitz constant L of the Jacobian. Both have the slope -1, orders of magnitude apart. The right
panel shows the rate. The measured rate is `nu = 1` from the first alpha on. The theorem guarantees
a rate only from `alpha_0` on (grey, one for each seed). There its certificate holds. At `alpha_0 /
10` the certificate says "not applicable" because a hypothesis fails, although the measured rate is
the same.

What it does not show: that you could lower the bound to the measured curve. `L` is the largest
curvature of any direction in the ball, and the flow uses only one direction.

Reference: Cayci, arXiv:2412.14031v4. Statements C5 and D11 (theorem), C18 and D9 (curvature).
"""

import numpy as np

import riemgn as rg
from riemgn.experiment.cases import solve_with_error
from riemgn.experiment.checkpoint import checkpointed
from riemgn.experiment.verdict import check
from riemgn.plot.caption import band
from riemgn.theory import path_quantities
from riemgn.theory.constants import alpha_threshold, jacobian_lipschitz, output_scale
from riemgn.theory.curvature_spectrum import directional_curvature

from .diabetes import network, setup

ALPHAS = {True: np.logspace(3, 8, 6), False: np.logspace(3, 8, 16)}
SEEDS = {True: 3, False: 10}
# From here on the Jacobian changes by less than a tenth of its smallest singular value.
# The certificate of the curvature law requires it.
LAZY = 1e6
TIMES = np.linspace(0.0, 16.0, 33)
ABOVE, BELOW = 1.001, 0.1  # of the worst-case alpha_0 of each seed
FLOOR = 1e-6  # of |u_0|: rates are measured above it, and above 1e4 times the rounding
FINE = np.logspace(6, 9, 121)  # where the guaranteed rate is drawn


def data(quick, data_dir=None):
    """Curvature, bound and rates for each seed and alpha, and the certificates near `alpha_0`."""
    alphas, seeds = ALPHAS[quick], range(SEEDS[quick])
    rows, laws, edges = [], [], []
    for seed in seeds:
        runs = [
            solve_with_error(network(float(alpha), seed), rg.GaussNewtonFlow(), TIMES[-1], ts=TIMES) for alpha in alphas
        ]
        rows.append([measured(run) for run in runs])
        laws.append(
            rg.certify(
                "curvature_scaling", [run for run, alpha in zip(runs, alphas, strict=True) if alpha >= LAZY]
            ).status
        )
        edges.append(at_the_threshold(seed))
    quantities = {key: [[run[key] for run in row] for row in rows] for key in rows[0][0]}
    threshold = [edge["alpha_0"] for edge in edges]
    result = {"alphas": alphas, **quantities, "guaranteed": [guarantee(alphas, value) for value in threshold]}
    result |= {"fine": FINE, "guaranteed_curves": [guarantee(FINE, value) for value in threshold]}
    result |= {"threshold": threshold, "edges": edges, "laws": laws}
    result["setup"] = setup(
        network(1.0), "on the axis", "rtol 1e-10", seeds=f"0-{len(seeds) - 1} (line: median, band: least to largest)"
    )
    result["checks"] = checks(result)
    return result


def measured(traj):
    """Curvature and bound at the end of a flow, smallest `kappa_t` and rate on its path."""
    problem, w = traj.problem, traj.params[-1]
    ball = float(np.linalg.norm(np.asarray(w - problem.w0)))
    gradient = np.asarray(problem.loss_gradient(traj.outputs[-1]))
    normal = np.sqrt(float(gradient @ gradient) - float(traj.grad_norms[-1]) ** 2)
    lipschitz = jacobian_lipschitz(problem.model, problem.x, problem.params, ball).value
    ts, level = np.asarray(traj.ts), np.asarray(traj.grad_norms / traj.grad_norms[0])
    mask = level > max(FLOOR, 1e4 * np.finfo(float).eps * output_scale(problem.model))
    return {
        "curvature": directional_curvature(problem, w).value,
        "bound": lipschitz * normal / float(traj.sigma_min[-1]) ** 2,
        "least_kappa": float(path_quantities.kappas(traj, traj.params)[mask].min()),
        "rate": float(np.min(-np.log(level[mask][1:]) / ts[mask][1:])),
    }


def guarantee(alphas, threshold, nu=1.0):
    """The guaranteed rate `nu (1 - alpha_0 / (2 alpha))` if `alpha >= alpha_0`, else NaN."""
    return np.where(alphas >= threshold, nu * (1 - threshold / (2 * alphas)), np.nan)


@checkpointed
def at_the_threshold(seed):
    """The certificates at `ABOVE` and at `BELOW` times the worst-case `alpha_0`."""
    threshold = alpha_threshold(network(1.0, seed)).value
    edge = {"alpha_0": threshold}
    for name, share in (("above", ABOVE), ("below", BELOW)):
        traj = solve_with_error(network(share * threshold, seed), rg.GaussNewtonFlow(), TIMES[-1], ts=TIMES)
        cert = rg.certify("underparameterized_convergence", traj)
        edge[name] = {"alpha": share * threshold, "status": str(cert.status), "rate": measured(traj)["rate"]}
    return edge


def draw(data, fig):
    """Draw curvature and bound, and measured and guaranteed rates, against alpha."""
    fig.set_size_inches(10.5, 4.4)
    left, right = fig.subplots(1, 2)
    alphas = data["alphas"]
    worst = {"color": "0.35", "marker": "^", "linestyle": "--"}
    band(left, alphas, data["bound"], label=r"bound $L\,|N| / \sigma_{\min}^2$, analytic $L$", **worst)
    band(left, alphas, data["curvature"], label="$k_N$, measured", color="#0072B2", marker="o", linestyle="-")
    left.axhline(1.0, color="black", linewidth=0.8, linestyle=(0, (1, 3)))
    left.annotate(r"$\nu$: a bound above it guarantees nothing", (alphas[0], 0.7), va="top", fontsize=8)
    anchor = 0.12 * np.median(np.asarray(data["curvature"])[:, 0])
    left.plot(alphas, anchor * alphas[0] / alphas, color="0.6", linewidth=1, label="slope -1")
    left.set(xscale="log", yscale="log", xlabel="output scale alpha", ylabel="curvature (per unit time)")
    left.legend(loc="lower left", fontsize=8)
    rate_panel(right, data)


def rate_panel(ax, data):
    """Draw rates against alpha, with a filled diamond where the certificate holds."""
    alphas = data["alphas"]
    ax.axvspan(np.min(data["threshold"]), np.max(data["threshold"]), color="0.88", zorder=0)
    ax.text(
        np.min(data["threshold"]) / 1.5,
        0.72,
        r"worst-case $\alpha_0$",
        rotation=90,
        ha="right",
        va="center",
        color="0.3",
    )
    band(ax, alphas, data["rate"], label="measured", color="#0072B2", marker="o", linestyle="-")
    band(
        ax,
        alphas,
        data["least_kappa"],
        label=r"$\min_t \kappa_t$",
        color="#D55E00",
        marker="s",
        linestyle=":",
        markersize=5,
    )
    for i, row in enumerate(np.asarray(data["guaranteed_curves"], dtype=float)):
        ax.plot(data["fine"], row, color="0.35", linestyle="--", label=None if i else "guaranteed (each seed)")
    for name, height, fill, words in (
        ("above", 1.1, "full", "certificate holds"),
        ("below", 1.06, "none", "certificate: not applicable"),
    ):
        points = [edge[name]["alpha"] for edge in data["edges"]]
        ax.plot(points, np.full(len(points), height), "D", color="black", fillstyle=fill, markersize=6, label=words)
    ax.set(
        xscale="log", ylim=(0.4, 1.15), xlabel="output scale alpha", ylabel=r"rate of $|P\,\nabla g|$ (per unit time)"
    )
    ax.legend(loc="lower left", fontsize=8)


def orders(alphas, curvature):
    """The exponent of the curvature in alpha, one for each seed."""
    return np.polyfit(np.log10(alphas), np.log10(np.asarray(curvature)).T, 1)[0]


def checks(result):
    """Compare the numbers of the figure with their predictions."""
    order = orders(result["alphas"], result["curvature"])
    farthest = order[np.argmax(np.abs(order + 1))]
    share = np.max(np.asarray(result["curvature"]) / np.asarray(result["bound"]))
    edges, count = result["edges"], float(len(result["edges"]))
    above = sum(edge["above"]["status"] == "holds" for edge in edges)
    below = sum(edge["below"]["status"] == "not applicable" for edge in edges)
    slack = np.nanmin(np.asarray(result["rate"]) - np.asarray(result["guaranteed"]))
    return [
        check("order of k_N in alpha, farthest seed", float(farthest), "equal", -1.0, 0.1),
        check(
            "curvature_scaling: seeds whose certificate holds",
            float(sum(law == "holds" for law in result["laws"])),
            "equal",
            count,
            0.0,
        ),
        check("largest k_N / bound", float(share), "at_most", 1.0, 0.0),
        check("theorem at alpha_0: seeds whose certificate holds", float(above), "equal", count, 0.0),
        check("theorem at alpha_0 / 10: seeds not applicable", float(below), "equal", count, 0.0),
        check("least measured rate - guaranteed rate", float(slack), "at_least", 0.0, 0.0, golden_rtol=0.5),
    ]
