"""The output manifold: what "the Gauss-Newton flow is a Riemannian gradient flow" means, in four pictures.

What to see. (a) All outputs a model can produce form a curved set M; the residual y - f splits into a part along M and a part normal to it, and
Gauss-Newton moves with the first: psi' = P (y - psi). (b) On a torus the flow takes the path that the surface offers, whatever the coordinates;
colour is Gauss curvature. (c) Three ways to take one finite step from a tangent vector, and how fast each approaches the geodesic. (d) Curvature
decides the rate: towards a target inside the circle the flow is slower than on a flat M, outside it is faster.

    M = f(W),  P = J J^+,  psi' = -P grad g(psi),  tan(phi_t / 2) = tan(phi_0 / 2) exp(-(s / R) t)

What it does not show: a neural network's M has as many dimensions as parameters; the pictures are of M with one or two.

Reference: theory.md sections 2 and 4; Cayci, arXiv:2412.14031v4.
"""

import jax
import jax.numpy as jnp
import numpy as np

import riemgn as rg
from paper_repro.checks import check
from riemgn.plot.manifold import curve, normal_residual, path, surface

STEPS = np.logspace(-3, 0, 13)
TARGETS = (0.5, 1.0, 2.0)  # s / R: inside, on and outside the circle
KINDS = {"chart": 2, "corrected": 3, "projection": 3}


def data(quick, data_dir=None):
    """Everything the four panels draw, as arrays."""
    circle, torus, orders, rates = circle_parts(), torus_parts(41 if quick else 81), retraction_errors(), angle_laws()
    checks = [
        check("normal part of the residual, largest share that is tangent", circle["tangency"], "at_most", 0.0, 1e-12),
        check("Gauss curvature of the torus against cos v / (r (R + r cos v))", torus["curvature_error"], "at_most", 0.0, 1e-10),
        check("Gauss-Newton on the torus in two charts, largest gap", torus["chart_gap"], "at_most", 0.0, 1e-7),
        *(check(f"order of the {kind} step's error", orders["slopes"][kind], "equal", float(order), 0.1) for kind, order in KINDS.items()),
        check("angle on the circle against the closed form", rates["error"], "at_most", 0.0, 1e-7),
    ]
    return {"circle": circle, "torus": torus, "orders": orders, "rates": rates, "checks": checks}


def circle_parts():
    """One point of the circle with its residual taken apart, and the flow from there."""
    problem = rg.task.circle(radius=2.0, target=3.2, angle=1.9)
    manifold, w = rg.OutputManifold(problem), problem.w0
    residual = problem.y - manifold.embed(w)
    tangent, normal = manifold.to_tangent(w, residual), manifold.normal_part(w, residual)
    traj = rg.solve(problem, rg.GaussNewton(), t1=6.0, ts=np.linspace(0, 6, 121), rtol=1e-10, atol=1e-12)
    whole = np.linspace(-np.pi, np.pi, 181)
    return {
        "curve": 2.0 * np.stack([np.cos(whole), np.sin(whole)], axis=1),
        "path": np.asarray(traj.outputs),
        "target": np.asarray(problem.y),
        "tangent": np.asarray(tangent),
        "normal": np.asarray(normal),
        "tangency": float(jnp.abs(normal @ tangent) / (jnp.linalg.norm(normal) * jnp.linalg.norm(tangent))),
    }


