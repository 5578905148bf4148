r"""The singular set, and a flow that stops in finite time.

**What to see.** The outputs of this model fill a half plane. Its edge is a *fold*, where the
Jacobian `J` loses rank, and the target is beyond the edge. Gauss-Newton moves the outputs
straight towards the target (left), as it does wherever `J` has full rank, and reaches the edge
after the finite time `t*`. The flow ends there: the speed of the parameters, `|w'| ~ 1 /
s_min`, grows without bound, and no step size takes an integrator across. The loss could still
decrease along the edge, but the flow has no direction left (right: smallest singular value,
loss). `solve` monitors `s_min`, stops with the status `rank_lost` and keeps the trajectory. The
damped flow of Levenberg and Marquardt slows down near the edge instead. It exists for all times
and slides to the best point:

    f(w) = (w_1^2, 2 w_2),    y = (-d, 0),    f_0 = (1, 1)
    f_t - y = exp(-t) (f_0 - y),    s_min = 2 sqrt((1 + d) exp(-t) - d),    t* = log(1 + 1/d)

**In code.** The status and the time of the end:

```python
import jax.numpy as jnp
import riemgn as rg

rg.enable_x64()
fold = rg.Problem(
    lambda w, x: jnp.stack([w[0] ** 2, 2 * w[1]]),
    jnp.array([1.0, 0.5]),
    jnp.zeros((2, 1)),
    jnp.array([-1.0, 0.0]),
)
traj = rg.solve(fold, rg.GaussNewtonFlow(), t1=5.0, throw=False)
assert traj.status == "rank_lost"
assert abs(traj.stats["event_time"] - jnp.log(2.0)) < 1e-6
assert traj.losses[-1] > 0.6 and traj.sigma_min[-1] < 1e-4  # the best loss is 1 / 2
```

**What it does not show.** The folds of a network, for which there is no formula. There you have
only the event. A network scaled by a large `alpha` stays away from its folds. The essay also
does not show a loss of rank caused by coordinates alone, as at the poles of a sphere, where the
manifold itself is smooth.

**References.** Statement C14, derived. Cayci, arXiv:2412.14031v4 (the conditions that keep the
flow away). Nocedal and Wright, Numerical Optimization, section 10.3 (rank-deficient Jacobians).
"""

import jax.numpy as jnp
import numpy as np

import riemgn as rg
from riemgn.experiment.verdict import check
from riemgn.plot import flow_style

DEPTHS = {True: (1.0, 2.0), False: (0.5, 1.0, 2.0)}  # d, how far the target lies beyond the fold
PICTURED = 1.0
HORIZON = 4.0
DAMPING = 0.1
MARKERS = {"0.5": "s", "1": "o", "2": "v"}


def fold(w, x):
    return jnp.stack([w[0] ** 2, 2 * w[1]])


def data(quick, data_dir=None):
    """Outputs, losses and smallest singular values of both flows."""
    ts = np.linspace(0, HORIZON, 161)
    curves, checks = {}, []
    for d in DEPTHS[quick]:
        problem = rg.Problem(fold, np.array([1.0, 0.5]), np.zeros((2, 1)), np.array([-d, 0.0]))
        traj = rg.solve(problem, rg.GaussNewtonFlow(), t1=HORIZON, ts=ts, throw=False)
        stop, curve = np.log(1 + 1 / d), curve_of(traj)
        law = 2 * np.sqrt(np.maximum((1 + d) * np.exp(-curve["ts"]) - d, 0))
        event = traj.stats["event_time"]
        curves[f"{d:g}"] = curve | {"law": law, "stop": stop, "event": event}
        wrong, gap = float(traj.status != "rank_lost"), float(np.abs(curve["sigma"] - law)[:-1].max())
        checks += [
            check(f"runs at d = {d:g} that end otherwise than by rank_lost", wrong, "equal", 0.0, 0.5),
            check(f"stop at d = {d:g} against log(1 + 1/d)", float(event), "equal", stop, 1e-6),
            check(f"s_min at d = {d:g} against the closed form", gap, "at_most", 0.0, 1e-4),
        ]
        if d == PICTURED:
            lm = curve_of(rg.solve(problem, rg.LevenbergMarquardtFlow(DAMPING), t1=HORIZON, ts=ts))
    along, law = float(lm["outputs"][-1][1]), np.exp(-4 * HORIZON / (4 + DAMPING))
    best = float(lm["losses"][-1] / (PICTURED**2 / 2))
    checks += [
        check("damped flow: distance along the edge, against exp(-4 t / (4 + rho))", along, "equal", law, 1e-6),
        check("damped flow: loss at the end over the best", best, "equal", 1.0, 1e-3),
    ]
    return {"curves": curves, "lm": lm, "checks": checks}


