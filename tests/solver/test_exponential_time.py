"""Exponential time: exact for one rate, of unchanged order otherwise, chosen by `solve`."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn.solver.exponential_time import ExponentialTime
from riemgn.solver.plan import choose_solver

START = jnp.array([1.0, 0.5])


@eqx.filter_jit
def integrate(field, solver, t0, t1, dt0, y0, controller, saveat):
    term = diffrax.ODETerm(lambda t, y, args: field(t, y))
    return diffrax.diffeqsolve(term, solver, t0, t1, dt0, y0, stepsize_controller=controller, saveat=saveat)


def decay(t, y):
    return -2.0 * (y - jnp.array([1.0, -3.0]))


def pendulum(t, y):
    return jnp.array([y[1], -jnp.sin(y[0]) - 0.5 * y[1] + jnp.cos(t)])


def constant_steps(field, solver, t1, steps):
    controller = diffrax.ConstantStepSize()
    return integrate(field, solver, 0.0, t1, t1 / steps, START, controller, diffrax.SaveAt(t1=True)).ys[0]


@pytest.mark.parametrize("solver", [diffrax.Midpoint(), diffrax.Dopri8()], ids=["Midpoint", "Dopri8"])
def test_one_rate_is_integrated_exactly(solver):
    exact = jnp.array([1.0, -3.0]) + jnp.exp(-14.0) * jnp.array([0.0, 3.5])
    assert float(jnp.abs(constant_steps(decay, ExponentialTime(solver, 2.0), 7.0, 3) - exact).max()) < 1e-12


def test_order_of_the_method_stays():
    exact = constant_steps(pendulum, diffrax.Dopri8(), 2.0, 400)
    solver = ExponentialTime(diffrax.Bosh3(), 0.7)
    errors = [float(jnp.linalg.norm(constant_steps(pendulum, solver, 2.0, steps) - exact)) for steps in (16, 32)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(3, abs=0.3)


def test_restart_of_sigma_does_not_change_the_steps():
    """Restarting `sigma` is an affine change of time, which leaves Runge-Kutta steps unchanged."""
    rate, ts = 0.7, jnp.array([0.0, 0.3, 1.1, 2.5, 4.0])
    sigma = -jnp.expm1(-rate * ts)

    def changed(s, y):
        return pendulum(-jnp.log1p(-s) / rate, y) / (rate * (1 - s))

    def stepping_to(field, solver, ts):
        return integrate(field, solver, 0.0, ts[-1], None, START, diffrax.StepTo(ts), diffrax.SaveAt(ts=ts)).ys

    ours = stepping_to(pendulum, ExponentialTime(diffrax.Dopri5(), rate), ts)
    assert float(jnp.abs(ours - stepping_to(changed, diffrax.Dopri5(), sigma)).max()) < 1e-13


def test_dense_output_and_its_derivative():
    ts, control = jnp.linspace(0.05, 2.95, 30), diffrax.PIDController(rtol=1e-10, atol=1e-10)

    def dense(solver):
        return integrate(pendulum, solver, 0.0, 3.0, None, START, control, diffrax.SaveAt(dense=True))

    exact, ours = dense(diffrax.Dopri8()), dense(ExponentialTime(diffrax.Dopri8(), 0.5))
    values, slopes = jax.vmap(lambda t: (ours.evaluate(t), ours.derivative(t)))(ts)
    np.testing.assert_allclose(values, jax.vmap(exact.evaluate)(ts), atol=1e-7)
    np.testing.assert_allclose(slopes, jax.vmap(pendulum)(ts, values), atol=1e-5)
    np.testing.assert_allclose(ours.evaluate(0.4, 1.7), ours.evaluate(1.7) - ours.evaluate(0.4), atol=1e-12)


def test_it_integrates_backwards():
    control, end = diffrax.PIDController(rtol=1e-10, atol=1e-10), diffrax.SaveAt(t1=True)
    solver = ExponentialTime(diffrax.Dopri8())
    there = integrate(pendulum, solver, 0.0, 2.0, None, START, control, end).ys[0]
    np.testing.assert_allclose(integrate(pendulum, solver, 2.0, 0.0, None, there, control, end).ys[0], START, atol=1e-8)


def test_implicit_methods_are_rejected():
    with pytest.raises(ValueError, match=r"explicit Runge-Kutta method such as .* got Kvaerno5"):
        ExponentialTime(diffrax.Kvaerno5())  # pyright: ignore[reportArgumentType]


def test_gauss_newton_takes_fewer_steps_and_is_more_accurate():
    """Compare with the exact residual law C6 on a problem with one sample per parameter."""
    problem = rg.teacher_student(n=20, width=20, cond=10.0, key=jax.random.key(0), alpha=30.0)
    residual = problem.outputs(problem.w0) - problem.y

    def solved(solver):
        traj = rg.solve(problem, rg.GaussNewtonFlow(), t1=20.0, solver=solver)
        exact = problem.y + jnp.exp(-traj.ts)[:, None] * residual
        return traj, float(jnp.abs(traj.outputs - exact).max() / jnp.abs(residual).max())

    (chosen, error), (plain, plain_error) = solved(None), solved(diffrax.Dopri8())
    assert chosen.stats["solver"] == "Dopri8 in exponential time" and "one rate" in chosen.stats["solver_reason"]
    assert chosen.stats["num_steps"] <= 0.8 * plain.stats["num_steps"]
    assert error < 3e-8 and error < 0.2 * plain_error


@pytest.mark.parametrize(("slowest", "chosen"), [(1.0, True), (0.995, True), (0.9, False), (0.0, False)])
def test_it_is_chosen_only_if_all_modes_have_one_rate(slowest, chosen):
    assert isinstance(choose_solver(rg.GaussNewtonFlow(), 1.0, 20.0, slowest)[0], ExponentialTime) is chosen
    assert isinstance(choose_solver(rg.GradientFlow(), 1e6, 1.0, slowest * 1e6)[0], diffrax.Kvaerno5)
