"""`load_data`: a data set split, completed, encoded and scaled, with a record of all of it."""

import hashlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from .labels import MAX_CATEGORIES
from .sources import read_source, Table


@dataclass(frozen=True, eq=False)
class DataSet:
    """Inputs and targets as float64 arrays, with a record of where they came from; unpacks as `x, y`.

    Arguments:
        name: the set's name, or the file name of a user's table.
        x: training inputs, (n, d).
        y: training targets, (n,) or (n, k) for one-hot classes.
        x_test: test inputs, (m, d), scaled with the statistics of `x`; m = 0 without a test part.
        y_test: test targets, (m,) or (m, k).
        feature_names: the d columns of `x`.
        record: plain values that json can write: source, rows, seed, split, target, missing, features, scaling,
            dropped_constant, text, sha256 (of the four arrays).

    Example:
        >>> import riemgn as rg
        >>> x, y = rg.load_data("diabetes")
        >>> x.shape, y.shape
        ((442, 10), (442,))
    """

    name: str
    x: Float[np.ndarray, "n d"]
    y: Float[np.ndarray, " n"] | Float[np.ndarray, "n k"]
    x_test: Float[np.ndarray, "m d"]
    y_test: Float[np.ndarray, " m"] | Float[np.ndarray, "m k"]
    feature_names: tuple[str, ...]
    record: dict[str, Any]

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter((self.x, self.y))


def load_data(
    name: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    subset: int | None = None,
    seed: int = 0,
    standardize: bool = True,
    standardize_target: bool = True,
    test_fraction: float = 0.0,
    target: str | None = None,
    missing: str = "mean",
    drop_constant: bool = True,
) -> DataSet:
    """A data set by name (see `DATASETS`) or a user's table (a path ending in .csv or .csv.gz), ready for a `Problem`.

    `x <- (x - mean) / scale`, columnwise, with mean and standard deviation of the training rows alone; a real target
    likewise.

    Looked up in scikit-learn's bundled sets, then as files in `data_dir` or the folder named by the environment
    variable RIEMGN_DATA, then over the network, where scikit-learn keeps a copy. Text columns become one-hot columns
    without the first category, the reference: with it they would sum to a constant and cost the Jacobian a rank.

    Of the set `letter`, one file, the last quarter is the test part, as is the custom: 15000 + 5000 rows, where the code of arXiv:2404.14875 takes
    LIBSVM's scaled files of 10500 + 5000. Where a set comes as a training and a test file, both must have the same labels; a part drawn by
    `test_fraction` or `subset` may lack some.

    Arguments:
        name: a key of `DATASETS`, or a path.
        data_dir: folder with one sub-folder a set, such as `letter/letter-recognition.data`.
        subset: number of training rows to keep, drawn without replacement; the test part stays whole.
        seed: of the split and the subset.
        standardize: whether to centre and scale the columns of `x`; False leaves them as stored (pixels in [0, 1]).
        standardize_target: the same for a real target; class targets are never scaled.
        test_fraction: in [0, 1); 0 keeps the test part the set is distributed with, if any; more redraws it from all
            rows.
        target: "value" (a real target, or the class index 0, 1, ...), "onehot", "binary:LABEL" (1 for that class, else
            0); for a table also "COLUMN", "COLUMN:onehot" and so on, by default the last column. None means "value".
        missing: "mean" imputes the mean of the training rows (a text: the category "missing"), "drop" leaves out the
            row; a row without target is always left out.
        drop_constant: whether to leave out columns that are constant on the training rows.

    Raises:
        ValueError: an argument or a file is wrong; one sentence quotes it.
        DataUnavailableError: the set needs files or a network; one sentence says which files and where.

    Example:
        >>> import riemgn as rg
        >>> data = rg.load_data("digits", subset=64, target="onehot", test_fraction=0.2)
        >>> data.y.shape, data.y_test.shape
        ((64, 10), (360, 10))
    """
    _check_options(subset, seed, test_fraction, missing)
    table = read_source(str(name), data_dir, target)
    table, missing_record = _without_missing(table, missing)
    train, test, split = _split(len(table.target), table.test_rows, test_fraction, subset, seed)
    y, y_test, target_record = _encode_target(table, train, test, standardize_target)
    x, x_test, names, feature_record = _encode_features(table, train, test, standardize, drop_constant)
    digest = hashlib.sha256()
    for array in (x, y, x_test, y_test):
        digest.update(np.ascontiguousarray(array, "<f8").tobytes())
    record = {
        "name": table.source["name"], "source": table.source, "rows": len(table.target), "seed": seed, "split": split,
        "target": target_record, "missing": missing_record, **feature_record, "sha256": digest.hexdigest(),
    }  # fmt: skip
    return DataSet(table.source["name"], x, y, x_test, y_test, names, record)


