"""Checks of the items on flows with more parameters than outputs."""

import gzip

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from paper_repro.cayci2024 import damping, generalised, images, kernel, mnist, path, steps
from paper_repro.cayci2024.duplicates import Duplicates, duplicates
from paper_repro.cayci2024.schedules import bound, frozen_decay, frozen_time, SCHEDULES, SHARE
from riemgn.data import DataUnavailableError
from riemgn.experiment.reproduce import run_item, Settings
from tests.papers import ITEMS, refusals, verdicts

# --- damping -----------------------------------------------------------------------------------


DAMPING_COND = np.array([1e2, 1e4, 1e6, 1e8, 1e10])


SPECTRUM, EVEN = np.array([1.0, 0.1, 1e-3]), np.ones(3) / np.sqrt(3)


def damping_result(worst=(), **reached):
    """Times as theory says them, of two seeds, with some replaced."""
    times = {
        "gf": 12.6 * DAMPING_COND,
        "constant": 12.6 * (1 + SHARE * DAMPING_COND),
        "residual": 13.8 + 0.04 * DAMPING_COND,
        "spectral": 25 + 0 * DAMPING_COND,
        "gn": 13.8 + 0 * DAMPING_COND,
    }
    times |= {"exponential": 12.6 + np.log(1 + SHARE * DAMPING_COND)} | reached
    good = {"law": 1e-9, "mode_ratio": 1e-4, "excess": 1.0, "departure": 1e-3, "residual_ratio": 0.6}
    return {
        "cond": DAMPING_COND,
        "reached": {name: np.array([row, row]) for name, row in times.items()},
        "worst": good | dict(worst),
    }


DAMPING = refusals(
    "damping",
    lambda changed: damping.checks(damping_result(**changed)),
    [
        ({}, 0),
        ({"gf": 12.6 * DAMPING_COND**0.94}, 1),
        ({"gn": 13.8 * DAMPING_COND**0.021}, 1),
        ({"spectral": 25.0 * DAMPING_COND**-0.021}, 1),
        ({"constant": 1.26 * DAMPING_COND**1.06}, 1),
        ({"residual": 0.04 * DAMPING_COND**0.9}, 1),
        ({"exponential": 12.6 + 1.06 * np.log(DAMPING_COND)}, 1),
        ({"exponential": 12.6 * DAMPING_COND**0.1}, 1),
        ({"gf": np.where(DAMPING_COND > 1e9, np.nan, 12.6 * DAMPING_COND)}, 1),
        ({"worst": {"law": 1e-6}}, 1),
        ({"worst": {"excess": 1.01}}, 1),
        ({"worst": {"departure": 0.04}}, 1),
        ({"worst": {"residual_ratio": 1.01}}, 1),
        ({"worst": {"mode_ratio": np.nan}}, 1),
    ],
)


def test_damping_judges_the_worst_seed():
    result = damping_result()
    result["reached"]["gf"][1] = 12.6 * DAMPING_COND**1.06
    assert not verdicts(damping.checks(result))["GF: exponent of cond(K), worst seed"]


@pytest.mark.parametrize("name", ["gf", "constant", "spectral", "exponential", "gn"])
def test_frozen_times_and_bounds_match_the_modes(name):
    rho, slowest = 0.1, np.array([0.0, 0.0, 1.0])
    time = frozen_time(name, 1e-3, SPECTRUM, EVEN, rho)
    assert np.linalg.norm(EVEN * frozen_decay(name, time, SPECTRUM, rho)) == pytest.approx(1e-3)
    alone = frozen_time(name, 1e-3, SPECTRUM, slowest, rho)
    assert time < alone * (1 + 1e-9)
    assert bound(name, np.array([alone]), SPECTRUM[-1], rho, None)[0] == pytest.approx(1e-3)


def test_residual_damping_is_bounded_by_its_delay():
    assert frozen_time("residual", 1e-3, SPECTRUM, EVEN, 0.1) == pytest.approx(np.log(1e3) + 0.1 * (1 - 1e-3) / 1e-3)
    assert bound("residual", np.array([0.0, 200.0]), 1e-3, 0.1, np.array([1.0, 0.5])).tolist() == [1.0, np.exp(-150.0)]
    with pytest.raises(ValueError, match="residual"):
        frozen_decay("residual", 1.0, SPECTRUM, 0.1)


