r"""What damping does to each mode.

**What to see.** Split the residual `f - y` along the left singular vectors `u_i` of the
Jacobian, `J = sum_i s_i u_i v_i^T`. In a linear model these parts, the *modes*, do not
interact. In every flow here, mode `i` decays at its own rate `phi(s_i)`, the *gain*.
Gauss-Newton gives all modes the rate 1, and gradient flow gives mode `i` the rate `s_i^2`. The
Levenberg-Marquardt flow `w' = -(J^T J + rho I)^{-1} J^T grad g` is in between (left). Modes
with `s_i^2` well above the damping `rho` have the rate of Gauss-Newton, and modes well below it
hardly move. At `s_i^2 = rho` the rate is one half (right):

    phi(s) = s^2 / (s^2 + rho),    <u_i, f_t - y> = exp(-phi(s_i) t) <u_i, f_0 - y>
    rho -> 0:         phi -> 1        (Gauss-Newton)
    rho -> infinity:  rho phi -> s^2  (gradient flow, slowed down by rho)

**In code.** A flow has its gain as a function of the eigenvalues `s^2` of `J J^T`:

```python
import jax.numpy as jnp
import riemgn as rg

rg.enable_x64()
problem = rg.Problem(
    rg.LinearModel(), jnp.zeros(2), jnp.diag(jnp.array([1.0, 0.1])), jnp.array([1.0, 1.0])
)
rates = rg.LevenbergMarquardtFlow(0.01).gain(jnp.array([1.0, 0.01]), 0.01)
traj = rg.solve(problem, rg.LevenbergMarquardtFlow(0.01), t1=2.0, ts=[2.0])
assert jnp.allclose(traj.outputs[-1] - problem.y, -jnp.exp(-rates * 2.0), atol=1e-7)
assert jnp.allclose(rates, jnp.array([1 / 1.01, 1 / 2]))
```

**What it does not show.** Why you would damp: here nothing goes wrong without damping. Near a
loss of rank of `J` the speed of the parameters is `1 / s_min` for Gauss-Newton, and at most `1
/ (2 sqrt(rho))` with damping. With noisy targets the modes that hardly move may contain the
noise. In a nonlinear model the modes turn along the path and mix.

**References.** Nocedal and Wright, Numerical Optimization, section 10.3. Hansen, Rank-Deficient
and Discrete Ill-Posed Problems, section 4.2 (filter factors). Cayci, arXiv:2412.14031v4 (damped
flows). Statement C7, derived.
"""

import numpy as np

import riemgn as rg
from riemgn.experiment.verdict import check
from riemgn.plot import flow_style

SPECTRUM = np.array([1.0, 10**-0.5, 0.1, 10**-1.5, 0.01])  # s_i
DAMPINGS = {True: (1e-6, 1e-2, 1e2), False: (1e-6, 1e-4, 1e-2, 1.0, 1e2)}
MIDDLE = 1e-2  # the damping whose modes are plotted over time
FOLLOWED = (0, 2, 3)  # their places in the spectrum
HORIZON, SAMPLES = 5.0, 8


