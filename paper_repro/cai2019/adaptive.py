"""Damping tied to the smallest eigenvalue gives discrete steps a rate free of the conditioning.

What to see: Levenberg-Marquardt steps with `rho_k = c lambda_min(K_k)`. The step `eta` is nearly
the largest one that satisfies `eta [k G / (1 + c) + mu (1 + k eta G / (2 (1 + c)))^2] <= 1` at the
start, with `k = L / lambda_min(K)` and `G = |grad g|`. At every step the loss gap falls at least by
the factor `1 - eta nu / (1 + c)`, for every cond(K). Conditioning matters only through the output
scale because alpha is chosen such that `k G = 0.1`. At smaller alpha the condition fails. Those
runs (hollow) confirm nothing, though some of them still contract.

What it does not show: that you need such a large alpha. `L` is a worst case, and the contraction
usually holds far below it.

Reference: Cai et al., arXiv:1905.11675v2. Statement D14.
"""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import scipy.optimize

import riemgn as rg
from riemgn.experiment.verdict import check
from riemgn.plot.caption import band
from riemgn.theory import path_quantities
from riemgn.theory.constants import convergence_ball

SAMPLES, WIDTH, STEPS = 6, 24, 24
DISTANCES = {True: (3.0, 0.3, 3e-3), False: (3.0, 0.3, 0.1, 0.03, 0.01, 3e-3)}
FACTORS = (0.1, 1.0, 10.0)  # c
SEEDS = {True: 3, False: 5}
BEND = 0.1  # k G at the start
SAFETY = 0.95  # of the largest step
REACHED = 1e-9  # of the gap at the start
LOSSES = {"squared": rg.SquaredLoss, "logistic": rg.LogisticLoss}
SHARES = {True: (1.0, 1e-2, 1e-4), False: (1.0, 0.3, 0.1, 1e-2, 1e-3, 1e-4, 1e-5)}  # of alpha
LOOKS = {0.1: ("#0072B2", "o", "-"), 1.0: ("#D55E00", "s", "--"), 10.0: ("#009E73", "^", "-.")}


