"""On unscaled features gradient descent from step 1 fails, because one step silences the network.

What to see: pen-based digits with features from 0 to 100. By epochs GGN-SCORE learns and gradient
descent does not. With such features the first step of size 1 silences nearly all hidden neurons.
Armijo's rule accepts it because the loss falls from 1e5 to that of zero outputs, and then almost
nothing moves. The small mu of GGN-SCORE prevents such a step: its step size is about 0.01 at first.
If you divide the features by 100, gradient descent learns at once and reaches the accuracy of
GGN-SCORE in less time. So an untuned step on unscaled data fails, not gradient descent.

What it does not show: a comparison of the two methods at their best, or the 50 and 2000 epochs of
the paper. Batches have 64 samples. Seconds are those of one machine, without compilation, and no
check uses them.

Reference: Adeoye, Petersen, Bemporad, arXiv:2404.14875.
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
    """Compare the numbers of the figure with their predictions."""
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
