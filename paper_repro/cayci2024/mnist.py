"""On MNIST Gauss-Newton follows `exp(-t)` and gradient flow needs about cond(K) times longer.

What to see: the experiment of `digits` on a sample of MNIST, with 784 pixels and six times as many
parameters. The left panel shows six flows, each with its closed-form bound (grey). In the right
panels full Gauss-Newton steps square the residual, and steps damped by the smallest eigenvalue at
least halve it. You can compare the times to a millionth with cond(K).

What it does not show: MNIST at its full size, or accuracy on test images, because the value of the
digit is a regression target. The bound of the full step is far from attained because it uses an
analytic Lipschitz constant.

Reference: Cayci, arXiv:2412.14031v4. Statements C6 to C9 and C15.
"""

from .images import draw as draw, study

SIZES = {True: (100, 16), False: (500, 32)}  # images, width


def data(quick, data_dir=None):
    """Flows and discrete methods on a sample of MNIST, two or three seeds of the weights."""
    return study("mnist", *SIZES[quick], quick, data_dir)
