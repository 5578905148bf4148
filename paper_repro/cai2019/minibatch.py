"""Mini-batch Gram-Gauss-Newton is block Gauss-Seidel in cyclic and block Kaczmarz in random order.

What to see: the energy `r^T K^{-1} r` of the residual for a frozen kernel. In cyclic order an epoch
is one sweep of block Gauss-Seidel (a). In random order the mean over 200 orders follows the exact
recursion of the second moment, `E[z z^T] -> E[(I - P_B) z z^T (I - P_B)]` with `z = K^{-1/2} r`. It
stays below `(1 - lambda_min(E[P_B]))^k`, while single orders vary widely (b, c). A step `J_B^T
(lambda K_BB + a I)^{-1} r_B` never raises the energy if `lambda >= 1/2`. For smaller lambda it can
(d). The kernel is that of a tanh network at its start. The network itself follows the linear
prediction more closely if you make it wider (e, f).

What it does not show: a rate free of the conditioning, because mini-batch rates depend on the
spectrum of K.

Reference: Cai et al., arXiv:1905.11675v2. Statements C12 and D16. Block Kaczmarz: Needell and
Tropp, arXiv:1208.3805.
"""

from functools import partial
from itertools import combinations

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import scipy.linalg

import riemgn as rg
from paper_repro.fits import mean_slope
from riemgn.experiment.verdict import check
from riemgn.plot.caption import band

from ..cayci2024.diabetes import ERROR

SAMPLES, BATCH, WIDTH = 16, 4, 64
ORDERS, STEPS = 200, 80
SIZES = (2, 4, 8)  # batches of the cyclic sweeps
EPOCHS = 12
LAMBDAS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0)
DAMPINGS = (0.0, 0.03, 0.3)  # a, in units of the largest eigenvalue of K
WIDTHS = {True: (64, 256, 1024), False: (64, 128, 256, 512, 1024, 2048, 4096)}
SEEDS = {True: 5, False: 10}


def data(quick, data_dir=None):
    """Cyclic sweeps, mean energies in random order, largest factors of a step, and networks."""
    x, y = samples()
    problem = network(x, y, WIDTH, jr.key(0))
    factor = frozen(problem)
    result = {
        "cyclic": [cyclic(factor, y, size) for size in SIZES],
        "random": {order: random_order(factor, y, order) for order in ("random", "subset")},
        "certificate": certificate(factor, y),
        "sweep": sweep(factor),
        "widths": WIDTHS[quick],
        "networks": [compared_networks(x, y, width, SEEDS[quick]) for width in WIDTHS[quick]],
    }
    result["setup"] = {
        "data": f"diabetes, {SAMPLES} samples of 10 inputs; kernel of a tanh network 10-{WIDTH}-1, cond(K) "
        f"= {np.linalg.cond(factor) ** 2:.0f}",
        **{"n": SAMPLES, "p": f"{problem.p}; (e), (f): 12 m + 1", "alpha": 1, "rho": "0; (d): a / lambda"},
        "seeds": f"(b), (c): {ORDERS} random orders; (e), (f): weights and orders 0-{SEEDS[quick] - 1} "
        f"(band: least to largest)",
        "tolerance": f"float64, batches of {BATCH}",
    }
    result["checks"] = checks(result)
    return result


def draw(data, fig):
    """Draw cyclic sweeps, two random orders, the sweep of lambda and a, and two network panels."""
    fig.set_size_inches(11, 6.4)
    axes = fig.subplots(2, 3).ravel()
    looks = (("#0072B2", "-", "o"), ("#D55E00", "--", "s"), ("#009E73", "-.", "^"))
    for run, (color, dash, marker) in zip(data["cyclic"], looks, strict=True):
        epochs = range(len(run["measured"]))
        axes[0].plot(
            epochs, run["predicted"], color=color, linestyle=dash, label=f"Gauss-Seidel, batches of {run['size']}"
        )
        axes[0].plot(epochs, run["measured"], marker, color=color, fillstyle="none", linestyle="none", label="measured")
    axes[0].set(yscale="log", xlabel="epoch", ylabel="energy / energy at 0", ylim=(1e-5, 2), title="(a) cyclic order")
    for ax, (order, title) in zip(
        axes[1:3], (("random", "(b) random batch of a partition"), ("subset", "(c) random subset")), strict=True
    ):
        mean_panel(ax, data["random"][order])
        ax.set_title(title)
    for i, (level, (color, dash, marker)) in enumerate(zip(data["sweep"]["dampings"], looks, strict=True)):
        axes[3].plot(
            data["sweep"]["lambdas"],
            data["sweep"]["predicted"][i],
            color=color,
            linestyle=dash,
            label=rf"predicted, $a = {level:g}\,\lambda_{{\max}}(K)$",
        )
        axes[3].plot(
            data["sweep"]["lambdas"],
            data["sweep"]["measured"][i],
            marker,
            color=color,
            fillstyle="none",
            markersize=5 + 2 * i,
            linestyle="none",
        )
    axes[3].plot([], [], "o", color="black", fillstyle="none", label="measured")
    axes[3].axvspan(0.28, 0.5, color="0.9", zorder=0)
    axes[3].set(
        xlim=(0.28, 2.1),
        xlabel=r"$\lambda$",
        ylabel="largest factor of the energy",
        title="(d) one step; grey: may grow",
    )
    network_panels(axes[4], axes[5], data)
    for ax in (axes[0], axes[1], axes[2], axes[3], axes[4]):
        ax.legend()