def _check_options(subset: int | None, seed: int, test_fraction: float, missing: str) -> None:
    if subset is not None and (isinstance(subset, bool) or not isinstance(subset, int | np.integer) or subset < 1):
        raise ValueError(f"`subset` must be a whole number of rows >= 1 or None, got {subset!r}.")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise ValueError(f"`seed` must be a whole number in [0, 2**32), got {seed!r}.")
    if not isinstance(test_fraction, int | float | np.number) or not 0 <= test_fraction < 1:
        raise ValueError(f"`test_fraction` must lie in [0, 1), got {test_fraction!r}.")
    if missing not in ("mean", "drop"):
        raise ValueError(f"`missing` must be 'mean' or 'drop', got {missing!r}.")


def _without_missing(table: Table, missing: str) -> tuple[Table, dict[str, Any]]:
    """Leave out the rows without target and, if asked, the rows with any missing value."""
    import pandas as pd

    holes = table.features.isna()
    no_target = pd.isna(table.target)
    gone = no_target | holes.any(axis=1).to_numpy() if missing == "drop" else no_target
    counts = {str(column): int(count) for column, count in holes.sum().items() if count}
    record = {
        "policy": missing, "values": sum(counts.values()), "columns": counts,
        "rows_dropped": int(gone.sum()), "rows_without_target": int(no_target.sum()),
    }  # fmt: skip
    if gone.all():
        raise ValueError(
            f"No row of '{table.source['name']}' is left after leaving out {gone.sum()} rows with missing values."
        )
    test_rows = int((~gone[len(gone) - table.test_rows :]).sum())
    features = table.features[~gone].reset_index(drop=True)
    return replace(table, features=features, target=table.target[~gone], test_rows=test_rows), record


