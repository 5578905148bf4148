"""Tests of colours: lines in one figure differ with all cones, with two of three, and in grey.

Two styles differ if their colours are `MIN_DISTANCE` apart in CIELAB in each of these ways to see,
or if both dash and marker differ.
"""

import itertools

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_rgb

from riemgn.plot import checks, manifold, spread
from riemgn.plot.style import BOUND, FLOW_STYLES, OTHER_FLOW

MIN_DISTANCE = 20.0  # CIELAB; a just noticeable difference of two patches is 2.3
# Machado, Oliveira, Fernandes, IEEE Trans. Vis. Comput. Graph. 15 (2009), severity 1.0, linear RGB
DEFICIENCIES = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # of linear sRGB, IEC 61966-2-1
WAYS = {
    "all cones": np.eye(3),
    **{name: np.array(matrix) for name, matrix in DEFICIENCIES.items()},
    "grey": np.tile(LUMINANCE, (3, 1)),
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def lab(color, way) -> np.ndarray:
    """Return CIELAB coordinates (3,) of a colour as seen in one of the `WAYS`; white is D65."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(WAYS[way] @ linear, 0, 1) / TO_XYZ.sum(axis=1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def distance(one, other) -> float:
    """Return the smallest distance of two colours over all ways to see."""
    return min(float(np.linalg.norm(lab(one, way) - lab(other, way))) for way in WAYS)


def alike(styles) -> list[tuple[str, str]]:
    """Return the pairs of styles that cannot be told apart."""
    pairs = itertools.combinations(styles.items(), 2)
    return [
        (a, b)
        for (a, one), (b, other) in pairs
        if distance(one["color"], other["color"]) < MIN_DISTANCE and not shapes_differ(one, other)
    ]


def shapes_differ(one, other) -> bool:
    """Whether dash and marker both differ; no marker counts as a marker."""
    return all(
        str(one.get(key, none)) != str(other.get(key, none)) for key, none in (("linestyle", "-"), ("marker", "none"))
    )


def spread_styles(count):
    return {
        str(i): {
            "color": colormaps["viridis"](0.85 * i / max(1, count - 1)),
            "linestyle": spread.DASHES[i],
            "marker": spread.SHAPES[i],
        }
        for i in range(count)
    }


PALETTES = {
    "flows and a bound": {**FLOW_STYLES, "other": OTHER_FLOW, "bound": BOUND},
    "paths on a manifold": {**manifold.PATH_STYLES, "flat": manifold.FLAT, "tangent line": manifold.TANGENT_LINE},
    "slopes": {
        "measured": checks.MEASURED,
        "fitted": checks.FITTED,
        "expected": checks.EXPECTED,
        "rounding": checks.ROUNDING,
    },
    "spread of eight": spread_styles(8),
}


@pytest.mark.parametrize("name", PALETTES)
def test_lines_of_one_figure_differ(name):
    assert alike(PALETTES[name]) == []


def test_the_colours_of_a_surface_increase_in_luminance():
    scale = colormaps[manifold.COLOURS](np.linspace(0, 1, 20))
    for way in WAYS:
        assert np.all(np.diff([lab(color, way)[0] for color in scale]) > 0), way
