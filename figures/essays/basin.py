r"""The basin in which full steps converge quadratically.

**What to see.** A full Gauss-Newton step `w_+ = w - J^+ r` with the residual `r = f - y` solves
the problem as if `f` were linear. The residual that remains comes from the curvature of `f`
along the step. If all targets can be met, the remainder is quadratic in `r`. Its constant
depends on the Lipschitz constant `L` of `J` and on its smallest singular value `s`. Here the
model is `f(u, v) = u v` with the target 1, so that `L = 1` and you know the step exactly.

Left: one step multiplies `|r|` by at most `q = L |r| / (2 s^2)`. In the *basin* `q < 1/4`, one
step reduces `s` by at most half, and the next `q` is at most `(q / (1 - 2q))^2 < q`. The number
of correct digits then doubles with each step. Outside the basin a step can increase the residual.
Middle: from `u = v = 0.1` the residual grows 25 times, then shrinks by a factor of only 4 per
step, and converges quadratically once it is in the basin.

Right: if the targets can *not* all be met, the residual keeps a part normal to the output
manifold, and curvature enters at first order. For a circle of radius `R` and a target at
distance `s` from its centre, each step multiplies the angle to the target by about `1 - s/R`.
Full steps then converge linearly, or not at all if `s > 2R`:

    |r_+| <= L / (2 s_min^2) |r|^2
    product:  r_+ = u v r^2 / (u^2 + v^2)^2,     circle:  phi_+ = phi - (s/R) sin(phi)

**In code.** The bound is attained if `u = v`:

```python
import jax.numpy as jnp
import riemgn as rg

rg.enable_x64()
problem = rg.Problem(
    lambda w, x: w[:1] * w[1:], jnp.array([1.3, 1.3]), jnp.zeros((1, 1)), jnp.ones(1)
)
traj = rg.iterate(problem, rg.GaussNewton(step_size=1.0), steps=3)
r, s = traj.outputs[:, 0] - 1, traj.sigma_min
assert jnp.allclose(r[1:], r[:-1] ** 2 / (2 * s[:-1] ** 2))
assert abs(r[3]) < 1e-6 < 1e-2 < abs(r[1])
```

**What it does not show.** How to get into the basin: shorter steps follow the flow, and damping
or a line search keeps the loss from rising. The bound is sufficient, not necessary, so steps
from outside can also converge. For the circle with `s = R`, a target that can be met,
convergence is even cubic, because the parameter of the circle is its arc length.

**References.** Nocedal and Wright, Numerical Optimization, section 10.3. Deuflhard, Newton
Methods for Nonlinear Problems, chapter 4. Cai et al., arXiv:1905.11675v2. Statements C4 and C9
(b), derived.
"""

import numpy as np

import riemgn as rg
from riemgn.experiment.verdict import check
from riemgn.plot import flow_style

STARTS = {"1.3 1.3": "o", "2.5 0.2": "s", "-0.6 -2": "v", "0.3 0.3": "D", "0.1 0.1": "^"}  # (u, v): marker
INSIDE, OUTSIDE = 3, 2  # how many of them start in the basin, and how many do not
RATIOS = {0.3: ("o", "-"), 1.5: ("s", "--"), 2.5: ("^", ":")}  # s / R: marker, dash
ANGLE = 0.1
STEPS = {True: 12, False: 16}
EDGE = 0.25  # of the basin, in q
FLOOR = 1e-14  # residuals below it are rounding


def product(w, x):
    return w[:1] * w[1:]


def data(quick, data_dir=None):
    """Residuals of full steps on the product with their bound, and angles on the circle."""
    runs, above, further, apart, steps = {}, [], [], [], []
    for name in STARTS:
        problem = rg.Problem(product, np.array(name.split(), float), np.zeros((1, 1)), np.ones(1))
        traj = rg.iterate(problem, rg.GaussNewton(step_size=1.0), steps=STEPS[quick])
        (u, v), r = np.asarray(traj.params).T, np.asarray(traj.outputs)[:, 0] - 1
        q = np.abs(r) / (2 * (u**2 + v**2))
        shown = np.abs(r[1:]) > FLOOR
        ratio = np.abs(r[1:] / np.where(r[:-1] == 0, 1, r[:-1]))
        above.append((np.abs(r[1:]) - q[:-1] * np.abs(r[:-1])).max())
        apart.append(np.abs(r[1:] - (u * v * r**2 / (u**2 + v**2) ** 2)[:-1]).max() / np.abs(r).max())
        steps.append(int(np.argmax(np.abs(r) < 1e-10)))
        if q[0] < EDGE:
            further.append((q[1:] - (q[:-1] / (1 - 2 * q[:-1])) ** 2).max())
        runs[name] = {"residuals": np.abs(r)[np.abs(r) > FLOOR], "q": q[:-1][shown], "ratio": ratio[shown]}
    growth = runs["0.1 0.1"]["ratio"][0]
    circles, on_circles = circle_data(STEPS[quick])
    checks = [
        check("residual after a step over its bound, largest excess", float(max(above)), "at_most", 0.0, 1e-13),
        check("next q in the basin over (q / (1 - 2q))^2, largest excess", float(max(further)), "at_most", 0.0, 1e-13),
        check("residual after a step against the closed form, relative", float(max(apart)), "at_most", 0.0, 1e-13),
        check("steps to 1e-10 from the basin, most", max(steps[:INSIDE]), "at_most", 6, 0),
        check("first step from u = v = 0.1: factor of the residual", growth, "equal", 0.99 / 0.04, 1e-9),
        *on_circles,
    ]
    return {"runs": runs, "circles": circles, "line": np.array([1e-8, 40.0]), "checks": checks}


