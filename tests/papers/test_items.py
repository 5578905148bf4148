"""Every item of the papers holds and matches its golden numbers."""

import re

import pytest

import riemgn as rg
from riemgn.data import DATASETS
from riemgn.experiment.reproduce import run_item, Settings
from tests.papers import ITEMS

CLAIMS = rg.claims()
# A timing depends on the machine, and the files of Fashion-MNIST are not bundled.
QUICK = [name for name in ITEMS if name not in ("cai2019/overhead", "adeoye2024/fashion")]


@pytest.mark.parametrize(
    ("name", "quick"),
    [pytest.param(name, True, marks=pytest.mark.papers, id=name) for name in QUICK]
    + [pytest.param(name, False, marks=pytest.mark.full, id=f"{name}-full") for name in ITEMS],
)
def test_item_holds_and_matches_its_golden_numbers(name, quick, tmp_path):
    outcome = run_item(ITEMS[name], Settings(out=tmp_path, quick=quick))
    if outcome.verdict == "no data":
        pytest.skip(outcome.notes[0])
    assert outcome.verdict == "holds", (outcome.checks, outcome.notes)
    assert outcome.golden == "matches"
    assert all(path.is_file() for path in outcome.pictures.values())


@pytest.mark.parametrize("paper", sorted({item.paper for item in ITEMS.values()}))
def test_every_claim_of_a_paper_has_an_item(paper):
    shown = {name for item in ITEMS.values() if item.paper == paper for name in item.claims}
    assert shown == {name for name, claim in CLAIMS.items() if claim["paper"] == paper}


@pytest.mark.parametrize("item", ITEMS.values(), ids=ITEMS)
def test_item_names_statements_data_and_version(item):
    versions = set()
    for claim in (claim for claim in CLAIMS.values() if claim["paper"] == item.paper):
        versions |= set(re.findall(r"arXiv:(\S+)", claim["reference"]))
    assert versions == {item.arxiv} and set(item.needs) <= set(DATASETS)
    assert {CLAIMS[name]["theory"] for name in item.claims} <= set(re.findall(r"C\d+", item.theory))
    assert 0 < item.quick_seconds <= item.full_seconds
