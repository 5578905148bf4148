"""Pen-based digits: GGN-SCORE and gradient descent on features from 0 to 100 as they come.

What to see: by epochs GGN-SCORE learns where gradient descent does not: the first step of size 1 at features of size 100 silences every hidden neuron,
Armijo's rule lets it pass since the loss falls from 1e5 to that of zero outputs, and nothing moves afterwards. On the same features divided by 100
gradient descent learns at once: what fails is an untuned step on unscaled data, not gradient descent.

What it does not show: a comparison of the two methods at their best. Seconds are those of one machine, compilation left out; they are in no check.

Reference: following Adeoye, Petersen, Bemporad, arXiv:2404.14875; ggn_score.md 4.2, R1 (batches of 64).
"""

from ..checks import check
from .classification import at_epoch, draw as draw, final, study
