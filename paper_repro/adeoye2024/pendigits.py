"""Pen-based digits: GGN-SCORE and gradient descent on features from 0 to 100 as they come.

What to see: by epochs GGN-SCORE learns where gradient descent does not: the first step of size 1 at features of size 100 silences all or nearly all
hidden neurons, Armijo's rule lets it pass since the loss falls from 1e5 to that of zero outputs, and next to nothing moves afterwards. GGN-SCORE is
kept from such a step by its small mu: its step size is about 0.01 at first. On the same features divided by 100 gradient descent learns at once and
reaches GGN-SCORE's accuracy in less time: what fails is an untuned step on unscaled data, not gradient descent.

What it does not show: a comparison of the two methods at their best, or the paper's 50 and 2000 epochs. Seconds are those of one machine,
compilation left out; they are in no check.

Reference: following Adeoye, Petersen, Bemporad, arXiv:2404.14875; ggn_score.md 4.2, R1 (batches of 64).
"""

from riemgn.experiment.verdict import check

from .classification import draw as draw, final, study

ZERO_OUTPUTS = 1 / (2 * 10)  # of one-hot targets in 10 classes


def data(quick, data_dir=None):
    """GGN-SCORE and gradient descent from every seed."""
    result = study("pendigits", quick, data_dir)
    result["checks"] = checks(result["runs"], quick)
    return result


def checks(runs, quick):
    """The numbers the figure stands for."""
    least, scaled = (70.0, 60.0) if quick else (85.0, 85.0)
    silent = "test loss of gradient descent (Armijo from {}), that of zero outputs"
    return [
        check(
            "test accuracy of GGN-SCORE at its end [%]", final(runs, "GGN"), "at_least", least, 0.0, golden_rtol=3e-2
        ),
        check(silent.format("1"), final(runs, "GD", "test"), "equal", ZERO_OUTPUTS, 1e-3),
        check(silent.format("1/kappa"), final(runs, "GD 1/k", "test"), "equal", ZERO_OUTPUTS, 1e-3),
        check(
            "test accuracy of gradient descent (Armijo from 1), features / 100 [%]",
            final(runs, "GD*"),
            "at_least",
            scaled,
            0.0,
            golden_rtol=3e-2,
        ),
    ]
