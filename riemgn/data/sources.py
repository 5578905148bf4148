"""Sources of data: scikit-learn, files in a folder, the network, or your own table."""

import difflib
import os
import socket
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from typing import Any, cast

import numpy as np

from .files import Frame, read_idx, read_table

DATASETS: dict[str, str] = {
    "diabetes": "442 x 10, disease progression (real target); bundled with scikit-learn",
    "digits": "1797 x 64, 8x8 images of handwritten digits, 10 classes; bundled with scikit-learn",
    "wine": "178 x 13, chemical analysis, 3 classes; bundled with scikit-learn",
    "breast_cancer": "569 x 30, cell nuclei, 2 classes (0 malignant, 1 benign); bundled with scikit-learn",
    "iris": "150 x 4, flowers, 3 classes; bundled with scikit-learn",
    "california_housing": "20640 x 8 (fetched) or 9 with one text column (housing.csv), house value; file or network",
    "mnist": "70000 x 784, 28x28 images of handwritten digits in [0, 1], 10 classes; files or network",
    "fashion_mnist": "70000 x 784, 28x28 images of clothes in [0, 1], 10 classes; files or network",
    "pendigits": "7494 + 3498 x 16, pen strokes of digits, 10 classes; files or network",
    "letter": "15000 + 5000 x 16, printed capital letters, 26 classes; file or network",
    "avila": "10430 + 10437 x 10, scribes of a medieval Bible, 12 classes; files (UCI repository)",
}
_IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_FILES: dict[str, tuple[str, ...]] = {
    "california_housing": ("housing.csv",),
    "mnist": _IDX_FILES,
    "fashion_mnist": _IDX_FILES,
    "pendigits": ("pendigits.tra", "pendigits.tes"),
    "letter": ("letter-recognition.data",),
    "avila": ("avila-tr.txt", "avila-ts.txt"),
}
_UCI_COLUMNS: dict[str, list[str]] = {
    "pendigits": [f"{axis}{i}" for i in range(1, 9) for axis in "xy"] + ["class"],
    "letter": [*"class x-box y-box width high onpix x-bar y-bar x2bar y2bar xybar x2ybr xy2br x-ege xegvy y-ege "
    "yegvx".split()],
    "avila": [*"intercolumnar_distance upper_margin lower_margin exploitation row_number modular_ratio "
    "interlinear_spacing weight peak_number modular_ratio/interlinear_spacing class".split()],
}  # fmt: skip
_OPENML: dict[str, str] = {
    "mnist": "mnist_784",
    "fashion_mnist": "Fashion-MNIST",
    "pendigits": "pendigits",
    "letter": "letter",
}
_DIGITS = "0123456789"
_LABELS: dict[str, str] = {
    "mnist": _DIGITS,
    "fashion_mnist": _DIGITS,
    "pendigits": _DIGITS,
    "letter": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "avila": "ABCDEFGHIWXY",
}
MAX_CATEGORIES = 50  # a column with more categories is an identifier or free text
_IDX_TRAIN_ROWS = 60000  # OpenML has the training rows first
_FETCH_TIMEOUT_SECONDS = 30.0


class DataUnavailableError(ValueError):
    """A data set is not bundled, not in the folder, and could not be downloaded."""


@dataclass(frozen=True)
class Table:
    """A data set before encoding.

    - `features`: one row per sample, columns float64, bytes or text, NaN if missing.
    - `target`: real numbers, or class labels as text.
    - `classes`: the sorted labels, None for a real target.
    - `source`: the origin, as JSON-compatible values.
    - `test_rows`: number of the last rows that are the distributed test part.
    - `unit`: size of one step of a stored integer, 1 / 255 for pixels.
    - `encoding`: the encoding of the target that the user wants.
    """

    features: Frame
    target: np.ndarray
    classes: tuple[str, ...] | None
    source: dict[str, Any]
    test_rows: int = 0
    unit: float = 1.0
    encoding: str | None = None


def read_source(name: str, data_dir: str | os.PathLike[str] | None, target: str | None) -> Table:
    """Read the set `name`, or the table at that path, see `load_data`."""
    if name.endswith((".csv", ".csv.gz")):
        return _read_user_table(Path(name).expanduser(), target)
    if name not in DATASETS:
        matches = difflib.get_close_matches(name, DATASETS, n=1)
        hint = f"did you mean '{matches[0]}'? " if matches else ""
        raise ValueError(
            f"Unknown data set {name!r}: {hint}known are {', '.join(DATASETS)}, or a path ending in .csv or .csv.gz."
        )
    if name not in _FILES:
        table = _read_bundled(name)
    else:
        folder = data_dir if data_dir is not None else os.environ.get("RIEMGN_DATA") or None
        if folder is not None and not Path(folder).expanduser().is_dir():
            origin = "`data_dir`" if data_dir is not None else "RIEMGN_DATA"
            raise ValueError(f"{origin} must name a folder, got '{folder}'.")
        paths = _find(name, None if folder is None else Path(folder).expanduser())
        table = _read_files(name, paths) if paths else _fetch(name, folder)
    return replace(table, encoding=target)


