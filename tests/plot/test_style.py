"""Looks that meet in one picture stay apart for everyone: with all cones, with two of three, and on a grey print.

Two looks are apart if their colours are `LEAST` apart in CIELAB in every one of these ways to see, or if both dash and marker differ.
"""

import itertools

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_rgb

from riemgn.plot import checks, manifold, spread
from riemgn.plot.style import BOUND, FLOW_STYLES, OTHER_FLOW

LEAST = (
    20.0  # units of CIELAB; a just noticeable difference is 2.3, for two patches side by side, not for two thin lines
)
# Machado, Oliveira, Fernandes, IEEE Trans. Vis. Comput. Graph. 15 (2009), severity 1.0, on linear RGB
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
    """CIELAB coordinates (3,) of a colour as seen in one of the `WAYS`; white is D65."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(WAYS[way] @ linear, 0, 1) / TO_XYZ.sum(axis=1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def distance(one, other) -> float:
    """The least distance of two colours over all ways to see."""
    return min(float(np.linalg.norm(lab(one, way) - lab(other, way))) for way in WAYS)


def together(looks) -> list[tuple[str, str]]:
    """The pairs of looks that cannot be told apart."""
    pairs = itertools.combinations(looks.items(), 2)
    return [
        (a, b)
        for (a, one), (b, other) in pairs
        if distance(one["color"], other["color"]) < LEAST and not other_shape(one, other)
    ]


def other_shape(one, other) -> bool:
    """Whether dash and marker both differ; no marker is one of its own."""
    return all(
        str(one.get(key, plain)) != str(other.get(key, plain))
        for key, plain in (("linestyle", "-"), ("marker", "none"))
    )


def places(count):
    """The looks of a spread's lines."""
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
    "spread of eight": places(8),
}


@pytest.mark.parametrize("name", PALETTES)
def test_looks_that_meet_stay_apart(name):
    assert together(PALETTES[name]) == []


def test_surfaces_read_in_grey():
    """Along the colours of a surface the grey rises, in every way to see."""
    scale = colormaps[manifold.COLOURS](np.linspace(0, 1, 20))
    for way in WAYS:
        assert np.all(np.diff([lab(color, way)[0] for color in scale]) > 0), way


def test_what_is_alike_is_refused():
    red, green = {"color": "#C44E52"}, {"color": "#55A868"}
    assert together({"red": red, "green": green}) == [("red", "green")]  # apart with all cones, not with two
    assert np.linalg.norm(lab("#C44E52", "all cones") - lab("#55A868", "all cones")) > 80
    dashed, marked = {**green, "linestyle": "--"}, {**green, "marker": "o"}
    assert together({"red": red, "dashed": dashed}) and together(
        {"red": red, "marked": marked}
    )  # dash or marker alone is not enough
    assert not together({"red": red, "both": {**dashed, **marked}})


def test_colours_are_measured_right():
    """Against values of the CIE for sRGB primaries, and what every deficiency leaves alone."""
    np.testing.assert_allclose(lab("white", "all cones"), [100, 0, 0], atol=0.02)
    np.testing.assert_allclose(lab("red", "all cones"), [53.24, 80.09, 67.20], atol=0.05)
    np.testing.assert_allclose(lab("blue", "all cones"), [32.30, 79.19, -107.86], atol=0.05)
    for way in WAYS:
        np.testing.assert_allclose(lab("0.5", way), lab("0.5", "all cones"), atol=0.05)
    assert distance("black", "white") > 99
