"""Avila: GGN-SCORE and gradient descent on the hands of a manuscript, with and without an outlier.

What to see: left, test loss by epochs; middle, accuracies by epochs: GGN-SCORE is ahead after equally many epochs; right, the same by seconds:
gradient descent is there in a fraction of the time, the least of it from 1/kappa. One training row has 386 where the next largest entry is 83:
gradient descent with step 1 does not survive it, with Armijo's rule it does; without the row GGN-SCORE reaches the same test accuracy.

What it does not show: a tuned step of gradient descent, or the paper's 50 and 2000 epochs. Seconds are those of one machine, compilation left out;
they are in no check.

Reference: following Adeoye, Petersen, Bemporad, arXiv:2404.14875; ggn_score.md 4.2, R3; 7.5 and acceptance test 11.
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
    """The numbers the figure stands for."""
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
