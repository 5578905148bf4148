"""On a teacher's probabilities the two sweeps look as they do on labels.

What to see: the sweeps of `images` for a SiLU network of 1024 hidden neurons that learns the
probabilities of a teacher with 16 hidden neurons on MNIST. Accuracy is agreement with the first
choice of the teacher.

What it does not show: generalisation. As in the released code, the training inputs of the student
contain its test inputs, with the targets of the teacher. The other training inputs are a
class-balanced part of the first 3000 training images. T-I counts signs of pre-activations, which is
not an activation pattern because SiLU is smooth. Of MNIST only the 10 000 test images are used.

Reference: Adeoye, Petersen, Bemporad, arXiv:2404.14875.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from riemgn.experiment.checkpoint import checkpointed
from riemgn.experiment.verdict import check

from . import sweeps
from .measures import accuracy
from .sweeps import draw as draw

WIDTHS = {True: 64, False: 1024}
FIRST = {True: 600, False: 3000}  # a class-balanced part of the first training images is used
TEACHER_WIDTH, TEACHER_BATCH, TEACHER_RATE = 16, 64, 1e-3
TEACHER_EPOCHS = 250
LEAST = {True: 20.0, False: 80.0}  # test accuracy [%]


def data(quick, data_dir=None):
    """Both sweeps for every seed of the student, with one teacher."""
    both = sweeps.swept(
        lambda tau, mu, seed: cell(tau, mu, seed, quick, data_dir), WIDTHS[quick], sweeps.LARGE_MUS, sweeps.SEEDS
    )
    at, share = task(quick, data_dir)
    what = (
        f"mnist, {len(at.x)} training inputs, {len(at.x_test)} of them the test inputs; teacher "
        f"784-{TEACHER_WIDTH}-10, softmax, "
    )
    what += f"{TEACHER_EPOCHS} epochs of Adam, {share:.1f} % right"
    result = {"sweeps": both, "teacher_accuracy": share, "setup": sweeps.setup(what, at, both)}
    result["checks"] = checks(both, share, quick)
    return result


def checks(both, share, quick):
    """Those of the sweeps, and that there is something to learn from the teacher."""
    teacher = check(
        "what the teacher gets right [%]", share, "at_least", 50.0 if quick else 90.0, 0.0, golden_rtol=2e-2
    )
    return [teacher, *sweeps.checks(both, LEAST[quick])]


@functools.cache
def task(quick, data_dir=None):
    """The student's task, and the percent of its inputs that the teacher gets right."""
    x, y, x_test, y_test = sweeps.images("mnist", quick, data_dir)
    rows = balanced(y[: FIRST[quick]])
    x, y = np.concatenate([x[rows], x_test]), np.concatenate([y[rows], y_test])
    targets = taught(jnp.asarray(x), jnp.asarray(y), TEACHER_EPOCHS)
    return sweeps.task_of((x, targets, x_test, targets[len(rows) :]), WIDTHS[quick], "silu"), accuracy(targets, y)


def balanced(y):
    """As many rows of every class as the rarest has, the first ones, in their order."""
    fewest = int(y.sum(axis=0).min())
    return np.sort(np.concatenate([np.flatnonzero(column)[:fewest] for column in y.T]))


def taught(x, y, epochs):
    """Class probabilities of a small network after training with Adam, (rows, classes)."""
    import optax

    optimiser, key = optax.adam(TEACHER_RATE), jax.random.key(0)
    first, second, batches = jax.random.split(key, 3)
    params = (
        jax.random.normal(first, (TEACHER_WIDTH, x.shape[1])),
        jax.random.normal(second, (y.shape[1], TEACHER_WIDTH)),
    )
    blocks = len(x) // TEACHER_BATCH

    def logits(params, x):
        return jax.nn.silu(x @ params[0].T) @ params[1].T

    def cost(params, rows):
        return optax.softmax_cross_entropy(logits(params, x[rows]), y[rows]).mean()

    def step(carry, rows):
        params, state = carry
        updates, state = optimiser.update(jax.grad(cost)(params, rows), state)
        return (optax.apply_updates(params, updates), state), None

    @jax.jit
    def epoch(i, carry):
        rows = jax.random.permutation(jax.random.fold_in(batches, i), len(x))[: blocks * TEACHER_BATCH]
        return jax.lax.scan(step, carry, rows.reshape(blocks, TEACHER_BATCH))[0]

    params, _ = jax.lax.fori_loop(0, epochs, epoch, (params, optimiser.init(params)))
    return np.asarray(jax.nn.softmax(logits(params, x)))


@checkpointed
def cell(tau, mu, seed, quick, data_dir):
    return sweeps.point(task(quick, data_dir)[0], tau, mu, seed)
