"""Retractions bring a step back to the surface, and have an order.

**What to see.** A tangent vector `u` points away from the curved set `M`. A *retraction* `R`
maps the step `t u` to a point of `M`. The geodesic, the straightest path, is the ideal
retraction, but it is rarely cheap. Here `M` is the unit circle with an uneven parameter `w`, at
the angle `w + w^2 / 2` (ticks). The cheapest retraction steps in the parameter. It overshoots,
because the parameter speeds up (left). The corrected retraction removes half of that
acceleration. The projection takes the nearest point of `M` to the end of the step. Both end too
short, but much closer for small steps: their distance from the geodesic falls like the cube of
`t`, and that of the parameter step only like the square (right). A retraction of order `q` has
the error `O(t^(q + 1))`.

    chart: t^2 / 2,    corrected: t^3 / 2 - t^4 / 8,    projection: t - arctan t

These are the errors of the angle. Two points of the circle at an angle `d` have the distance `2
sin(d / 2)`: the dotted lines.

**In code.** Half the step has a quarter, or an eighth, of the error.
`rg.geometry.check_retraction` finds the order of any retraction on any manifold.

```python
import jax.numpy as jnp
import riemgn as rg

rg.enable_x64()
point = lambda angle: jnp.stack([jnp.cos(angle), jnp.sin(angle)])
M = rg.OutputManifold(
    rg.Problem(
        lambda w, x: point(w[0] + w[0] ** 2 / 2),
        jnp.zeros(1),
        jnp.zeros((2, 1)),
        jnp.array([0.0, 2.0]),
    )
)
for kind, ratio in (("chart", 4.0), ("corrected", 8.0), ("projection", 8.0)):
    ends = [
        M.embed(M.retract(jnp.zeros(1), jnp.array([0.0, t]), kind)) for t in (0.02, 0.01)
    ]
    missed = [jnp.linalg.norm(end - point(t)) for end, t in zip(ends, (0.02, 0.01))]
    assert abs(missed[0] / missed[1] - ratio) < 0.1
```

**What it does not show.** Cost: for a network, the chart step is one least-squares solve, the
correction needs a second one, and the projection is an iteration. It also does not show long
steps, for which the order says nothing: at `t = 1` the parameter step and the corrected step
have about the same error. On another surface the same three retractions have the same orders
and other factors.

**References.** Boumal, An Introduction to Optimization on Smooth Manifolds (2023), sections 3.6
and 5.10. Absil and Malick, SIAM J. Optim. 22 (2012), section 4 (projection). Transtrum and
Sethna, arXiv:1207.4999 (the correction, "geodesic acceleration"). Factors derived.
"""

import jax.numpy as jnp
import numpy as np

import riemgn as rg
from riemgn.experiment.verdict import check
from riemgn.plot.manifold import curve

ORDERS = {"chart": 1, "corrected": 2, "projection": 2}
LOOKS = {
    "chart": ("P", "#CC79A7", "--"),
    "corrected": ("s", "#009E73", "-."),
    "projection": ("o", "#0072B2", "-"),
    "exponential": ("D", "#000000", ""),
}
WORDS = {
    "chart": "step in the parameter",
    "corrected": "step less half its acceleration",
    "projection": "nearest point of $M$",
    "exponential": "geodesic",
}
LONG = 0.9  # the step of the left panel, radians


def uneven_circle(params, x):
    angle = params[0] + params[0] ** 2 / 2
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)])


def missed(kind, t):
    """The angle by which a step of length `t` misses the geodesic, in closed form."""
    return {"chart": t**2 / 2, "corrected": t**3 / 2 - t**4 / 8, "projection": t - np.arctan(t)}[kind]


