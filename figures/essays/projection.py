"""The residual splits: its tangent part moves the flow, its normal part does not.

**What to see.** The outputs `f` of a model can move only within the tangent space of the set
`M` of all outputs. Here `M` is a circle, so they move along its tangent line. The residual `y -
f`, from the outputs to the target `y`, splits at a right angle into the tangent part `P (y -
f)` and a normal part (left). `P` is the orthogonal projection onto the tangent space.
Gauss-Newton moves with exactly the tangent part. It therefore stops where the tangent part is
zero, at the point of `M` nearest to the target. The normal part that remains there is the
misfit that no parameters can remove (right). Before that, the normal part has no influence: the
flow continues through the moment when it is zero, where the tangent line passes through the
target.

    y - f = P (y - f) + (I - P)(y - f),    f' = P (y - f)

For a circle of radius `R` and a target at distance `s` from its centre, let `phi` be the angle
to the target. The two parts have the lengths `s sin phi` and `|s cos phi - R|`, and the angle
satisfies `tan(phi_t / 2) = tan(phi_0 / 2) exp(-(s / R) t)`. These are the dashed lines.

**In code.** The velocity of the parameters is `J^+ (y - f)`, with the pseudo-inverse of the
Jacobian `J`. The outputs then move with `J J^+ = P`:

```python
import jax.numpy as jnp
import riemgn as rg

rg.enable_x64()
problem = rg.task.circle(radius=2.0, target=3.2, angle=1.9)
M, w = rg.OutputManifold(problem), problem.w0
residual = problem.y - M.embed(w)
tangent, normal = M.to_tangent(w, residual), M.normal_part(w, residual)
assert jnp.allclose(tangent + normal, residual) and abs(tangent @ normal) < 1e-12
assert jnp.allclose(
    tangent, -M.riemannian_grad(w)
)  # the Gauss-Newton velocity of the outputs
end = jnp.zeros(1)  # the angle 0, the point of the circle nearest to the target
assert (
    jnp.linalg.norm(M.to_tangent(end, problem.y - M.embed(end))) < 1e-12
)  # nothing moves where the residual is normal
```

**What it does not show.** A loss other than the sum of squares: then `-grad g(f)` replaces the
residual. It also does not show that the flow may stop elsewhere. At the far side of the circle
the residual is normal too, and this stationary point is not the nearest point. Where `J` loses
rank, the tangent space itself changes.

**References.** Boumal, An Introduction to Optimization on Smooth Manifolds (2023), section 3.8
(Riemannian gradient as a projection). Cayci, arXiv:2412.14031v4. Statements C1 and C4, closed
forms derived.
"""

import jax
import numpy as np

import riemgn as rg
from riemgn.experiment.verdict import check
from riemgn.plot.manifold import curve, normal_residual, path

RADIUS, TARGET, ANGLE, HORIZON = 2.0, 3.2, 1.9, 5.0
PARTS = {
    "tangent": ("s", "#D55E00", "-", "tangent part $P(y - f)$"),
    "normal": ("o", "#000000", ":", "normal part $(I - P)(y - f)$"),
}


