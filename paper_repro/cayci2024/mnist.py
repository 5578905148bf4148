"""MNIST images: Gauss-Newton is `exp(-t)` on real data, damped flows keep their bounds, gradient flow takes of the order of cond(K) as long.

What to see: the experiment of `digits` on a sample of MNIST, 784 pixels and six times as many parameters. Six flows, each with its closed-form bound
(grey); right: full Gauss-Newton steps square the residual, steps damped by the smallest eigenvalue halve it at least; the times to a millionth
beside cond(K).

What it does not show: MNIST at its full size, or accuracy on test images; the digit's value is a regression target here. The bound of the full step
has an analytic Lipschitz constant and is far from attained.

Reference: following Cayci, arXiv:2412.14031v4; bounds derived in theory.md C6 to C9, C15.
"""

from .images import draw as draw, study

SIZES = {True: (100, 16), False: (500, 32)}  # images, width


def data(quick, data_dir=None):
    """Flows and discrete methods on a sample of MNIST, two or three seeds of the weights."""
    return study("mnist", *SIZES[quick], quick, data_dir)
