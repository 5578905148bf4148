"""Checks of the items on classification with GGN-SCORE."""

import gzip

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from paper_repro.adeoye2024 import (
    avila,
    classification,
    fashion,
    images,
    letter,
    optdigits,
    pendigits,
    sweeps,
    teacher_student,
)
from riemgn.data import DataUnavailableError
from riemgn.experiment.reproduce import run_item, Settings
from tests.papers import ITEMS, refusals, verdicts

# --- optdigits ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_twenty_epochs_reach_91_percent():
    tasks = [classification.task("digits", False, split=split) for split in range(5)]
    method = classification.method_of("digits", "GGN")
    accuracies = [
        classification.trained(task, method, [0, 20], seed)["test_accuracy"][-1] for task in tasks for seed in range(3)
    ]
    assert np.median(accuracies) >= 91 and np.min(accuracies) >= 88, accuracies


def optdigits_runs(
    ggn=93.0, early=60.0, late=95.0, seeds=3, epochs=(0, 1, 5, 20, 50), slow=(0, 1, 5, 20, 50, 100, 200, 2000)
):
    """Accuracies of GGN-SCORE (`ggn`) and of gradient descent before and after epoch 200."""
    quick = {"epochs": list(epochs), "test_accuracy": [[10.0] + [ggn] * (len(epochs) - 1)] * seeds}
    gd = {"epochs": list(slow), "test_accuracy": [[10.0] + [early if e < 200 else late for e in slow[1:]]] * seeds}
    return {"GGN": quick, "GD": gd, "GD 1/k": gd}


OPTDIGITS = refusals(
    "optdigits",
    lambda changed: optdigits.checks(optdigits_runs(**changed), quick=False),
    [
        ({}, 0),
        ({"ggn": 90.0}, 1),
        ({"early": 89.0}, 1),
        ({"early": 94.0}, 2),
        ({"late": 70.0}, 1),
        ({"ggn": np.nan}, 3),
        ({"early": 79.0, "late": 79.0}, 1),
    ],
)


def test_one_bad_seed_is_refused():
    one_bad = optdigits_runs()
    one_bad["GGN"]["test_accuracy"] = [*one_bad["GGN"]["test_accuracy"][:2], [10.0, 85.0, 85.0, 85.0, 93.0]]
    refused = [name for name, holds in verdicts(optdigits.checks(one_bad, quick=False)).items() if not holds]
    assert refused == ["test accuracy of GGN-SCORE after 20 epochs, least [%]"]


def test_losses_and_accuracies_match_the_definition():
    rng = np.random.default_rng(0)
    net = classification.network(3, 4, 2, "relu")
    x, y = rng.normal(size=(5, 3)), np.eye(2)[rng.integers(0, 2, 5)]
    task = classification.Task(net, *map(jnp.asarray, (x, y, x[:2], y[:2])))
    params = classification.initial(net, jax.random.key(0))
    u, v = (np.asarray(layer["weight"]) for layer in params)
    outputs = np.maximum(x @ u.T, 0) @ v.T / 2
    shares = [100 * np.mean(outputs[:k].argmax(axis=1) == y[:k].argmax(axis=1)) for k in (5, 2)]
    expected = [*(np.sum((outputs[:k] - y[:k]) ** 2) / (2 * k * 2) for k in (5, 2)), *shares]
    np.testing.assert_allclose(classification.judged(task, params), expected, rtol=1e-13)
    lost = [{"weight": jnp.full_like(layer["weight"], jnp.nan)} for layer in params]
    assert np.isnan(classification.judged(task, lost)).all()


def test_training_agrees_with_iterate():
    """The loop by epochs takes the steps that `iterate` takes with the same key."""
    rng = np.random.default_rng(0)
    net = classification.network(3, 4, 2, "relu")
    x, y = rng.normal(size=(10, 3)), np.eye(2)[rng.integers(0, 2, 10)]
    task = classification.Task(net, *map(jnp.asarray, (x, y, x, y)))
    for method in (
        rg.GGNScore(rg.PseudoHuberPenalty(2.0), 1e-4, 1.0, batch_size=4, order="shuffled"),
        rg.GradientDescent(1.0, 4, "shuffled", True),
    ):
        run = classification.trained(task, method, (0, 1, 3), seed=5)
        key = jax.random.fold_in(jax.random.key(5), 1)
        traj = rg.iterate(task.problem(5), method, steps=9, save_every=3, key=key, spectra=False)
        np.testing.assert_allclose(run["train"], np.asarray(traj.losses)[[0, 1, 3]], rtol=1e-10)
        assert abs(run["mean_step"] - float(traj.ts[-1]) / 9) < 1e-12


