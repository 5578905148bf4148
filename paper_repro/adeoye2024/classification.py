"""Run the experiment that the items on classification share: GGN-SCORE and gradient descent.

The networks have 128 hidden ReLU neurons, one-hot targets and the squared loss. GGN-SCORE has `c =
1` and the step of the reference's rule from `alpha = 1`. Only its objective contains the penalty.
Gradient descent searches its step from 1 down in every batch (Armijo), as the released code does.
For comparison there are a search from `1 / kappa` down, which is not tuned either, and a fixed step
of 1. For several outputs the released derivatives are correct, so both presets agree here.
"""

import functools
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import riemgn as rg
from paper_repro.epochs import take_steps, train_epochs
from riemgn.experiment.checkpoint import checkpointed
from riemgn.experiment.verdict import check
from riemgn.plot.caption import band

from .measures import accuracy, stability, stability_with_zeros, zeros
from .network import initial, network, problem_of

WIDTH, TAU, ALPHA = 128, 1e-4, 1.0
OUTLIER = 100.0  # one row of avila has an entry of 386, the next largest is 83
LOOKS = {
    "GGN": ("GGN-SCORE", {"color": "#0072B2", "marker": "o"}),
    "GD": ("gradient descent, Armijo from 1", {"color": "#D55E00", "marker": "s"}),
    "GD 1": ("gradient descent, step 1", {"color": "#009E73", "marker": "^"}),
    "GD 1/k": (r"gradient descent, Armijo from 1/$\kappa$", {"color": "#000000", "marker": "x"}),
    "GGN*": ("GGN-SCORE, {}", {"color": "#56B4E9", "marker": "D"}),
    "GD*": ("gradient descent, Armijo, {}", {"color": "#CC79A7", "marker": "v"}),
}
VARIANTS = {"pendigits": "features / 100", "avila": "without the outlier"}  # for the methods with a star
BOTH = ("GGN", "GD")
CURVES = ("train", "test", "train_accuracy", "test_accuracy")


@dataclass(frozen=True)
class Plan:
    """Settings of one data set, each by size where it depends on the size.

    `mu = ratio / kappa`, batch size, epochs of GGN-SCORE and of gradient descent, rows.
    """

    ratio: float
    batch: int
    epochs: dict[bool, tuple[int, int]]
    rows: dict[bool, tuple[int, int] | None]
    scaling: str

    @property
    def smoothing(self) -> float:
        return self.ratio * WIDTH**0.5


QUICK_ROWS = (960, 1000)
QUICK_SEEDS, SEEDS = (0,), (0, 1, 2)
PLANS = {
    "pendigits": Plan(1e-3, 64, {True: (16, 100), False: (10, 1000)}, {True: QUICK_ROWS, False: None}, "raw, 0 to 100"),
    "letter": Plan(10, 8, {True: (5, 50), False: (20, 200)}, {True: QUICK_ROWS, False: (10500, 5000)}, "to [-1, 1]"),
    "avila": Plan(10, 64, {True: (10, 100), False: (10, 500)}, {True: QUICK_ROWS, False: None}, "as shipped"),
    "digits": Plan(1, 64, {True: (10, 100), False: (50, 2000)}, {True: None, False: None}, "to [0, 1]"),
}


@dataclass(frozen=True)
class Task:
    """A network with training and test data: inputs, one-hot targets in the order of the labels."""

    net: rg.MLP
    x: Any
    y: Any
    x_test: Any
    y_test: Any

    def problem(self, seed):
        return problem_of(self.net, initial(self.net, jax.random.key(seed)), self.x, self.y)