def _read_bundled(name: str) -> Table:
    import pandas as pd
    import sklearn.datasets

    bunch = getattr(sklearn.datasets, f"load_{name}")()
    features = pd.DataFrame(bunch.data, columns=list(bunch.feature_names))
    source = {"name": name, "kind": "bundled", "origin": "scikit-learn"}
    if name == "diabetes":
        return Table(features, bunch.target.astype(float), None, source)
    return Table(features, *as_classes(bunch.target, name), source)


def _find(name: str, folder: Path | None) -> dict[str, Path]:
    """Return the files of a set, plain or gzip, in `folder/name` or in a folder of that name."""
    if folder is None:
        return {}
    base = folder if folder.name == name and not (folder / name).is_dir() else folder / name
    files = {}
    for file in _FILES[name]:
        for path in (base / file, base / f"{file}.gz"):
            if path.is_file():
                files.setdefault(file, path)
    return files


def _read_files(name: str, paths: dict[str, Path]) -> Table:
    if name in ("mnist", "fashion_mnist"):
        return _read_idx_pairs(name, paths)
    import pandas as pd

    columns = _UCI_COLUMNS.get(name)
    if columns and _FILES[name][0] not in paths:
        raise ValueError(
            f"The training file '{_FILES[name][0]}' of '{name}' is missing next to '{next(iter(paths.values()))}'."
        )
    text = ("ocean_proximity",) if columns is None else () if name == "pendigits" else ("class",)
    parts, digests = zip(*(read_table(path, columns, text, complete=True) for path in paths.values()), strict=True)
    source = _file_source(name, list(paths.values()), digests)
    frame = pd.concat(parts, ignore_index=True)
    if columns is None:
        if "median_house_value" not in frame:
            raise ValueError(
                f"'{paths['housing.csv']}' has no column 'median_house_value', its columns are {', '.join(frame)}."
            )
        return Table(frame.drop(columns="median_house_value"), frame["median_house_value"].to_numpy(), None, source)
    check_labels(
        name,
        list(paths.values()),
        [part["class"].to_numpy() for part in parts],
        lambda part, row: f"line {parts[part].index[row]}",
    )
    test_rows = len(frame) // 4 if name == "letter" else len(frame) - len(parts[0])
    return Table(frame.drop(columns="class"), *as_classes(frame["class"].to_numpy(), name), source, test_rows)


def _read_idx_pairs(name: str, paths: dict[str, Path]) -> Table:
    import pandas as pd

    images, labels, digests = [], [], []
    for image_file, label_file in (_IDX_FILES[:2], _IDX_FILES[2:]):
        if (image_file in paths) != (label_file in paths):
            present, absent = sorted((image_file, label_file), key=lambda file: file not in paths)
            raise ValueError(f"'{paths[present]}' needs its companion '{absent}' in the same folder.")
        if image_file not in paths:
            continue
        (pixels, digest), (marks, label_digest) = read_idx(paths[image_file]), read_idx(paths[label_file])
        if pixels.ndim != 3 or marks.ndim != 1 or len(pixels) != len(marks):
            shapes = f"shapes {pixels.shape} and {marks.shape}"
            raise ValueError(
                f"'{paths[image_file]}' and '{paths[label_file]}' are not images with one label each: {shapes}."
            )
        if images and pixels[0].size != images[0].shape[1]:
            sizes = f"{pixels[0].size} pixels, not {images[0].shape[1]}"
            raise ValueError(f"The images of '{paths[image_file]}' have {sizes} as in '{paths[_IDX_FILES[0]]}'.")
        images.append(pixels.reshape(len(pixels), -1))
        labels.append(marks)
        digests += [digest, label_digest]
    label_paths = [paths[file] for file in (_IDX_FILES[1], _IDX_FILES[3]) if file in paths]
    check_labels(name, label_paths, labels, lambda part, row: f"sample {row + 1}")
    features = pd.DataFrame(np.concatenate(images))
    features.columns = [f"pixel{i}" for i in range(features.shape[1])]
    test_rows = len(labels[1]) if len(labels) == 2 else 0
    source = _file_source(name, list(paths.values()), digests)
    return Table(features, *as_classes(np.concatenate(labels), name), source, test_rows, unit=1 / 255)


def _file_source(name: str, paths: list[Path], digests: Any) -> dict[str, Any]:
    return {
        "name": name,
        "kind": "files",
        "sha256": {path.name: digest for path, digest in zip(paths, digests, strict=True)},
    }


