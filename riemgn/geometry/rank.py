"""Rank of a chart: the policy that decides it once, and the report of what was kept and dropped."""

import math
from dataclasses import dataclass

import numpy as np

RankPolicy = int | float | str | None


@dataclass(frozen=True)
class RankReport:
    """What a rank policy did to the singular values of `J` at one point.

    - `policy`: the policy in words.
    - `rank`: how many singular values are kept, the dimension of the manifold.
    - `kept`, `dropped`: the singular values, descending; of the graph's Jacobian where the manifold is damped.
    - `threshold`: singular values at or below it count as zero here.
    - `cond`: largest over smallest kept.
    """

    policy: str
    rank: int
    kept: tuple[float, ...]
    dropped: tuple[float, ...]
    threshold: float
    cond: float

    @property
    def is_regular(self) -> bool:
        """Whether the smallest kept singular value lies above the threshold: the point is no singular point of the chart."""
        return self.rank > 0 and self.kept[-1] > self.threshold

    def __str__(self) -> str:
        kept = (
            f"kept {self.rank} singular values from {self.kept[0]:.3g} to {self.kept[-1]:.3g} (cond {self.cond:.3g})"
            if self.rank
            else "kept none"
        )
        dropped = f"dropped {len(self.dropped)}, the largest {self.dropped[0]:.3g}" if self.dropped else "dropped none"
        verdict = (
            ""
            if self.is_regular
            else f"; singular point: the smallest kept lies below the threshold {self.threshold:.3g}"
        )
        return f"rank policy {self.policy}: {kept}; {dropped}{verdict}"


def describe_policy(policy: RankPolicy) -> str:
    """The policy in words.

    Raises: `ValueError` for a policy that is none.
    """
    if policy is None:
        return "numerical (max(m, p) eps s_max)"
    if policy == "full":
        return "full"
    if (
        isinstance(policy, bool)
        or isinstance(policy, str)
        or not isinstance(policy, int | float | np.integer | np.floating)
    ):
        raise ValueError(f"`rank` must be None, 'full', an integer or a relative tolerance in (0, 1), got {policy!r}.")
    if isinstance(policy, int | np.integer):
        if policy < 1:
            raise ValueError(f"`rank` as an integer must be at least 1, got {policy}.")
        return f"integer {policy}"
    if not 0 < policy < 1:
        raise ValueError(f"`rank` as a relative tolerance must lie in (0, 1), got {policy}.")
    return f"relative tolerance {policy:g}"


def relative_threshold(policy: RankPolicy, shape: tuple[int, int], eps: float) -> float:
    """What counts as zero, relative to the largest singular value: the policy's own tolerance, else the rounding error of the decomposition."""
    own_tolerance = isinstance(policy, float | np.floating)
    return float(policy) if own_tolerance else max(shape) * eps


def choose_rank(singular_values: np.ndarray, shape: tuple[int, int], policy: RankPolicy) -> int:
    """The dimension that a policy gives to a chart whose Jacobian of `shape` (m, p) has these singular values, in descending order.

    Raises: `ValueError` for an unknown policy, for "full" or an integer where the Jacobian has less, quoting the singular value that shows it.
    """
    words = describe_policy(policy)
    s = np.asarray(singular_values)
    threshold = relative_threshold(policy, shape, float(np.finfo(s.dtype).eps)) * s[0]
    numerical = int(np.sum(s > threshold))
    if numerical == 0:
        raise ValueError(
            f"The Jacobian at the starting point vanishes (largest singular value {s[0]:.3g}): the chart has no tangent space there."
        )
    if policy is None or isinstance(policy, float | np.floating):
        return numerical
    wanted = min(shape) if policy == "full" else int(policy)
    if wanted > min(shape):
        raise ValueError(f"`rank` must be at most min(m, p) = {min(shape)}, got {wanted}.")
    if wanted > numerical:
        raise ValueError(
            f"The rank policy {words} asks for {wanted} non-zero singular values, but number {numerical + 1} is {s[numerical]:.3g} "
            f"beside a largest of {s[0]:.3g}; use rank=None, a smaller integer, or damping."
        )
    return wanted


def rank_report(singular_values: np.ndarray, shape: tuple[int, int], policy: RankPolicy, rank: int) -> RankReport:
    """The report for `rank` kept of these singular values."""
    s = np.asarray(singular_values)
    threshold = relative_threshold(policy, shape, float(np.finfo(s.dtype).eps)) * float(s[0])
    smallest = float(s[rank - 1])
    cond = float(s[0]) / smallest if smallest else math.inf
    return RankReport(
        describe_policy(policy), rank, tuple(map(float, s[:rank])), tuple(map(float, s[rank:])), threshold, cond
    )
