"""A full Gauss-Newton step squares the residual, with a factor that falls with the width.

What to see: the number of correct digits doubles at every step (left). The factor `|r_{k+1}| /
|r_k|^2` of the first step stays below its bound `C = L / (2 sigma_min^2)` for every seed. Both fall
with the width. The bound falls like `m^{-1/2}`. The factor falls like `1 / m` if second-order terms
of different units cancel, for example with random or paired output signs or an odd activation. Only
softplus with all output signs +1 has no cancellation, and falls like `m^{-1/2}`.

What it does not show: how wide a network must be for the theorem of the paper. Here the outputs
start at zero, and the steps converge at every width. Both layers and the biases are trained. In the
paper, as we know it, only the hidden weights are trained.

Reference: Cai et al., arXiv:1905.11675v2. Statement D13 (constant).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import riemgn as rg
from paper_repro.fits import mean_slope
from riemgn.experiment.checkpoint import checkpointed
from riemgn.experiment.verdict import check
from riemgn.plot.caption import band
from riemgn.theory.constants import jacobian_lipschitz, quadratic_constant
from riemgn.theory.discrete_steps import ROUNDED
from riemgn.trajectory import sample

SAMPLES, INPUTS, STEPS, ALPHA = 20, 10, 5, 10.0
WIDTHS = {True: (64, 256, 1024), False: (64, 128, 256, 512, 1024, 2048, 4096, 8192)}
ACTIVATIONS = {True: ("tanh", "softplus"), False: ("tanh", "erf", "softplus")}
SIGNS = ("random", "paired", "all +1")
SEEDS = 20
UNCANCELLED = ("softplus", "all +1")
CERTIFIED = 64  # the width of the certificate
LOOKS = {"random": ("#0072B2", "o", "-"), "paired": ("#D55E00", "s", "--"), "all +1": ("#009E73", "^", "-.")}


def data(quick, data_dir=None):
    """Residuals, factors and bounds for each activation, kind of signs, width and seed."""
    widths, seeds = WIDTHS[quick], SEEDS
    cells = {(act, width): cell(act, width, seeds) for act in ACTIVATIONS[quick] for width in widths}
    cases = []
    for act in ACTIVATIONS[quick]:
        for signs in SIGNS:
            runs = [cells[act, width][signs] for width in widths]
            cases.append(
                {
                    "activation": act,
                    "signs": signs,
                    **{key: [run[key] for run in runs] for key in ("sizes", "first", "bound", "share")},
                }
            )
    status = rg.certify("discrete_quadratic", certified()).status
    result = {"widths": widths, "cases": cases, "certificate": status}
    result["setup"] = {
        "data": f"random inputs on a sphere in R^{INPUTS}, Gaussian targets; networks {INPUTS}-m-1, m = "
        f"{widths[0]} to {widths[-1]}, f = 0 at 0",
        **{
            "n": SAMPLES,
            "p": f"{INPUTS + 2} m + 1",
            "alpha": ALPHA,
            "rho": 0,
            "seeds": f"0-{seeds - 1}, of data and weights (line: median, band: least to largest)",
        },
        "tolerance": f"float64, residuals above {ROUNDED:g} |y|",
    }
    result["checks"] = checks(result)
    return result


def draw(data, fig):
    """Draw the residuals of one case, and the factor and bound of the first step by activation."""
    names = list(dict.fromkeys(case["activation"] for case in data["cases"]))
    fig.set_size_inches(3.1 * (1 + len(names)), 3.6)
    axes = fig.subplots(1, 1 + len(names))
    digits_panel(axes[0], data)
    for ax, name in zip(axes[1:], names, strict=True):
        shown = [case for case in data["cases"] if case["activation"] == name]
        bounds = np.concatenate([np.asarray(case["bound"]).T for case in shown])
        band(ax, data["widths"], bounds, color="0.45", linewidth=3, label="bound C")
        for case in shown:
            color, marker, dash = LOOKS[case["signs"]]
            label = f"{case['signs']}: slope {mean_slope(data['widths'], case['first']):.2f}"
            band(
                ax, data["widths"], np.asarray(case["first"]).T, color=color, marker=marker, linestyle=dash, label=label
            )
        ax.set(xscale="log", yscale="log", xlabel="width m", title=name, ylim=(None, 3e4 * bounds.max()))
        ax.legend(loc="upper right", title="output signs")
    axes[1].set_ylabel(r"$|r_1| \,/\, |r_0|^2$")


def digits_panel(ax, data):
    """Draw `|r_{k+1}|` against `|r_k|` at three widths. Slope 2 squares the residual."""
    case = next(case for case in data["cases"] if (case["activation"], case["signs"]) == ("softplus", "all +1"))
    places = sorted({0, len(data["widths"]) // 2, len(data["widths"]) - 1})
    for place, marker, color, gap in zip(
        places, "os^", ("#0072B2", "#D55E00", "#009E73"), ("-", "--", "-."), strict=False
    ):
        sizes, width = np.asarray(case["sizes"][place]), data["widths"][place]
        ax.plot(
            sizes[:, :-1].ravel(),
            sizes[:, 1:].ravel(),
            marker,
            color=color,
            fillstyle="none",
            markersize=4,
            linestyle="none",
            label=f"m = {width}",
        )
        ends = np.array([3e-6 / 10 ** (0.5 * place / max(places)), 1.0])
        ax.plot(ends, np.median(sizes[:, 1]) * ends**2, color=color, linestyle=gap, linewidth=1)
    ax.axhline(ROUNDED, color="0.45", linestyle=":", label="used above this")
    ax.plot([], [], color="black", linewidth=1, label="slope 2")
    ax.set(xscale="log", yscale="log", xlim=(1e-7, 3), ylim=(1e-16, 1e4), title="softplus, all signs +1: every step")
    ax.set(xlabel=r"$|r_k| \,/\, |y|$", ylabel=r"$|r_{k+1}| \,/\, |y|$")
    ax.legend(loc="upper left")


@checkpointed
def cell(activation, width, seeds):
    """All kinds of signs and all seeds at one width, one compilation."""
    net = rg.MLP((INPUTS, width, 1), activation=activation)
    members = [(signs, *start(net, signs, seed)) for signs in SIGNS for seed in range(seeds)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[member[1:] for member in members])
    sizes, sigmas, moved = (np.asarray(values) for values in steps(net, *stacked))
    rows = [one(net, *member[1:], *run) for member, *run in zip(members, sizes, sigmas, moved, strict=True)]
    result = {}
    for i, signs in enumerate(SIGNS):
        mine = rows[i * seeds : (i + 1) * seeds]
        result[signs] = {key: [row[key] for row in mine] for key in mine[0]}
    return result


def start(net, signs, seed):
    """Output weights +-1, inputs on the sphere of radius sqrt(d), Gaussian targets."""
    w_key, s_key, x_key, y_key = jr.split(jr.key(seed), 4)
    params = net.init(key=w_key, paired=signs == "paired")
    output = (
        jr.rademacher(s_key, params[1]["weight"].shape, float) if signs == "random" else jnp.sign(params[1]["weight"])
    )
    params[1]["weight"] = jnp.abs(output) if signs == "all +1" else output
    x = jr.normal(x_key, (SAMPLES, INPUTS))
    return params, x * jnp.sqrt(INPUTS) / jnp.linalg.norm(x, axis=1, keepdims=True), jr.normal(y_key, (SAMPLES,))


def problem_of(net, params, x, y):
    """`f = alpha (phi(w) - phi(w0))`."""
    return rg.Problem(rg.Scaled(rg.Centred(net, params), ALPHA), params, x, y)


@eqx.filter_jit
def steps(net, params, xs, ys):
    """`|r_k|`, `sigma_min(J_k)` and `|w_k - w_0|` of full steps, (members, STEPS + 1) each."""
    method = rg.GaussNewton(step_size=1.0)

    def run(member):
        params, x, y = member
        problem = problem_of(net, params, x, y)

        def step(carry, _):
            new = method.step(problem, *carry, jr.key(0))
            return new, new[0]

        first = (problem.w0, method.init(problem, problem.w0, jnp.asarray(SAMPLES)))
        path = jnp.concatenate([problem.w0[None], jax.lax.scan(step, first, length=STEPS)[1]])
        states = sample(problem, path, jnp.asarray(SAMPLES), True)
        return (
            jnp.linalg.norm(states["outputs"] - y, axis=1),
            states["sigma_min"],
            jnp.linalg.norm(path - path[0], axis=1),
        )

    return jax.lax.map(run, (params, xs, ys))


def one(net, params, x, y, sizes, sigmas, moved):
    """Residuals over |y|, the first factor and its bound, and the largest factor over its bound."""
    lipschitz = jacobian_lipschitz(rg.Scaled(net, ALPHA), x, params, float(moved.max()))
    bounds = np.array([quadratic_constant(lipschitz, float(sigma)).value for sigma in sigmas[:-1]])
    factors = sizes[1:] / sizes[:-1] ** 2
    unit = float(jnp.linalg.norm(y))
    mask = sizes[1:] > ROUNDED * unit
    return {"sizes": sizes / unit, "first": factors[0], "bound": bounds[0], "share": np.max((factors / bounds)[mask])}


def certified():
    """The trajectory of the first seed at the smallest width, for the certificate."""
    net = rg.MLP((INPUTS, CERTIFIED, 1))
    params, x, y = start(net, "random", 0)
    return rg.iterate(problem_of(net, params, x, y), rg.GaussNewton(step_size=1.0), steps=STEPS, error=True)


def checks(result):
    """Compare the numbers of the figure with their predictions."""
    widths, cases = result["widths"], result["cases"]
    slopes = {(case["activation"], case["signs"]): mean_slope(widths, case["first"]) for case in cases}
    cancelled = [value for case, value in slopes.items() if case != UNCANCELLED]
    worst = float(np.max([case["share"] for case in cases]))
    return [
        check("largest |r_{k+1}| / (C |r_k|^2), all seeds", worst, "at_most", 1.0, 0.0, golden_rtol=0.1),
        check("certificate discrete_quadratic holds", float(result["certificate"] == "holds"), "at_least", 1.0, 0.0),
        check(
            "largest slope of the factor in the width",
            float(np.max(list(slopes.values()))),
            "at_most",
            -0.5,
            0.05,
            golden_rtol=0.05,
        ),
        check("softplus, all signs +1: slope", slopes[UNCANCELLED], "equal", -0.5, 0.05, golden_rtol=0.05),
        check("largest slope where terms cancel", float(np.max(cancelled)), "at_most", -1.0, 0.1, golden_rtol=0.05),
    ]
