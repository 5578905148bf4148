"""Measure a trained network as Adeoye et al. do.

The measures are effective zeros, stability of the activations, and accuracy.
"""

import numpy as np

SHARE = 0.999


def cardinality(x, share=SHARE):
    """The smallest k such that the k largest `|x_i|` sum to at least `share` of `|x|_1`.

    >>> cardinality([10, -5, 3, 0.001, 0, 0.0005]), cardinality(range(1, 11), 0.9)
    (3, 8)
    """
    sizes = np.sort(np.abs(np.asarray(x, dtype=float).reshape(-1)))[::-1]
    sums = np.cumsum(sizes)
    return int(np.searchsorted(sums, share * sums[-1] * (1 - 1e-14)) + 1) if sums[-1] > 0 else 0


def zeros(x, share=SHARE):
    """How many entries are not needed for `share` of `|x|_1`: "# zeros"."""
    return int(np.size(x)) - cardinality(x, share)


def stability(before, after, x):
    """T-I: percent of pairs (sample, neuron) whose pre-activation keeps its sign."""
    x = np.asarray(x)
    return 100.0 * float(np.mean(np.sign(x @ np.asarray(before).T) == np.sign(x @ np.asarray(after).T)))


def stability_with_zeros(before, after, x):
    """T-I plus 100 times the new zeros of the hidden layer over (samples x neurons).

    The value may exceed 100.
    """
    samples, neurons = len(x), np.shape(before)[0]
    return stability(before, after, x) + 100.0 * max(zeros(after) - zeros(before), 0) / (samples * neurons)


def accuracy(outputs, labels):
    """Percent of rows whose largest output is where the largest target is."""
    return 100.0 * float(np.mean(np.argmax(np.asarray(outputs), axis=1) == np.argmax(np.asarray(labels), axis=1)))
