"""The standing problems that `riemgn certify` holds the claims against: regimes, losses, depths, conditionings, real data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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

RTOL = 1e-10  # of the first solve; its twin's is a hundred times smaller


@dataclass(frozen=True)
class Case:
    """One piece of evidence for one claim: `make(seed, rtol)` solves it.

    - `quick`: whether it is in the short set.
    - `seeds`: how many seeds the full set takes; 1 for a problem in which nothing is random.
    - `rtol`: relative tolerance of its first solve; methods with discrete steps have none.
    """

    claim: str
    title: str
    make: Callable[[int, float], Any]
    quick: bool = False
    seeds: int = 10
    rtol: float = RTOL

    def evidence(self, seed: int, rtol: float | None = None) -> Any:
        """What the claim is examined on."""
        return self.make(seed, self.rtol if rtol is None else rtol)


# --- problems ---------------------------------------------------------------------------------------------------------


def flow_of(
    problem: Problem, flow: Any, t1: float, rtol: float = RTOL, dense: bool = False, ts: Any = None
) -> Trajectory:
    """A solve with its tighter twin, whose tolerance stays above the rounding of the outputs; an early end is evidence too."""
    rounding = np.finfo(np.float64).eps * output_scale(problem.model)
    atol = max(1e-2 * rtol, 1e2 * rounding)
    return solve(
        problem, flow, t1=t1, rtol=rtol, atol=atol, ts=ts, dense=dense, error=True, throw=False, step_to_ts=dense
    )


def over(
    seed: int,
    loss: Any = None,
    alpha: float = 30.0,
    cond: float = 10.0,
    sizes: tuple[int, ...] = (4, 24, 1),
    n: int = 12,
    **options,
) -> Problem:
    """A network with more parameters than the n data points; targets that suit the loss."""
    return network_problem(seed, sizes, n, alpha, cond, loss, **options)


def under(
    seed: int,
    loss: Any = None,
    alpha: float = 1000.0,
    cond: float = 3.0,
    sizes: tuple[int, ...] = (3, 2, 1),
    n: int = 60,
    **options,
) -> Problem:
    """A network with fewer parameters than data points."""
    return network_problem(seed, sizes, n, alpha, cond, loss, **options)


def network_problem(
    seed: int, sizes: tuple[int, ...], n: int, alpha: float, cond: float, loss: Any, **options
) -> Problem:
    """`f = alpha (phi(w) - phi(w0))` on inputs of condition number `cond`, Gaussian, binary or count targets."""
    x_key, w_key, y_key = jr.split(jr.key(seed), 3)
    x = synthetic_inputs(n, sizes[0], cond, key=x_key)
    net = MLP(sizes, **options)
    params = net.init(key=w_key)
    y = np.asarray(jr.normal(y_key, (n,)))
    if isinstance(loss, LogisticLoss):
        y = np.where(y > 0, 0.9, 0.1)  # soft labels: the infimum is attained
    if isinstance(loss, PoissonLoss):
        y = 1.0 + np.floor(np.abs(2 * y))
    return Problem(Scaled(Centred(net, params), alpha), params, x, y, loss)


def deep_logistic(seed: int, alpha: float = 1e6) -> Problem:
    """A network with two hidden layers, soft binary labels, fewer parameters than data points."""
    return under(seed, LogisticLoss(), sizes=(3, 3, 3, 1), n=200, cond=1.5, alpha=alpha)


def diabetes(seed: int, alpha: float = 300.0) -> Problem:
    """442 samples of 10 inputs, a 10-3-1 tanh network: p = 37."""
    x, y = load_data("diabetes")
    net = MLP((10, 3, 1))
    params = net.init(key=jr.key(seed))
    return Problem(Scaled(Centred(net, params), alpha), params, x, y)


def digits(seed: int) -> Problem:
    """200 images of digits, the digit's value standardised, a 64-8-1 tanh network: p = 529."""
    x, y = load_data("digits", subset=200, seed=seed)
    y = np.asarray(y, dtype=float).reshape(len(x), -1)
    y = y @ np.arange(y.shape[1]) if y.shape[1] > 1 else y[:, 0]
    net = MLP((x.shape[1], 8, 1))
    params = net.init(key=jr.key(seed))
    return Problem(Scaled(Centred(net, params), 100.0), params, x, (y - y.mean()) / y.std())


