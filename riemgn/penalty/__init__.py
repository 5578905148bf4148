"""Penalties on the parameters, with their constants of generalised self-concordance."""

from .absolute import (
    AbstractAbsolutePenalty as AbstractAbsolutePenalty,
    OstrovskiiBachPenalty as OstrovskiiBachPenalty,
    PseudoHuberPenalty as PseudoHuberPenalty,
)
from .base import (
    AbstractPenalty as AbstractPenalty,
    AbstractSeparablePenalty as AbstractSeparablePenalty,
    checked_penalty as checked_penalty,
    checked_score_damping as checked_score_damping,
    SquaredPenalty as SquaredPenalty,
)
from .box import BoxPenalty as BoxPenalty, ExponentialPenalty as ExponentialPenalty
from .group import SparseGroupPenalty as SparseGroupPenalty

PENALTIES: dict[str, type[AbstractPenalty]] = {
    "pseudo-huber": PseudoHuberPenalty,
    "ostrovskii-bach": OstrovskiiBachPenalty,
    "exponential": ExponentialPenalty,
    "box": BoxPenalty,
    "sparse-group": SparseGroupPenalty,
    "squared": SquaredPenalty,
}