def circle_data(steps):
    """Angles of full steps on circles, and their checks."""
    circles, checks = {}, []
    for ratio in RATIOS:
        problem = rg.task.circle(radius=1.0, target=ratio, angle=ANGLE)
        traj = rg.iterate(problem, rg.GaussNewton(step_size=1.0), steps=steps)
        angle = np.asarray(traj.params)[:, 0]
        circles[f"{ratio:g}"] = {"measured": np.abs(angle), "line": ANGLE * abs(1 - ratio) ** np.arange(len(angle))}
        error = float(np.abs(angle[1:] - (angle - ratio * np.sin(angle))[:-1]).max())
        checks.append(check(f"angles at s / R = {ratio:g} against the closed form", error, "at_most", 0.0, 1e-13))
        if ratio < 2:
            last = float(abs(angle[-1] / angle[-2]))
            checks.append(check(f"last factor at s / R = {ratio:g}", last, "equal", abs(1 - ratio), 1e-3))
    first = float(abs(circles["2.5"]["measured"][1] / ANGLE))
    return circles, [*checks, check("growth at s / R = 2.5, first step", first, "equal", 1.5, 1e-2)]


def draw(data, fig):
    """Left: factor of one step and its bound. Middle: residuals. Right: angles on the circle."""
    fig.set_size_inches(11, 4)
    left, middle, right = fig.subplots(1, 3)
    inside, outside = flow_style("gn")["color"], flow_style("gf")["color"]
    left.loglog(data["line"], data["line"], color="0.45", linestyle="--", label="bound: factor $= q$")
    left.axvline(EDGE, color="black", linewidth=0.8, linestyle=":", label="$q = 1/4$, the basin's edge")
    for place, ((name, run), marker) in enumerate(zip(data["runs"].items(), STARTS.values(), strict=True)):
        colour = inside if place < INSIDE else outside
        left.plot(run["q"], run["ratio"], marker=marker, color=colour, linestyle="none")
        label = "$(u, v) = ({}, {})$".format(*name.split())
        middle.semilogy(
            run["residuals"],
            marker=marker,
            color=colour,
            linestyle="-" if place < INSIDE else "--",
            linewidth=1,
            label=label,
        )
    for ratio, (marker, dash) in RATIOS.items():
        run = data["circles"][f"{ratio:g}"]
        right.semilogy(
            run["measured"], marker=marker, color="#009E73", linestyle="none", label=f"$s/R = {ratio}$, measured"
        )
        right.semilogy(
            run["line"], color="0.45", linestyle=dash, linewidth=1.1, label=rf"$\times {abs(1 - ratio):.1f}$ a step"
        )
    left.set(
        xlabel=r"$q = L|r|/(2 s_{\min}^2)$ before the step",
        ylabel="$|r_+|/|r|$, factor of one step",
        title="target met: a step's factor is at most $q$",
    )
    left.set(ylim=(1e-8, 100))
    middle.set(
        xlabel="step",
        ylabel="residual $|r|$ (unit of $y$)",
        ylim=(FLOOR / 3, 3e3),
        title="digits double; outside, it grows first",
    )
    middle.set(xlim=(-0.3, 9.3))
    right.set(
        xlabel="step",
        ylabel="angle to the target (radians)",
        ylim=(1e-6, 1e4),
        title=r"target not met: factor $|1 - s/R|$",
    )
    right.set(xlim=(-0.3, 12.3))
    left.legend(loc="upper left")
    middle.legend(loc="upper right")
    right.legend(loc="upper left", ncols=2, columnspacing=1)