@functools.cache
def task(name, quick, data_dir=None, variant=False, split=0):
    """The data of an item or of its variant.

    The quick size takes the first rows, and for avila the outlier as the last of them. Digits have
    no test data, so a quarter is drawn by the seed `split`.
    """
    test_fraction = 0.25 if name == "digits" else 0.0
    loaded = rg.load_data(
        name,
        data_dir=data_dir,
        seed=split,
        standardize=False,
        drop_constant=False,
        target="onehot",
        test_fraction=test_fraction,
    )
    rows, test_rows = PLANS[name].rows[quick] or (len(loaded.x), len(loaded.x_test))
    places = np.arange(rows)
    if name == "avila":
        (outlier,) = np.flatnonzero(np.max(np.abs(loaded.x), axis=1) > OUTLIER)
        places = places if outlier < rows else np.append(places[:-1], outlier)
        places = places[places != outlier] if variant else places
    x, x_test = (scaled(name, part, variant) for part in (loaded.x[places], loaded.x_test[:test_rows]))
    net = network(x.shape[1], WIDTH, loaded.y.shape[1], "relu")
    return Task(net, *map(jnp.asarray, (x, loaded.y[places], x_test, loaded.y_test[:test_rows])))


def scaled(name, x, variant=False):
    """Scale the features of digits and the pendigits variant to [0, 1], of letter to [-1, 1]."""
    if name == "letter":
        return x / 7.5 - 1
    return x / 16 if name == "digits" else x / 100 if name == "pendigits" and variant else x


def method_of(name, label):
    batches = {"batch_size": PLANS[name].batch, "order": "shuffled"}
    if label.startswith("GGN"):
        return rg.GGNScore(rg.PseudoHuberPenalty(PLANS[name].smoothing), TAU, ALPHA, **batches)
    return rg.GradientDescent(WIDTH**0.5 if label == "GD 1/k" else 1.0, line_search=label != "GD 1", **batches)


_take_steps = eqx.filter_jit(take_steps)
_outputs = eqx.filter_jit(lambda net, params, x: net(params, x))


