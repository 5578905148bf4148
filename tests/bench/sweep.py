"""A sweep of many small cells: what it takes beside the solves themselves, and whether its memory stays flat. No peer.

Ten thousand circles, 64 in one program, a record of two files for each. The row is the whole sweep; its note says what remains for a cell when the
solves and the compilation are taken off (building the problems, records, the table read at the end), and the peak memory of the process.
"""

import tempfile
from collections.abc import Iterator

import numpy as np

import riemgn as rg
from tests.bench.clock import seconds
from tests.bench.contest import Contest
from tests.bench.large import peak_bytes
from tests.bench.row import Row, Timing

CELLS = {False: (100, 100), True: (16, 16)}


def rows(bench: Contest) -> Iterator[Row]:
    angles, radii = CELLS[bench.quick]
    axes = {"angle": np.linspace(0.1, 1.4, angles).tolist(), "radius": np.linspace(1.0, 2.0, radii).tolist()}
    kept = []
    with tempfile.TemporaryDirectory() as folder:
        spent = seconds(
            lambda: kept.append(rg.sweep(rg.task.circle, axes=axes, flows=[rg.GaussNewtonFlow()], t1=1.0, out=folder))
        )
    table = kept[0]
    compiling = table.groupby("compile_seconds")["compile_seconds"].first().sum()
    beside = 1e3 * (spent - table["seconds"].sum() - compiling) / len(table)
    note = f"{beside:.2f} ms a cell beside the solves, peak {peak_bytes() / 1e9:.2f} GB"
    assert set(table["result"]) == {"successful"}
    yield Row(f"sweep of {len(table)} circles", Timing("riemgn", spent, note=note))
