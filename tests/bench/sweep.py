"""A sweep of ten thousand small problems: its overhead per cell and its peak memory. No peer.

One program solves 64 circles, and each circle gets a record of two files. The row is the time of
the whole sweep. Its note gives the time per cell without the solves and the compilation, that is
for problems, records and the final table.
"""

import tempfile
from collections.abc import Iterator

import numpy as np

import riemgn as rg
from tests.bench.compare import Runner, timed
from tests.bench.large import peak_bytes
from tests.bench.row import Row, Timing

CELLS = {False: (100, 100), True: (16, 16)}


def rows(runner: Runner) -> Iterator[Row]:
    angles, radii = CELLS[runner.quick]
    axes = {"angle": np.linspace(0.1, 1.4, angles).tolist(), "radius": np.linspace(1.0, 2.0, radii).tolist()}
    with tempfile.TemporaryDirectory() as folder:
        seconds, table = timed(
            lambda: rg.sweep(rg.task.circle, axes=axes, flows=[rg.GaussNewtonFlow()], t1=1.0, out=folder)
        )
    compilation = table.groupby("compile_seconds")["compile_seconds"].first().sum()
    overhead = 1e3 * (seconds - table["seconds"].sum() - compilation) / len(table)
    assert set(table["result"]) == {"successful"}
    note = f"overhead {overhead:.2f} ms per cell, peak {peak_bytes() / 1e9:.2f} GB"
    yield Row(f"sweep of {len(table)} circles", Timing("riemgn", seconds, note=note))