def data(quick, data_dir=None):
    """Ends of steps of many lengths by each retraction, with closed forms."""
    steps = np.logspace(-3, 0, 10 if quick else 19)
    problem = rg.Problem(uneven_circle, jnp.zeros(1), jnp.zeros((2, 1)), jnp.array([0.0, 2.0]))
    manifold, w = rg.OutputManifold(problem), problem.w0
    u = manifold.push_forward(w, jnp.ones(1))  # unit length: at w = 0 the angle runs as fast as w

    def reached(kind, t):
        return np.asarray(manifold.embed(manifold.retract(w, t * u, kind)))

    geodesic = np.stack([np.cos(steps), np.sin(steps)], axis=1)
    errors = {
        kind: np.array([np.linalg.norm(reached(kind, t) - end) for t, end in zip(steps, geodesic, strict=True)])
        for kind in ORDERS
    }
    closed = {kind: 2 * np.sin(missed(kind, steps) / 2) for kind in ORDERS}
    small = steps < 0.05
    slopes = {kind: float(np.polyfit(np.log(steps[small]), np.log(errors[kind][small]), 1)[0]) for kind in ORDERS}
    ends = {kind: reached(kind, LONG) for kind in LOOKS}
    angles, ticks = np.linspace(-0.35, 1.75, 121), np.arange(-1, 5) * 0.25
    exact = float(np.linalg.norm(ends["exponential"] - [np.cos(LONG), np.sin(LONG)]))
    checks = [check("end of the geodesic against the angle t", exact, "at_most", 0.0, 1e-9)]
    for kind in ORDERS:
        name = f"distance of the {kind} step from the geodesic, against its closed form"
        checks.append(check(name, float(np.abs(errors[kind] - closed[kind]).max()), "at_most", 0.0, 1e-10))
    for kind, order in ORDERS.items():
        checks.append(check(f"slope of the {kind} step's distance", slopes[kind], "equal", order + 1.0, 0.05))
    return {
        "circle": np.stack([np.cos(angles), np.sin(angles)], axis=1),
        "ticks": {f"{w:g}": np.asarray(uneven_circle(jnp.array([w]), None)) for w in ticks},
        "step": np.asarray(LONG * u),
        "ends": ends,
        "steps": steps,
        "errors": errors,
        "closed": closed,
        "slopes": slopes,
        "checks": checks,
    }


def draw(data, fig):
    """Left: one long step. Right: the errors over the length of the step."""
    fig.set_size_inches(9.6, 4.6)
    plane, law = fig.subplots(1, 2, width_ratios=(1, 1.35))
    curve(data["circle"], ax=plane, label="$M$, ticks at $w = -0.25, 0, ..., 1$")
    for point in data["ticks"].values():
        plane.plot(*np.stack([0.97 * point, 1.03 * point]).T, color="0.2", linewidth=1.0, zorder=5)
    start, tip = data["ticks"]["0"], data["ticks"]["0"] + data["step"]
    arrow = {"arrowstyle": "-|>", "color": "#8A5F00", "linewidth": 1.8, "shrinkA": 0, "shrinkB": 0}
    plane.annotate("", tip, start, arrowprops=arrow, zorder=8)
    plane.annotate("$t u$", (start + tip) / 2, (6, 0), textcoords="offset points", color="#8A5F00")
    plane.plot(*np.stack([tip, data["ends"]["projection"]]).T, color="0.5", linewidth=0.9, linestyle=":")
    dot = {"markersize": 8, "linestyle": "none"}
    plane.plot(*start, marker="o", markerfacecolor="white", color="black", label="start", zorder=9, **dot)
    for kind, end in data["ends"].items():
        marker, colour, _ = LOOKS[kind]
        plane.plot(*end, marker=marker, color=colour, label=WORDS[kind], zorder=10, **dot)
    plane.set(xlim=(-0.35, 1.25), ylim=(-0.45, 1.2), xlabel="output 1", ylabel="output 2")
    plane.set_title(f"one step, $t = {LONG}$, read in four ways")
    plane.legend(loc="lower left")
    for kind in ORDERS:
        marker, colour, dash = LOOKS[kind]
        label = f"{WORDS[kind]}: slope {data['slopes'][kind]:.2f}"
        law.loglog(data["steps"], data["errors"][kind], marker=marker, color=colour, linestyle=dash, label=label)
        law.loglog(data["steps"], data["closed"][kind], color="black", linestyle=":", linewidth=0.9, zorder=11)
    law.loglog([], [], color="black", linestyle=":", linewidth=0.9, label="closed forms")
    law.set(xlabel="length $t$ of the step (radians)", ylabel="distance from the geodesic's end")
    law.set_title("order one: slope 2; order two: slope 3")
    law.legend(loc="upper left")
