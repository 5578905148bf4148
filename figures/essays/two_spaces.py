"""One trajectory, two spaces: Gauss-Newton belongs to the outputs, gradient flow to the parameters.

**What to see.** Two people fit `a exp(-k x)` to two data points. One uses the amplitude `a` and
the rate `k`, the other `a` and the lifetime `1 / k`. Both start at the same function. Left and
middle: the paths of their parameters. Gradient flow follows the steepest slope in the
coordinates of each person. Right: the same runs as outputs, the two fitted values. Gradient
flow gives two different fits along the way. Gauss-Newton gives one. With as many free outputs
as data it goes straight to the data `y` in any coordinates, and its two parameter paths are the
same path in two languages.

    Gauss-Newton: f' = -P grad g(f),    gradient flow: f' = -K(w) grad g(f),    K = J J^T

The projection `P` onto the tangent space depends only on the set of outputs. The matrix `K`,
the empirical tangent kernel, depends on the coordinates: under `w = c(v)` the Jacobian `J`
becomes `J Dc`, which has the same range, but not the same product with its transpose.

**In code.** The velocities of the outputs at the start, here with three data points and two
parameters:

```python
import jax.numpy as jnp
import riemgn as rg

rg.enable_x64()
x, y = jnp.array([[0.5], [1.0], [2.0]]), jnp.array([1.6, 1.0, 0.3])
by_rate = rg.Problem(
    lambda w, x: w[0] * jnp.exp(-w[1] * x[:, 0]), jnp.array([1.0, 0.25]), x, y
)
by_lifetime = rg.Problem(
    lambda v, x: v[0] * jnp.exp(-x[:, 0] / v[1]), jnp.array([1.0, 4.0]), x, y
)
newton = [
    -rg.OutputManifold(problem).riemannian_grad(problem.w0)
    for problem in (by_rate, by_lifetime)
]
descent = [
    problem.ntk(problem.w0) @ (y - problem.outputs(problem.w0))
    for problem in (by_rate, by_lifetime)
]
assert jnp.allclose(newton[0], newton[1])  # P (y - f): one velocity of the outputs
assert jnp.linalg.norm(descent[0] - descent[1]) > 0.1 * jnp.linalg.norm(
    descent[1]
)  # J J^T (y - f): another one
```

**What it does not show.** More data than parameters: then the outputs are on a curved surface.
The Gauss-Newton path is not straight, but still the same in all coordinates ("The flow belongs
to the surface, not to its coordinates"). It also does not show where coordinates end: at `a =
0` all rates give the same outputs, `J` loses rank, and no flow can determine `k`.

**References.** Amari, Natural gradient works efficiently in learning, Neural Computation 10
(1998). Cayci, arXiv:2412.14031v4. Statements C3 and C6, derived.
"""

import jax.numpy as jnp
import numpy as np

import riemgn as rg
from riemgn.experiment.verdict import check
from riemgn.plot.manifold import path

INPUTS, TARGET = (0.5, 2.0), (1.6, 0.3)
SECOND = {"rate": 0.25, "lifetime": 4.0}  # the second parameter at the start; the first, the amplitude, is 1
HORIZONS = {"gn": 12.0, "gf": 400.0}


def decay(params, x):
    """`a exp(-k x)` at `x[:, 0]`; the second parameter is `k^x[:, 1]` with 1 or -1 there."""
    return params[0] * jnp.exp(-(params[1] ** x[:, 1]) * x[:, 0])