def drawn_again(problem: Problem, draw: int) -> Problem:
    """The same data and network with other weights at the start."""
    scaled = problem.model
    if not (
        isinstance(scaled, Scaled) and isinstance(scaled.model, Centred) and isinstance(net := scaled.model.model, MLP)
    ):
        raise ValueError(f"Only a centred and scaled MLP can be drawn again, got {type(scaled).__name__}.")
    params = net.init(key=jr.key(1000 + draw))
    return Problem(Scaled(Centred(net, params), float(scaled.alpha)), params, problem.x, problem.y, problem.loss)


def duplicated(seed: int) -> Problem:
    """Pairs of nearly equal inputs: an over-parameterised kernel of condition number about 1e8."""
    x_key, d_key, w_key, y_key = jr.split(jr.key(seed), 4)
    x = near_duplicates(synthetic_inputs(6, 4, 3.0, key=x_key), 1e-4, key=d_key)
    net = MLP((4, 24, 1))
    params = net.init(key=w_key)
    return Problem(Scaled(Centred(net, params), 30.0), params, x, np.asarray(jr.normal(y_key, (12,))))


def linear_kernel(seed: int, cond: float) -> Problem:
    """The linear model with 8 data points, 12 parameters and `cond(K) = cond`; the residual starts with its slowest mode excited."""
    x = synthetic_inputs(8, 12, float(np.sqrt(cond)), key=jr.key(seed))
    slowest = np.linalg.svd(x)[0][:, 7]
    y = np.asarray(jr.normal(jr.key(seed + 1000), (8,))) + 2 * slowest
    return Problem(LinearModel(), np.zeros(12), x, y)


# --- evidence that is more than one solve -----------------------------------------------------------------------------


def in_coordinates(
    problem: Problem, conds: Sequence[float], seed: int, rtol: float, t1: float = 20.0
) -> list[Trajectory]:
    """Gauss-Newton on one problem in coordinates of several condition numbers."""
    problems = [problem, *(reparametrised(problem, cond, key=jr.key(seed + 77)) for cond in conds)]
    return [flow_of(moved, GaussNewtonFlow(), t1, rtol) for moved in problems]


def beside_manifold(problem: Problem, rtol: float, t1: float = 5.0) -> tuple[Trajectory, Any]:
    """Gauss-Newton in the parameters, and the Riemannian gradient flow in the outputs, at the same times."""
    ts = np.linspace(0.0, t1, 33)
    path = output_flow(OutputManifold(problem), t1, ts=ts, rtol=rtol, atol=1e-2 * rtol, error=True, throw=False)
    return flow_of(problem, GaussNewtonFlow(), t1, rtol, ts=ts), path


def schedule(damping: Any, conds: Sequence[float], seed: int, t1: float, rtol: float = RTOL) -> list[Trajectory]:
    """One damping schedule over several conditionings of the kernel."""
    return [flow_of(linear_kernel(seed, cond), LevenbergMarquardtFlow(damping), t1, rtol) for cond in conds]


def scales(
    make: Callable[[float], Problem], alphas: Sequence[float], t1: float, rtol: float = RTOL
) -> list[Trajectory]:
    """Gauss-Newton at several output scales of one model."""
    return [flow_of(make(alpha), GaussNewtonFlow(), t1, rtol) for alpha in alphas]


def at_threshold(seed: int, rtol: float, share: float) -> Trajectory:
    """Gauss-Newton at `share` times the worst-case output scale `alpha_0` of the convergence theorem: 30 data points, 6 parameters."""
    make = {"sizes": (3, 1, 1), "n": 30, "cond": 1.5}
    threshold = alpha_threshold(under(seed, alpha=1.0, **make)).value
    return flow_of(under(seed, alpha=share * threshold, **make), GaussNewtonFlow(), 10.0, rtol)


