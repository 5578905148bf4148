import dataclasses
import gzip
import json
import os
import struct
import urllib.error

import jax
import numpy as np
import pytest
import sklearn.datasets

import riemgn.data as data
from riemgn.data import DATASETS, DataUnavailableError, load_data

EPS = np.finfo(float).eps
KEY = jax.random.key(0)
BUNDLED = {"diabetes": (442, 10), "digits": (1797, 64), "wine": (178, 13), "breast_cancer": (569, 30), "iris": (150, 4)}
real_folder = pytest.mark.skipif(not os.environ.get("RIEMGN_DATA"), reason="RIEMGN_DATA names no folder with data sets")


@pytest.fixture(autouse=True)
def _no_network(request, monkeypatch):
    """No test reaches the network, and none but the marked ones reads a folder of the user."""

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
    """The message of the ValueError that `call` raises: one line, one full stop at its end, with these words in it."""
    with pytest.raises(ValueError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".") and ". " not in message, message
    assert caught.value.__cause__ is None and (caught.value.__context__ is None or caught.value.__suppress_context__)
    for word in words:
        assert str(word) in message, message
    return message


# Laws


def test_a_set_unpacks_as_inputs_and_targets():
    x, y = load_data("diabetes")
    assert x.shape == (442, 10) and y.shape == (442,) and x.dtype == y.dtype == np.float64


def test_a_set_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_data("iris").x = None


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_sets_have_their_documented_size_and_a_json_record(name):
    loaded = load_data(name, drop_constant=False, standardize=False)
    assert loaded.x.shape == BUNDLED[name] and loaded.x_test.shape == (0, BUNDLED[name][1])
    assert len(loaded.feature_names) == BUNDLED[name][1]
    record = json.loads(json.dumps(load_data(name, test_fraction=0.2).record))
    assert record["name"] == name and record["source"]["kind"] == "bundled" and len(record["sha256"]) == 64
    assert DATASETS[name].startswith(f"{BUNDLED[name][0]} x {BUNDLED[name][1]}")


