"""Constants: analytic bounds are above samples, measured ones below, sharp ones agree two ways."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import riemgn as rg
from riemgn.geometry import curvature
from riemgn.geometry.immersion import Immersion
from riemgn.model import ACTIVATIONS, Reparametrised
from riemgn.theory.constants import (
    alpha_threshold,
    ANALYTIC,
    Constant,
    convergence_ball,
    jacobian_lipschitz,
    MEASURED,
    measured_lipschitz,
    path_bound,
    quadratic_constant,
    second_derivative_norm,
)
from riemgn.theory.curvature_spectrum import (
    directional_curvature,
    hessian_range,
    normal_curvature_range,
    slowest_share,
    theta_min,
)
from riemgn.theory.loss_convexity import _sublevel_interval, loss_constants
from riemgn.theory.network_bounds import ACTIVATION_BOUNDS, ball_bounds
from riemgn.theory.path_quantities import jacobian
from tests.helpers import relative_error, tanh_net, ZOO

SMOOTH = [name for name, (_, smooth) in ACTIVATIONS.items() if smooth]

NETS = {
    "two layers": lambda: tanh_net(20, (3, 6, 1)),
    "equal rows": lambda: with_equal_rows(tanh_net(100, (3, 6, 1), bias=False)),
    "deep, two outputs, standard": lambda: tanh_net(8, (2, 5, 4, 2), scaling="standard", activation="silu"),
    "deep, softplus": lambda: tanh_net(8, (2, 4, 4, 1), activation="softplus"),
    "no hidden layer": lambda: tanh_net(10, (4, 1)),
    "scaled, centred": lambda: rg.teacher_student(
        n=20, width=3, cond=3.0, key=jax.random.key(0), alpha=50.0, activation="gelu"
    ),
    "other coordinates": lambda: rg.task.reparametrised(
        tanh_net(10, (2, 3, 1), activation="erf"), 10.0, key=jax.random.key(1)
    ),
}


def with_equal_rows(problem):
    return rg.Problem(problem.model, problem.params, np.tile(np.asarray(problem.x[:1]), (problem.n, 1)), problem.y)


def in_ball(problem, radius: float, count: int, seed: int = 0) -> np.ndarray:
    """Points of the sphere and of the inside of the ball around the start."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((count, problem.p))
    lengths = radius * rng.uniform(0, 1, count) ** 0.5
    return np.asarray(problem.w0) + directions * (lengths / np.linalg.norm(directions, axis=1))[:, None]


def observed(problem, radius: float) -> tuple[float, float]:
    """Largest `|J|`, and largest difference quotient or `|D^2 f[a, b]|`, seen in the ball."""
    points = in_ball(problem, radius, 6)
    size = max(np.linalg.norm(jacobian(problem, w), 2) for w in points)
    return size, measured_lipschitz(problem, points, points=4).value


@pytest.mark.parametrize("name", SMOOTH)
def test_activation_bounds_are_the_suprema(name):
    act, grid = ACTIVATIONS[name][0], jnp.linspace(-8.0, 8.0, 20001)
    bounds = ACTIVATION_BOUNDS[name]
    slopes, bends = jax.vmap(jax.grad(act))(grid), jax.vmap(jax.grad(jax.grad(act)))(grid)
    assert float(jnp.max(jnp.abs(slopes))) == pytest.approx(bounds.slope, rel=1e-3)
    assert float(jnp.max(jnp.abs(bends))) == pytest.approx(bounds.curvature, rel=1e-6)
    for seen, bound in ((act(grid), bounds.value), (slopes, bounds.slope), (bends, bounds.curvature)):
        assert float(jnp.max(jnp.abs(seen))) <= bound * (1 + 1e-12)


@pytest.mark.parametrize("name", NETS)
def test_analytic_bounds_are_above_samples(name):
    problem = NETS[name]()
    for radius in (0.1, 1.0):
        size, second = observed(problem, radius)
        bounds = ball_bounds(problem.model, problem.x, problem.params, radius)
        assert size <= bounds.jacobian * (1 + 1e-12) and second <= bounds.lipschitz * (1 + 1e-12)
        # not so loose that a factor of 100 would go unnoticed
        assert size > bounds.jacobian / 100 and second >= bounds.lipschitz / 100


def test_bounds_grow_with_the_root_of_n():
    problem = NETS["equal rows"]()
    size, bend = observed(problem, 0.1)
    one_row = ball_bounds(problem.model, problem.x[:1], problem.params, 0.1)
    assert size > one_row.jacobian and bend > one_row.lipschitz
    stacked = ball_bounds(problem.model, problem.x, problem.params, 0.1)
    assert stacked.jacobian == pytest.approx(10 * one_row.jacobian) and stacked.lipschitz == pytest.approx(
        10 * one_row.lipschitz
    )


