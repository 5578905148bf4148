"""Sweep the weight and the smoothing of the penalty on images, for one epoch of GGN-SCORE.

The epoch has batches of 16, `c = 1`, and the step of the reference's rule from `alpha = 1`. All
values of `tau` (at `mu = 1 / kappa`) and of `mu` (at `tau = 1e-4`) start from the same weights and
use the same batches. All numbers are those of the last point.
"""

import jax.numpy as jnp
import numpy as np

import riemgn as rg
from riemgn.experiment.verdict import check
from riemgn.plot.caption import band

from .classification import Task, trained
from .network import network

BATCH, TAU, ALPHA = 16, 1e-4, 1.0
TAUS = tuple(10.0**k for k in range(-6, 1))
LARGE_MUS, SMALL_MUS = tuple(10.0**k for k in range(-3, 4)), tuple(10.0**k for k in range(-6, 1))
ROWS = {True: (800, 200), False: (8000, 2000)}  # of the 10 000 test images of a set: training, test
SEEDS = (0, 1)
PERCENT = {
    "train_accuracy": (
        "training accuracy",
        {"color": "#0072B2", "marker": "o", "linestyle": "--", "markerfacecolor": "none"},
    ),
    "test_accuracy": ("test accuracy", {"color": "#0072B2", "marker": "o", "linestyle": "-"}),
    "stability": ("T-I", {"color": "#D55E00", "marker": "s", "linestyle": "-."}),
    "stability_with_zeros": ("T-I incl. # zeros", {"color": "#009E73", "marker": "^", "linestyle": ":"}),
}


def images(name, quick, data_dir=None):
    """Pixels in [0, 1] and one-hot labels for training and test.

    They are 8000 and 2000 (quick: 800 and 200) of the 10 000 test images.
    """
    loaded = rg.load_data(name, data_dir=data_dir, standardize=False, drop_constant=False, target="onehot")
    x, y = (loaded.x_test, loaded.y_test) if len(loaded.x_test) else (loaded.x, loaded.y)
    rows, test_rows = ROWS[quick]
    if len(x) < rows + test_rows:
        raise ValueError(f"'{name}' has {len(x)} images, expected at least {rows + test_rows}; use its test set.")
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:rows], order[rows : rows + test_rows]
    return x[train], y[train], x[test], y[test]


def task_of(images, width, activation="relu"):
    """A network of `width` hidden neurons on images."""
    x, y, *_ = images
    return Task(network(x.shape[1], width, y.shape[1], activation), *map(jnp.asarray, images))


def point(task, tau, mu, seed):
    """What one epoch makes of the weights of a seed."""
    method = rg.GGNScore(rg.PseudoHuberPenalty(mu), tau, ALPHA, batch_size=BATCH, order="shuffled")
    run = trained(task, method, (0, 1), seed)
    return {key: float(np.ravel(value)[-1]) for key, value in run.items()}


def settings(width, mus):
    """The points of both sweeps, `(tau, mu)`."""
    return {"tau": [(tau, width**0.5) for tau in TAUS], "mu": [(TAU, mu) for mu in mus]}


def swept(compute, width, mus, seeds):
    """`compute(tau, mu, seed)` at every point of both sweeps, each number (seeds, values)."""
    result = {}
    for name, points in settings(width, mus).items():
        cells = [[compute(*each, seed) for each in points] for seed in seeds]
        result[name] = {key: [[cell[key] for cell in row] for row in cells] for key in cells[0][0] if key != "seconds"}
        result[name]["at"] = [each[name == "mu"] for each in points]
    return result


