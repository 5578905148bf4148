"""`load_data`: split, encoding, scaling, missing values, sources and wrong input."""

import gzip
import json
import os
import struct
import urllib.error

import numpy as np
import pytest
import sklearn.datasets

from riemgn.data import DATASETS, DataUnavailableError, load_data

BUNDLED = {"diabetes": (442, 10), "digits": (1797, 64), "wine": (178, 13), "breast_cancer": (569, 30), "iris": (150, 4)}
real_folder = pytest.mark.skipif(not os.environ.get("RIEMGN_DATA"), reason="RIEMGN_DATA names no folder with data sets")


@pytest.fixture(autouse=True)
def _no_network(request, monkeypatch):
    """Block the network, and the folder of the user except for the marked tests."""

    def fail(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fail)
    monkeypatch.setattr(sklearn.datasets, "fetch_california_housing", fail)
    if "real" not in request.node.name:
        monkeypatch.delenv("RIEMGN_DATA", raising=False)


def _table(folder, lines, name="table.csv"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(lines) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def _idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def _mnist(folder, part, rows, packed=True, name="mnist"):
    rng = np.random.default_rng(rows)
    images, labels = rng.integers(0, 256, (rows, 28, 28)), np.arange(rows) % 10
    (folder / name).mkdir(parents=True, exist_ok=True)
    for array, file in ((images, f"{part}-images-idx3-ubyte"), (labels, f"{part}-labels-idx1-ubyte")):
        content = _idx(array)
        (folder / name / (file + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)
    return images, labels


def _sentence(call, *words):
    """Return the message of the ValueError, which must be one sentence with these words."""
    with pytest.raises(ValueError) as error:
        call()
    message = str(error.value)
    assert "\n" not in message and message.endswith(".") and ". " not in message, message
    assert error.value.__cause__ is None and (error.value.__context__ is None or error.value.__suppress_context__)
    for word in words:
        assert str(word) in message, message
    return message


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_set_has_its_size_and_a_json_record(name):
    loaded = load_data(name, drop_constant=False, standardize=False)
    assert loaded.x.shape == BUNDLED[name] and loaded.x_test.shape == (0, BUNDLED[name][1])
    assert len(loaded.feature_names) == BUNDLED[name][1]
    record = json.loads(json.dumps(load_data(name, test_fraction=0.2).record))
    assert record["name"] == name and record["source"]["kind"] == "bundled" and len(record["sha256"]) == 64
    assert DATASETS[name].startswith(f"{BUNDLED[name][0]} x {BUNDLED[name][1]}")


@pytest.mark.parametrize("name", BUNDLED)
def test_columns_are_standardised_with_training_statistics(name):
    loaded = load_data(name, test_fraction=0.25, seed=1)
    raw = load_data(name, test_fraction=0.25, seed=1, standardize=False, standardize_target=False)
    np.testing.assert_allclose(loaded.x.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(loaded.x.std(axis=0), 1, rtol=1e-12)
    assert abs(loaded.x_test.mean(axis=0)).max() > 1e-3  # the test part has its own mean
    mean, scale = (np.array(loaded.record["scaling"][key]) for key in ("mean", "scale"))
    np.testing.assert_allclose(loaded.x_test * scale + mean, raw.x_test, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(mean, raw.x.mean(axis=0), rtol=1e-12, atol=1e-12)


def test_only_a_real_target_is_standardised():
    loaded, raw = load_data("diabetes"), load_data("diabetes", standardize_target=False)
    target = loaded.record["target"]
    assert abs(loaded.y.mean()) < 1e-12 and abs(loaded.y.std() - 1) < 1e-12
    np.testing.assert_allclose(loaded.y * target["scale"] + target["mean"], raw.y)
    np.testing.assert_array_equal(raw.y, sklearn.datasets.load_diabetes().target)
    np.testing.assert_array_equal(load_data("digits").y, sklearn.datasets.load_digits().target)


def test_target_encodings_agree():
    value, onehot = load_data("digits"), load_data("digits", target="onehot")
    assert onehot.y.shape == (1797, 10) and (onehot.y.sum(axis=1) == 1).all()
    np.testing.assert_array_equal(onehot.y.argmax(axis=1), value.y)
    np.testing.assert_array_equal(load_data("digits", target="binary:3").y, onehot.y[:, 3])
    assert set(load_data("breast_cancer").y) == {0.0, 1.0}
    assert onehot.record["target"]["classes"] == [str(i) for i in range(10)]


@pytest.mark.parametrize("fraction, subset", [(0.0, None), (0.2, None), (0.2, 50), (0.0, 50), (0.0, 150)])
def test_split_sizes(fraction, subset):
    loaded = load_data("iris", test_fraction=fraction, subset=subset)
    assert len(loaded.y_test) == len(loaded.x_test) == round(150 * fraction)
    assert len(loaded.y) == len(loaded.x) == (subset or 150 - len(loaded.y_test))


def test_training_and_test_rows_are_a_partition():
    loaded = load_data("diabetes", test_fraction=0.3, standardize=False)
    rows = np.concatenate([loaded.x, loaded.x_test])
    every = sklearn.datasets.load_diabetes().data
    np.testing.assert_array_equal(rows[np.lexsort(rows.T)], every[np.lexsort(every.T)])


def test_data_depend_on_the_seed():
    first, again, other = (load_data("digits", subset=40, test_fraction=0.1, seed=s) for s in (5, 5, 6))
    np.testing.assert_array_equal(first.x, again.x)
    np.testing.assert_array_equal(first.y_test, again.y_test)
    assert first.record == again.record and first.record["sha256"] != other.record["sha256"]


# A user's table

HEADER = "size,colour,constant,hole,price"
ROWS = [f"{i},{('red', 'green', 'blue')[i % 3]},7,{'' if i == 4 else i * i},{2 * i + 1}" for i in range(12)]


def test_constant_columns_are_dropped(tmp_path):
    loaded = load_data(_table(tmp_path, [HEADER, *ROWS]))
    assert loaded.record["dropped_constant"] == ["constant"] and "constant" not in loaded.feature_names
    assert loaded.feature_names == ("size", "hole", "colour=green", "colour=red")
    assert "constant" in load_data(_table(tmp_path, [HEADER, *ROWS]), drop_constant=False).feature_names
    assert load_data("digits").record["dropped_constant"] == ["pixel_0_0", "pixel_4_0", "pixel_4_7"]


def test_missing_values_are_imputed_or_dropped(tmp_path):
    path = _table(tmp_path, [HEADER, *ROWS])
    mean = load_data(path, standardize=False)
    known = [i * i for i in range(12) if i != 4]
    assert mean.x.shape == (12, 4) and mean.x[4, 1] == pytest.approx(np.mean(known))
    assert mean.record["missing"]["columns"] == {"hole": 1} and mean.record["missing"]["rows_dropped"] == 0
    dropped = load_data(path, standardize=False, missing="drop")
    np.testing.assert_array_equal(dropped.x[:, 1], known)
    assert dropped.record["missing"]["rows_dropped"] == 1 and dropped.record["missing"]["policy"] == "drop"


def test_row_without_target_is_dropped(tmp_path):
    loaded = load_data(_table(tmp_path, ["a,b", "1,2", "2,?", "4,5"]))
    assert loaded.x.shape == (2, 1) and loaded.record["missing"]["rows_without_target"] == 1


def test_text_columns_are_one_hot(tmp_path):
    loaded = load_data(_table(tmp_path, [HEADER, *ROWS], "t.csv.gz"), standardize=False)
    np.testing.assert_array_equal(loaded.x[:3, 2:], [[0, 1], [1, 0], [0, 0]])  # red, green, blue (the reference)
    report = loaded.record["text"]["colour"]
    assert report["categories"] == ["blue", "green", "red"] and report["reference"] == "blue"


def test_missing_text_is_a_category_and_unknown_ones_count(tmp_path):
    rows = [f"{i},{'' if i % 4 == 0 else 'abc'[i % 3]},{i}" for i in range(20)]
    loaded = load_data(_table(tmp_path, ["a,letter,y", *rows]))
    assert loaded.record["text"]["letter"]["categories"] == ["a", "b", "c", "missing"]
    lone = [f"{i},{'rare' if i == 3 else 'xy'[i % 2]},{i}" for i in range(20)]
    records = [
        load_data(_table(tmp_path, ["a,letter,y", *lone]), subset=10, test_fraction=0.3, seed=s) for s in range(9)
    ]
    counts = [r.record["text"]["letter"]["test_rows_unseen"] for r in records]
    assert 0 < sum(counts) < 9 and all(np.isfinite(r.x_test).all() for r in records)


def test_target_column_is_the_last_by_default(tmp_path):
    path = _table(tmp_path, [HEADER, *ROWS])
    assert load_data(path).record["source"]["target_column"] == "price"
    np.testing.assert_array_equal(load_data(path, target="size", standardize_target=False).y, np.arange(12))
    assert load_data(path, target="colour").record["target"]["classes"] == ["blue", "green", "red"]
    np.testing.assert_array_equal(load_data(path, target="colour:binary:red").y, np.arange(12) % 3 == 0)
    assert load_data(path, target="onehot").y.shape == (12, 12)
    _sentence(lambda: load_data(path, target="colr"), "colr", "size, colour")


def test_header_and_separator_are_detected(tmp_path):
    plain = load_data(_table(tmp_path, ["1,2,3", "4,5,7", "9,1,2"]))
    assert plain.feature_names == ("column_0", "column_1") and plain.x.shape == (3, 2)
    np.testing.assert_array_equal(plain.x, load_data(_table(tmp_path, ["u;v;w", "1;2;3", "4;5;7", "9;1;2"])).x)


MALFORMED = [
    (["a,b,c", "1,2,3", "1,2"], "line 3", "expected 3 fields, got 2"),
    (["a,b,c", "1,2,3", "1,2,3,4"], "line 3", "got 4"),
    (["a,b", "1,2", "2,3", "x7,4"], "line 4", "'a'", "'x7'"),
    (["a,b", "1,2", "inf,3"], "line 3", "'a'", "inf"),
    (["a,b"], "no rows"),
    ([""], "no rows"),
    (["a", "1", "2"], "one column"),
    (["a,b", *(f"t{i},{i}" for i in range(60))], "60 different texts"),
    (["a,b", "1,2", "1,3"], "no column that varies"),
    (["a,b", "1,", "2,"], "No row"),
]


@pytest.mark.parametrize("lines, words", [(case[0], case[1:]) for case in MALFORMED])
def test_malformed_table_is_one_sentence(tmp_path, lines, words):
    path = _table(tmp_path, lines)
    message = _sentence(lambda: load_data(path), *words)
    assert "table.csv" in message or "text column 'a'" in message


def test_damaged_table_is_one_sentence(tmp_path):
    path = _table(tmp_path, [HEADER, *ROWS], "t.csv.gz")
    path.write_bytes(path.read_bytes()[:-9])
    _sentence(lambda: load_data(path), path, "gzip")
    path.write_bytes(b"\xff\xfe\x00binary")
    _sentence(lambda: load_data(path), path, "UTF-8")
    _sentence(lambda: load_data(tmp_path / "absent.csv"), "absent.csv", "No such file")


# Files of the named sets


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("packed", [True, False])
def test_idx_files_have_the_distributed_split(tmp_path, packed, name):
    images, labels = _mnist(tmp_path, "train", 30, packed, name)
    _mnist(tmp_path, "t10k", 20, packed, name)
    loaded = load_data(name, data_dir=tmp_path, standardize=False, drop_constant=False)
    np.testing.assert_allclose(loaded.x, images.reshape(30, 784) / 255, rtol=1e-15)
    np.testing.assert_array_equal(loaded.y, labels)
    assert loaded.x_test.shape == (20, 784) and loaded.record["split"]["kind"] == "as distributed"
    assert len(loaded.record["source"]["sha256"]) == 4


def test_idx_files_of_one_part_can_be_split(tmp_path, monkeypatch):
    _mnist(tmp_path, "t10k", 20)
    monkeypatch.setenv("RIEMGN_DATA", str(tmp_path))
    assert load_data("mnist").x_test.shape[0] == 0
    assert load_data("mnist", data_dir=tmp_path / "mnist", test_fraction=0.25).x_test.shape[0] == 5


def _write_uci(folder):
    rng = np.random.default_rng(0)
    digits = [",".join(map(str, [*rng.integers(0, 101, 16), i % 10])) for i in range(30)]
    _table(folder, digits[:20], "pendigits/pendigits.tra")
    _table(folder, digits[20:], "pendigits/pendigits.tes")
    letters = [",".join(["TIDN"[i % 4], *map(str, rng.integers(0, 16, 16))]) for i in range(40)]
    _table(folder, letters, "letter/letter-recognition.data")
    pages = [",".join([*(f"{v:.6f}" for v in rng.normal(size=10)), "AXWB"[i % 4]]) for i in range(24)]
    _table(folder, pages[:12], "avila/avila-tr.txt")
    _table(folder, pages[12:], "avila/avila-ts.txt.gz")


UCI = [
    ("pendigits", 16, 20, 10, None),
    ("letter", 16, 30, 10, ["D", "I", "N", "T"]),
    ("avila", 10, 12, 12, ["A", "B", "W", "X"]),
]


@pytest.mark.parametrize("name, columns, train, test, classes", UCI)
def test_uci_files_have_their_split_and_classes(tmp_path, name, columns, train, test, classes):
    _write_uci(tmp_path)
    loaded = load_data(name, data_dir=tmp_path, target="onehot")
    assert loaded.x.shape == (train, columns) and loaded.x_test.shape == (test, columns)
    assert loaded.record["target"]["classes"] == (classes or [str(i) for i in range(10)])
    assert loaded.record["split"]["kind"] == "as distributed"
    redrawn = load_data(name, data_dir=tmp_path, test_fraction=0.5, subset=7)
    assert len(redrawn.y) == 7 and len(redrawn.y_test) == (train + test) // 2
    if classes:
        assert set(load_data(name, data_dir=tmp_path, target=f"binary:{classes[1]}").y) == {0.0, 1.0}


def test_missing_training_file_is_one_sentence(tmp_path):
    _write_uci(tmp_path)
    (tmp_path / "avila" / "avila-tr.txt").unlink()
    _sentence(lambda: load_data("avila", data_dir=tmp_path), "avila-tr.txt", "missing")


def test_missing_label_file_is_one_sentence(tmp_path):
    _mnist(tmp_path, "t10k", 20)
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    _sentence(lambda: load_data("mnist", data_dir=tmp_path), "t10k-images", "t10k-labels-idx1-ubyte")


def test_california_housing_reads_text_and_missing_values(tmp_path):
    columns = "longitude,latitude,total_bedrooms,median_house_value,ocean_proximity"
    rows = [
        f"{-120 - i},{30 + i * i},{'' if i == 3 else i},{1000 * i},{('INLAND', 'NEAR BAY')[i % 2]}" for i in range(9)
    ]
    _table(tmp_path, [columns, *rows], "california_housing/housing.csv.gz")
    loaded = load_data("california_housing", data_dir=tmp_path)
    assert loaded.x.shape == (9, 4) and loaded.feature_names[-1] == "ocean_proximity=NEAR BAY"
    assert loaded.record["missing"]["columns"] == {"total_bedrooms": 1}
    assert loaded.record["target"]["mean"] == 4000.0
    _table(tmp_path, ["a,b", "1,2"], "california_housing/housing.csv.gz")
    _sentence(lambda: load_data("california_housing", data_dir=tmp_path), "median_house_value", "a, b")


def test_unavailable_set_says_what_to_do(tmp_path):
    for name in ("california_housing", "mnist", "fashion_mnist", "pendigits", "letter", "avila"):
        for folder in (None, tmp_path):
            with pytest.raises(DataUnavailableError):
                load_data(name, data_dir=folder)
            words = (name, "RIEMGN_DATA", "--data-dir", f"{name}/", tmp_path if folder else "no folder")
            message = _sentence(lambda name=name, folder=folder: load_data(name, data_dir=folder), *words)
            assert ("no route to host" in message) == (name != "avila")


def test_fetched_set_has_the_shape_of_its_files(monkeypatch):
    import pandas as pd

    features = pd.DataFrame(np.random.default_rng(0).integers(0, 16, (12, 3)), columns=list("abc"))
    target = pd.Series(["A", "B", "C"] * 4, dtype="category")
    bunch = sklearn.utils.Bunch(data=features, target=target)
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", lambda *_, **__: bunch)
    loaded = load_data("letter", target="onehot")
    assert loaded.x.shape == loaded.y.shape == (12, 3) and loaded.record["source"]["kind"] == "fetched"


WRONG = [
    (dict(name="diabets"), "'diabets'", "did you mean 'diabetes'", *DATASETS),
    (dict(name="mnist", data_dir="/no/such/folder"), "/no/such/folder", "data_dir"),
    (dict(name="iris", subset=0), "subset", "0"),
    (dict(name="iris", subset=151), "151", "150"),
    (dict(name="iris", subset=2.5), "2.5"),
    (dict(name="iris", seed=-1), "seed", "-1"),
    (dict(name="iris", test_fraction=1.0), "test_fraction", "1.0"),
    (dict(name="iris", test_fraction="half"), "half"),
    (dict(name="iris", missing="guess"), "guess"),
    (dict(name="iris", target="binary:7"), "binary:7", "0, 1, 2"),
    (dict(name="diabetes", target="onehot"), "real target", "onehot"),
]


@pytest.mark.parametrize("options, words", [(case[0], case[1:]) for case in WRONG])
def test_wrong_option_is_one_sentence(options, words):
    _sentence(lambda: load_data(**options), *words)


# The real files, where a folder with them is named

REAL = {
    "avila": ((10430, 10), 10437),
    "pendigits": ((7494, 16), 3498),
    "letter": ((15000, 16), 5000),
    "california_housing": ((20640, 12), 0),
}


@real_folder
@pytest.mark.parametrize("name", REAL)
def test_real_files_have_their_size(name):
    loaded = load_data(name)
    assert (loaded.x.shape, len(loaded.y_test)) == REAL[name] and loaded.record["source"]["kind"] == "files"
    assert np.isfinite(loaded.x).all() and np.isfinite(loaded.x_test).all()
