"""Claims on discrete steps, following Cai et al., arXiv:1905.11675v2, with derived constants."""

from . import discrete_steps
from .claim import Claim

PAPER, CITED, DERIVED = "cai2019", "following arXiv:1905.11675v2", "derived, following arXiv:1905.11675v2"
ONE = "a Trajectory of iterate"

CLAIMS = (
    Claim(
        "discrete_quadratic",
        "A full Gauss-Newton step, over-parameterised least squares: |r_{k+1}| <= L / (2 sigma_min^2) |r_k|^2.",
        *("C9", "D13", PAPER, CITED, f"{ONE}, or several at output scales or widths over a factor of four"),
        discrete_steps.discrete_quadratic,
        "one or several trajectories",
    ),
    Claim(
        "discrete_adaptive",
        "With rho = c lambda_min(K), under the step condition: g_{k+1} - g* <= (1 - eta nu / (1 + c)) "
        "(g_k - g*) at every conditioning.",
        *("C9", "D14", PAPER, DERIVED, ONE),
        discrete_steps.discrete_adaptive,
    ),
    Claim(
        "minibatch_contraction",
        "Mini-batch Gram-Gauss-Newton, frozen kernel: r^T K^-1 r never grows and contracts in the mean "
        "by 1 - lambda_min(E[S]).",
        *("C12", "D16", PAPER, DERIVED, f"{ONE} on a linear model with order='subset'"),
        discrete_steps.minibatch_contraction,
    ),
)
