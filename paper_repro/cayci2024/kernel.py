"""A wide or strongly scaled network predicts like regression with its tangent kernel.

What to see: predictions of the Gauss-Newton flow on new inputs, compared with `f_0(x) + k(x, X)
K^{-1} (f_t - f_0)` for the kernel at the start. Their difference falls like `1 / alpha` (a), and at
least like `m^{-1/2}` in the width (b). Gradient flow approaches the law of the frozen kernel,
`exp(-K t) (f_0 - y)`, at the same rate in alpha (a). The kernel of a random erf network approaches
the closed form of infinite width like `m^{-1/2}` (c).

What it does not show: that the limit predicts well. You only see that the two predictors agree. On
the training inputs Gauss-Newton and its linearisation agree for every alpha because `f_t - y =
exp(-t) (f_0 - y)`. Therefore the comparison uses new inputs.

Reference: Cayci, arXiv:2412.14031v4. Statements C10, C11 and D17. Kernel of infinite width: Jacot
et al., arXiv:1806.07572.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import scipy.linalg

import riemgn as rg
from paper_repro.fits import mean_slope
from riemgn.experiment.verdict import check
from riemgn.jacobian import infinite_width_kernel, layer_kernel
from riemgn.plot.caption import band
from riemgn.theory.kernel_limit import deviation

SAMPLES, NEW, WIDTH = 12, 30, 64
ALPHAS = {True: (10.0, 100.0, 1e3), False: (10.0, 30.0, 100.0, 300.0, 1e3, 3e3)}
WIDTHS = {True: (64, 256, 1024), False: (64, 128, 256, 512, 1024, 2048, 4096)}
KERNEL_WIDTHS = {True: (64, 256, 1024, 4096), False: (64, 128, 256, 512, 1024, 2048, 4096, 8192)}
SEEDS = {True: 3, False: 10}
DRAWS = 50  # of erf networks
LOOK = {"marker": "o", "color": "#0072B2", "linestyle": "-"}


def data(quick, data_dir=None):
    """Deviations of predictions by alpha and width, of gradient flow, and of kernels."""
    alphas, widths, seeds = ALPHAS[quick], WIDTHS[quick], range(SEEDS[quick])
    x, y, new = samples()
    scaled = [[gauss_newton(x, y, WIDTH, alpha, seed) for seed in seeds] for alpha in alphas]
    cert = rg.certify("kernel_limit", [runs[0] for runs in scaled], x_new=new)
    flows = [[law_gap(x, y, alpha, seed) for seed in seeds] for alpha in alphas]
    wide = [[gauss_newton(x, y, width, 1.0, seed) for seed in seeds] for width in widths]
    result = {"alphas": alphas, "widths": widths, "kernel_widths": KERNEL_WIDTHS[quick], "certificate": cert.status}
    result["by_alpha"] = [[deviation(traj, new) for traj in runs] for runs in scaled]
    result["by_width"] = [[deviation(traj, new) for traj in runs] for runs in wide]
    result["flow"], result["kernels"] = flows, [kernel_gaps(x, width) for width in KERNEL_WIDTHS[quick]]
    result["left"] = max(
        float(jnp.linalg.norm(t.outputs[-1] - t.problem.y) / jnp.linalg.norm(t.problem.y))
        for runs in scaled + wide
        for t in runs
    )
    result["setup"] = {
        "data": f"diabetes, {SAMPLES} samples, {NEW} others as new inputs; tanh networks 10-m-1, (a): m = "
        f"{WIDTH}; (c): erf networks",
        **{"n": SAMPLES, "p": "12 m + 1", "alpha": "(a): on the axis, (b), (c): 1", "rho": 0},
        "seeds": f"0-{SEEDS[quick] - 1}, (c): 0-{DRAWS - 1}, of the weights (line: median, band: least to largest)",
        "tolerance": "rtol 1e-10, t = 20",
    }
    result["checks"] = checks(result)
    return result


def draw(data, fig):
    """Deviations against alpha, against the width, and of the kernel."""
    fig.set_size_inches(10.5, 3.6)
    by_alpha, by_width, kernels = fig.subplots(1, 3)
    band(by_alpha, data["alphas"], data["by_alpha"].T, label="GN flow, new inputs", **LOOK)
    band(
        by_alpha,
        data["alphas"],
        data["flow"].T,
        label="gradient flow, exp(-K t)",
        color="#D55E00",
        marker="s",
        linestyle="--",
    )
    guide(by_alpha, data["alphas"], data["by_alpha"], -1, "slope -1")
    by_alpha.set(
        xlabel="output scale alpha",
        ylabel="largest deviation / largest target",
        title="(a) to the kernel limit, by alpha",
    )
    band(by_width, data["widths"], data["by_width"].T, label="GN flow, new inputs", **LOOK)
    guide(by_width, data["widths"], data["by_width"], -0.5, "slope -1/2")
    by_width.set(xlabel="width m", title="(b) to the kernel limit, by width")
    band(kernels, data["kernel_widths"], data["kernels"].T, label="erf networks", **LOOK)
    guide(kernels, data["kernel_widths"], data["kernels"], -0.5, "slope -1/2")
    kernels.set(
        xlabel="width m",
        ylabel=r"$|K_m - K_\infty|_F \,/\, |K_\infty|_F$",
        title="(c) kernel at the start to infinite width",
    )
    for ax in (by_alpha, by_width, kernels):
        ax.set(xscale="log", yscale="log")
        ax.legend(loc="lower left")


def guide(ax, x, values, power, label):
    """A line of the given slope above the measured values."""
    x = np.asarray(x, float)
    ax.plot(x, 2 * np.max(values[0]) * (x / x[0]) ** power, color="0.45", linestyle=":", linewidth=2, label=label)


def samples():
    """Training inputs and targets, and new inputs."""
    x, y = rg.load_data("diabetes", subset=SAMPLES + NEW, seed=0)
    x, y = jnp.asarray(x), jnp.asarray(y)
    return x[:SAMPLES], y[:SAMPLES], np.asarray(x[SAMPLES:])


def network(x, y, width, alpha, seed):
    """`f = alpha (phi(w) - phi(w0))`."""
    net = rg.MLP((x.shape[1], width, 1))
    params = net.init(key=jr.key(seed))
    return rg.Problem(rg.Scaled(rg.Centred(net, params), alpha), params, x, y)


def gauss_newton(x, y, width, alpha, seed):
    """Train a network until the residual is `exp(-20)` of the targets.

    It is solved twice because the certificate needs error bars.
    """
    return rg.solve(
        network(x, y, width, alpha, seed),
        rg.GaussNewtonFlow(),
        t1=20.0,
        ts=[0.0, 20.0],
        rtol=1e-10,
        atol=1e-12,
        error=True,
    )


def law_gap(x, y, alpha, seed):
    """Largest distance of gradient flow to `y + exp(-K t) (f_0 - y)`, in units of |y|.

    Times go from 1 to 1e4 times `1 / lambda_max(K)`.
    """
    problem = network(x, y, WIDTH, alpha, seed)
    values, vectors = scipy.linalg.eigh(np.asarray(problem.ntk(problem.w0)))
    times = np.concatenate([[0.0], np.logspace(0, 4, 30)]) / values[-1]
    # The tolerance applies to the parameters, which alpha multiplies.
    traj = rg.solve(problem, rg.GradientFlow(), t1=times[-1], ts=times, rtol=1e-8, atol=1e-9 / alpha, step_to_ts=True)
    start = np.asarray(traj.outputs[0] - problem.y)
    law = np.asarray(problem.y) + (np.exp(-np.outer(times, values)) * (vectors.T @ start)) @ vectors.T
    return float(np.linalg.norm(np.asarray(traj.outputs) - law, axis=1).max() / jnp.linalg.norm(problem.y))


def kernel_gaps(x, width):
    """`|K_m - K_inf| / |K_inf|` (Frobenius) of erf networks."""
    net = rg.MLP((x.shape[1], width, 1), activation="erf")
    limit = infinite_width_kernel(net, x)
    kernels = eqx.filter_jit(lambda keys: jax.lax.map(lambda key: layer_kernel(net, net.init(key=key), x), keys))(
        jr.split(jr.key(0), DRAWS)
    )
    return np.linalg.norm(np.asarray(kernels - limit), axis=(1, 2)) / np.linalg.norm(limit)


def checks(result):
    """Compare the numbers of the figure with their predictions."""
    return [
        check(
            "GN predictions to kernel regression: order in alpha",
            mean_slope(result["alphas"], result["by_alpha"]),
            "equal",
            -1.0,
            0.1,
        ),
        check("GF to exp(-K t): order in alpha", mean_slope(result["alphas"], result["flow"]), "equal", -1.0, 0.1),
        check(
            "GN predictions to kernel regression: slope in width",
            mean_slope(result["widths"], result["by_width"]),
            "at_most",
            -0.5,
            0.05,
        ),
        check(
            "kernel to that of infinite width: slope",
            mean_slope(result["kernel_widths"], result["kernels"]),
            "equal",
            -0.5,
            0.05,
        ),
        check(
            "residual of the trained networks / |y|",
            result["left"],
            "at_most",
            float(np.exp(-20.0)),
            1e-8,
            golden_rtol=1.0,
        ),
        check("certificate kernel_limit holds", float(result["certificate"] == "holds"), "at_least", 1.0, 0.0),
    ]