def torus_parts(resolution):
    """The surface with its curvature, Gauss-Newton in two charts, gradient flow, and a geodesic beside a straight line of the chart."""
    problem = rg.task.torus(start=(2.4, 2.2))
    manifold, w = rg.OutputManifold(problem), problem.w0
    angles = np.linspace(-np.pi, np.pi, resolution)
    grid = jnp.stack(jnp.meshgrid(angles, angles, indexing="ij"), axis=-1)
    along = [jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])]

    def curvature(w):
        u, v = (manifold.push_forward(w, a) for a in along)
        return manifold.sectional_curvature(w, u, v)

    points = jax.vmap(jax.vmap(manifold.embed))(grid)
    measured = jax.jit(jax.vmap(jax.vmap(curvature)))(grid)
    closed = jnp.cos(grid[..., 1]) / (0.7 * (2.0 + 0.7 * jnp.cos(grid[..., 1])))
    moved_problem = rg.task.reparametrised(problem, 20.0, key=jax.random.key(3))
    times = np.linspace(0, 12, 97)
    tolerances = {"t1": 12.0, "ts": times, "rtol": 1e-10, "atol": 1e-12}
    gn = rg.solve(problem, rg.GaussNewton(), **tolerances)
    moved = rg.solve(moved_problem, rg.GaussNewton(), **tolerances)
    gf = rg.solve(moved_problem, rg.GradientFlow(), t1=400.0, ts=np.append(0.0, np.geomspace(1e-2, 400, 200)))
    u = manifold.push_forward(w, jnp.array([-0.9, 0.9]))
    line = w + np.linspace(0, 2.2, 45)[:, None] * np.array([-0.9, 0.9])
    geodesic = manifold.geodesic(w, u, np.linspace(0, 2.2, 45))
    return {
        "points": np.asarray(points),
        "curvature": np.asarray(measured),
        "curvature_error": float(jnp.abs(measured - closed).max()),
        "gn": np.asarray(gn.outputs),
        "gf_moved": np.asarray(gf.outputs),
        "chart_gap": float(jnp.abs(gn.outputs - moved.outputs).max()),
        "target": np.asarray(problem.y),
        "geodesic": np.asarray(jax.vmap(manifold.embed)(geodesic)),
        "line": np.asarray(jax.vmap(manifold.embed)(jnp.asarray(line))),
    }


def retraction_errors():
    """Distance between a retracted step and the geodesic, for a small network's output manifold (12 outputs, 6 dimensions)."""
    problem = rg.teacher_student(n=12, width=1, inputs=3, cond=5.0, key=jax.random.key(0))
    manifold, w = rg.OutputManifold(problem), problem.w0
    u = manifold.random_tangent(w, key=jax.random.key(1))
    u = u / jnp.linalg.norm(manifold.second_fundamental_form(w, u, u))  # one unit of step bends by about one unit
    errors = {}
    for kind in KINDS:

        def gap(h, kind=kind):
            return jnp.linalg.norm(manifold.embed(manifold.retract(w, h * u, kind)) - manifold.embed(manifold.exp(w, h * u)))

        errors[kind] = np.asarray(jax.jit(jax.vmap(gap))(jnp.asarray(STEPS)))
    small = slice(2, 8)
    slopes = {kind: float(np.polyfit(np.log(STEPS[small]), np.log(errors[kind][small]), 1)[0]) for kind in KINDS}
    return {"steps": STEPS, "errors": errors, "slopes": slopes, "n": problem.n, "dim": manifold.dim}


def angle_laws():
    """Angle to the target over time for targets inside, on and outside the circle, measured and in closed form."""
    times = np.linspace(0, 8, 65)
    curves, worst = {}, 0.0
    for s in TARGETS:
        problem = rg.task.circle(radius=1.0, target=s, angle=1.0)
        traj = rg.solve(problem, rg.GaussNewton(), t1=8.0, ts=times, rtol=1e-10, atol=1e-12)
        measured = np.asarray(traj.params[:, 0])
        closed = 2 * np.arctan(np.tan(0.5) * np.exp(-s * times))
        curves[f"{s:g}"] = {"measured": measured, "closed": closed}
        worst = max(worst, float(np.abs(measured - closed).max()))
    return {"times": times, "curves": curves, "error": worst}


def draw(data, fig):
    """Four panels, read from left to right and top to bottom."""
    fig.set_size_inches(11, 9)
    fig.set_layout_engine("constrained", w_pad=0.1, h_pad=0.12, wspace=0.04, hspace=0.04)
    grid = fig.add_gridspec(2, 2)
    circle_panel(fig.add_subplot(grid[0, 0]), data["circle"])
    torus_panel(fig.add_subplot(grid[0, 1], projection="3d", computed_zorder=False), data["torus"])
    order_panel(fig.add_subplot(grid[1, 0]), data["orders"])
    rate_panel(fig.add_subplot(grid[1, 1]), data["rates"])


