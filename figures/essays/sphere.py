"""Straight on a sphere: great circles, and vectors that come back turned.

**What to see.** Left: a geodesic is the path that never turns left or right on the surface. On
the sphere it is a great circle, not a straight line in latitude and longitude (the parameters).
Gauss-Newton towards a target off the sphere follows a great circle, because by symmetry nothing
pulls it sideways. Middle: a vector is carried around a triangle of geodesics without turning
(*parallel transport*), and it returns turned. In a plane it would not. This is how curvature
appears to someone who cannot leave the surface. Right: the turn is the enclosed area times the
curvature `1 / R^2`. It equals the sum of the angles of the triangle minus `pi`.

    exp_p(u) = cos(|u| / R) p + sin(|u| / R) R u / |u|
    turn = area / R^2 = alpha + beta + gamma - pi

Here `p` is a point of the sphere about the origin, `u` is tangent to it at `p`, and `exp_p(u)`
is the point that the geodesic with velocity `u` reaches in unit time.

**In code.** For the library the sphere is only the outputs of a model with two parameters. It
integrates geodesics and differentiates for the curvature:

```python
import jax.numpy as jnp
import riemgn as rg

rg.enable_x64()
M = rg.OutputManifold(rg.task.sphere(radius=2.0))
w = M.problem.w0
p, u = M.embed(w), M.push_forward(w, jnp.array([0.3, 0.8]))
great_circle = jnp.cos(M.norm(u) / 2.0) * p + jnp.sin(M.norm(u) / 2.0) * 2.0 * u / M.norm(u)
assert jnp.allclose(M.embed(M.exp(w, u)), great_circle, atol=1e-8)
assert (
    abs(M.sectional_curvature(w, u, M.push_forward(w, jnp.array([1.0, 0.0]))) - 1 / 2.0**2)
    < 1e-10
)
```

**What it does not show.** A surface of varying curvature: there the turn is the integral of the
curvature over the triangle, and the flow leaves the geodesic on which it starts (see the
torus). It also does not show the poles, where the Jacobian of these parameters loses rank and a
geodesic leaves the chart.

**References.** Boumal, An Introduction to Optimization on Smooth Manifolds (2023), sections 5.8
and 10.3 (geodesics, parallel transport). do Carmo, Differential Geometry of Curves and Surfaces
(1976), sections 4-4, 4-5 (transport, Gauss-Bonnet). Statement C4, angle of the flow derived.
"""

import jax.numpy as jnp
import numpy as np

import riemgn as rg
from riemgn.experiment.verdict import check
from riemgn.plot.manifold import path, surface

START, AIM, DISTANCE = (
    (1.95, -0.25),
    (0.95, 1.5),
    1.6,
)  # polar angle and azimuth of the start and of the target, and how far out that lies
CENTRE, SMALL, LARGE = (
    (1.5, 0.7),
    0.3,
    0.9,
)  # the triangles' centre, and the circumradii (radians) of the smallest and of the largest, which is drawn
RADII = {"1": ("o", "#0072B2"), "2": ("s", "#D55E00")}


def point(polar, azimuth):
    return np.stack(
        np.broadcast_arrays(np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)), axis=-1
    )


def great_circle(p, q, shares):
    """Points of the unit sphere between `p` and `q`, and the velocity at `p` that reaches `q`."""
    angle = np.arccos(p @ q)
    u = (q - np.cos(angle) * p) / np.sin(angle)
    return np.cos(angle * shares)[:, None] * p + np.sin(angle * shares)[:, None] * u, angle * u


def triangle(size):
    """Corners and area of the equilateral triangle of circumradius `size` on the unit sphere."""
    centre, up = point(*CENTRE), -point(CENTRE[0] + np.pi / 2, CENTRE[1])
    ways = 2 * np.pi * np.arange(3)[:, None] / 3
    corners = np.cos(size) * centre + np.sin(size) * (np.cos(ways) * up + np.sin(ways) * np.cross(centre, up))
    return corners, 6 * np.arctan(1 / (np.sqrt(3) * np.cos(size))) - np.pi


def carried(manifold, radius, corners):
    """A unit vector transported around the triangle, at each corner, and its final turn."""
    vectors = []
    for p, q in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        _, velocity = great_circle(p, q, np.ones(1))
        vectors = vectors or [velocity / np.linalg.norm(velocity)]
        place = np.array([np.arccos(p[2]), np.arctan2(p[1], p[0])])
        vectors.append(np.asarray(manifold.parallel_transport(place, vectors[-1], radius * velocity)))
    return np.stack(vectors), np.arctan2(np.cross(vectors[0], vectors[-1]) @ corners[0], vectors[0] @ vectors[-1])


