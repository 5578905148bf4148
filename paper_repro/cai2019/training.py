"""In mini-batches Gram-Gauss-Newton reaches a smaller training error than SGD and Adam.

What to see: mean squared error on the training data by epochs (left) and by seconds (middle), and
on test data (right). The targets are the value of Californian houses (top) and the digit that an
MNIST image shows, as a number (bottom). The hyperparameters of every method come from a grid of the
same size. They minimise the final training error for a seed that you do not see here. They are the
learning rate of SGD (momentum 0.9) and of Adam, and the step `1 / lambda` and damping `a / lambda`
of Gram-Gauss-Newton. All methods use the same batches.

What it does not show: the tasks of the paper. Its data (ages from faces and from radiographs of
hands) and its convolutional networks are not available here. From MNIST only the 10 000 test images
are used. Seconds are those of one machine, without compilation, and no check uses them.

Reference: Cai et al., arXiv:1905.11675v2. Statement C12 (method).
"""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import riemgn as rg
from paper_repro.epochs import take_steps, train_epochs
from riemgn.experiment.verdict import check
from riemgn.plot.caption import band

BATCH, SEEDS = 128, (0, 1, 2)
TUNING_SEED = 100
EPOCHS = {True: 5, False: 15}
ROWS = {True: 2048, False: 7936}  # training samples, whole batches
GRIDS = {
    "SGD": (0.1, 0.3, 1.0, 3.0),
    "Adam": (0.01, 0.03, 0.1, 0.3),
    "GGN": ((1.0, 0.1), (1.0, 1.0), (0.3, 1.0), (0.3, 10.0)),  # step, damping
}
LOOKS = {"SGD": ("#D55E00", "s", "--"), "Adam": ("#009E73", "^", "-."), "GGN": ("#0072B2", "o", "-")}
TASKS = {"california_housing": ("house value", 64), "mnist": ("digit as a number", 100)}  # and the hidden width


@dataclass(frozen=True)
class Task:
    """A network, its training data and its test data, targets standardised."""

    net: Any
    x: Any
    y: Any
    x_test: Any
    y_test: Any


def data(quick, data_dir=None):
    """Chosen hyperparameters, errors after every epoch, and seconds for each task and method."""
    tasks = {name: task(name, ROWS[quick], data_dir) for name in TASKS}
    runs = [
        {"task": name, "method": method} | trained(each, method, EPOCHS[quick])
        for name, each in tasks.items()
        for method in GRIDS
    ]
    result = {"runs": runs, "epochs": list(range(EPOCHS[quick] + 1))}
    sizes = "; ".join(
        f"{name} {'-'.join(map(str, each.net.sizes))}, {len(each.y_test)} test rows" for name, each in tasks.items()
    )
    chosen = ", ".join(f"{run['method']} {run['chosen']}" for run in runs)
    result["setup"] = {
        "data": f"not the paper's (ages: not available); tanh networks, {sizes}; batches of {BATCH}; chosen "
        f"({' and '.join(TASKS)}): {chosen}",
        **{
            "n": ROWS[quick],
            "p": ", ".join(str(parameters(each.net)) for each in tasks.values()),
            "alpha": 1,
            "rho": "second number of GGN",
        },
        "seeds": f"{SEEDS[0]}-{SEEDS[-1]}, of weights and batches (line: median, band: least to largest); "
        f"tuned on {TUNING_SEED}",
        "tolerance": "float64",
    }
    result["checks"] = checks(result)
    return result


def draw(data, fig):
    """Draw training errors by epochs and by seconds, and test errors by epochs."""
    fig.set_size_inches(10.5, 6.4)
    axes = fig.subplots(len(TASKS), 3)
    for row, (name, (title, _)) in zip(axes, TASKS.items(), strict=True):
        for run in (run for run in data["runs"] if run["task"] == name):
            color, marker, dash = LOOKS[run["method"]]
            look = {"color": color, "marker": marker, "linestyle": dash, "label": run["method"]}
            band(row[0], data["epochs"], run["train"], **look)
            band(row[1], np.median(run["seconds"], axis=0)[1:], run["train"][:, 1:], **look)
            band(row[2], data["epochs"], run["test"], **look)
        for ax, label, what in zip(
            row, ("epoch", "seconds (this machine)", "epoch"), ("training", "training", "test"), strict=True
        ):
            ax.set(yscale="log", xlabel=label, ylabel=f"{what} error (variance = 1)", title=title)
        row[1].set_xscale("log")
        row[2].legend()


