"""Claims of the papers, the constants they need, and certificates: what is presupposed, predicted, measured, and the verdict."""

from .certificate import Certificate as Certificate, Conclusion as Conclusion, Findings as Findings, Hypothesis as Hypothesis, Status as Status
from .claim import Claim as Claim
