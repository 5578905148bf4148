"""Fit slopes and find the worst values for the checks of the items."""

import numpy as np


def slopes(x, rows, natural=False):
    """Slope of each row (rows, x) in log x, of its logarithm or (`natural`) of the row."""
    return np.array([np.polyfit(np.log(x), row if natural else np.log(row), 1)[0] for row in np.asarray(rows, float)])


def mean_slope(x, values):
    """Slope of the mean over seeds of the logarithm of `values` (x, seeds) in log x."""
    return float(np.polyfit(np.log(x), np.log(values).mean(axis=1), 1)[0])


def farthest(values, predicted):
    """The value farthest from the prediction, or NaN if one is NaN."""
    values = np.asarray(values)
    return float(values[np.argmax(np.abs(values - predicted))]) if np.all(np.isfinite(values)) else float("nan")