def curve_of(traj):
    """Times, outputs, losses and smallest singular values of a trajectory."""
    names = {"ts": "ts", "outputs": "outputs", "losses": "losses", "sigma": "sigma_min"}
    return {name: np.asarray(getattr(traj, field)) for name, field in names.items()}


def draw(data, fig):
    """Left: the output plane. Right: smallest singular value and loss over time."""
    fig.set_size_inches(9.5, 4.6)
    axes = fig.subplot_mosaic([["plane", "sigma"], ["plane", "loss"]], width_ratios=(1, 1.25))
    draw_plane(data, axes["plane"])
    sigma, loss, gn, lm = axes["sigma"], axes["loss"], flow_style("gn"), flow_style("lm")
    for d, curve in data["curves"].items():
        marked = {"color": gn["color"], "marker": MARKERS[d], "linestyle": "none"}
        place = np.linspace(0, len(curve["ts"]) - 1, 9).astype(int)
        sigma.plot(curve["ts"], curve["law"], color="0.5", linestyle="--", linewidth=1.1)
        sigma.plot(curve["ts"][place], curve["sigma"][place], label=f"Gauss-Newton, $d = {d}$", **marked)
        loss.plot(curve["ts"], curve["losses"], color=gn["color"], linewidth=1)
        loss.plot(curve["ts"][place], curve["losses"][place], **marked)
        for ax in (sigma, loss):
            ax.axvline(curve["stop"], color="0.6", linewidth=0.8, linestyle=":")
    sigma.plot([], [], color="0.5", linestyle="--", label="closed form")
    slide = data["lm"]
    style = {"color": lm["color"], "linestyle": lm["linestyle"], "marker": lm["marker"], "markevery": 16}
    sigma.plot(slide["ts"], slide["sigma"], label=rf"damped, $d = 1$, $\rho = {DAMPING}$", **style)
    loss.plot(slide["ts"], slide["losses"], **style)
    best = {"color": "black", "linewidth": 0.8, "linestyle": (0, (6, 2)), "label": "least loss on $M$, $d = 1$"}
    loss.axhline(PICTURED**2 / 2, **best)
    sigma.set(ylabel=r"$s_{\min}$ of $J$", xlim=(0, 2.5), ylim=(0, 2.05))
    sigma.set_title(r"$s_{\min}$ is 0 at $t^* = \log(1 + 1/d)$ (dotted)")
    loss.set(xlabel="time $t$ (the flow's own)", ylabel="loss", xlim=(0, 2.5), yscale="log")
    loss.set_title("the loss could still fall, along the edge")
    sigma.legend(loc="upper right")
    loss.legend(loc="upper right")


def draw_plane(data, plane):
    """The half plane of outputs with both flows."""
    gn, lm = flow_style("gn"), flow_style("lm")
    plane.axvspan(0, 1.4, color="0.9", label="$M$: all outputs of the model")
    plane.axvline(0, color="black", linewidth=2.5, label="the fold, where $J$ loses rank")
    path, slide = data["curves"][f"{PICTURED:g}"]["outputs"], data["lm"]["outputs"]
    plane.plot(*path.T, color=gn["color"], linestyle=gn["linestyle"], linewidth=2, label="Gauss-Newton")
    onward = np.stack([path[-1], [-PICTURED, 0.0]]).T
    plane.plot(*onward, color=gn["color"], linestyle=":", linewidth=1, label="where it would go")
    end = {"marker": "X", "markersize": 10, "linestyle": "none", "zorder": 5, "label": "its end, at $t^*$"}
    plane.plot(*path[-1], color=gn["color"], **end)
    look = {"color": lm["color"], "linestyle": lm["linestyle"], "marker": lm["marker"], "markevery": 16}
    plane.plot(*slide.T, label=rf"damped, $\rho = {DAMPING}$", **look)
    plane.plot(-PICTURED, 0, color="#B2182B", marker="*", markersize=11, linestyle="none", label="target, $d = 1$")
    plane.set(aspect="equal", xlim=(-1.2, 1.4), ylim=(-0.3, 1.3), xlabel="output 1", ylabel="output 2")
    plane.set_title("straight at the target, into the fold")
    plane.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
