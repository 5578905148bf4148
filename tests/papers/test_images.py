"""Sweeps over images with GGN-SCORE: MNIST, Fashion-MNIST, and teacher and student."""

import gzip

import jax.numpy as jnp
import numpy as np
import pytest

from paper_repro.adeoye2024 import fashion, images, sweeps, teacher_student
from riemgn.data import DataUnavailableError
from riemgn.experiment.reproduce import run_item, Settings
from tests.papers import assert_reproduced, ITEMS, verdicts


@pytest.mark.parametrize("item", ["images", "teacher_student"])
def test_it_holds_at_quick_size_and_matches_its_golden_numbers(item, tmp_path):
    assert_reproduced(f"adeoye2024/{item}", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("item", ["images", "teacher_student"])
def test_it_holds_at_full_size(item, tmp_path):
    assert_reproduced(f"adeoye2024/{item}", tmp_path, quick=False)


def found(
    right=86.0, tiny=86.0, large=10.0, loss=0.02, loss_large=0.05, step=1e-5, stays=70.0, frozen=91.0, frozen_loss=900.0
):
    """Both sweeps, two seeds: `right`, `loss`, `stays` at tau = 1e-4, `tiny` at 1e-6, `large` and `loss_large` at 1, `frozen` at the least mu."""
    tau = {
        "at": [1e-6, 1e-4, 1.0],
        "test_accuracy": [[tiny, right, large]] * 2,
        "test": [[loss, loss, loss_large]] * 2,
        "stability": [[70.0, stays, 51.0]] * 2,
    }
    mu = {
        "at": [1e-3, 1e3],
        "test": [[frozen_loss, loss]] * 2,
        "stability": [[frozen, 60.0]] * 2,
        "mean_step": [[step, 1.0]] * 2,
    }
    return {"tau": tau, "mu": mu}


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({}, 0),
        ({"right": 79.0, "tiny": 79.0}, 1),
        ({"tiny": 80.0}, 1),
        ({"large": 80.0}, 1),
        ({"loss_large": 0.02}, 1),
        ({"step": 0.1}, 1),
        ({"frozen_loss": 1.0}, 1),
        ({"frozen": 75.0}, 1),
        ({"stays": 99.0}, 2),
        ({"right": np.nan}, 3),
    ],
)
def test_a_penalty_that_does_nothing_and_a_network_that_does_not_learn_are_refused(changed, refused):
    assert sum(not holds for holds in verdicts(sweeps.checks(found(**changed), 80.0)).values()) == refused


def test_a_teacher_that_knows_nothing_is_refused():
    assert all(verdicts(teacher_student.checks(found(), 96.0, quick=False)).values())
    assert [
        name for name, holds in verdicts(teacher_student.checks(found(), 30.0, quick=False)).items() if not holds
    ] == ["what the teacher gets right [%]"]


@pytest.fixture
def small(monkeypatch):
    """Twelve images of each of ten classes, a network of two hidden neurons."""
    monkeypatch.setattr(sweeps, "ROWS", {True: (96, 24)})
    monkeypatch.setattr(sweeps, "SEEDS", (0,))
    monkeypatch.setattr(images, "WIDTHS", {True: 2})
    images.task.cache_clear()
    yield
    images.task.cache_clear()


def write_idx(folder, part, rows):
    folder.mkdir(exist_ok=True)
    pixels = np.random.default_rng(rows).integers(0, 256, (rows, 4, 4), dtype=np.uint8)
    labels = (np.arange(rows) % 10).astype(np.uint8)
    for array, name in ((pixels, "images-idx3"), (labels, "labels-idx1")):
        header = np.array([0x800 + array.ndim, *array.shape], ">i4").tobytes()
        (folder / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))
    return pixels.reshape(rows, -1)


def test_fashion_mnist_runs_where_its_files_are_given(tmp_path, small):
    write_idx(tmp_path / "fashion_mnist", "t10k", 120)
    result = fashion.data(True, data_dir=str(tmp_path))
    assert result["sweeps"]["mu"]["at"] == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0])
    assert np.shape(result["sweeps"]["tau"]["zeros"]) == (1, 7) and result["setup"]["p"] == 2 * (16 + 10)


def test_fashion_mnist_is_left_out_in_a_word_where_it_is_missing(tmp_path, monkeypatch):
    def nothing(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("sklearn.datasets.fetch_openml", nothing)
    with pytest.raises(DataUnavailableError, match="fashion_mnist"):
        fashion.data(True, data_dir=str(tmp_path))
    outcome = run_item(ITEMS["adeoye2024/fashion"], Settings(out=tmp_path / "out", quick=True, data_dir=str(tmp_path)))
    assert outcome.verdict == "no data" and "fashion_mnist" in outcome.notes[0]


def test_images_are_the_test_images_whether_or_not_the_training_images_are_there(tmp_path, small):
    pixels = write_idx(tmp_path / "mnist", "t10k", 120)
    alone = sweeps.images("mnist", True, str(tmp_path))
    write_idx(tmp_path / "mnist", "train", 130)
    for first, second in zip(alone, sweeps.images("mnist", True, str(tmp_path)), strict=True):
        np.testing.assert_array_equal(first, second)
    rows = np.concatenate([alone[0], alone[2]])
    assert sorted(map(tuple, np.rint(255 * rows))) == sorted(map(tuple, pixels))  # each image once
    assert np.concatenate([alone[1], alone[3]]).sum(axis=0).tolist() == [12.0] * 10


def test_too_few_images_are_refused(tmp_path):
    write_idx(tmp_path / "mnist", "t10k", 120)
    with pytest.raises(ValueError, match="at least 1000, got 120"):
        sweeps.images("mnist", True, str(tmp_path))


def test_a_balanced_part_has_as_many_of_every_class():
    y = np.eye(3)[[0, 0, 0, 1, 2, 1, 2, 0]]
    assert teacher_student.balanced(y).tolist() == [0, 1, 3, 4, 5, 6]


def test_the_teacher_learns_what_can_be_learnt():
    x = np.random.default_rng(0).normal(size=(256, 5))
    y = np.eye(2)[(x[:, 0] > 0).astype(int)]
    probabilities = teacher_student.taught(jnp.asarray(x), jnp.asarray(y), 200)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-12)
    assert np.mean(probabilities.argmax(axis=1) == y.argmax(axis=1)) > 0.85


def test_a_sweep_changes_one_number_at_a_time():
    points = sweeps.settings(64, sweeps.LARGE_MUS)
    assert {mu for _, mu in points["tau"]} == {8.0} and {tau for tau, _ in points["mu"]} == {1e-4}
    swept = sweeps.swept(
        lambda tau, mu, seed: {"seconds": 0.0, "product": tau * mu + seed}, 64, sweeps.LARGE_MUS, (0, 1)
    )
    assert (
        swept["mu"]["at"] == list(sweeps.LARGE_MUS)
        and np.shape(swept["tau"]["product"]) == (2, 7)
        and "seconds" not in swept["tau"]
    )
    assert swept["mu"]["product"][1][0] == pytest.approx(1e-4 * 1e-3 + 1)
