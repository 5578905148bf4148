"""On Avila GGN-SCORE is ahead by epochs, and gradient descent is ahead by seconds.

What to see: test loss by epochs (left) and accuracies by epochs (middle), with and without an
outlier. GGN-SCORE is ahead after equally many epochs. The right panel shows the accuracies by
seconds. Gradient descent needs a fraction of the time, and the smallest one from 1/kappa. One
training row has an entry of 386, and the next largest entry is 83. Gradient descent with step 1
diverges because of this row, and with Armijo's rule it converges. If you leave the row out,
GGN-SCORE reaches the same test accuracy.

What it does not show: a tuned step of gradient descent, or the 50 and 2000 epochs of the paper.
Seconds are those of one machine, without compilation, and no check uses them.

Reference: Adeoye, Petersen, Bemporad, arXiv:2404.14875.
"""

import numpy as np

from riemgn.experiment.verdict import check

from .classification import draw as draw, final, lead_checks, study


def data(quick, data_dir=None):
    """GGN-SCORE and gradient descent from every seed."""
    result = study("avila", quick, data_dir)
    result["checks"] = checks(result["runs"], quick)
    return result


def checks(runs, quick):
    """Compare the numbers of the figure with their predictions."""
    survived = np.isfinite(np.asarray(runs["GD 1"]["test"], float)[:, -1]).sum()
    change = final(runs, "GGN*") - final(runs, "GGN")
    loss = final(runs, "GGN*", "test") / final(runs, "GGN", "test")
    return [
        *lead_checks(runs, 50.0 if quick else 61.0, 0.5),
        check(
            "GGN-SCORE without the outlier less with it: test accuracy [points]",
            change,
            "equal",
            0.0,
            3.0,
            golden_rtol=1.0,
        ),
        check("GGN-SCORE without the outlier over with it: test loss", loss, "equal", 1.0, 0.15, golden_rtol=5e-2),
        check("seeds that gradient descent with step 1 survives", float(survived), "equal", 0.0, 0.0),
    ]