def test_data_are_split_and_scaled():
    task = classification.task("digits", True)
    assert task.x.shape == (1347, 64) and task.x_test.shape == (450, 64) and task.y.shape == (1347, 10)
    assert float(task.x.min()) == 0.0 and float(task.x.max()) == 1.0
    np.testing.assert_array_equal(task.y.sum(axis=1), 1.0)
    assert classification.scaled("letter", np.array([0.0, 15.0])).tolist() == [-1.0, 1.0]
    assert classification.scaled("pendigits", np.array([100.0])).tolist() == [100.0]
    assert classification.scaled("pendigits", np.array([100.0]), variant=True).tolist() == [1.0]


# --- avila -------------------------------------------------------------------------------------


def avila_runs(ggn=65.0, gd=50.0, tuned=55.0, without=65.0, loss=0.025, loss_without=0.024, step_1=np.nan):
    """Accuracies after 0, 5, 10 epochs of GGN-SCORE and 0, 5, 10, 500 of gradient descent."""
    slow = {"epochs": [0, 5, 10, 500], "test_accuracy": [[5.0, gd, gd, 68.0]] * 3}
    return {
        "GGN": {"epochs": [0, 5, 10], "test_accuracy": [[5.0, ggn, ggn]] * 3, "test": [[20.0, 0.03, loss]] * 3},
        "GD": slow,
        "GD 1": {"test": [[20.0, step_1]] * 3},
        "GD 1/k": slow | {"test_accuracy": [[5.0, tuned, tuned, 68.0]] * 3},
        "GGN*": {"test_accuracy": [[5.0, 60.0, without]] * 3, "test": [[20.0, 0.03, loss_without]] * 3},
    }


AVILA = refusals(
    "avila",
    lambda changed: avila.checks(avila_runs(**changed), quick=False),
    [
        ({}, 0),
        ({"ggn": 60.0, "without": 60.0}, 1),
        ({"gd": 61.0}, 1),
        ({"gd": 65.0}, 2),
        ({"tuned": 65.0}, 1),
        ({"without": 61.0}, 1),
        ({"loss_without": 0.02}, 1),
        ({"step_1": 0.03}, 1),
        ({"ggn": np.nan}, 3),
    ],
)


def test_only_the_variant_leaves_out_the_outlier():
    try:
        tasks = [
            classification.task("avila", quick, None, variant) for quick in (True, False) for variant in (False, True)
        ]
    except DataUnavailableError as missing:
        pytest.skip(str(missing))
    assert [len(task.x) for task in tasks] == [960, 959, 10430, 10429]
    assert [float(abs(task.x).max()) > 300 for task in tasks] == [True, False, True, False]
    assert all(len(task.x) == len(task.y) and task.y.shape[1] == 12 for task in tasks)


# --- letter ------------------------------------------------------------------------------------


def letter_runs(ggn=75.0, gd=20.0, tuned=30.0, late=75.0):
    """Accuracies after 0, 5, 20 epochs of GGN-SCORE and 0, 5, 50, 200 of gradient descent."""
    slow = {"epochs": [0, 5, 50, 200], "test_accuracy": [[4.0, gd, gd, 60.0]] * 3}
    return {
        "GGN": {"epochs": [0, 5, 20], "test_accuracy": [[4.0, ggn, ggn]] * 3},
        "GD": slow,
        "GD 1/k": slow | {"test_accuracy": [[4.0, tuned, tuned, late]] * 3},
    }


LETTER = refusals(
    "letter",
    lambda changed: letter.checks(letter_runs(**changed), quick=False),
    [
        ({}, 0),
        ({"late": 70.0}, 0),
        ({"ggn": 55.0}, 1),
        ({"gd": 72.0}, 1),
        ({"gd": 76.0}, 2),
        ({"tuned": 76.0}, 1),
        ({"ggn": np.nan}, 2),
    ],
)


# --- pendigits ---------------------------------------------------------------------------------


