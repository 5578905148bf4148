"""A larger smoothing `mu` of the penalty gives a smaller test loss of GGN-SCORE (setting S2).

What to see: test loss and zeros after a fixed number of steps, for `mu` from 10^-3 to 10. The final
test loss falls by about five orders of magnitude (left axis). At full size in the `corrected`
preset it stays at 0.02 from 0.006 to 0.12, and then falls to 1.6e-5 at 10. In `released` it is
about that of zero outputs (dotted) up to 0.04, seven times that at 0.16, and falls by nearly four
orders from 0.63 to 1.26. At large `mu` you can drop about as many entries of the parameters as at
the start and keep 99.9 % of `|w|_1` (right axis). At small `mu` it is a third to two thirds of
that. `mu` acts through the metric `D = diag h_mu''`, about `1/mu` at small weights. With `c = 1` it
is, up to `alpha`, the step size of gradient descent on all weakly curved modes. In addition a small
`mu` stops the step (lower panels) because `M_g eta` grows.

What it does not show: that the penalty matters for the fit. `tau` is fixed at 10^-4, see `weight`.
The paper shows means of ten runs, here you see the median with a band. In the `released` preset the
Jacobian is that of the released code, see `released.py`.

Reference: Adeoye, Petersen, Bemporad, arXiv:2404.14875, and its released code.
"""

import numpy as np

from riemgn.experiment.verdict import check

from .grids import draw_grid, grid, MIDDLE, swept_grid, value
from .variants import TAU

FEW = (1e-3, 1e-2, 0.1, 1.0, 10.0)


def data(quick, data_dir=None):
    """Losses, zeros, norms and step sizes for each preset, `mu` and seed."""
    result = swept_grid(grid(quick, FEW, -3.0, 1.0), "smoothing", lambda mu: (mu, TAU), f"tau = {TAU:g}")
    result["checks"] = checks(result)
    return result


def draw(data, fig):
    """Test loss with zeros, and the last step size, against `mu`."""
    draw_grid(data, fig, r"smoothing $\mu$", "step_size", "last step size")


def checks(result):
    """Compare medians over seeds at the ends of the grid after 400 steps."""

    def ratio(one, other, preset):
        return float(np.median(value(result, preset, one) / value(result, preset, other)))

    frozen = float(np.median(value(result, "corrected", 1e-2, "step_size")))
    name = f"test loss after {MIDDLE} steps, mu = "
    return [
        check(f"{name}0.01 / mu = 10", ratio(1e-2, 10.0, "corrected"), "at_least", 100.0, 0.0, golden_rtol=0.3),
        check(
            f"released: {name}0.01 / mu = 10", ratio(1e-2, 10.0, "released"), "at_least", 100.0, 0.0, golden_rtol=0.3
        ),
        check(f"{name}1 / mu = 10", ratio(1.0, 10.0, "corrected"), "at_least", 5.0, 0.0, golden_rtol=0.3),
        check("last step size at mu = 0.01", frozen, "at_most", 0.01, 0.0, golden_rtol=0.3),
        check(
            "last step size at mu = 10",
            float(np.median(value(result, "corrected", 10.0, "step_size"))),
            "at_least",
            0.9,
            0.0,
        ),
    ]
