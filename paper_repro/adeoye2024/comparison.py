"""GGN-SCORE beats gradient descent of step 1, but not gradient descent with a suitable step.

What to see: loss by steps, by arithmetic and by seconds. The claim under test is that GGN-SCORE
reaches a given loss sooner than gradient descent. In the setting of S2 and S3 we find:

- GGN-SCORE is far ahead of gradient descent of step 1, the baseline of the paper, by steps. The
    reason is the step size.
- With `c = 1` and `mu = 1/kappa`, GGN-SCORE acts on all weakly curved modes as gradient descent of
    step `alpha / kappa` does. This is because `D` is about `I / mu` and `(I / mu + J^T Q J)^{-1}`
    about `mu I`. Only modes with curvature above `1/mu` get a Gauss-Newton step. So gradient
    descent of step `1/kappa` is equally fast by steps, at a small fraction of the arithmetic.
- Gradient descent with Armijo's line search from a large first step (`16/kappa`) is ahead of both,
    and you do not have to tune it. From 1, as in the released code, the search accepts 1 at every
    step and changes nothing.
- The released derivatives lack `kappa`. They give GGN-SCORE with damping `kappa^2`, so longer steps
    on those modes. It is slower at first and later ahead by steps, but not by arithmetic.
- With `c = tau`, the true Hessian, GGN-SCORE is ahead after one step, and then not monotone.

What it does not show: other networks, batches, or real data. Arithmetic is counted from the
products of the plain step (`variants.py`). Seconds are those of one machine, and no check uses
them.

Reference: Adeoye, Petersen, Bemporad, arXiv:2404.14875.
"""

import numpy as np

from riemgn.experiment.verdict import check

from .synthetic import after, curve, draw_curve, ERROR, records, setup
from .variants import GD, GD_ARMIJO, GD_FROM_ONE, GD_WIDE, GGN, GGN_RELEASED, GGN_TAU, S2, SMALL, TAU

SEEDS = 3
GGN_STEPS, GD_STEPS = 500, 5000
STEPS = {
    GGN: GGN_STEPS,
    GGN_RELEASED: GGN_STEPS,
    GGN_TAU: GGN_STEPS,
    GD: GD_STEPS,
    GD_WIDE: GD_STEPS,
    GD_ARMIJO: GD_STEPS,
}
EARLY, LATE = 100, 500


def data(quick, data_dir=None):
    """Curves of all variants with their seconds and arithmetic, three seeds."""
    setting = SMALL if quick else S2
    result = {"runs": records(setting, {**STEPS, GD_FROM_ONE: EARLY}, SEEDS)}
    words = (
        f"{setting.words}; full batch, mu = 1/kappa, tau = {TAU:g} (GGN, {GGN_STEPS} steps), tau = 0 "
        f"(GD, {GD_STEPS} steps)"
    )
    result["setup"] = setup(
        setting, SEEDS, "float64; processor seconds of the steps alone, flops by formula", data=words
    )
    result["checks"] = checks(result)
    return result


def draw(data, fig):
    """Test loss against steps, seconds and floating point operations."""
    fig.set_size_inches(11, 4.6)
    axes = fig.subplots(1, 3, sharey=True)
    labels = ("steps", "processor seconds (this machine)", "floating point operations (by formula)")
    for ax, against, label in zip(axes, ("steps", "seconds", "flops"), labels, strict=True):
        for variant in STEPS:
            draw_curve(ax, data, variant, against)
        ax.set(xscale="log", yscale="log", xlabel=label)
    axes[0].set_ylabel("test loss f")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)


def work_to(result, variant, level):
    """Floating point operations of each seed until its `level` of the test loss, infinite if never.

    Values between checkpoints are interpolated in the logarithms.
    """
    record, amounts = curve(result, variant), []
    for losses, work, aim in zip(
        np.asarray(record["test"])[:, 1:], np.asarray(record["flops"])[:, 1:], level, strict=True
    ):
        below = np.flatnonzero(losses <= aim)
        if below.size == 0:
            amounts.append(np.inf)
        elif below[0] == 0:
            amounts.append(work[0])
        else:
            i = below[0]
            share = np.log(losses[i - 1] / aim) / np.log(losses[i - 1] / losses[i])
            amounts.append(np.exp(np.log(work[i - 1]) + share * np.log(work[i] / work[i - 1])))
    return np.array(amounts)


def checks(result):
    """Compare medians over seeds of ratios of test losses with what we found."""

    def ratio(one, other, count, key="test"):
        return float(np.median(after(result, one, count, key) / after(result, other, count, key)))

    def loss(name, one, other, count, relation, predicted, tolerance=0.0):
        return check(
            f"{name}, test loss after {count} steps",
            ratio(one, other, count),
            relation,
            predicted,
            tolerance,
            golden_rtol=0.2,
        )

    level = after(result, GGN, EARLY)
    work = float(np.median(work_to(result, GD_WIDE, level) / work_to(result, GGN, level)))
    adaptive = float(np.median(work_to(result, GD_ARMIJO, level) / work_to(result, GGN, level)))
    last = after(result, GGN_RELEASED, LATE)
    released = float(np.median(work_to(result, GD_ARMIJO, last) / work_to(result, GGN_RELEASED, last)))
    late = np.array([after(result, GD_WIDE, count) / after(result, GGN, count) for count in (20, 50, EARLY, 200, LATE)])
    later = np.asarray(curve(result, GGN_TAU)["train"])[:, 1:]
    rise = float((later / np.minimum.accumulate(later, axis=1)).max())
    flops, halvings = "flops to the test loss of GGN", float(np.sum(curve(result, GD_FROM_ONE)["halvings"][:, -1]))
    return [
        loss("GGN corrected c = 1 / GD step 1", GGN, GD, EARLY, "at_most", 0.1),
        loss("GD step 1/kappa / GGN corrected c = 1", GD_WIDE, GGN, EARLY, "at_most", 1.0),
        check(
            "GD step 1/kappa / GGN corrected c = 1, test loss after 20 to 500 steps, farthest from 1",
            float(late.ravel()[np.argmax(np.abs(np.log(late)))]),
            "equal",
            1.0,
            0.5,
            golden_rtol=0.2,
        ),
        loss("GD Armijo from 16/kappa / GGN corrected c = 1", GD_ARMIJO, GGN, EARLY, "at_most", 1.0),
        loss("GGN released c = 1 / GGN corrected c = 1", GGN_RELEASED, GGN, 10, "at_least", 5.0),
        loss("GGN released c = 1 / GGN corrected c = 1", GGN_RELEASED, GGN, LATE, "at_most", 1.0),
        check(f"{flops} corrected at 100: GD step 1/kappa / GGN", work, "at_most", 0.1, 0.0, golden_rtol=0.2),
        check(f"{flops} corrected at 100: GD Armijo / GGN", adaptive, "at_most", 0.1, 0.0, golden_rtol=0.2),
        check(f"{flops} released at {LATE}: GD Armijo / GGN", released, "at_most", 1.0, 0.0, golden_rtol=0.2),
        check("halvings of Armijo's line search from 1, all steps", halvings, "equal", 0.0, 0.0),
        check(
            "GGN corrected c = tau: train loss / least before, largest", rise, "at_least", 2.0, 0.0, golden_rtol=ERROR
        ),
    ]
