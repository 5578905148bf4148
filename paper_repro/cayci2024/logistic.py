"""A flat loss slows down the Gauss-Newton flow, but not the flow with the loss Hessian inside.

What to see: the left panel shows gaps `g(f(w_t)) - g_inf` on the breast cancer data. SciPy
(trust-region Newton) finds `g_inf` as well. Gauss-Newton, `w' = -J^+ grad g`, slows down because
the loss is nearly flat at the optimum. The flow with the loss Hessian `B` inside, `w' = -(J^T B
J)^+ J^T grad g`, keeps a rate near 1. The right panel shows the late rates for softer and harder
labels, measured (markers) and predicted (lines). The prediction is the smallest `theta` with
`det(Hess R(w_inf) - theta J^T M J) = 0`, with `M = 1` for Gauss-Newton and `M = B` for the other
flow. The grey line is `nu`, the smallest curvature of the loss at the optimum, which the theorem
uses.

What it does not show: hard labels. Labels are `1 - s` and `s` because with 0 and 1 the infimum is
at infinity and `nu = 0`. If the network separates the classes, no optimum exists.

Reference: Cayci, arXiv:2412.14031v4. Statements C16 (D8) and C17 (D12).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import riemgn as rg
from riemgn.experiment.checkpoint import checkpointed
from riemgn.experiment.verdict import check
from riemgn.plot.caption import band
from riemgn.theory.curvature_spectrum import theta_min

from .diabetes import ERROR
from .optimum import newton

SOFTNESS = {True: (0.3, 0.1, 0.03), False: (0.4, 0.3, 0.2, 0.1, 0.03)}
SHOWN = 0.1
SEEDS = {True: 3, False: 6}
ALPHA = 300.0
EFOLDS = 24.0  # horizon in time constants of the slowest linear mode, until rounding
SHARES = np.linspace(0.0, 1.0, 41)
LATE = (1e-8, 1e-6)  # of |u_0|: window of the late rate
AGREED = 1e-8
DRAWN = 1e-11  # of the first gap
FLOWS = {"gn": rg.GaussNewtonFlow(), "ggn": rg.GeneralizedGaussNewtonFlow()}


def data(quick, data_dir=None):
    """Both flows, SciPy's optimum and the rates for each softness of the labels and seed."""
    cells = [[cell(softness, seed) for seed in range(SEEDS[quick])] for softness in SOFTNESS[quick]]
    result = {"softness": list(SOFTNESS[quick]), "cells": cells, "shown": SHOWN, "agreed": AGREED}
    problem = problem_at(SHOWN, 0)
    result["setup"] = {
        "data": f"breast cancer (569 x 30), labels s and 1 - s (left: s = {SHOWN:g}), tanh network 30-2-1, "
        f"logistic loss",
        **{"n": problem.n, "p": problem.p, "alpha": ALPHA, "rho": 0, "tolerance": "rtol 1e-10"},
        "seeds": f"0-{SEEDS[quick] - 1} (line: median, band: least to largest)",
    }
    result["checks"] = checks(cells)
    return result


def problem_at(softness, seed):
    """`f = alpha (phi(w) - phi(w0))` on the breast cancer data with soft labels."""
    x, y = rg.load_data("breast_cancer")
    labels = np.asarray(y).reshape(len(x), -1)[:, 0]
    net = rg.MLP((30, 2, 1))
    params = net.init(key=jax.random.key(seed))
    soft = jnp.asarray(np.where(labels > 0.5, 1 - softness, softness))
    return rg.Problem(rg.Scaled(rg.Centred(net, params), ALPHA), params, jnp.asarray(x), soft, rg.LogisticLoss())


@checkpointed
def cell(softness, seed):
    """Both flows on one problem."""
    problem = problem_at(softness, seed)
    optimum = newton(problem)
    weights = np.asarray(problem.loss_hessian(problem.outputs(jnp.asarray(optimum.x))))
    theta = {"gn": theta_min(problem, optimum.x).value, "ggn": float(scaled_theta(problem, jnp.asarray(optimum.x)))}
    result = {
        "seed": seed,
        "nu": float(weights.min()),
        "gradient": float(np.linalg.norm(optimum.jac)),
        "theta": theta,
        "flows": {},
    }
    for name, flow in FLOWS.items():
        times = EFOLDS / theta[name] * SHARES
        traj = rg.solve(problem, flow, t1=times[-1], ts=times, rtol=1e-10, atol=1e-12)
        level, gaps = np.asarray(traj.grad_norms / traj.grad_norms[0]), np.asarray(traj.losses) - optimum.fun
        late = np.flatnonzero((level > LATE[0]) & (level < LATE[1]))
        rate = np.log(level[late[0]] / level[late[-1]]) / (times[late[-1]] - times[late[0]])
        result["flows"][name] = {
            "times": times,
            "gaps": gaps / gaps[0],
            "rate": float(rate),
            "loss_gap": abs(gaps[-1]) / float(traj.losses[0]),
        }
    return result