def data(quick, data_dir=None):
    """Runs for each conditioning, loss, c and seed, and runs at smaller output scales."""
    distances, seeds = DISTANCES[quick], range(SEEDS[quick])
    runs = []
    for loss in LOSSES:
        for distance in distances:
            starts = [start(loss, distance, seed) for seed in seeds]
            for c in FACTORS:
                runs.append({"loss": loss, "c": c} | gathered([run(each, c) for each in starts]))
    middle = start("squared", distances[len(distances) // 2], 0)
    ladder = {"share": list(SHARES[quick]), **gathered([run(middle, 1.0, share) for share in SHARES[quick]])}
    result = {"runs": runs, "ladder": ladder}
    result["setup"] = {
        "data": f"diabetes, {SAMPLES} samples and near-duplicates, tanh network 10-{WIDTH}-1; (d): cond(K) "
        f"= {ladder['cond'][0]:.0e}, c = 1",
        **{
            "n": 2 * SAMPLES,
            "p": 12 * WIDTH + 1,
            "alpha": f"such that k G = {BEND:g} at the start (k = L / lambda_min(K), G = |grad g|); in (d) less",
            "rho": "c lambda_min(K_k)",
        },
        "seeds": f"0-{SEEDS[quick] - 1}, of weights and targets (line: median, band: least to largest); (d): 0",
        "tolerance": f"float64, gaps above {REACHED:g} of the start",
    }
    result["checks"] = checks(result)
    return result


def draw(data, fig):
    """Draw gaps with bounds, factors against cond(K), and the runs at smaller output scales."""
    fig.set_size_inches(12.5, 3.7)
    axes = fig.subplots(1, 4)
    gap_panel(axes[0], data)
    for ax, loss, letter in zip(axes[1:3], LOSSES, "bc", strict=True):
        for c, (color, marker, dash) in LOOKS.items():
            mine = [entry for entry in data["runs"] if (entry["loss"], entry["c"]) == (loss, c)]
            cond = [np.median(entry["cond"]) for entry in mine]
            band(
                ax,
                cond,
                np.transpose([entry["allowed"] for entry in mine]),
                color="0.55",
                linestyle=dash,
                linewidth=2,
                label=f"bound, c = {c:g}",
            )
            band(
                ax,
                cond,
                np.transpose([entry["factor"] for entry in mine]),
                color=color,
                marker=marker,
                linestyle=dash,
                label="measured",
            )
        ax.set(
            xscale="log",
            xlabel="cond(K)",
            ylim=(0, 1.75),
            title=f"({letter}) {loss} loss",
            yticks=[0, 0.25, 0.5, 0.75, 1],
        )
        ax.legend(loc="upper left", ncols=2, fontsize=7)
    axes[1].set_ylabel("largest factor of the gap in one step")
    ladder_panel(axes[3], data["ladder"])


def gap_panel(ax, data):
    """Draw the loss gap against steps at each conditioning, for the squared loss and c = 1."""
    mine = [entry for entry in data["runs"] if (entry["loss"], entry["c"]) == ("squared", 1.0)]
    steps = np.arange(16)
    allowed = max(np.max(entry["allowed"]) for entry in mine)
    ax.plot(steps, allowed**steps, color="0.45", linestyle="--", linewidth=2, label="bound")
    dashes = ["-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (1, 2))]
    for i, entry in enumerate(mine):
        label = f"cond(K) = {np.median(entry['cond']):.0e}"
        reached = np.flatnonzero(np.isfinite(entry["gaps"][:, :16]).all(axis=0))  # by all seeds
        band(
            ax,
            steps[reached],
            entry["gaps"][:, reached],
            color=str(0.65 * i / len(mine)),
            linestyle=dashes[i % 6],
            marker="os^vDP"[i % 6],
            label=label,
        )
    ax.set(
        yscale="log",
        ylim=(1e-14, 3),
        xlabel="step k",
        ylabel="gap / gap at 0",
        title="(a) squared loss, c = 1",
        xticks=range(0, 16, 5),
    )
    ax.legend(loc="lower left")


def ladder_panel(ax, ladder):
    """Draw the factor over its bound against the output scale, filled if the condition holds."""
    share, ratio = np.asarray(ladder["share"]), np.asarray(ladder["ratio"], float)
    applies = np.array([status != "not applicable" for status in ladder["status"]])
    ax.axhline(1.0, color="0.45", linestyle="--", label="bound")
    ax.plot(
        share[applies], ratio[applies], "o", color="#0072B2", markersize=7, linestyle="none", label="condition holds"
    )
    ax.plot(
        share[~applies],
        ratio[~applies],
        "o",
        color="#D55E00",
        fillstyle="none",
        markersize=7,
        linestyle="none",
        label="not applicable",
    )
    ax.set(
        xscale="log",
        yscale="log",
        xlabel=f"alpha / (alpha of k G = {BEND:g})",
        ylabel="largest factor / bound",
        title="(d) smaller output scale",
    )
    ax.legend()


def start(loss, distance, seed):
    """The network at the output scale where `k G = BEND`, and the step `eta` for each `c`."""
    w_key, d_key, y_key = jr.split(jr.key(seed), 3)
    x, _ = rg.load_data("diabetes", subset=SAMPLES, seed=seed)
    x = jnp.asarray(rg.near_duplicates(np.asarray(x), distance, key=d_key))
    y = jr.normal(y_key, (2 * SAMPLES,))
    y = jnp.where(y > 0, 0.9, 0.1) if loss == "logistic" else y
    net = rg.MLP((10, WIDTH, 1))
    params = net.init(key=w_key)

    def scaled(alpha):
        return rg.Problem(rg.Scaled(rg.Centred(net, params), alpha), params, x, y, LOSSES[loss]())

    unit = scaled(1.0)
    ball = convergence_ball(unit)
    slope = float(jnp.linalg.norm(unit.loss_gradient(jnp.zeros_like(y))))
    return scaled, ball.lipschitz.value / ball.sigma_start**2 * slope / BEND


def largest_step(bend, c, mu):
    """The largest `eta` with `eta [bend / (1 + c) + mu (1 + eta bend / (2 (1 + c)))^2] <= 1`."""
    share = bend / (1 + c)
    return float(scipy.optimize.brentq(lambda eta: eta * (share + mu * (1 + eta * share / 2) ** 2) - 1, 0.0, 1 / mu))


def run(at, c, share=1.0):
    """One run at `share` of the output scale, with gaps, factors, bound and certificate."""
    scaled, alpha = at
    problem = scaled(share * alpha)
    eta = SAFETY * largest_step(BEND, c, problem.loss.smoothness(problem.n))
    gap = float(problem.objective(problem.w0) - problem.loss.infimum(problem.y))
    method = rg.LevenbergMarquardt(rg.SpectralDamping(c), step_size=eta)
    traj = rg.iterate(problem, method, steps=STEPS, error=True, throw=False, loss_tol=REACHED * gap)
    gaps = np.asarray(path_quantities.gaps(traj)) / gap
    factor = float(np.max(gaps[1:] / gaps[:-1]))
    allowed = float(1 - eta * path_quantities.polyak_quotient(traj) / (1 + c))
    cert = rg.certify("discrete_adaptive", traj)
    condition = next(h.value for h in cert.hypotheses if "step condition" in h.name)
    collected = {
        "cond": float(traj.stats["cond"] ** 2),
        "alpha": share * alpha,
        "eta": eta,
        "factor": factor,
        "allowed": allowed,
        "condition": condition,
    }
    return collected | {
        "gaps": np.pad(gaps, (0, STEPS + 1 - gaps.size), constant_values=np.nan),
        "ratio": factor / allowed,
        "status": cert.status,
    }


def gathered(runs):
    """A list for each quantity."""
    return {key: [each[key] for each in runs] for key in runs[0]}


def checks(result):
    """Compare the numbers of the figure with their predictions."""
    runs, ladder = result["runs"], result["ladder"]
    flat = {key: [value for entry in runs for value in entry[key]] for key in ("ratio", "status", "condition", "cond")}
    applies = np.asarray(ladder["condition"]) <= 1
    wrongly = sum(
        status in ("holds", "fails") for status, valid in zip(ladder["status"], applies, strict=True) if not valid
    )
    spread = [
        np.ptp([np.median(e["factor"]) for e in runs if (e["loss"], e["c"]) == (loss, c)])
        for loss in LOSSES
        for c in FACTORS
    ]
    return [
        check("largest factor of the gap / bound", float(np.max(flat["ratio"])), "at_most", 1.0, 1e-8),
        check("largest left side of the step condition", float(np.max(flat["condition"])), "at_most", 1.0, 0.0),
        check(
            "certificates that do not hold",
            float(sum(status != "holds" for status in flat["status"])),
            "at_most",
            0.0,
            0.0,
        ),
        check(
            "decades of cond(K)",
            float(np.log10(max(flat["cond"]) / min(flat["cond"]))),
            "at_least",
            5.5,
            0.0,
            golden_rtol=0.05,
        ),
        check("median factor, spread over cond(K)", float(np.max(spread)), "at_most", 0.0, 0.1, golden_rtol=0.2),
        check("step condition fails: runs", float(sum(~applies)), "at_least", 1.0, 0.0),
        check("step condition fails: called confirmed or refuted", float(wrongly), "at_most", 0.0, 0.0),
    ]
