"""Define the settings and variants of the synthetic experiments, and what a step costs.

Arithmetic (`flops`) is counted from the matrix products of the plain step with `n` samples and `p`
parameters, without elementwise work:

- gradient descent: `4 n p` for the products with `U` and with the slopes, and `2 n p` for every
    trial of a line search,
- GGN-SCORE: `n^2 p + n^3 / 3 + 12 n p` for the symmetric kernel `J D^{-1} J^T`, its Cholesky
    factor, `J` itself and five products with it.

A faster algorithm for the same direction needs fewer operations.
"""

from typing import NamedTuple

import riemgn as rg
from riemgn.method import AbstractMethod

ALPHA = 0.95
TAU = 1e-4


class Setting(NamedTuple):
    """Rows for training and for the test, inputs, hidden neurons."""

    train: int
    test: int
    inputs: int
    width: int

    @property
    def p(self) -> int:
        """Parameters."""
        return self.width * (self.inputs + 1)

    @property
    def smoothing(self) -> float:
        """The paper's `mu = 1 / kappa = sqrt(width)`."""
        return self.width**0.5

    @property
    def words(self) -> str:
        """For the caption."""
        return (
            f"teacher of 5 neurons, {self.train}/{self.test} rows on the unit sphere of R^{self.inputs}; "
            f"SiLU network {self.inputs}-{self.width}-1"
        )


S1 = Setting(1000, 2000, 20, 500)
S2 = Setting(500, 1000, 5, 500)
SMALL = Setting(100, 200, 5, 100)


class Variant(NamedTuple):
    """A method in a preset.

    `option` is the damping `"c = 1"` or `"c = tau"` of GGN-SCORE, or the step or line search of
    gradient descent.
    """

    method: str
    preset: str
    option: str

    @property
    def label(self) -> str:
        """As in the legends."""
        return ", ".join(self)


GGN = Variant("GGN", "corrected", "c = 1")
GGN_RELEASED = Variant("GGN", "released", "c = 1")
GGN_TAU = Variant("GGN", "corrected", "c = tau")
GD = Variant("GD", "corrected", "step 1")
GD_WIDE = Variant("GD", "corrected", "step 1/kappa")
GD_ARMIJO = Variant("GD", "corrected", "Armijo from 16/kappa")
GD_FROM_ONE = Variant("GD", "corrected", "Armijo from 1")
GD_RELEASED = Variant("GD", "released", "step 1")
LOOKS = {
    GGN: {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    GGN_RELEASED: {"color": "#56B4E9", "linestyle": "--", "marker": "s"},
    GGN_TAU: {"color": "#000000", "linestyle": ":", "marker": "D"},
    GD: {"color": "#D55E00", "linestyle": "-", "marker": "^"},
    GD_WIDE: {"color": "#E69F00", "linestyle": "--", "marker": "v"},
    GD_ARMIJO: {"color": "#009E73", "linestyle": ":", "marker": "P"},
    GD_RELEASED: {"color": "#CC79A7", "linestyle": "-.", "marker": "x"},
}


def look(variant, **more):
    """Line, marker and label of a variant."""
    return {**LOOKS[variant], "label": variant.label, "markersize": 5, "linewidth": 1.3, **more}


def method_of(variant: Variant, setting: Setting, mu: float, tau: float, recycle: bool = False) -> AbstractMethod:
    """The method of a variant."""
    if variant.method == "GGN":
        return rg.GGNScore(
            rg.PseudoHuberPenalty(mu), tau, ALPHA, damping=1.0 if variant.option == "c = 1" else tau, recycle=recycle
        )
    first = {"1": 1.0, "1/kappa": setting.smoothing, "16/kappa": 16 * setting.smoothing}[variant.option.split(" ")[-1]]
    return rg.GradientDescent(first, line_search=variant.option.startswith("Armijo"))


def flops(setting: Setting, variant: Variant, steps: int, halvings: float = 0.0) -> float:
    """Arithmetic of `steps` steps, as counted above."""
    n, p = setting.train, setting.p
    if variant.method == "GGN":
        return steps * (n**2 * p + n**3 / 3 + 12.0 * n * p)
    trials = steps + halvings if variant.option.startswith("Armijo") else 0.0
    return steps * 4.0 * n * p + trials * 2.0 * n * p
