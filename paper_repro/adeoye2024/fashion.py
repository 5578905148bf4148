"""Run the experiment of `images` on Fashion-MNIST, with mu from 1e-6 to 1 as in the paper's script.

What to see, and what it does not show: see `images`. The item runs if you provide the files of the
data set or if they can be downloaded. It has no golden numbers because the files were not available
to us.

Reference: Adeoye, Petersen, Bemporad, arXiv:2404.14875.
"""

from . import sweeps
from .images import study
from .sweeps import draw as draw


def data(quick, data_dir=None):
    """Both sweeps from every seed."""
    return study("fashion_mnist", sweeps.SMALL_MUS, quick, data_dir)
