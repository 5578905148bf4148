"""Letters: GGN-SCORE and gradient descent on 26 classes, in batches of 8.

What to see: left, test loss by epochs; middle, accuracies by epochs: GGN-SCORE is ahead after equally many epochs; right, the same by seconds: its
small systems are cheap, and it is ahead of gradient descent from step 1 here too. Gradient descent from 1/kappa, which nobody tuned either, is
ahead of both: what decides by seconds is the step it starts from.

What it does not show: the paper's 2000 epochs of gradient descent and 50 of GGN-SCORE. The rows are the first 10 500 and the last 5000 of the
file's 20 000, features from 0..15 to [-1, 1]. Seconds are those of one machine, compilation left out; they are in no check.

Reference: following Adeoye, Petersen, Bemporad, arXiv:2404.14875; ggn_score.md 4.2, R2.
"""

from .classification import draw as draw, lead_checks, study


def data(quick, data_dir=None):
    """GGN-SCORE and gradient descent from every seed."""
    result = study("letter", quick, data_dir)
    result["checks"] = checks(result["runs"], quick)
    return result


def checks(runs, quick):
    """The numbers the figure stands for."""
    return lead_checks(runs, 30.0 if quick else 60.0, 0.3)