def test_duplicates_have_their_condition_number_and_modes():
    case = duplicates(1e6, 1e6, 0)
    jac = np.asarray(case.problem.jac(case.problem.w0))
    assert np.linalg.cond(jac) ** 2 == pytest.approx(1e6, rel=1e-3)
    modes = np.linalg.svd(jac)[0].T @ np.asarray(case.problem.outputs(case.problem.w0) - case.problem.y)
    assert np.abs(modes) == pytest.approx(1 / np.sqrt(case.problem.n))
    with pytest.raises(ValueError, match="as well conditioned as 2"):
        duplicates(2.0, 1e6, 0)


# --- digits ------------------------------------------------------------------------------------


DIGITS_COND = np.array([6e3, 1e4])


def digits_result(worst=(), **changed):
    """Two seeds as theory says them, with some numbers replaced."""
    good = {
        "law": 1e-9,
        "excess": 1.0,
        "departure": 1e-2,
        "residual_ratio": 0.6,
        "path": 0.3,
        "quadratic": 1e-3,
        "contraction": 0.5,
    }
    reached = {name: np.full(2, 13.8) for name in SCHEDULES} | {"gf": 0.7 * 13.8 * DIGITS_COND}
    result = {
        "cond": DIGITS_COND,
        "gf_left": [0.75, 0.8],
        "order": [1.8, 2.1],
        "worst": good | dict(worst),
        "reached": reached,
    }
    return result | changed


DIGITS = refusals(
    "digits",
    lambda worst, changed: images.checks(digits_result(worst, **changed)),
    [
        ({}, {}, 0),
        ({"law": 1e-6}, {}, 1),
        ({"excess": 1.01}, {}, 1),
        ({"departure": 0.06}, {}, 1),
        ({"departure": np.nan}, {}, 1),
        ({"residual_ratio": 1.01}, {}, 1),
        ({"path": 1.01}, {}, 1),
        ({"quadratic": 1.01}, {}, 1),
        ({"contraction": 0.51}, {}, 1),
        ({}, {"gf_left": [0.75, 0.05]}, 1),
        ({}, {"order": [2.0, 1.0]}, 1),
        ({}, {"reached": {"gn": np.full(2, 13.8), "gf": 13.8 * DIGITS_COND * [0.7, 0.2]}}, 1),
        ({}, {"reached": {"gn": np.full(2, 13.8), "gf": 13.8 * DIGITS_COND * [0.7, 1.1]}}, 1),
        ({}, {"reached": {"gn": np.full(2, 13.8), "gf": [np.nan, np.nan]}}, 2),
    ],
)


def test_images_and_labels_are_standardised():
    x, y = images.images("digits", 50)
    assert x.shape == (50, 64)
    assert np.abs(x.mean(axis=0)).max() < 1e-14
    assert float(jnp.mean(x**2)) == pytest.approx(1.0)
    assert (float(y.mean()), float(y.std())) == pytest.approx((0.0, 1.0), abs=1e-14)
    assert len(np.unique(y)) == 10


def test_path_share_of_straight_lines():
    def share(x, y):
        problem = rg.Problem(rg.LinearModel(), jnp.zeros(2), x, y)
        return images.path_share(rg.solve(problem, rg.GaussNewtonFlow(), 8.0, ts=np.linspace(0, 8, 80)))

    assert share(jnp.diag(jnp.array([2.0, 0.5])), jnp.array([0.0, 1.0])) == pytest.approx(1.0, abs=1e-7)
    assert share(jnp.diag(jnp.array([2.0, 0.5])), jnp.array([1.0, 0.0])) == pytest.approx(0.25, abs=1e-7)


def test_path_share_of_a_quarter_circle():
    """The share is the length of the arc over the decrease of the residual."""
    angles = np.linspace(0.0, np.pi / 2, 41)
    points = jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    problem = rg.Problem(rg.LinearModel(), points[0], jnp.eye(2), jnp.array([0.0, 0.9]))
    start = rg.solve(problem, rg.GaussNewtonFlow(), 1.0, ts=np.linspace(0, 1, 41))
    path = eqx.tree_at(lambda traj: (traj.params, traj.outputs, traj.sigma_min), start, (points, points, jnp.ones(41)))
    fall = np.hypot(1, 0.9) - 0.1
    assert images.path_share(path) == pytest.approx(np.pi / 2 / fall, rel=1e-7)


