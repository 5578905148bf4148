"""The derivatives of the released code change the path of GGN-SCORE.

What to see: test loss at fixed `mu = 1/kappa`, `tau = 10^-4`, for several presets, dampings and
steps. With the true Jacobian GGN-SCORE falls steeply for ten steps and slowly afterwards. The
Jacobian of the released code lacks `kappa`, which shortens a step by `kappa` and reduces the
damping by `kappa^2`. The loss then falls by `(1 - alpha kappa)^2` per step at first and ends lower.
With `c = tau`, the true Hessian of the penalised loss, the loss is not monotone, and rounding
decides its later course. Gradient descent of step 1 is far slower. With the true gradient and step
`1/kappa`, or with the released gradient, which implies such a step, it is as fast as GGN-SCORE.

What it does not show: what a step costs, and why you should compare `mu = 1/kappa` with the step
`1/kappa`, see `comparison`. You cannot compare single numbers with the released code because it
draws from a generator of Julia. You can compare ranges over seeds.

Reference: Adeoye, Petersen, Bemporad, arXiv:2404.14875, and its released code.
"""

import numpy as np

from riemgn.experiment.verdict import check

from .synthetic import after, curve, draw_curve, ERROR, records, setup
from .variants import GD, GD_ARMIJO, GD_RELEASED, GD_WIDE, GGN, GGN_RELEASED, GGN_TAU, LOOKS, S2, SMALL, TAU

SEEDS = 3
STEPS = {GGN: 500, GGN_RELEASED: 500, GGN_TAU: 500, GD: 2000, GD_WIDE: 2000, GD_ARMIJO: 2000, GD_RELEASED: 2000}
SHOWN = (1, 10, 50, 100, 200, 500, 2000)


def data(quick, data_dir=None):
    """Curves of all variants on one setting, three seeds."""
    setting = SMALL if quick else S2
    result = {"runs": records(setting, STEPS, SEEDS), "kappa": 1 / setting.smoothing}
    words = f"{setting.words}; full batch, mu = 1/kappa, tau = {TAU:g} (GGN), tau = 0 (GD)"
    result["setup"] = setup(setting, SEEDS, "float64", data=words)
    result["checks"] = checks(result, quick)
    return result


def draw(data, fig):
    """Test loss against steps, GGN-SCORE and gradient descent, and the medians as a table."""
    fig.set_size_inches(10, 6.8)
    axes = fig.subplots(2, 2, height_ratios=(5, 3))
    for ax, method in zip(axes[0], ("GGN", "GD"), strict=True):
        for variant in (variant for variant in LOOKS if variant.method == method):
            draw_curve(ax, data, variant)
        ax.set(xscale="log", yscale="log", xlim=(0.9, 2200), xlabel="steps", ylabel="test loss f", title=method)
        ax.legend(loc="upper right")
    axes[0, 1].set_ylim(axes[0, 0].get_ylim())
    gridspec = axes[1, 0].get_gridspec()
    for ax in axes[1]:
        ax.remove()
    table_panel(fig.add_subplot(gridspec[1, :]), data)


def table_panel(ax, data):
    """Draw a table of median test losses, # zeros and the penalised loss at the end."""
    rows = []
    for variant in LOOKS:
        record = curve(data, variant)
        losses = [
            f"{np.median(after(data, variant, count)):.1e}" if count in list(record["steps"]) else "" for count in SHOWN
        ]
        ends = [
            f"{np.median(record['zeros']):.0f}",
            f"{np.median(record['reported'][:, -1]):.3g}",
            f"{np.median(record['objective'][:, -1]):.2e}",
        ]
        rows.append([variant.label, *losses, *ends])
    head = ["test loss (median) after", *map(str, SHOWN), "# zeros", r"$f + \tau|w|_1$", r"$f + \tau\sum h_\mu$"]
    table = ax.table(
        cellText=rows,
        colLabels=head,
        loc="center",
        cellLoc="right",
        colWidths=[0.25] + [0.07] * len(SHOWN) + [0.06, 0.1, 0.1],
    )
    table.auto_set_font_size(False)
    table.set_fontsize(7.5)
    for (_, column), entry in table.get_celld().items():
        entry.set_linewidth(0.3)
        if column == 0:
            entry.set_text_props(ha="left")
    ax.axis("off")


def band_checks(result, variant, count, low, high):
    """Check that the test loss of every seed is between `low` and `high`."""
    values = after(result, variant, count)
    name = f"{variant.label}: test loss at {count}"
    entries = (
        [] if low is None else [check(f"{name}, least", float(values.min()), "at_least", low, 0.0, golden_rtol=0.1)]
    )
    return [*entries, check(f"{name}, largest", float(values.max()), "at_most", high, 0.0, golden_rtol=0.1)]


FULL_BANDS = (
    (GGN, 10, None, 5e-3), (GGN, 100, None, 1.2e-4), (GGN, 500, 1e-5, 8e-5),
    (GD, 100, 1.5e-3, 1e-2), (GD, 2000, 3e-5, 1.2e-4),
    (GGN_RELEASED, 100, 4e-4, 2.5e-3), (GGN_RELEASED, 200, 5e-6, 4e-5), (GGN_RELEASED, 500, 1.5e-6, 1e-5),
)  # fmt: skip
QUICK_BANDS = (
    (GGN, 10, None, 1.5e-2), (GGN, 100, None, 8e-4), (GGN, 500, 1e-5, 2.5e-4),
    (GD, 100, 1.5e-3, 1.5e-2), (GD, 2000, 2e-5, 4e-4),
    (GGN_RELEASED, 100, 2e-5, 8e-4), (GGN_RELEASED, 200, 1e-5, 4e-4), (GGN_RELEASED, 500, 5e-6, 3e-4),
)  # fmt: skip


def checks(result, quick):
    """Check the bands, which differ for the two sizes, and ratios of losses."""
    entries = [entry for case in (QUICK_BANDS if quick else FULL_BANDS) for entry in band_checks(result, *case)]
    train = np.array([after(result, GGN, count, "train") for count in (1, 10, 50, 100, 200, 500)])
    entries.append(
        check(
            "GGN, corrected, c = 1: train loss / checkpoint before, largest",
            float((train[1:] / train[:-1]).max()),
            "at_most",
            1.0,
            0.0,
        )
    )
    first, last = (1, 10) if quick else (20, 80)
    factor = (after(result, GGN_RELEASED, last, "train") / after(result, GGN_RELEASED, first, "train")) ** (
        1 / (last - first)
    )
    predicted = (1 - 0.95 * result["kappa"]) ** 2
    worst = float(factor[np.argmax(np.abs(factor - predicted))])
    entries.append(
        check(
            f"GGN, released: factor of f per step, {first} to {last}, worst seed",
            worst,
            "equal",
            predicted,
            0.05 if quick else 0.02,
        )
    )
    count = 500 if quick else 100
    ratio = after(result, GGN, count) / after(result, GD, 2000)
    entries.append(
        check(
            f"test loss, GGN corrected at {count} / GD step 1 at 2000, largest",
            float(ratio.max()),
            "at_most",
            1.0,
            0.0,
            golden_rtol=0.1,
        )
    )
    later = np.asarray(curve(result, GGN_TAU)["train"])[:, 1:]
    rise = float((later / np.minimum.accumulate(later, axis=1)).max())
    entries.append(
        check("GGN, c = tau: train loss / least before, largest", rise, "at_least", 2.0, 0.0, golden_rtol=ERROR)
    )
    return entries
