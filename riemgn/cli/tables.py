"""What the command line prints: one table for each command."""

import sys
from collections.abc import Sequence
from typing import Any

PIPED_WIDTH = 160  # columns of a table where no terminal says

BENCH_COLUMNS = (  # title, width; negative: from the left
    ("work", -50), ("ours [s]", 8), ("error", 6), ("first [s]", 9), ("peer", -34), ("peer [s]", 8), ("error", 6), ("first [s]", 9),
    ("ratio", 6), ("at least", 8), ("met", -3),
)  # fmt: skip


def print_pairs(title: str, pairs: dict[str, str]) -> None:
    """Names, each with its text."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 2))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, text in pairs.items():
        table.add_row(name, text)
    console = _console()
    console.print(table)
    console.print()


def print_run(record: Any, files: dict[str, str]) -> None:
    """How one solve went, and where it was saved."""
    spec, stats, summary = record.spec, record.metadata["stats"], record.metadata["summary"]
    arrow = {name: f"{ends[0]:.6g} -> {ends[1]:.6g}" for name, ends in summary.items() if isinstance(ends, list)}
    rows = {
        "result": record.metadata["result"],
        "why": record.metadata["message"],
        "time": f"0 -> {summary['t_end']:.6g} of {spec.t1:g} (the flow's own)",
        "loss": arrow["losses"],
        "gradient norm": arrow["grad_norms"],
        "sigma_min(J)": arrow["sigma_min"],
        "sizes": f"n = {record.metadata['n']} outputs, p = {record.metadata['p']} parameters, rank {stats['rank']}",
        "cond(J) at start": f"{stats['cond']:.4g}",
        "solver": f"{stats['solver']}, {stats['num_steps']} steps ({stats['num_rejected_steps']} rejected); {stats['solver_reason']}",
        "accuracy": f"{stats['accuracy']}, {record.metadata['dtype']} on {record.metadata['device']}",
        "error of outputs": ""
        if summary["max_error"] is None
        else f"{summary['max_error']:.3g} (against 100 times tighter)",
        "seconds": f"{record.metadata['seconds']:.3g}",
        "spec": spec.hash[:16],
        **{f"saved {kind}": path for kind, path in files.items()},
    }
    print_pairs(
        f"{spec.flow} on {spec.data}, width {spec.width}, alpha {spec.alpha:g}", {k: v for k, v in rows.items() if v}
    )


def print_sweep(name: str, runs: Any, axes: Sequence[str], results: dict[str, int], folder: str) -> None:
    """One row for every point of the axes and every flow: medians over the seeds, and how many of them did not end as they should."""
    from rich.table import Table

    table = Table(title=f"{name}: {len(runs)} runs; medians over seeds", title_justify="left")
    numbers = {
        "loss at the end": "loss_end",
        "sigma_min(J)": "sigma_min_end",
        "steps": "num_steps",
        "seconds": "seconds",
    }
    for title in (*axes, "flow", "seeds", *numbers, "results"):
        table.add_column(title, justify="left" if title in ("flow", "results") else "right", overflow="fold")
    for key, group in runs.groupby([*axes, "flow"], sort=False, dropna=False):
        counts = group["result"].value_counts()
        medians = [
            _short(group[column].astype(float).median()) if column in group else "-" for column in numbers.values()
        ]
        point = [f"{value:.6g}" if isinstance(value, float) else str(value) for value in key]
        table.add_row(
            *point, str(len(group)), *medians, ", ".join(f"{count} {result}" for result, count in counts.items())
        )
    console = _console()
    console.print(table)
    console.print(f"{len(runs)} runs: " + ", ".join(f"{count} {result}" for result, count in results.items()))
    console.print(f"records in '{folder}': riemgn.load_runs reads them as one table")


def print_outcomes(outcomes: Sequence[Any]) -> None:
    """One row an item of a paper, its checks below it, the notes at the end."""
    from rich.table import Table

    from ..experiment.verdict import RELATIONS

    table = Table(title="reproduced", title_justify="left", show_lines=False)
    for name in ("paper", "item", "claim", "predicted", "measured", "verdict", "seconds", "picture"):
        table.add_column(name, justify="right" if name in ("measured", "seconds") else "left", overflow="fold")
    for outcome in outcomes:
        item = outcome.item
        picture = str(outcome.pictures.get("png", "-"))
        table.add_row(item.paper, item.id, item.claim, "", "", outcome.verdict, f"{outcome.seconds:.1f}", picture)
        for check in outcome.checks:
            predicted = (
                f"{RELATIONS[check['relation']]} {_short(check['predicted'])} (tol {_short(check['tolerance'])})"
            )
            verdict = "holds" if check["holds"] else "fails"
            table.add_row("", "", f"- {check['name']}", predicted, _short(check["measured"]), verdict, "", "")
        table.add_section()
    console = _console()
    console.print(table)
    for outcome in outcomes:
        for note in outcome.notes:
            console.print(f"{outcome.item.name}: {note}")


def print_certificates(ledger: Any) -> None:
    """One row a claim and problem, the worst seed of each, with what it presupposes and what it compares below it."""
    from rich.table import Table

    from ..theory.certificate import RELATIONS

    table = Table(title="certificates", title_justify="left")
    for name in ("claim, problem", "predicted", "measured", "margin", "error", "verdict", "source"):
        table.add_column(name, justify="right" if name in ("measured", "margin", "error") else "left", overflow="fold")
    for entry, counts in ledger.worst():
        seeds = (
            ", ".join(f"{count} {status}" for status, count in counts.items())
            if sum(counts.values()) > 1
            else entry["status"]
        )
        table.add_row(entry["claim"], "", "", "", "", seeds, f"{entry['reference']}, {entry['theory']}", style="bold")
        table.add_row(f"on {entry['subject']}", "", "", "", "", "", "")
        for part in entry["hypotheses"]:
            asked = f"{RELATIONS[part['relation']]} {_short(part['threshold'])}"
            table.add_row(
                f"- presupposes {part['name']}",
                asked,
                _short(part["value"]),
                _short(part["margin"]),
                "",
                part["status"],
                part["constant"],
            )
        for part in entry["conclusions"]:
            slack = f" (within {_short(part['resolution'])})" if part["resolution"] else ""
            numbers = (_short(part["measured"]), _short(part["margin"]), _short(part["error"]))
            asked = f"{RELATIONS[part['relation']]} {_short(part['predicted'])}{slack}"
            table.add_row(f"- {part['name']}", asked, *numbers, part["status"], part["constant"])
        table.add_section()
    console = _console()
    console.print(table)
    total = {
        status: sum(entry["status"] == status for entry in ledger.entries)
        for status in ("holds", "fails", "undecided", "not applicable")
    }
    console.print(
        f"{len(ledger.entries)} certificates: "
        + ", ".join(f"{count} {status}" for status, count in total.items() if count)
    )


def print_machine(machine: dict[str, Any]) -> None:
    """The line above the benchmarks' rows."""
    rate = f"float64 matrix products at {machine['gflops_numpy']:.0f} (numpy) and {machine['gflops_jax']:.0f} (jax) GFLOP/s"
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    print(
        f"{machine['processor']}, {machine['cores']} cores, load {machine['load']:.1f}; {rate}; Python {machine['python']}, {versions}\n",
        flush=True,
    )