def steps_of(problem: Problem, method: Any, steps: int, key: Any = None) -> Trajectory:
    """Iterates with a twin started a few roundings away."""
    return iterate(problem, method, steps=steps, key=key, error=True, throw=False)


def minibatches(seed: int) -> Trajectory:
    """Uniformly random batches of 3 of 8 points on a linear model, cond(K) = 10."""
    return steps_of(linear_kernel(seed, 10.0), GramGaussNewton(batch_size=3, order="subset"), 200, jr.key(seed))


def score(seed: int, penalty: Any, rule: str) -> Trajectory:
    """GGN-SCORE on a linear model with the mean squared loss, 8 data points and 12 parameters."""
    problem = linear_kernel(seed, 100.0)
    problem = Problem(problem.model, problem.params, problem.x, problem.y, SquaredLoss(mean=True))
    return steps_of(problem, GGNScore(penalty, weight=1e-2, damping="tau", rule=rule), 12)


def score_flow(seed: int, rtol: float, penalty: Any, damping: Any, loss: Any = None) -> Trajectory:
    """GGN-SCORE's flow of a network with more parameters than the 12 data points, output scale 1."""
    problem = over(seed, SquaredLoss(mean=True) if loss is None else loss, alpha=1.0)
    return flow_of(problem, GGNScoreFlow(penalty, 1e-2, damping), 10.0, rtol, dense=True)


DECADES = (1e2, 1e4, 1e6, 1e8, 1e10)

