"""Wrong files of the named sets: one sentence that names the file and the line."""

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


def write(folder, name: str, **changed: bytes) -> None:
    (folder / name).mkdir()
    for file, content in {**RIGHT[name], **changed}.items():
        (folder / name / file).write_bytes(content)


def error_message(folder, name: str) -> str:
    with pytest.raises(ValueError) as error:
        load_data(name, data_dir=folder)
    message = str(error.value)
    assert "\n" not in message and message.endswith(".") and ". " not in message
    return message.replace(f"{folder}/{name}/", "")


@pytest.mark.parametrize("name", RIGHT)
def test_right_files_are_read(tmp_path, name):
    write(tmp_path, name)
    loaded = load_data(name, data_dir=tmp_path)
    assert len(loaded.y) > 0 and len(loaded.y_test) > 0


def relabelled(content: bytes, number: int, label: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    features, comma, _ = lines[number - 1].rpartition(b",")
    return b"".join([*lines[: number - 1], features + comma + label + b"\n", *lines[number:]])


TR, TS, TRA, TES = RIGHT["avila"]["avila-tr.txt"], RIGHT["avila"]["avila-ts.txt"], *RIGHT["pendigits"].values()
LETTERS = RIGHT["letter"]["letter-recognition.data"]
END = "the last line has no line break, so the file may be truncated."
TEXT = "this is not UTF-8 text"
WRONG_TEXT = {
    "unknown_label": ("avila-ts.txt", relabelled(TS, 5, b"Q"), "line 5: the label 'Q' is not one of"),
    "label_not_in_training_file": (
        "avila-tr.txt",
        TR.replace(b",W\n", b",A\n"),
        "'avila-ts.txt', line 3: the label 'W'",
    ),
    "label_not_in_test_file": (
        "avila-ts.txt",
        TS.replace(b",X\n", b",A\n"),
        "'avila-tr.txt', line 2: the label 'X' does",
    ),
    "label_of_two_digits": ("pendigits.tes", relabelled(TES, 7, b"16"), "line 7: the label '16' is not one"),
    "missing_label": ("pendigits.tra", relabelled(TRA, 4, b""), "line 4: the label is missing."),
    "truncated_before_the_label": ("avila-ts.txt", TS[:-3], "line 12: expected 11 fields, got 10."),
    "truncated_after_the_comma": ("avila-ts.txt", TS[:-2], f"line 12: {END}"),
    "truncated_number": ("letter-recognition.data", LETTERS[:-2], f"line 40: {END}"),
    "truncated_gzip": ("avila-tr.txt", gzip.compress(TR)[:-20], "'avila-tr.txt' is a truncated or damaged gzip file"),
    "image_instead_of_text": ("avila-tr.txt", b"\x89PNG\r\n" + bytes(range(256)), f"line 1: {TEXT}"),
    "binary_from_line_2": ("avila-tr.txt", TR[: TR.index(b"\n") + 1] + b"\xff\xfe", f"line 2: {TEXT}"),
    "zeros": ("avila-tr.txt", bytes(999), "line 1: expected 11 fields, got 1."),
    "avila_as_pendigits": ("pendigits.tra", TR, "line 1: expected 17 fields, got 11."),
    "letter_as_pendigits": ("pendigits.tes", LETTERS, "line 1, column 'x1': 'T' is not a number."),
    "pendigits_as_letter": ("letter-recognition.data", pendigits(100, 3), "line 1: the label '"),
    "empty": ("avila-ts.txt", b"", "'avila-ts.txt' has no rows."),
}


@pytest.mark.parametrize("case", WRONG_TEXT)
def test_wrong_text_file_is_named_with_the_line(tmp_path, case):
    file, content, words = WRONG_TEXT[case]
    name = next(name for name, files in RIGHT.items() if file in files)
    assert content != RIGHT[name][file]
    write(tmp_path, name, **{file: content})
    message = error_message(tmp_path, name)
    assert words in message and f"'{file}'" in message


IMAGE_FILE, LABEL_FILE = "train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
WRONG_IDX = {
    "truncated": (IMAGE_FILE, IMAGES[:-1], f"expected {len(IMAGES)} bytes, got {len(IMAGES) - 1} bytes."),
    "truncated_header": (IMAGE_FILE, IMAGES[:9], "is truncated or damaged: expected a header of 16 bytes"),
    "truncated_gzip": (IMAGE_FILE, gzip.compress(IMAGES)[:-50], "is a truncated or damaged gzip file"),
    "text_table": (IMAGE_FILE, TRA, "is not an IDX file of unsigned bytes"),
    "wrong_data_type": (IMAGE_FILE, IMAGES[:2] + b"\x0d" + IMAGES[3:], "is not an IDX file of unsigned bytes"),
    "labels_instead_of_images": (IMAGE_FILE, LABELS, "'train-labels-idx1-ubyte' are not images with one label each"),
    "other_image_size": (IMAGE_FILE, idx(np.zeros((20, 14, 14))), "have 784 pixels, not 196"),
    "fewer_labels_than_images": (LABEL_FILE, idx(np.arange(19) % 10), "are not images with one label each"),
    "label_above_nine": (LABEL_FILE, LABELS[:-3] + b"\x63" + LABELS[-2:], "sample 18: the label '99' is not one of"),
    "label_not_in_test_part": (LABEL_FILE, idx(np.zeros(20)), "sample 2: the label '1' does not occur in"),
}


@pytest.mark.parametrize("case", WRONG_IDX)
def test_wrong_idx_file_is_named(tmp_path, case):
    file, content, words = WRONG_IDX[case]
    write(tmp_path, "fashion_mnist", **{file: content})
    message = error_message(tmp_path, "fashion_mnist")
    assert words in message
    assert f"'{file}'" in message


def test_random_subset_may_lack_a_label(tmp_path):
    write(tmp_path, "avila")
    loaded = load_data("avila", data_dir=tmp_path, subset=2, target="onehot")
    assert loaded.y.shape == (2, 4) and loaded.y.any(axis=0).sum() < 4
