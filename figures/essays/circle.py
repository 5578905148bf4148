"""Curvature slows the flow down, or speeds it up.

**What to see.** The outputs of this model are a circle of radius `R`. The target is on one ray
from the centre, at distance `s`. All flows start at the same angle of one radian (left). If `M`
were flat, the angle would decay like `exp(-t)`. If the target is inside, the circle bends
towards it, the loss along the circle is flatter, and the flow is slower. If the target is
outside, the circle bends away from it, and the flow is faster (right). Along the flow the
Riemannian gradient `u` decays at the rate `Hess_M g[u, u] / |u|^2 = 1 + <grad g, II(u, u)> /
|u|^2`, where `II` is the second fundamental form. On the circle the solution is known:

    tan(phi_t / 2) = tan(phi_0 / 2) exp(-(s / R) t)

**In code.** The Riemannian Hessian near the optimum gives the rate before you integrate
anything:

```python
import jax.numpy as jnp
import riemgn as rg

rg.enable_x64()
inside = rg.OutputManifold(rg.task.circle(radius=1.0, target=0.5, angle=1e-4))
w = inside.problem.w0
u = inside.riemannian_grad(w)
assert abs(inside.riemannian_hess(w, u, u) / (u @ u) - 0.5) < 1e-6  # s / R
```

**What it does not show.** A target at the centre: then all points of the circle have the same
loss and nothing moves. It also does not show higher dimensions: the `M` of a network bends in
many directions, and only the curvature along the flow counts.

**References.** Cayci, arXiv:2412.14031v4 (rate by the Riemannian Hessian). Statement C4, closed
form derived.
"""

import numpy as np

import riemgn as rg
from riemgn.experiment.verdict import check
from riemgn.plot.manifold import curve

TARGETS = (0.5, 1.0, 2.0)  # s / R: inside, on and outside the circle
LOOKS = {"0.5": ("v", "#D55E00", "inside"), "1": ("o", "#0072B2", "on the circle"), "2": ("^", "#009E73", "outside")}
ANGLE, HORIZON = 1.0, 8.0


def data(quick, data_dir=None):
    """Angles over time, measured and exact, for targets inside, on and outside the circle."""
    times = np.linspace(0, HORIZON, 33 if quick else 65)
    curves, checks = {}, []
    for s in TARGETS:
        problem = rg.task.circle(radius=1.0, target=s, angle=ANGLE)
        traj = rg.solve(problem, rg.GaussNewtonFlow(), t1=HORIZON, ts=times, rtol=1e-10, atol=1e-12)
        measured, closed = np.asarray(traj.params[:, 0]), 2 * np.arctan(np.tan(ANGLE / 2) * np.exp(-s * times))
        rate = rg.fit_rate(times[times >= 3], measured[times >= 3]).rate
        curves[f"{s:g}"] = {
            "measured": measured,
            "closed": closed,
            "outputs": np.asarray(traj.outputs),
            "target": np.asarray(problem.y),
        }
        checks.append(
            check(
                f"angle at s / R = {s:g} against the closed form",
                float(np.abs(measured - closed).max()),
                "at_most",
                0.0,
                1e-7,
            )
        )
        checks.append(check(f"rate at s / R = {s:g} from t = 3 on", float(rate), "equal", s, 2e-3))
    whole = np.linspace(-np.pi, np.pi, 181)
    return {
        "circle": np.stack([np.cos(whole), np.sin(whole)], axis=1),
        "times": times,
        "curves": curves,
        "checks": checks,
    }


def draw(data, fig):
    """Left: the circle with its three targets. Right: the angle over time."""
    fig.set_size_inches(9, 4)
    plane, law = fig.subplots(1, 2, width_ratios=(1, 1.3))
    curve(data["circle"], ax=plane, label="$M$: all outputs of the model")
    start = data["curves"]["1"]["outputs"][0]
    point = {"markersize": 8, "linestyle": "none", "zorder": 13}
    plane.plot(*start, marker="o", markerfacecolor="white", color="black", label="start, angle 1", **point)
    every = max(1, len(data["times"]) // 16)
    for s, entry in data["curves"].items():
        marker, colour, word = LOOKS[s]
        plane.plot(*entry["target"], marker=marker, color=colour, label=f"target {word}, $s/R = {s}$", **point)
        plane.plot(*np.stack([start, entry["target"]]).T, color=colour, linewidth=0.8, linestyle=":")
        law.semilogy(data["times"], entry["closed"], color="0.5", linestyle="--", linewidth=1.1)
        look = {"marker": marker, "color": colour, "linestyle": "none", "label": f"$s/R = {s}$, measured"}
        law.semilogy(data["times"][::every], entry["measured"][::every], **look)
        end = (data["times"][-1], entry["closed"][-1])
        law.annotate(f"rate ${s}$", end, (4, -3), textcoords="offset points", annotation_clip=False)
    law.plot([], [], color="0.5", linestyle="--", label="closed form")
    plane.set(aspect="equal", xlim=(-1.3, 2.3), ylim=(-1.3, 1.3), xlabel="output 1", ylabel="output 2")
    plane.set_title("one start, three targets")
    law.set(xlabel="time $t$ (the flow's own)", ylabel=r"angle to the target $\varphi_t$ (radians)")
    law.set_title("the angle decays at the rate $s/R$")
    plane.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    law.legend(loc="lower left")
