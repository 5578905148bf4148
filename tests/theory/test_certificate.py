"""Certificates: margins against errors, hypotheses before conclusions, JSON, and the ledger."""

import json
import math
from dataclasses import replace

import jax
import pytest

import riemgn as rg
from riemgn.experiment.certification import Ledger
from riemgn.theory import Certificate, Claim, CLAIMS, Conclusion, Findings, Hypothesis, register
from riemgn.theory.certificate import decide, signed_margin, with_errors
from riemgn.theory.claim import bibliography


def certificate(hypotheses=(), conclusions=()):
    return Certificate("claim", "subject", "statement", "reference", "C0", tuple(hypotheses), tuple(conclusions))


@pytest.mark.parametrize(
    ("margin", "error", "status"),
    [
        (1.0, 0.1, "holds"),
        (-1.0, 0.1, "fails"),
        (0.05, 0.1, "undecided"),
        (-0.05, 0.1, "undecided"),
        (0.0, 0.0, "holds"),
        (math.nan, 0.1, "undecided"),
        (1.0, math.nan, "undecided"),
        (1.0, math.inf, "undecided"),
        (-1.0, math.inf, "undecided"),
    ],
)
def test_margin_below_its_error_is_undecided(margin, error, status):
    assert decide(margin, error) == status


def test_equalities_have_two_sides_and_bounds_one():
    assert signed_margin("equal", 1.2, 1.0, 0.1) < 0 and signed_margin("equal", 0.8, 1.0, 0.1) < 0
    assert signed_margin("at_most", 0.2, 1.0) > 0 and signed_margin("at_most", 1.2, 1.0) < 0
    assert signed_margin("at_least", 1.2, 1.0) > 0 and signed_margin("at_least", 0.2, 1.0) < 0
    with pytest.raises(ValueError, match="at_most"):
        signed_margin("about", 1.0, 1.0)


def test_broken_hypothesis_is_not_applicable():
    broken, met = Hypothesis("h", 0.0, "at_least", 1.0), Hypothesis("h", 2.0, "at_least", 1.0)
    close = Hypothesis("h", 1.05, "at_least", 1.0, error=0.1)
    good, bad = Conclusion("c", 1.0, 1.0, "equal", 0.1, 0.01), Conclusion("c", 1.0, 2.0, "equal", 0.1, 0.01)
    assert certificate([broken], [good]).status == certificate([broken], [bad]).status == "not applicable"
    assert certificate([met], [good]).status == "holds"
    assert certificate([met], [good, bad]).status == "fails"
    assert certificate([close], [good]).status == certificate([met], []).status == "undecided"


def test_numbers_are_those_of_the_deciding_conclusion():
    far, near = Conclusion("far", 1.0, 0.0, "at_most", 0.0, 0.01), Conclusion("near", 1.0, 0.9, "at_most", 0.0, 0.01)
    cert = certificate([], [far, near])
    assert (cert.predicted, cert.measured, cert.error) == (1.0, 0.9, 0.01)
    assert cert.margin == pytest.approx(0.1)


def test_error_is_the_change_to_the_tighter_computation():
    loose, tight = (Findings((), (Conclusion("c", 1.0, value, "equal", 0.1),)) for value in (1.01, 1.02))
    assert with_errors(loose, tight)[0].error == pytest.approx(0.01)
    sampled = Findings((), (Conclusion("c", 1.0, 1.02, "equal", 0.1, error=0.5),))
    assert with_errors(loose, sampled)[0].error == pytest.approx(0.51)
    assert with_errors(sampled, None)[0].error == math.inf


def test_evidence_without_a_twin_is_undecided():
    problem = rg.teacher_student(n=5, width=4, cond=2.0, key=jax.random.key(0))
    cert = rg.certify("exact_residual_law", rg.solve(problem, rg.GaussNewtonFlow(), t1=1.0))
    assert cert.status == "undecided"
    assert "error=True" in str(cert)


def example():
    part = Hypothesis("rank", 2.0, "at_least", 1.0)
    return certificate([part], [Conclusion("gap", 0.0, 1e-9, "equal", 1e-8, 1e-10, "exact")])


def test_certificate_prints_a_table_of_80_columns():
    words = Hypothesis("rank " * 20, math.inf, "at_most", -1.23456789e-100)
    for cert in (example(), certificate([words], []), certificate([], [Conclusion("x" * 99, 0.0, 1.0, "equal", 0.0)])):
        assert max(map(len, str(cert).splitlines())) <= 80
        assert len(repr(cert).splitlines()) <= 3 and "<table>" in cert._repr_html_()
    assert "rank" in str(example()) and "numerical error 1e-10" in str(example())


@pytest.mark.parametrize("measured", [1e-9, math.inf, -math.inf, math.nan])
def test_certificate_survives_json(measured):
    parts = [Conclusion("gap", 0.0, measured, relation, 1e-8, 1e-10) for relation in ("equal", "at_most", "at_least")]
    cert = certificate([Hypothesis("h", measured, "at_least", 0.0)], parts)
    plain = json.loads(json.dumps(cert.to_dict(), allow_nan=False))
    again = Certificate.from_dict({**plain, "seconds": 1.0})
    assert [part.status for part in again.conclusions] == [part.status for part in parts]
    assert again.status == cert.status == plain["status"]
    assert not math.isfinite(measured) or again == cert