def setup(what, task, sweeps):
    """The setting below the picture."""
    rows, outputs = task.y.shape
    n0, n1, _ = task.net.sizes
    return {
        "data": f"{what}; {task.net.activation} network {n0}-{n1}-{outputs} without biases; one epoch in "
        f"batches of {BATCH}; presets coincide "
        f"(several outputs); |theta| = {value(sweeps, 'tau', 'norm', TAU):.3g} (tau = 1: "
        f"{value(sweeps, 'tau', 'norm', TAUS[-1]):.2g})",
        "n": f"{rows} x {outputs}",
        "p": n1 * (n0 + outputs),
        "alpha": ALPHA,
        "rho": f"c = 1, tau = {TAU:g} or as drawn, mu = {n1**0.5:.4g} (1/kappa) or as drawn",
        "seeds": f"{SEEDS[0]}-{SEEDS[-1]}, of weights and batches (line: median, band: least to largest)",
        "tolerance": "float64",
    }


def draw(data, fig):
    """Draw accuracies and T-I (top), and test loss with the number of zeros (bottom)."""
    fig.set_size_inches(10.5, 7.2)
    axes = fig.subplots(2, 2)
    for column, (name, symbol) in enumerate((("tau", r"$\tau$"), ("mu", r"$\mu$"))):
        sweep, above, below = data["sweeps"][name], axes[0, column], axes[1, column]
        for key, (label, look) in PERCENT.items():
            band(above, sweep["at"], sweep[key], label=label, **look)
        above.set(xscale="log", xlabel=symbol, ylabel="percent", ylim=(0, None))
        twin = below.twinx()
        band(below, sweep["at"], sweep["test"], color="#0072B2", marker="o")
        band(twin, sweep["at"], sweep["zeros"], color="#CC79A7", marker="D", linestyle=":")
        below.set(xscale="log", yscale="log", xlabel=symbol, ylabel="loss on the test data (solid, circles)")
        twin.set(ylabel=f"# zeros of {data['setup']['p']} (dotted, diamonds)")
        twin.grid(False)
        if not column:
            above.legend(loc="lower left")


def value(sweeps, name, key, at):
    """Median over seeds of a number at one point of a sweep."""
    sweep = sweeps[name]
    return float(np.median(np.asarray(sweep[key])[:, int(np.argmin(np.abs(np.log(np.asarray(sweep["at"]) / at))))]))


def checks(sweeps, least):
    """Compare medians over seeds with their predictions.

    `least` is the smallest test accuracy [%] at `tau = 1e-4`, `mu = 1 / kappa`.
    """
    small = min(sweeps["mu"]["at"])
    loss, right, stays = (value(sweeps, "tau", key, TAU) for key in ("test", "test_accuracy", "stability"))
    tiny, large = (value(sweeps, "tau", "test_accuracy", tau) for tau in (TAUS[0], TAUS[-1]))
    frozen = {key: value(sweeps, "mu", key, small) for key in ("test", "stability", "mean_step")}
    return [
        check("test accuracy at tau = 1e-4, mu = 1/kappa [%]", right, "at_least", least, 0.0, golden_rtol=5e-2),
        check("tau = 1e-6 less tau = 1e-4: test accuracy [points]", tiny - right, "equal", 0.0, 5.0, golden_rtol=1.0),
        check("tau = 1e-4 less tau = 1: test accuracy [points]", right - large, "at_least", 10.0, 0.0, golden_rtol=0.2),
        check(
            "tau = 1 over tau = 1e-4: test loss",
            value(sweeps, "tau", "test", TAUS[-1]) / loss,
            "at_least",
            1.5,
            0.0,
            golden_rtol=0.2,
        ),
        check("least mu: mean step size", frozen["mean_step"], "at_most", 1e-3, 0.0, golden_rtol=0.1),
        check("least mu over mu = 1/kappa: test loss", frozen["test"] / loss, "at_least", 100.0, 0.0, golden_rtol=0.2),
        check(
            "least mu less mu = 1/kappa: T-I [points]",
            frozen["stability"] - stays,
            "at_least",
            10.0,
            0.0,
            golden_rtol=0.2,
        ),
        check("T-I at tau = 1e-4, mu = 1/kappa [%]", stays, "equal", 70.0, 10.0, golden_rtol=5e-2),
    ]
