r"""Stiff: when the step is held by stability and not by accuracy.

**What to see.** Gradient flow of a linear model with two modes: one takes a unit of time and
the other `k^2` units, where `k = cond(J)`. After the first few units the solution hardly moves,
and long steps would be accurate. An explicit Runge-Kutta method cannot take them. A step of
length `h` multiplies the fast mode, which is zero by then, by a polynomial `R(-h)`. If `|R| >
1`, its rounding errors grow until the step is cut. The step therefore stays at the *stability
limit* of the method, and the number of steps grows like `k^2` (left; the lines are horizon
divided by limit). A looser tolerance does not help (right). An implicit method solves an
equation in each stage and damps the fast mode for any `h`, so that accuracy determines its
steps. It needs about the same number of steps for every `k`, and more only for more digits:

    f(w) = (w_1, w_2 / k),    f_t = (exp(-t), exp(-t / k^2))
    explicit: at least about t_1 / limit steps, with |R(-limit)| = 1

**In code.** `solve` estimates the number of time scales, the fastest rate times the horizon.
Beyond 5000 it uses the implicit method Kvaerno5. This happens for gradient flow here, but not
for Gauss-Newton, because all its modes have the rate 1:

```python
import jax.numpy as jnp
import riemgn as rg

rg.enable_x64()
k = 1e3
problem = rg.Problem(
    rg.LinearModel(), jnp.array([1.0, k]), jnp.diag(jnp.array([1.0, 1 / k])), jnp.zeros(2)
)
slow = rg.solve(problem, rg.GradientFlow(), t1=10 * k**2, ts=[k**2], rtol=1e-6)
quick = rg.solve(problem, rg.GaussNewtonFlow(), t1=10.0, ts=[1.0], rtol=1e-6)
assert slow.stats["solver"] == "Kvaerno5" and slow.stats["num_steps"] < 300
assert abs(slow.outputs[0, 1] - jnp.exp(-1.0)) < 1e-4
assert "not stiff" in quick.stats["solver_reason"] and jnp.allclose(
    quick.outputs[0], jnp.exp(-1.0), atol=1e-4
)
```

**What it does not show.** The price of a step: an implicit step factorises a matrix whose size
is the smaller of n and p, and an explicit step needs only products. On large, mildly stiff
problems many cheap steps are faster. It also does not show a stiff flow with strong curvature,
where the implicit equation needs more iterations.

**References.** Hairer and Wanner, Solving Ordinary Differential Equations II, sections
IV.1-IV.3. Kvaerno, BIT 44 (2004). Statement C10 (rates of gradient flow), derived.
"""

import diffrax
import numpy as np

import riemgn as rg
from riemgn.experiment.verdict import check
from riemgn.solver.plan import choose_solver

CONDITIONS = {True: (20.0, 60.0), False: (3.0, 10.0, 30.0, 100.0)}  # k
TOLERANCES = {True: (1e-4, 1e-8), False: (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)}
EXPLICIT = {True: ("Dopri5",), False: ("Dopri5", "Dopri8")}
RTOL, TOLERANCE_COND = 1e-6, 30.0
LOOKS = {"Dopri5": ("#D55E00", "s", "--"), "Dopri8": ("#CC79A7", "^", "-."), "Kvaerno5": ("#0072B2", "o", "-")}
MOST_STEPS = 100_000


