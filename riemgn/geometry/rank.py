"""Rank of a chart: the policy that decides it, and the report of its singular values."""

import math
from dataclasses import dataclass

import numpy as np

RankPolicy = int | float | str | None


@dataclass(frozen=True)
class RankReport:
    """The effect of a rank policy on the singular values of `J` at one point.

    - `policy`: the policy in words.
    - `rank`: number of singular values kept, the dimension of the manifold.
    - `kept`, `dropped`: the singular values, descending. On a damped manifold they are those of the
      graph's Jacobian.
    - `threshold`: singular values up to this value count as zero.
    - `cond`: largest over smallest kept singular value.
    """

    policy: str
    rank: int
    kept: tuple[float, ...]
    dropped: tuple[float, ...]
    threshold: float
    cond: float

    @property
    def is_regular(self) -> bool:
        """Whether the smallest kept singular value is above the threshold."""
        return self.rank > 0 and self.kept[-1] > self.threshold

    def __repr__(self) -> str:
        return f"RankReport({self})"

    def __str__(self) -> str:
        kept = f"kept {self.rank} singular values from {self.kept[0]:.3g} to {self.kept[-1]:.3g} (cond {self.cond:.3g})"
        dropped = f"dropped {len(self.dropped)}, the largest {self.dropped[0]:.3g}" if self.dropped else "dropped none"
        singular = f"; singular point: the smallest kept value is not above the threshold {self.threshold:.3g}"
        return f"rank policy {self.policy}: {kept}; {dropped}{'' if self.is_regular else singular}"


def describe_policy(policy: RankPolicy) -> str:
    """The policy in words.

    Raises: `ValueError` for an unknown policy.
    """
    if policy is None:
        return "numerical (max(m, p) eps s_max)"
    if isinstance(policy, str) and policy == "full":
        return "full"
    if isinstance(policy, bool | str) or not isinstance(policy, int | float | np.integer | np.floating):
        raise ValueError(f"`rank` must be None, 'full', an integer or a relative tolerance in (0, 1), got {policy!r}.")
    if isinstance(policy, int | np.integer):
        if policy < 1:
            raise ValueError(f"`rank` as an integer must be at least 1, got {policy}.")
        return f"integer {policy}"
    if not 0 < policy < 1:
        raise ValueError(
            f"`rank` as a tolerance relative to the largest singular value must lie in (0, 1), got {policy}."
        )
    return f"relative tolerance {policy:g}"


def zero_threshold(singular_values: np.ndarray, shape: tuple[int, int], policy: RankPolicy) -> float:
    """Singular values up to this count as zero: the policy's tolerance, or rounding errors."""
    s = np.asarray(singular_values)
    relative = policy if isinstance(policy, float | np.floating) else max(shape) * np.finfo(s.dtype).eps
    return float(relative) * float(s[0])


def choose_rank(singular_values: np.ndarray, shape: tuple[int, int], policy: RankPolicy) -> int:
    """The dimension of a chart, from the descending singular values of its Jacobian (m, p).

    Raises: `ValueError` for an unknown policy, and if the Jacobian has a smaller rank than
    requested.
    """
    words = describe_policy(policy)
    s = np.asarray(singular_values)
    numerical = int(np.sum(s > zero_threshold(s, shape, policy)))
    if numerical == 0:
        raise ValueError(
            f"The Jacobian at the start vanishes (largest singular value {s[0]:.3g}), so there is no tangent space; "
            "start elsewhere."
        )
    if policy is None or isinstance(policy, float | np.floating):
        return numerical
    requested = min(shape) if policy == "full" else int(policy)
    if requested > min(shape):
        raise ValueError(f"`rank` must be at most min(m, p) = {min(shape)}, got {requested}.")
    if requested > numerical:
        raise ValueError(
            f"The rank policy {words} needs {requested} non-zero singular values, but number {numerical + 1} is "
            f"{s[numerical]:.3g} (largest {s[0]:.3g}); use rank=None, a smaller integer, or damping."
        )
    return requested


def rank_report(singular_values: np.ndarray, shape: tuple[int, int], policy: RankPolicy, rank: int) -> RankReport:
    """The report for `rank` kept of these singular values."""
    kept, dropped = (tuple(map(float, part)) for part in np.split(np.asarray(singular_values), [rank]))
    cond = kept[0] / kept[-1] if kept[-1] else math.inf
    return RankReport(
        describe_policy(policy), rank, kept, dropped, zero_threshold(singular_values, shape, policy), cond
    )
