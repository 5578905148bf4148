"""Fashion-MNIST: the experiment of `images`, mu from 1e-6 to 1 as in the paper's script.

What to see, and what it does not show: as in `images`. It runs where the set's files are given or can be fetched, and is left out by name
elsewhere; it has no golden numbers, as its files were not at hand.

Reference: following Adeoye, Petersen, Bemporad, arXiv:2404.14875; ggn_score.md 4.2, R4 and R5.
"""

from . import sweeps
from .images import study
from .sweeps import draw as draw


def data(quick, data_dir=None):
    """Both sweeps from every seed."""
    return study("fashion_mnist", sweeps.SMALL_MUS, quick, data_dir)
