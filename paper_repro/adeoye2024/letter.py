"""Letters: GGN-SCORE and gradient descent on 26 classes, in batches of 8.

What to see: left, test loss by epochs; middle, accuracies by epochs: GGN-SCORE is ahead after equally many epochs; right, the same by seconds: its
small systems are cheap, and it is ahead of gradient descent from step 1 here too. Gradient descent from 1/kappa, which nobody tuned either, is
ahead of both: what decides by seconds is the step it starts from.

What it does not show: the paper's 2000 epochs of gradient descent and 50 of GGN-SCORE. The rows are the first 10 500 and the last 5000 of the
file's 20 000, features from 0..15 to [-1, 1]. Seconds are those of one machine, compilation left out; they are in no check.

Reference: following Adeoye, Petersen, Bemporad, arXiv:2404.14875; ggn_score.md 4.2, R2.
"""

from ..checks import check
from .classification import at_epoch, draw as draw, epochs_ratio, study


def data(quick, data_dir=None):
    """GGN-SCORE and gradient descent from every seed."""
    result = study("letter", quick, data_dir)
    result["checks"] = checks(result["runs"], quick)
    return result


def checks(runs, quick):
    """The numbers the figure stands for."""
    least = 30.0 if quick else 60.0
    ggn, gd = at_epoch(runs, "GGN", 5), at_epoch(runs, "GD", 5)
    ratio = "epochs of gradient descent (Armijo from {}) to GGN-SCORE's last accuracy over GGN-SCORE's"
    return [
        check("test accuracy of GGN-SCORE after 5 epochs, least [%]", float(ggn.min()), "at_least", least, 0.0, golden_rtol=3e-2),
        check(
            "GGN-SCORE less gradient descent (Armijo from 1) after 5 epochs, least [points]",
            float((ggn - gd).min()),
            "at_least",
            5.0,
            0.0,
            golden_rtol=0.1,
        ),
        check(ratio.format("1"), epochs_ratio(runs), "at_least", 3.0, 0.0, golden_rtol=0.3),
        check(ratio.format("1/kappa"), epochs_ratio(runs, "GD 1/k"), "at_least", 2.0, 0.0, golden_rtol=0.3),
    ]
