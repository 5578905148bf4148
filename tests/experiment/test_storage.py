"""The store: what is written is read back, whole or not at all."""

import json
import os

import jax.numpy as jnp
import numpy as np
import pytest

from riemgn.experiment import (
    prepare_folder,
    read_json,
    read_record,
    run_spec,
    svg_text,
    write_figure,
    write_json,
    write_page,
    write_record,
)
from riemgn.plot import figure, settle, style


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name.endswith(".part")]


def test_a_record_is_read_back_as_written(tmp_path):
    arrays = {"ts": np.linspace(0, 1, 5), "params": np.eye(3), "empty": np.zeros((0, 2))}
    npz, meta = write_record(tmp_path / "deep" / "er", arrays, {"seed": 3, "name": "µ"})
    assert npz.is_file() and meta.is_file()
    stored, metadata = read_record(tmp_path / "deep" / "er")
    assert set(stored) == set(arrays)
    assert all(np.array_equal(stored[name], arrays[name]) for name in arrays)
    assert metadata == {"schema": 1, "seed": 3, "name": "µ"}
    assert leftovers(npz.parent) == []


def test_the_same_record_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_record(tmp_path / name, {"x": np.arange(4.0)}, {"k": 1})
    for file in ("record.npz", "record.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_json_is_strict_and_plain(tmp_path):
    value = {"a": jnp.arange(2), "b": np.float64(2.5), "c": float("nan"), "d": [np.inf, (1, True, None)], "e": tmp_path}
    path = write_json(tmp_path / "v.json", value)
    read = json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(word))
    assert read == {"schema": 1, "a": [0, 1], "b": 2.5, "c": None, "d": [None, [1, True, None]], "e": str(tmp_path)}


def test_what_json_cannot_hold_is_refused(tmp_path):
    with pytest.raises(ValueError, match="got object"):
        write_json(tmp_path / "v.json", {"a": object()})
    assert list(tmp_path.iterdir()) == []


def test_a_picture_has_no_date(tmp_path):
    for name in ("a", "b"):
        fig = figure(2, 2)
        fig.subplots().plot([0, 1])
        paths = write_figure(fig, tmp_path / name)
        assert set(paths) == {"pdf", "png"}
    for kind in ("pdf", "png"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


class BrokenFigure:
    def __init__(self, trouble):
        self.trouble = trouble

    def savefig(self, stream, **_):
        stream.write(b"half")
        raise self.trouble


@pytest.mark.parametrize("trouble", [KeyboardInterrupt(), RuntimeError("no")])
def test_an_interrupted_write_leaves_the_old_file_and_no_half_one(tmp_path, trouble):
    (tmp_path / "f.pdf").write_bytes(b"old")
    with pytest.raises(type(trouble)):
        write_figure(BrokenFigure(trouble), tmp_path / "f")
    assert (tmp_path / "f.pdf").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f.pdf"]


def test_a_full_disk_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"cannot be written to: no space left on device\.$"):
        write_figure(BrokenFigure(OSError(28, "No space left on device")), tmp_path / "f")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"^The folder '.*file/sub' cannot be written to: not a directory\.$"):
        prepare_folder(tmp_path / "file" / "sub")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_one_sentence(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match="cannot be written to"):
        write_json(tmp_path / "v.json", {})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [(None, "cannot be read"), ("{", "is not JSON"), ('{"schema": 2}', "schema 2"), ("[]", "schema None")],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path, text, complaint):
    path = tmp_path / "v.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=complaint):
        read_json(path)


def test_a_truncated_record_is_one_sentence(tmp_path):
    npz, _ = write_record(tmp_path, {"x": np.arange(1000.0)}, {})
    npz.write_bytes(npz.read_bytes()[:100])
    with pytest.raises(ValueError, match="cannot be read"):
        read_record(tmp_path)


def test_a_spec_hash_depends_on_every_field_and_on_nothing_else():
    base = run_spec()
    assert base.hash == run_spec(width=32).hash
    others = [run_spec(width=31), run_spec(seed=1), run_spec(rtol=1e-7), run_spec(cond=10.0), run_spec(bias=False)]
    assert len({base.hash, *(spec.hash for spec in others)}) == 6


def test_a_spec_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        run_spec().width = 3


def test_a_page_is_written_whole_in_utf8(tmp_path):
    path = write_page(tmp_path / "deep" / "page.html", "µ ≤ 1\n")
    assert path.read_bytes() == "µ ≤ 1\n".encode()
    assert os.listdir(path.parent) == ["page.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot be written to: not a directory\.$"):
        write_page(tmp_path / "file" / "sub" / "page.html", "")


def test_a_vector_picture_is_text_without_a_date():
    texts = []
    for _ in range(2):
        fig = figure(2, 2)
        fig.subplots().plot([0, 1])
        with style():
            texts.append(svg_text(fig))
    assert texts[0] == texts[1] and "<svg" in texts[0] and "<dc:date>" not in texts[0]


def test_a_settled_picture_has_the_same_bytes():
    texts = []
    for prepare in (lambda fig: None, settle):
        with style():
            fig = figure(3, 2)
            fig.subplots(1, 2)[0].set_ylabel("a long label $x^2$")
            prepare(fig)
            texts.append(svg_text(fig))
    assert texts[0] == texts[1]
