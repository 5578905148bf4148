"""GGN-SCORE follows its flow."""

import pytest

from paper_repro.adeoye2024 import flow
from tests.papers import assert_reproduced, verdicts


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("adeoye2024/flow", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("adeoye2024/flow", tmp_path, quick=False)


ALPHAS = (0.5, 0.1, 0.05, 0.02)


def run(gap=1.0, local=2.0, bend=3.0, flow_error=1e-8, certificate="holds"):
    """A run whose distances are powers of the step size, `bend` times the predicted one after one step."""
    steps = [
        {
            "alpha": a,
            "first": a,
            "gap": 0.1 * a**gap,
            "local": bend * a**local,
            "predicted": 3.0 * a**2,
            "flow_error": flow_error,
        }
        for a in ALPHAS
    ]
    return {"steps": steps, "certificate": certificate}


@pytest.mark.parametrize(
    ("other", "refused"),
    [
        ({}, []),
        ({"gap": 2.0}, ["slope of max"]),
        ({"gap": 0.9}, ["slope of max"]),
        ({"local": 1.9}, ["slope of |w_1", "|w_1 - w(s)| / "]),
        ({"bend": 3.3}, ["|w_1 - w(s)| / "]),
        ({"flow_error": 0.02}, ["error of the flow"]),
        ({"certificate": "fails"}, ["share of seeds"]),
        ({"certificate": "undecided"}, ["share of seeds"]),
    ],
)
def test_another_order_and_a_missing_certificate_in_one_seed_are_refused(other, refused):
    found = [name for name, holds in verdicts(flow.checks([run(), run(**other)], ALPHAS)).items() if not holds]
    assert len(found) == len(refused) and all(
        name.startswith(start) for name, start in zip(found, refused, strict=True)
    )