CASES: tuple[Case, ...] = (
    Case("equivalence", "tanh network, p = 11", lambda s, tol: beside_manifold(under(s), tol), quick=True),
    Case("equivalence", "sphere", lambda s, tol: beside_manifold(sphere(), tol), seeds=1),
    Case(
        "equivalence",
        "rank-one matrices, over-complete chart",
        lambda s, tol: beside_manifold(rank_one(4, 3, key=jr.key(s)), tol),
        seeds=1,
    ),
    Case(
        "equivalence",
        "deep tanh, logistic",
        lambda s, tol: beside_manifold(deep_logistic(s, 1e4), tol),
        seeds=1,
    ),
    Case(
        "dissipation",
        "Gauss-Newton, p < n",
        lambda s, tol: flow_of(under(s), GaussNewtonFlow(), 10.0, tol, dense=True),
        quick=True,
    ),
    Case(
        "dissipation",
        "Levenberg-Marquardt, logistic, p > n",
        lambda s, tol: flow_of(over(s, LogisticLoss()), LevenbergMarquardtFlow(1.0), 10.0, tol, dense=True),
    ),
    Case(
        "dissipation",
        "gradient flow, p > n",
        lambda s, tol: flow_of(over(s, alpha=1.0), GradientFlow(), 2.0, tol, dense=True),
    ),
    Case(
        "invariance",
        "tanh network, cond(A) = 1, 1e3",
        lambda s, tol: in_coordinates(under(s), (1e3,), s, tol),
        quick=True,
        rtol=1e-9,
    ),
    Case(
        "invariance",
        "diabetes, cond(A) = 1, 1e3, 1e6",
        lambda s, tol: in_coordinates(diabetes(s), (1e3, 1e6), s, tol, 10.0),
        seeds=1,
        rtol=1e-7,
    ),
    Case(
        "rate_identity", "tanh", lambda s, tol: flow_of(under(s), GaussNewtonFlow(), 15.0, tol, dense=True), quick=True
    ),
    Case(
        "rate_identity",
        "softplus",
        lambda s, tol: flow_of(under(s, alpha=3e4, activation="softplus"), GaussNewtonFlow(), 15.0, tol, dense=True),
    ),
    Case(
        "rate_identity",
        "deep tanh, logistic",
        lambda s, tol: flow_of(deep_logistic(s), GaussNewtonFlow(), 20.0, tol, dense=True, ts=np.linspace(0, 20, 129)),
    ),
    Case(
        "rate_identity",
        "tanh, n = 500, p = 193",
        lambda s, tol: flow_of(
            under(s, sizes=(22, 8, 1), n=500, alpha=3e3),
            GaussNewtonFlow(),
            7.0,
            tol,
            dense=True,
            ts=np.linspace(0, 7, 33),
        ),
        seeds=1,
    ),
    Case(
        "rate_identity",
        "diabetes",
        lambda s, tol: flow_of(diabetes(s), GaussNewtonFlow(), 10.0, tol, dense=True),
        seeds=1,
    ),
    Case(
        "underparameterized_convergence",
        "tanh, n = 30, p = 6, at the worst-case alpha_0",
        lambda s, tol: at_threshold(s, tol, 1.001),
        quick=True,
    ),
    *(
        Case(
            "underparameterized_convergence",
            f"tanh, n = 30, p = 6, at alpha_0 / {1 / share:.0f}",
            lambda s, tol, share=share: at_threshold(s, tol, share),
            seeds=1,
        )
        for share in (1e-1, 1e-2, 1e-3)
    ),
    Case(
        "underparameterized_convergence",
        "diabetes, alpha = 1e9",
        lambda s, tol: flow_of(diabetes(s, alpha=1e9), GaussNewtonFlow(), 10.0, tol),
        seeds=1,
    ),
    Case(
        "exact_residual_law", "tanh network", lambda s, tol: flow_of(over(s), GaussNewtonFlow(), 10.0, tol), quick=True
    ),
    Case(
        "exact_residual_law",
        "deep softplus network",
        lambda s, tol: flow_of(over(s, sizes=(4, 8, 8, 1), activation="softplus"), GaussNewtonFlow(), 10.0, tol),
    ),
    Case(
        "exact_residual_law",
        "near duplicates, cond(K) about 1e8",
        lambda s, tol: flow_of(duplicated(s), GaussNewtonFlow(), 10.0, tol),
        rtol=1e-11,
    ),
    Case(
        "exact_residual_law",
        "digits, 200 images, p = 529",
        lambda s, tol: flow_of(digits(s), GaussNewtonFlow(), 5.0, tol),
        seeds=1,
    ),
    Case(
        "damped_rate",
        "constant damping",
        lambda s, tol: flow_of(over(s), LevenbergMarquardtFlow(1.0), 10.0, tol),
        quick=True,
    ),
    Case(
        "damped_rate",
        "constant damping, logistic",
        lambda s, tol: flow_of(over(s, LogisticLoss()), LevenbergMarquardtFlow(1.0), 20.0, tol),
    ),
    Case(
        "damped_rate",
        "digits, residual damping",
        lambda s, tol: flow_of(digits(s), LevenbergMarquardtFlow(ResidualDamping(1.0)), 5.0, tol),
        seeds=1,
    ),
    *(
        Case(
            "adaptive_damping",
            f"rho = {c:g} lambda_min, cond(K) 1e2 to 1e10",
            lambda s, tol, c=c: schedule(SpectralDamping(c), DECADES, s, 12.0 * (1 + c), tol),
            quick=c == 1.0,
            rtol=1e-9,
        )
        for c in (0.1, 1.0, 10.0)
    ),
    Case(
        "adaptive_damping",
        "rho = exp(-t), cond(K) 1e2 to 1e10",
        lambda s, tol: schedule(ExponentialDamping(1.0, 1.0), DECADES, s, 35.0, tol),
    ),
    Case(
        "path_length",
        "Levenberg-Marquardt",
        lambda s, tol: flow_of(over(s), LevenbergMarquardtFlow(1.0), 15.0, tol, dense=True),
        quick=True,
    ),
    Case(
        "path_length",
        "Gauss-Newton, Poisson",
        lambda s, tol: flow_of(over(s, PoissonLoss()), GaussNewtonFlow(), 10.0, tol, dense=True),
    ),
    Case(
        "generalized_law",
        "logistic",
        lambda s, tol: flow_of(over(s, LogisticLoss()), GeneralizedGaussNewtonFlow(), 10.0, tol),
        quick=True,
    ),
    Case(
        "generalized_law",
        "Poisson",
        lambda s, tol: flow_of(over(s, PoissonLoss()), GeneralizedGaussNewtonFlow(), 10.0, tol),
    ),
    *(
        Case(
            "asymptotic_rate",
            f"circle, theta_min = {t:g}",
            lambda s, tol, t=t: flow_of(
                circle(1.0, t, 1.0), GaussNewtonFlow(), 20.0 / t, tol, ts=np.linspace(0, 20 / t, 401)
            ),
            quick=t == 0.3,
            seeds=1,
        )
        for t in (0.3, 0.8, 1.4)
    ),
    *(
        Case(
            "asymptotic_rate",
            f"tanh network, p = 11, alpha = {alpha:g}",
            lambda s, tol, alpha=alpha: flow_of(
                under(s, alpha=alpha), GaussNewtonFlow(), 60.0, tol, ts=np.linspace(0, 60, 481)
            ),
            seeds=1,
        )
        for alpha in (30.0, 100.0)
    ),
    Case(
        "asymptotic_rate",
        "diabetes, alpha = 5",
        lambda s, tol: flow_of(diabetes(s, alpha=5.0), GaussNewtonFlow(), 110.0, tol, ts=np.linspace(0, 110, 441)),
        seeds=1,
    ),
    Case(
        "curvature_scaling",
        "tanh, alpha = 1e6 to 1e8",
        lambda s, tol: scales(lambda a: under(s, alpha=a), (1e6, 1e7, 1e8), 15.0, tol),
        quick=True,
    ),
    Case(
        "discrete_quadratic",
        "tanh, alpha = 1e4 to 1e6",
        lambda s, tol: [steps_of(over(s, alpha=a), GaussNewton(step_size=1.0), 6) for a in (1e4, 1e5, 1e6)],
        quick=True,
        seeds=50,
    ),
    Case(
        "discrete_quadratic",
        "softplus, widths 64 to 1024, ten draws each",
        lambda s, tol: [
            steps_of(
                drawn_again(over(s, alpha=1e6, sizes=(4, width, 1), activation="softplus"), draw),
                GaussNewton(step_size=1.0),
                3,
            )
            for width in (64, 256, 1024)
            for draw in range(10)
        ],
    ),
    *(
        Case(
            "discrete_adaptive",
            f"step 1/2, rho = lambda_min, alpha = {alpha:g}, inputs of cond {cond:g}",
            lambda s, tol, alpha=alpha, cond=cond: steps_of(
                over(s, alpha=alpha, cond=cond), LevenbergMarquardt(SpectralDamping(1.0), step_size=0.5), 30
            ),
            quick=cond == 10.0,
        )
        for alpha, cond in ((1e5, 10.0), (1e7, 100.0))
    ),
    Case("minibatch_contraction", "linear model, batches of 3 of 8", lambda s, tol: minibatches(s), quick=True),
    Case(
        "ggn_score_descent",
        "linear model, Ostrovskii-Bach",
        lambda s, tol: score(s, OstrovskiiBachPenalty(), "analytic"),
        quick=True,
    ),
    Case("ggn_score_descent", "linear model, pseudo-Huber", lambda s, tol: score(s, PseudoHuberPenalty(), "reference")),
    Case(
        "ggn_score_flow_descent",
        "tanh, pseudo-Huber, c = 1",
        lambda s, tol: score_flow(s, tol, PseudoHuberPenalty(), "unit"),
        quick=True,
    ),
    Case(
        "ggn_score_flow_descent",
        "tanh, Ostrovskii-Bach, c = tau",
        lambda s, tol: score_flow(s, tol, OstrovskiiBachPenalty(), "tau"),
    ),
    Case(
        "ggn_score_flow_descent",
        "tanh, logistic, mu = 0.1",
        lambda s, tol: score_flow(s, tol, PseudoHuberPenalty(0.1), "unit", LogisticLoss()),
    ),
    Case(
        "kernel_limit",
        "tanh, alpha = 1e3 to 1e5",
        lambda s, tol: scales(lambda a: over(s, alpha=a), (1e3, 1e4, 1e5), 10.0, tol),
        quick=True,
    ),
)
