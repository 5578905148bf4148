import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Damping")

with app.setup:
    import diffrax
    import jax.numpy as jnp
    import marimo as mo
    import numpy as np

    import riemgn as rg
    from riemgn.plot import figure, style

    rg.enable_x64()

    MODES = 5
    FRAME = (0.15, 0.25, 0.8, 0.69)  # of the axes in their figure, fixed so that nothing jumps
    HORIZON = 30.0
    TIMES = np.linspace(0.0, HORIZON, 121)
    SCHEDULES = ("constant", "exponential", "smallest eigenvalue")
    MARKERS, SHADES = ("o", "s", "^", "D", "v"), ("#000000", "#0072B2", "#009E73", "#CC79A7", "#D55E00")
    DONE = 1e-3  # of the residual


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    # Damping: which modes does it slow down?

    The Levenberg-Marquardt flow $w' = -(J^\top J + \rho I)^{-1} J^\top (f - y)$ on a linear model
    with five modes. Its kernel $K = J J^\top$ has eigenvalues $s^2$ from $1$ down to
    $1/\mathrm{cond}(K)$.

    **What to do:** raise the damping and see which modes slow down. Then raise cond(K). Change the
    schedule, and try again.
    """)
    return


@app.cell(hide_code=True)
def _():
    damping_slider = mo.ui.slider(-4.0, 1.0, step=0.25, value=-1.0, label="log10 of the damping", show_value=True)
    cond_slider = mo.ui.slider(0.0, 8.0, step=0.5, value=4.0, label="log10 of cond(K)", show_value=True)
    schedule_choice = mo.ui.dropdown(list(SCHEDULES), value="constant", label="schedule")
    mo.hstack([damping_slider, cond_slider, schedule_choice], wrap=True, justify="start", gap=2)
    return cond_slider, damping_slider, schedule_choice


@app.cell(hide_code=True)
def _(cond_slider, damping_slider, schedule_choice):
    damping, cond, schedule = 10.0**damping_slider.value, 10.0**cond_slider.value, schedule_choice.value
    return cond, damping, schedule


@app.cell(hide_code=True)
def _(cond, damping, schedule):
    traj = follow(damping, cond, schedule)
    mo.vstack(
        [
            mo.hstack(
                [draw_gain(damping, cond, schedule), draw_modes(traj, damping, cond, schedule)],
                wrap=True,
                justify="start",
            ),
            mo.md(summary(traj, damping, cond, schedule)),
        ]
    )
    return (traj,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## The equation

    Along the left singular vectors of $J$ the residual splits into modes, each with its own gain:

    $$r_i' = -\frac{s_i^2}{s_i^2 + \rho_t}\; r_i .$$

    | schedule, with damping $d$ | $\rho_t$ | mode $r_i(t) / r_i(0)$ |
    | --- | --- | --- |
    | constant | $d$ | $\exp\!\big(-\frac{s_i^2}{s_i^2 + d}\, t\big)$ |
    | exponential | $d\, e^{-t}$ | $\frac{s_i^2 + d}{s_i^2\, e^{t} + d}$ |
    | smallest eigenvalue | $d\, s_{\min}^2$ | $\exp\!\big(-\frac{s_i^2}{s_i^2 + d\, s_{\min}^2}\, t\big)$ |
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.accordion(
        {
            "1. Which modes does constant damping slow down?": mo.md(
                r"Those with $s^2 < \rho$: their gain is about $s^2/\rho$, as for gradient flow. Modes above $\rho$"
                r" keep the gain 1 of Gauss-Newton."
            ),
            "2. Constant damping, cond(K) ten times as large: what happens to the time to a thousandth?": mo.md(
                r"It grows tenfold if $\rho$ is above $s_{\min}^2$: the last mode has the rate"
                r" $s_{\min}^2/(s_{\min}^2 + \rho)$."
            ),
            "3. Exponential schedule: how long is the slowest mode delayed?": mo.md(
                r"Until $\rho_t$ is $s_{\min}^2$, at $t = \log(d\, \mathrm{cond}(K))$. Then it decays like $e^{-t}$."
            ),
            "4. With the smallest eigenvalue, cond(K) does not matter. What do you have to know?": mo.md(
                r"$s_{\min}$ on the whole path, which costs one spectrum per step. The gain of the slowest mode is"
                r" then $1/(1 + d)$."
            ),
        },
        multiple=True,
    )
    return


@app.function
def eigenvalues(cond):
    """`s_i^2`, from 1 down to 1 / cond, evenly spaced in the logarithm (5,)."""
    return cond ** -np.linspace(0.0, 1.0, MODES)


@app.function
def rho(t, damping, cond, schedule):
    """The damping at time `t`, in units of the largest eigenvalue."""
    return {"constant": damping, "exponential": damping * np.exp(-t), "smallest eigenvalue": damping / cond}[schedule]


@app.function
def flow_of(damping, schedule):
    """The flow; constant damping is exponential damping of rate 0, so that both share a program."""
    if schedule == "smallest eigenvalue":
        return rg.LevenbergMarquardtFlow(rg.SpectralDamping(damping))
    return rg.LevenbergMarquardtFlow(rg.ExponentialDamping(damping, rate=1.0 if schedule == "exponential" else 0.0))


@app.function
def follow(damping, cond, schedule):
    """The trajectory from residuals 1 in every mode, with the same solver for all sliders."""
    problem = rg.Problem(rg.LinearModel(), jnp.zeros(MODES), np.diag(np.sqrt(eigenvalues(cond))), np.ones(MODES))
    return rg.solve(problem, flow_of(damping, schedule), t1=HORIZON, ts=TIMES, solver=diffrax.Dopri8())


@app.function
def modes(traj):
    """The residual in each mode over time, (t, 5), 1 at the start."""
    return 1 - np.asarray(traj.outputs)


@app.function
def closed_form(t, damping, cond, schedule):
    """The modes at the times `t` (t,), shape (t, 5)."""
    s, t = eigenvalues(cond), np.asarray(t)[:, None]
    if schedule == "exponential":
        return (s + damping) / (s * np.exp(t) + damping)
    return np.exp(-s / (s + rho(0.0, damping, cond, schedule)) * t)


@app.function
def time_to(level, damping, cond, schedule):
    """The time at which the slowest (last) mode is at `level`, in closed form."""
    s = 1.0 / cond
    if schedule == "exponential":
        return float(np.log((s + damping) / level - damping) - np.log(s))
    return float(-np.log(level) * (1 + rho(0.0, damping, cond, schedule) / s))


@app.function
def summary(traj, damping, cond, schedule):
    """The numbers in the pictures."""
    gap = float(np.abs(modes(traj) - closed_form(TIMES, damping, cond, schedule)).max())
    gain = 1 / (1 + cond * rho(0.0, damping, cond, schedule))
    return (
        f"At cond(K) = {cond:.3g} and damping {damping:.3g} ({schedule}) the slowest mode starts with gain"
        f" **{gain:.2g}** and is at **{modes(traj)[-1, -1]:.2g}** at t = {HORIZON:g}. It takes"
        f" t = {time_to(DONE, damping, cond, schedule):.3g} to a thousandth, and {-np.log(DONE):.3g} without damping."
        f" Measured modes and closed form differ by at most {gap:.1g}."
    )


@app.function
def draw_gain(damping, cond, schedule):
    """The gain over the eigenvalues at the start and later, the modes marked."""
    with style():
        fig = figure(4.6, 4.4)
        fig.set_layout_engine(None)
        ax = fig.add_axes(FRAME)
        s, line = eigenvalues(cond), np.logspace(-8.3, 0.3, 200)
        for t, dash in ((0.0, "-"), (5.0, "--"), (10.0, ":")):
            if t == 0 or schedule == "exponential":
                ax.semilogx(
                    line,
                    line / (line + rho(t, damping, cond, schedule)),
                    color="0.4",
                    linestyle=dash,
                    label=f"gain at t = {t:g}",
                )
        for i in range(MODES):
            ax.plot(
                s[i], s[i] / (s[i] + rho(0.0, damping, cond, schedule)), **look(i), markersize=7, label=f"mode {i + 1}"
            )
        ax.set(
            ylim=(-0.03, 1.05),
            xlabel="eigenvalue $s^2$ of $K$ (unit: the largest)",
            ylabel=r"gain $s^2/(s^2 + \rho)$",
            title="gain of each mode",
        )
        fig.legend(loc="lower center", ncols=4)
        ax.minorticks_off()  # they would take half of the time to draw
    return fig


@app.function
def draw_modes(traj, damping, cond, schedule):
    """The modes over time: measured, and closed form."""
    with style():
        fig = figure(4.6, 4.4)
        fig.set_layout_engine(None)
        ax = fig.add_axes(FRAME)
        measured, closed = modes(traj), closed_form(TIMES, damping, cond, schedule)
        for i in range(MODES):
            ax.semilogy(TIMES[i::12], measured[i::12, i], **look(i), label=f"mode {i + 1}")
            ax.semilogy(TIMES, closed[:, i], color=SHADES[i], linewidth=1, label="closed form" if i == 0 else None)
        ax.set(
            xlim=(0, HORIZON),
            ylim=(1e-6, 2),
            xlabel="time $t$ (the flow's own)",
            ylabel="residual of the mode / at the start",
            title="decay of each mode",
        )
        fig.legend(loc="lower center", ncols=4)
        ax.minorticks_off()  # they would take half of the time to draw
    return fig


@app.function
def look(i):
    """Marker and colour of a mode, without a line."""
    return {"marker": MARKERS[i], "color": SHADES[i], "linestyle": "none"}


if __name__ == "__main__":
    app.run()
