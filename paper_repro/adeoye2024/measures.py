"""What the third paper measures of a trained network: effective zeros, stability of the activations, objective, accuracy (ggn_score.md 4.3)."""

import numpy as np

SHARE = 0.999


def cardinality(x, share=SHARE):
    """The least k such that the k largest `|x_i|` sum to at least `share` of `|x|_1`.

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
    """T-I: percent of pairs of sample and hidden neuron whose pre-activation `<u_j, x_i>` has the sign it had at the start."""
    x = np.asarray(x)
    return 100.0 * float(np.mean(np.sign(x @ np.asarray(before).T) == np.sign(x @ np.asarray(after).T)))


def stability_with_zeros(before, after, x):
    """T-I including # zeros: T-I plus 100 times the new zeros of the hidden layer over (samples x neurons); may exceed 100."""
    samples, neurons = len(x), np.shape(before)[0]
    return stability(before, after, x) + 100.0 * max(zeros(after) - zeros(before), 0) / (samples * neurons)


def accuracy(outputs, labels):
    """Percent of rows whose largest output is where the largest target is."""
    return 100.0 * float(np.mean(np.argmax(np.asarray(outputs), axis=1) == np.argmax(np.asarray(labels), axis=1)))
