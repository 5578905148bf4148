"""The tables that the commands print. They fit 80 columns, or the terminal if that is wider."""

import shutil
import textwrap
from collections.abc import Sequence
from typing import Any


def width() -> int:
    """Return the number of columns, which defaults to 80 and grows with the terminal."""
    return max(80, shutil.get_terminal_size().columns)


def print_pairs(title: str, pairs: dict[str, str]) -> None:
    """Print names, each with its text."""
    print(title)
    longest = max(map(len, pairs))
    for name, text in pairs.items():
        _print_wrapped(text, f"  {name:<{longest}}  ")
    print()


def print_run(record: Any, files: dict[str, str]) -> None:
    """Print how one solve went and where it was saved."""
    spec, stats, summary = record.spec, record.metadata["stats"], record.metadata["summary"]
    ends = {name: f"{pair[0]:.6g} -> {pair[1]:.6g}" for name, pair in summary.items() if isinstance(pair, list)}
    steps = f"{stats['num_steps']} steps ({stats['num_rejected_steps']} rejected)"
    error = "" if summary["max_error"] is None else f"{summary['max_error']:.3g} (tolerances 100 times smaller)"
    rows = {
        "result": record.metadata["result"],
        "message": record.metadata["message"],
        "time": f"0 -> {summary['t_end']:.6g} of {spec.t1:g} (time of the flow)",
        "loss": ends["losses"],
        "gradient norm": ends["grad_norms"],
        "sigma_min(J)": ends["sigma_min"],
        "sizes": f"n = {record.metadata['n']} outputs, p = {record.metadata['p']} parameters, rank {stats['rank']}",
        "cond(J) at start": f"{stats['cond']:.4g}",
        "solver": f"{stats['solver']}, {steps}; {stats['solver_reason']}",
        "accuracy": f"{stats['accuracy']}, {record.metadata['dtype']} on {record.metadata['device']}",
        "error of outputs": error,
        "seconds": f"{record.metadata['seconds']:.3g}",
        "spec": spec.hash[:16],
        **{f"saved {kind}": path for kind, path in files.items()},
    }
    title = f"{spec.flow} on {spec.data}, width {spec.width}, alpha {spec.alpha:g}"
    print_pairs(title, {name: text for name, text in rows.items() if text})


def print_sweep(name: str, runs: Any, axes: Sequence[str], results: dict[str, int], folder: str) -> None:
    """Print one row for each flow and point of the axes: medians over the seeds, and results."""
    import pandas as pd

    medians = {"loss": "loss_end", "sigma_min(J)": "sigma_min_end", "steps": "num_steps", "seconds": "seconds"}
    rows = []
    for key, group in runs.groupby([*axes, "flow"], sort=False, dropna=False):
        row = {**dict(zip((*axes, "flow"), key, strict=True)), "seeds": len(group)}
        for title, column in medians.items():
            row[title] = _short(group[column].astype(float).median()) if column in group else "-"
        rows.append({**row, "results": _counted(group["result"].value_counts())})
    print(f"{name}: {len(runs)} runs; values at the end, medians over seeds")
    print(pd.DataFrame(rows).to_string(index=False, line_width=width()))
    print(f"{len(runs)} runs: {_counted(results)}")
    print(f"The records are in '{folder}'. Load them with riemgn.load_runs.")


def print_outcomes(outcomes: Sequence[Any]) -> None:
    """Print each item of a paper with its checks and notes."""
    from ..experiment.verdict import RELATIONS

    columns = f"  {{:<{width() - 46}}} {{:>10}} {{:>13}} {{:>9}}  {{}}"
    for outcome in outcomes:
        print(f"{outcome.item.name}: {outcome.verdict} ({outcome.seconds:.1f} s)")
        _print_wrapped(outcome.item.claim, "  ")
        if outcome.checks:
            print(columns.format("check", "measured", "predicted", "tolerance", "verdict"))
        for check in outcome.checks:
            first, *others = textwrap.wrap(check["name"], width() - 46, subsequent_indent="  ")
            predicted = f"{RELATIONS[check['relation']]} {_short(check['predicted'])}"
            verdict = "holds" if check["holds"] else "fails"
            print(columns.format(first, _short(check["measured"]), predicted, _short(check["tolerance"]), verdict))
            print("".join(f"  {line}\n" for line in others), end="")
        if "png" in outcome.pictures:
            print(f"  {outcome.pictures['png']}")
        for note in outcome.notes:
            _print_wrapped(note, "  ")
        print()


def print_certificates(ledger: Any) -> None:
    """Print the worst certificate of each claim and problem, and the statuses of the seeds."""
    from ..experiment.certification import count_statuses
    from ..theory import Certificate

    for entry, counts in ledger.worst():
        print(Certificate.from_dict(entry).table(width()))
        if sum(counts.values()) > 1:
            print(f"  This is the worst of {sum(counts.values())} seeds: {_counted(counts)}.")
        print()
    print(f"{len(ledger.entries)} certificates: {_counted(count_statuses(ledger.entries))}")


def _print_wrapped(text: str, indent: str) -> None:
    """Print text after an indent without breaking a word, so that a path can be copied."""
    options = {"break_long_words": False, "break_on_hyphens": False, "subsequent_indent": " " * len(indent)}
    print(textwrap.fill(text, width(), initial_indent=indent, **options))


def _counted(counts: Any) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _short(value: float | None) -> str:
    return "nan" if value is None else f"{value:.4g}"