def _fetch(name: str, folder: str | os.PathLike[str] | None) -> Table:
    import pandas as pd
    import sklearn.datasets
    from sklearn.utils import Bunch

    if name not in (*_OPENML, "california_housing"):
        raise _unavailable(name, folder, "it cannot be fetched by name, download it from the UCI repository")
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(timeout or _FETCH_TIMEOUT_SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn warns about each retry
            if name == "california_housing":
                bunch = sklearn.datasets.fetch_california_housing(n_retries=1)
            else:
                bunch = sklearn.datasets.fetch_openml(_OPENML[name], version=1, as_frame=True, n_retries=1)
    except (OSError, ValueError, HTTPException) as error:
        cause = " ".join(str(error).split()).rstrip(".")[:200]
        raise _unavailable(name, folder, f"fetching it failed ({type(error).__name__}: {cause})") from None
    finally:
        socket.setdefaulttimeout(timeout)
    bunch = cast(Bunch, bunch)  # it is a tuple only with `return_X_y`
    source = {
        "name": name,
        "kind": "fetched",
        "origin": f"OpenML {_OPENML[name]} 1" if name in _OPENML else "scikit-learn",
    }
    if name == "california_housing":
        return Table(
            pd.DataFrame(bunch.data, columns=list(bunch.feature_names)), np.asarray(bunch.target, float), None, source
        )
    pixels = name in ("mnist", "fashion_mnist")
    classes = as_classes(np.asarray(bunch.target, object), name)
    test_rows = max(len(bunch.target) - _IDX_TRAIN_ROWS, 0) if pixels else 0
    return Table(bunch.data, *classes, source, test_rows, unit=1 / 255 if pixels else 1.0)


def _unavailable(name: str, folder: str | os.PathLike[str] | None, cause: str) -> DataUnavailableError:
    layout = ", ".join(f"{name}/{file}" for file in _FILES[name])
    where = f"not in the folder '{folder}'" if folder is not None else "not bundled and no folder was named"
    remedy = f"put {layout} (plain or .gz) into a folder and name that folder with --data-dir, data_dir= or RIEMGN_DATA"
    return DataUnavailableError(f"The data set '{name}' is {where}, and {cause}: {remedy}.")


def _read_user_table(path: Path, target: str | None) -> Table:
    frame, digest = read_table(path)
    column, encoding = str(frame.columns[-1]), target
    if target in frame.columns:
        column, encoding = str(target), None
    elif target is not None and target.partition(":")[0] in frame.columns:
        column, _, encoding = target.partition(":")
    elif target not in (None, "value", "onehot") and not str(target).startswith("binary:"):
        raise ValueError(
            f"`target` must name a column or an encoding, got {target!r}; the columns are {', '.join(frame.columns)}."
        )
    values = frame[column]
    source = {**_file_source(path.name, [path], [digest]), "target_column": column}
    features = frame.drop(columns=column)
    if values.dtype != object and encoding in (None, "value"):
        return Table(features, values.to_numpy(), None, source, encoding=encoding)
    return Table(features, *as_classes(values.to_numpy(), column), source, encoding=encoding)


def as_classes(labels: np.ndarray, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return labels as text (None if missing) and the sorted classes. Numbers sort as numbers.

    Raises: `ValueError` for more than `MAX_CATEGORIES` classes.
    """
    text, classes = _as_text(labels)
    if len(classes) > MAX_CATEGORIES:
        raise ValueError(
            f"The target '{name}' has {len(classes)} different classes, but at most {MAX_CATEGORIES} are allowed."
        )
    return text, classes


def check_labels(name: str, paths: list[Path], parts: list[np.ndarray], place: Callable[[int, int], str]) -> None:
    """Check that every label belongs to the set, and that both parts have the same labels.

    Arguments:

    - `name`: the set.
    - `paths`: the one or two files with labels.
    - `parts`: the labels in each file, NaN if missing.
    - `place`: function `(part, row) -> text` that names the line for an error.

    Raises: `ValueError` that names the file and the place of the first wrong label.
    """
    import pandas as pd

    allowed = _LABELS[name]
    texts = [_as_text(part)[0].astype(str) for part in parts]
    for i, labels in enumerate(texts):
        for row in np.flatnonzero(~np.isin(labels, list(allowed)))[:1]:
            problem = (
                "the label is missing"
                if pd.isna(parts[i][row])
                else f"the label '{labels[row]}' is not one of those of '{name}', {', '.join(allowed)}"
            )
            raise ValueError(f"'{paths[i]}', {place(i, row)}: {problem}.")
    for i, other in ((1, 0), (0, 1)) if len(texts) == 2 else ():
        for row in np.flatnonzero(~np.isin(texts[i], texts[other]))[:1]:
            raise ValueError(
                f"'{paths[i]}', {place(i, row)}: the label '{texts[i][row]}' does not occur in '{paths[other]}'."
            )


def _as_text(labels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    import pandas as pd

    present = pd.notna(labels)
    distinct = sorted(set(labels[present].tolist()))
    words = {c: str(int(c)) if isinstance(c, float) and c.is_integer() else str(c) for c in distinct}
    text = np.array([words[c] if ok else None for c, ok in zip(labels.tolist(), present, strict=True)], dtype=object)
    return text, tuple(words.values())