@pytest.mark.parametrize("name", BUNDLED)
def test_training_columns_have_mean_zero_and_variance_one_and_test_rows_use_their_scale(name):
    loaded = load_data(name, test_fraction=0.25, seed=1)
    raw = load_data(name, test_fraction=0.25, seed=1, standardize=False, standardize_target=False)
    np.testing.assert_allclose(loaded.x.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(loaded.x.std(axis=0), 1, rtol=1e-12)
    assert abs(loaded.x_test.mean(axis=0)).max() > 1e-3  # the test part has its own mean
    mean, scale = (np.array(loaded.record["scaling"][key]) for key in ("mean", "scale"))
    np.testing.assert_allclose(loaded.x_test * scale + mean, raw.x_test, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(mean, raw.x.mean(axis=0), rtol=1e-12, atol=1e-12)


def test_a_real_target_is_standardised_and_a_class_target_is_not():
    loaded, raw = load_data("diabetes"), load_data("diabetes", standardize_target=False)
    target = loaded.record["target"]
    assert abs(loaded.y.mean()) < 1e-12 and abs(loaded.y.std() - 1) < 1e-12
    np.testing.assert_allclose(loaded.y * target["scale"] + target["mean"], raw.y)
    np.testing.assert_array_equal(raw.y, sklearn.datasets.load_diabetes().target)
    np.testing.assert_array_equal(load_data("digits").y, sklearn.datasets.load_digits().target)


def test_target_encodings_agree_with_each_other():
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


def test_training_and_test_rows_are_disjoint_and_together_all():
    loaded = load_data("diabetes", test_fraction=0.3, standardize=False)
    rows = np.concatenate([loaded.x, loaded.x_test])
    every = sklearn.datasets.load_diabetes().data
    np.testing.assert_array_equal(rows[np.lexsort(rows.T)], every[np.lexsort(every.T)])


def test_the_same_seed_gives_the_same_set_and_another_seed_another():
    first, again, other = (load_data("digits", subset=40, test_fraction=0.1, seed=s) for s in (5, 5, 6))
    np.testing.assert_array_equal(first.x, again.x)
    np.testing.assert_array_equal(first.y_test, again.y_test)
    assert first.record == again.record and first.record["sha256"] != other.record["sha256"]


# A user's table

HEADER = "size,colour,constant,hole,price"
ROWS = [f"{i},{('red', 'green', 'blue')[i % 3]},7,{'' if i == 4 else i * i},{2 * i + 1}" for i in range(12)]


def test_constant_columns_are_dropped_and_reported(tmp_path):
    loaded = load_data(_table(tmp_path, [HEADER, *ROWS]))
    assert loaded.record["dropped_constant"] == ["constant"] and "constant" not in loaded.feature_names
    assert loaded.feature_names == ("size", "hole", "colour=green", "colour=red")
    assert "constant" in load_data(_table(tmp_path, [HEADER, *ROWS]), drop_constant=False).feature_names
    assert load_data("digits").record["dropped_constant"] == ["pixel_0_0", "pixel_4_0", "pixel_4_7"]


def test_missing_values_are_imputed_with_the_training_mean_or_dropped_and_reported(tmp_path):
    path = _table(tmp_path, [HEADER, *ROWS])
    mean = load_data(path, standardize=False)
    known = [i * i for i in range(12) if i != 4]
    assert mean.x.shape == (12, 4) and mean.x[4, 1] == pytest.approx(np.mean(known))
    assert mean.record["missing"]["columns"] == {"hole": 1} and mean.record["missing"]["rows_dropped"] == 0
    dropped = load_data(path, standardize=False, missing="drop")
    np.testing.assert_array_equal(dropped.x[:, 1], known)
    assert dropped.record["missing"]["rows_dropped"] == 1 and dropped.record["missing"]["policy"] == "drop"


def test_a_row_without_target_is_dropped_and_reported(tmp_path):
    loaded = load_data(_table(tmp_path, ["a,b", "1,2", "2,?", "4,5"]))
    assert loaded.x.shape == (2, 1) and loaded.record["missing"]["rows_without_target"] == 1


def test_text_columns_are_encoded_and_reported(tmp_path):
    loaded = load_data(_table(tmp_path, [HEADER, *ROWS], "t.csv.gz"), standardize=False)
    np.testing.assert_array_equal(loaded.x[:3, 2:], [[0, 1], [1, 0], [0, 0]])  # red, green, blue (the reference)
    report = loaded.record["text"]["colour"]
    assert report["categories"] == ["blue", "green", "red"] and report["reference"] == "blue"


def test_a_missing_text_is_a_category_of_its_own_and_an_unseen_one_is_counted(tmp_path):
    rows = [f"{i},{'' if i % 4 == 0 else 'abc'[i % 3]},{i}" for i in range(20)]
    loaded = load_data(_table(tmp_path, ["a,letter,y", *rows]))
    assert loaded.record["text"]["letter"]["categories"] == ["a", "b", "c", "missing"]
    lone = [f"{i},{'rare' if i == 3 else 'xy'[i % 2]},{i}" for i in range(20)]
    records = [
        load_data(_table(tmp_path, ["a,letter,y", *lone]), subset=10, test_fraction=0.3, seed=s) for s in range(9)
    ]
    counts = [r.record["text"]["letter"]["test_rows_unseen"] for r in records]
    assert 0 < sum(counts) < 9 and all(np.isfinite(r.x_test).all() for r in records)


def test_the_target_column_is_the_last_unless_named(tmp_path):
    path = _table(tmp_path, [HEADER, *ROWS])
    assert load_data(path).record["source"]["target_column"] == "price"
    np.testing.assert_array_equal(load_data(path, target="size", standardize_target=False).y, np.arange(12))
    assert load_data(path, target="colour").record["target"]["classes"] == ["blue", "green", "red"]
    np.testing.assert_array_equal(load_data(path, target="colour:binary:red").y, np.arange(12) % 3 == 0)
    assert load_data(path, target="onehot").y.shape == (12, 12)
    _sentence(lambda: load_data(path, target="colr"), "colr", "size, colour")


def test_a_table_without_header_and_with_other_separators_reads_the_same(tmp_path):
    plain = load_data(_table(tmp_path, ["1,2,3", "4,5,7", "9,1,2"]))
    assert plain.feature_names == ("column_0", "column_1") and plain.x.shape == (3, 2)
    np.testing.assert_array_equal(plain.x, load_data(_table(tmp_path, ["u;v;w", "1;2;3", "4;5;7", "9;1;2"])).x)


MALFORMED = [
    (["a,b,c", "1,2,3", "1,2"], "line 3", "2 fields", "3 expected"),
    (["a,b,c", "1,2,3", "1,2,3,4"], "line 3", "4 fields"),
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
def test_a_malformed_table_ends_in_one_sentence(tmp_path, lines, words):
    path = _table(tmp_path, lines)
    message = _sentence(lambda: load_data(path), *words)
    assert "table.csv" in message or "text column 'a'" in message


def test_a_damaged_or_absent_table_ends_in_one_sentence_naming_it(tmp_path):
    path = _table(tmp_path, [HEADER, *ROWS], "t.csv.gz")
    path.write_bytes(path.read_bytes()[:-9])
    _sentence(lambda: load_data(path), path, "gzip")
    path.write_bytes(b"\xff\xfe\x00binary")
    _sentence(lambda: load_data(path), path, "UTF-8")
    _sentence(lambda: load_data(tmp_path / "absent.csv"), "absent.csv", "No such file")


# Files of the named sets


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("packed", [True, False])
def test_idx_files_are_read_with_the_distributed_split(tmp_path, packed, name):
    images, labels = _mnist(tmp_path, "train", 30, packed, name)
    _mnist(tmp_path, "t10k", 20, packed, name)
    loaded = load_data(name, data_dir=tmp_path, standardize=False, drop_constant=False)
    np.testing.assert_allclose(loaded.x, images.reshape(30, 784) / 255, rtol=1e-15)
    np.testing.assert_array_equal(loaded.y, labels)
    assert loaded.x_test.shape == (20, 784) and loaded.record["split"]["kind"] == "as distributed"
    assert len(loaded.record["source"]["sha256"]) == 4


def test_mnist_reads_a_single_part_and_redraws_the_split_on_request(tmp_path, monkeypatch):
    _mnist(tmp_path, "t10k", 20)
    monkeypatch.setenv("RIEMGN_DATA", str(tmp_path))
    assert load_data("mnist").x_test.shape[0] == 0
    assert load_data("mnist", data_dir=tmp_path / "mnist", test_fraction=0.25).x_test.shape[0] == 5


def test_truncated_idx_files_end_in_one_sentence_naming_the_file(tmp_path):
    _mnist(tmp_path, "t10k", 20)
    images, labels = (tmp_path / "mnist" / f"t10k-{file}-ubyte.gz" for file in ("images-idx3", "labels-idx1"))
    whole = images.read_bytes()
    content = gzip.decompress(whole)
    for broken in (whole[:-100], whole[:5], gzip.compress(content[:-1]), gzip.compress(content[:9]), b"", b"no idx"):
        images.write_bytes(broken)
        _sentence(lambda: load_data("mnist", data_dir=tmp_path), images)
    images.write_bytes(gzip.compress(_idx(np.zeros((3, 28, 28)))))
    _sentence(lambda: load_data("mnist", data_dir=tmp_path), images, labels, "(20,)")
    labels.unlink()
    _sentence(lambda: load_data("mnist", data_dir=tmp_path), images, "t10k-labels-idx1-ubyte")


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
def test_uci_files_read_with_their_split_and_sorted_classes(tmp_path, name, columns, train, test, classes):
    _write_uci(tmp_path)
    loaded = load_data(name, data_dir=tmp_path, target="onehot")
    assert loaded.x.shape == (train, columns) and loaded.x_test.shape == (test, columns)
    assert loaded.record["target"]["classes"] == (classes or [str(i) for i in range(10)])
    assert loaded.record["split"]["kind"] == "as distributed"
    redrawn = load_data(name, data_dir=tmp_path, test_fraction=0.5, subset=7)
    assert len(redrawn.y) == 7 and len(redrawn.y_test) == (train + test) // 2
    if classes:
        assert set(load_data(name, data_dir=tmp_path, target=f"binary:{classes[1]}").y) == {0.0, 1.0}


def test_uci_files_with_a_broken_line_end_in_one_sentence(tmp_path):
    _write_uci(tmp_path)
    path = tmp_path / "letter" / "letter-recognition.data"
    path.write_text(path.read_text()[:-4])
    _sentence(lambda: load_data("letter", data_dir=tmp_path), path, "line 40", "17 expected")
    _table(tmp_path, ["T," + ",".join("1" * 16), "I,x," + ",".join("1" * 15)], "letter/letter-recognition.data")
    _sentence(lambda: load_data("letter", data_dir=tmp_path), path, "line 2", "x-box", "'x' is not a number")
    (tmp_path / "avila" / "avila-tr.txt").unlink()
    _sentence(lambda: load_data("avila", data_dir=tmp_path), "avila-tr.txt", "missing")


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


def test_an_absent_set_says_what_to_do(tmp_path):
    for name in ("california_housing", "mnist", "fashion_mnist", "pendigits", "letter", "avila"):
        for folder in (None, tmp_path):
            with pytest.raises(DataUnavailableError):
                load_data(name, data_dir=folder)
            words = (name, "RIEMGN_DATA", "--data-dir", f"{name}/", tmp_path if folder else "no folder")
            message = _sentence(lambda name=name, folder=folder: load_data(name, data_dir=folder), *words)
            assert ("no route to host" in message) == (name != "avila")


def test_a_fetched_set_has_the_same_shape_as_its_files(monkeypatch):
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
def test_wrong_options_are_quoted_in_one_sentence(options, words):
    message = _sentence(lambda: load_data(**options), *words)
    assert message


# Synthetic inputs and matrices


@pytest.mark.parametrize("cond", [1.0, 1e2, 1e6])
@pytest.mark.parametrize("n, d", [(30, 5), (5, 30), (12, 12)])
def test_synthetic_inputs_have_the_asked_condition_number_and_unit_rows(n, d, cond):
    x = data.synthetic_inputs(n, d, cond, key=KEY)
    assert x.shape == (n, d) and x.dtype == np.float64
    # A product of orthogonal factors carries a few eps of the largest singular value, and the least is 1 / cond of it.
    np.testing.assert_allclose(np.linalg.cond(x), cond, rtol=max(1e-12, 20 * EPS * cond))
    np.testing.assert_allclose(np.sqrt(np.mean(np.sum(x**2, axis=1))), 1.0, rtol=1e-12)


@pytest.mark.parametrize("cond", [1.0, 1e2, 1e6])
def test_conditioned_matrices_have_log_spaced_singular_values_and_norm_one(cond):
    s = np.linalg.svd(data.conditioned_matrix(9, cond, key=KEY), compute_uv=False)
    np.testing.assert_allclose(s, np.geomspace(1, 1 / cond, 9), rtol=max(1e-12, 20 * EPS * cond))


def test_draws_follow_the_key_alone():
    for draw in (
        lambda key: data.synthetic_inputs(6, 3, 10.0, key=key),
        lambda key: data.conditioned_matrix(4, 10.0, key=key),
    ):
        np.testing.assert_array_equal(draw(KEY), draw(jax.random.PRNGKey(0)))
        assert not np.allclose(draw(KEY), draw(jax.random.key(1)))


@pytest.mark.parametrize("distance", [0.0, 1e-6, 0.5])
def test_near_duplicates_lie_at_the_asked_distance(distance):
    x = data.synthetic_inputs(10, 4, 3.0, key=KEY)
    doubled = data.near_duplicates(x, distance, key=KEY)
    np.testing.assert_array_equal(doubled[:10], x)
    # Rounding x + step moves it by eps |x|, hence the absolute part.
    np.testing.assert_allclose(np.linalg.norm(doubled[10:] - x, axis=1), distance, rtol=1e-12, atol=8 * EPS)


def test_noise_has_the_asked_level_and_level_zero_changes_nothing():
    y = np.linspace(0, 1, 20000)
    np.testing.assert_array_equal(data.add_noise(y, 0.0, key=KEY), y)
    # The deviation of 20000 draws is known to 1 / sqrt(2 * 20000) = 0.5 %; five of these.
    np.testing.assert_allclose(np.std(data.add_noise(y, 0.3, key=KEY) - y), 0.3, rtol=0.025)


REJECTED = [
    (lambda: data.synthetic_inputs(5, 3, 0.5, key=KEY), "0.5"),
    (lambda: data.synthetic_inputs(5, 3, np.nan, key=KEY), "nan"),
    (lambda: data.synthetic_inputs(5, 3, 1e17, key=KEY), "1e+17"),
    (lambda: data.synthetic_inputs(0, 3, 2.0, key=KEY), "`n`"),
    (lambda: data.synthetic_inputs(5, -1, 2.0, key=KEY), "-1"),
    (lambda: data.synthetic_inputs(5, 1, 2.0, key=KEY), "single"),
    (lambda: data.synthetic_inputs(5, 3, 2.0, key=3), "key", "3"),
    (lambda: data.conditioned_matrix(4, 0.9, key=KEY), "0.9"),
    (lambda: data.conditioned_matrix(4, 2.0, key=jax.random.split(KEY, 3)), "(3,)"),
    (lambda: data.near_duplicates(np.ones(3), 0.1, key=KEY), "(3,)"),
    (lambda: data.near_duplicates(np.ones((3, 2)), -0.1, key=KEY), "-0.1"),
    (lambda: data.add_noise(np.ones(3), np.inf, key=KEY), "inf"),
]


@pytest.mark.parametrize("call, words", [(case[0], case[1:]) for case in REJECTED])
def test_impossible_requests_are_rejected_in_one_sentence(call, words):
    message = _sentence(call, *words)
    assert message


# The real files, where a folder with them is named

REAL = {
    "avila": ((10430, 10), 10437),
    "pendigits": ((7494, 16), 3498),
    "letter": ((15000, 16), 5000),
    "california_housing": ((20640, 12), 0),
}


@real_folder
@pytest.mark.parametrize("name", REAL)
def test_real_files_have_their_documented_size(name):
    loaded = load_data(name)
    assert (loaded.x.shape, len(loaded.y_test)) == REAL[name] and loaded.record["source"]["kind"] == "files"
    assert np.isfinite(loaded.x).all() and np.isfinite(loaded.x_test).all()


@real_folder
def test_real_mnist_images_are_in_the_unit_interval():
    loaded = load_data("mnist", subset=500, standardize=False, drop_constant=False, target="onehot")
    assert loaded.x.shape == (500, 784) and loaded.x.min() == 0 and loaded.x.max() == 1 and loaded.y.shape == (500, 10)


@real_folder
def test_real_california_housing_reports_its_207_missing_values():
    assert load_data("california_housing").record["missing"]["columns"] == {"total_bedrooms": 207}
    assert len(load_data("california_housing", missing="drop").y) == 20640 - 207