def data(quick, data_dir=None):
    """Steps of each solver by condition number and by tolerance, with the stability limits."""
    solvers = {name: getattr(diffrax, name)() for name in EXPLICIT[quick]} | {
        "Kvaerno5": choose_solver(rg.GradientFlow(), 1.0, 1e9)[0]
    }
    limits = {name: stability_limit(getattr(diffrax, name).tableau) for name in EXPLICIT[quick]}
    ks, tolerances = np.array(CONDITIONS[quick]), np.array(TOLERANCES[quick])
    by_cond, by_tolerance, checks = {}, {}, []
    for name, solver in solvers.items():
        runs = [run(k, solver, RTOL) for k in ks]
        by_cond[name] = [steps for steps, _ in runs]
        by_tolerance[name] = [run(TOLERANCE_COND, solver, rtol)[0] for rtol in tolerances]
        checks.append(
            check(f"{name}: error of the slow mode, largest", max(error for _, error in runs), "at_most", 0.0, 1e-4)
        )
        ends = by_tolerance[name][-1] / by_tolerance[name][0]
        if name in limits:
            mean = horizon(ks[-1]) / by_cond[name][-1]
            checks.append(
                check(f"{name}: mean step over its stability limit", float(mean / limits[name]), "equal", 1.0, 0.1)
            )
            slope = np.log(by_cond[name][-1] / by_cond[name][-2]) / np.log(ks[-1] / ks[-2])
            checks.append(check(f"{name}: slope of the steps against k", float(slope), "equal", 2.0, 0.1))
            checks.append(
                check(
                    f"{name}: steps at the finest tolerance over those at the coarsest", float(ends), "equal", 1.0, 0.15
                )
            )
        else:
            checks.append(
                check(
                    "Kvaerno5: steps at the largest k over those at the least",
                    by_cond[name][-1] / by_cond[name][0],
                    "at_most",
                    2.0,
                    0.0,
                )
            )
    lines = {name: horizon(ks) / limit for name, limit in limits.items()}
    return {
        "k": ks,
        "tolerances": tolerances,
        "by_cond": by_cond,
        "by_tolerance": by_tolerance,
        "limits": limits,
        "lines": lines,
        "checks": checks,
    }


def horizon(k):
    """Ten times the time of the slow mode."""
    return 10 * k**2


def run(k, solver, rtol):
    """Accepted steps to the horizon, and errors of the outputs at `k^2` and at the end."""
    problem = rg.Problem(rg.LinearModel(), np.array([1.0, k]), np.diag([1.0, 1 / k]), np.zeros(2))
    ts = np.array([k**2, horizon(k)])
    traj = rg.solve(
        problem,
        rg.GradientFlow(),
        t1=horizon(k),
        ts=ts,
        rtol=rtol,
        atol=1e-3 * rtol,
        solver=solver,
        max_steps=MOST_STEPS,
    )
    return traj.stats["num_accepted_steps"], float(np.abs(np.asarray(traj.outputs)[:, 1] - np.exp(-ts / k**2)).max())


def stability_limit(tableau):
    """The smallest `h > 0` with `|R(-h)| = 1`, where `R(z) = 1 + z b^T (I - z A)^{-1} 1`."""
    stages = len(tableau.b_sol)
    a = np.zeros((stages, stages))
    for i, row in enumerate(tableau.a_lower):
        a[i + 1, : len(row)] = row
    h = np.linspace(1e-3, 20, 20_000)
    grown = np.abs([1 - z * tableau.b_sol @ np.linalg.solve(np.eye(stages) + z * a, np.ones(stages)) for z in h]) > 1
    return float(h[np.argmax(grown)])


def draw(data, fig):
    """Left: steps by condition number. Right: steps by tolerance."""
    fig.set_size_inches(9, 4)
    left, right = fig.subplots(1, 2)
    for name in data["by_cond"]:
        colour, marker, dash = LOOKS[name]
        kind = f"{name}, explicit: limit {data['limits'][name]:.1f}" if name in data["limits"] else f"{name}, implicit"
        left.loglog(data["k"], data["by_cond"][name], color=colour, marker=marker, linestyle="none", label=kind)
        if name in data["lines"]:
            left.loglog(
                data["k"],
                data["lines"][name],
                color="0.5",
                linestyle=dash,
                linewidth=1.1,
                label=f"horizon over the limit of {name}",
            )
        right.loglog(
            data["tolerances"], data["by_tolerance"][name], color=colour, marker=marker, linestyle=dash, label=name
        )
    left.set(
        xlabel="condition number $k$ of the Jacobian",
        ylabel="accepted steps",
        title=f"stability: steps like $k^2$ (rtol $10^{{{round(np.log10(RTOL))}}}$)",
    )
    right.set(
        xlabel="tolerance rtol of a step",
        ylabel="accepted steps",
        title=f"$k = {TOLERANCE_COND:g}$: accuracy costs only the implicit solver",
    )
    right.invert_xaxis()
    left.legend(loc="upper left")
    right.legend(loc="center left")