def circle_panel(ax, part):
    start = part["path"][0]
    curve(part["curve"], ax=ax, label="$M$: all outputs of the model")
    for vector, style, name in ((part["tangent"], "-", r"tangent part $P(y - f)$: the velocity"), (part["normal"], ":", "normal part: not felt")):
        ax.annotate("", start + vector, start, arrowprops={"arrowstyle": "-|>", "linestyle": style, "linewidth": 1.8, "color": "black"}, zorder=12)
        ax.plot([], [], color="black", linestyle=style, label=name)
    normal_residual(start, part["target"], ax=ax)
    path(part["path"], ax=ax, kind="gn")
    ax.set_aspect("equal", adjustable="box")
    ax.set(title="(a) the residual splits; Gauss-Newton moves with its tangent part", xlim=(-2.3, 3.6), ylim=(-2.2, 3.1))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)


def torus_panel(ax, part):
    surface(part["points"], part["curvature"], ax=ax)
    ax.plot(*part["target"][:, None], marker="*", markersize=11, color="#B2182B", linestyle="none", label="target $y$", zorder=13)
    path(part["gf_moved"], ax=ax, kind="gf", label="gradient flow, other coordinates")
    path(part["gn"], ax=ax, kind="gn", label="Gauss-Newton, any coordinates")
    path(part["geodesic"], ax=ax, kind="geodesic")
    path(part["line"], ax=ax, kind="chart")
    ax.view_init(38, 62)
    ax.set_title("(b) the flow belongs to the surface, not to its coordinates")
    ax.legend(loc="upper left", bbox_to_anchor=(-0.12, 0.02), ncols=2)


def order_panel(ax, part):
    looks = {"chart": ("P", "#CC79A7", "--"), "corrected": ("s", "#009E73", "-."), "projection": ("o", "#0072B2", "-")}
    for kind, (marker, colour, dash) in looks.items():
        label = f"{kind}: slope {part['slopes'][kind]:.2f}"
        ax.loglog(part["steps"], part["errors"][kind], marker=marker, color=colour, linestyle=dash, label=label)
    for order, first in ((2, part["errors"]["chart"][0]), (3, part["errors"]["projection"][0])):
        ax.loglog(part["steps"], 3 * first * (part["steps"] / part["steps"][0]) ** order, color="0.6", linewidth=0.9, linestyle=":")
        ax.annotate(
            f"slope {order}",
            (part["steps"][5], 3 * first * (part["steps"][5] / part["steps"][0]) ** order),
            (-32, 5),
            textcoords="offset points",
            color="0.4",
        )
    ax.set(
        xlabel=r"step $t$ (multiples of the radius of curvature along $u$)",
        ylabel=r"$|R(t u) - \exp(t u)|$ (units of the outputs)",
        title=f"(c) retractions of a tanh network ({part['n']} outputs, dimension {part['dim']})",
    )
    ax.legend(loc="lower right")


def rate_panel(ax, part):
    looks = {"0.5": ("v", "#D55E00"), "1": ("o", "#0072B2"), "2": ("^", "#009E73")}
    words = {"0.5": "inside the circle", "1": "on the circle", "2": "outside"}
    for s, entry in part["curves"].items():
        marker, colour = looks[s]
        ax.semilogy(part["times"], entry["closed"], color="0.5", linestyle="--", linewidth=1.1)
        label = f"target {words[s]}, s / R = {s}"
        ax.semilogy(part["times"][::4], entry["measured"][::4], marker=marker, color=colour, linestyle="none", label=label)
    ax.plot([], [], color="0.5", linestyle="--", label=r"closed form, rate $\to s/R$")
    ax.set(
        xlabel="time $t$ (the flow's own)",
        ylabel=r"angle to the target $\varphi_t$ (radians)",
        ylim=(1e-7, 3),
        title="(d) curvature decides the rate",
    )
    ax.legend(loc="lower left")
