"""Claims on continuous flows, following Cayci, arXiv:2412.14031v4, or derived for its setting."""

from . import kernel_limit, output_laws, overparameterized, underparameterized
from .claim import Claim

PAPER, CITED, DERIVED = "cayci2024", "following arXiv:2412.14031v4", "derived, following arXiv:2412.14031v4"
ONE, MANY = "a Trajectory", "a list of Trajectories"
DECADE = f"{MANY} at three or more output scales over a decade"
TRAJECTORIES = "trajectories"

CLAIMS = (
    Claim(
        "equivalence",
        "The outputs of the Gauss-Newton flow solve psi' = -P grad g(psi) on the output manifold M = f(W).",
        *("C1", "D1, D2", PAPER, CITED, "a pair: a Trajectory, and that of output_flow at the same times"),
        output_laws.equivalence,
        "pair",
    ),
    Claim(
        "dissipation",
        "The loss falls by the integral of sum_i phi(s_i^2) (u_i^T grad g)^2; for Gauss-Newton that is |P grad g|^2.",
        *("C2", "D1", PAPER, DERIVED, f"{ONE} solved with dense=True"),
        output_laws.dissipation,
    ),
    Claim(
        "invariance",
        "The outputs of the Gauss-Newton flow are the same in all coordinates of the parameters, for every cond(J).",
        *("C3", "D3", PAPER, DERIVED, f"{MANY}: one problem in several coordinates, at the same times"),
        output_laws.invariance,
        TRAJECTORIES,
    ),
    Claim(
        "rate_identity",
        "Along Gauss-Newton, -1/2 d/dt log |u|^2 = Hess_M g[u, u] / |u|^2 with u = grad_M g.",
        *("C4", "D10a", PAPER, DERIVED, f"{ONE} solved with dense=True"),
        underparameterized.rate_identity,
    ),
    Claim(
        "underparameterized_convergence",
        "At output scales above alpha_0 Gauss-Newton stays in its ball and |u_t|^2 <= exp(-nu t) "
        "|u_0|^2, at every conditioning.",
        *("C5", "D11", PAPER, CITED, ONE),
        underparameterized.underparameterized_convergence,
    ),
    Claim(
        "exact_residual_law",
        "Over-parameterised Gauss-Newton on least squares: f_t - y = exp(-t) (f_0 - y).",
        *("C6", "D4", PAPER, DERIVED, ONE),
        output_laws.exact_residual_law,
    ),
    Claim(
        "damped_rate",
        "Over-parameterised, any damping: g - g* <= (g_0 - g*) exp(-2 nu int theta ds) with theta = "
        "phi(lambda_min(K)).",
        *("C7", "D5, D7", PAPER, CITED, ONE),
        overparameterized.damped_rate,
    ),
    Claim(
        "adaptive_damping",
        "With rho = c lambda_min(K) or rho = rho_0 exp(-a t) the slowest mode decays as the closed form "
        "says, for every conditioning.",
        *("C8", "D7", PAPER, CITED, f"{ONE}, or {MANY} of one schedule at several conditionings"),
        overparameterized.adaptive_damping,
        "one or several trajectories",
    ),
    Claim(
        "path_length",
        "Over-parameterised, any damping: the path of the parameters is at most sqrt(2 (g_0 - g*) / nu) "
        "/ sigma_0 long.",
        *("C15", "D6", PAPER, DERIVED, f"{ONE} solved with dense=True"),
        overparameterized.path_length,
    ),
    Claim(
        "generalized_law",
        "With the loss Hessian inside, over-parameterised: grad g(f_t) = exp(-t) grad g(f_0), for every "
        "strictly convex loss.",
        *("C16", "D8", PAPER, DERIVED, ONE),
        output_laws.generalized_law,
    ),
    Claim(
        "asymptotic_rate",
        "Under-parameterised Gauss-Newton: the slope of log |u| tends to -theta_min, the smallest root "
        "of det(Hess R - theta J^T J) = 0.",
        *("C17", "D12", PAPER, DERIVED, f"{ONE} that has converged"),
        underparameterized.asymptotic_rate,
    ),
    Claim(
        "curvature_scaling",
        "The curvature the flow feels, k_N = max |<N, II(v, v)>| / |v|^2, falls like 1 / alpha.",
        *("C18", "D9", PAPER, DERIVED, DECADE),
        underparameterized.curvature_scaling,
        TRAJECTORIES,
    ),
    Claim(
        "kernel_limit",
        "At large output scale the trained predictor differs from tangent-kernel regression by O(1 / alpha).",
        *("C11", "D17", PAPER, DERIVED, DECADE),
        kernel_limit.kernel_limit,
        TRAJECTORIES,
    ),
)
