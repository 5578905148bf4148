"""Storage: files are read back as written, and they are complete or absent."""

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
from riemgn.experiment.storage import as_arrays, check_folder
from riemgn.plot import figure, fix_layout, style


def test_record_is_read_back_as_written(tmp_path):
    arrays = {"ts": np.linspace(0, 1, 5), "params": np.eye(3), "empty": np.zeros((0, 2))}
    npz, meta = write_record(tmp_path / "deep" / "er", arrays, {"seed": 3, "name": "µ"})
    assert sorted(os.listdir(npz.parent)) == [meta.name, npz.name]
    stored, metadata = read_record(tmp_path / "deep" / "er")
    assert set(stored) == set(arrays) and all(np.array_equal(stored[name], arrays[name]) for name in arrays)
    assert metadata == {"schema": 1, "seed": 3, "name": "µ"}


def test_same_content_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_record(tmp_path / name, {"x": np.arange(4.0)}, {"k": 1})
        fig = figure(2, 2)
        fig.subplots().plot([0, 1])
        assert set(write_figure(fig, tmp_path / name / "fig")) == {"pdf", "png"}
    for file in ("record.npz", "record.json", "fig.pdf", "fig.png"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_json_contains_plain_values_only(tmp_path):
    value = {"a": jnp.arange(2), "b": np.float64(2.5), "c": float("nan"), "d": [np.inf, (1, True, None)], "e": tmp_path}
    path = write_json(tmp_path / "v.json", value)
    read = json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(word))
    assert read == {"schema": 1, "a": [0, 1], "b": 2.5, "c": None, "d": [None, [1, True, None]], "e": str(tmp_path)}


def test_lists_of_numbers_become_arrays():
    stored = {"a": [[1, 2], [3, None]], "b": ["x"], "c": [[1], [2, 3]], "d": [], "e": [{"f": [1.5]}], "g": 2}
    read = as_arrays(stored)
    assert np.isnan(read["a"][1, 1]) and read["b"] == ["x"] and read["d"] == [] and read["g"] == 2
    assert [type(row) for row in read["c"]] == [np.ndarray, np.ndarray] and read["e"][0]["f"].tolist() == [1.5]


def test_object_without_json_form_raises(tmp_path):
    with pytest.raises(ValueError, match="got object"):
        write_json(tmp_path / "v.json", {"a": object()})
    assert os.listdir(tmp_path) == []


class BrokenFigure:
    def __init__(self, error):
        self.error = error

    def savefig(self, stream, **_):
        stream.write(b"half")
        raise self.error


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt, ""),
        (OSError(28, "No space left"), ValueError, r"cannot be written to: no space left\.$"),
    ],
    ids=["interrupt", "full_disk"],
)
def test_interrupted_write_keeps_the_old_file(tmp_path, error, raised, message):
    (tmp_path / "f.pdf").write_bytes(b"old")
    with pytest.raises(raised, match=message):
        write_figure(BrokenFigure(error), tmp_path / "f")
    assert (tmp_path / "f.pdf").read_bytes() == b"old" and os.listdir(tmp_path) == ["f.pdf"]


def test_unusable_folder_raises(tmp_path):
    (tmp_path / "file").write_text("")
    for write in (prepare_folder, check_folder, lambda folder: write_page(folder / "page.html", "")):
        with pytest.raises(ValueError, match=r"^The folder '.*file/sub' cannot be written to: not a directory\.$"):
            write(tmp_path / "file" / "sub")
    assert os.listdir(tmp_path) == ["file"]


def test_check_folder_leaves_nothing(tmp_path):
    check_folder(tmp_path / "deep" / "er")
    with pytest.raises(ValueError, match="file name too long"):
        check_folder(tmp_path / "new" / ("x" * 300))
    assert os.listdir(tmp_path) == []


def test_unreadable_json_raises(tmp_path):
    path = tmp_path / "v.json"
    with pytest.raises(ValueError, match="cannot be read"):
        read_json(path)
    for text, message in (("{", "is not JSON"), ('{"schema": 2}', "schema 2"), ("[]", "schema None")):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_json(path)


def test_truncated_record_raises(tmp_path):
    npz, _ = write_record(tmp_path, {"x": np.arange(1000.0)}, {})
    npz.write_bytes(npz.read_bytes()[:100])
    with pytest.raises(ValueError, match="cannot be read"):
        read_record(tmp_path)


def test_spec_is_frozen_and_its_hash_depends_on_every_field():
    base = run_spec()
    assert base.hash == run_spec(width=32).hash
    others = [run_spec(width=31), run_spec(seed=1), run_spec(rtol=1e-7), run_spec(cond=10.0), run_spec(bias=False)]
    assert len({base.hash, *(spec.hash for spec in others)}) == 6
    with pytest.raises(ValueError, match="frozen"):
        base.width = 3


def test_svg_has_no_date_and_fixed_layout_keeps_its_bytes():
    texts = []
    for prepare in (lambda fig: None, fix_layout):
        with style():
            fig = figure(3, 2)
            fig.subplots(1, 2)[0].set_ylabel("a long label $x^2$")
            prepare(fig)
            texts.append(svg_text(fig))
    assert texts[0] == texts[1] and "<svg" in texts[0] and "<dc:date>" not in texts[0]
