"""Letters: GGN-SCORE and gradient descent on 26 classes, in batches of 8.

What to see: as in `digits`: by epochs GGN-SCORE is ahead, by seconds gradient descent is.

What it does not show: the paper's rows (the first 10 500 and the last 5000 of the file's 20 000 are taken here, features from 0..15 to [-1, 1]), or its
2000 epochs of gradient descent. Seconds are those of one machine, compilation left out; they are in no check.

Reference: following Adeoye, Petersen, Bemporad, arXiv:2404.14875; ggn_score.md 4.2, R2.
"""

from ..checks import check
from .classification import at_epoch, draw as draw, epochs_ratio, final, study