def mean_panel(ax, run):
    """Mean over the orders, its prediction, the bound and the spread."""
    k = np.arange(len(run["mean"]))
    ax.fill_between(
        k,
        np.maximum(run["least"], 1e-9),
        run["largest"],
        color="#0072B2",
        alpha=0.2,
        linewidth=0,
        label="least to largest",
    )
    ax.plot(k, run["bound"], color="0.45", linestyle=":", linewidth=2, label="bound")
    ax.plot(k, run["predicted"], color="black", linewidth=1, label="predicted mean")
    ax.plot(k[::5], np.asarray(run["mean"])[::5], "o", color="#0072B2", fillstyle="none", label=f"mean of {ORDERS}")
    ax.set(yscale="log", xlabel="step k", ylim=(1e-5, 3))


def network_panels(left, right, data):
    """Draw residuals of networks and their linearisations, and the distances by width."""
    for place, color, dash in ((0, "#D55E00", "--"), (-1, "#0072B2", "-")):
        run = data["networks"][place]
        epochs = np.arange(run["trained"].shape[1]) * BATCH / SAMPLES
        band(left, epochs, run["trained"], color=color, linestyle=dash, label=f"network, m = {data['widths'][place]}")
    band(
        left, epochs, run["linear"], color="black", linestyle=":", label=f"its linearisation, m = {data['widths'][-1]}"
    )
    left.set(yscale="log", xlabel="epoch", ylabel=r"$|r_k| \,/\, |r_0|$", title="(e) trained network")
    band(right, data["widths"], np.array([run["distance"] for run in data["networks"]]).T, color="#0072B2", marker="o")
    right.set(xscale="log", yscale="log", xlabel="width m", ylabel="largest distance to it / $|r_0|$")
    right.set(title=f"(f) distance to the linearisation, slope {distance_slope(data):.2f}")


def samples():
    """Inputs and targets, standardised on the whole data set. The residual starts at -y."""
    x, y = rg.load_data("diabetes", subset=SAMPLES, seed=0)
    return jnp.asarray(x), jnp.asarray(y)


def network(x, y, width, key):
    """`f = phi(w) - phi(w0)`."""
    net = rg.MLP((x.shape[1], width, 1))
    params = net.init(key=key)
    return rg.Problem(rg.Centred(net, params), params, x, y)


def frozen(problem):
    """`C` with `C C^T = K(w0)`: as a linear model it has the kernel of the problem at its start."""
    return jnp.linalg.cholesky(problem.ntk(problem.w0))


def residuals(problem, method, steps, key):
    """`r_k` for k = 0 to `steps`, (steps + 1, n), with the same keys as `rg.iterate`."""

    def step(carry, _):
        w, state = method.step(problem, *carry, jr.fold_in(key, carry[1].count))
        return (w, state), problem.outputs(w) - problem.y

    first = (problem.w0, method.init(problem, problem.w0, jnp.asarray(problem.n)))
    return jnp.concatenate(
        [(problem.outputs(problem.w0) - problem.y)[None], jax.lax.scan(step, first, length=steps)[1]]
    )


def linear(factor, y):
    """The linear model with kernel `C C^T`, from 0."""
    return rg.Problem(rg.LinearModel(), jnp.zeros(len(factor)), factor, y)


def energy(factor, r):
    """`r^T K^{-1} r` of residuals (..., n)."""
    z = scipy.linalg.solve_triangular(np.asarray(factor), np.asarray(r).reshape(-1, len(factor)).T, lower=True)
    return np.sum(z**2, axis=0).reshape(np.shape(r)[:-1])


