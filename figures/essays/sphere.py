"""Straight on a sphere: great circles, and vectors that come back turned.

**What to see.** Left: a geodesic, the path that never turns left or right on the surface, is a great circle on the sphere, not a straight line of
latitude and longitude (the parameters). Gauss-Newton towards a target off the sphere follows one, since by symmetry nothing pulls it to a side.
Middle: a vector is carried around a triangle of geodesics and never turned on the way (*parallel transport*); it comes back turned. In a plane it
would not: this is how curvature shows to someone who cannot leave the surface. Right: the turn is the enclosed area times the curvature `1 / R^2`,
and equals what the angles of the triangle sum to beyond half a turn.

    exp_p(u) = cos(|u| / R) p + sin(|u| / R) R u / |u|,    turn = area / R^2 = alpha + beta + gamma - pi

Here `p` is a point of the sphere about the origin, `u` a tangent vector there, and `exp_p(u)` the end of the geodesic that starts with velocity `u`,
after unit time.

**In code.** The library knows the sphere only as the outputs of a model of two parameters; geodesics are integrated and curvature comes from its
derivatives:

```python
import jax.numpy as jnp
import riemgn as rg

rg.enable_x64()
M = rg.OutputManifold(rg.task.sphere(radius=2.0))
w = M.problem.w0
p, u = M.embed(w), M.push_forward(w, jnp.array([0.3, 0.8]))
angle = M.norm(u) / 2.0
great_circle = jnp.cos(angle) * p + jnp.sin(angle) * 2.0 * u / M.norm(u)
assert jnp.allclose(M.embed(M.exp(w, u)), great_circle, atol=1e-8)
assert abs(M.sectional_curvature(w, u, M.push_forward(w, jnp.array([1.0, 0.0]))) - 1 / 2.0**2) < 1e-10
```

**What it does not show.** A surface whose curvature varies: there the turn is the integral of the curvature over the triangle, and the flow leaves
the geodesic on which it starts (the torus). Nor the poles, where these parameters have no Jacobian of full rank and the geodesic leaves the chart.

**References.** Boumal, An Introduction to Optimization on Smooth Manifolds (2023), sections 5.8 (geodesics) and 10.3 (parallel transport); do Carmo,
Differential Geometry of Curves and Surfaces (1976), sections 4-4 and 4-5 (transport, Gauss-Bonnet); Cayci, arXiv:2412.14031v4; the flow's angle
derived, theory.md C4.
"""

import jax.numpy as jnp
import numpy as np

import riemgn as rg
from paper_repro.checks import check
from riemgn.plot.manifold import path, surface

START, AIM, DISTANCE = (1.95, -0.25), (0.95, 1.5), 1.6  # polar angle and azimuth of the start and of the target, and how far out that lies
CENTRE, SHOWN = (1.5, 0.7), 0.9  # the triangles' centre, and the circumradius (radians) of the one that is drawn
RADII = {"1": ("o", "#0072B2"), "2": ("s", "#D55E00")}
VIEW = (14, 42)


def point(polar, azimuth):
    return np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar) + 0 * azimuth], axis=-1)


def great_circle(p, q, shares):
    """Points of the unit sphere at shares of the way from `p` to `q`, and the velocity at `p` that gets to `q` in unit time."""
    angle = np.arccos(p @ q)
    velocity = angle * (q - np.cos(angle) * p) / np.sin(angle)
    return np.cos(angle * shares)[:, None] * p + np.sin(angle * shares)[:, None] * velocity / angle, velocity


def triangle(size):
    """Corners of the equilateral triangle of circumradius `size` on the unit sphere, anticlockwise, and its area."""
    centre = point(*CENTRE)
    up = -point(CENTRE[0] + np.pi / 2, CENTRE[1])
    turns = 2 * np.pi * np.arange(3)[:, None] / 3
    corners = np.cos(size) * centre + np.sin(size) * (np.cos(turns) * up + np.sin(turns) * np.cross(centre, up))
    return corners, 6 * np.arctan(1 / (np.sqrt(3) * np.cos(size))) - np.pi


def carried(manifold, radius, corners):
    """A unit vector transported around the triangle, at its three corners and back at the first; and by what angle it comes back turned."""
    vectors = []
    for p, q in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        velocity = radius * great_circle(p, q, np.ones(1))[1]
        vectors = vectors or [velocity / np.linalg.norm(velocity)]
        place = np.array([np.arccos(p[2]), np.arctan2(p[1], p[0])])
        vectors.append(np.asarray(manifold.parallel_transport(place, vectors[-1], velocity)))
    first, last = vectors[0], vectors[-1]
    return np.stack(vectors), float(np.arctan2(np.cross(first, last) @ corners[0], first @ last))


