"""On MNIST a small smoothing mu stops GGN-SCORE, and a large weight tau removes all parameters.

What to see: a network of 512 hidden neurons after one epoch. The upper panels show training and
test accuracy, the share of hidden activations that keep the sign of the start (T-I), and T-I with
the new zeros of the hidden layer. The lower panels show the test loss and the number of entries
that you can drop and keep 99.9 % of the absolute sum of the parameters. The left panels vary tau,
the right panels mu. A small mu makes `M_g eta` large, so the step almost stops. A T-I near 100 %
then means that the network has not moved. At full size a large tau takes all parameters to zero
(the caption has their norm), and # zeros means nothing.

What it does not show: the 60 000 training images of the paper, because 8000 of the 10 000 test
images train here and 2000 test. It does not show convergence either: there is one epoch, as in the
sample call of the released code. The item `fashion` is the same on Fashion-MNIST.

Reference: Adeoye, Petersen, Bemporad, arXiv:2404.14875.
"""

import functools

from riemgn.experiment.checkpoint import checkpointed

from . import sweeps
from .sweeps import draw as draw

WIDTHS = {True: 64, False: 512}
LEAST = {"mnist": {True: 35.0, False: 80.0}, "fashion_mnist": {True: 30.0, False: 60.0}}  # test accuracy [%]


def data(quick, data_dir=None):
    """Both sweeps from every seed."""
    return study("mnist", sweeps.LARGE_MUS, quick, data_dir)


def study(name, mus, quick, data_dir):
    """Both sweeps on a set of images."""
    both = sweeps.swept(
        lambda tau, mu, seed: cell(name, tau, mu, seed, quick, data_dir), WIDTHS[quick], mus, sweeps.SEEDS
    )
    at = task(name, quick, data_dir)
    what = (
        f"{name}, {len(at.x)} training and {len(at.x_test)} test images from the 10 000 test images, pixels in [0, 1]"
    )
    result = {"sweeps": both, "setup": sweeps.setup(what, at, both)}
    result["checks"] = sweeps.checks(both, LEAST[name][quick])
    return result


@functools.cache
def task(name, quick, data_dir=None):
    return sweeps.task_of(sweeps.images(name, quick, data_dir), WIDTHS[quick])


@checkpointed
def cell(name, tau, mu, seed, quick, data_dir):
    return sweeps.point(task(name, quick, data_dir), tau, mu, seed)
