"""Gauss-Newton, damped flows, gradient flow and discrete iterates on images of digits: digits, 64-16-1 tanh network, bundled with scikit-learn.

What to see: on a real, ill-conditioned kernel (cond(K) is in the caption) the Gauss-Newton flow is `exp(-t)`, damping tied to the least eigenvalue
or falling in time follows it, constant damping and gradient flow stay behind; each curve is below its bound. In discrete time Gauss-Newton converges
in a few steps, and with `rho = lambda_min(K_k)` the residual is halved by every step. The path of the parameters is within its bound.

What it does not show: generalisation, nor classification: the target is the digit's value. Gradient flow is followed only to `10^5 / lambda_max`; to
its end it would have to go cond(K) times as far as its first mode.

Reference: following Cayci, arXiv:2412.14031v4; derived in theory.md C6, C7, C8, C9, C15.
"""

from .images import draw as draw, image_data

IMAGES, WIDTH = 200, 16
SEEDS = {True: (0, 1, 2), False: (0, 1, 2, 3, 4)}


def data(quick, data_dir=None):
    """All flows and iterates for as many seeds as the size asks for."""
    return image_data("digits", IMAGES, WIDTH, SEEDS[quick], data_dir)