def test_bound_of_the_start_is_no_bound_on_the_ball():
    problem = NETS["two layers"]()
    far = problem.w0 * 8
    radius = float(jnp.linalg.norm(far - problem.w0))
    start, ball = (ball_bounds(problem.model, problem.x, problem.params, r).jacobian for r in (0.0, radius))
    assert start < np.linalg.norm(jacobian(problem, far), 2) <= ball


def test_linear_layers_are_bounded_exactly():
    problem = NETS["no hidden layer"]()
    bounds = ball_bounds(problem.model, problem.x, problem.params, 2.0)
    assert bounds.jacobian == pytest.approx(np.linalg.norm(jacobian(problem, problem.w0), 2)) and bounds.lipschitz == 0
    linear = ZOO["linear"]()
    assert ball_bounds(linear.model, linear.x, linear.params, 5.0).jacobian == pytest.approx(
        np.linalg.norm(jacobian(linear, linear.w0), 2)
    )


def test_unknown_bounds_are_named():
    problem = tanh_net(5, (2, 3, 1), activation="relu")
    with pytest.raises(ValueError, match="relu has no second derivative"):
        jacobian_lipschitz(problem.model, problem.x, problem.params, 0.1)
    circle = ZOO["circle"]()
    with pytest.raises(ValueError, match="for FunctionModel; use `measured_lipschitz`"):
        ball_bounds(circle.model, circle.x, circle.params, 0.1)
    with pytest.raises(ValueError, match="got -1"):
        ball_bounds(problem.model, problem.x, problem.params, -1.0)


def test_power_iteration_finds_the_maximum():
    # f = (w1 w2, 2 w1^2): |D^2 f[e1, e1]| = 4, and no pair of unit vectors gives more
    problem = rg.Problem(
        lambda w, x: jnp.stack([w[0] * w[1], 2 * w[0] ** 2]), jnp.array([0.3, 0.4]), jnp.zeros((2, 1)), jnp.zeros(2)
    )
    angles = np.linspace(0, np.pi, 721)
    unit = np.stack([np.cos(angles), np.sin(angles)])
    first = np.outer(unit[0], unit[1]) + np.outer(unit[1], unit[0])
    brute = np.sqrt(first**2 + (4 * np.outer(unit[0], unit[0])) ** 2).max()
    found = second_derivative_norm(problem, problem.w0)
    assert found.value == pytest.approx(brute, rel=1e-4) and found.source == MEASURED


def test_measured_lipschitz_of_one_point():
    circle = ZOO["circle"]()
    assert measured_lipschitz(circle, circle.w0[None]).value == pytest.approx(2.0)  # |f''| = R
    with pytest.raises(ValueError, match=r"shape \(t, 1\), got \(1,\)"):
        measured_lipschitz(circle, circle.w0)


LOSSES = {
    "squared": (rg.SquaredLoss(), None),
    "squared, mean": (rg.SquaredLoss(mean=True), None),
    "pseudo-huber": (rg.PseudoHuberLoss(0.5), None),
    "logistic": (rg.LogisticLoss(), (0.2, 0.7)),
    "poisson": (rg.PoissonLoss(mean=True), (1.0, 4.0)),
}