def print_row(row: Any, first: bool) -> None:
    """One line of a Markdown table, at once: what is printed stays whatever comes."""
    if first:
        _print_cells([title for title, _ in BENCH_COLUMNS])
        print("|" + "|".join("-" * (abs(width) + 2) for _, width in BENCH_COLUMNS) + "|", flush=True)
    ratio = "-" if row.ratio is None else f"{'> ' if row.peer.over else ''}{_short_ratio(row.ratio)}"
    verdict = {None: "-", True: "yes", False: "no"}[row.met]
    told = row.ours.note and (row.peer is None or row.ours.seconds is None)
    work = f"{row.work} ({row.ours.note})" if told else row.work
    peer = ["-"] * 4 if row.peer is None else [_named(row.peer), *_timing_cells(row.peer)]
    target = "-" if row.at_least is None else _short_ratio(row.at_least)
    _print_cells([work, *_timing_cells(row.ours), *peer, ratio, target, verdict])


def _print_cells(cells: Sequence[str]) -> None:
    padded = [
        cell.ljust(-width) if width < 0 else cell.rjust(width)
        for cell, (_, width) in zip(cells, BENCH_COLUMNS, strict=True)
    ]
    print("| " + " | ".join(padded) + " |", flush=True)


def _named(timing: Any) -> str:
    """The contender, and why there is no time where there is none."""
    return timing.name if timing.seconds is not None else f"{timing.name} ({timing.note})"


def _timing_cells(timing: Any) -> list[str]:
    """Seconds, error, seconds of the first call."""
    seconds = "-" if timing.seconds is None else f"{'> ' if timing.over else ''}{timing.seconds:.2g}"
    return [
        seconds,
        "-" if timing.error is None else f"{timing.error:.0e}",
        "-" if timing.first_call is None else f"{timing.first_call:.2g}",
    ]


def _short_ratio(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _short(value: float | None) -> str:
    return "nan" if value is None else f"{value:.4g}"


def _console() -> Any:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False, markup=False)
