"""The teaching apps run, show the right numbers, and compile nothing when a slider moves."""

import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import scipy.integrate

from figures.apps import conditioning, damping, output_scale

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
BOTH = ("gf", "gn")
ENDS = [
    (conditioning, {"cond": 1.0, "bend": 0.0, "names": BOTH}, "The <strong>gradient flow</strong> at cond(A) = 1:"),
    (
        conditioning,
        {"cond": 1e3, "bend": 1.0, "names": BOTH},
        "The <strong>Gauss-Newton flow</strong> at cond(A) = 1e+03:",
    ),
    (output_scale, {"alpha": 0.2}, "stops at t = 0.425"),
    (output_scale, {"alpha": 1e3}, "gradient decays at the rate <strong>1.000</strong>"),
    (damping, {"damping": 1e-4, "cond": 1.0, "schedule": "constant"}, "gain <strong>1</strong>"),
    (damping, {"damping": 10.0, "cond": 1e8, "schedule": "exponential"}, "gain <strong>1e-09</strong>"),
]
APPS = {"conditioning": conditioning, "output_scale": output_scale, "damping": damping}


def shown(outputs) -> str:
    return "\n".join(output.text for output in outputs if output is not None)


@pytest.mark.parametrize("name", APPS)
def test_app_runs(name):
    text = shown(APPS[name].app.run()[0])
    assert "<h1" in text and "What to do:" in text and "<h2" in text and "marimo-slider" in text
    questions = re.search(r"<marimo-accordion data-labels='([^']*)'", text)
    assert questions and 2 <= questions.group(1).count("?") <= 4


@pytest.mark.parametrize(("app", "values", "words"), ENDS)
def test_app_text_at_the_ends_of_its_sliders(app, values, words):
    assert words in shown(app.app.run(defs=values)[0])


@pytest.mark.parametrize("cond", [1.0, 1e3])
def test_conditioning_has_closed_forms(cond):
    for name in BOTH:
        assert np.abs(conditioning.follow(name, cond, 0.0).outputs - conditioning.closed_form(name, cond)).max() < 1e-7
    assert (
        np.abs(conditioning.follow("gn", cond, 1.0).outputs - conditioning.closed_form("gn", cond)).max() < 1e-7
    )  # the bend does not matter
    assert np.linalg.cond(conditioning.coordinates(cond)) == pytest.approx(cond)


def test_gradient_flow_depends_on_bend_and_coordinates():
    straight = conditioning.closed_form("gf", 1.0)
    assert np.abs(conditioning.follow("gf", 1.0, 1.0).outputs - straight).max() > 0.1
    assert np.abs(conditioning.closed_form("gf", 1e3) - straight).max() > 0.5


def neuron(w):
    """`phi`, `phi'`, `phi''` of the neuron, each (2,)."""
    x = output_scale.INPUTS
    tanh, slope = np.tanh(w * x), x / np.cosh(w * x) ** 2
    return w * tanh, tanh + w * slope, 2 * slope - 2 * w * x * slope * tanh


def test_output_scale_stops_when_the_weight_is_zero():
    """`w' = -<phi', alpha (phi - phi_0) - y> / (alpha |phi'|^2)`: time to w = 0 is an integral."""
    alpha, start = 0.2, neuron(1.0)[0]

    def slowness(w):
        phi, slope, _ = neuron(w)
        return alpha * slope @ slope / (slope @ (alpha * (phi - start) - output_scale.TARGET))

    traj = output_scale.follow(alpha)
    assert output_scale.stopped(traj)
    assert float(traj.ts[-1]) == pytest.approx(scipy.integrate.quad(slowness, 0.0, 1.0)[0], rel=1e-5)


def test_large_output_scale_shows_the_kernel_law():
    traj = output_scale.follow(1e3)
    measured, predicted = output_scale.rates(traj)
    assert not output_scale.stopped(traj) and abs(measured - 1) < 1e-3 and abs(predicted - 1) < 1e-3
    assert np.linalg.norm(np.asarray(traj.outputs) - output_scale.kernel_law(traj), axis=1).max() < 1e-3


def test_output_scale_rate_is_the_riemannian_hessian():
    measured, predicted = output_scale.rates(output_scale.follow(1.0))
    assert abs(measured - predicted) < 2e-3 < 0.1 < predicted - 1


@pytest.mark.parametrize("alpha", [0.2, 1e3])
def test_output_scale_curvature_is_that_of_the_curve(alpha):
    _, slope, second = neuron(1.0)
    expected = abs(slope[0] * second[1] - slope[1] * second[0]) / np.linalg.norm(slope) ** 3 / alpha
    assert output_scale.curvature(alpha) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("schedule", damping.SCHEDULES)
@pytest.mark.parametrize(("strength", "cond"), [(1e-4, 1.0), (10.0, 1e8)])
def test_damping_modes_have_closed_forms(schedule, strength, cond):
    measured = damping.modes(damping.follow(strength, cond, schedule))
    assert np.abs(measured - damping.closed_form(damping.TIMES, strength, cond, schedule)).max() < 1e-6
    reached = damping.time_to(damping.DONE, strength, cond, schedule)
    assert damping.closed_form([reached], strength, cond, schedule)[0, -1] == pytest.approx(damping.DONE)


def test_damping_times_match_the_questions():
    times = {
        schedule: [damping.time_to(1e-3, 10.0, cond, schedule) for cond in (1e7, 1e8)] for schedule in damping.SCHEDULES
    }
    assert times["constant"][1] / times["constant"][0] == pytest.approx(10.0, rel=1e-6)
    assert times["exponential"][1] - times["exponential"][0] == pytest.approx(np.log(10.0), rel=1e-6)
    assert times["smallest eigenvalue"][1] == times["smallest eigenvalue"][0]


MOVES = [
    (conditioning.follow, ("gf", 3.0, 0.0), ("gf", 300.0, 0.75)),
    (conditioning.follow, ("gn", 3.0, 0.0), ("gn", 300.0, 0.75)),
    (output_scale.follow, (0.3,), (300.0,)),
    (damping.follow, (1e-3, 1e4, "constant"), (0.3, 1.0, "exponential")),
]


@pytest.mark.parametrize(("follow", "before", "after"), MOVES)
def test_moved_slider_compiles_nothing(follow, before, after, caplog):
    follow(*before)
    with jax.log_compiles():
        follow(*after)
    assert "Compiling" not in caplog.text
    with jax.log_compiles():
        jax.jit(lambda x: x * 2.5)(1.5)
    assert "Compiling" in caplog.text


def test_apps_are_well_formed_notebooks():
    files = [str(ROOT / "figures" / "apps" / f"{name}.py") for name in APPS]
    done = subprocess.run([sys.executable, "-m", "marimo", "check", "--strict", *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