def task(name, rows, data_dir):
    """Whole batches for training, at most 2000 rows for the test."""
    loaded = rg.load_data(name, data_dir=data_dir, subset=rows, test_fraction=0.2, seed=0, standardize=name != "mnist")
    y, y_test = (np.asarray(values, float).reshape(len(values)) for values in (loaded.y, loaded.y_test))
    shift, unit = y.mean(), y.std()
    x, x_test = np.asarray(loaded.x), np.asarray(loaded.x_test)[:2000]
    if name == "mnist":  # one factor for all pixels, because many are nearly constant
        size = np.sqrt(np.mean(x**2))
        x, x_test = x / size, x_test / size
    net = rg.MLP((x.shape[1], TASKS[name][1], 1))
    return Task(
        net,
        jnp.asarray(x),
        jnp.asarray((y - shift) / unit),
        jnp.asarray(x_test),
        jnp.asarray((y_test[:2000] - shift) / unit),
    )


def parameters(net):
    return sum((fan_in + 1) * fan_out for fan_in, fan_out in zip(net.sizes[:-1], net.sizes[1:], strict=True))


def method_of(name, hyper):
    """The method with its hyperparameters, and its loss.

    Gram-Gauss-Newton uses the sum, the gradient methods use the mean.
    """
    import optax

    if name == "GGN":
        return rg.GramGaussNewton(BATCH, step_size=hyper[0], damping=hyper[1]), rg.SquaredLoss()
    optimiser = optax.sgd(hyper, momentum=0.9) if name == "SGD" else optax.adam(hyper)
    return rg.OptaxMethod(optimiser, BATCH), rg.SquaredLoss(mean=True)


def programs(task, name):
    """Compiled: the first state, epochs of steps, and the errors on training and test data."""
    blocks = len(task.y) // BATCH

    def problem_of(params, x, y, loss):
        return rg.Problem(task.net, params, x, y, loss)

    @eqx.filter_jit
    def first(params, x, y, hyper):
        method, loss = method_of(name, hyper)
        problem = problem_of(params, x, y, loss)
        return problem.w0, method.init(problem, problem.w0, jnp.asarray(0))

    @eqx.filter_jit
    def advance(carry, count, params, x, y, hyper, key):
        method, loss = method_of(name, hyper)
        return take_steps(problem_of(params, x, y, loss), method, carry, key, count * blocks)

    @eqx.filter_jit
    def errors(w, params, x, y, x_test, y_test):
        weights = problem_of(params, x, y, None).unflatten(w)
        return jnp.mean((task.net(weights, x) - y) ** 2), jnp.mean((task.net(weights, x_test) - y_test) ** 2)

    return first, advance, errors


def trained(task, name, epochs):
    """The best of the grid by the training error at the end, then the seeds shown with it."""
    first, advance, errors = programs(task, name)

    def run(hyper, seed):
        params, key = task.net.init(key=jr.key(seed)), jr.key(seed + 1)
        hyper = jnp.asarray(hyper)
        carry = first(params, task.x, task.y, hyper)
        points, seconds, _ = train_epochs(
            lambda carry, count: advance(carry, jnp.asarray(count), params, task.x, task.y, hyper, key),
            carry,
            range(epochs + 1),
        )
        measured = [errors(w, params, task.x, task.y, task.x_test, task.y_test) for w in points]
        train, test = np.asarray(measured, float).T
        return {"train": train, "test": test, "seconds": seconds}

    ends = [run(hyper, TUNING_SEED)["train"][-1] for hyper in GRIDS[name]]  # the first of these compiles
    chosen = GRIDS[name][int(np.nanargmin(ends))]
    runs = [run(chosen, seed) for seed in SEEDS]
    return {"chosen": chosen, "tuning": ends} | {key: np.array([each[key] for each in runs]) for key in runs[0]}


def final(result, task, method, kind):
    """Median over seeds of the error after the last epoch."""
    run = next(run for run in result["runs"] if (run["task"], run["method"]) == (task, method))
    return float(np.median(np.asarray(run[kind])[:, -1]))


def checks(result):
    """Compare the numbers of the figure with their predictions."""
    entries = []
    for task in dict.fromkeys(run["task"] for run in result["runs"]):
        ggn = final(result, task, "GGN", "train")
        for other in ("SGD", "Adam"):
            ratio = ggn / final(result, task, other, "train")
            entries.append(check(f"{task}: training error, GGN / {other}", ratio, "at_most", 1.0, 0.0, golden_rtol=0.1))
        entries.append(
            check(
                f"{task}: test error of GGN", final(result, task, "GGN", "test"), "at_most", 1.0, 0.0, golden_rtol=0.1
            )
        )
    return entries
