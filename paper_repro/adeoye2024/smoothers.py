"""The constants of self-concordance are tight, and the predicted decrease of a step holds.

What to see: the left panel shows `|h'''| / (h'')^{nu/2}` of two smoothings of the absolute value at
their order. Each curve rises to its tight constant `M_h` and not higher. The pseudo-Huber function
exceeds the constant 2 that the released code uses. The curve of `mu = 7` in units of `mu` is that
of `mu = 1` times `mu^{nu/2 - 2}`, as the law of scaling says. The right panel shows, for a linear
model, the decrease of `F = f + tau sum h_mu` that self-concordance predicts over the measured
decrease. The step size maximises the predicted decrease.

What it does not show: a prediction for your network. Its outputs are not linear, so a step may
raise `F`, see `trajectories`.

Reference: Adeoye, Petersen, Bemporad, arXiv:2404.14875. Step sizes: Sun and Tran-Dinh,
arXiv:1703.04599. Statement C13.
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
    """Ratios (2, places) with their constants, decreases (seeds, steps), and the certificates."""
    result = {"places": PLACES, "kinds": {name: studied(make, SEEDS[quick]) for name, (make, _) in KINDS.items()}}
    result["setup"] = {
        "data": f"left: the functions themselves; right: linear model with cond(K) = 100 and Gaussian "
        f"targets, {STEPS} steps of rule 'analytic'",
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
    """Measured and predicted decreases over `F` at the start, and the certificate."""
    tight = type(penalty)(constant=penalty.tight_constant(penalty.order))
    linear = rg.task.linear(N, P, 10.0, key=jax.random.key(seed))  # cond(J), so cond(K) = 100
    problem = rg.Problem(linear.model, linear.params, linear.x, linear.y, rg.SquaredLoss(mean=True))
    method = rg.GGNScore(tight, TAU, 1.0, damping="tau", rule="analytic")
    traj = rg.iterate(problem, method, steps=STEPS, error=True)
    steps = traj.stats["per_step"]
    decreases = {key: steps[key] / steps["objective"][0] for key in ("decrease", "predicted_decrease")}
    return {**decreases, "certificate": rg.certify("ggn_score_descent", traj).status}


def draw(data, fig):
    """Draw ratios with constants, and predicted over measured decreases."""
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
        share_of_decrease = np.asarray(kind["predicted_decrease"]) / np.asarray(kind["decrease"])
        band(right, steps, share_of_decrease, label=rf"{name}, $\nu$ = {kind['order']:g}", **look)
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
    """Compare the numbers of the figure with their predictions."""
    entries = []
    for name, kind in result["kinds"].items():
        first, other = (float(np.max(values)) for values in kind["ratios"])
        entries.append(
            check(
                f"{name}: largest ratio / tight constant", first / kind["tight"], "equal", 1.0, 1e-4, golden_rtol=ERROR
            )
        )
        law = other / (OTHER ** (kind["order"] / 2 - 2) * kind["tight"])
        entries.append(
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
        entries.append(
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
        entries.append(check(f"{name}: share of certificates of ggn_score_descent that hold", share, "equal", 1.0, 0.0))
    huber = result["kinds"]["pseudo-Huber"]
    passed = float(np.max(huber["ratios"][0])) / huber["released"]
    return [
        *entries,
        check("pseudo-Huber: largest ratio / the released code's constant", passed, "at_least", 1.25, 0.0),
    ]
