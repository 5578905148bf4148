"""The essays: their numbers hold at quick size, and a corrupted one is caught; their command names what it does not know."""

import pytest

from figures.__main__ import main
from figures.page import essay_of, HEADINGS, PAGE, page, ROOT
from riemgn.experiment.reproduce import discover, Item, run_item, Settings
from riemgn.experiment.verdict import judge

ITEMS = {item.id: item for item in discover(ROOT)}
QUICK = (
    8.0  # seconds of one core; essays that take longer are drawn by `make test-slow`, their numbers by `make gallery`
)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (item.quick_seconds > QUICK)) for name, item in ITEMS.items()],
)
def test_essay_holds_at_quick_size(name, tmp_path):
    outcome = run_item(ITEMS[name], Settings(out=tmp_path, quick=True))
    assert outcome.verdict == "holds", outcome.checks
    assert all(path.is_file() for path in outcome.pictures.values())
    for check in outcome.checks:
        away = (-1.0 if check["relation"] == "at_least" else 1.0) * (1.0 + 2 * check["tolerance"])
        wrong = {**check, "measured": check["predicted"] + away}
        assert not judge(wrong)["holds"], check["name"]


def test_the_page_is_the_one_its_sources_give():
    assert PAGE.read_text(encoding="utf-8") == page(), "`make gallery` writes it"


def test_every_essay_has_its_picture_in_the_gallery():
    text = PAGE.read_text(encoding="utf-8")
    for name in ITEMS:
        assert f"essays/{name}.png" in text and (ROOT / "essays" / f"{name}.png").is_file()


def written(folder, docstring):
    """An item `made` with the title "A title", whose script has this docstring."""
    (folder / "essays").mkdir()
    (folder / "essays" / "made.py").write_text(f'"""{docstring}"""\n')
    return Item(folder, "essays", "made", "A title", "what it claims", "0000.00000v1")


def test_an_essay_is_read_without_being_run(tmp_path):
    text = " and words.\n\n".join(HEADINGS) + " and words."
    essay = essay_of(written(tmp_path, f"A title.\n\n{text}\n"))
    assert (essay.title, essay.text) == ("A title", text)


@pytest.mark.parametrize("title", ["Another title.", "A title", HEADINGS[0]])
def test_an_essay_with_another_title_than_its_entry_is_refused(title, tmp_path):
    with pytest.raises(
        ValueError, match=r"'made.py' must begin with the title of its entry, 'A title\.', got "
    ) as trouble:
        essay_of(written(tmp_path, f"{title}\n\n{' '.join(HEADINGS)}"))
    assert repr(title) in str(trouble.value)


@pytest.mark.parametrize("missing", HEADINGS)
def test_an_essay_that_lacks_a_heading_is_refused(missing, tmp_path):
    rest = " ".join(heading for heading in HEADINGS if heading != missing)
    with pytest.raises(ValueError, match="lacks") as trouble:
        essay_of(written(tmp_path, f"A title.\n\n{rest}"))
    assert str(trouble.value).endswith(f"lacks {missing}.")


def test_a_refused_essay_is_said_before_anything_is_drawn(capsys, monkeypatch):
    def refuse():
        raise ValueError("The docstring of 'made.py' lacks **References.**.")

    monkeypatch.setattr("figures.__main__.essays", refuse)
    monkeypatch.setattr("figures.__main__.reproduce", None)
    assert main([]) == 2
    assert capsys.readouterr().err == "The docstring of 'made.py' lacks **References.**.\n"


def test_an_unknown_essay_is_named(capsys):
    assert main(["nothing"]) == 2
    assert "essays/nothing" in capsys.readouterr().err