# --- mnist -------------------------------------------------------------------------------------


def test_missing_mnist_is_no_data(tmp_path, monkeypatch):
    def nothing(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("sklearn.datasets.fetch_openml", nothing)
    with pytest.raises(DataUnavailableError, match="mnist"):
        mnist.data(True, data_dir=str(tmp_path))
    assert (
        run_item(ITEMS["cayci2024/mnist"], Settings(out=tmp_path / "out", quick=True, data_dir=str(tmp_path))).verdict
        == "no data"
    )


def test_mnist_comes_from_the_data_folder(tmp_path):
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


# --- generalised -------------------------------------------------------------------------------


NU = np.array([0.05, 0.01])


def generalised_result(law=1e-9, inside=2.0, plain=2.0, damped=1.5):
    """Rates as theory says them of two seeds, the last one of the Poisson loss replaced."""

    def replaced(usual, value):
        rows = {loss: np.array([usual, usual]) for loss in generalised.LOSSES}
        rows["Poisson"][1, 1] = value
        return rows

    rates = {
        "law": replaced([1e-9, 1e-9], law),
        "inside": replaced([2.0, 2.0], inside),
        "plain": replaced(2 * NU, plain * NU[1]),
    }
    return {"nu": NU, "factors": np.array([0.5]), "damped": np.array([[[1.4, damped]]]), **rates}


GENERALISED = refusals(
    "generalised",
    lambda changed: generalised.checks(generalised_result(**changed)),
    [
        ({}, 0),
        ({"law": 1e-6}, 1),
        ({"law": np.nan}, 1),
        ({"inside": 1.97}, 1),
        ({"plain": 2.06}, 1),
        ({"damped": 1.3}, 1),
        ({"damped": 2.02}, 1),
    ],
)


@pytest.mark.parametrize("loss", generalised.LOSSES)
def test_losses_have_their_modulus_and_optimum(loss):
    problem, _ = generalised.problem_with(loss, 0.01, 0)
    best = generalised.optimum(problem)
    assert np.abs(np.asarray(problem.loss_gradient(best))).max() < 1e-15
    assert float(np.min(np.asarray(problem.loss_hessian(best)))) == pytest.approx(0.01)


def test_excess_loss_equals_the_difference():
    problem, _ = generalised.problem_with("Poisson", 0.01, 0)
    traj = rg.solve(problem, rg.GaussNewtonFlow(), 1.0, ts=[0.0, 1.0])
    difference = np.asarray(traj.losses - problem.loss.infimum(problem.y))
    assert generalised.excess_losses(traj) == pytest.approx(difference, rel=1e-9)
    assert generalised.late_rate(np.linspace(0, 1, 5), np.exp(-3 * np.linspace(0, 1, 5))) == pytest.approx(3.0)


# --- kernel ------------------------------------------------------------------------------------


def kernel_result(alpha=-1.0, flow=-1.0, width=-0.7, kernels=-0.5, **changed):
    x, seeds = np.array([10.0, 100.0, 1000.0]), np.array([1.0, 2.0])
    powers = {"by_alpha": alpha, "by_width": width, "flow": flow, "kernels": kernels}
    measured = {key: x[:, None] ** power * seeds for key, power in powers.items()}
    return {"alphas": x, "widths": x, "kernel_widths": x, **measured, "left": 2.06e-9, "certificate": "holds"} | changed


KERNEL = refusals(
    "kernel",
    lambda changed: kernel.checks(kernel_result(**changed)),
    [
        ({}, 0),
        ({"alpha": -0.5}, 1),
        ({"alpha": -2.0}, 1),
        ({"flow": 0.0}, 1),
        ({"width": -0.3}, 1),
        ({"kernels": -1.0}, 1),
        ({"kernels": 0.0}, 1),  # another closed form: the distance does not fall
        ({"left": 1e-6}, 1),
        ({"certificate": "not applicable"}, 1),
        ({"by_alpha": np.full((3, 2), np.nan)}, 1),
    ],
)


# --- path --------------------------------------------------------------------------------------


ALPHA = np.array([1e2, 1e3, 1e4, 1e5])


def path_result(path_ratio=0.8, dissipation_error=1e-9, order=-1.0, radius=0.1, threshold=2e3):
    """Two seeds of all flows, with what one flow measured in the second seed replaced."""

    def replaced(usual, value):
        rows = {name: np.array([usual, usual]) for name in SCHEDULES}
        rows["residual"][1] = value
        return rows

    return {
        "alpha": ALPHA,
        "displacement": replaced(1 / ALPHA, ALPHA**order),
        "path_ratio": replaced(0 * ALPHA + 0.8, path_ratio),
        "dissipation_error": replaced(0 * ALPHA, dissipation_error),
        "radius": np.array([radius, radius]),
        "threshold": np.array([threshold, threshold]),
    }


PATH = refusals(
    "path",
    lambda changed: path.checks(path_result(**changed)),
    [
        ({}, 0),
        ({"path_ratio": 1.01}, 1),
        ({"path_ratio": np.nan}, 1),
        ({"dissipation_error": 1e-5}, 1),
        ({"order": -0.85}, 1),
        ({"order": -1.15}, 1),
        ({"radius": 5e-5}, 1),
        ({"radius": 5e-5, "threshold": 5e4}, 0),
        ({"threshold": 1e6}, 1),
    ],
)


# --- steps -------------------------------------------------------------------------------------


STEPS_COND, MANY = np.array([1e2, 1e4, 1e6, 1e8, 1e10]), np.array([1e2, 1e3, 1e4])


GROWTH = np.log1p(0.1 * STEPS_COND)


def steps_result(excess=1.0, order=1.0, counts=(), frozen=()):
    """Counts as theory says them, of two seeds, with some replaced."""
    taken = {"exponential": 6 + GROWTH, "spectral": 19 + 0 * STEPS_COND, "gn": 2 + 0 * STEPS_COND}
    taken |= {"gd": 12.6 * MANY, "constant": 1.26 * MANY, "residual": 10 + 0.04 * MANY}
    predicted = {name: row for name, row in taken.items() if name != "residual"} | dict(frozen)
    taken |= dict(counts)
    return {
        "cond": {name: STEPS_COND if len(row) == len(STEPS_COND) else MANY for name, row in taken.items()},
        "counts": {name: np.array([row, row]) for name, row in taken.items()},
        "frozen": {name: np.array([row, row]) for name, row in predicted.items()},
        "excess": excess,
        "sizes": steps.SIZES,
        "distances": {"gn": np.array([0.2 * steps.SIZES**order] * 2)},
    }


STEPS = refusals(
    "steps",
    lambda changed: steps.checks(steps_result(**changed)),
    [
        ({}, 0),
        ({"excess": 1.02}, 1),
        ({"order": 1.11}, 1),
        ({"order": 0.5}, 1),
        ({"counts": {"gn": np.array([1.0, 2, 2, 3, 5])}}, 1),
        ({"counts": {"spectral": 19 * (STEPS_COND / 1e2) ** 0.03}}, 2),
        ({"counts": {"exponential": 6 + 1.2 * GROWTH}}, 2),
        ({"counts": {"gd": 12.6 * MANY**1.06}}, 2),
        ({"counts": {"constant": np.array([126.0, np.nan, np.nan])}}, 2),
        ({"counts": {"residual": 20 + 0.1 * MANY}}, 1),
        ({"frozen": {"constant": 1.3 * MANY}}, 1),
        ({"frozen": {"spectral": 21 + 0 * STEPS_COND}}, 1),
    ],
)


def test_step_counts_of_a_frozen_kernel():
    case = Duplicates(None, np.array([1.0, 0.5]), np.array([0.0, 1.0]), 0.0)
    assert steps.frozen_count("spectral", case) == np.ceil(np.log2(1e6))
    assert steps.frozen_count("gd", case) == np.ceil(np.log2(1e6))
    assert steps.frozen_count("constant", case) == np.ceil(np.log(1e6) / np.log(6.0))
    assert steps.frozen_count("gn", case) == 1
    rho = steps.SHARE * np.exp(-np.arange(20))
    assert steps.frozen_count("exponential", case) == 1 + np.argmax(np.cumprod(rho / (0.5 + rho)) < 1e-6)


@pytest.mark.parametrize(("checks", "arguments", "refused"), [*DAMPING, *DIGITS, *GENERALISED, *KERNEL, *PATH, *STEPS])
def test_checks_refuse(checks, arguments, refused):
    assert sum(not holds for holds in verdicts(checks(*arguments)).values()) == refused
