"""Files of the named sets that are cut off, of another format, of another set, with other labels: one sentence each, with file and line."""

import gzip
import struct

import numpy as np
import pytest

from riemgn.data import load_data


def avila(rows: int, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    return b"".join(
        b"%s,%c\n" % (",".join(f"{v:.6f}" for v in rng.normal(size=10)).encode(), b"AXWB"[i % 4]) for i in range(rows)
    )


def pendigits(rows: int, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    return b"".join(b"%s,%d\n" % (",".join(map(str, rng.integers(10, 101, 16))).encode(), i % 10) for i in range(rows))


def letter(rows: int) -> bytes:
    rng = np.random.default_rng(0)
    return b"".join(
        b"%c,%s\n" % (b"TIDN"[i % 4], ",".join(map(str, rng.integers(10, 16, 16))).encode()) for i in range(rows)
    )


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


IMAGES, LABELS = idx(np.random.default_rng(0).integers(0, 256, (20, 28, 28))), idx(np.arange(20) % 10)
RIGHT = {
    "avila": {"avila-tr.txt": avila(24, 0), "avila-ts.txt": avila(12, 1)},
    "pendigits": {"pendigits.tra": pendigits(30, 0), "pendigits.tes": pendigits(20, 1)},
    "letter": {"letter-recognition.data": letter(40)},
    "fashion_mnist": {
        f"{part}-{kind}-ubyte": content
        for part in ("train", "t10k")
        for kind, content in (("images-idx3", IMAGES), ("labels-idx1", LABELS))
    },
}


def lay(folder, name: str, **changed: bytes) -> None:
    (folder / name).mkdir()
    for file, content in {**RIGHT[name], **changed}.items():
        (folder / name / file).write_bytes(content)


def complaint(folder, name: str) -> str:
    with pytest.raises(ValueError) as caught:
        load_data(name, data_dir=folder)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".") and ". " not in message
    return message.replace(f"{folder}/{name}/", "")


@pytest.mark.parametrize("name", RIGHT)
def test_the_right_files_are_read(tmp_path, name):
    lay(tmp_path, name)
    loaded = load_data(name, data_dir=tmp_path)
    assert len(loaded.y) > 0 and len(loaded.y_test) > 0


def relabelled(content: bytes, number: int, label: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    features, comma, _ = lines[number - 1].rpartition(b",")
    return b"".join([*lines[: number - 1], features + comma + label + b"\n", *lines[number:]])


TR, TS, TRA, TES = RIGHT["avila"]["avila-tr.txt"], RIGHT["avila"]["avila-ts.txt"], *RIGHT["pendigits"].values()
WHOLE = RIGHT["letter"]["letter-recognition.data"]
END = "the last line does not end, so the file is cut off (or lacks the line break at its end)."
WRONG_TEXT = {
    "a copyist that no one knows": ("avila", "avila-ts.txt", relabelled(TS, 5, b"Q"), "line 5: the label 'Q' is none of"),
    "a label that the training file lacks": ("avila", "avila-tr.txt", TR.replace(b",W\n", b",A\n"),
                                             "'avila-ts.txt', line 3: the label 'W' does not occur in 'avila-tr.txt'."),
    "a label that the test file lacks": ("avila", "avila-ts.txt", TS.replace(b",X\n", b",A\n"),
                                         "'avila-tr.txt', line 2: the label 'X' does not occur in 'avila-ts.txt'."),
    "a label of two digits": ("pendigits", "pendigits.tes", relabelled(TES, 7, b"16"), "line 7: the label '16' is none"),
    "no label": ("pendigits", "pendigits.tra", relabelled(TRA, 4, b""), "line 4: the label is missing."),
    "cut off before the label": ("avila", "avila-ts.txt", TS[:-3], "line 12: 10 fields found, 11 expected."),
    "cut off after the comma before the label": ("avila", "avila-ts.txt", TS[:-2], f"line 12: {END}"),
    "cut off within a field": ("avila", "avila-tr.txt", TR[:-30], "line 24: 8 fields found, 11 expected."),
    "cut off within the last number": ("letter", "letter-recognition.data", WHOLE[:-2], f"line 40: {END}"),
    "cut off before the last line break": ("pendigits", "pendigits.tes", TES[:-1], f"line 20: {END}"),
    "packed and cut off": ("avila", "avila-tr.txt", gzip.compress(TR)[:-20], "'avila-tr.txt' is a truncated or damaged gzip file"),
    "an image where text belongs": ("avila", "avila-tr.txt", b"\x89PNG\r\n" + bytes(range(256)), "line 1: this is not UTF-8 text"),
    "binary from some line on": ("avila", "avila-tr.txt", TR[: TR.index(b"\n") + 1] + b"\xff\xfe", "line 2: this is not UTF-8 text"),
    "zeros": ("avila", "avila-tr.txt", bytes(999), "line 1: 1 fields found, 11 expected."),
    "a page of a web server": ("letter", "letter-recognition.data", b"<html>\n<p>Not found\n</html>\n", "line 1: 1 fields found, 17 expected."),
    "avila under the name of pendigits": ("pendigits", "pendigits.tra", TR, "line 1: 11 fields found, 17 expected."),
    "letter under the name of pendigits": ("pendigits", "pendigits.tes", WHOLE, "line 1, column 'x1': 'T' is not a number."),
    "pendigits under the name of letter": ("letter", "letter-recognition.data", pendigits(100, 3), "line 1: the label '"),
    "nothing": ("avila", "avila-ts.txt", b"", "'avila-ts.txt' holds no rows."),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_TEXT)
def test_a_wrong_text_file_is_named_with_the_line(tmp_path, case):
    name, file, content, words = WRONG_TEXT[case]
    assert content != RIGHT[name][file]
    lay(tmp_path, name, **{file: content})
    message = complaint(tmp_path, name)
    assert words in message and f"'{file}'" in message


PICTURES, MARKS = "train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
WRONG_IDX = {
    "cut off": (
        PICTURES,
        IMAGES[:-1],
        f"'{PICTURES}' is truncated or damaged: {len(IMAGES)} bytes expected, {len(IMAGES) - 1} bytes found.",
    ),
    "cut off in the header": (
        PICTURES,
        IMAGES[:9],
        f"'{PICTURES}' is truncated or damaged: a header of 16 bytes expected",
    ),
    "packed and cut off": (PICTURES, gzip.compress(IMAGES)[:-50], f"'{PICTURES}' is a truncated or damaged gzip file"),
    "a table": (PICTURES, TRA, f"'{PICTURES}' is no IDX file of unsigned bytes"),
    "numbers of another kind": (
        PICTURES,
        IMAGES[:2] + b"\x0d" + IMAGES[3:],
        f"'{PICTURES}' is no IDX file of unsigned bytes",
    ),
    "labels in place of images": (
        PICTURES,
        LABELS,
        f"'{PICTURES}' and 'train-labels-idx1-ubyte' are not images with one label each",
    ),
    "images of another size": (
        PICTURES,
        idx(np.zeros((20, 14, 14))),
        "The images of 't10k-images-idx3-ubyte' have 784 pixels, 196 expected",
    ),
    "fewer labels than images": (MARKS, idx(np.arange(19) % 10), f"'{MARKS}' are not images with one label each"),
    "a label past nine": (
        MARKS,
        LABELS[:-3] + b"\x63" + LABELS[-2:],
        f"'{MARKS}', sample 18: the label '99' is none of those of 'fashion_mnist'",
    ),
    "a label that the test part lacks": (
        MARKS,
        idx(np.zeros(20)),
        f"'train-labels-idx1-ubyte', sample 2: the label '1' does not occur in '{MARKS}'.",
    ),
}


@pytest.mark.parametrize("case", WRONG_IDX)
def test_a_wrong_idx_file_is_named(tmp_path, case):
    file, content, words = WRONG_IDX[case]
    lay(tmp_path, "fashion_mnist", **{file: content})
    assert words in complaint(tmp_path, "fashion_mnist")


def test_a_split_that_is_drawn_may_lack_a_label(tmp_path):
    lay(tmp_path, "avila")
    loaded = load_data("avila", data_dir=tmp_path, subset=2, target="onehot")
    assert loaded.y.shape == (2, 4) and loaded.y.any(axis=0).sum() < 4
