r"""Mini-batches are projections in turn, or block Gauss-Seidel.

**What to see.** A Gauss-Newton step on one batch of samples moves the weights by the smallest
amount that fits this batch, and ignores the other batches. If the model is linear, `f = X w`,
each batch requires `X_B w = y_B`, a plane of weights, and the step is the orthogonal projection
onto it. A pass over the batches projects onto one plane after the other. This is the *block
Kaczmarz* method (left: two weights, two samples, two lines that cross at the angle `theta`).
Each pass multiplies the error by `cos(theta)^2`. Samples that are nearly equal give nearly
parallel lines, and progress is slow.

In terms of the outputs, with weights `w = X^T a` and the kernel `K = X X^T`, the same steps
solve `K a = y` by *block Gauss-Seidel*: solve the equations of the batch for `a_B` and keep all
others fixed. Both agree to rounding (right). The worse the samples are conditioned, the more
passes are needed. Larger batches need not help, until one batch holds all samples and a single
step suffices:

    weights:  w_+ = w - X_B^T (X_B X_B^T)^{-1} (X_B w - y_B)
    kernel:   a_B+ = K_BB^{-1} (y_B - sum over the other batches of K_BC a_C)
    a pass multiplies the error by M = (I - P_last) ... (I - P_1),
    with P_B = X_B^T (X_B X_B^T)^{-1} X_B, finally by its spectral radius (numbers in the picture)

**In code.** Two samples, one at a time, in cyclic order:

```python
import jax.numpy as jnp
import riemgn as rg

rg.enable_x64()
theta, solution = 0.6, jnp.array([1.0, 1.0])
x = jnp.array([[1.0, 0.0], [jnp.cos(theta), jnp.sin(theta)]])
problem = rg.Problem(rg.LinearModel(), jnp.zeros(2), x, x @ solution)
traj = rg.iterate(
    problem,
    rg.GramGaussNewton(batch_size=1, order="cyclic"),
    steps=6,
    save_every=2,
    spectra=False,
)
error = jnp.linalg.norm(traj.params - solution, axis=1)
assert jnp.allclose(error[2:] / error[1:-1], jnp.cos(theta) ** 2)
```

**What it does not show.** A network, whose planes are curved: there the same holds as long as
the kernel stays constant. It also does not show targets that cannot all be met at once: then
full steps on batches cycle forever, and you must shorten them. For a random order the rate
holds in the mean.

**References.** Cai et al., arXiv:1905.11675v2. Needell, Tropp, arXiv:1208.3805 (block
Kaczmarz). Golub and Van Loan, Matrix Computations, section 11.2 (Gauss-Seidel). Statement C12,
derived.
"""

import jax
import numpy as np

import riemgn as rg
from riemgn.experiment.verdict import check
from riemgn.plot import flow_style

ANGLE = 0.6  # theta
SAMPLES, WEIGHTS, BATCH = 12, 16, 4
CONDITIONS = {True: (4.0, 10.0), False: (4.0, 6.0, 10.0)}  # of X
ROUNDS = 24


