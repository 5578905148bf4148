"""Smoothings of the absolute value: how self-concordant they are, and what that promises of a GGN-SCORE step.

What to see: left, `|h'''| / (h'')^{nu/2}` of each smoothing at its order, which rises to its tight constant `M_h` and no higher. The pseudo-Huber
function passes the constant 2 that the released code gives it. The curve of `mu = 7` in units of `mu` is that of `mu = 1` times `mu^{nu/2 - 2}`, the
law of scaling. Right, on a linear model: what self-concordance promises of a step's decrease of `F = f + tau sum h_mu`, over the decrease; the step
size is the one that makes the promise largest.

What it does not show: a promise for networks, whose outputs are not linear; there the step may raise `F`, see `trajectories`.

Reference: following Adeoye, Petersen, Bemporad, arXiv:2404.14875; ggn_score.md 2, 3.3; step sizes of Sun and Tran-Dinh, arXiv:1703.04599.
"""

import jax
import jax.numpy as jnp
import numpy as np

import riemgn as rg
from riemgn.experiment.verdict import check
from riemgn.plot.caption import band

from ..cayci2024.diabetes import ERROR

N, P, TAU, STEPS = 8, 12, 1.0, 6
SEEDS = {True: range(5), False: range(20)}
OTHER = 7.0  # a second smoothing, for the law of scaling
PLACES = np.geomspace(1e-2, 1e3, 4001)  # x / mu
KINDS = {
    "pseudo-Huber": (rg.PseudoHuberPenalty, {"color": "#0072B2", "linestyle": "-", "marker": "o"}),
    "Ostrovskii-Bach": (rg.OstrovskiiBachPenalty, {"color": "#D55E00", "linestyle": "--", "marker": "s"}),
}


def data(quick, data_dir=None):
    """Ratios (2, places) at both smoothings with their constants, decreases and predictions (seeds, steps), and the certificates."""
    result = {"places": PLACES, "kinds": {name: studied(make, SEEDS[quick]) for name, (make, _) in KINDS.items()}}
    result["setup"] = {
        "data": f"left: the functions themselves; right: linear model with cond(K) = 100 and Gaussian targets, {STEPS} steps of rule 'analytic'",
        **{"n": N, "p": P, "alpha": 1, "rho": f"c = tau = {TAU:g}, mu = 1", "tolerance": "float64"},
        "seeds": f"0-{SEEDS[quick][-1]} (line: median, band: least to largest)",
    }
    result["checks"] = checks(result)
    return result


def studied(make, seeds):
    """One smoothing."""
    penalty = make()
    runs = [descent(penalty, seed) for seed in seeds]
    return {
        "order": penalty.order,
        "tight": penalty.tight_constant(penalty.order),
        "released": penalty.reference_constants[0],
        "ratios": [ratio(make(mu), penalty.order, mu * PLACES) for mu in (1.0, OTHER)],
        **{key: [run[key] for run in runs] for key in runs[0]},
    }


def ratio(penalty, order, x):
    """`|h'''| / (h'')^{nu/2}` at the places `x`."""
    third = jax.vmap(jax.grad(lambda x: penalty.hessian_diagonal(x[None])[0]))(jnp.asarray(x))
    return np.abs(np.asarray(third)) / np.asarray(penalty.hessian_diagonal(jnp.asarray(x))) ** (order / 2)


def descent(penalty, seed):
    """What the steps of one run did and promised, relative to `F` at the start, and the status of the certificate."""
    tight = type(penalty)(constant=penalty.tight_constant(penalty.order))
    linear = rg.task.linear(N, P, 10.0, key=jax.random.key(seed))  # cond(J), so cond(K) = 100
    problem = rg.Problem(linear.model, linear.params, linear.x, linear.y, rg.SquaredLoss(mean=True))
    method = rg.GGNScore(tight, TAU, 1.0, damping="tau", rule="analytic")
    traj = rg.iterate(problem, method, steps=STEPS, error=True)
    steps = traj.stats["per_step"]
    found = {key: steps[key] / steps["objective"][0] for key in ("decrease", "predicted_decrease")}
    return {**found, "certificate": rg.certify("ggn_score_descent", traj).status}


def draw(data, fig):
    """Ratios and constants; decreases and predictions."""
    fig.set_size_inches(9.6, 4.2)
    left, right = fig.subplots(1, 2)
    for name, kind in data["kinds"].items():
        look = KINDS[name][1]
        line = {key: look[key] for key in ("color", "linestyle")}
        left.plot(data["places"], kind["ratios"][0], label=rf"{name}, $\nu$ = {kind['order']:g}", **line)
        left.axhline(kind["tight"], color=look["color"], linewidth=0.8, linestyle=":")
        left.annotate(
            f"tight constant {kind['tight']:.4g}",
            (1.2e-2, kind["tight"]),
            xytext=(0, 3),
            textcoords="offset points",
            fontsize=8,
        )
        steps = np.arange(1, STEPS + 1)
        kept = np.asarray(kind["predicted_decrease"]) / np.asarray(kind["decrease"])
        band(right, steps, kept, label=rf"{name}, $\nu$ = {kind['order']:g}", **look)
    released = data["kinds"]["pseudo-Huber"]["released"]
    left.axhline(released, color="black", linewidth=0.8, linestyle="-.")
    left.annotate(
        f"released: {released:g}", (1.2e-2, released), xytext=(0, -10), textcoords="offset points", fontsize=8
    )
    left.set(xscale="log", xlabel=r"$|x| / \mu$", ylabel=r"$|h'''| \, / \, (h'')^{\nu/2}$ at $\mu = 1$", ylim=(0, 3.3))
    left.legend(loc="lower right")
    right.axhline(1.0, color="black", linewidth=0.8, linestyle=":")
    right.set(xlabel="step", ylabel=r"promised / measured decrease of $F$", ylim=(0, 1.08))
    right.legend(loc="lower right")


def checks(result):
    """The numbers the figure stands for."""
    found = []
    for name, kind in result["kinds"].items():
        first, other = (float(np.max(values)) for values in kind["ratios"])
        found.append(
            check(
                f"{name}: largest ratio / tight constant", first / kind["tight"], "equal", 1.0, 1e-4, golden_rtol=ERROR
            )
        )
        law = other / (OTHER ** (kind["order"] / 2 - 2) * kind["tight"])
        found.append(
            check(
                f"{name}: the same at mu = {OTHER:g}, scaled by mu^(nu/2 - 2)",
                law,
                "equal",
                1.0,
                1e-4,
                golden_rtol=ERROR,
            )
        )
        spare = float(np.min(np.asarray(kind["decrease"]) - np.asarray(kind["predicted_decrease"])))
        found.append(
            check(
                f"{name}: least decrease beyond the promised one, over F(w_0)",
                spare,
                "at_least",
                0.0,
                1e-12,
                golden_rtol=ERROR,
            )
        )
        share = float(np.mean([status == "holds" for status in kind["certificate"]]))
        found.append(check(f"{name}: share of certificates of ggn_score_descent that hold", share, "equal", 1.0, 0.0))
    huber = result["kinds"]["pseudo-Huber"]
    passed = float(np.max(huber["ratios"][0])) / huber["released"]
    return [*found, check("pseudo-Huber: largest ratio / the released code's constant", passed, "at_least", 1.25, 0.0)]
