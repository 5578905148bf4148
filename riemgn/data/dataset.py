"""`load_data`: read a data set, split, impute, encode and scale it, and record how."""

import hashlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from .sources import MAX_CATEGORIES, read_source, Table


@dataclass(frozen=True, eq=False)
class DataSet:
    """Inputs and targets as float64 arrays, with their origin. You can unpack it as `x, y`.

    - `name`: name of the set, or the file name of your table.
    - `x`: training inputs (n, d).
    - `y`: training targets (n,), or (n, k) for one-hot classes.
    - `x_test`: test inputs (m, d), scaled with the statistics of `x`. m = 0 without a test part.
    - `y_test`: test targets (m,) or (m, k).
    - `feature_names`: the d columns of `x`.
    - `record`: JSON-compatible values: name, source, rows, seed, split, target, missing, features,
      scaling, dropped_constant, text and sha256 (of the four arrays).

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
    """Load a data set by name (see `DATASETS`) or from your table, ready for a `Problem`.

    Columns are standardised, `x <- (x - mean) / scale`, with the mean and standard deviation of the
    training rows, and so is a real target. riemgn looks for the set in scikit-learn's bundled sets,
    then for files in `data_dir` or in the folder of the environment variable RIEMGN_DATA, then on
    the network. Text columns become one-hot columns without the first category, because all of
    them would sum to a constant and make the Jacobian rank deficient.

    For the set `letter`, the last quarter of the file is the test part (15000 + 5000 rows). The
    code of arXiv:2404.14875 uses other files, with 10500 + 5000 rows.

    Arguments:

    - `name`: a key of `DATASETS`, or a path that ends in .csv or .csv.gz.
    - `data_dir`: folder with one sub-folder per set, for example `letter/letter-recognition.data`.
    - `subset`: number of training rows to draw without replacement. The test part is not reduced.
    - `seed`: seed of the split and the subset (default 0).
    - `standardize`: whether to centre and scale the columns of `x` (default True). With False they
      are as stored, for example pixels in [0, 1].
    - `standardize_target`: the same for a real target. Class targets are never scaled.
    - `test_fraction`: in [0, 1). With 0 (default) you get the test part of the distributed set, if
      any. A larger value draws a new test part from all rows.
    - `target`: "value" (default: a real target or the class index), "onehot" or "binary:LABEL" (1
      for that class, else 0). For a table also "COLUMN" (default: the last) or "COLUMN:onehot".
    - `missing`: "mean" (default) imputes the mean of the training rows, or for text the category
      "missing". "drop" removes the row. A row without target is always removed.
    - `drop_constant`: whether to drop columns that are constant in training (default True).

    Returns: a `DataSet`.

    Raises: `ValueError` for a wrong argument or file, and `DataUnavailableError` if the set needs
    files or a network that it cannot find.

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
        raise ValueError(f"`subset` must be an integer >= 1 or None, got {subset!r}.")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise ValueError(f"`seed` must be an integer in [0, 2**32), got {seed!r}.")
    if not isinstance(test_fraction, int | float | np.number) or not 0 <= test_fraction < 1:
        raise ValueError(f"`test_fraction` must be in [0, 1), got {test_fraction!r}.")
    if missing not in ("mean", "drop"):
        raise ValueError(f"`missing` must be 'mean' or 'drop', got {missing!r}.")


def _without_missing(table: Table, missing: str) -> tuple[Table, dict[str, Any]]:
    """Drop the rows without target, and with `missing="drop"` all rows with a missing value."""
    import pandas as pd

    is_missing = table.features.isna()
    no_target = pd.isna(table.target)
    dropped = no_target | is_missing.any(axis=1).to_numpy() if missing == "drop" else no_target
    counts = {str(column): int(count) for column, count in is_missing.sum().items() if count}
    record = {
        "policy": missing, "values": sum(counts.values()), "columns": counts,
        "rows_dropped": int(dropped.sum()), "rows_without_target": int(no_target.sum()),
    }  # fmt: skip
    if dropped.all():
        raise ValueError(
            f"No row of '{table.source['name']}' is left after dropping {dropped.sum()} rows with missing values."
        )
    test_rows = int((~dropped[len(dropped) - table.test_rows :]).sum())
    features = table.features[~dropped].reset_index(drop=True)
    return replace(table, features=features, target=table.target[~dropped], test_rows=test_rows), record


def _split(
    rows: int, test_rows: int, test_fraction: float, subset: int | None, seed: int
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Return the sorted row numbers of the training part and the test part, and a record."""
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
    sizes = {"train": len(train), "test": len(test)}
    return train, test, {"kind": kind, "test_fraction": float(test_fraction), "subset": subset, **sizes}


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
        record = {"encoding": "value", "classes": None, "mean": mean, "scale": scale}
        return (y - mean) / scale, (y_test - mean) / scale, record
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
    """Impute, encode text, drop constant columns and scale, using the training rows only."""
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
        # A range below the rounding error counts as constant, because scaling would amplify it.
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
    """Apply a fitted transformer of scikit-learn, which does not accept an empty array."""
    return transformer.transform(rows) if len(rows) else rows


def _one_hot(column: Any, train: np.ndarray, test: np.ndarray) -> tuple[list[np.ndarray], list[str], dict[str, Any]]:
    """Encode all categories except the first, which also stands for unknown test categories."""
    from sklearn.preprocessing import OneHotEncoder

    values = column.fillna("missing").astype(str).to_numpy(object)[:, None]
    if len(set(values[:, 0])) > MAX_CATEGORIES:
        texts = f"{len(set(values[:, 0]))} different texts such as '{values[0, 0]}'"
        raise ValueError(f"The text column '{column.name}' has {texts}, but at most {MAX_CATEGORIES} are allowed.")
    encoder = OneHotEncoder(drop="first", handle_unknown="ignore", sparse_output=False).fit(values[train])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about unknown categories, which the record counts
        empty = np.zeros((0, len(encoder.categories_[0]) - 1))
        parts = [np.asarray(encoder.transform(values[rows])) if len(rows) else empty for rows in (train, test)]
    categories = [str(c) for c in encoder.categories_[0]]
    unseen = int((~np.isin(values[test, 0].astype(str), categories)).sum())
    record = {"encoding": "one-hot", "reference": categories[0], "categories": categories, "test_rows_unseen": unseen}
    return parts, [f"{column.name}={c}" for c in categories[1:]], record
