"""With every damping schedule the parameters stay in a ball whose radius you can compute.

What to see: the length of the path of the parameters, times the smallest singular value of J on it,
over the decrease of the norm of the residual. This ratio is at most 1 for gradient flow, for every
Levenberg-Marquardt schedule and for Gauss-Newton, at every output scale alpha. The displacement
falls like 1 / alpha. From the threshold alpha_0 on it is far inside the ball in which J keeps half
of its smallest singular value (analytic Lipschitz constant). The loss falls by the integral of
`sum_i phi(s_i^2) (u_i^T grad g)^2`, where `phi` is the gain of the flow.

What it does not show: that you need alpha_0. It is a worst case, because the displacement is far
smaller than the radius there.

Reference: Cayci, arXiv:2412.14031v4. Statements C2, C15, D1 and D6.
"""

import numpy as np

import riemgn as rg
from paper_repro.fits import farthest, slopes
from riemgn.experiment.checkpoint import checkpointed
from riemgn.experiment.verdict import check
from riemgn.plot.caption import band
from riemgn.theory.constants import alpha_threshold
from riemgn.theory.output_laws import dissipation
from riemgn.theory.overparameterized import path_length

from .diabetes import ERROR
from .duplicates import duplicates, SAMPLES, WIDTH
from .schedules import FACTOR, flow, frozen_time, LOOKS, SCHEDULES, SHARE

COND = 100.0
ALPHAS = {True: (1e2, 1e3, 1e4, 1e5), False: (3e1, 1e2, 3e2, 1e3, 3e3, 1e4, 3e4, 1e5)}
SEEDS = {True: (0, 1, 2), False: (0, 1, 2, 3, 4)}
LEVEL = 1e-3  # of |r_0|: final residual for a frozen kernel
LAZY = 1e3  # smallest output scale of the check of the displacement


def data(quick, data_dir=None):
    """Displacement, path length and dissipation for each schedule, output scale and seed."""
    alphas, seeds = ALPHAS[quick], SEEDS[quick]
    cells = [[cell(alpha, seed) for alpha in alphas] for seed in seeds]
    keys = ("displacement", "path_ratio", "dissipation_error")
    result = {key: {name: [[c[key][name] for c in row] for row in cells] for name in SCHEDULES} for key in keys}
    result |= {
        "alpha": list(alphas),
        "radius": [row[0]["radius"] for row in cells],
        "threshold": [row[0]["threshold"] for row in cells],
    }
    sizes = cells[0][0]
    result["setup"] = {
        "data": f"diabetes, {SAMPLES} samples and a copy of each, so far off that cond(K) = {COND:g}, tanh "
        f"network 10-{WIDTH}-1",
        **{"n": sizes["n"], "p": sizes["p"], "alpha": "on the axis", "tolerance": "rtol 1e-10"},
        "seeds": f"{seeds[0]}-{seeds[-1]}, of samples, copies and weights (line: median, band: least to largest)",
        "rho": f"{SHARE:g} lambda_max(K_0) at the start (constant, residual, exponential), {FACTOR:g} "
        f"lambda_min(K_t) (spectral)",
    }
    result["checks"] = checks(result)
    return result


@checkpointed
def cell(alpha, seed):
    """All flows at one output scale. Displacements are those of the parameters w."""
    case = duplicates(COND, alpha, seed)
    threshold = alpha_threshold(case.problem)
    collected = {"displacement": {}, "path_ratio": {}, "dissipation_error": {}}
    for name in SCHEDULES:
        traj = travelled(case, name)
        first, last = (float(np.sqrt(2 * traj.losses[i])) for i in (0, -1))
        collected["displacement"][name] = float(np.linalg.norm(np.asarray(traj.params), axis=1).max()) / alpha
        # The certificate's bound is |r_0| / sigma_0. Least squares has (|r_0| - |r_t|) / sigma_0.
        collected["path_ratio"][name] = path_length(traj).conclusions[0].measured * first / (first - last)
        collected["dissipation_error"][name] = abs(dissipation(traj).conclusions[0].measured - 1)
    return {
        **collected,
        "radius": threshold.ball.radius / alpha,
        "threshold": threshold.value,
        "n": case.problem.n,
        "p": case.problem.p,
    }