def pendigits_runs(ggn=95.0, gd=0.05, tuned=0.05, scaled=95.0):
    """Last test accuracies of GGN-SCORE, and of gradient descent on scaled features."""
    return {
        "GGN": {"test_accuracy": [[10.0, ggn]] * 3},
        "GD": {"test": [[1e5, gd]] * 3},
        "GD 1/k": {"test": [[1e5, tuned]] * 3},
        "GD*": {"test_accuracy": [[10.0, scaled]] * 3},
    }


PENDIGITS = refusals(
    "pendigits",
    lambda changed: pendigits.checks(pendigits_runs(**changed), quick=False),
    [
        ({}, 0),
        ({"ggn": 60.0}, 1),
        ({"gd": 0.03}, 1),
        ({"tuned": np.nan}, 1),
        ({"scaled": 50.0}, 1),
        ({"ggn": np.nan, "scaled": np.nan}, 2),
    ],
)


# --- images ------------------------------------------------------------------------------------


def images_result(
    *,
    right=86.0,
    tiny=86.0,
    large=10.0,
    loss=0.02,
    loss_large=0.05,
    step=1e-5,
    stays=70.0,
    frozen=91.0,
    frozen_loss=900.0,
):
    """Both sweeps of two seeds: tau = 1e-6 (`tiny`), 1 (`large`), smallest mu (`frozen`)."""
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


IMAGES = refusals(
    "images",
    lambda changed: sweeps.checks(images_result(**changed), 80.0),
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


def test_ignorant_teacher_is_refused():
    assert all(verdicts(teacher_student.checks(images_result(), 96.0, quick=False)).values())
    assert [
        name
        for name, holds in verdicts(teacher_student.checks(images_result(), 30.0, quick=False)).items()
        if not holds
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


def test_fashion_mnist_runs_from_its_files(tmp_path, small):
    write_idx(tmp_path / "fashion_mnist", "t10k", 120)
    result = fashion.data(True, data_dir=str(tmp_path))
    assert result["sweeps"]["mu"]["at"] == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0])
    assert np.shape(result["sweeps"]["tau"]["zeros"]) == (1, 7) and result["setup"]["p"] == 2 * (16 + 10)


def test_missing_fashion_mnist_is_no_data(tmp_path, monkeypatch):
    def nothing(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("sklearn.datasets.fetch_openml", nothing)
    with pytest.raises(DataUnavailableError, match="fashion_mnist"):
        fashion.data(True, data_dir=str(tmp_path))
    outcome = run_item(ITEMS["adeoye2024/fashion"], Settings(out=tmp_path / "out", quick=True, data_dir=str(tmp_path)))
    assert outcome.verdict == "no data" and "fashion_mnist" in outcome.notes[0]


def test_images_do_not_depend_on_the_training_files(tmp_path, small):
    pixels = write_idx(tmp_path / "mnist", "t10k", 120)
    alone = sweeps.images("mnist", True, str(tmp_path))
    write_idx(tmp_path / "mnist", "train", 130)
    for first, second in zip(alone, sweeps.images("mnist", True, str(tmp_path)), strict=True):
        np.testing.assert_array_equal(first, second)
    rows = np.concatenate([alone[0], alone[2]])
    assert sorted(map(tuple, np.rint(255 * rows))) == sorted(map(tuple, pixels))  # each image once
    assert np.concatenate([alone[1], alone[3]]).sum(axis=0).tolist() == [12.0] * 10


def test_a_balanced_part_has_as_many_of_every_class():
    y = np.eye(3)[[0, 0, 0, 1, 2, 1, 2, 0]]
    assert teacher_student.balanced(y).tolist() == [0, 1, 3, 4, 5, 6]


def test_teacher_learns_a_separable_task():
    x = np.random.default_rng(0).normal(size=(256, 5))
    y = np.eye(2)[(x[:, 0] > 0).astype(int)]
    probabilities = teacher_student.taught(jnp.asarray(x), jnp.asarray(y), 200)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-12)
    assert np.mean(probabilities.argmax(axis=1) == y.argmax(axis=1)) > 0.85


@pytest.mark.parametrize(("checks", "arguments", "refused"), [*OPTDIGITS, *AVILA, *LETTER, *PENDIGITS, *IMAGES])
def test_checks_refuse(checks, arguments, refused):
    assert sum(not holds for holds in verdicts(checks(*arguments)).values()) == refused
