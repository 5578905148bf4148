"""Eight-by-eight images: Gauss-Newton is `exp(-t)` on real data, damped flows keep their bounds, gradient flow takes of the order of cond(K) as long.

What to see: an over-parameterised tanh network fits the values of handwritten digits. Six flows, each with its closed-form bound (grey): gradient
flow waits for the smallest eigenvalue of K, constant damping for its share of that, the schedules that fall lose the wait, Gauss-Newton has none.
Right: full Gauss-Newton steps square the residual, steps damped by the smallest eigenvalue halve it at least; the times to a millionth
beside cond(K).

What it does not show: generalisation to other images, or a small output scale: alpha is large enough here that the kernel moves by a few percent at
most. The bound of the full step has an analytic Lipschitz constant and is far from attained.

Reference: following Cayci, arXiv:2412.14031v4; bounds derived in theory.md C6 to C9, C15. Data: scikit-learn's bundled digits.
"""

from .images import draw as draw, study

SIZES = {True: (80, 32), False: (400, 64)}  # images, width


def data(quick, data_dir=None):
    """Flows and discrete methods on a sample of the digits, two or three seeds of the weights."""
    return study("digits", *SIZES[quick], quick)
