"""Digits with GGN-SCORE, and what the items on classification share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from paper_repro.adeoye2024 import classification, optdigits
from tests.papers import assert_reproduced, verdicts


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("adeoye2024/optdigits", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("adeoye2024/optdigits", tmp_path, quick=False)


@pytest.mark.slow
def test_twenty_epochs_reach_the_accuracy_asked_for_in_the_median_of_splits_and_starts():
    tasks = [classification.task("digits", False, split=split) for split in range(5)]
    method = classification.method_of("digits", "GGN")
    found = [
        classification.trained(task, method, [0, 20], seed)["test_accuracy"][-1] for task in tasks for seed in range(3)
    ]
    assert np.median(found) >= 91 and np.min(found) >= 88, found


def runs(ggn=93.0, early=60.0, late=95.0, seeds=3, epochs=(0, 1, 5, 20, 50), slow=(0, 1, 5, 20, 50, 100, 200, 2000)):
    """Test accuracies: `ggn` of GGN-SCORE from epoch 1 on; `early` of gradient descent before epoch 200, `late` from then on."""
    quick = {"epochs": list(epochs), "test_accuracy": [[10.0] + [ggn] * (len(epochs) - 1)] * seeds}
    gd = {"epochs": list(slow), "test_accuracy": [[10.0] + [early if e < 200 else late for e in slow[1:]]] * seeds}
    return {"GGN": quick, "GD": gd, "GD 1/k": gd}


@pytest.mark.parametrize(
    ("changed", "refused"),
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
def test_few_right_a_small_lead_and_an_equally_quick_gradient_descent_are_refused(changed, refused):
    assert sum(not holds for holds in verdicts(optdigits.checks(runs(**changed), quick=False)).values()) == refused


def test_one_bad_seed_is_refused():
    one_bad = runs()
    one_bad["GGN"]["test_accuracy"] = [*one_bad["GGN"]["test_accuracy"][:2], [10.0, 85.0, 85.0, 85.0, 93.0]]
    refused = [name for name, holds in verdicts(optdigits.checks(one_bad, quick=False)).items() if not holds]
    assert refused == ["test accuracy of GGN-SCORE after 20 epochs, least [%]"]


def test_where_gradient_descent_never_arrives_its_last_epoch_counts():
    assert classification.reached(runs(late=80.0)) is None
    assert classification.epochs_ratio(runs(late=80.0)) == 2000 / 50
    assert classification.epochs_ratio(runs()) == 200 / 50
    slow = {label: run | {"seconds": [range(len(run["epochs"]))] * 3} for label, run in runs(late=80.0).items()}
    assert "gradient descent from 1 did not in 7 s (2000 epochs)" in classification.times(slow)


def test_epochs_are_ascending_and_contain_those_the_checks_ask_for():
    for last in (5, 20, 50, 2000):
        epochs = classification.saved_at(last)
        assert (
            epochs == sorted(set(epochs))
            and epochs[0] == 0
            and epochs[-1] == last
            and 5 in epochs
            and (last < 20 or 20 in epochs)
        )


def test_losses_and_accuracies_are_those_of_the_definition():
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


def test_a_run_is_that_of_iterate():
    """The loop by epochs takes the steps that `iterate` takes with the same key."""
    rng = np.random.default_rng(0)
    net = classification.network(3, 4, 2, "relu")
    x, y = rng.normal(size=(10, 3)), np.eye(2)[rng.integers(0, 2, 10)]
    task = classification.Task(net, *map(jnp.asarray, (x, y, x, y)))
    for method in (
        rg.GGNScore(rg.PseudoHuberPenalty(2.0), 1e-4, 1.0, batch_size=4, order="shuffled"),
        rg.GradientDescent(1.0, 4, "shuffled", True),
    ):
        found = classification.trained(task, method, (0, 1, 3), seed=5)
        key = jax.random.fold_in(jax.random.key(5), 1)
        traj = rg.iterate(task.problem(5), method, steps=9, save_every=3, key=key, spectra=False)
        np.testing.assert_allclose(found["train"], np.asarray(traj.losses)[[0, 1, 3]], rtol=1e-10)
        assert abs(found["mean_step"] - float(traj.ts[-1]) / 9) < 1e-12


def test_the_data_are_split_and_scaled_as_said():
    task = classification.task("digits", True)
    assert task.x.shape == (1347, 64) and task.x_test.shape == (450, 64) and task.y.shape == (1347, 10)
    assert float(task.x.min()) == 0.0 and float(task.x.max()) == 1.0
    np.testing.assert_array_equal(task.y.sum(axis=1), 1.0)
    assert classification.scaled("letter", np.array([0.0, 15.0])).tolist() == [-1.0, 1.0]
    assert classification.scaled("pendigits", np.array([100.0])).tolist() == [100.0]
    assert classification.scaled("pendigits", np.array([100.0]), variant=True).tolist() == [1.0]
