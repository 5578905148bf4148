r"""Gradient flow crawls along a valley, Gauss-Newton walks home.

**What to see.** A model with two parameters, `v` and `b`, and two outputs. Its loss is a curved
valley (top). Gradient flow `w' = -J^T grad g` falls to the floor at once and then crawls: along
the floor the loss hardly changes, so the gradient is tiny. The Gauss-Newton flow `w' = -J^+
grad g` first determines how the *outputs* should move, and then takes the step of the
parameters that achieves it. After three units of time it is nearly at the optimum. The number
`k` is the condition number of the Jacobian at the optimum, `cond(J) = s_max / s_min`, here the
unit of `v`. For every `k`, the loss of Gauss-Newton is the same curve. That of gradient flow
finally decays at the rate `2 / k^2` (bottom):

    f(v, b) = (v / k, b - (v / k)^2 / 2),    y = 0
    Gauss-Newton:   f_t = exp(-t) f_0,           g_t = exp(-2 t) g_0
    gradient flow:  g_t falls like exp(-2 t s_min^2) in the end,   s_min = 1 / k

**In code.** Along the floor the gradient is `k^2` times shorter than the way to the optimum.
The Gauss-Newton velocity is that way:

```python
import jax.numpy as jnp
import riemgn as rg

rg.enable_x64()
k = 100.0
problem = rg.Problem(
    lambda w, x: jnp.stack([w[0] / k, w[1] - (w[0] / k) ** 2 / 2]),
    jnp.array([0.01, 0.0]),
    jnp.zeros((2, 1)),
    jnp.zeros(2),
)
point = problem.linearise(problem.w0)
assert abs(jnp.linalg.cond(point.jac) / k - 1) < 1e-6
crawl, walk = (
    flow.direction(point, jnp.array(0.0), 2)
    for flow in (rg.GradientFlow(), rg.GaussNewtonFlow())
)
assert jnp.allclose(crawl[0], -0.01 / k**2) and jnp.allclose(walk[0], -0.01)
```

**What it does not show.** Cost: time is that of the flow, and one unit costs a linear solve for
Gauss-Newton and only products for gradient flow. It also does not show a residual that cannot
become zero: then the curvature of the output manifold enters the rate of Gauss-Newton, as on
the circle. With noise, the data say little about `v`, and a fast method fits this noise too.

**References.** Cayci, arXiv:2412.14031v4 (rates free of the condition number). Nocedal and
Wright, Numerical Optimization, section 10.3. Statements C3, C6 and C10, derived.
"""

import jax.numpy as jnp
import numpy as np

import riemgn as rg
from riemgn.experiment.verdict import check
from riemgn.plot import flow_style

CONDITIONS = {True: (10, 20), False: (10, 30, 100, 300)}  # k
START = (-1.5, -0.5)  # v / k and b
START_LOSS = (START[0] ** 2 + (START[1] - START[0] ** 2 / 2) ** 2) / 2
PICTURED = 10  # k of the valley drawn
CLOCK = (0.0, 1.0, 2.0, 3.0)  # times marked on both paths
LOW = 1e-6  # of the loss at the start


def outputs(w, x):
    a = w[0] / x[0, 0]
    return jnp.stack([a, w[1] - a**2 / 2])


def data(quick, data_dir=None):
    """Paths and losses of both flows by condition number, and the loss on a grid."""
    early = np.geomspace(0.02, 20, 101)
    curves, checks = {}, []
    for k in CONDITIONS[quick]:
        problem = rg.Problem(outputs, np.array([k * START[0], START[1]]), np.full((2, 1), float(k)), np.zeros(2))
        late = np.concatenate([early[:50], np.geomspace(1, 10.0 * k**2, len(early) - 50)])
        runs = {}
        for flow, ts in ((rg.GradientFlow(), late), (rg.GaussNewtonFlow(), early)):
            traj = rg.solve(problem, flow, t1=ts[-1], ts=ts)
            runs[flow.name] = {
                "ts": ts,
                "paths": np.asarray(traj.params),
                "losses": np.asarray(traj.losses) / START_LOSS,
            }
        law, measured = np.exp(-2 * early), runs["gn"]["losses"]
        checks.append(
            check(
                f"Gauss-Newton's loss at k = {k}, relative error of the closed form",
                float(np.abs(measured / law - 1).max()),
                "at_most",
                0.0,
                1e-4,
            )
        )
        losses = np.log(runs["gf"]["losses"])
        rate = -(losses[-1] - losses[-4]) / (late[-1] - late[-4])
        checks.append(check(f"gradient flow's last rate at k = {k}, times k^2", float(rate * k**2), "equal", 2.0, 2e-3))
        runs["gf"]["reached"] = float(np.interp(-np.log(LOW), -losses, late))
        curves[f"{k}"] = runs
    first, last = (float(k) for k in (CONDITIONS[quick][0], CONDITIONS[quick][-1]))
    ratio = curves[f"{last:.0f}"]["gf"]["reached"] / curves[f"{first:.0f}"]["gf"]["reached"]
    checks.append(
        check(
            "slope of gradient flow's time to a millionth against k",
            float(np.log(ratio) / np.log(last / first)),
            "equal",
            2.0,
            0.05,
        )
    )
    return {"curves": curves, "law": {"ts": early, "losses": np.exp(-2 * early)}, "valley": valley(), "checks": checks}