# --- (a) cyclic order -----------------------------------------------------------------------------


def cyclic(factor, y, size):
    """Energies after each epoch, measured and predicted, and the map of an epoch.

    The prediction uses powers of the Gauss-Seidel map. The measured map comes from all unit
    residuals.
    """
    method, blocks = rg.GramGaussNewton(size, order="cyclic"), SAMPLES // size
    run = eqx.filter_jit(lambda y: residuals(linear(factor, y), method, blocks * EPOCHS, jr.key(0))[::blocks])
    mapped = np.asarray(jax.vmap(run)(-jnp.eye(SAMPLES)))[:, 1].T
    predicted_map = gauss_seidel(np.asarray(factor @ factor.T), size)
    measured = np.asarray(run(y))
    predicted = np.array([np.linalg.matrix_power(predicted_map, k) @ measured[0] for k in range(EPOCHS + 1)])
    radii = [float(np.abs(np.linalg.eigvals(each)).max()) for each in (mapped, predicted_map)]
    return {
        "size": size,
        "measured": energy(factor, measured) / energy(factor, measured[0]),
        "predicted": energy(factor, predicted) / energy(factor, measured[0]),
        "map_error": float(np.linalg.norm(mapped - predicted_map, 2) / np.linalg.norm(predicted_map, 2)),
        "radius": radii[0],
        "predicted_radius": radii[1],
    }


def gauss_seidel(kernel, size):
    """`I - K (D + Lo)^{-1}` with `D + Lo` the block lower triangle of `K`."""
    block = np.arange(len(kernel)) // size
    lower = np.where(block[:, None] >= block[None, :], kernel, 0.0)
    return np.eye(len(kernel)) - kernel @ np.linalg.inv(lower)


# --- (b), (c) random order ------------------------------------------------------------------------


def random_order(factor, y, order):
    """Energies over `ORDERS` random orders, and the mean that the recursion predicts."""
    method = rg.GramGaussNewton(BATCH, order=order)
    run = eqx.filter_jit(jax.vmap(lambda key: residuals(linear(factor, y), method, STEPS, key)))
    energies = energy(factor, run(jr.split(jr.key(1), ORDERS)))
    energies = energies / energies[:, :1]
    rows = (
        [range(i, i + BATCH) for i in range(0, SAMPLES, BATCH)]
        if order == "random"
        else combinations(range(SAMPLES), BATCH)
    )
    away = np.array([np.eye(SAMPLES) - projector(np.asarray(factor)[list(batch)]) for batch in rows])
    moment = np.asarray(jax.scipy.linalg.solve_triangular(factor, -y, lower=True))
    moment = np.outer(moment, moment) / (moment @ moment)
    predicted = [1.0]
    for _ in range(STEPS):
        moment = np.mean(away @ moment @ away, axis=0)
        predicted.append(float(np.trace(moment)))
    contraction = float(np.linalg.eigvalsh(away.mean(axis=0))[-1])  # 1 - lambda_min(E[P_B])
    return {
        "mean": energies.mean(axis=0),
        "least": energies.min(axis=0),
        "largest": energies.max(axis=0),
        "predicted": np.array(predicted),
        "bound": contraction ** np.arange(STEPS + 1),
        "largest_factor": float(np.max(energies[:, 1:] / energies[:, :-1])),
    }


def certificate(factor, y):
    """The verdict of the claim on one order of random subsets."""
    traj = rg.iterate(
        linear(factor, y), rg.GramGaussNewton(BATCH, order="subset"), steps=STEPS, key=jr.key(1), error=True
    )
    return rg.certify("minibatch_contraction", traj).status


def projector(rows):
    """On the row space of a batch's Jacobian."""
    q, _ = np.linalg.qr(rows.T)
    return q @ q.T


# --- (d) lambda and a -----------------------------------------------------------------------------


