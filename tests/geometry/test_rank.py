"""Rank policies: on both sides of every threshold, what is refused, and the report."""

import numpy as np
import pytest

import riemgn as rg
from riemgn.geometry.rank import choose_rank, describe_policy, rank_report
from tests.helpers import matrix_problem, matrix_with, relative_error

EPS = float(np.finfo(float).eps)
SINGULAR_VALUES = np.array([4.0, 1.0, 0.5])


def test_a_rank_counts_the_values_above_its_threshold():
    limit = 7 * EPS * 4.0
    for shape in ((7, 3), (3, 7)):
        assert choose_rank(np.array([4.0, 1.0, limit]), shape, None) == 2
        assert choose_rank(np.array([4.0, 1.0, np.nextafter(limit, 1)]), shape, None) == 3
        assert choose_rank(np.array([4.0, 1.0, np.nextafter(limit, 1)]), shape, "full") == 3


@pytest.mark.parametrize(
    ("policy", "rank", "words"),
    [
        (None, 3, "numerical (max(m, p) eps s_max)"),
        ("full", 3, "full"),
        (np.int32(1), 1, "integer 1"),
        (3, 3, "integer 3"),
        (0.25, 1, "relative tolerance 0.25"),
        (0.2499, 2, "relative tolerance 0.2499"),
        (np.float64(0.1), 3, "relative tolerance 0.1"),
    ],
)
def test_policies_choose_a_rank(policy, rank, words):
    assert (choose_rank(SINGULAR_VALUES, (7, 3), policy), describe_policy(policy)) == (rank, words)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (0, "at least 1, got 0"),
        (0.0, r"must lie in \(0, 1\), got 0.0"),
        (1.0, "got 1.0"),
        (np.nan, "got nan"),
        ("most", "got 'most'"),
        (True, "got True"),
        ([1], r"got \[1\]"),
        (4, r"at most min\(m, p\) = 3, got 4"),
        (3, r"integer 3 needs 3 .* number 3 is 0 \(largest 4\)"),
        ("full", "number 3 is 0"),
    ],
)
def test_a_rank_that_is_not_there_is_refused(policy, message):
    with pytest.raises(ValueError, match=message):
        choose_rank(np.array([4.0, 1.0, 0.0]), (7, 3), policy)


def test_a_vanishing_jacobian_is_refused():
    with pytest.raises(ValueError, match=r"vanishes \(largest singular value 0\)"):
        rg.OutputManifold(matrix_problem(np.zeros((4, 2))))


def test_a_report_tells_what_was_kept():
    everything = rank_report(SINGULAR_VALUES, (7, 3), None, 3)
    assert (everything.kept, everything.dropped, everything.cond) == ((4.0, 1.0, 0.5), (), 8.0)
    assert everything.threshold == 28 * EPS and everything.is_regular
    assert str(everything).endswith("kept 3 singular values from 4 to 0.5 (cond 8); dropped none")
    at_threshold = rank_report(SINGULAR_VALUES, (7, 3), 0.25, 2)
    assert (at_threshold.dropped, at_threshold.threshold, at_threshold.is_regular) == ((0.5,), 1.0, False)
    assert "dropped 1, the largest 0.5; singular point" in str(at_threshold)
    lost = rank_report(np.array([4.0, 1.0, 0.0]), (7, 3), "full", 3)
    assert lost.cond == np.inf and not lost.is_regular


@pytest.mark.parametrize(("policy", "dim", "kept"), [(None, 4, 1e-9), (3, 3, 1e-3), (1e-2, 2, 1.0)], ids=str)
def test_a_manifold_keeps_the_largest_singular_values(policy, dim, kept):
    problem = matrix_problem(matrix_with(12, 5, [3.0, 1.0, 1e-3, 1e-9]))
    manifold = rg.OutputManifold(problem, rank=policy)
    report = manifold.rank_report()
    assert manifold.dim == report.rank == dim and relative_error(report.kept[-1], kept) < 1e-5
    basis = np.linalg.svd(np.asarray(problem.x))[0][:, :dim]
    assert np.abs(manifold.projector(problem.w0) - basis @ basis.T).max() < 1e-6