def trained(task, method, epochs, seed):
    """Losses, accuracies and seconds at `epochs` (0 first), and measures of the last point.

    The weights come from the key `seed`, the batches from a different key. Seconds do not include
    the compilation.
    """
    problem = task.problem(seed)
    key, blocks = jax.random.fold_in(jax.random.key(seed), 1), -(-len(task.y) // method.batch_size)

    def advance(carry, count):
        return _take_steps(problem, method, carry, key, jnp.asarray(count * blocks))

    start = problem.w0, method.init(problem, problem.w0, jnp.asarray(0))
    jax.block_until_ready(advance(start, 0))
    points, seconds, (_, state) = train_epochs(advance, start, epochs)
    rows = np.array([judged(task, problem.unflatten(w)) for w in points])
    before, after = (np.asarray(problem.unflatten(w)[0]["weight"]) for w in (points[0], points[-1]))
    ends = {
        "stability": stability(before, after, task.x),
        "stability_with_zeros": stability_with_zeros(before, after, task.x),
        "norm": float(np.linalg.norm(points[-1])),
        "zeros": zeros(points[-1]),
        "zeros_start": zeros(points[0]),
        "mean_step": float(state.time / state.count),
    }
    return {"seconds": seconds, **dict(zip(CURVES, rows.T, strict=True)), **ends}


def judged(task, params):
    """Loss and accuracy [%] on training and test data, NaN if an output is not finite."""
    loss, losses, shares = rg.SquaredLoss(mean=True), [], []
    for x, y in ((task.x, task.y), (task.x_test, task.y_test)):
        outputs = np.asarray(_outputs(task.net, params, x))
        losses.append(float(loss(jnp.asarray(outputs.reshape(-1)), y.reshape(-1))))
        shares.append(accuracy(outputs, y) if np.isfinite(outputs).all() else np.nan)
    return [*losses, *shares]


def saved_at(last):
    """Epochs at which a run is measured: 0 to 5, then about ten in every factor of ten.

    The epochs 20 and `last` are among them.
    """
    spaced = np.rint(np.geomspace(5, last, int(10 * np.log10(last / 5)) + 2))
    return sorted({0, 1, 2, 3, 4, 5, last, *(e for e in (20,) if e < last), *map(int, spaced)})


def epochs_of(name, quick, label):
    """Epochs at which a method is measured. Step 1 takes as many epochs as GGN-SCORE."""
    ggn, gd = PLANS[name].epochs[quick]
    return saved_at(ggn if label in ("GGN", "GGN*", "GD 1") else gd)


@checkpointed
def run(name, label, seed, quick, data_dir=None):
    """One method from one seed's weights."""
    return trained(
        task(name, quick, data_dir, label.endswith("*")), method_of(name, label), epochs_of(name, quick, label), seed
    )


def study(name, quick, data_dir=None):
    """Every method from every seed: curves (seeds, epochs), numbers (seeds,), and the setting."""
    seeds = QUICK_SEEDS if quick else SEEDS
    methods = {}
    for label in LOOKS:
        if name in VARIANTS or not label.endswith("*"):
            cells = [run(name, label, seed, quick, data_dir) for seed in seeds]
            methods[label] = {key: [each[key] for each in cells] for key in cells[0]} | {
                "epochs": epochs_of(name, quick, label)
            }
    return {"runs": methods, "variant": VARIANTS.get(name, ""), "setup": setup(name, quick, methods, seeds, data_dir)}


def setup(name, quick, runs, seeds, data_dir):
    plan, at = PLANS[name], task(name, quick, data_dir)
    rows, outputs = at.y.shape
    net = "-".join(map(str, at.net.sizes))
    return {
        "data": f"{name}, {rows} training and {len(at.y_test)} test rows, features {plan.scaling}; ReLU "
        f"network {net} without biases; "
        f"batches of {plan.batch}; presets coincide (several outputs); mean step size: "
        f"{ends(runs, 'mean_step')}; T-I at the end, %: "
        f"{ends(runs, 'stability', BOTH)}; # zeros: {ends(runs, 'zeros', BOTH)}; {times(runs)}",
        "n": f"{rows} x {outputs}",
        "p": WIDTH * (at.net.sizes[0] + outputs),
        "alpha": ALPHA,
        "rho": f"c = 1, tau = {TAU:g} (gradient descent: 0), mu = {plan.smoothing:.4g}",
        "seeds": f"{seeds[0]}-{seeds[-1]}, of weights and batches (line: median, band: least to largest)"
        if len(seeds) > 1
        else f"{seeds[0]}",
        "tolerance": "float64",
    }


def ends(runs, key, labels=LOOKS):
    """Median over seeds at the last point, for each method with finite outputs there."""
    shown = {label: run for label, run in runs.items() if label in labels and np.isfinite(run["test"][0][-1])}
    return ", ".join(f"{label}: {np.median(run[key]):.3g}" for label, run in shown.items())


def times(runs):
    """What GGN-SCORE took and what gradient descent took to its accuracy, in words."""
    words = [
        f"GGN-SCORE took {np.median(np.asarray(runs['GGN']['seconds'])[:, -1]):.2g} s to "
        f"{final(runs, 'GGN'):.1f} % on the test data"
    ]
    for label, start in (("GD", "1"), ("GD 1/k", "1/kappa")):
        k = reached(runs, label)
        seconds = np.median(np.asarray(runs[label]["seconds"])[:, -1 if k is None else k])
        epochs = f"{seconds:.2g} s ({runs[label]['epochs'][-1 if k is None else k]} epochs)"
        words.append(f"gradient descent from {start} " + (f"did not in {epochs}" if k is None else epochs))
    return ", ".join(words)


def final(runs, label, key="test_accuracy"):
    """Median over seeds at the last epoch."""
    return float(np.median(np.asarray(runs[label][key])[:, -1]))


def at_epoch(runs, label, epoch, key="test_accuracy"):
    """Each seed's value at one epoch."""
    return np.asarray(runs[label][key])[:, list(runs[label]["epochs"]).index(epoch)]


def reached(runs, label="GD"):
    """First index at which gradient descent has the final accuracy of GGN-SCORE, or None."""
    places = np.flatnonzero(np.median(np.asarray(runs[label]["test_accuracy"]), axis=0) >= final(runs, "GGN"))
    return int(places[0]) if places.size else None


def epochs_ratio(runs, label="GD"):
    """Epochs of gradient descent to the final accuracy of GGN-SCORE, over those of GGN-SCORE.

    If gradient descent does not reach it, its last epoch counts.
    """
    k = reached(runs, label)
    return runs[label]["epochs"][-1 if k is None else k] / runs["GGN"]["epochs"][-1]


def draw(data, fig):
    """Draw test loss and accuracies by epochs, and accuracies by seconds."""
    fig.set_size_inches(12, 4.2)
    loss, by_epoch, by_seconds = fig.subplots(1, 3)
    styles = {"test_accuracy": {"linestyle": "-"}, "train_accuracy": {"linestyle": "--", "markerfacecolor": "none"}}
    for label, run in data["runs"].items():
        title, look = LOOKS[label][0].format(data["variant"]), LOOKS[label][1]
        finite = np.isfinite(tail(run, "test")).any(axis=0)
        epochs, seconds = run["epochs"][1:][finite], np.median(np.atleast_2d(run["seconds"]), axis=0)[1:][finite]
        every = max(1, len(epochs) // 10)
        band(loss, epochs, tail(run, "test")[:, finite], label=title, markevery=every, **look)
        for key, style in styles.items() if label in BOTH else [*styles.items()][:1]:
            for ax, x in ((by_epoch, epochs), (by_seconds, seconds)):
                band(ax, x, tail(run, key)[:, finite], markevery=every, **look, **style)
    loss.set(
        xscale="log", yscale="log", xlabel="epoch", ylabel="loss on the test data (squared loss)", title="test loss"
    )
    by_epoch.set(xscale="log", xlabel="epoch", ylabel="correct [%]", title="accuracy by epochs")
    by_seconds.set(
        xscale="log", xlabel="seconds of training (this machine)", ylabel="correct [%]", title="accuracy by seconds"
    )
    for style, what in ((styles["test_accuracy"], "test"), (styles["train_accuracy"], "training")):
        loss.plot([], [], color="0.3", marker="o", label=what, **style)
    fig.legend(*loss.get_legend_handles_labels(), loc="outside upper center", ncols=4)


def tail(run, key):
    """A curve from the first epoch on, (seeds, epochs)."""
    return np.atleast_2d(np.asarray(run[key], dtype=float))[:, 1:]


def lead_checks(runs, least, spread):
    """Check the accuracy of GGN-SCORE after 5 epochs and its lead over gradient descent.

    `least` is the smallest accuracy [%], `spread` the relative tolerance of the golden ratios of
    epochs.
    """
    ggn, gd = at_epoch(runs, "GGN", 5), at_epoch(runs, "GD", 5)
    lead = "GGN-SCORE less gradient descent (Armijo from 1) after 5 epochs, least [points]"
    ratio = "epochs of gradient descent (Armijo from {}) to GGN-SCORE's last accuracy over GGN-SCORE's"
    return [
        check(
            "test accuracy of GGN-SCORE after 5 epochs, least [%]",
            float(ggn.min()),
            "at_least",
            least,
            0.0,
            golden_rtol=3e-2,
        ),
        check(lead, float((ggn - gd).min()), "at_least", 5.0, 0.0, golden_rtol=0.1),
        check(ratio.format("1"), epochs_ratio(runs), "at_least", 3.0, 0.0, golden_rtol=spread),
        check(ratio.format("1/kappa"), epochs_ratio(runs, "GD 1/k"), "at_least", 2.0, 0.0, golden_rtol=spread),
    ]
