"""Claims of the papers, the constants they need, and certificates of them on given evidence."""

from . import adeoye2024, cai2019, cayci2024
from .certificate import (
    Certificate as Certificate,
    Conclusion as Conclusion,
    Findings as Findings,
    Hypothesis as Hypothesis,
    Status as Status,
)
from .claim import (
    certify as certify,
    cite as cite,
    Claim as Claim,
    CLAIMS as CLAIMS,
    claims as claims,
    find_claim as find_claim,
    register as register,
)
from .rate import fit_rate as fit_rate, RateFit as RateFit

register(*cayci2024.CLAIMS, *cai2019.CLAIMS, *adeoye2024.CLAIMS)
