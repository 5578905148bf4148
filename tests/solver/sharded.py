"""Run by test_sharding.py in a process with several forced host devices: `python -m tests.solver.sharded FILE` writes what it saw as JSON.

Needs JAX_ENABLE_X64=1. Every problem is solved as it is and sharded; the text of each program that the drivers compile says what one device holds
and what moves between devices.
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

SAMPLES = 296  # 8 x 37: no other axis here has this length, twice or half of it
MOVES = re.compile(
    r"= (\(.*?\)|\S+) (all-gather|all-reduce|all-to-all|collective-permute|collective-broadcast|reduce-scatter)(?:-start)?\("
)
SHAPE = re.compile(r"\b[a-z]+\d*\[([\d,]*)\]")
TIGHT = {"rtol": 1e-12, "atol": 1e-14, "step_to_ts": True}
DAMPING = 100.0  # about the largest singular values squared over ten: conjugate gradients are then right to a few 1e-12
FREE = rg.MatrixFree(rtol=1e-13)


def shapes(text: str) -> list[tuple[int, ...]]:
    return [tuple(int(side) for side in sides.split(",") if side) for sides in SHAPE.findall(text)]


def seen_in(program) -> dict:
    """What one device holds and what moves, in numbers, of a compiled program."""
    text = program.as_text()
    moves = [(kind, max(math.prod(shape) for shape in shapes(moved))) for moved, kind in MOVES.findall(text)]
    return {
        "gathering": sorted({kind for kind, _ in moves if kind != "all-reduce"}),
        "summed": max((size for kind, size in moves if kind == "all-reduce"), default=0),
        "largest": max(math.prod(shape) for shape in shapes(text)),
        "sides": sorted({side for shape in shapes(text) for side in shape}),
        "temporary": program.memory_analysis().temp_size_in_bytes,
    }


class Watched:
    """The compiled functions of the drivers, each compiled by hand so that its program can be read."""

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
            self.programs.append(seen_in(compiled.compiled))
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


TALL, WIDE = (SAMPLES, 6), (8, 10)
PRODUCTS = {
    "LM flow": (
        TALL,
        solved(rg.LevenbergMarquardtFlow(DAMPING, matrix_free=FREE), 1.0, loss_tol=1e-9, ball_radius=1e3),
    ),
    "gradient flow": (TALL, solved(rg.GradientFlow(matrix_free=True), 0.02)),
    "LM method": (TALL, iterated(rg.LevenbergMarquardt(DAMPING, matrix_free=FREE), loss_tol=1e-9, step_tol=1e-9)),
    "LM method, trust region, n < p": (
        WIDE,
        iterated(rg.LevenbergMarquardt(rg.TrustRegion(DAMPING), matrix_free=FREE)),
    ),
    "gradient descent": (TALL, iterated(rg.GradientDescent(1e-3, line_search=True), spectra=False)),
}
OTHERS = {
    "Gauss-Newton flow": (TALL, solved(rg.GaussNewtonFlow(), 0.1)),
    "Gauss-Newton method, n < p": (WIDE, iterated(rg.GaussNewton(0.5))),
    "LM method, formed": (TALL, iterated(rg.LevenbergMarquardt(DAMPING))),
    "batches": (
        TALL,
        iterated(rg.GramGaussNewton(32, step_size=0.5, damping=10.0), spectra=False, key=jax.random.key(0)),
    ),
}


def compared(size: tuple[int, int], run, watched: Watched) -> dict:
    whole = network(*size)
    alone = run(whole)
    programs_alone = watched.taken()
    dealt = run(rg.shard(whole))
    names = ("params", "outputs", "losses")
    return {
        "error": max(relative_error(getattr(dealt, name), getattr(alone, name)) for name in names),
        "moved": relative_error(alone.outputs[-1], alone.outputs[0]),
        "n": whole.n,
        "p": whole.p,
        "alone": programs_alone,
        "dealt": watched.taken(),
        "devices": [alone.stats["devices"], dealt.stats["devices"]],
        "codes": [alone.status, dealt.status],
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
    """Where arrays lie, and how many rows each device has."""
    on = {"x": problem.x, "y": problem.y, "outputs": eqx.filter_jit(pointwise)(problem)["outputs"]}
    on |= {"weights": jax.tree.leaves(problem.params)[-1], "alpha": problem.model.alpha}
    return {name: [len(array.devices()), array.sharding.shard_shape(array.shape)[:1]] for name, array in on.items()}


def refusal(make) -> str:
    try:
        make()
    except ValueError as error:
        return str(error)
    return ""


def main(path: str) -> None:
    whole, devices = network(*TALL), jax.devices()
    dealt = rg.shard(whole)
    expected = eqx.filter_jit(pointwise)(whole)
    found = {
        "placing": {"alone": placing(whole), "dealt": placing(dealt), "two": placing(rg.shard(whole, devices[2:4]))},
        "rebuilt": {
            "moved": placing(dealt.with_params(1.1 * dealt.w0)),
            "again": placing(rg.shard(rg.shard(whole, devices[:2]))),
        },
        "pointwise": {
            str(count): {
                name: relative_error(value, expected[name])
                for name, value in eqx.filter_jit(pointwise)(rg.shard(whole, devices[:count])).items()
            }
            for count in (1, 2, 8)
        },
        "refusal": refusal(lambda: rg.shard(network(100, 3))),
    }
    large = network(8 * 1000, 30)
    found["directions"] = {
        str(count): seen_in(eqx.filter_jit(direction).lower(rg.shard(large, devices[:count])).compile().compiled)
        for count in (1, 2, 8)
    }
    found["directions"]["entries of J"] = large.n * large.p
    watched = Watched()
    found["runs"] = {name: compared(size, run, watched) for name, (size, run) in (PRODUCTS | OTHERS).items()}
    with open(path, "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main(sys.argv[1])
