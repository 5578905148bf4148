"""On digits Gauss-Newton follows `exp(-t)` and gradient flow needs about cond(K) times longer.

What to see: an over-parameterised tanh network fits the values of handwritten digits. The left
panel shows six flows, each with its closed-form bound (grey). Gradient flow is slow because of the
smallest eigenvalue of K. Constant damping is slow because of the ratio of rho to this eigenvalue.
Falling damping removes the delay, and Gauss-Newton has none. In the right panels full Gauss-Newton
steps square the residual, and steps damped by the smallest eigenvalue at least halve it. You can
compare the times to a millionth with cond(K).

What it does not show: generalisation to other images, or a small output scale. Here alpha is so
large that the kernel moves by a few percent at most. The bound of the full step is far from
attained because it uses an analytic Lipschitz constant.

Reference: Cayci, arXiv:2412.14031v4. Statements C6 to C9 and C15. Data: the digits of scikit-learn.
"""

from .images import draw as draw, study

SIZES = {True: (80, 32), False: (400, 64)}  # images, width


def data(quick, data_dir=None):
    """Flows and discrete methods on a sample of the digits, two or three seeds of the weights."""
    return study("digits", *SIZES[quick], quick)