def data(quick, data_dir=None):
    """Parts of the residual over time by mode, and rates of the modes, for each damping."""
    u, v = (
        np.linalg.qr(np.random.default_rng(seed).normal(size=(size, 5)))[0] for seed, size in ((0, SAMPLES), (1, 5))
    )
    start = np.array([1.0, -1.0, 1.0, -1.0, 1.0])  # <u_i, f_0 - y>, f_0 = 0
    problem = rg.Problem(rg.LinearModel(), np.zeros(5), u * SPECTRUM @ v.T, -u @ start)
    ts = np.linspace(0, HORIZON, 21)
    runs, checks = {}, []
    for rho in DAMPINGS[quick]:
        traj = rg.solve(problem, rg.LevenbergMarquardtFlow(rho), t1=HORIZON, ts=ts, rtol=1e-11, atol=1e-14)
        parts = (np.asarray(traj.outputs) - np.asarray(problem.y)) @ u / start
        rate = gain(SPECTRUM, rho)
        law, measured = np.exp(-np.outer(ts, rate)), -np.log(parts[-1]) / HORIZON
        runs[f"{rho:g}"] = {"parts": parts, "law": law, "rates": measured}
        checks.append(
            check(
                f"modes at rho = {rho:g} against the closed form",
                float(np.abs(parts - law).max()),
                "at_most",
                0.0,
                1e-8,
            )
        )
        checks.append(
            check(
                f"rates at rho = {rho:g}, relative error",
                float(np.abs(measured / rate - 1).max()),
                "at_most",
                0.0,
                1e-6,
            )
        )
    least, most = (runs[f"{rho:g}"]["rates"] for rho in (DAMPINGS[quick][0], DAMPINGS[quick][-1]))
    checks.append(
        check("least damping: the slowest rate is that of Gauss-Newton", float(least.min()), "equal", 1.0, 1.1e-2)
    )
    checks.append(
        check(
            "most damping: rho times the fastest rate is that of gradient flow",
            float(DAMPINGS[quick][-1] * most[0]),
            "equal",
            1.0,
            1.1e-2,
        )
    )
    line = np.geomspace(SPECTRUM[-1] / 1.5, 1.5, 81)
    gains = {"gn": np.ones_like(line), "gf": line**2} | {name: gain(line, float(name)) for name in runs}
    return {"s": SPECTRUM, "ts": ts, "runs": runs, "line": line, "gains": gains, "checks": checks}


def gain(s, rho):
    """The rate of the mode of singular value s under the damping rho."""
    return s**2 / (s**2 + rho)


def draw(data, fig):
    """Left: rates of the modes by singular value. Right: three modes over time."""
    fig.set_size_inches(9, 4.2)
    left, right = fig.subplots(1, 2)
    for name, label in (("gn", "Gauss-Newton, $1$"), ("gf", "gradient flow, $s^2$")):
        look = flow_style(name)
        left.loglog(
            data["line"],
            data["gains"][name],
            color=look["color"],
            linestyle=look["linestyle"],
            linewidth=3,
            alpha=0.5,
            label=label,
        )
    lm = flow_style("lm")
    for (name, run), marker in zip(data["runs"].items(), "ovs^D", strict=False):
        left.loglog(data["line"], data["gains"][name], color=lm["color"], linestyle=lm["linestyle"], linewidth=1.1)
        label = rf"$\rho = 10^{{{round(np.log10(float(name)))}}}$"
        left.plot(
            data["s"], run["rates"], marker=marker, color=lm["color"], markersize=5, linestyle="none", label=label
        )
    left.set(xlabel="singular value $s$ of the Jacobian", ylabel=r"rate of the mode, $\varphi(s)$ (per unit time)")
    left.set_title(r"markers: measured; thin lines: $s^2/(s^2 + \rho)$; broad: the limits")
    left.legend(loc="lower right")
    run = data["runs"][f"{MIDDLE:g}"]
    for i, marker in zip(FOLLOWED, "os^", strict=True):
        right.plot(data["ts"], run["law"][:, i], color="0.5", linestyle="--", linewidth=1.1)
        label = f"$s = {data['s'][i]:.2g}$, rate {run['rates'][i]:.2g}"
        right.plot(
            data["ts"][::2], run["parts"][::2, i], marker=marker, color=lm["color"], linestyle="none", label=label
        )
    right.plot([], [], color="0.5", linestyle="--", label="closed form")
    right.set(
        xlabel="time $t$ (the flow's own)", ylabel="part of the residual in the mode, over its start", ylim=(0, 1.03)
    )
    right.set_title(r"$\rho = 10^{-2}$: half the rate where $s^2 = \rho$")
    right.legend(loc="upper right", bbox_to_anchor=(1, 0.6))
