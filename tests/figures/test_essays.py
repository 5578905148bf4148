"""The essays hold at quick size, their docstrings are checked, and the gallery is up to date."""

import pytest

from figures.__main__ import main
from figures.page import essay_of, HEADINGS, PAGE, page, ROOT
from riemgn.experiment.reproduce import discover, Item, run_item, Settings
from riemgn.experiment.verdict import judge

ITEMS = {item.id: item for item in discover(ROOT)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ITEMS)
def test_essay_holds_at_quick_size(name, tmp_path):
    outcome = run_item(ITEMS[name], Settings(out=tmp_path, quick=True))
    assert outcome.verdict == "holds", outcome.checks
    assert all(path.is_file() for path in outcome.pictures.values())
    for check in outcome.checks:
        away = (-1.0 if check["relation"] == "at_least" else 1.0) * (1.0 + 2 * check["tolerance"])
        assert not judge({**check, "measured": check["predicted"] + away})["holds"], check["name"]


def test_gallery_is_up_to_date():
    assert PAGE.read_text("utf-8") == page(), "`make gallery` writes it"
    assert all(f"essays/{name}.png" in page() and (ROOT / "essays" / f"{name}.png").is_file() for name in ITEMS)


def item_with(folder, docstring):
    """An item with the title "A title", whose script has this docstring."""
    (folder / "essays").mkdir()
    (folder / "essays" / "made.py").write_text(f'"""{docstring}"""\n')
    return Item(folder, "essays", "made", "A title", "what it claims", "0000.00000v1")


def test_essay_is_read_without_running_it(tmp_path):
    text = " and words.\n\n".join(HEADINGS) + " and words."
    essay = essay_of(item_with(tmp_path, f"A title.\n\n{text}\n"))
    assert (essay.title, essay.text) == ("A title", text)


def test_essay_with_another_title_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'made.py' must begin with the title of its entry, 'A title\.', got 'Other"):
        essay_of(item_with(tmp_path, f"Other title.\n\n{' '.join(HEADINGS)}"))


@pytest.mark.parametrize("missing", HEADINGS)
def test_essay_without_a_heading_is_refused(missing, tmp_path):
    rest = " ".join(heading for heading in HEADINGS if heading != missing)
    with pytest.raises(ValueError, match="lacks") as refused:
        essay_of(item_with(tmp_path, f"A title.\n\n{rest}"))
    assert str(refused.value).endswith(f"lacks {missing}.")


def test_unknown_essay_is_named(capsys):
    assert main(["nothing"]) == 2
    assert "essays/nothing" in capsys.readouterr().err