def loss_problem(name: str, start: float = 1.0):
    loss, targets = LOSSES[name]
    rng = np.random.default_rng(2)
    y = rng.standard_normal(6) if targets is None else rng.uniform(*targets, 6)
    return rg.Problem(rg.LinearModel(), start * jnp.ones(6), jnp.eye(6), y, loss)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_constants_hold_on_the_sublevel_set(name):
    problem = loss_problem(name)
    constants = loss_constants(problem)
    level = float(problem.objective(problem.w0)) * (1 + 1e-12)
    rng = np.random.default_rng(0)
    low, high = _sublevel_interval(problem, constants.gap / problem.loss.scale(problem.n))
    points = (low + high) / 2 + (high - low) / 2 * rng.uniform(-1, 1, (4000, 6)) * rng.uniform(0, 1, (4000, 1))
    points = points[np.asarray(jax.vmap(lambda f: problem.loss(f, problem.y))(points)) <= level]
    assert len(points) > 20
    hessians, gradients = jax.vmap(problem.loss_hessian)(points), jax.vmap(problem.loss_gradient)(points)
    assert constants.nu <= float(hessians.min()) and float(hessians.max()) <= constants.mu * (1 + 1e-12)
    assert float(jnp.linalg.norm(gradients, axis=1).max()) <= constants.gradient * (1 + 1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_constants_are_attained_on_the_sublevel_set(name):
    problem = loss_problem(name)
    constants, least = loss_constants(problem), np.asarray(problem.loss.minima(problem.y))
    excess = constants.gap / problem.loss.scale(problem.n)
    low, high = _sublevel_interval(problem, excess)
    for ends in (low, high):
        assert np.asarray(problem.loss.pointwise(ends, problem.y)) - least == pytest.approx(excess, rel=1e-9)
    assert float(jnp.minimum(problem.loss_hessian(low), problem.loss_hessian(high)).min()) == pytest.approx(
        constants.nu
    )


def test_hard_labels_have_no_strong_convexity():
    hard = rg.Problem(rg.LinearModel(), jnp.ones(2), jnp.eye(2), jnp.array([0.0, 1.0]), rg.LogisticLoss())
    assert loss_constants(hard).nu == 0 and math.isinf(alpha_threshold(hard).value)
    box = loss_constants(hard, jnp.array([[1.0, 1.0], [-2.0, 3.0]]))
    assert box.nu == pytest.approx(float(hard.loss_hessian(jnp.array([0.0, 3.0]))[1])) and box.mu == 0.25
    counts = rg.Problem(rg.LinearModel(), jnp.ones(2), jnp.eye(2), jnp.array([0.0, 2.0]), rg.PoissonLoss())
    assert loss_constants(counts).nu == 0 and loss_constants(counts).mu < 30
    with pytest.raises(ValueError, match=r"shape \(t, 2\), got \(2,\)"):
        loss_constants(hard, jnp.ones(2))


def test_squared_loss_far_from_targets():
    constants = loss_constants(loss_problem("squared", start=1e12))
    assert (constants.nu, constants.mu) == (1.0, 1.0)


@pytest.mark.parametrize("name", ["under-parameterised", "teacher-student", "rank one"])
def test_curvature_and_theta_from_their_definitions(name):
    problem = ZOO[name]()
    w = problem.w0
    found = normal_curvature_range(problem, w, method="dense")
    immersion = Immersion(problem, None, None, found.rank)
    frame = immersion.frame(w)
    normal = frame.normal_part(problem.loss_gradient(problem.outputs(w)))
    basis = frame.orthonormal().T

    @jax.jit
    def form(some):
        return jax.vmap(
            lambda u: jax.vmap(lambda v: normal @ curvature.second_fundamental_form(immersion, frame, u, v))(some)
        )(some)

    values = np.linalg.eigvalsh(form(basis[:6]))
    tolerance = 1e-7 * found.magnitude
    assert found.smallest <= values[0] + tolerance and values[-1] <= found.largest + tolerance
    if len(basis) <= 6:
        assert (values[0], values[-1]) == pytest.approx((found.smallest, found.largest), rel=1e-6)
    if found.rank == problem.p and name != "under-parameterised":
        values = scipy.linalg.eigh(
            jax.jit(jax.hessian(lambda w: problem.objective(w)))(w),
            jax.jit(lambda w: problem.gram(w))(w),
            eigvals_only=True,
        )
        assert theta_min(problem, w).value == pytest.approx(values[0], rel=1e-4)


@pytest.mark.parametrize("name", ["several outputs", "rank one"])
def test_lanczos_agrees_with_the_dense_solver(name):
    problem = {"several outputs": lambda: tanh_net(30, (3, 5, 2))}.get(name, ZOO[name])()
    for quantity in (normal_curvature_range, hessian_range):
        dense, lanczos = (quantity(problem, problem.w0, method=method) for method in ("dense", "lanczos"))
        scale = dense.magnitude
        assert lanczos.method == "lanczos" and lanczos.error <= 1e-8 * scale
        assert lanczos.smallest == pytest.approx(dense.smallest, abs=1e-7 * scale) and lanczos.largest == pytest.approx(
            dense.largest, abs=1e-7 * scale
        )


def test_curvature_of_the_circle():
    inside = rg.task.circle(radius=2.0, target=1.0, angle=0.0)
    assert directional_curvature(inside, inside.w0).value == pytest.approx(0.5)  # |N| / R = (R - s) / R
    assert theta_min(inside, inside.w0).value == pytest.approx(0.5)  # s / R
    with pytest.raises(ValueError, match="numerical rank 1 of J\\(w\\), got 2"):
        directional_curvature(inside, inside.w0, rank=2)
    with pytest.raises(ValueError, match="got 'qr'"):
        directional_curvature(inside, inside.w0, method="qr")


def test_curvature_falls_like_one_over_alpha():
    values = [centred(alpha) for alpha in (1.0, 10.0, 1e4)]
    assert values == pytest.approx([values[0], values[0] / 10, values[0] / 1e4], rel=1e-9)


def centred(alpha: float) -> float:
    problem = rg.teacher_student(n=30, width=3, cond=3.0, key=jax.random.key(0), alpha=alpha, noise=0.3)
    return directional_curvature(problem, problem.w0).value


def small_net(alpha: float = 1.0, n: int = 30, sizes=(2, 2, 1), seed: int = 0):
    """Centred tanh network without biases, p = 6."""
    base = tanh_net(n, sizes, seed=seed, bias=False)
    return rg.Problem(rg.Scaled(rg.Centred(base.model, base.params), alpha), base.params, base.x, base.y)


def test_ball_keeps_half_of_sigma_at_every_alpha():
    problem = small_net()
    ball = convergence_ball(problem)
    args = (problem.model, problem.x, problem.params)
    assert ball.radius * jacobian_lipschitz(*args, ball.radius).value == pytest.approx(ball.sigma_start / 2, rel=1e-6)
    assert ball.lipschitz.value >= jacobian_lipschitz(*args, ball.radius).value  # it holds on the ball it makes
    least = min(
        float(np.linalg.svd(np.asarray(jacobian(problem, w)), compute_uv=False)[-1])
        for w in in_ball(problem, ball.radius, 10)
    )
    assert least >= ball.sigma_min
    assert convergence_ball(small_net(1e3)).radius == pytest.approx(ball.radius, rel=1e-6)
    assert math.isinf(convergence_ball(ZOO["linear"]()).radius)
    with pytest.raises(ValueError, match="full rank 21 at the start, got numerical rank 11"):
        convergence_ball(ZOO["duplicated neurons"]())


def test_threshold_does_not_depend_on_alpha():
    problem = small_net()
    found = alpha_threshold(problem)
    lam, grad = found.ball.sigma_start / 2, float(jnp.linalg.norm(problem.y))
    assert found.value == pytest.approx(2 * found.ball.lipschitz.value * grad / lam**2)  # C5, nu = mu = 1
    assert found.source == ANALYTIC and found.ratio > 1
    above = alpha_threshold(small_net(2 * found.value))
    assert above.value == pytest.approx(found.value, rel=1e-6) and above.ratio == pytest.approx(0.5, rel=1e-6)
    # at the threshold the path of Statement D11 ends in the ball
    at = small_net(found.value)
    assert path_bound(at, convergence_ball(at), loss_constants(at)).value < convergence_ball(at).radius
    with pytest.raises(ValueError, match=r"\(0, 1/2\], got 0.7"):
        alpha_threshold(problem, delta=0.7)


def test_measured_constant_gives_a_smaller_threshold():
    problem = small_net()
    measured = alpha_threshold(problem, lipschitz=measured_lipschitz(problem, problem.w0[None]))
    assert measured.source == MEASURED and measured.value < alpha_threshold(problem).value


def test_overparameterized_threshold_keeps_the_ball():
    problem = small_net(n=4, sizes=(3, 20, 1))
    found = alpha_threshold(problem)
    assert found.value == pytest.approx(
        4 * found.ball.lipschitz.value * float(jnp.linalg.norm(problem.y)) / found.ball.sigma_start**2
    )
    at = small_net(1.001 * found.value, n=4, sizes=(3, 20, 1))
    ball = convergence_ball(at)
    assert 0.99 * ball.radius < path_bound(at, ball, loss_constants(at)).value < ball.radius


def test_quadratic_constant():
    assert quadratic_constant(Constant("Lip(Df)", 3.0, "", MEASURED), 0.5).value == 6.0
    assert "measured lower bound" in str(quadratic_constant(Constant("Lip(Df)", 3.0, "", MEASURED), 0.5))


def test_bounds_of_other_coordinates():
    problem = tanh_net(6, (2, 3, 1))
    model = Reparametrised(problem.model, problem.params, 3.0 * jnp.eye(problem.p))
    inner, outer = (
        ball_bounds(problem.model, problem.x, problem.params, 0.3),
        ball_bounds(model, problem.x, jnp.zeros(problem.p), 0.1),
    )
    assert relative_error([outer.jacobian, outer.lipschitz], [3 * inner.jacobian, 9 * inner.lipschitz]) < 1e-12


def test_slowest_share_is_one_on_the_slowest_mode():
    problem = tanh_net(20, (3, 2, 1))
    w = problem.w0
    jac, hessian = np.asarray(problem.jac(w)), np.asarray(jax.hessian(problem.objective)(w))
    _, vectors = scipy.linalg.eigh(hessian, jac.T @ jac)
    on, off = jac @ vectors[:, 0], jac @ vectors[:, -1]
    assert slowest_share(problem, w, on) > 0.999
    assert slowest_share(problem, w, off) < 1e-3
    assert slowest_share(problem, w, on + off, within=0.0) == pytest.approx(0.5, abs=1e-3)
