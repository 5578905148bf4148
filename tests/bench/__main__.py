"""Time the benchmarks: `python -m tests.bench [NAME ...]`, which `riemgn bench` starts."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from riemgn.cli import report_interrupt, run_and_exit
from riemgn.experiment import prepare_folder, provenance, write_json
from tests.bench import supervisor
from tests.bench.row import print_machine, print_row, quickest


def bench(names: Sequence[str], quick: bool, json_file: Path | None) -> int:
    """Time the benchmarks, print one row per work and peer, and return the exit status."""
    unknown = [name for name in names if name not in supervisor.BENCHMARKS]
    if unknown:
        raise ValueError(f"Unknown benchmark '{unknown[0]}'; known: {', '.join(supervisor.BENCHMARKS)}.")
    if json_file is not None:
        prepare_folder(json_file.expanduser().parent)
    rows: list[tuple[str, Any]] = []
    try:
        machine = supervisor.run_module("child", "machine")
        print_machine(machine)
        for name, row in supervisor.measure(names or supervisor.DEFAULT_BENCHMARKS, quick):
            print_row(row, first=not rows)
            rows.append((name, row))
            if json_file is not None:
                entries = [{"benchmark": name, **row.to_dict()} for name, row in rows]
                write_json(json_file, {"quick": quick, "machine": machine, **provenance(), "rows": entries})
    except KeyboardInterrupt:
        where = "they are not saved; use --json FILE" if json_file is None else f"they are saved in '{json_file}'"
        return report_interrupt(f"{len(rows)} rows are done; {where}")
    best = quickest(row for _, row in rows)
    if len(best) < len(rows):
        print("\nThe quickest peer of each work:\n")
        for place, row in enumerate(best):
            print_row(row, first=not place)
    targets = [row.met for _, row in rows if row.met is not None]
    print(f"\n{len(rows)} rows; {sum(targets)} of {len(targets)} targets met")
    return 0 if all(row.ours.seconds is not None for _, row in rows) else 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmarks named on the command line and exit with their status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--quick", action=argparse.BooleanOptionalAction, default=False)
    parser.add_argument("--full", dest="quick", action="store_false")
    parser.add_argument("--json", type=Path, dest="json_file")
    options = parser.parse_args(arguments)
    run_and_exit(lambda: bench(options.names, options.quick, options.json_file))


if __name__ == "__main__":
    main(sys.argv[1:])
