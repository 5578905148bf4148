"""Exponential time: the same method on the time-changed equation, exact on one rate, of unchanged order elsewhere."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn.solver.exponential_time import ExponentialTime
from riemgn.solver.plan import choose_solver


@eqx.filter_jit
def integrate(field, solver, t0, t1, dt0, y0, controller, saveat):
    return diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, args: field(t, y)),
        solver,
        t0,
        t1,
        dt0,
        y0,
        stepsize_controller=controller,
        saveat=saveat,
    )


def decay(t, y):
    return -2.0 * (y - jnp.array([1.0, -3.0]))


def pendulum(t, y):
    return jnp.array([y[1], -jnp.sin(y[0]) - 0.5 * y[1] + jnp.cos(t)])


def constant_steps(field, solver, t1, steps):
    return integrate(
        field, solver, 0.0, t1, t1 / steps, jnp.array([1.0, 0.5]), diffrax.ConstantStepSize(), diffrax.SaveAt(t1=True)
    ).ys[0]


def test_one_rate_is_followed_exactly():
    for solver in (diffrax.Midpoint(), diffrax.Dopri8()):
        end = constant_steps(decay, ExponentialTime(solver, 2.0), 7.0, 3)
        exact = jnp.array([1.0, -3.0]) + jnp.exp(-14.0) * jnp.array([0.0, 3.5])
        assert float(jnp.abs(end - exact).max()) < 1e-12
    # the rate must be the right one
    assert float(jnp.abs(constant_steps(decay, ExponentialTime(diffrax.Midpoint(), 1.0), 7.0, 3) - exact).max()) > 1e-3


@pytest.mark.parametrize(
    ("solver", "order"), [(diffrax.Midpoint(), 2), (diffrax.Bosh3(), 3)], ids=["Midpoint", "Bosh3"]
)
def test_order_of_the_method_stays(solver, order):
    exact = constant_steps(pendulum, diffrax.Dopri8(), 2.0, 400)
    errors = [
        float(jnp.linalg.norm(constant_steps(pendulum, ExponentialTime(solver, 0.7), 2.0, steps) - exact))
        for steps in (16, 32)
    ]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.3)


def test_steps_equal_those_of_one_variable_for_the_whole_horizon():
    """Starting `sigma` anew at each step is an affine change of time, which a Runge-Kutta method does not see."""
    rate, ts = 0.7, jnp.array([0.0, 0.3, 1.1, 2.5, 4.0])
    sigma = -jnp.expm1(-rate * ts)

    def changed(s, y):
        return pendulum(-jnp.log1p(-s) / rate, y) / (rate * (1 - s))

    y0 = jnp.array([1.0, 0.5])
    ours = integrate(
        pendulum,
        ExponentialTime(diffrax.Dopri5(), rate),
        0.0,
        ts[-1],
        None,
        y0,
        diffrax.StepTo(ts),
        diffrax.SaveAt(ts=ts),
    ).ys
    whole = integrate(
        changed, diffrax.Dopri5(), 0.0, sigma[-1], None, y0, diffrax.StepTo(sigma), diffrax.SaveAt(ts=sigma)
    ).ys
    assert float(jnp.abs(ours - whole).max()) < 1e-13


def test_dense_output_and_its_derivative():
    ts = jnp.linspace(0.05, 2.95, 30)
    y0, control = jnp.array([1.0, 0.5]), diffrax.PIDController(rtol=1e-10, atol=1e-10)
    exact = integrate(pendulum, diffrax.Dopri8(), 0.0, 3.0, None, y0, control, diffrax.SaveAt(dense=True))
    ours = integrate(
        pendulum, ExponentialTime(diffrax.Dopri8(), 0.5), 0.0, 3.0, None, y0, control, diffrax.SaveAt(dense=True)
    )
    values, slopes = jax.vmap(lambda t: (ours.evaluate(t), ours.derivative(t)))(ts)
    np.testing.assert_allclose(values, jax.vmap(exact.evaluate)(ts), atol=1e-7)
    np.testing.assert_allclose(slopes, jax.vmap(lambda t, y: pendulum(t, y))(ts, values), atol=1e-5)
    np.testing.assert_allclose(ours.evaluate(0.4, 1.7), ours.evaluate(1.7) - ours.evaluate(0.4), atol=1e-12)


def test_integrates_backwards():
    control = diffrax.PIDController(rtol=1e-10, atol=1e-10)
    there = integrate(
        pendulum,
        ExponentialTime(diffrax.Dopri8()),
        0.0,
        2.0,
        None,
        jnp.array([1.0, 0.5]),
        control,
        diffrax.SaveAt(t1=True),
    ).ys[0]
    back = integrate(
        pendulum, ExponentialTime(diffrax.Dopri8()), 2.0, 0.0, None, there, control, diffrax.SaveAt(t1=True)
    ).ys[0]
    np.testing.assert_allclose(back, [1.0, 0.5], atol=1e-8)


def test_refuses_implicit_methods():
    with pytest.raises(ValueError, match=r"explicit Runge-Kutta method such as .* got Kvaerno5"):
        ExponentialTime(diffrax.Kvaerno5())  # pyright: ignore[reportArgumentType]


def test_gauss_newton_takes_fewer_steps_and_interpolates_better():
    """The exact residual law C6 at 129 interpolated times of a curved problem with one sample a parameter."""
    problem = rg.teacher_student(n=20, width=20, cond=10.0, key=jax.random.key(0), alpha=30.0)
    residual = problem.outputs(problem.w0) - problem.y

    def solved(solver):
        traj = rg.solve(problem, rg.GaussNewtonFlow(), t1=20.0, solver=solver)
        exact = problem.y + jnp.exp(-traj.ts)[:, None] * residual
        return traj, float(jnp.abs(traj.outputs - exact).max() / jnp.abs(residual).max())

    chosen, error = solved(None)
    plain, plain_error = solved(diffrax.Dopri8())
    assert chosen.stats["solver"] == "Dopri8 in exponential time" and "one rate" in chosen.stats["solver_reason"]
    assert chosen.stats["num_steps"] <= 0.8 * plain.stats["num_steps"]
    assert error < 3e-8 and error < 0.2 * plain_error


def test_chosen_only_where_all_modes_have_one_rate():
    gn = rg.GaussNewtonFlow()
    for slowest, changed in ((1.0, True), (0.995, True), (0.9, False), (0.0, False)):
        assert isinstance(choose_solver(gn, 1.0, 20.0, slowest)[0], ExponentialTime) is changed
    assert isinstance(choose_solver(gn, 0.0, 20.0, 0.0)[0], diffrax.Dopri8)
    # a stiff flow stays stiff whatever its rates
    assert isinstance(choose_solver(rg.GradientFlow(), 1e6, 1.0, 1e6)[0], diffrax.Kvaerno5)
    problem = rg.task.circle(radius=2.0, target=1.0, angle=1.0)
    stats = {
        flow.name: rg.solve(problem, flow, t1=0.5).stats["solver"] for flow in (gn, rg.LevenbergMarquardtFlow(1e-4))
    }
    assert stats == {"gn": "Dopri8 in exponential time", "lm": "Dopri8 in exponential time"}
    wide = rg.teacher_student(n=20, width=20, cond=10.0, key=jax.random.key(0), alpha=30.0)
    assert rg.solve(wide, rg.LevenbergMarquardtFlow(1e3), t1=0.5).stats["solver"] == "Dopri8"
