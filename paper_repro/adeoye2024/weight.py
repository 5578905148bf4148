"""A moderate weight `tau` of the penalty helps little, and a large one collapses the network (S3).

What to see: test loss and zeros after a fixed number of steps, for `tau` from 10^-8 to 1. Below
10^-5 the test loss does not depend on `tau` (left axis). At full size in the `corrected` preset the
penalty reduces it by a factor of 2.4 to 3.2 for every seed, at `tau = 2.5 * 10^-4`. In `released`
it gains a tenth at most. From 10^-3 on it costs accuracy, and you can drop more entries and keep
99.9 % of `|w|_1` (right axis). At large `tau` runs collapse to `w = 0`. Then the test loss is that
of zero outputs (dotted line), and # zeros means nothing. The norm of the weights (lower panels)
identifies these runs.

What it does not show: other smoothings, because `mu = 1/kappa`. The paper shows means of ten runs,
here you see the median with a band. Its # zeros are those of the last slot of a stored trajectory,
here they are those of the final weights. In the `released` preset the Jacobian is that of the
released code, see `released.py`.

Reference: Adeoye, Petersen, Bemporad, arXiv:2404.14875, and its released code.
"""

import numpy as np

from riemgn.experiment.verdict import check

from .grids import draw_grid, grid, MIDDLE, swept_grid, value
from .synthetic import ERROR

FEW = (1e-8, 1e-4, 1e-2, 0.1, 1.0)


def data(quick, data_dir=None):
    """Losses, zeros, norms and step sizes for each preset, `tau` and seed."""
    sizes = grid(quick, FEW, -8.0, 0.0)
    result = swept_grid(
        sizes, "weight", lambda tau: (sizes.setting.smoothing, tau), f"mu = 1/kappa = {sizes.setting.smoothing:.3g}"
    )
    result["checks"] = checks(result)
    return result


def draw(data, fig):
    """Test loss with zeros, and the norm of the weights, against `tau`."""
    draw_grid(data, fig, r"weight $\tau$ of the penalty", "norm", r"final $|w|_2$")


def checks(result):
    """Compare medians over seeds after 400 steps for small, middle and large `tau`."""

    def ratio(one, other, preset="corrected", key="test"):
        return float(np.median(value(result, preset, one, key) / value(result, preset, other, key)))

    collapsed = value(result, "corrected", 1.0) / np.asarray(result["half_square"])
    norm = float(value(result, "corrected", 1.0, "norm").max())
    name = f"test loss after {MIDDLE} steps, tau = "
    return [
        check(f"{name}0.01 / tau = 0.0001", ratio(1e-2, 1e-4), "at_least", 20.0, 0.0, golden_rtol=0.3),
        check(
            f"released: {name}0.01 / tau = 0.0001",
            ratio(1e-2, 1e-4, "released"),
            "at_least",
            20.0,
            0.0,
            golden_rtol=0.3,
        ),
        check(f"{name}1e-08 / tau = 0.0001", ratio(1e-8, 1e-4), "equal", 1.0, 0.5, golden_rtol=0.1),
        check(
            "# zeros at the end, tau = 0.01 / tau = 0.0001",
            ratio(1e-2, 1e-4, key="zeros"),
            "at_least",
            1.1,
            0.0,
            golden_rtol=0.2,
        ),
        check(
            f"{name}1 / loss of f = 0, farthest from 1",
            float(collapsed[np.argmax(np.abs(collapsed - 1))]),
            "equal",
            1.0,
            0.01,
            golden_rtol=ERROR,
        ),
        check("norm of the weights at tau = 1, largest", norm, "at_most", 0.0, 1e-3, golden_rtol=ERROR),
    ]
