"""Gauss-Newton does not slow down with the condition number, gradient flow does.

What to see: the same network on the diabetes data in coordinates `w = w0 + A v`, with cond(A) from
1 to 10^6. The Gauss-Newton flow has the same outputs in all coordinates because `f' = -P grad g(f)`
does not depend on A. Gradient flow, `f' = -J A A^T J^T grad g(f)`, slows down by orders of
magnitude. The time of its slowest mode grows with the square of cond(A). The time to a fixed gap
depends on many modes, and it grows with a smaller power.

What it does not show: that Gauss-Newton converges from every start. The output scale alpha is large
enough here, see `alpha`.

Reference: Cayci, arXiv:2412.14031v4. Statement C3.
"""

import jax
import jax.numpy as jnp
import numpy as np

import riemgn as rg
from riemgn.experiment.verdict import check
from riemgn.plot import flow_style, FLOW_TITLES

from .diabetes import ERROR, network, setup
from .optimum import least_squares

CONDITIONS = {True: (0, 2, 4, 6), False: (0, 1, 2, 3, 4, 5, 6)}
ALPHA = 1e3
SEEDS = {True: 3, False: 6}
REACHED = 1e-3


def data(quick, data_dir=None):
    """Loss gaps of both flows for each cond(A), and the times to a thousandth of the gap."""
    problem = network(ALPHA)
    exponents = CONDITIONS[quick]
    gn_times = np.linspace(0.0, 15.0, 61)
    gf_times = np.concatenate([[0.0], np.logspace(-1, 10.5, 93)])
    floor = float(least_squares(problem).cost)
    result = {"cond": [10.0**k for k in exponents], "gn_times": gn_times, "gf_times": gf_times, "best_loss": floor}
    gn_gaps, gf_gaps, cond_jac = [], [], []
    for k in exponents:
        moved = rg.task.reparametrised(problem, 10.0**k, key=jax.random.key(5))
        gn = rg.solve(moved, rg.GaussNewtonFlow(), t1=gn_times[-1], ts=gn_times)
        unit = float(jnp.linalg.norm(moved.jac(moved.w0), 2)) ** -2
        gf = rg.solve(moved, rg.GradientFlow(), t1=unit * gf_times[-1], ts=unit * gf_times, rtol=1e-5, atol=1e-7)
        gn_gaps.append(np.asarray(gn.losses) - floor)
        gf_gaps.append(np.asarray(gf.losses) - floor)
        cond_jac.append(gn.stats["cond"])
    result |= {"gn_gaps": gn_gaps, "gf_gaps": gf_gaps, "cond_jac": cond_jac}
    seeds = f"0 (curves), 0-{SEEDS[quick] - 1} (invariance)"
    result["setup"] = setup(problem, ALPHA, "rtol 1e-8 (GN), 1e-5 (GF)", seeds=seeds)
    start = gn_gaps[0][0]
    result["gn_reached"] = [first_time(gn_times, gap, REACHED * start) for gap in gn_gaps]
    result["gf_reached"] = [first_time(gf_times, gap, REACHED * start) for gap in gf_gaps]
    result["spreads"] = [spreads(seed, result["cond"], gn_times) for seed in range(SEEDS[quick])]
    result["checks"] = checks(result)
    return result


def spreads(seed, conds, times):
    """The largest difference of the outputs between coordinates, over the residual at the start."""
    problem = network(ALPHA, seed)
    moved = [rg.task.reparametrised(problem, cond, key=jax.random.key(5)) for cond in conds]
    outputs = [np.asarray(rg.solve(one, rg.GaussNewtonFlow(), t1=times[-1], ts=times).outputs) for one in moved]
    return [
        float(np.abs(f - outputs[0]).max() / np.linalg.norm(outputs[0][0] - np.asarray(problem.y))) for f in outputs[1:]
    ]