@eqx.filter_jit
def scaled_theta(problem, w):
    """The smallest `theta` with `det(Hess R - theta J^T B J) = 0`, from a QR of `B^{1/2} J`."""
    point = problem.linearise(w).whitened()
    triangle = jnp.linalg.qr(point.jac, mode="r")
    bent = jax.hessian(problem.objective)(w)
    half = jax.scipy.linalg.solve_triangular(triangle, bent, trans=1)
    return jnp.linalg.eigvalsh(jax.scipy.linalg.solve_triangular(triangle, half.T, trans=1))[0]


LOOKS = {"gn": ("Gauss-Newton", "#0072B2", "o", "-"), "ggn": ("generalised Gauss-Newton", "#D55E00", "s", "--")}


def draw(data, fig):
    """Gaps along both flows, and their late rates against the softness of the labels."""
    fig.set_size_inches(10.5, 4.4)
    left, right = fig.subplots(1, 2)
    shown = data["cells"][int(np.argmin(np.abs(np.asarray(data["softness"]) - data["shown"])))]
    grid = np.linspace(0.0, min(run["flows"]["gn"]["times"][-1] for run in shown), 201)
    for name, (title, colour, marker, dash) in LOOKS.items():
        end = min(run["flows"][name]["times"][-1] for run in shown)
        times = grid[grid <= end] if name == "gn" else np.linspace(0.0, end, 81)
        curves = [on_grid(run["flows"][name], times) for run in shown]
        band(left, times, curves, label=title, color=colour, marker=marker, linestyle=dash, markevery=10, markersize=5)
    slowest = max(run["flows"]["gn"]["times"][np.asarray(run["flows"]["gn"]["gaps"]) > DRAWN][-1] for run in shown)
    left.set(
        yscale="log",
        ylim=(DRAWN, 3),
        xlim=(-0.02 * slowest, slowest),
        xlabel="time t",
        ylabel=r"$(g_t - g_\infty) / (g_0 - g_\infty)$",
    )
    left.legend(loc="upper right")
    rate_panel(right, data)


def on_grid(run, times):
    """Gaps at common times, interpolated in the logarithm and not below 1e-13."""
    return np.exp(np.interp(times, run["times"], np.log(np.maximum(np.asarray(run["gaps"], dtype=float), 1e-13))))


def rate_panel(ax, data):
    """Draw measured late rates (markers), predictions (lines), and the curvature of the loss."""
    softness = data["softness"]
    for name, (title, colour, marker, dash) in LOOKS.items():
        predicted = np.asarray([[run["theta"][name] for run in row] for row in data["cells"]]).T
        rates = np.asarray([[run["flows"][name]["rate"] for run in row] for row in data["cells"]])
        band(ax, softness, predicted, color=colour, linestyle=dash, label=rf"$\theta_{{\min}}$, {title}")
        for s, row in zip(softness, rates, strict=True):
            ax.plot(
                np.full(len(row), s), row, linestyle="none", marker=marker, color=colour, fillstyle="none", markersize=7
            )
        ax.plot(
            [],
            [],
            linestyle="none",
            marker=marker,
            color=colour,
            fillstyle="none",
            markersize=7,
            label=f"measured, {title}",
        )
    nu = np.asarray([[run["nu"] for run in row] for row in data["cells"]]).T
    band(ax, softness, nu, color="0.45", linestyle=":", label=r"$\nu$: least $\ell''$ at the optimum")
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="softness s of the labels",
        ylabel=r"late rate of $|P\,\nabla g|$ (per unit time)",
    )
    ax.minorticks_off()
    ax.set_xticks(softness, [f"{s:g}" for s in softness])
    ax.legend(loc="lower right", fontsize=8)


def checks(cells):
    """Compare the numbers of the figure with their predictions. A NaN counts as the worst value."""
    runs = [run for row in cells for run in row]
    apart = float(np.max([run["flows"][name]["loss_gap"] for run in runs for name in FLOWS]))
    ratio = {name: [run["flows"][name]["rate"] / run["theta"][name] for run in runs] for name in FLOWS}
    hardest = cells[-1]
    gain = float(np.min([run["flows"]["ggn"]["rate"] / run["flows"]["gn"]["rate"] for run in hardest]))
    return [
        check("|g_T - g_scipy| / g_0, worst run of both flows", apart, "at_most", 0.0, AGREED, golden_rtol=ERROR),
        *(
            check(f"{name.upper()}: late rate / theta_min, least", float(np.min(ratio[name])), "at_least", 1.0, 1e-2)
            for name in FLOWS
        ),
        *(
            check(f"{name.upper()}: late rate / theta_min, largest", float(np.max(ratio[name])), "at_most", 1.15, 0.0)
            for name in FLOWS
        ),
        check(
            "GN: least theta_min / nu",
            float(np.min([run["theta"]["gn"] / run["nu"] for run in runs])),
            "at_least",
            0.5,
            0.0,
        ),
        check("GGN rate / GN rate at the hardest labels, least", gain, "at_least", 10.0, 0.0),
    ]
