"""Images of MNIST; the checks are those of `digits` and are refused there."""

import gzip

import numpy as np
import pytest

from paper_repro.cayci2024 import images, mnist
from riemgn.data import DataUnavailableError
from riemgn.experiment.reproduce import run_item, Settings
from tests.papers import assert_reproduced, ITEMS


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("cayci2024/mnist", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("cayci2024/mnist", tmp_path, quick=False)


def test_it_says_where_the_images_are_missed(tmp_path, monkeypatch):
    def nothing(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("sklearn.datasets.fetch_openml", nothing)
    with pytest.raises(DataUnavailableError, match="mnist"):
        mnist.data(True, data_dir=str(tmp_path))
    assert (
        run_item(ITEMS["cayci2024/mnist"], Settings(out=tmp_path / "out", quick=True, data_dir=str(tmp_path))).verdict
        == "no data"
    )


def test_the_images_come_from_the_folder_that_is_named(tmp_path):
    folder = tmp_path / "mnist"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (30, 28, 28), dtype=np.uint8)
    header = np.array([2051, 30, 28, 28], ">i4").tobytes()
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + pixels.tobytes()))
    labels = np.arange(30, dtype=np.uint8) % 10
    (folder / "train-labels-idx1-ubyte").write_bytes(np.array([2049, 30], ">i4").tobytes() + labels.tobytes())
    x, y = images.images("mnist", 30, str(tmp_path))
    assert x.shape == (30, 784)
    centred = (pixels.reshape(30, -1) / 255.0) - (pixels.reshape(30, -1) / 255.0).mean(axis=0)
    assert np.abs(x - centred / np.sqrt(np.mean(centred**2))).max() < 1e-13
    assert np.abs(y - (labels - labels.mean()) / labels.std()).max() < 1e-14