def test_status_comes_from_the_numbers_of_a_dictionary():
    plain = example().to_dict()
    plain["conclusions"][0]["measured"] = 1.0
    assert plain["status"] == "holds" and Certificate.from_dict(plain).status == "fails"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"claim": None}, "name of its `claim`"),
        ({"hypotheses": None}, "must be a list of mappings, got None"),
        ({"conclusions": ["gap"]}, "must be a list of mappings"),
        ({"hypotheses": [{"name": "h", "value": "2", "relation": "equal", "threshold": 0}]}, "got '2'"),
        ({"hypotheses": [{"name": "h", "value": 2, "relation": "near", "threshold": 0}]}, "got 'near'"),
        ({"hypotheses": [{"name": "h", "value": 2, "relation": "equal"}]}, "`threshold` of 'h'"),
    ],
    ids=["claim", "missing", "not_a_part", "text", "relation", "no_threshold"],
)
def test_malformed_dictionary_is_named(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        Certificate.from_dict({**example().to_dict(), **changes})


def test_every_claim_names_its_paper_and_evidence():
    assert len(CLAIMS) == 18 and list(rg.claims()) == list(CLAIMS)
    for name, claim in CLAIMS.items():
        assert name == claim.name and claim.statement.endswith(".") and claim.evidence and claim.theory.startswith("C")
        assert (
            (claim.paper in bibliography() and claim.reference in rg.cite(name))
            or claim.reference.startswith("derived")
            or "arXiv" in claim.reference
        )
    assert rg.cite(["equivalence", "dissipation"]).count("@article") == 1
    with pytest.raises(ValueError, match="Unknown claim 'thirteen'"):
        rg.certify("thirteen", None)


def test_rigorous_hypotheses_hold_or_are_undecided():
    pytest.importorskip("flint")
    good = rg.teacher_student(n=5, width=4, cond=2.0, key=jax.random.key(0))
    free = rg.Problem(lambda w, x: x @ w, jax.numpy.ones(8), jax.numpy.eye(5, 8), jax.numpy.zeros(5))
    statuses = {}
    for name, problem in (("network", good), ("function", free)):
        traj = rg.solve(problem, rg.GaussNewtonFlow(), t1=2.0, rtol=1e-10, atol=1e-12, error=True)
        cert = rg.certify("exact_residual_law", traj, rigorous=True)
        statuses[name] = cert.status
        assert any("proved" in h.constant or "not enclosed" in h.constant for h in cert.hypotheses)
    assert statuses == {"network": "holds", "function": "undecided"}


def test_claim_of_your_own_runs_on_both_twins(monkeypatch):
    seen = []

    def loss(traj, power=1):
        seen.append(traj)
        return Findings((), (Conclusion("loss", 0.0, float(traj.losses[0]) ** power, "at_least", 0.0),))

    monkeypatch.setattr("riemgn.theory.claim.CLAIMS", dict(CLAIMS))
    claim = Claim("my_claim", "The loss is not negative.", "C0", "D0", "cayci2024", "derived", "a Trajectory", loss)
    register(claim, claim)
    traj = rg.solve(rg.task.circle(), rg.GaussNewtonFlow(), t1=0.1, error=True)
    cert = rg.certify("my_claim", traj, subject="circle", power=2)
    assert cert.status == "holds" and cert.error == 0 and cert.subject == "circle"
    assert seen == [traj, traj.tight]
    with pytest.raises(ValueError, match="no option 'exponent'; its options: power"):
        rg.certify(claim, traj, exponent=2)
    with pytest.raises(ValueError, match="another claim 'my_claim'"):
        register(replace(claim, theory="C1"))
    with pytest.raises(ValueError, match="`kind` must be one of"):
        replace(claim, kind="problem")


def entry(claim="c", problem="p", seed=0, status="holds", margin=1.0):
    return {"claim": claim, "problem": problem, "seed": seed, "status": status, "margin": margin}


def test_ledger_is_read_again_and_finds_the_worst(tmp_path):
    path = tmp_path / "certificates.json"
    first = Ledger(path, quick=True)
    first.add(entry(margin=2.0))
    first.add(entry(seed=1, margin=1.0))
    again = Ledger(path, quick=True)
    assert again.load("c", "p", 1)["margin"] == 1.0 and again.load("c", "p", 2) is None
    assert Ledger(path, quick=True, rigorous=True).load("c", "p", 1) is None
    ((worst, counts),) = first.worst()
    assert worst["seed"] == 1 and counts == {"holds": 2}


@pytest.mark.parametrize(
    ("statuses", "fine"),
    [
        (("holds",), True),
        (("holds", "not applicable"), True),
        (("undecided",), False),
        (("holds", "fails"), False),
        ((), False),
    ],
)
def test_ledger_requires_every_claim_to_hold(statuses, fine):
    ledger = Ledger(None, quick=True)
    for seed, status in enumerate(statuses):
        ledger.add(entry(seed=seed, status=status))
    assert ledger.all_hold(["c"]) is fine
