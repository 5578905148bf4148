"""On letters GGN-SCORE is ahead by epochs, but gradient descent from 1/kappa is ahead by seconds.

What to see: test loss by epochs (left) and accuracies by epochs (middle) for 26 classes in batches
of 8. GGN-SCORE is ahead after equally many epochs. The right panel shows the accuracies by seconds.
GGN-SCORE is ahead of gradient descent from step 1 here too because its systems are small. Gradient
descent from 1/kappa, which is not tuned either, is ahead of both. So the first step of the line
search decides the result by seconds.

What it does not show: the 2000 epochs of gradient descent and 50 of GGN-SCORE in the paper. The
rows are the first 10 500 and the last 5000 of the 20 000 in the file, with features scaled from
0..15 to [-1, 1]. Seconds are those of one machine, without compilation, and no check uses them.

Reference: Adeoye, Petersen, Bemporad, arXiv:2404.14875.
"""

from .classification import draw as draw, lead_checks, study


def data(quick, data_dir=None):
    """GGN-SCORE and gradient descent from every seed."""
    result = study("letter", quick, data_dir)
    result["checks"] = checks(result["runs"], quick)
    return result


def checks(runs, quick):
    """Compare the numbers of the figure with their predictions."""
    return lead_checks(runs, 30.0 if quick else 60.0, 0.3)