def _split(
    rows: int, test_rows: int, test_fraction: float, subset: int | None, seed: int
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Sorted row numbers of the training and of the test part."""
    train, test = np.arange(rows - test_rows), np.arange(rows - test_rows, rows)
    kind = "as distributed" if test_rows else "none"
    if test_fraction > 0:
        from sklearn.model_selection import train_test_split

        if rows < 2 or np.ceil(test_fraction * rows) >= rows:
            raise ValueError(f"`test_fraction` = {test_fraction} leaves no training row of {rows}.")
        train, test = map(np.sort, train_test_split(np.arange(rows), test_size=float(test_fraction), random_state=seed))
        kind = "random"
    if subset is not None and subset > len(train):
        raise ValueError(f"`subset` = {subset} is more than the {len(train)} training rows.")
    if subset is not None:
        train = np.sort(np.random.default_rng(seed).choice(train, subset, replace=False))
    record = {
        "kind": kind,
        "test_fraction": float(test_fraction),
        "subset": subset,
        "train": len(train),
        "test": len(test),
    }
    return train, test, record


def _encode_target(
    table: Table, train: np.ndarray, test: np.ndarray, standardize: bool
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    encoding = table.encoding or "value"
    if table.classes is None:
        if encoding != "value":
            raise ValueError(
                f"'{table.source['name']}' has a real target, so `target` must be 'value' or None, got {encoding!r}."
            )
        y, y_test = table.target[train].astype(float), table.target[test].astype(float)
        mean, scale = (float(y.mean()), float(y.std())) if standardize else (0.0, 1.0)
        scale = scale or 1.0
        return (
            (y - mean) / scale,
            (y_test - mean) / scale,
            {"encoding": "value", "classes": None, "mean": mean, "scale": scale},
        )
    index = np.array([table.classes.index(label) for label in table.target])
    word, _, label = encoding.partition(":")
    if word == "binary" and label in table.classes:
        y = (index == table.classes.index(label)).astype(float)
    elif encoding == "onehot":
        y = np.eye(len(table.classes))[index]
    elif encoding == "value":
        y = index.astype(float)
    else:
        classes = ", ".join(table.classes)
        raise ValueError(
            f"`target` must be 'value', 'onehot' or 'binary:LABEL' with a label among {classes}, got {encoding!r}."
        )
    return y[train], y[test], {"encoding": encoding, "classes": list(table.classes), "mean": 0.0, "scale": 1.0}


def _encode_features(
    table: Table, train: np.ndarray, test: np.ndarray, standardize: bool, drop_constant: bool
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], dict[str, Any]]:
    """Impute, encode text, drop constant columns, scale: every statistic is of the training rows."""
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import StandardScaler

    text = [c for c in table.features.columns if table.features[c].dtype == object]
    numeric = table.features.drop(columns=text)
    parts = [numeric.iloc[rows].to_numpy(float) * table.unit for rows in (train, test)]
    names, dropped, text_record = [str(c) for c in numeric.columns], [], {}
    if numeric.isna().to_numpy().any():
        imputer = SimpleImputer(keep_empty_features=True).fit(parts[0])
        parts = [_transformed(imputer, part) for part in parts]
    for column in text:
        encoded, new_names, text_record[str(column)] = _one_hot(table.features[column], train, test)
        parts = [np.hstack(pair) for pair in zip(parts, encoded, strict=True)]
        names += new_names
        dropped += [] if new_names else [str(column)]
    x, x_test = parts
    if drop_constant:
        # A spread below rounding is noise, which scaling would blow up to unit size.
        varies = np.ptp(x, axis=0) > 64 * np.finfo(float).eps * np.abs(x).max(axis=0)
        dropped = [n for n, keep in zip(names, varies, strict=True) if not keep] + dropped
        names = [n for n, keep in zip(names, varies, strict=True) if keep]
        x, x_test = x[:, varies], x_test[:, varies]
    if not names:
        raise ValueError(f"'{table.source['name']}' has no column that varies on its {len(train)} training rows.")
    scaling = None
    if standardize:
        scaler = StandardScaler().fit(x)
        x, x_test = _transformed(scaler, x), _transformed(scaler, x_test)
        scaling = {"mean": np.asarray(scaler.mean_).tolist(), "scale": np.asarray(scaler.scale_).tolist()}
    record = {"features": names, "scaling": scaling, "dropped_constant": dropped, "text": text_record}
    return x, x_test, tuple(names), record


def _transformed(transformer: Any, rows: np.ndarray) -> np.ndarray:
    """The rows as a fitted transformer of scikit-learn gives them back; it refuses to take none."""
    return transformer.transform(rows) if len(rows) else rows


def _one_hot(column: Any, train: np.ndarray, test: np.ndarray) -> tuple[list[np.ndarray], list[str], dict[str, Any]]:
    """One column a category but the first; a category that the training rows lack becomes the reference."""
    from sklearn.preprocessing import OneHotEncoder

    values = column.fillna("missing").astype(str).to_numpy(object)[:, None]
    if len(set(values[:, 0])) > MAX_CATEGORIES:
        found = f"{len(set(values[:, 0]))} different texts such as '{values[0, 0]}'"
        raise ValueError(f"The text column '{column.name}' has {found}, at most {MAX_CATEGORIES} are allowed.")
    encoder = OneHotEncoder(drop="first", handle_unknown="ignore", sparse_output=False).fit(values[train])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # unknown categories: counted in the record instead
        empty = np.zeros((0, len(encoder.categories_[0]) - 1))
        parts = [np.asarray(encoder.transform(values[rows])) if len(rows) else empty for rows in (train, test)]
    categories = [str(c) for c in encoder.categories_[0]]
    unseen = int((~np.isin(values[test, 0].astype(str), categories)).sum())
    record = {"encoding": "one-hot", "reference": categories[0], "categories": categories, "test_rows_unseen": unseen}
    return parts, [f"{column.name}={c}" for c in categories[1:]], record
