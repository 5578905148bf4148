"""The flow belongs to the surface, not to its coordinates.

**What to see.** The outputs of this model are a torus. Its two parameters are the angle `w_1`
around the hole and `w_2` around the tube. Both flows run twice, in these coordinates and in
slanted ones, `w = w_0 + A v`. Gradient flow takes two different paths over the surface, because
the steepest direction depends on the units and axes of the parameters. Gauss-Newton takes one
path, the steepest descent of the loss as measured on the surface itself (left; right the same
paths as angles). All other quantities that you can measure without leaving the surface are the
same in all coordinates too. The colour shows the Gauss curvature `K`. It is positive on the
outside, where the torus bends like a ball, and negative at the hole, where it bends like a
saddle.

    J_v = J_w A,    range J_v = range J_w,    P_v = P_w,    K = cos w_2 / (r (R + r cos w_2))

Here `J` is the Jacobian of the outputs in either coordinates, `P` the projection onto its
range, `R = 2` the radius of the ring and `r = 0.7` that of the tube.

**In code.** The Riemannian gradient and the curvature from the Jacobians of two charts:

```python
import jax.numpy as jnp
import riemgn as rg

rg.enable_x64()
problem = rg.task.torus(start=(2.4, 2.2))
slanted = problem.reparametrise(jnp.array([[1.0, 0.2], [0.9, 0.4]]))
M, N = rg.OutputManifold(problem), rg.OutputManifold(slanted)
w, v = problem.w0, slanted.w0  # the same point
a, b = M.push_forward(w, jnp.array([1.0, 0.0])), M.push_forward(w, jnp.array([0.0, 1.0]))
assert jnp.allclose(M.riemannian_grad(w), N.riemannian_grad(v))
assert abs(M.sectional_curvature(w, a, b) - N.sectional_curvature(v, a, b)) < 1e-10
assert (
    abs(M.sectional_curvature(w, a, b) - jnp.cos(2.2) / (0.7 * (2.0 + 0.7 * jnp.cos(2.2))))
    < 1e-10
)
```

**What it does not show.** That the path is short or fast: it is not a geodesic, and the speed
of the flow depends on the curvature of the surface, in these coordinates as in all others. It
also does not show rounding: if the Jacobian has the condition number 1e12, the path is the same
in exact arithmetic but loses digits on a computer. The slanted coordinates here are linear.
"One trajectory, two spaces" has curved ones.

**References.** Cayci, arXiv:2412.14031v4. do Carmo, Differential Geometry of Curves and
Surfaces (1976), section 3-3 (curvature of the torus). Statement C3, derived.
"""

import jax.numpy as jnp
import numpy as np

import riemgn as rg
from riemgn.experiment.verdict import check
from riemgn.plot.manifold import path, surface

MAJOR, MINOR, START = 2.0, 0.7, (2.4, 2.2)
CHARTS = {"angles": ((1.0, 0.0), (0.0, 1.0)), "slanted": ((1.0, 0.2), (0.9, 0.4))}
HORIZONS = {"gn": 12.0, "gf": 60.0}
LABELS = {
    "gn angles": "Gauss-Newton, both charts",
    "gf angles": "gradient flow, angles",
    "gf slanted": "gradient flow, slanted",
}
KINDS = {"gn angles": "gn", "gf angles": "gf", "gf slanted": "interpolated"}