def travelled(case, name):
    """The flow with dense output, until a frozen kernel would have the residual `LEVEL`."""
    rho = SHARE * case.fastest
    end = frozen_time(name, LEVEL, case.eigenvalues, case.amplitudes, rho)
    times = np.concatenate([[0.0], np.geomspace(1e-2 / (1 + case.fastest), 1.0, 40) * end])
    settings = {"ts": times, "dense": True, "step_to_ts": True}
    return rg.solve(case.problem, flow(name, rho, together=True), end, rtol=1e-10, atol=1e-10, **settings)


def draw(data, fig):
    """Draw displacement with ball and threshold, path length, and dissipation against alpha."""
    fig.set_size_inches(12, 4.4)
    left, middle, right = fig.subplots(1, 3)
    alpha = data["alpha"]
    for i, (name, (title, look)) in enumerate(LOOKS.items()):
        places = np.asarray(alpha) * 1.12 ** (i - 2.5)  # side by side, because the six coincide
        band(
            left,
            alpha,
            data["displacement"][name],
            label=title,
            **{**look, "markersize": 7, "markevery": (i, len(LOOKS))},
        )  # in turn, because they coincide
        for ax, key in ((middle, "path_ratio"), (right, "dissipation_error")):
            rows = np.atleast_2d(data[key][name])
            spread = np.abs(np.array([rows.min(axis=0), rows.max(axis=0)]) - np.median(rows, axis=0))
            shape = {"color": look["color"], "marker": look["marker"], "linestyle": "none", "capsize": 2}
            ax.errorbar(places, np.median(rows, axis=0), yerr=spread, label=title, **shape)
    left.axhline(np.median(data["radius"]), color="0.45", linestyle="--", linewidth=1.2)
    left.annotate("radius of the ball", (alpha[-1], np.median(data["radius"])), color="0.3", va="bottom", ha="right")
    left.axvline(np.median(data["threshold"]), color="0.45", linestyle=":", linewidth=1.5)
    left.set(
        xscale="log",
        yscale="log",
        xlabel=r"output scale $\alpha$",
        ylabel=r"largest $|w_t - w_0|$",
        title=r"displacement, like $1/\alpha$",
    )
    left.annotate(r" $\alpha_0$", (np.median(data["threshold"]), left.get_ylim()[0]), color="0.3", va="bottom")
    left.legend(loc="upper right", bbox_to_anchor=(1.0, 0.87))
    middle.axhline(1.0, color="0.45", linestyle="--", linewidth=1.2)
    middle.annotate("bound", (alpha[0], 1.0), color="0.3", va="bottom")
    middle.set(
        xscale="log",
        ylim=(0, 1.15),
        xlabel=r"output scale $\alpha$",
        title=r"path length x $\sigma_0\, /\, (|r_0| - |r_T|)$",
    )
    right.set(
        xscale="log",
        yscale="log",
        xlabel=r"output scale $\alpha$",
        title="|integrated dissipation / fall of the loss - 1|",
    )


def checks(result):
    """Compare the worst numbers with their predictions. A NaN counts as the worst value."""
    alpha = np.asarray(result["alpha"])
    displacement = np.array([result["displacement"][name] for name in SCHEDULES])
    lazy = alpha >= LAZY
    orders = slopes(alpha[lazy], displacement[:, :, lazy].reshape(-1, lazy.sum()))
    above = alpha >= np.asarray(result["threshold"])[:, None]
    share = displacement / np.asarray(result["radius"])[:, None]
    path, error = (
        float(np.max([result[key][name] for name in SCHEDULES])) for key in ("path_ratio", "dissipation_error")
    )
    return [
        check("path length x sigma_0 / (|r_0| - |r_T|), worst of all", path, "at_most", 1.0, 1e-6),
        check("runs above alpha_0", float(above.sum()), "at_least", 1.0, 0.0),
        check(
            "displacement / radius of the ball, worst above alpha_0",
            float(np.max(share[:, above], initial=0.0)),
            "at_most",
            1.0,
            0.0,
        ),
        check("order of the displacement in alpha, worst of all", farthest(orders, -1.0), "equal", -1.0, 0.1),
        check(
            "|integrated dissipation / fall of the loss - 1|, worst of all",
            error,
            "at_most",
            0.0,
            1e-6,
            golden_rtol=ERROR,
        ),
    ]