def data(quick, data_dir=None):
    """Both flows in both coordinates: parameters and outputs over time."""
    count, runs, target = 81 if quick else 161, {}, np.array(TARGET)
    for name, power in (("rate", 1.0), ("lifetime", -1.0)):
        inputs = jnp.array([[x, power] for x in INPUTS])
        problem = rg.Problem(decay, jnp.array([1.0, SECOND[name]]), inputs, jnp.array(TARGET))
        for flow, kind in (("gn", rg.GaussNewtonFlow()), ("gf", rg.GradientFlow())):
            times = np.append(0.0, np.geomspace(1e-2, HORIZONS[flow], count))
            traj = rg.solve(problem, kind, t1=HORIZONS[flow], ts=times, rtol=1e-10, atol=1e-12)
            params, outputs = np.asarray(traj.params), np.asarray(traj.outputs)
            runs[f"{flow} {name}"] = {"times": times, "params": params, "outputs": outputs}
    gn, other = runs["gn rate"], runs["gn lifetime"]
    straight = target + np.exp(-gn["times"])[:, None] * (gn["outputs"][0] - target)
    translated = np.stack([other["params"][:, 0], 1 / other["params"][:, 1]], axis=1)
    apart, moved = gap(gn["outputs"], other["outputs"]), gap(gn["params"], translated)
    bent, left = gap(gn["outputs"], straight), gap(runs["gf rate"]["outputs"][-1], target)
    checks = [
        check("Gauss-Newton's outputs in both coordinates, largest gap", apart, "at_most", 0.0, 1e-7),
        check("Gauss-Newton's parameters, translated, largest gap", moved, "at_most", 0.0, 1e-6),
        check("Gauss-Newton's outputs against y + exp(-t) (f_0 - y)", bent, "at_most", 0.0, 1e-7),
        check("gradient flow's outputs in both coordinates, largest gap", distance(runs), "at_least", 0.1, 0.0),
        check("gradient flow by rate: distance of the end from the data", left, "at_most", 0.0, 1e-2),
    ]
    return {"target": target, "optimum": optimum(), "runs": runs, "checks": checks}


def optimum():
    """The parameters that meet both data, in both coordinates."""
    rate = np.log(TARGET[0] / TARGET[1]) / (INPUTS[1] - INPUTS[0])
    amplitude = TARGET[0] * np.exp(rate * INPUTS[0])
    return {"rate": np.array([amplitude, rate]), "lifetime": np.array([amplitude, 1 / rate])}


def gap(first, second):
    return float(np.abs(np.asarray(first) - second).max())


def distance(runs):
    """Largest distance between the outputs of gradient flow in the two coordinate systems."""
    one, other = runs["gf rate"]["outputs"], runs["gf lifetime"]["outputs"]
    return float(np.linalg.norm(one[:, None] - other[None], axis=2).min(axis=1).max())


def draw(data, fig):
    """Left and middle: parameters in both coordinate systems. Right: outputs."""
    fig.set_size_inches(11, 4.2)
    axes = dict(zip(("rate", "lifetime", "outputs"), fig.subplots(1, 3), strict=True))
    for name, label in (("rate", "rate $k$"), ("lifetime", "lifetime $1/k$")):
        for flow in ("gf", "gn"):
            path(data["runs"][f"{flow} {name}"]["params"], ax=axes[name], kind=flow)
        axes[name].plot(*data["optimum"][name], marker="*", markersize=11, color="#B2182B", linestyle="none", zorder=13)
        axes[name].set(
            xlabel="amplitude $a$", ylabel=label, aspect="auto", title=f"parameters of the one who fits the {name}"
        )
    out = axes["outputs"]
    path(data["runs"]["gf lifetime"]["outputs"], ax=out, kind="interpolated", label="gradient flow, by lifetime")
    path(data["runs"]["gf rate"]["outputs"], ax=out, kind="gf", label="gradient flow, by rate")
    path(data["runs"]["gn rate"]["outputs"], ax=out, kind="gn", label="Gauss-Newton, by rate and by lifetime")
    out.plot(
        *data["target"], marker="*", markersize=11, color="#B2182B", linestyle="none", label="the data $y$", zorder=13
    )
    out.set(
        xlabel="fitted value at $x = 0.5$",
        ylabel="fitted value at $x = 2$",
        aspect="auto",
        title="the same runs as outputs",
    )
    for ax in axes.values():
        ax.legend(loc="best")
