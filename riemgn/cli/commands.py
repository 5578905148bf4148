"""The commands.

Exit status: 0 done, 1 a result does not hold, 2 wrong usage or input, 130 interrupted.
"""

import inspect
import itertools
import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, get_origin, Literal

import typer

from .._signals import signal_handler
from ..experiment.spec import run_spec, RunSpec
from .session import countdown, prepare_jax, progress
from .tables import print_certificates, print_outcomes, print_pairs, print_run, print_sweep

# typer has its own copy of click or uses the installed one, and the class has the same name in both
ClickException: Any = next(cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException")
INTERRUPTED = 130
KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY
# loky warns so if it replaces a worker whose memory grew by compiled programs, which is harmless
WORKER_REPLACED = "A worker stopped while some jobs were given"
FAILURES = ("step_limit", "step_collapsed", "non_finite", "other")  # results of a solve that failed numerically

app = typer.Typer(
    name="riemgn",
    help="Solve Gauss-Newton flows of networks and other least-squares models, and check the claims of papers.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=False,
)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Quick = Annotated[bool, typer.Option("--quick/--full", help="Use small sizes, or those of the claims.")]
Jobs = Annotated[int, typer.Option(min=1, help="Number of parallel processes.")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line with `arguments` (default: `sys.argv`) and exit with its status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    run_and_exit(lambda: app(args=words, prog_name="riemgn", standalone_mode=False), words)


def run_and_exit(command: Callable[[], Any], words: Sequence[str] = ()) -> None:
    """Call `command` and exit with its status, with one sentence for an error in its `words`.

    SIGTERM has the same effect as Ctrl-C, because batch systems send it.
    """
    try:
        with signal_handler(signal.SIGTERM, signal.default_int_handler), warnings.catch_warnings():
            warnings.filterwarnings("ignore", WORKER_REPLACED, UserWarning)
            status = command()
    except (ClickException, ValueError) as error:
        message = str(error) if isinstance(error, ValueError) else _usage(error, words)
        print(f"riemgn: {' '.join(message.split())}", file=sys.stderr)
        status = 2
    except (KeyboardInterrupt, typer.Abort):
        status = report_interrupt("give the same command again; only unfinished work is lost")
    except BrokenPipeError:
        os._exit(0)  # the reader of the output has closed it, and a normal exit would complain
    sys.exit(status if isinstance(status, int) else 0)


def _print_version(requested: bool) -> None:
    if requested:
        print(f"riemgn {version('riemgn')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None: ...


@app.command("list")
def list_command(as_json: Json = False):
    """List the claims, figures, data sets, flows and solvers."""
    from ..data import DATASETS
    from ..experiment import FLOW_FORMULAS, SOLVERS
    from ..experiment.reproduce import discover
    from ..theory import CLAIMS

    solvers = {name: str(cls.__doc__).strip().splitlines()[0] for name, cls in SOLVERS.items()}
    solvers["auto"] = "dopri8 (in exponential time where all modes have one rate), kvaerno5 if stiff"
    items = {item.name: f"{item.title} ({item.kind}; arXiv:{item.arxiv.removeprefix('arXiv:')})" for item in discover()}
    claims = {name: f"{claim.statement} ({claim.reference})" for name, claim in CLAIMS.items()}
    sections = {"claims": claims, "figures": items, "data": DATASETS, "flows": FLOW_FORMULAS, "solvers": solvers}
    if as_json:
        return _print_json({name: dict(entries) for name, entries in sections.items()})
    for name, entries in sections.items():
        print_pairs(name, entries or {"-": "none"})
    return 0


def _with_spec_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add an option for each field of `RunSpec` to a command that takes them as `**fields`."""
    parameters = []
    for name, field in RunSpec.model_fields.items():
        kind = str if get_origin(field.annotation) is Literal else field.annotation
        annotation = Annotated[kind, typer.Option(help=field.description)]
        parameters.append(inspect.Parameter(name, KEYWORD_ONLY, default=field.default, annotation=annotation))
    signature = inspect.signature(command)
    own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    parameters += [each.replace(kind=KEYWORD_ONLY) for each in own]
    command.__signature__ = signature.replace(parameters=parameters)  # pyright: ignore[reportFunctionMemberAccess]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command


@app.command("run")
@_with_spec_options
def run_command(
    out: Annotated[Path | None, typer.Option(help="Folder for the results [runs/DATA-FLOW-HASH].")] = None,
    as_json: Json = False,
    **fields: Any,
):
    """Solve one flow of a network on a data set, save record and figure, and print a table."""
    spec = run_spec(**fields)
    folder = out if out is not None else Path("runs") / f"{Path(spec.data).stem}-{spec.flow}-{spec.hash[:8]}"
    return _run(spec, folder, as_json)


def _run(spec: Any, folder: Path, as_json: bool) -> int:
    from ..experiment import run, write_figure, write_record
    from ..experiment.storage import check_folder
    from ..plot import style, trajectory_figure

    prepare_jax()
    check_folder(folder)  # before the solve; nothing is written until the inputs have been checked
    try:
        record = run(spec, progress=sys.stderr.isatty() and not as_json)
        with style():
            pictures = write_figure(trajectory_figure(record.trajectory, Path(spec.data).stem), folder / "trajectory")
        npz, meta = write_record(folder, record.arrays, record.metadata)
    except KeyboardInterrupt:
        return report_interrupt(f"the run is not saved in '{folder}'; give the same command again, or a smaller --t1")
    files = {"arrays": str(npz), "metadata": str(meta), **{kind: str(path) for kind, path in pictures.items()}}
    if as_json:
        _print_json({**record.metadata, "files": files})
    else:
        print_run(record, files)
    # a flow that reached its singular set has a result, a flow that failed numerically has none
    return 1 if record.metadata["result"] in FAILURES else 0


@app.command("sweep")
def sweep_command(
    spec: Annotated[Path, typer.Argument(help="TOML file with [base], [axes], [[flows]] and seeds.")],
    jobs: Jobs = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the sweep in the folder.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the records [runs/NAME-HASH].")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a dask.distributed scheduler to use.")] = None,
    as_json: Json = False,
):
    """Solve every flow at every point of the axes for all seeds, and print a table."""
    from ..experiment import load_runs, read_sweep_plan, run_plan

    sweep_spec, plan = read_sweep_plan(spec)
    folder = out if out is not None else Path("runs") / f"{sweep_spec.name}-{sweep_spec.hash[:8]}"
    prepare_jax()
    done, total = 0, len(plan.grid)
    try:
        with countdown(sweep_spec.name) as update:

            def on_done(now: int, cells: int) -> None:
                nonlocal done
                done = now
                update(now, cells)

            run_plan(plan, folder, jobs, resume, scheduler, on_done)
    except KeyboardInterrupt:
        saved = f"{done} of {total} cells are saved in '{folder}'"
        return report_interrupt(f"{saved}; continue with the same command and --resume")
    table = load_runs(folder)
    results = {str(name): int(count) for name, count in table["result"].value_counts().items()}
    if as_json:
        runs = table.astype(object).to_dict(orient="records")
        _print_json({"folder": folder, "cells": total, "results": results, "runs": runs})
    else:
        print_sweep(sweep_spec.name, table, list(plan.grid.axes), results, str(folder))
    return 1 if set(results) & {*FAILURES, "error"} else 0


@app.command("reproduce")
def reproduce_command(
    what: Annotated[list[str] | None, typer.Argument(help="PAPER or PAPER/ITEM (default: all).")] = None,
    quick: Quick = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the results [figures in a checkout].")] = None,
    jobs: Jobs = 1,
    data_dir: Annotated[str | None, typer.Option(help="Folder that contains the data files.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Run again what is finished.")] = False,
    update_golden: Annotated[bool, typer.Option("--update-golden", help="Replace the golden numbers.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the outcome to this file.")] = None,
):
    """Run our experiments for the papers' claims: numbers, figures, and checks of predictions.

    An item whose data set is missing is skipped. The exit status is 1 for it if you named it.
    """
    from ..experiment import reproduce as runner, write_json

    items = runner.select(runner.discover(), what or [])
    if data_dir is not None and not Path(data_dir).expanduser().is_dir():
        raise ValueError(f"`--data-dir` must name a folder, got '{data_dir}'.")
    prepare_jax()
    settings = runner.Settings(out or runner.default_out(), quick, data_dir, force, update_golden)
    lines: list[str] = []
    try:
        with progress(len(items)) as (start, advance):

            def on_done(outcome: Any) -> None:
                lines.append(f"{outcome.item.name}: {outcome.verdict}{' (already done)' if outcome.resumed else ''}")
                advance(lines[-1])

            outcomes = runner.reproduce(items, settings, jobs=jobs, on_start=start, on_done=on_done)
    except KeyboardInterrupt:
        saved = f"{len(lines)} of {len(items)} items are saved in '{settings.out}'"
        return report_interrupt(f"{saved}; continue with the same command")
    print_outcomes(outcomes)
    if json_file is not None:
        write_json(json_file, {"quick": quick, "items": [outcome.to_dict() for outcome in outcomes]})
    skipped = {outcome.item.name for outcome in outcomes if outcome.verdict == "no data"} - set(what or [])
    return 0 if all(outcome.ok or outcome.item.name in skipped for outcome in outcomes) else 1


@app.command("certify")
def certify_command(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[CLAIM]...", help="See `riemgn list` (default: all).")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick/--full", help="Use few problems and one seed, or all.")] = False,
    seeds: Annotated[int | None, typer.Option(min=1, help="Number of seeds, counted from 0 [1 with --quick].")] = None,
    rigorous: Annotated[bool, typer.Option("--rigorous", help="Prove hypotheses by ball arithmetic.")] = False,
    rtol: Annotated[float | None, typer.Option(help="Relative tolerance of solves [that of each problem].")] = None,
    jobs: Jobs = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write each certificate to this file.")] = None,
):
    """Check claims on problems, and print hypotheses, predictions, measurements and errors."""
    from ..experiment.certification import certify_cases, Ledger, seeds_of, select_cases
    from ..theory import find_claim

    claims = [find_claim(name).name for name in names or []]
    if rtol is not None and not 1e-12 <= rtol < 1:
        raise ValueError(f"`--rtol` must be in [1e-12, 1), got {rtol:g}.")
    prepare_jax()
    ledger = Ledger(json_file, quick, rigorous, rtol)
    work = [(case, seeds_of(case, quick, seeds)) for case in select_cases(claims, quick)]
    total = sum(len(seeds) for _, seeds in work)
    try:
        with progress(total) as (_, advance):
            for entry in certify_cases(work, ledger.load, rigorous, rtol, jobs):
                ledger.add(entry)
                advance(f"{entry['claim']} on {entry['subject']}: {entry['status']}")
    except KeyboardInterrupt:
        saved = f"they are saved in '{json_file}'; continue with the same command"
        where = saved if json_file is not None else "they are not saved; use --json FILE to save them"
        return report_interrupt(f"{len(ledger.entries)} of {total} certificates are done; {where}")
    print_certificates(ledger)
    return 0 if ledger.all_hold(claims) else 1


@app.command("bench")
def bench_command(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Default: all but the largest.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick/--full", help="Use small sizes and few peers, or all.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write each row to this file.")] = None,
):
    """Time the benchmarks of a checkout against the installed peers.

    With --quick it takes under three minutes. The exit status is 1 if one of our own runs fails,
    not if a target is missed.
    """
    from ..experiment.provenance import is_checkout, PACKAGE

    root = PACKAGE.parent
    if not (is_checkout(root) and (root / "tests" / "bench").is_dir()):
        where = f"The benchmarks are in tests/bench of a checkout, and '{root}' is not a checkout"
        raise ValueError(f"{where}: clone the repository and run `pip install -e .` there.")
    command = [sys.executable, "-m", "tests.bench", *(names or []), "--quick" if quick else "--full"]
    command += [] if json_file is None else ["--json", str(json_file.expanduser().absolute())]
    # in a session of its own, so that Ctrl-C reaches it once, through this process
    with subprocess.Popen(command, cwd=root, start_new_session=True) as benchmarks:
        try:
            return benchmarks.wait()
        except KeyboardInterrupt:
            benchmarks.send_signal(signal.SIGINT)
            return benchmarks.wait()


@app.command("report")
def report_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of results, with its subfolders.")],
    out: Annotated[Path | None, typer.Option(help="File to write [DIR/report.html].")] = None,
):
    """Write one HTML page about a folder of results: figures, verdicts, certificates and commands.

    It reads the files that run, reproduce, certify --json, bench --json and sweep write, and
    lists the files that it cannot read. The page loads nothing from the web.
    """
    from ..report import write_report

    report = write_report(folder, out)
    counts = ", ".join(f"{count} {name}" for name, count in report.counts.items())
    print(f"{report.path}: {report.size / 1e6:.2f} MB; {counts}")
    return 0


def _print_json(value: dict[str, Any]) -> int:
    from ..experiment.storage import as_json, SCHEMA

    print(json.dumps({"schema": SCHEMA, **as_json(value)}, allow_nan=False))
    return 0


def _usage(error: Any, words: Sequence[str]) -> str:
    """Return the parser's sentence with the value of the option that it names."""
    message = error.format_message().rstrip(".")
    value = next((after for word, after in itertools.pairwise(words) if f"'{word}'" in message), None)
    got = "" if value is None or f"'{value}'" in message else f", got '{value}'"
    return f"{message}{got}; `riemgn --help` lists the commands."


def report_interrupt(message: str) -> int:
    """Print the `message` what an interrupted command has saved, and return its exit status."""
    print(f"\nriemgn: interrupted: {message}.", file=sys.stderr)
    return INTERRUPTED
