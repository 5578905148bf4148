import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Conditioning")

with app.setup:
    import diffrax
    import jax.numpy as jnp
    import marimo as mo
    import numpy as np

    import riemgn as rg
    from riemgn.plot import figure, flow_style, FLOW_TITLES, loss_curve, style

    rg.enable_x64()

    FLOWS = {"gf": rg.GradientFlow(), "gn": rg.GaussNewtonFlow()}
    CHOICES = {"both": ("gf", "gn"), "gradient flow": ("gf",), "Gauss-Newton": ("gn",)}
    TARGET = np.array([1.0, -0.6])
    STRONG = np.deg2rad(35.0)  # direction of the outputs that A does not shrink
    FRAME = (0.15, 0.12, 0.8, 0.8)  # of the axes in their figure, fixed so that nothing jumps
    HORIZON = 20.0
    TIMES = np.linspace(0.0, HORIZON, 161)
    MARKED = (0.0, 1.0, 2.0, 5.0, 20.0)

    def model(w, x):
        """`f(w) = (w_1, w_2 + b w_1^2)`; `b` is data, so that its slider compiles nothing."""
        return jnp.array([w[0], w[1] + x[1, 0] * w[0] ** 2])


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    # Conditioning: which flow depends on the coordinates?

    You fit a model with two parameters and two outputs, $f(w) = (w_1,\; w_2 + b\,w_1^2)$, to a
    target $y$. The optimiser works in coordinates $v$ with $w = A v$, where the matrix $A$ has the
    singular values $1$ and $1/\mathrm{cond}(A)$.

    **What to do:** move cond(A) from 1 to 1000 and watch which path and which loss curve change.
    Then bend the model with $b$ and look again.
    """)
    return


@app.cell(hide_code=True)
def _():
    cond_slider = mo.ui.slider(0.0, 3.0, step=0.25, value=0.5, label="log10 of cond(A)", show_value=True)
    bend_slider = mo.ui.slider(0.0, 1.0, step=0.25, value=0.0, label="bend b of the model", show_value=True)
    flow_choice = mo.ui.radio(list(CHOICES), value="both", label="flow", inline=True)
    mo.hstack([cond_slider, bend_slider, flow_choice], wrap=True, justify="start", gap=2)
    return bend_slider, cond_slider, flow_choice


@app.cell(hide_code=True)
def _(bend_slider, cond_slider, flow_choice):
    cond, bend, names = 10.0**cond_slider.value, bend_slider.value, CHOICES[flow_choice.value]
    return bend, cond, names


@app.cell(hide_code=True)
def _(bend, cond, names):
    runs = {name: follow(name, cond, bend) for name in names}
    mo.vstack(
        [mo.hstack([draw_plane(runs), draw_losses(runs)], wrap=True, justify="start"), mo.md(summary(runs, cond))]
    )
    return (runs,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## The equation

    Let $J$ be the Jacobian of $f$ with respect to $w$. With respect to $v$ it is $JA$. For
    $g(f) = |f - y|^2/2$ the outputs move with

    $$f' = -J A A^\top J^\top (f - y) \quad\text{(gradient flow)},$$

    $$f' = -(JA)(JA)^+ (f - y) = -P\,(f - y) \quad\text{(Gauss-Newton)}.$$

    $P$ projects onto the range of $JA$, which is the range of $J$ and does not depend on $A$. Here
    the range is the whole plane, so that $f_t - y = e^{-t}(f_0 - y)$ and the loss falls like
    $e^{-2t}$. For $b = 0$, gradient flow has the closed form
    $f_t - y = e^{-A A^\top t}(f_0 - y)$, with rates $1$ and $1/\mathrm{cond}(A)^2$.
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.accordion(
        {
            "1. cond(A) grows tenfold. How much longer does gradient flow take to a thousandth of the loss?": mo.md(
                r"A hundred times, if cond(A) is large: the slow part of the residual decays at the rate"
                r" $\sigma_{\min}(A)^2 = 1/\mathrm{cond}(A)^2$."
            ),
            "2. Why does the path of Gauss-Newton not change at all?": mo.md(
                r"$f' = -P\,(f - y)$ depends on the tangent space of the set of outputs, not on coordinates."
            ),
            "3. Bend the model (b = 1). Which of the two paths does not change, and why?": mo.md(
                r"That of Gauss-Newton: the outputs still fill the plane, so $P = I$. Gradient flow changes with $J$."
            ),
            "4. Where does conditioning matter, if the path of Gauss-Newton does not show it?": mo.md(
                r"In the linear algebra: each velocity $v' = -(JA)^+(f - y)$ solves a system with the condition"
                r" number cond(JA), and rounding errors grow with it."
            ),
        },
        multiple=True,
    )
    return


@app.function
def coordinates(cond):
    """`A` (2, 2) with singular values 1, along `STRONG` in the outputs, and 1 / cond."""
    turn = np.array([[np.cos(STRONG), -np.sin(STRONG)], [np.sin(STRONG), np.cos(STRONG)]])
    return turn * np.array([1.0, 1.0 / cond])


@app.function
def follow(name, cond, bend):
    """The trajectory of one flow from `v = 0`, with the same solver for all sliders."""
    problem = rg.Problem(model, jnp.zeros(2), np.full((2, 1), bend), TARGET).reparametrise(coordinates(cond))
    return rg.solve(problem, FLOWS[name], t1=HORIZON, ts=TIMES, solver=diffrax.Dopri8(), throw=False)


@app.function
def closed_form(name, cond):
    """Outputs (t, 2) for b = 0: `y - exp(-K t) y`, `K = A A^T` (gradient flow) or `I`."""
    turn = coordinates(1.0)
    rates = np.array([1.0, cond**-2.0 if name == "gf" else 1.0])
    return TARGET - (np.exp(-np.outer(TIMES, rates)) * (TARGET @ turn)) @ turn.T


@app.function
def summary(runs, cond):
    """The numbers in the pictures."""
    sentences = []
    for name, traj in runs.items():
        left, slowest = float(traj.losses[-1] / traj.losses[0]), float(traj.sigma_min[-1]) ** 2 if name == "gf" else 1.0
        share = f"{left:.2g}" if left > 1e-12 else "less than 1e-12"
        sentences.append(
            f"The **{FLOW_TITLES[name]}** at cond(A) = {cond:.3g}: at t = {HORIZON:g} the loss is {share} of the first"
            f" one. Its slowest part decays at the rate {2 * slowest:.2g} and takes"
            f" t = {np.log(1e3) / (2 * slowest):.3g} to a thousandth."
        )
    return " ".join(sentences)


@app.function
def draw_plane(runs):
    """The plane of the outputs: circles of equal loss, the target, paths with times at markers."""
    with style():
        fig = figure(4.6, 4.2)
        fig.set_layout_engine(None)
        ax = fig.add_axes(FRAME)
        grid = np.stack(np.meshgrid(np.linspace(-0.4, 1.6, 80), np.linspace(-1.2, 0.7, 80)), axis=-1)
        ax.contour(
            grid[..., 0], grid[..., 1], 0.5 * np.sum((grid - TARGET) ** 2, axis=-1), 8, colors="0.8", linewidths=0.8
        )
        for name, traj in runs.items():
            path, rows = np.asarray(traj.outputs), np.searchsorted(TIMES, MARKED)
            ax.plot(*path.T, markevery=list(rows), label=FLOW_TITLES[name], **flow_style(name))
            labelled = path[0]
            for row in rows[1:]:
                if np.linalg.norm(path[row] - labelled) > 0.15:  # labels must not overlap
                    labelled = path[row]
                    place, side = ((-6, -9), "right") if name == "gn" else ((6, 4), "left")
                    ax.annotate(f"t = {TIMES[row]:g}", labelled, place, textcoords="offset points", ha=side, fontsize=7)
        ax.plot(*TARGET, marker="*", markersize=12, color="black", linestyle="none", label="target $y$")
        ax.plot(0, 0, marker="o", markersize=8, markerfacecolor="white", color="black", linestyle="none", label="start")
        ax.set(
            aspect="equal",
            xlabel="output $f_1$",
            ylabel="output $f_2$",
            title="paths in the outputs, circles of equal loss",
        )
        ax.legend(loc="upper right")
    return fig


@app.function
def draw_losses(runs):
    """The loss over time on one scale for all sliders."""
    with style():
        fig = figure(4.6, 4.2)
        fig.set_layout_engine(None)
        ax = fig.add_axes(FRAME)
        for name, traj in runs.items():
            loss_curve(traj.ts, traj.losses, ax=ax, flow=name, label=FLOW_TITLES[name])
        ax.set(ylim=(1e-12, 2), xlim=(0, HORIZON), title="loss over time")
        ax.minorticks_off()  # they would take half of the time to draw
    return fig


if __name__ == "__main__":
    app.run()