def data(quick, data_dir=None):
    """The surface with its curvature, and both flows in both charts."""
    grid, count, start = np.linspace(-np.pi, np.pi, 41 if quick else 61), 121 if quick else 241, np.array(START)
    problem, runs = rg.task.torus(MAJOR, MINOR, start=START), {}
    for flow, kind in (("gn", rg.GaussNewtonFlow()), ("gf", rg.GradientFlow())):
        times = np.append(0.0, np.geomspace(1e-2, HORIZONS[flow], count))
        for (
            chart,
            matrix,
        ) in CHARTS.items():  # the identity too is written as a matrix: charts of one form share a compiled program
            traj = rg.solve(
                problem.reparametrise(jnp.array(matrix)), kind, t1=HORIZONS[flow], ts=times, rtol=1e-10, atol=1e-12
            )
            runs[f"{flow} {chart}"] = {
                "outputs": np.asarray(traj.outputs),
                "angles": start + np.asarray(traj.params) @ np.array(matrix).T,
            }
    measured, closed = curvature(problem, grid), np.cos(grid) / (MINOR * (MAJOR + MINOR * np.cos(grid)))
    gaps = {
        flow: float(np.abs(runs[f"{flow} angles"]["outputs"] - runs[f"{flow} slanted"]["outputs"]).max())
        for flow in HORIZONS
    }
    nearest = np.array([MAJOR + MINOR, 0.0, 0.0])
    return {
        "points": torus_points(*np.meshgrid(grid, grid, indexing="ij")),
        "curvature": np.tile(measured, (len(grid), 1)),
        "runs": runs,
        "target": np.asarray(problem.y),
        "checks": [
            check(
                "Gauss curvature against cos w_2 / (r (R + r cos w_2))",
                float(np.abs(measured - closed).max()),
                "at_most",
                0.0,
                1e-10,
            ),
            check("Gauss-Newton in two charts, largest gap of the outputs", gaps["gn"], "at_most", 0.0, 1e-7),
            check("gradient flow in two charts, largest gap of the outputs", gaps["gf"], "at_least", 0.5, 0.0),
            check(
                "Gauss-Newton ends at the nearest point",
                float(np.linalg.norm(runs["gn slanted"]["outputs"][-1] - nearest)),
                "at_most",
                0.0,
                1e-2,
            ),
        ],
    }


def torus_points(u, v):
    ring = MAJOR + MINOR * np.cos(v)
    return np.stack([ring * np.cos(u), ring * np.sin(u), MINOR * np.sin(v)], axis=-1)


def curvature(problem, grid):
    """Gauss curvature at the angles `grid` around the tube."""
    manifold = rg.OutputManifold(problem)

    def at(v):
        w = jnp.array([START[0], v])
        return manifold.sectional_curvature(w, *(manifold.push_forward(w, unit) for unit in jnp.eye(2)))

    return np.array([float(at(v)) for v in grid])


def draw(data, fig):
    """Left: the surface. Right: the plane of its angles."""
    fig.set_size_inches(12, 4.8)
    places = fig.add_gridspec(1, 2, width_ratios=(1.7, 1))
    space, plane = fig.add_subplot(places[0], projection="3d", computed_zorder=False), fig.add_subplot(places[1])
    surface(data["points"], data["curvature"], ax=space)
    space.plot(
        *data["target"][:, None],
        marker="*",
        markersize=11,
        color="#B2182B",
        linestyle="none",
        label="target $y$",
        zorder=13,
    )
    for name, kind in KINDS.items():
        path(data["runs"][name]["outputs"], ax=space, kind=kind, label=LABELS[name])
        path(data["runs"][name]["angles"], ax=plane, kind=kind, label="_")
    other = data["runs"]["gn slanted"]["angles"]
    plane.plot(
        *other[:: len(other) // 24].T,
        marker="o",
        markersize=8,
        markerfacecolor="none",
        color="black",
        linestyle="none",
        label="Gauss-Newton, run slanted",
        zorder=12,
    )
    plane.axhline(np.pi / 2, color="black", linestyle=(0, (1, 1.2)), linewidth=0.9)
    plane.annotate("$K = 0$", (1.0, np.pi / 2), (0, 3), textcoords="offset points")
    space.view_init(38, 62)
    space.set_title("on the surface: colour is curvature")
    plane.set(
        xlabel="angle around the hole $w_1$ (radians)",
        ylabel="angle around the tube $w_2$ (radians)",
        ylim=(-0.2, 3.3),
        aspect="auto",
        title="the same paths in the angles",
    )
    space.legend(loc="upper left", bbox_to_anchor=(-0.05, 0.02), ncols=3)
    plane.legend(loc="lower right")
