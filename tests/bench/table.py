"""The table of the benchmarks, printed row by row."""

from collections.abc import Sequence
from typing import Any

COLUMNS = (  # title and width, negative if the column is flush left
    *(("work", -50), ("ours [s]", 8), ("error", 6), ("first [s]", 9)),
    *(("peer", -34), ("peer [s]", 8), ("error", 6), ("first [s]", 9)),
    *(("ratio", 6), ("at least", 8), ("met", -3)),
)


def print_machine(machine: dict[str, Any]) -> None:
    """Print the line above the rows."""
    numpy, jax = machine["gflops_numpy"], machine["gflops_jax"]
    rate = f"float64 matrix products at {numpy:.0f} (numpy) and {jax:.0f} (jax) GFLOP/s"
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    computer = f"{machine['processor']}, {machine['cores']} cores, load {machine['load']:.1f}"
    print(f"{computer}; {rate}; Python {machine['python']}, {versions}\n", flush=True)


def print_row(row: Any, first: bool) -> None:
    """Print one line of a Markdown table at once, so that an interrupt loses no row."""
    if first:
        _print_cells([title for title, _ in COLUMNS])
        print("|" + "|".join("-" * (abs(width) + 2) for _, width in COLUMNS) + "|", flush=True)
    ratio = "-" if row.ratio is None else f"{'> ' if row.peer.over else ''}{_short_ratio(row.ratio)}"
    verdict = {None: "-", True: "yes", False: "no"}[row.met]
    noted = row.ours.note and (row.peer is None or row.ours.seconds is None)
    work = f"{row.work} ({row.ours.note})" if noted else row.work
    peer = ["-"] * 4 if row.peer is None else [_named(row.peer), *_timing_cells(row.peer)]
    target = "-" if row.at_least is None else _short_ratio(row.at_least)
    _print_cells([work, *_timing_cells(row.ours), *peer, ratio, target, verdict])


def _print_cells(cells: Sequence[str]) -> None:
    padded = [
        cell.ljust(-width) if width < 0 else cell.rjust(width) for cell, (_, width) in zip(cells, COLUMNS, strict=True)
    ]
    print("| " + " | ".join(padded) + " |", flush=True)


def _named(timing: Any) -> str:
    """Return the contender, with the reason if it has no time."""
    return timing.name if timing.seconds is not None else f"{timing.name} ({timing.note})"


def _timing_cells(timing: Any) -> list[str]:
    """Return seconds, error and seconds of the first call."""
    seconds = "-" if timing.seconds is None else f"{'> ' if timing.over else ''}{timing.seconds:.2g}"
    return [
        seconds,
        "-" if timing.error is None else f"{timing.error:.0e}",
        "-" if timing.first_call is None else f"{timing.first_call:.2g}",
    ]


def _short_ratio(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