def data(quick, data_dir=None):
    """The flow on the circle and the two parts of its residual, with their closed forms."""
    times = np.linspace(0, HORIZON, 101 if quick else 201)
    problem = rg.task.circle(radius=RADIUS, target=TARGET, angle=ANGLE)
    manifold = rg.OutputManifold(problem)
    traj = rg.solve(problem, rg.GaussNewtonFlow(), t1=HORIZON, ts=times, rtol=1e-10, atol=1e-12)
    residual = np.asarray(problem.y) - np.asarray(traj.outputs)
    tangent = np.asarray(jax.vmap(manifold.to_tangent)(traj.params, residual))
    normal = np.asarray(jax.vmap(manifold.normal_part)(traj.params, residual))
    angle = 2 * np.arctan(np.tan(ANGLE / 2) * np.exp(-TARGET / RADIUS * times))
    measured = {"tangent": np.linalg.norm(tangent, axis=1), "normal": np.linalg.norm(normal, axis=1)}
    closed = {"tangent": TARGET * np.sin(angle), "normal": np.abs(TARGET * np.cos(angle) - RADIUS)}
    velocity = (traj.outputs[2:] - traj.outputs[:-2]) / (times[2:] - times[:-2])[:, None]
    slip = np.linalg.norm(np.asarray(velocity) - tangent[1:-1], axis=1).max()
    gaps = {name: float(np.abs(measured[name] - closed[name]).max()) for name in measured}
    whole = np.linspace(-np.pi, np.pi, 181)
    return {
        "circle": RADIUS * np.stack([np.cos(whole), np.sin(whole)], axis=1),
        "target": np.asarray(problem.y),
        "path": np.asarray(traj.outputs),
        "arrows": {"tangent": tangent[0], "normal": normal[0]},
        "times": times,
        "measured": measured,
        "closed": closed,
        "checks": [
            check(
                "parts of the residual, their largest inner product",
                float(np.abs((tangent * normal).sum(1)).max()),
                "at_most",
                0.0,
                1e-12,
            ),
            check("length of the tangent part against s sin phi", gaps["tangent"], "at_most", 0.0, 1e-7),
            check("length of the normal part against |s cos phi - R|", gaps["normal"], "at_most", 0.0, 1e-7),
            check(
                "velocity of the outputs (central differences) less the tangent part", float(slip), "at_most", 0.0, 1e-2
            ),
            check("tangent part at the end", float(measured["tangent"][-1]), "at_most", 0.0, 1e-2),
            check("normal part at the end, s - R", float(measured["normal"][-1]), "equal", TARGET - RADIUS, 1e-4),
        ],
    }


def draw(data, fig):
    """Left: the two parts at the start, and the end of the flow. Right: their lengths over time."""
    fig.set_size_inches(9.4, 4.4)
    plane, law = fig.subplots(1, 2, width_ratios=(1.15, 1))
    start, end, target = data["path"][0], data["path"][-1], data["target"]
    curve(data["circle"], ax=plane, label="$M$: all outputs of the model")
    normal_residual(start, target, ax=plane)
    arrow = {"arrowstyle": "-|>", "linewidth": 2.2, "shrinkA": 0.0, "shrinkB": 0.0}
    for name, (_, colour, dash, label) in PARTS.items():
        tip = start + data["arrows"][name]
        plane.annotate("", tip, start, arrowprops={**arrow, "linestyle": dash, "color": colour}, zorder=12)
        plane.plot([], [], color=colour, linestyle=dash, linewidth=2.2, label=label)
        plane.plot(*np.stack([tip, target]).T, color="0.6", linewidth=0.8, linestyle="--")
        plane.annotate(name, tip, (6, 6) if name == "tangent" else (-8, -12), textcoords="offset points", color=colour)
    plane.annotate("", target, end, arrowprops={**arrow, "linestyle": ":", "color": "black", "shrinkB": 5.0}, zorder=12)
    path(data["path"], ax=plane, kind="gn")
    plane.annotate(
        "end: the residual\nis normal to $M$",
        end,
        (2.15, -1.3),
        arrowprops={"arrowstyle": "-", "color": "0.4", "shrinkB": 6.0},
    )
    plane.set(
        xlim=(-2.3, 3.9),
        ylim=(-2.3, 3.3),
        xlabel="output 1",
        ylabel="output 2",
        title="the residual, taken apart at the start",
    )
    plane.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    every = max(1, len(data["times"]) // 20)
    for name, (marker, colour, _, label) in PARTS.items():
        law.plot(data["times"], data["closed"][name], color="0.5", linestyle="--", linewidth=1.1)
        law.plot(
            data["times"][::every],
            data["measured"][name][::every],
            marker=marker,
            color=colour,
            linestyle="none",
            label=f"{label}, measured",
        )
    law.plot([], [], color="0.5", linestyle="--", label="closed form")
    law.set(
        xlabel="time $t$ (the flow's own)",
        ylabel="length (unit of the outputs)",
        ylim=(-0.15, 4.4),
        title="the flow uses up the tangent part; a normal part stays",
    )
    law.legend(loc="upper right")
