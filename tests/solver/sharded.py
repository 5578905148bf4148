"""Run by test_sharding.py with forced host devices: `python -m tests.solver.sharded FILE`.

Needs JAX_ENABLE_X64=1. Each problem is solved on one device and sharded, and the text of every
compiled program shows what one device holds and what moves. The results are written as JSON.
"""

import importlib
import json
import math
import re
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import riemgn as rg
from tests.helpers import relative_error

SAMPLES = 296  # 8 x 37: no other axis has this length, its double or its half
KINDS = "all-gather|all-reduce|all-to-all|collective-permute|collective-broadcast|reduce-scatter"
MOVES = re.compile(rf"= (\(.*?\)|\S+) ({KINDS})(?:-start)?\(")
SHAPE = re.compile(r"\b[a-z]+\d*\[([\d,]*)\]")
TIGHT = {"rtol": 1e-12, "atol": 1e-14, "step_to_ts": True}
DAMPING = 100.0  # a tenth of the largest eigenvalue: conjugate gradients are then exact to 1e-12
FREE = rg.MatrixFree(rtol=1e-13)


def shapes(text: str) -> list[tuple[int, ...]]:
    return [tuple(int(side) for side in sides.split(",") if side) for sides in SHAPE.findall(text)]


def summary(program) -> dict:
    """Return what one device holds and what moves in a compiled program, in numbers."""
    text = program.as_text()
    moves = [(kind, max(math.prod(shape) for shape in shapes(moved))) for moved, kind in MOVES.findall(text)]
    return {
        "gathering": sorted({kind for kind, _ in moves if kind != "all-reduce"}),
        "summed": max((size for kind, size in moves if kind == "all-reduce"), default=0),
        "largest": max(math.prod(shape) for shape in shapes(text)),
        "sides": sorted({side for shape in shapes(text) for side in shape}),
        "temporary": program.memory_analysis().temp_size_in_bytes,
    }


class CompiledPrograms:
    """Compile the functions of the drivers by hand, so that their programs can be read."""

    def __init__(self):
        self.programs: list[dict] = []
        for module, names in (
            ("riemgn.solver.iterate", ("_start", "_run", "_sample")),
            ("riemgn.solver.solve", ("evaluate_start", "integrate", "sample_rows")),
        ):
            for name in names:
                self.watch(importlib.import_module(module), name)

    def watch(self, module, name: str) -> None:
        function = getattr(module, name)

        def call(*arguments):
            compiled = function.lower(*arguments).compile()
            self.programs.append(summary(compiled.compiled))
            return compiled(*arguments)

        setattr(module, name, call)

    def taken(self) -> list[dict]:
        programs, self.programs = self.programs, []
        return programs


def network(samples: int, hidden: int) -> rg.Problem:
    net, rng = rg.MLP((5, hidden, 2)), np.random.default_rng(0)
    x = rng.standard_normal((samples, 5))
    model = rg.Scaled(rg.Centred(net, net.init(key=jax.random.key(0))), 2.0)
    return rg.Problem(model, net.init(key=jax.random.key(1)), x, np.sin(x[:, :2]))


def iterated(method, **options):
    return lambda problem: rg.iterate(problem, method, steps=4, **options)


def solved(flow, t1: float, **options):
    return lambda problem: rg.solve(problem, flow, t1=t1, ts=[0.0, t1 / 2, t1], **TIGHT, **options)


PRODUCTS = {
    "LM flow": solved(rg.LevenbergMarquardtFlow(DAMPING, matrix_free=FREE), 1.0, loss_tol=1e-9, ball_radius=1e3),
    "LM method": iterated(rg.LevenbergMarquardt(DAMPING, matrix_free=FREE), loss_tol=1e-9, step_tol=1e-9),
    "gradient descent": iterated(rg.GradientDescent(1e-3, line_search=True), spectra=False),
}
FORMED = {"Gauss-Newton flow": solved(rg.GaussNewtonFlow(), 0.1)}


def compared(run, watched: CompiledPrograms) -> dict:
    problem = network(SAMPLES, 6)
    alone = run(problem)
    programs_alone = watched.taken()
    sharded = run(rg.shard(problem))
    names = ("params", "outputs", "losses")
    return {
        "error": max(relative_error(getattr(sharded, name), getattr(alone, name)) for name in names),
        "moved": relative_error(alone.outputs[-1], alone.outputs[0]),
        "n": problem.n,
        "p": problem.p,
        "alone": programs_alone,
        "sharded": watched.taken(),
        "devices": [alone.stats["devices"], sharded.stats["devices"]],
        "codes": [alone.status, sharded.status],
    }


def pointwise(problem: rg.Problem) -> dict[str, jax.Array]:
    v, u = jnp.sin(jnp.arange(problem.p, dtype=float)), jnp.cos(jnp.arange(problem.n, dtype=float))
    f, forward, backward = problem.products(problem.w0)
    value, gradient = jax.value_and_grad(problem.objective)(problem.w0)
    return {"outputs": f, "J v": forward(v), "J^T u": backward(u), "objective": value, "gradient": gradient}


def direction(problem: rg.Problem):
    f, forward, backward = problem.products(problem.w0)
    return FREE.direction(forward, backward, problem.w0, problem.loss_gradient(f), DAMPING).w_dot


def placing(problem: rg.Problem) -> dict:
    """Return for some arrays the number of devices, and the rows on each."""
    on = {"x": problem.x, "y": problem.y, "outputs": eqx.filter_jit(pointwise)(problem)["outputs"]}
    on |= {"weights": jax.tree.leaves(problem.params)[-1], "alpha": problem.model.alpha}
    return {name: [len(array.devices()), array.sharding.shard_shape(array.shape)[:1]] for name, array in on.items()}


def main(path: str) -> None:
    problem, devices = network(SAMPLES, 6), jax.devices()
    sharded = rg.shard(problem)
    expected = eqx.filter_jit(pointwise)(problem)
    results = {
        "placing": {
            "alone": placing(problem),
            "sharded": placing(sharded),
            "two": placing(rg.shard(problem, devices[2:4])),
        },
        "rebuilt": {
            "moved": placing(sharded.with_params(1.1 * sharded.w0)),
            "again": placing(rg.shard(rg.shard(problem, devices[:2]))),
        },
        "pointwise": {
            str(count): {
                name: relative_error(value, expected[name])
                for name, value in eqx.filter_jit(pointwise)(rg.shard(problem, devices[:count])).items()
            }
            for count in (2, 8)
        },
    }
    large = network(8 * 1000, 30)
    results["directions"] = {
        str(count): summary(eqx.filter_jit(direction).lower(rg.shard(large, devices[:count])).compile().compiled)
        for count in (1, 8)
    }
    results["directions"]["entries of J"] = large.n * large.p
    watched = CompiledPrograms()
    results["runs"] = {name: compared(run, watched) for name, run in (PRODUCTS | FORMED).items()}
    with open(path, "w") as file:
        json.dump(results, file)


if __name__ == "__main__":
    main(sys.argv[1])
