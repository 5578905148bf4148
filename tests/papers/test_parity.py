"""The papers' items and the claims that `riemgn certify` knows speak of the same things."""

import re
from pathlib import Path

import pytest

import riemgn as rg
from riemgn.data import DATASETS
from riemgn.experiment.reproduce import discover

ITEMS = discover()
PAPERS = sorted({item.paper for item in ITEMS})
CLAIMS = rg.claims()
NOT_RUN = {"adeoye2024/fashion": {"quick", "full"}}  # sizes nobody has run yet: Fashion-MNIST's files were not at hand


@pytest.mark.parametrize("paper", PAPERS)
def test_every_claim_of_a_paper_has_an_item(paper):
    shown = {name for item in ITEMS if item.paper == paper for name in item.claims}
    assert shown == {name for name, claim in CLAIMS.items() if claim["paper"] == paper}


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.name)
def test_an_item_names_the_sections_of_its_claims_and_the_version_of_its_paper(item):
    for name in item.claims:
        assert CLAIMS[name]["theory"] in re.findall(r"C\d+", item.theory)
    versions = {
        version
        for claim in CLAIMS.values()
        if claim["paper"] == item.paper
        for version in re.findall(r"arXiv:(\S+)", claim["reference"])
    }
    assert versions == {item.arxiv}
    assert set(item.needs) <= set(DATASETS)
    assert 0 < item.quick_seconds <= item.full_seconds


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.name)
def test_an_item_has_tests_and_golden_numbers_at_both_sizes(item):
    here = Path(__file__).parent
    imported = re.compile(rf"^from paper_repro\.{item.paper} import .*\b{item.id}\b", re.MULTILINE)
    assert (here / f"test_{item.id}.py").is_file() or any(
        imported.search(path.read_text()) for path in here.glob("test_*.py")
    )
    known = item.golden.read_text() if item.golden.is_file() else ""
    missing = {size for size in ("quick", "full") if f'"{size}"' not in known}
    assert missing == NOT_RUN.get(item.name, set())


def test_no_two_items_share_a_name():
    assert len({item.id for item in ITEMS}) == len(ITEMS)