def data(quick, data_dir=None):
    """The zigzag of two samples, and errors per pass of both methods by condition number."""
    x, solution = np.array([[1.0, 0.0], [np.cos(ANGLE), np.sin(ANGLE)]]), np.ones(2)
    path = kaczmarz(x, x @ solution, np.array([-0.4, 2.6]), 1, 6)
    errors = np.linalg.norm(path - solution, axis=1)[::2]
    factor = float(errors[-1] / errors[-2])
    checks = [check("factor of the error a round, two samples", factor, "equal", np.cos(ANGLE) ** 2, 1e-9)]
    y, runs, rounds = np.random.default_rng(0).normal(size=SAMPLES), {}, SAMPLES // BATCH
    for cond in CONDITIONS[quick]:
        x = rg.synthetic_inputs(SAMPLES, WEIGHTS, cond, key=jax.random.key(1))
        least = np.linalg.pinv(x) @ y
        size = np.linalg.norm(least)
        iterates, sweeps = kaczmarz(x, y, np.zeros(WEIGHTS), BATCH, ROUNDS), gauss_seidel(x, y, BATCH, ROUNDS)
        errors, others = (np.linalg.norm(each[::rounds] - least, axis=1) / size for each in (iterates, sweeps))
        factor, norm, law = round_of(x, BATCH, least / size)
        runs[f"{cond:g}"] = {"errors": errors, "others": others, "factor": factor, "law": law}
        apart, gap = float(np.abs(iterates - sweeps).max() / size), float(np.abs(errors - law).max())
        largest = float((errors[1:] / errors[:-1]).max() / norm)
        checks += [
            check(f"cond {cond:g}: iterates apart from Gauss-Seidel's", apart, "at_most", 0.0, 1e-12),
            check(f"cond {cond:g}: errors against the closed form", gap, "at_most", 0.0, 1e-12),
            check(f"cond {cond:g}: largest factor of a round over |M|", largest, "at_most", 1.0, 1e-9),
        ]
    fitted = float((errors[-1] / errors[ROUNDS // 2]) ** (2 / ROUNDS))
    name = "mean factor of the last rounds, largest cond, against the spectral radius"
    checks.append(check(name, fitted, "equal", factor, 0.03))
    lines = solution + np.array([-4.0, 4.0])[:, None] * np.array([[[0.0, 1.0]], [[np.sin(ANGLE), -np.cos(ANGLE)]]])
    pictures = {"path": path, "solution": solution, "lines": lines, "rounds": np.arange(ROUNDS + 1), "runs": runs}
    return {**pictures, "checks": checks}


def kaczmarz(x, y, start, size, rounds):
    """Weights after each mini-batch step of Gauss-Newton, the start first."""
    method = rg.GramGaussNewton(batch_size=size, order="cyclic")
    return np.asarray(
        rg.iterate(
            rg.Problem(rg.LinearModel(), start, x, y), method, steps=rounds * len(x) // size, spectra=False
        ).params
    )


def gauss_seidel(x, y, size, rounds):
    """The same for a in w = X^T a: the equations of each batch solved for its own unknowns."""
    kernel, a, iterates = x @ x.T, np.zeros(len(x)), [np.zeros(x.shape[1])]
    for step in range(rounds * len(x) // size):
        own = (np.arange(size) + step * size) % len(x)
        a[own] += np.linalg.solve(kernel[np.ix_(own, own)], y[own] - kernel[own] @ a)
        iterates.append(x.T @ a)
    return np.array(iterates)


def round_of(x, size, error):
    """Spectral radius and norm of M on the span of the samples, and `|M^k error|` by passes k."""
    basis = np.linalg.svd(x, full_matrices=False)[2]
    whole = np.eye(x.shape[1])
    for start in range(0, len(x), size):
        rows = x[start : start + size]
        whole = whole - np.linalg.pinv(rows) @ rows @ whole
    inner = basis @ whole @ basis.T
    law = [np.linalg.norm(np.linalg.matrix_power(inner, k) @ basis @ error) for k in range(ROUNDS + 1)]
    return float(np.abs(np.linalg.eigvals(inner)).max()), float(np.linalg.norm(inner, 2)), np.array(law)


def draw(data, fig):
    """Left: the zigzag between two lines. Right: the error by passes."""
    fig.set_size_inches(9.5, 4.2)
    left, right = fig.subplots(1, 2, width_ratios=(1, 1.3))
    colour = flow_style("gn")["color"]
    for line, dash, name in zip(data["lines"], ("-", "--"), ("first", "second"), strict=True):
        left.plot(*line.T, color="0.5", linestyle=dash, label=f"weights right on the {name} sample")
    left.plot(*data["path"].T, color=colour, marker="o", linewidth=1, label="mini-batch Gauss-Newton, batches of one")
    start = {"color": colour, "markerfacecolor": "white", "markersize": 7, "linestyle": "none", "label": "start"}
    left.plot(*data["path"][0], marker="o", **start)
    left.plot(*data["solution"], marker="*", markersize=12, color="black", linestyle="none", label="solution")
    left.set(aspect="equal", xlim=(-0.7, 2.3), ylim=(0.3, 2.8), xlabel="weight 1", ylabel="weight 2")
    left.set_title(rf"projections in turn: $\cos^2\theta = {np.cos(ANGLE) ** 2:.2f}$ a round")
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16))
    ring = {"color": "#D55E00", "markerfacecolor": "none", "markersize": 8, "linestyle": "none"}
    for (cond, run), marker in zip(data["runs"].items(), "os^", strict=False):
        right.semilogy(data["rounds"], run["law"], color="0.5", linestyle="--", linewidth=1)
        label = f"Gauss-Newton, cond$(X) = {cond}$"
        right.plot(data["rounds"], run["errors"], marker=marker, color=colour, linestyle="none", label=label)
        right.plot(data["rounds"], run["others"], marker=marker, **ring)
        note = {"xytext": (6, -3), "textcoords": "offset points", "annotation_clip": False}
        right.annotate(f"{run['factor']:.2f} a round", (data["rounds"][-1], run["law"][-1]), **note)
    right.plot([], [], marker="s", label="block Gauss-Seidel on $Ka = y$", **ring)
    right.plot([], [], color="0.5", linestyle="--", label="$|M^k e_0|$, closed form")
    right.set(xlabel="rounds through all samples", ylabel="error of the weights, over its start")
    right.set_title(f"batches of {BATCH} of {SAMPLES}: both methods, one set of iterates")
    right.legend(loc="lower left")
