"""Claims of the papers, the constants they need, and certificates: what is presupposed, predicted, measured, and the verdict."""

from .certificate import (
    Certificate as Certificate,
    Conclusion as Conclusion,
    Findings as Findings,
    Hypothesis as Hypothesis,
    Status as Status,
)
from .certify import certify as certify, cite as cite, CLAIMS as CLAIMS, claims as claims, find_claim as find_claim
from .claim import Claim as Claim
from .rate import fit_rate as fit_rate, RateFit as RateFit
