"""The standard problems of `riemgn certify`: regimes, losses, depths, real data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax.random as jr
import numpy as np

from ..data import load_data, near_duplicates, synthetic_inputs
from ..flow import (
    ExponentialDamping,
    GaussNewtonFlow,
    GeneralizedGaussNewtonFlow,
    GGNScoreFlow,
    GradientFlow,
    LevenbergMarquardtFlow,
    ResidualDamping,
    SpectralDamping,
)
from ..geometry import output_flow, OutputManifold
from ..loss import LogisticLoss, PoissonLoss, SquaredLoss
from ..method import GaussNewton, GGNScore, GramGaussNewton, LevenbergMarquardt
from ..model import Centred, LinearModel, MLP, Scaled
from ..penalty import OstrovskiiBachPenalty, PseudoHuberPenalty
from ..problem import Problem
from ..solver.iterate import iterate
from ..solver.solve import solve
from ..task import circle, rank_one, reparametrised, sphere
from ..theory.constants import alpha_threshold, output_scale
from ..trajectory import Trajectory

RTOL = 1e-10  # of the first solve; the second solve, which gives the error, uses a hundredth of it
GN, GGN, LM = GaussNewtonFlow(), GeneralizedGaussNewtonFlow(), LevenbergMarquardtFlow
FULL_STEP = GaussNewton(step_size=1.0)
Make = Callable[[int, float], Any]  # function of (seed, rtol)


@dataclass(frozen=True)
class Case:
    """One problem on which one claim is certified.

    - `make`: function of (seed, rtol) that solves it and returns the evidence.
    - `quick`: whether the case is in the short set.
    - `seeds`: number of seeds in the full set, 1 if nothing is random (default 10).
    - `rtol`: relative tolerance of the first solve. Discrete methods ignore it.
    """

    claim: str
    title: str
    make: Make
    quick: bool = False
    seeds: int = 10
    rtol: float = RTOL

    def evidence(self, seed: int, rtol: float | None = None) -> Any:
        """Return the evidence for a seed, at another relative tolerance if `rtol` is given."""
        return self.make(seed, self.rtol if rtol is None else rtol)


# --- problems -------------------------------------------------------------------------------------


def network_problem(
    seed: int, sizes: tuple[int, ...], n: int, alpha: float, cond: float, loss: Any = None, **options: Any
) -> Problem:
    """Return a problem with the model `f = alpha (phi(w) - phi(w0))` and n random data points.

    The inputs have the condition number `cond`. The targets are Gaussian, binary or counts, as the
    loss needs them.
    """
    x_key, w_key, y_key = jr.split(jr.key(seed), 3)
    x = synthetic_inputs(n, sizes[0], cond, key=x_key)
    net = MLP(sizes, **options)
    y = np.asarray(jr.normal(y_key, (n,)))
    if isinstance(loss, LogisticLoss):
        y = np.where(y > 0, 0.9, 0.1)  # with soft labels the infimum is attained
    if isinstance(loss, PoissonLoss):
        y = 1.0 + np.floor(np.abs(2 * y))
    return _centred_problem(net, net.init(key=w_key), alpha, x, y, loss)


def _centred_problem(net: MLP, params: Any, alpha: float, x: Any, y: Any, loss: Any = None) -> Problem:
    return Problem(Scaled(Centred(net, params), alpha), params, x, y, loss)


# more parameters than the 12 data points, and fewer parameters than the 60 data points
wide_network = partial(network_problem, sizes=(4, 24, 1), n=12, alpha=30.0, cond=10.0)
narrow_network = partial(network_problem, sizes=(3, 2, 1), n=60, alpha=1000.0, cond=3.0)
deep_logistic = partial(
    network_problem, sizes=(3, 3, 3, 1), n=200, alpha=1e6, cond=1.5, loss=LogisticLoss()
)  # two hidden layers, fewer parameters than data points


def diabetes(seed: int, alpha: float = 300.0) -> Problem:
    """Return a 10-3-1 tanh network (p = 37) on the diabetes data (n = 442)."""
    x, y = load_data("diabetes")
    net = MLP((10, 3, 1))
    return _centred_problem(net, net.init(key=jr.key(seed)), alpha, x, y)


def digits(seed: int) -> Problem:
    """Return a 64-8-1 tanh network (p = 529) on 200 images, with the digit as target."""
    x, y = load_data("digits", subset=200, seed=seed)
    y = np.asarray(y, dtype=float).reshape(len(x), -1)
    y = y @ np.arange(y.shape[1]) if y.shape[1] > 1 else y[:, 0]
    net = MLP((x.shape[1], 8, 1))
    return _centred_problem(net, net.init(key=jr.key(seed)), 100.0, x, (y - y.mean()) / y.std())


def with_new_weights(problem: Problem, draw: int) -> Problem:
    """Return a centred and scaled MLP problem with other weights at the start."""
    net: MLP = problem.model.model.model
    params = net.init(key=jr.key(1000 + draw))
    return _centred_problem(net, params, float(problem.model.alpha), problem.x, problem.y, problem.loss)


def near_duplicate_inputs(seed: int) -> Problem:
    """Return a wide network on pairs of nearly equal inputs, with cond(K) about 1e8."""
    x_key, d_key, w_key, y_key = jr.split(jr.key(seed), 4)
    x = near_duplicates(synthetic_inputs(6, 4, 3.0, key=x_key), 1e-4, key=d_key)
    net = MLP((4, 24, 1))
    return _centred_problem(net, net.init(key=w_key), 30.0, x, np.asarray(jr.normal(y_key, (12,))))


def linear_kernel(seed: int, cond: float) -> Problem:
    """Return a linear model with n = 8, p = 12, `cond(K) = cond` and a large slowest mode."""
    x = synthetic_inputs(8, 12, float(np.sqrt(cond)), key=jr.key(seed))
    slowest = np.linalg.svd(x)[0][:, 7]
    y = np.asarray(jr.normal(jr.key(seed + 1000), (8,))) + 2 * slowest
    return Problem(LinearModel(), np.zeros(12), x, y)


# --- evidence -------------------------------------------------------------------------------------


def solve_with_error(
    problem: Problem, flow: Any, t1: float, rtol: float = RTOL, dense: bool = False, ts: Any = None
) -> Trajectory:
    """Solve twice, the second time tighter, such that rounding stays below the tolerance."""
    rounding = np.finfo(np.float64).eps * output_scale(problem.model)
    atol = max(1e-2 * rtol, 1e2 * rounding)
    options = {"dense": dense, "step_to_ts": dense, "error": True, "throw": False}
    return solve(problem, flow, t1=t1, rtol=rtol, atol=atol, ts=ts, **options)


def iterate_with_error(problem: Problem, method: Any, steps: int, key: Any = None) -> Trajectory:
    """Iterate, and iterate a second time from a start that differs by a few roundings."""
    return iterate(problem, method, steps=steps, key=key, error=True, throw=False)


def one_flow(
    make_problem: Callable[..., Problem], flow: Any, t1: float, dense: bool = False, ts: Any = None, **options: Any
) -> Make:
    """Solve one flow on `make_problem(seed, **options)`."""
    return lambda seed, rtol: solve_with_error(make_problem(seed, **options), flow, t1, rtol, dense, ts)


def parameters_and_outputs(make_problem: Callable[..., Problem], **options: Any) -> Make:
    """Solve Gauss-Newton in the parameters and the Riemannian gradient flow in the outputs."""
    t1, ts = 5.0, np.linspace(0.0, 5.0, 33)

    def make(seed: int, rtol: float) -> tuple[Trajectory, Any]:
        problem = make_problem(seed, **options)
        solved = {"ts": ts, "rtol": rtol, "atol": 1e-2 * rtol, "error": True, "throw": False}
        path = output_flow(OutputManifold(problem), t1, **solved)
        return solve_with_error(problem, GN, t1, rtol, ts=ts), path

    return make


def several_coordinates(make_problem: Callable[[int], Problem], conds: Sequence[float], t1: float) -> Make:
    """Solve Gauss-Newton in the given coordinates, and in others of several condition numbers."""

    def make(seed: int, rtol: float) -> list[Trajectory]:
        problem, key = make_problem(seed), jr.key(seed + 77)
        problems = [problem, *(reparametrised(problem, cond, key=key) for cond in conds)]
        return [solve_with_error(each, GN, t1, rtol) for each in problems]

    return make


def several_conds(damping: Any, conds: Sequence[float], t1: float) -> Make:
    """Solve Levenberg-Marquardt with one damping for several condition numbers of the kernel."""
    return lambda seed, rtol: [solve_with_error(linear_kernel(seed, cond), LM(damping), t1, rtol) for cond in conds]


def several_alphas(make_problem: Callable[..., Problem], alphas: Sequence[float], t1: float) -> Make:
    """Solve Gauss-Newton at several output scales of one model."""
    return lambda seed, rtol: [solve_with_error(make_problem(seed, alpha=alpha), GN, t1, rtol) for alpha in alphas]


def near_threshold(factor: float) -> Make:
    """Solve Gauss-Newton at `factor` times the sufficient output scale `alpha_0`."""

    def make(seed: int, rtol: float) -> Trajectory:
        network = partial(narrow_network, seed, sizes=(3, 1, 1), n=30, cond=1.5)
        return solve_with_error(network(alpha=factor * alpha_threshold(network(alpha=1.0)).value), GN, 10.0, rtol)

    return make


def full_steps(seed: int, rtol: float) -> list[Trajectory]:
    """Iterate Gauss-Newton at several output scales."""
    return [iterate_with_error(wide_network(seed, alpha=a), FULL_STEP, 6) for a in (1e4, 1e5, 1e6)]


def full_steps_over_width(seed: int, rtol: float) -> list[Trajectory]:
    """Iterate Gauss-Newton for several widths, each with ten draws of the weights."""
    runs = []
    for width in (64, 256, 1024):
        problem = wide_network(seed, alpha=1e6, sizes=(4, width, 1), activation="softplus")
        runs += [iterate_with_error(with_new_weights(problem, draw), FULL_STEP, 3) for draw in range(10)]
    return runs


def half_steps(alpha: float, cond: float) -> Make:
    """Iterate Levenberg-Marquardt with step size 1/2 and `rho = lambda_min`."""
    method = LevenbergMarquardt(SpectralDamping(1.0), step_size=0.5)
    return lambda seed, rtol: iterate_with_error(wide_network(seed, alpha=alpha, cond=cond), method, 30)


def minibatch_steps(seed: int, rtol: float = RTOL) -> Trajectory:
    """Iterate on random batches of 3 of 8 points of a linear model with cond(K) = 10."""
    method = GramGaussNewton(batch_size=3, order="subset")
    return iterate_with_error(linear_kernel(seed, 10.0), method, 200, jr.key(seed))


def ggn_score_steps(penalty: Any, rule: str) -> Make:
    """Iterate GGN-SCORE on a linear model with the mean squared loss, n = 8 and p = 12."""
    method = GGNScore(penalty, weight=1e-2, damping="tau", rule=rule)

    def make(seed: int, rtol: float) -> Trajectory:
        problem = linear_kernel(seed, 100.0)
        mean = Problem(problem.model, problem.params, problem.x, problem.y, SquaredLoss(mean=True))
        return iterate_with_error(mean, method, 12)

    return make


def ggn_score_flow(penalty: Any, damping: Any, loss: Any = None) -> Make:
    """Solve the GGN-SCORE flow of a network with more parameters than data points."""
    loss = SquaredLoss(mean=True) if loss is None else loss
    return one_flow(wide_network, GGNScoreFlow(penalty, 1e-2, damping), 10.0, dense=True, loss=loss, alpha=1.0)


DECADES = (1e2, 1e4, 1e6, 1e8, 1e10)
LOGISTIC, POISSON = LogisticLoss(), PoissonLoss()
UNDER = "underparameterized_convergence"

CASES: tuple[Case, ...] = (
    Case("equivalence", "tanh network, p = 11", parameters_and_outputs(narrow_network), True),
    Case("equivalence", "sphere", parameters_and_outputs(lambda s: sphere()), seeds=1),
    Case(
        "equivalence",
        "rank-one matrices, over-complete chart",
        parameters_and_outputs(lambda s: rank_one(4, 3, key=jr.key(s))),
        seeds=1,
    ),
    Case("equivalence", "deep tanh, logistic", parameters_and_outputs(deep_logistic, alpha=1e4), seeds=1),
    Case("dissipation", "Gauss-Newton, p < n", one_flow(narrow_network, GN, 10.0, True), True),
    Case(
        "dissipation",
        "Levenberg-Marquardt, logistic, p > n",
        one_flow(wide_network, LM(1.0), 10.0, True, loss=LOGISTIC),
    ),
    Case("dissipation", "gradient flow, p > n", one_flow(wide_network, GradientFlow(), 2.0, True, alpha=1.0)),
    Case(
        "invariance",
        "tanh network, cond(A) = 1, 1e3",
        several_coordinates(narrow_network, (1e3,), 20.0),
        True,
        rtol=1e-9,
    ),
    Case(
        "invariance",
        "diabetes, cond(A) = 1, 1e3, 1e6",
        several_coordinates(diabetes, (1e3, 1e6), 10.0),
        seeds=1,
        rtol=1e-7,
    ),
    Case("rate_identity", "tanh", one_flow(narrow_network, GN, 15.0, True), True),
    Case("rate_identity", "softplus", one_flow(narrow_network, GN, 15.0, True, alpha=3e4, activation="softplus")),
    Case("rate_identity", "deep tanh, logistic", one_flow(deep_logistic, GN, 20.0, True, np.linspace(0, 20, 129))),
    Case(
        "rate_identity",
        "tanh, n = 500, p = 193",
        one_flow(narrow_network, GN, 7.0, True, np.linspace(0, 7, 33), sizes=(22, 8, 1), n=500, alpha=3e3),
        seeds=1,
    ),
    Case("rate_identity", "diabetes", one_flow(diabetes, GN, 10.0, True), seeds=1),
    Case(UNDER, "tanh, n = 30, p = 6, at the worst-case alpha_0", near_threshold(1.001), True),
    Case(UNDER, "tanh, n = 30, p = 6, at alpha_0 / 10", near_threshold(1e-1), seeds=1),
    Case(UNDER, "tanh, n = 30, p = 6, at alpha_0 / 100", near_threshold(1e-2), seeds=1),
    Case(UNDER, "tanh, n = 30, p = 6, at alpha_0 / 1000", near_threshold(1e-3), seeds=1),
    Case(UNDER, "diabetes, alpha = 1e9", one_flow(diabetes, GN, 10.0, alpha=1e9), seeds=1),
    Case("exact_residual_law", "tanh network", one_flow(wide_network, GN, 10.0), True),
    Case(
        "exact_residual_law",
        "deep softplus network",
        one_flow(wide_network, GN, 10.0, sizes=(4, 8, 8, 1), activation="softplus"),
    ),
    Case(
        "exact_residual_law",
        "near duplicates, cond(K) about 1e8",
        one_flow(near_duplicate_inputs, GN, 10.0),
        rtol=1e-11,
    ),
    Case("exact_residual_law", "digits, 200 images, p = 529", one_flow(digits, GN, 5.0), seeds=1),
    Case("damped_rate", "constant damping", one_flow(wide_network, LM(1.0), 10.0), True),
    Case("damped_rate", "constant damping, logistic", one_flow(wide_network, LM(1.0), 20.0, loss=LOGISTIC)),
    Case("damped_rate", "digits, residual damping", one_flow(digits, LM(ResidualDamping(1.0)), 5.0), seeds=1),
    *(
        Case(
            "adaptive_damping",
            f"rho = {c:g} lambda_min, cond(K) 1e2 to 1e10",
            several_conds(SpectralDamping(c), DECADES, 12.0 * (1 + c)),
            c == 1.0,
            rtol=1e-9,
        )
        for c in (0.1, 1.0, 10.0)
    ),
    Case(
        "adaptive_damping",
        "rho = exp(-t), cond(K) 1e2 to 1e10",
        several_conds(ExponentialDamping(1.0, 1.0), DECADES, 35.0),
    ),
    Case("path_length", "Levenberg-Marquardt", one_flow(wide_network, LM(1.0), 15.0, True), True),
    Case("path_length", "Gauss-Newton, Poisson", one_flow(wide_network, GN, 10.0, True, loss=POISSON)),
    Case("generalized_law", "logistic", one_flow(wide_network, GGN, 10.0, loss=LOGISTIC), True),
    Case("generalized_law", "Poisson", one_flow(wide_network, GGN, 10.0, loss=POISSON)),
    *(
        Case(
            "asymptotic_rate",
            f"circle, theta_min = {t:g}",
            one_flow(lambda s, t=t: circle(1.0, t, 1.0), GN, 20.0 / t, ts=np.linspace(0, 20 / t, 401)),
            t == 0.3,
            seeds=1,
        )
        for t in (0.3, 0.8, 1.4)
    ),
    *(
        Case(
            "asymptotic_rate",
            f"tanh network, p = 11, alpha = {alpha:g}",
            one_flow(narrow_network, GN, 60.0, ts=np.linspace(0, 60, 481), alpha=alpha),
            seeds=1,
        )
        for alpha in (30.0, 100.0)
    ),
    Case(
        "asymptotic_rate",
        "diabetes, alpha = 5",
        one_flow(diabetes, GN, 110.0, ts=np.linspace(0, 110, 441), alpha=5.0),
        seeds=1,
    ),
    Case("curvature_scaling", "tanh, alpha = 1e6 to 1e8", several_alphas(narrow_network, (1e6, 1e7, 1e8), 15.0), True),
    Case("discrete_quadratic", "tanh, alpha = 1e4 to 1e6", full_steps, True, seeds=50),
    Case("discrete_quadratic", "softplus, widths 64 to 1024, ten draws each", full_steps_over_width),
    *(
        Case(
            "discrete_adaptive",
            f"step 1/2, rho = lambda_min, alpha = {alpha:g}, inputs of cond {cond:g}",
            half_steps(alpha, cond),
            cond == 10.0,
        )
        for alpha, cond in ((1e5, 10.0), (1e7, 100.0))
    ),
    Case("minibatch_contraction", "linear model, batches of 3 of 8", minibatch_steps, True),
    Case(
        "ggn_score_descent", "linear model, Ostrovskii-Bach", ggn_score_steps(OstrovskiiBachPenalty(), "analytic"), True
    ),
    Case("ggn_score_descent", "linear model, pseudo-Huber", ggn_score_steps(PseudoHuberPenalty(), "reference")),
    Case("ggn_score_flow_descent", "tanh, pseudo-Huber, c = 1", ggn_score_flow(PseudoHuberPenalty(), "unit"), True),
    Case("ggn_score_flow_descent", "tanh, Ostrovskii-Bach, c = tau", ggn_score_flow(OstrovskiiBachPenalty(), "tau")),
    Case(
        "ggn_score_flow_descent", "tanh, logistic, mu = 0.1", ggn_score_flow(PseudoHuberPenalty(0.1), "unit", LOGISTIC)
    ),
    Case("kernel_limit", "tanh, alpha = 1e3 to 1e5", several_alphas(wide_network, (1e3, 1e4, 1e5), 10.0), True),
)