def valley():
    """The loss on a grid of v and b."""
    v, b = np.linspace(-18, 6, 121), np.linspace(-1.2, 2.2, 41)
    a = v / PICTURED
    return {"v": v, "b": b, "loss": (a**2 + (b[:, None] - a**2 / 2) ** 2) / 2}


def draw(data, fig):
    """Top: the valley with both paths. Bottom: the losses over time."""
    fig.set_size_inches(8, 5.4)
    top, bottom = fig.subplots(2, 1, height_ratios=(1, 1.5))
    land = data["valley"]
    levels = np.array([0.02, 0.08, 0.2, 0.4, 0.7, 1.1, 1.6])
    top.contour(land["v"], land["b"], land["loss"], levels=levels, colors="0.75", linewidths=0.8)
    for flow, name in (("gf", "gradient flow"), ("gn", "Gauss-Newton flow")):
        run, look = data["curves"][f"{PICTURED}"][flow], flow_style(flow)
        path = np.concatenate([[[PICTURED * START[0], START[1]]], run["paths"]])
        marked = [np.interp(CLOCK, np.append(0.0, run["ts"]), path[:, i]) for i in (0, 1)]
        top.plot(*path[path[:, 0] < 0.2].T, color=look["color"], linestyle=look["linestyle"])
        top.plot(
            *marked, color=look["color"], marker=look["marker"], linestyle="none", label=f"{name} at $t = 0, 1, 2, 3$"
        )
    top.plot(0, 0, marker="*", markersize=11, color="black", linestyle="none", label="optimum")
    top.set(xlabel="parameter $v$", ylabel="parameter $b$", aspect="equal")
    top.set_title(f"the loss is a valley, $k = {PICTURED}$; contour lines, one scale for both parameters")
    top.legend(loc="upper center", bbox_to_anchor=(0.5, -0.3), ncols=3)
    look = flow_style("gf")
    for shade, (k, runs) in zip((0.45, 0.65, 0.85, 1.0), data["curves"].items(), strict=False):
        run = runs["gf"]
        shown = run["losses"] > 1e-8
        bottom.loglog(
            run["ts"][shown], run["losses"][shown], color=look["color"], linestyle=look["linestyle"], alpha=shade
        )
        bottom.annotate(f"$k = {k}$", (run["reached"], LOW), (5, 0), textcoords="offset points")
    bottom.plot([], [], color=look["color"], linestyle=look["linestyle"], label="gradient flow")
    look, law = flow_style("gn"), data["law"]
    shown = law["losses"] > 1e-8
    bottom.loglog(law["ts"][shown], law["losses"][shown], color="0.5", label=r"$\exp(-2t)$, closed form")
    for (k, runs), marker in zip(data["curves"].items(), "osD^", strict=False):
        run = runs["gn"]
        ring = {
            "marker": marker,
            "color": look["color"],
            "markerfacecolor": "none",
            "linestyle": "none",
            "label": f"Gauss-Newton, $k = {k}$",
        }
        bottom.loglog(run["ts"][shown][::12], run["losses"][shown][::12], **ring)
    bottom.set(
        xlabel="time $t$ (the flow's own)", ylabel="loss, as part of its start", xlim=(0.01, 4e6), ylim=(1e-8, 2)
    )
    bottom.set_title("Gauss-Newton does not notice $k$; gradient flow needs $k^2$ times as long")
    bottom.legend(loc="lower left")
