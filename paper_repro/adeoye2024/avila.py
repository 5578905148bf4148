"""Avila: GGN-SCORE and gradient descent on the hands of a manuscript, with and without an outlier.

What to see: as in `digits`: by epochs GGN-SCORE is ahead, by seconds gradient descent is. One training row has 386 where the next largest entry is 83:
gradient descent with step 1 does not survive it, with Armijo's rule it does; without the row GGN-SCORE reaches the same test accuracy.

What it does not show: a tuned step of gradient descent. Seconds are those of one machine, compilation left out; they are in no check.

Reference: following Adeoye, Petersen, Bemporad, arXiv:2404.14875; ggn_score.md 4.2, R3; 7.5 and acceptance test 11.
"""

from ..checks import check
from .classification import at_epoch, draw as draw, epochs_ratio, final, study