def data(quick, data_dir=None):
    """The flow and its great circle, a carried vector, and turns against areas on spheres of two radii."""
    start, aim, arcs, times = point(*START), point(*AIM), np.linspace(0, 1.5, 46), np.linspace(0, 8, 81)
    sphere = rg.task.sphere(polar=START[0], azimuth=START[1])
    problem = rg.Problem(sphere.model, sphere.params, sphere.x, jnp.asarray(DISTANCE * aim))
    outputs = np.asarray(rg.solve(problem, rg.GaussNewton(), t1=8.0, ts=times, rtol=1e-10, atol=1e-12).outputs)
    law = 2 * np.arctan(np.tan(np.arccos(start @ aim) / 2) * np.exp(-DISTANCE * times))
    off, angle = outputs @ np.cross(start, aim), np.arctan2(np.linalg.norm(np.cross(outputs, aim), axis=1), outputs @ aim)
    manifold, (closed, velocity) = rg.OutputManifold(problem), great_circle(start, aim, arcs)
    geodesic = np.stack([np.asarray(manifold.embed(w)) for w in manifold.geodesic(problem.w0, velocity, arcs)])
    triangles = [triangle(size) for size in np.linspace(0.3, 1.15, 3 if quick else 6)]
    turns = {"areas": np.array([area for _, area in triangles]), "turns": {}}  # areas on the unit sphere
    for radius in RADII:
        ball = rg.OutputManifold(rg.task.sphere(float(radius)))
        turns["turns"][radius] = np.array([carried(ball, float(radius), corners)[1] for corners, _ in triangles])
    corners, area = triangle(SHOWN)
    sides = np.concatenate([great_circle(p, q, np.linspace(0, 1, 31))[0] for p, q in zip(corners, np.roll(corners, -1, axis=0), strict=True)])
    vectors, turn = carried(manifold, 1.0, corners)
    return {
        "ball": point(*np.meshgrid(np.linspace(0, np.pi, 31), np.linspace(-np.pi, np.pi, 61), indexing="ij")),
        "paths": {"geodesic": geodesic, "chart": point(*np.linspace(START, AIM, 49).T), "gn": outputs},
        "target": np.asarray(problem.y),
        "triangle": {"corners": corners, "sides": sides, "vectors": vectors, "turn": turn},
        "turns": turns,
        "checks": [
            check("geodesic against the great circle", float(np.abs(geodesic - closed).max()), "at_most", 0.0, 1e-8),
            check("the flow's distance from the plane of the great circle", float(np.abs(off).max()), "at_most", 0.0, 1e-8),
            check("the flow's angle to the target against the closed form", float(np.abs(angle - law).max()), "at_most", 0.0, 1e-7),
            check("turn around the triangle that is drawn, against its area", turn, "equal", float(area), 1e-8),
            *(
                check(f"turns on R = {name} against area / R^2", float(np.abs(turns["turns"][name] - turns["areas"]).max()), "at_most", 0.0, 1e-8)
                for name in RADII
            ),
        ],
    }


def draw(data, fig):
    """Left the flow and its great circle, in the middle a carried vector, right turns against areas."""
    fig.set_size_inches(12, 4.8)
    places = fig.add_gridspec(1, 3, width_ratios=(1.15, 1.15, 1))
    flow, loop = (fig.add_subplot(places[k], projection="3d", computed_zorder=False) for k in (0, 1))
    for ax in (flow, loop):
        surface(data["ball"], ax=ax)
    for kind, points in data["paths"].items():
        path(points, ax=flow, kind=kind)
    flow.plot(*data["target"][:, None], marker="*", markersize=11, color="#B2182B", linestyle="none", label="target $y$", zorder=13)
    part, ticks = data["triangle"], (-1, 0, 1)
    loop.plot(*part["sides"].T, color="black", label="geodesic sides", zorder=10)
    for index, vector in enumerate(part["vectors"]):
        arrow = part["corners"][index % 3] + np.outer((0.0, 0.5), vector)
        look = {"color": "#D55E00", "linestyle": ":", "marker": "s"} if index == 3 else {"color": "#0072B2", "linestyle": "-", "marker": "o"}
        label = {0: "carried along, never turned (dot: its tip)", 3: "back at the start"}.get(index)
        loop.plot(*arrow.T, linewidth=2.6, markevery=[1], markersize=6, label=label, zorder=12, **look)
    for ax, title in ((flow, "great circles are straight"), (loop, f"around a triangle: turned by {np.degrees(part['turn']):.0f} degrees")):
        ax.set(title=title, xticks=ticks, yticks=ticks, zticks=ticks)
        ax.view_init(*VIEW)
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.05), ncols=2 if ax is flow else 1)
    law = fig.add_subplot(places[2])
    for radius, (marker, colour) in RADII.items():
        areas = float(radius) ** 2 * data["turns"]["areas"]
        law.plot(areas, data["turns"]["areas"], color="0.5", linestyle="--", linewidth=1.1, label="area$/R^2$" if radius == "1" else None)
        law.plot(
            areas, data["turns"]["turns"][radius], marker=marker, color=colour, linestyle="none", markersize=6, label=f"$R = {radius}$, measured"
        )
    law.set(
        xlabel="area of the triangle (unit of the outputs, squared)",
        ylabel="turn of the carried vector (radians)",
        title="the turn is area times curvature",
    )
    law.legend(loc="lower right")