def data(quick, data_dir=None):
    """The flow and its great circle, a carried vector, and turns by area on two spheres."""
    start, aim, arcs, times = point(*START), point(*AIM), np.linspace(0, 1.5, 46), np.linspace(0, 8, 81)
    problem = rg.Problem(rg.task.sphere().model, jnp.array(START), jnp.ones((3, 1)), jnp.asarray(DISTANCE * aim))
    outputs = np.asarray(rg.solve(problem, rg.GaussNewtonFlow(), t1=8.0, ts=times, rtol=1e-10, atol=1e-12).outputs)
    law = 2 * np.arctan(np.tan(np.arccos(start @ aim) / 2) * np.exp(-DISTANCE * times))
    off, angle = (
        outputs @ np.cross(start, aim),
        np.arctan2(np.linalg.norm(np.cross(outputs, aim), axis=1), outputs @ aim),
    )
    manifold, (closed, velocity) = rg.OutputManifold(problem), great_circle(start, aim, arcs)
    geodesic = np.stack([np.asarray(manifold.embed(w)) for w in manifold.geodesic(problem.w0, velocity, arcs)])
    corners, areas = zip(*(triangle(size) for size in np.linspace(SMALL, LARGE, 3 if quick else 7)), strict=True)
    loops = {
        name: [carried(rg.OutputManifold(rg.task.sphere(float(name))), float(name), each) for each in corners]
        for name in RADII
    }
    turns = {name: np.array([turn for _, turn in loop]) for name, loop in loops.items()}
    gaps = {
        "geodesic against the great circle": geodesic - closed,
        "the flow's distance from the plane of the great circle": off,
    }
    gaps["the flow's angle to the target against the closed form"] = angle - law
    gaps |= {f"turns on R = {name} against area / R^2": turns[name] - areas for name in RADII}
    sides = [
        great_circle(p, q, np.linspace(0, 1, 31))[0]
        for p, q in zip(corners[-1], np.roll(corners[-1], -1, axis=0), strict=True)
    ]
    return {
        "ball": point(np.linspace(0, np.pi, 31)[:, None], np.linspace(-np.pi, np.pi, 61)),
        "paths": {"geodesic": geodesic, "chart": point(*np.linspace(START, AIM, 49).T), "gn": outputs},
        "target": np.asarray(problem.y),
        "triangle": {
            "corners": corners[-1],
            "sides": np.concatenate(sides),
            "vectors": loops["1"][-1][0],
            "turn": loops["1"][-1][1],
        },
        "turns": {**turns, "areas": np.array(areas)},  # areas on the unit sphere
        "checks": [check(name, float(np.abs(gap).max()), "at_most", 0.0, 1e-7) for name, gap in gaps.items()],
    }


def draw(data, fig):
    """Left: the flow and its great circle. Middle: a carried vector. Right: turns and areas."""
    fig.set_size_inches(12, 4.8)
    places = fig.add_gridspec(1, 4, width_ratios=(0.09, 1.15, 1.15, 1))  # the first leaves room for a label
    law = fig.add_subplot(places[3])
    flow, loop = (fig.add_subplot(places[k], projection="3d", computed_zorder=False) for k in (1, 2))
    for kind, points in data["paths"].items():
        path(points, ax=flow, kind=kind)
    star = {"marker": "*", "markersize": 11, "color": "#B2182B", "linestyle": "none", "zorder": 13}
    flow.plot(*data["target"][:, None], label="target $y$", **star)
    part, ticks = data["triangle"], (-1, 0, 1)
    loop.plot(*part["sides"].T, color="black", label="geodesic sides", zorder=10)
    labels = {0: "carried along, never turned (dot: its tip)", 3: "back at the start"}
    for index, vector in enumerate(part["vectors"]):
        look = {"color": "#0072B2", "linestyle": "-", "marker": "o", "linewidth": 2.6, "markersize": 6}
        look |= {"color": "#D55E00", "linestyle": ":", "marker": "s"} if index == 3 else {}
        line = part["corners"][index % 3] + np.outer((0.0, 0.5), vector)
        loop.plot(*line.T, markevery=[1], label=labels.get(index), zorder=12, **look)
    turned = f"around a triangle: turned by {np.degrees(part['turn']):.0f} degrees"
    for ax, title in ((flow, "great circles are straight"), (loop, turned)):
        surface(data["ball"], ax=ax)
        ax.set(title=title, xticks=ticks, yticks=ticks, zticks=ticks)
        ax.zaxis.labelpad = -4
        ax.view_init(14, 42)
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.05), ncols=2 if ax is flow else 1)
    for name, (marker, colour) in RADII.items():
        areas = float(name) ** 2 * data["turns"]["areas"]
        line = {"color": "0.5", "linestyle": "--", "linewidth": 1.1, "label": "area$/R^2$" if name == "1" else None}
        law.plot(areas, data["turns"]["areas"], **line)
        dots = {"marker": marker, "color": colour, "linestyle": "none", "markersize": 6}
        law.plot(areas, data["turns"][name], label=f"$R = {name}$, measured", **dots)
    law.set(xlabel="area of the triangle (unit of $y$, squared)", ylabel="turn (radians)")
    law.set_title("the turn is area times curvature")
    law.legend(loc="lower right")
