"""With the loss Hessian inside, the rate of Gauss-Newton does not depend on the loss.

What to see: over-parameterised logistic, Poisson and ill-conditioned quadratic losses. With the
loss Hessian inside, `grad g(f_t) = exp(-t) grad g(f_0)` as a vector for every loss. So `g - g*`
falls like `exp(-2t)` even if the modulus of strong convexity nu at the optimum is small. Plain
Gauss-Newton on the same problems ends at the rate `2 nu`. With damping `rho = c nu lambda_min(K)`
the rate lies between `2 / (1 + c)` and 2, and again does not depend on nu or the kernel.

What it does not show: that you have to know nu. Damping by the smallest eigenvalue of the whitened
kernel would have the same rate.

Reference: Cayci, arXiv:2412.14031v4. Later versions of the paper state rates free of the strong
convexity of the loss. Statements C16 and D8.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import riemgn as rg
from paper_repro.fits import farthest
from riemgn.experiment.checkpoint import checkpointed
from riemgn.experiment.verdict import check
from riemgn.loss import AbstractLoss
from riemgn.plot.caption import band
from riemgn.theory.output_laws import generalized_law

from .diabetes import ERROR
from .duplicates import duplicates, SAMPLES, WIDTH

COND, ALPHA = 1e4, 1e4
MODULI = {True: (0.05, 0.02, 0.005), False: (0.07, 0.05, 0.03, 0.02, 0.01, 0.005)}
FACTORS = {True: (0.5, 8.0), False: (0.5, 2.0, 8.0)}
SEEDS = {True: (0, 1, 2), False: (0, 1, 2, 3, 4)}
T1, WINDOW = 8.0, 0.5  # horizon over the predicted rate, and the part of it without slopes
INSIDE = 20.0  # horizon of the generalised flow, whose rate is 2 once exp(-t) is small compared with nu
LOSSES = ("logistic", "Poisson", "quadratic")
LOOKS = {
    "logistic": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    "Poisson": {"color": "#E69F00", "marker": "^", "linestyle": "-."},
    "quadratic": {"color": "#000000", "marker": "s", "linestyle": ":"},
}


class WeightedSquares(AbstractLoss):
    """`g(f) = 1/2 sum_i c_i (f_i - y_i)^2` with weights `c`, (n,), from `nu` to `mu`."""

    weights: jax.Array
    mean: bool = eqx.field(static=True, default=False)

    def pointwise(self, f, y):
        return 0.5 * self.weights * (f - y) ** 2

    def minima(self, y):
        return jnp.zeros_like(y)

    def curvature_range(self, radius):
        return float(self.weights.min()), float(self.weights.max())

    def check_targets(self, y):
        return None


def data(quick, data_dir=None):
    """The law and the rates of three flows for each loss, modulus and seed."""
    moduli, seeds = MODULI[quick], SEEDS[quick]
    cells = {loss: [[cell(loss, nu, seed) for nu in moduli] for seed in seeds] for loss in LOSSES}
    result = {
        key: {loss: [[c[key] for c in row] for row in cells[loss]] for loss in LOSSES}
        for key in ("law", "inside", "plain")
    }
    result["damped"] = [[[damped_rate(nu, c, seed) for nu in moduli] for seed in seeds] for c in FACTORS[quick]]
    result["curves"] = {
        loss: {key: [row[-1][key] for row in cells[loss]] for key in ("inside_gaps", "plain_gaps")} for loss in LOSSES
    }
    sizes = cells["logistic"][0][0]
    result |= {
        "nu": list(moduli),
        "factors": list(FACTORS[quick]),
        "times": sizes["times"],
        "inner": sizes["inner"],
        "shown": moduli[-1],
    }
    result["setup"] = {
        "data": f"diabetes, {SAMPLES} samples and a near-duplicate of each, cond(K) = {COND:g}, tanh "
        f"network 10-{WIDTH}-1, targets made here",
        **{
            "n": sizes["n"],
            "p": sizes["p"],
            "alpha": ALPHA,
            "rho": "0; right, damped: c nu lambda_min(K_0)",
            "tolerance": "rtol 1e-9",
        },
        "seeds": f"{seeds[0]}-{seeds[-1]}, of samples, copies, weights and targets (line: median, band: "
        f"least to largest)",
    }
    result["checks"] = checks(result)
    return result


def problem_with(loss, nu, seed):
    """The problem with a loss of modulus nu at the optimum, and `lambda_min(K_0)`.

    One curvature is nu, the others are at least 3 nu, in random order.
    """
    case = duplicates(COND, ALPHA, seed)
    base, n = case.problem, case.problem.n
    largest = 0.25 if loss == "logistic" else 1.0
    curvature = np.concatenate([[nu], np.linspace(3 * nu, largest, n - 1)])
    curvature = np.random.default_rng(seed).permutation(curvature)
    if loss == "quadratic":
        return rg.Problem(
            base.model, base.params, base.x, base.y, WeightedSquares(jnp.asarray(curvature))
        ), case.slowest
    if loss == "Poisson":
        return rg.Problem(base.model, base.params, base.x, jnp.asarray(curvature), rg.PoissonLoss()), case.slowest
    targets = (1 - np.sqrt(1 - 4 * curvature)) / 2  # y (1 - y) = curvature
    return rg.Problem(base.model, base.params, base.x, jnp.asarray(targets), rg.LogisticLoss()), case.slowest


@checkpointed
def cell(loss, nu, seed):
    """The generalised and the plain flow on one problem."""
    problem, _ = problem_with(loss, nu, seed)
    times, inner = np.linspace(0.0, T1, 61), np.linspace(0.0, INSIDE, 61)
    settings = {"rtol": 1e-9, "atol": 1e-10, "step_to_ts": True, "max_steps": 20000}
    inside = rg.solve(problem, rg.GeneralizedGaussNewtonFlow(), INSIDE, ts=inner, **settings)
    plain = rg.solve(problem, rg.GaussNewtonFlow(), T1 / nu, ts=times / nu, **settings)
    gaps = {name: excess_losses(traj) for name, traj in (("inside_gaps", inside), ("plain_gaps", plain))}
    return {
        **{
            "n": problem.n,
            "p": problem.p,
            "times": times,
            "inner": inner,
            **{name: gap / gap[0] for name, gap in gaps.items()},
        },
        "law": generalized_law(inside).conclusions[0].measured,
        "inside": late_rate(inner, gaps["inside_gaps"]),
        "plain": late_rate(times / nu, gaps["plain_gaps"]),
    }


def excess_losses(traj):
    """`g(f_t) - g*` as an integral of the gradient along the segment from the optimum, (t,).

    The difference of the losses would be lost in rounding at late times.
    """
    problem = traj.problem
    best = optimum(problem)
    nodes, weights = np.polynomial.legendre.leggauss(12)
    share = 0.5 * (nodes + 1)
    offsets = np.asarray(traj.outputs) - best
    points = jnp.asarray(best + share[:, None, None] * offsets)
    slopes = np.asarray(jax.vmap(jax.vmap(problem.loss_gradient))(points))
    return np.einsum("k,ktn,tn->t", 0.5 * weights, slopes, offsets)


def optimum(problem):
    """The outputs that minimise the loss, (n,)."""
    y = np.asarray(problem.y)
    match problem.loss:
        case rg.LogisticLoss():
            return np.log(y / (1 - y))
        case rg.PoissonLoss():
            return np.log(y)
    return y


@checkpointed
def damped_rate(nu, c, seed):
    """Rate of the generalised flow with `rho = c nu lambda_min(K_0)` on the quadratic loss."""
    problem, slowest = problem_with("quadratic", nu, seed)
    times = np.linspace(0.0, T1 * (1 + c), 61)
    flow = rg.GeneralizedGaussNewtonFlow(rg.ConstantDamping(c * nu * slowest))
    traj = rg.solve(problem, flow, times[-1], ts=times, rtol=1e-9, atol=1e-9, step_to_ts=True)
    return late_rate(times, excess_losses(traj))


def late_rate(times, gaps):
    """`-d/dt log(g - g*)` over the last part of the times."""
    late = times >= WINDOW * times[-1]
    return float(-np.polyfit(times[late], np.log(gaps[late]), 1)[0])


def draw(data, fig):
    """Loss gaps of both flows at the smallest modulus, and the late rates against the modulus."""
    fig.set_size_inches(12, 4.4)
    left, middle, right = fig.subplots(1, 3)
    times, nu = data["times"], np.asarray(data["nu"])
    left.plot(data["inner"], np.exp(-2 * data["inner"]), color="0.6", linewidth=4, label=r"$e^{-2t}$")
    middle.plot(times / data["shown"], np.exp(-2 * times), color="0.6", linewidth=4, label=r"$e^{-2\nu t}$")
    for loss in LOSSES:
        band(left, data["inner"], data["curves"][loss]["inside_gaps"], label=loss, markevery=8, **LOOKS[loss])
        band(middle, times / data["shown"], data["curves"][loss]["plain_gaps"], label=loss, markevery=8, **LOOKS[loss])
        band(
            right,
            nu,
            data["inside"][loss],
            label=f"{loss}, Hessian inside",
            fillstyle="none",
            markersize=9,
            **LOOKS[loss],
        )
        band(right, nu, data["plain"][loss], label=f"{loss}, plain", **LOOKS[loss])
    for i, (c, rows) in enumerate(zip(np.atleast_1d(data["factors"]), data["damped"], strict=True)):
        band(
            right,
            nu,
            rows,
            color="0.45",
            marker="xD*"[i % 3],
            linestyle=("--", "-.", ":")[i % 3],
            label=f"quadratic, damped, c = {c:g}",
        )
    right.plot(nu, 2 * nu, color="0.6", linewidth=4, zorder=0, label=r"$2\nu$")
    for ax, title in ((left, "Hessian inside"), (middle, "plain Gauss-Newton")):
        ax.set(yscale="log", xlabel="time t", title=rf"{title}, $\nu$ = {data['shown']:g}")
        ax.legend(loc="upper right")
    left.set_ylabel("$(g - g^*) / (g_0 - g^*)$")
    right.set(
        xscale="log",
        yscale="log",
        ylim=(None, 2e2),
        xlabel=r"modulus of strong convexity $\nu$",
        title="late rate of $g - g^*$",
    )
    right.set_xticks(nu, [f"{value:g}" for value in nu])
    right.minorticks_off()
    right.legend(loc="upper center", fontsize=6.5, ncols=2)


def checks(result):
    """Compare the worst numbers with their predictions. A NaN counts as the worst value."""
    nu, factors = np.asarray(result["nu"]), np.asarray(result["factors"])[:, None, None]
    law, inside, plain = (np.array([result[key][loss] for loss in LOSSES]) for key in ("law", "inside", "plain"))
    damped = np.asarray(result["damped"])
    return [
        check(
            "grad g_t against exp(-t) grad g_0, worst of all",
            float(np.max(law)),
            "at_most",
            0.0,
            1e-7,
            golden_rtol=ERROR,
        ),
        check("Hessian inside: rate of g - g*, worst of all", farthest(inside.ravel(), 2.0), "equal", 2.0, 0.02),
        check("plain: rate of g - g* / nu, worst of all", farthest((plain / nu).ravel(), 2.0), "equal", 2.0, 0.05),
        check(
            "damped: rate / (2 / (1 + c)), least of all",
            float(np.min(damped * (1 + factors) / 2)),
            "at_least",
            1.0,
            1e-2,
        ),
        check("damped: rate, largest of all", float(np.max(damped)), "at_most", 2.0, 1e-2),
    ]
