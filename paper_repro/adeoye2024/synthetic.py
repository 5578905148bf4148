"""Run one variant of the synthetic experiments, and draw its curves over seeds.

Seconds are processor times of the steps alone, without compilation and without the evaluation of
what is plotted. The clock of the released code includes the evaluation of both losses.
"""

import time

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import riemgn as rg
from riemgn.experiment.checkpoint import checkpointed
from riemgn.method import MethodState
from riemgn.plot.caption import band

from .measures import zeros
from .network import initial, network, problem_of, teacher_data, TeacherData
from .variants import ALPHA, flops, look, method_of, Setting, TAU, Variant

MANTISSAS = (1, 2, 3, 4, 5, 6, 8)
ERROR = 10.0  # golden rtol of chaotic or rounding-sized numbers: ten times their tolerance


def drawn(setting: Setting, seed: int) -> tuple[rg.MLP, list, TeacherData]:
    """Network, weights and data of a seed, the same for every variant and point of a sweep."""
    data_key, weight_key = jr.split(jr.key(seed))
    net = network(setting.inputs, setting.width)
    return net, initial(net, weight_key), teacher_data(setting.train, setting.test, setting.inputs, data_key)


def checkpoints(steps: int) -> list[int]:
    """0, then 1, 2, 3, 4, 5, 6, 8 times the powers of ten up to `steps`, and `steps`.

    >>> checkpoints(25)
    [0, 1, 2, 3, 4, 5, 6, 8, 10, 20, 25]
    """
    counts = {mantissa * 10**power for power in range(len(str(steps))) for mantissa in MANTISSAS}
    return [0, *sorted({count for count in counts if count < steps} | {steps})]


@eqx.filter_jit
def advanced(problem, method, w, memory, halvings, done, steps):
    """Parameters, memory, last step size and halvings after `steps` steps from step `done`.

    The program is the same for any number of steps. It returns only the size of a step, so XLA
    drops the rest.
    """
    blank = method.init(problem, w, jnp.asarray(problem.n)).report

    def body(i, carry):
        w, memory, _, halvings = carry
        w, state = method.step(problem, w, MethodState(jnp.zeros(()), done + i, memory, blank), jr.key(0))
        size = state.report["step_size"]
        return w, state.memory, size, halvings + jnp.log2(method.step_size / size)

    return jax.lax.fori_loop(0, steps, body, (w, memory, jnp.zeros(()), halvings))


@eqx.filter_jit
def measured(problem, x_test, y_test, w, mu, tau):
    """Losses on training and test rows, norms of `w`, and the penalised loss."""
    test = problem.loss(problem.model(problem.unflatten(w), x_test).reshape(-1), y_test)
    train, sizes = problem.objective(w), jnp.sum(jnp.abs(w))
    smooth = train + tau * jnp.sum(jnp.sqrt(mu**2 + w**2) - mu)
    return {
        "train": train,
        "test": test,
        "reported": train + tau * sizes,
        "objective": smooth,
        "norm": jnp.linalg.norm(w),
    }


@checkpointed
def run(
    setting: Setting,
    variant: Variant,
    seed: int,
    steps: tuple[int, ...],
    mu: float | None = None,
    tau: float = TAU,
    recycle: bool = False,
) -> dict:
    """Run one variant and measure it after each number of `steps`.

    Returns: arrays over the checkpoints, and `zeros` of the final `w`. They are `train` and `test`
    loss `f`, `reported = f + tau |w|_1` (what the released code reports), `objective = f + tau sum
    h_mu` (what it minimises), `norm`, `step_size`, `seconds`, `flops` and `halvings` of the line
    search. After an overflow the values are NaN. With `recycle` GGN-SCORE computes the same steps
    faster, see `rg.GGNScore`.
    """
    mu = setting.smoothing if mu is None else mu
    net, params, data = drawn(setting, seed)
    problem = problem_of(net, params, data.x, data.y, variant.preset, gradient=variant.method == "GD")
    method = method_of(variant, setting, mu, tau, recycle)
    w, halvings = problem.w0, jnp.zeros(())
    memory = method.init(problem, w, jnp.asarray(problem.n)).memory
    jax.block_until_ready(advanced(problem, method, w, memory, halvings, jnp.asarray(0), jnp.asarray(0)))  # compiles
    rows, seconds, done = [], 0.0, 0
    for count in steps:
        start = time.process_time()
        more = advanced(problem, method, w, memory, halvings, jnp.asarray(done), jnp.asarray(count - done))
        w, memory, size, halvings = jax.block_until_ready(more)
        seconds, done = seconds + time.process_time() - start, count
        values = {
            key: float(value)
            for key, value in measured(problem, data.x_test, data.y_test, w, jnp.asarray(mu), jnp.asarray(tau)).items()
        }
        work = flops(setting, variant, count, float(halvings))
        rows.append(
            {**values, "step_size": float(size), "seconds": seconds, "flops": work, "halvings": float(halvings)}
        )
    return {key: np.array([row[key] for row in rows]) for key in rows[0]} | {
        "zeros": zeros(w) if bool(jnp.all(jnp.isfinite(w))) else None
    }


def stacked(runs: list[dict]) -> dict:
    """Runs of several seeds as one record, (seeds, checkpoints) and (seeds,)."""
    return {key: np.array([run[key] for run in runs], dtype=float) for key in runs[0]}


def records(setting: Setting, variants: dict[Variant, int], seeds: int) -> list[dict]:
    """Curves of every variant over its number of steps, (seeds, checkpoints)."""
    collected = []
    for variant, steps in variants.items():
        counts = checkpoints(steps)
        runs = [run(setting, variant, seed, tuple(counts)) for seed in range(seeds)]
        collected.append({"variant": variant.label, "steps": counts, **stacked(runs)})
    return collected


def curve(result: dict, variant: Variant) -> dict:
    """The record of a variant."""
    return next(record for record in result["runs"] if record["variant"] == variant.label)


def after(result: dict, variant: Variant, count: int, key: str = "test") -> np.ndarray:
    """The values of all seeds after `count` steps."""
    record = curve(result, variant)
    return np.asarray(record[key], dtype=float)[:, list(record["steps"]).index(count)]


def draw_curve(ax, result: dict, variant: Variant, against: str = "steps", key: str = "test", **more) -> None:
    """Draw median and band of `key` against steps, seconds or flops of the median run."""
    record = curve(result, variant)
    places = np.asarray(record["steps"]) if against == "steps" else np.median(record[against], axis=0)
    band(ax, places[1:], np.asarray(record[key])[:, 1:], **look(variant, **more))


def setup(setting: Setting, seeds: int, tolerance: str, **words) -> dict:
    """The caption's words: the size that was drawn is in `data`."""
    spread = "0" if seeds == 1 else f"0-{seeds - 1} (line: median, band: least to largest)"
    common = {"n": setting.train, "p": setting.p, "alpha": f"{ALPHA:g} (GGN)", "rho": "-"}
    return {"data": setting.words, **common, "seeds": spread, "tolerance": tolerance, **words}
