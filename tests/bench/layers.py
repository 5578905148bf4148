"""The stiff gradient flows of `stiff.py` with the network as an MLP, whose Jacobian is kept by layers, beside the same network as a function.

Same protocol, with the step control of `solve`, and same flat parameters as `stiff.py`; scipy's integrators only where `peers` is among the
words of the command line.
"""

import functools
import sys

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

import riemgn as rg
from riemgn.model import Weighted
from riemgn.solve import STIFF_GAINS, STIFF_GROWTH
from riemgn.stiff import LowRankChord

from .clock import median_seconds, seconds
from .stiff import Arguments, CASES, CONSOLE, ERROR, loosest, make_problem, PATIENCE, solvers, vector_field


def as_layers(problem: rg.Problem) -> rg.Problem:
    """The same problem with an MLP inside `Weighted`; the flat parameters are the same vector."""
    hidden, out = problem.params["hidden"], problem.params["out"]
    model = Weighted(rg.MLP((hidden.shape[1], out.size, 1), bias=False))
    return rg.Problem(model, [{"weight": hidden}, {"weight": out[None]}], problem.x, problem.y)


@eqx.filter_jit
def integrate(args, ts, tolerance):
    """Parameters at `ts` and the number of steps, by the solver and the step control of `solve`."""
    proportional, integral = STIFF_GAINS
    control = diffrax.PIDController(rtol=tolerance, atol=tolerance, pcoeff=proportional, icoeff=integral, factormax=STIFF_GROWTH)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(vector_field), diffrax.Kvaerno5(root_finder=diffrax.with_stepsize_controller_tols(LowRankChord)()), 0.0, ts[-1], None,
        args.problem.w0, args, stepsize_controller=diffrax.ClipStepSizeController(control, step_ts=ts),
        saveat=diffrax.SaveAt(ts=ts), max_steps=200_000, throw=False,
    )  # fmt: skip
    return solution.ys, solution.stats["num_steps"]


def ours(args, ts, tolerance):
    params, steps = jax.block_until_ready(integrate(args, ts, jnp.asarray(tolerance)))
    return params, int(steps)


def main(wanted: tuple[str, ...], peers: bool = False, repetitions: int = 9) -> None:
    table = Table(title=f"Stiff gradient flow to 3 / lambda_min, output error {ERROR:g}: seconds")
    for column in ("problem", "solver", "rtol", "error", "steps or evaluations", "first call", "median"):
        table.add_column(column)
    for case in wanted:
        plain, horizon = make_problem(*CASES[case])
        ts = jnp.asarray(np.concatenate([[0.0], np.geomspace(1.0, horizon, 24)]))
        for kind, problem in (("layers", as_layers(plain)), ("function", plain)):
            args = Arguments(problem, rg.GradientFlow(), jnp.asarray(min(problem.n, problem.p)))
            works = dict(solvers(args, ts)) | {"riemgn LowRankChord": functools.partial(ours, args, ts)}
            if kind == "layers":
                reference = np.asarray([problem.outputs(w) for w in ours(args, ts, 1e-11)[0]])
            for name, work in works.items():
                if name.startswith("riemgn") or (peers and kind == "layers" and name.startswith("scipy")):
                    first = seconds(lambda work=work: work(1e-5)[0])
                    found = None if first > PATIENCE else loosest(work, problem, reference)
                    if found is None:
                        table.add_row(case, f"{name} {kind}", "-", "-", "-", f"{first:.2f}", "gives up")
                        continue
                    median = median_seconds(lambda work=work, found=found: work(found[0])[0], repetitions)
                    table.add_row(case, f"{name} {kind}", f"{found[0]:g}", f"{found[1]:.1e}", str(found[2]), f"{first:.2f}", f"{median:.4f}")
    CONSOLE.print(table)


if __name__ == "__main__":
    rg.enable_x64()
    words = sys.argv[1:]
    main(tuple(w for w in words if w != "peers") or ("n20-p504-1e6", "n100-p504-1e6", "n20-p48-1e10"), "peers" in words)
