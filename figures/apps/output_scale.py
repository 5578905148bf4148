import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Output scale")

with app.setup:
    import diffrax
    import jax.numpy as jnp
    import marimo as mo
    import numpy as np

    import riemgn as rg
    from riemgn.plot import curve, figure, flow_style, style

    rg.enable_x64()

    def neuron(w, x):
        """`phi_i(w) = w tanh(w x_i)`, a neuron with tied weights; w = 0 is a singular point."""
        return w[0] * jnp.tanh(w[0] * x)

    START = jnp.array([1.0])
    INPUTS, TARGET = np.array([0.6, 2.5]), np.array([-0.7, -0.4])
    NETWORK = rg.Problem(neuron, START, INPUTS, TARGET).model
    FRAME = (0.16, 0.3, 0.8, 0.64)  # of the axes in their figure, fixed so that nothing jumps
    POINT = {"color": "black", "linestyle": "none"}
    HORIZON = 8.0
    TIMES = np.linspace(0.0, HORIZON, 81)
    WINDOW = {"xlim": (-0.95, 0.35), "ylim": (-0.85, 0.35)}


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    # Output scale: how flat is the manifold?

    One neuron $\varphi_i(w) = w \tanh(w x_i)$ with two inputs, started at $w_0 = 1$, centred and
    scaled: $f(w) = \alpha\,(\varphi(w) - \varphi(w_0))$. Its two outputs move on a curve $M$ in the
    plane. The flow starts at $0$ for every $\alpha$. The curve ends at $w = 0$, where the Jacobian
    is zero.

    **What to do:** move $\alpha$ from 0.2 to 1000. Watch the curve, the point where the Gauss-Newton
    flow ends, and how fast it arrives there.
    """)
    return


@app.cell(hide_code=True)
def _():
    alpha_slider = mo.ui.slider(
        -0.7, 3.0, step=0.1, value=0.0, label="log10 of the output scale alpha", show_value=True
    )
    mo.hstack([alpha_slider], justify="start")
    return (alpha_slider,)


@app.cell(hide_code=True)
def _(alpha_slider):
    alpha = 10.0**alpha_slider.value
    return (alpha,)


@app.cell(hide_code=True)
def _(alpha):
    traj = follow(alpha)
    mo.vstack(
        [
            mo.hstack([draw_plane(traj, alpha), draw_gradient(traj)], wrap=True, justify="start"),
            mo.md(summary(traj, alpha)),
        ]
    )
    return (traj,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## The equation

    The Gauss-Newton flow moves the outputs with $f' = -P\,(f - y) = -u$, where $u$ is the Riemannian
    gradient of $g(f) = |f - y|^2/2$ on $M$. Its norm decays at the rate

    $$-\frac{d}{dt} \log |u| = \frac{\mathrm{Hess}_M\, g\,[u, u]}{|u|^2}$$

    $$= 1 + \frac{\langle f - y,\; \mathrm{II}(u, u)\rangle}{|u|^2},$$

    and $g - g_\infty$ decays at twice that rate. Scaling the outputs scales the curve,
    $M_\alpha = \alpha M_1$. The second fundamental form $\mathrm{II}$ then shrinks like $1/\alpha$ while
    the target is the same, and the rate tends to 1. The kernel law replaces $M$ by the tangent space
    at the start, with projection $P_0$: $f_t = (1 - e^{-t})\, P_0\, y$. Near $w = 0$ the Jacobian is
    $J \approx 2 \alpha w\, x$, and $w' = -J^+ (f - y)$ grows like $1/w$: the flow arrives there in
    finite time, and stops.
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.accordion(
        {
            "1. How does the curvature of M change if alpha grows tenfold?": mo.md(
                r"It falls to exactly a tenth: a curve that is ten times larger has a tenth of the curvature."
            ),
            "2. The rate is above 1 here. When would it be below?": mo.md(
                r"If $M$ bends towards the target, $\langle f - y, \mathrm{II}(u, u)\rangle < 0$: then $g$ is flatter"
                r" along it. Here it bends away."
            ),
            "3. Why does the flow stop at a small alpha?": mo.md(
                r"The curve ends there: $J = 0$, and no weight near $w = 0$ has outputs beyond it. Only a larger"
                r" curve extends to the target."
            ),
            "4. What is the price of a large alpha?": mo.md(
                r"The weight moves by only about $1/\alpha$: the network stays its linearisation at the start, a"
                r" kernel method."
            ),
        },
        multiple=True,
    )
    return


@app.function
def problem_of(alpha):
    """The scaled network; `alpha` is an array, so that the slider compiles nothing."""
    return rg.Problem(rg.Scaled(rg.Centred(NETWORK, START), alpha), START, INPUTS, TARGET)


@app.function
def follow(alpha):
    """The Gauss-Newton flow by an implicit solver, which controls the error of the weight."""
    rtol = 1e-7 / max(1.0, alpha)
    return rg.solve(
        problem_of(alpha),
        rg.GaussNewtonFlow(),
        t1=HORIZON,
        ts=TIMES,
        solver=diffrax.Kvaerno5(),
        rtol=rtol,
        atol=1e-2 * rtol,
        rank_tol=1e-3,
        throw=False,
    )


@app.function
def stopped(traj):
    """Whether the flow stopped at its singular set."""
    return traj.status == "rank_lost"


@app.function
def kernel_law(traj):
    """Outputs (t, 2) of the flow on the tangent line at the start: `(1 - exp(-t)) P_0 y`."""
    line = np.asarray(traj.problem.jac(START))[:, 0]
    return (1 - np.exp(-np.asarray(traj.ts)))[:, None] * (line @ TARGET / (line @ line) * line)


@app.function
def curvature(alpha):
    """`|II(e, e)|` of M at the start, with the unit tangent e, in 1 / unit of the outputs."""
    manifold = rg.OutputManifold(problem_of(alpha))
    gradient = manifold.riemannian_grad(START)
    unit = gradient / jnp.linalg.norm(gradient)
    return float(jnp.linalg.norm(manifold.second_fundamental_form(START, unit, unit)))


@app.function
def rates(traj):
    """The rate of `|u|`: measured from t = 3 to 6, and by the Riemannian Hessian at t = 6."""
    first, last = np.searchsorted(TIMES, (3.0, 6.0))
    manifold, w = rg.OutputManifold(traj.problem), traj.params[last]
    u = manifold.riemannian_grad(w)
    measured = np.log(traj.grad_norms[first] / traj.grad_norms[last]) / (TIMES[last] - TIMES[first])
    return float(measured), float(manifold.riemannian_hess(w, u, u) / manifold.inner(u, u))


@app.function
def summary(traj, alpha):
    """The numbers in the pictures."""
    curved = f"At alpha = {alpha:.3g} the curvature of M at the start is {curvature(alpha):.2g}"
    curved += f" = {curvature(1.0):.2g} / alpha."
    if stopped(traj):
        return f"{curved} The flow **stops at t = {float(traj.ts[-1]):.3g}** at the end of M, where J loses rank."
    measured, predicted = rates(traj)
    gap = float(np.linalg.norm(np.asarray(traj.outputs) - kernel_law(traj), axis=1).max() / np.linalg.norm(TARGET))
    return (
        f"{curved} The flow arrives: its gradient decays at the rate **{measured:.3f}** (by the Riemannian Hessian"
        f" {predicted:.3f}), and its loss at {2 * measured:.3f}. Its distance from the kernel law is at most"
        f" **{gap:.2g}** of |y|."
    )


@app.function
def draw_plane(traj, alpha):
    """The curve M with the flow, the tangent line with the end of the kernel law, the target."""
    with style():
        fig = figure(4.6, 4.6)
        fig.set_layout_engine(None)
        ax = fig.add_axes(FRAME)
        weights = 1 + np.linspace(max(-1.0, -3 / alpha), 2 / alpha, 200)
        points = alpha * (weights[:, None] * np.tanh(weights[:, None] * INPUTS) - np.tanh(INPUTS))
        curve(points, ax=ax, label="$M$: all outputs")
        end = -alpha * np.tanh(INPUTS)
        ax.plot(*end, "s", markersize=8, color="0.45", label="end of $M$, $w = 0$", zorder=3)
        line = np.asarray(traj.problem.jac(START))[:, 0]
        ax.axline((0, 0), line, color="black", linestyle=":", linewidth=1, label="tangent line at the start")
        cross = {"marker": "x", "markersize": 9, "markeredgewidth": 2, "zorder": 12}
        ax.plot(*kernel_law(traj)[-1], label="end of the kernel law", **cross, **POINT)
        ax.plot(*np.asarray(traj.outputs).T, markevery=10, label="Gauss-Newton flow", zorder=10, **flow_style("gn"))
        ax.plot(*TARGET, marker="*", markersize=12, label="target $y$", **POINT)
        ax.plot(0, 0, marker="o", markersize=8, markerfacecolor="white", label="start", zorder=13, **POINT)
        title = f"outputs at alpha = {alpha:.3g}"
        ax.set(xlabel="output $f_1$", ylabel="output $f_2$", title=title, aspect="equal", **WINDOW)
        fig.legend(loc="lower center", ncols=2)
    return fig


@app.function
def draw_gradient(traj):
    """The norm of the Riemannian gradient over time, with that of the kernel law."""
    with style():
        fig = figure(4.6, 4.6)
        fig.set_layout_engine(None)
        ax = fig.add_axes(FRAME)
        law = float(np.linalg.norm(kernel_law(traj)[-1])) / (1 - np.exp(-float(traj.ts[-1])))
        ax.semilogy(TIMES, law * np.exp(-TIMES), color="black", linestyle=":", label="kernel law, rate 1")
        ax.semilogy(traj.ts, traj.grad_norms, markevery=10, label="Gauss-Newton flow", **flow_style("gn"))
        if stopped(traj):
            ax.axvline(float(traj.ts[-1]), color="0.45", linestyle="--", linewidth=1.2, label="rank lost")
        ax.set(
            xlim=(0, HORIZON),
            ylim=(1e-6, 2),
            xlabel="time $t$ (the flow's own)",
            ylabel=r"$|u| = |P\,(f - y)|$ (unit of $y$)",
            title="gradient over time",
        )
        fig.legend(loc="lower center", ncols=2)
        ax.minorticks_off()  # they would take half of the time to draw
    return fig


if __name__ == "__main__":
    app.run()