def sweep(factor):
    """The largest factor of the energy in the first step over all residuals, and its prediction."""
    unit = float(jnp.linalg.norm(factor, 2)) ** 2
    eigenvalues = np.linalg.eigvalsh(np.asarray(factor @ factor.T)[:BATCH, :BATCH])
    inverse = jnp.linalg.inv(factor)

    @eqx.filter_jit
    def factor_of(damping, lam):
        method = rg.GramGaussNewton(BATCH, step_size=1 / lam, damping=damping / lam, order="cyclic")
        mapped = jax.vmap(lambda y: residuals(linear(factor, y), method, 1, jr.key(0))[1])(-jnp.eye(SAMPLES)).T
        return jnp.linalg.norm(inverse @ mapped @ factor, 2) ** 2

    grid = jax.vmap(jax.vmap(factor_of, (None, 0)), (0, None))
    measured = grid(unit * jnp.asarray(DAMPINGS), jnp.asarray(LAMBDAS))
    predicted = [
        [max(1.0, np.max((1 - eigenvalues / (lam * eigenvalues + unit * a)) ** 2)) for lam in LAMBDAS] for a in DAMPINGS
    ]
    return {
        "lambdas": LAMBDAS,
        "dampings": DAMPINGS,
        "measured": np.asarray(measured),
        "predicted": np.asarray(predicted),
    }


# --- (e), (f) networks ----------------------------------------------------------------------------


def compared_networks(x, y, width, seeds):
    """Residuals of networks and of their linear models in the same order, and their distance."""
    method = rg.GramGaussNewton(BATCH)
    steps = EPOCHS * SAMPLES // BATCH

    @eqx.filter_jit
    def pair(seed):
        problem = network(x, y, width, jr.key(seed))
        return tuple(
            residuals(each, method, steps, jr.key(seed + 100)) for each in (problem, linear(frozen(problem), y))
        )

    trained, lazy = (np.asarray(values) for values in jax.lax.map(pair, jnp.arange(seeds)))
    unit = np.linalg.norm(trained[:, :1], axis=2)
    size = partial(np.linalg.norm, axis=2)
    return {
        "trained": size(trained) / unit,
        "linear": size(lazy) / unit,
        "distance": np.max(size(trained - lazy) / unit, axis=1),
    }


def distance_slope(result):
    """Slope of the mean over seeds of the log distance in the log width."""
    return mean_slope(result["widths"], [run["distance"] for run in result["networks"]])


def checks(result):
    """Compare the numbers of the figure with their predictions."""
    entries = []
    error = float(np.max([run["map_error"] for run in result["cyclic"]]))
    radius = float(np.max([abs(run["radius"] / run["predicted_radius"] - 1) for run in result["cyclic"]]))
    entries.append(
        check("cyclic: epoch map against block Gauss-Seidel", error, "at_most", 0.0, 1e-8, golden_rtol=ERROR)
    )
    entries.append(check("cyclic: spectral radius / predicted - 1", radius, "at_most", 0.0, 1e-8, golden_rtol=ERROR))
    for order, name in (("random", "partition"), ("subset", "subset")):
        run = result["random"][order]
        measured, predicted = (per_step(run[key]) for key in ("mean", "predicted"))
        entries.append(
            check(f"{name}: mean contraction per step / predicted", measured / predicted, "equal", 1.0, 0.05)
        )
        rate = (1 - measured) / (1 - predicted)
        entries.append(check(f"{name}: 1 - contraction, measured / predicted", rate, "equal", 1.0, 0.05))
        above = float(np.max(np.asarray(run["predicted"]) / np.asarray(run["bound"])))
        entries.append(check(f"{name}: predicted mean / bound, largest", above, "at_most", 1.0, 1e-10))
        entries.append(check(f"{name}: largest factor in one step", run["largest_factor"], "at_most", 1.0, 1e-9))
    entries.append(
        check("certificate minibatch_contraction holds", float(result["certificate"] == "holds"), "at_least", 1.0, 0.0)
    )
    measured, predicted = (np.asarray(result["sweep"][key]) for key in ("measured", "predicted"))
    safe = np.asarray(result["sweep"]["lambdas"]) >= 0.5
    entries += [
        check("lambda >= 1/2: largest factor in one step", float(measured[:, safe].max()), "at_most", 1.0, 1e-9),
        check("lambda < 1/2, a = 0: least factor", float(measured[0, ~safe].min()), "at_least", 1.1, 0.0),
        check(
            "largest factor against predicted",
            float(np.max(np.abs(measured / predicted - 1))),
            "at_most",
            0.0,
            1e-8,
            golden_rtol=ERROR,
        ),
        check(
            "network to linearisation: slope in the width",
            distance_slope(result),
            "at_most",
            -0.5,
            0.05,
            golden_rtol=0.05,
        ),
    ]
    return entries


def per_step(energies):
    """`(E_k / E_0)^(1/k)` at the last step."""
    return float((energies[-1] / energies[0]) ** (1 / (len(energies) - 1)))
