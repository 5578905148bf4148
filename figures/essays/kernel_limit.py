r"""Scaled up far enough, a network is kernel regression.

**What to see.** Multiply the output of a network by a large number `alpha`, `f(w) = alpha
(net(w) - net(w_0))`, and train it on a few points of the line (left). To fit the targets, its
weights need to move by only about `1 / alpha`. The tangents of the network at the start
therefore determine the result. These tangents are features, one per weight, and the trained
network predicts like linear regression with these features. This is regression with the
*tangent kernel* `k(x, x') = <grad_w f(w_0; x), grad_w f(w_0; x')>`. At `alpha = 1` the network
has its own curve between the data. As `alpha` grows, its curve approaches that of the kernel,
and the distance falls like `1 / alpha` (right). On the data both are right for every `alpha`:

    f_t(X) - y = exp(-t) (f_0(X) - y),                  every alpha
    f_t(x) = (1 - exp(-t)) k(x, X) k(X, X)^{-1} y + O(1 / alpha)

**In code.** With the kernels of the library, `J(x) J^T` on new inputs and `J J^T` on the data:

```python
import jax
import jax.numpy as jnp
import riemgn as rg

rg.enable_x64()
net, x, y = (
    rg.MLP((1, 32, 1)),
    jnp.array([[-1.0], [0.0], [1.0]]),
    jnp.array([1.0, -1.0, 0.5]),
)
start, new = net.init(key=jax.random.key(0)), jnp.array([[0.5]])
problem = rg.Problem(rg.Scaled(rg.Centred(net, start), 1e4), start, x, y)
kernel = problem.ntk(problem.w0, new) @ jnp.linalg.solve(problem.ntk(problem.w0), y)
end = rg.solve(problem, rg.GaussNewtonFlow(), t1=25.0, ts=[25.0]).params[-1]
assert (
    jnp.abs(problem.model(problem.unflatten(end), new) - kernel).max()
    < 1e-2
    < jnp.abs(kernel).max()
)
```

**What it does not show.** That the curve of the kernel is the better one: in the limit, the
network does not learn features. A wide network has the same limit without `alpha`. Gradient
flow has the limit too, but at a given time it has fitted only the fast modes of the kernel.

**References.** Jacot, Gabriel, Hongler, arXiv:1806.07572. Chizat, Oyallon, Bach,
arXiv:1812.07956 (scaling). Cayci, arXiv:2412.14031v4. Statements C6 and C11, derived.
"""

import jax
import jax.numpy as jnp
import numpy as np

import riemgn as rg
from riemgn.experiment.verdict import check
from riemgn.plot import flow_style

ALPHAS = {True: (1.0, 100.0, 1000.0), False: (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)}
DRAWN = {"1": ("s", "--"), "3": ("^", "-."), "30": ("v", ":")}  # alpha: marker, dash
WIDTH, HORIZON = 32, 25.0
POINTS, TARGETS = np.array([-2.0, -1.2, 0.3, 1.1, 2.0]), np.array([0.5, -0.8, 0.7, 1.0, -0.6])
GRID = np.linspace(-2.6, 2.6, 105)


def data(quick, data_dir=None):
    """Curves of the trained network at each alpha and of the kernel, and their distance."""
    net = rg.MLP((1, WIDTH, 1))
    start = net.init(key=jax.random.key(3))
    new, curves, left = jnp.asarray(GRID[:, None]), {}, []
    for alpha in ALPHAS[quick]:
        problem = rg.Problem(rg.Scaled(rg.Centred(net, start), alpha), start, POINTS[:, None], TARGETS)
        traj = rg.solve(problem, rg.GaussNewtonFlow(), t1=HORIZON, ts=np.array([HORIZON]), rtol=1e-9)
        curves[f"{alpha:g}"] = np.asarray(problem.model(problem.unflatten(traj.params[-1]), new))
        left.append(float(np.abs(traj.outputs[-1] - TARGETS).max()))
    cross, gram = jax.jit(lambda w: (problem.ntk(w, new), problem.ntk(w)))(problem.w0)  # alpha cancels in what follows
    kernel = np.asarray(cross) @ np.linalg.solve(np.asarray(gram), TARGETS)
    distances = [float(np.sqrt(np.mean((curve - kernel) ** 2))) for curve in curves.values()]
    alphas = np.array(ALPHAS[quick])
    slope = np.log(distances[-1] / distances[-2]) / np.log(alphas[-1] / alphas[-2])
    checks = [
        check("slope of the distance between the last two alphas", float(slope), "equal", -1.0, 0.05),
        check(
            "distance at the largest alpha over the kernel's curve",
            distances[-1] / float(np.sqrt(np.mean(kernel**2))),
            "at_most",
            0.0,
            1e-2,
        ),
        check(
            "residual left on the data, largest", max(left), "at_most", np.exp(-HORIZON) * np.abs(TARGETS).max(), 1e-7
        ),
    ]
    line = distances[-1] * alphas[-1] / alphas
    return {
        "alphas": alphas,
        "distances": distances,
        "line": line,
        "grid": GRID,
        "curves": curves,
        "kernel": kernel,
        "checks": checks,
    }


def draw(data, fig):
    """Left: the curves on the line. Right: their distance from the kernel's curve."""
    fig.set_size_inches(9, 4)
    left, right = fig.subplots(1, 2, width_ratios=(1.4, 1))
    colour = flow_style("gn")["color"]
    left.plot(data["grid"], data["kernel"], color="0.6", linewidth=4, label="kernel regression")
    for (alpha, (marker, dash)), shade in zip(DRAWN.items(), (0.5, 0.75, 1.0), strict=True):
        if alpha in data["curves"]:
            look = {"marker": marker, "markevery": (3, 10), "linestyle": dash, "color": colour, "alpha": shade}
            left.plot(data["grid"], data["curves"][alpha], label=rf"network, $\alpha = {alpha}$", **look)
    left.plot(POINTS, TARGETS, marker="*", markersize=10, color="black", linestyle="none", label="data", zorder=5)
    left.set(
        xlabel="input $x$", ylabel="prediction", title="after training: all fit the data, between them they differ"
    )
    right.loglog(data["alphas"], data["line"], color="0.45", linestyle="--", label=r"slope $-1$")
    right.loglog(data["alphas"], data["distances"], color=colour, marker="o", linestyle="none", label="measured")
    right.set(
        xlabel=r"output scale $\alpha$",
        ylabel="distance from the kernel's curve (rms)",
        title=r"the distance falls like $1/\alpha$",
    )
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)
    right.legend(loc="lower left")
