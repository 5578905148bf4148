"""By seconds the lead of GGN-SCORE over gradient descent of step 1 is small (setting S1).

What to see: after equal numbers of steps GGN-SCORE is far ahead of gradient descent of step 1 on
the true gradient. After equal seconds they are close. With the derivatives of the released code
both are faster. Gradient descent gains most because the released gradient lacks `kappa`, so "step
1" is a step of `1/kappa`. After 600 and 10 000 steps the two have the same loss, and by seconds
gradient descent is ahead until then. On the small network of the quick size the two released
methods are equally good after equal numbers of steps.

What it does not show: that GGN-SCORE is the better method. The gap depends on a step that was not
tuned, see `comparison`. The script of the paper runs 4000 steps of GGN-SCORE. Here it is 600
because a step takes a twentieth to a quarter of a second, and all losses still fall at the end. The
full size has one seed, as in the script.

Reference: Adeoye, Petersen, Bemporad, arXiv:2404.14875, and its released code.
"""

import numpy as np

from riemgn.experiment.verdict import check
from riemgn.plot.caption import band

from .synthetic import after, curve, draw_curve, records, setup
from .variants import GD, GD_RELEASED, GGN, GGN_RELEASED, LOOKS, S1, Setting, TAU

SETTING = {True: Setting(200, 400, 20, 100), False: S1}
STEPS = {True: (200, 1000), False: (600, 10_000)}
SEEDS = {True: 3, False: 1}
REACHED = {
    True: {"corrected": (200, 1000), "released": (200, 200)},
    False: {"corrected": (600, 10_000), "released": (600, 10_000)},
}
PAIRS = {"corrected": (GGN, GD), "released": (GGN_RELEASED, GD_RELEASED)}


def data(quick, data_dir=None):
    """Curves of both methods in both presets."""
    setting, (ggn, gd) = SETTING[quick], STEPS[quick]
    result = {"runs": records(setting, {GGN: ggn, GGN_RELEASED: ggn, GD: gd, GD_RELEASED: gd}, SEEDS[quick])}
    words = f"{setting.words}; full batch, mu = 1/kappa, tau = {TAU:g} (GGN, {ggn} steps), tau = 0 (GD, {gd} steps)"
    result["setup"] = setup(setting, SEEDS[quick], "float64; processor seconds of the steps alone", data=words)
    result["checks"] = checks(result, quick)
    return result


def draw(data, fig):
    """Draw the test loss by iterations, and both losses by seconds with a panel for each preset."""
    fig.set_size_inches(11, 4)
    left, *others = fig.subplots(1, 3, sharey=True)
    for variant in (GGN, GGN_RELEASED, GD, GD_RELEASED):
        draw_curve(left, data, variant)
    left.set(xscale="log", yscale="log", xlabel="steps", ylabel="loss f", title="test loss")
    left.legend(loc="lower left")
    for ax, (preset, pair) in zip(others, PAIRS.items(), strict=True):
        for variant in pair:
            record = curve(data, variant)
            seconds = np.median(record["seconds"], axis=0)[1:]
            for key, look in (
                ("train", {"linestyle": "-"}),
                ("test", {"linestyle": ":", "markerfacecolor": "white", "markevery": (1, 3)}),
            ):
                look = {"color": LOOKS[variant]["color"], "marker": LOOKS[variant]["marker"], "markersize": 5, **look}
                band(ax, seconds, record[key][:, 1:], label=f"{variant.method}, {key}", **look)
        options = ", ".join(f"{variant.method} {variant.option}" for variant in pair)
        ax.set(xscale="log", xlabel="processor seconds (this machine)", title=f"{preset}: {options}")
        ax.legend(loc="lower left")


def checks(result, quick):
    """Compare the test losses of both methods in the same preset.

    At quick size the released methods may be equally good.
    """
    entries = []
    for preset, (ggn, gd) in PAIRS.items():
        one, other = REACHED[quick][preset]
        ratio = float(np.median(after(result, ggn, one)) / np.median(after(result, gd, other)))
        slack = 0.5 if one == other else 0.0
        entries.append(
            check(
                f"{preset}: test loss, GGN at {one} / GD step 1 at {other}",
                ratio,
                "at_most",
                1.0,
                slack,
                golden_rtol=0.1,
            )
        )
    return entries
