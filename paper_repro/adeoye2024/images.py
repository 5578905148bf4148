"""MNIST: what the weight and the smoothing of the penalty do to a network of 512 hidden neurons in one epoch.

What to see: above, training and test accuracy, the share of hidden activations whose sign is that of the start (T-I), and T-I with the new zeros of
the hidden layer; below, test loss with the number of entries not needed for 99.9 % of the parameters' absolute sum. Left against tau, right against
mu. A small mu makes `M_g eta` large, so that the step all but stops: near 100 % T-I is then a network that has not moved. A large tau at the full
size takes all parameters to zero (their norm is in the caption), where # zeros means nothing.

What it does not show: the paper's 60 000 training images (8000 of the 10 000 test images train here, 2000 test), or convergence: one epoch, as the
released code's sample call has it. `fashion` is the same on Fashion-MNIST.

Reference: following Adeoye, Petersen, Bemporad, arXiv:2404.14875; ggn_score.md 4.2, R4 and R5.
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
    found = sweeps.swept(
        lambda tau, mu, seed: cell(name, tau, mu, seed, quick, data_dir), WIDTHS[quick], mus, sweeps.SEEDS
    )
    at = task(name, quick, data_dir)
    what = (
        f"{name}, {len(at.x)} training and {len(at.x_test)} test images from the 10 000 test images, pixels in [0, 1]"
    )
    result = {"sweeps": found, "setup": sweeps.setup(what, at, found)}
    result["checks"] = sweeps.checks(found, LEAST[name][quick])
    return result


@functools.cache
def task(name, quick, data_dir=None):
    return sweeps.task_of(sweeps.images(name, quick, data_dir), WIDTHS[quick])


@checkpointed
def cell(name, tau, mu, seed, quick, data_dir):
    return sweeps.point(task(name, quick, data_dir), tau, mu, seed)
