"""The weight `tau` of the penalty, from 10^-8 to 1: GGN-SCORE's test loss and zeros at a fixed number of steps (S3).

What to see: below 10^-5 the test loss does not depend on `tau` (left axis). At full size the penalty helps it by a factor of 2.4 to 3.2, on every
seed, at `tau = 2.5 * 10^-4` in the `corrected` preset, and by a tenth at most in `released`; from 10^-3 on it costs accuracy, and more entries are
not needed for 99.9% of `|w|_1` (right axis). At large `tau` runs collapse to `w = 0`: the test loss is that of a network that says zero (dotted
line), and # zeros means nothing; the norm of the weights (below) tells these runs.

What it does not show: other smoothings; `mu = 1/kappa`. The reference draws means of ten runs, here it is the median with a band; its # zeros are of
the last slot of a stored trajectory, here of the final weights. In the `released` preset the Jacobian is the released code's, which lacks `kappa` and
couples wrong entries.

Reference: following Adeoye, Petersen, Bemporad, arXiv:2404.14875, and its released code; ggn_score.md 4.1 (S3), 7.4.
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
    """What small, middling and large `tau` do after 400 steps (ggn_score.md 7.6, 9); medians over seeds."""

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