def draw(data, fig):
    """Gap against time for both flows, and the time to a thousandth of it against cond(A)."""
    fig.set_size_inches(11, 4)
    left, middle, right = fig.subplots(1, 3)
    start = data["gn_gaps"][0][0]
    shades = [str(0.75 - 0.75 * i / max(1, len(data["cond"]) - 1)) for i in range(len(data["cond"]))]
    for i, (cond, gn, gf) in enumerate(zip(data["cond"], data["gn_gaps"], data["gf_gaps"], strict=True)):
        gap_curve(
            left,
            data["gn_times"],
            gn / start,
            "gn",
            every=len(data["cond"]),
            offset=i,
            fill=shades[i],
            label=power(cond),
        )
        gap_curve(
            middle,
            data["gf_times"][1:],
            gf[1:] / start,
            "gf",
            every=14,
            offset=2 * i,
            fill=shades[i],
            label=power(cond),
        )
    for ax in (left, middle):
        ax.set_yscale("log")
        ax.set_ylim(1e-9, 3)
        ax.legend(title="cond(A)", loc="lower left")
    middle.set_xscale("log")
    left.set(title="Gauss-Newton: all curves coincide", xlabel="time t", ylabel="loss gap / loss gap at 0")
    middle.set(
        title="gradient flow: they fan out", xlabel=r"time t x $\sigma_{\max}(JA)^2$", ylabel="loss gap / loss gap at 0"
    )
    reached_panel(right, data)
    fig.suptitle("one network in the coordinates w = w0 + A v")


def reached_panel(ax, data):
    """Draw the times to a thousandth of the gap. An open arrow is not reached."""
    cond = np.asarray(data["cond"])
    for flow, key in (("gn", "gn_reached"), ("gf", "gf_reached")):
        times = np.asarray(data[key], dtype=float)
        ax.plot(cond, times, label=FLOW_TITLES[flow], **flow_style(flow))
        late = np.isnan(times)
        if late.any():
            horizon = np.full(late.sum(), data["gf_times"][-1])
            ax.plot(
                cond[late],
                horizon,
                marker="^",
                markersize=8,
                fillstyle="none",
                linestyle="none",
                color="black",
                label="not reached by here",
            )
    ax.set(
        xscale="log",
        yscale="log",
        title="time to 1/1000 of the gap",
        xlabel="cond(A)",
        ylabel="time on the axis of its own panel",
    )
    ax.legend()


def gap_curve(ax, times, gaps, flow, *, every, offset, fill, label):
    """Draw one curve with markers at different places because several curves coincide."""
    look = flow_style(flow)
    positive = np.where(np.asarray(gaps) > 0, gaps, np.nan)
    ax.plot(
        times,
        positive,
        markevery=(offset, every),
        markerfacecolor=fill,
        markeredgecolor="black",
        markersize=6,
        label=label,
        **(look | {"linewidth": 1}),
    )


def power(cond):
    """`10^k` as a label."""
    return f"$10^{{{round(np.log10(cond))}}}$"


def checks(result):
    """Compare the numbers of the figure with their predictions."""
    decades = np.log10(result["cond"])
    gn_slope = np.polyfit(decades, np.log10(result["gn_reached"]), 1)[0]
    arrived = np.isfinite(result["gf_reached"])
    times = np.asarray(result["gf_reached"])
    gf_slope = np.polyfit(decades[arrived], np.log10(times[arrived]), 1)[0] if arrived.sum() > 1 else float("nan")
    return [
        check(
            "GN outputs, spread over cond(A), worst seed",
            float(np.max(result["spreads"])),
            "at_most",
            0.0,
            1e-6,
            golden_rtol=ERROR,
        ),
        check("GN time to 1e-3: slope in cond(A)", gn_slope, "equal", 0.0, 1e-3, golden_rtol=ERROR),
        check("GF time to 1e-3: slope in cond(A)", gf_slope, "at_least", 1.0, 0.0),
    ]


def first_time(times, gaps, level):
    """First time with `gaps <= level`, interpolated in logarithms, or NaN."""
    below = np.flatnonzero(gaps <= level)
    if below.size == 0:
        return float("nan")
    i = int(below[0])
    if times[i - 1] <= 0:
        return float(times[i])
    share = np.log(gaps[i - 1] / level) / np.log(gaps[i - 1] / max(gaps[i], 1e-300))
    return float(np.exp(np.log(times[i - 1]) + share * np.log(times[i] / times[i - 1])))
