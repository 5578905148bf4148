"""The command line. Exit status: 0 done, 1 something asked for did not hold, 2 wrong usage or bad input, 130 interrupted."""

import json
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from .._signals import handled
from .session import countdown, prepare_jax, progress
from .tables import print_certificates, print_machine, print_outcomes, print_pairs, print_row, print_run, print_sweep

# typer keeps its own copy of click or uses the installed one: the base of its usage errors is the same by name
ClickException = next(
    cls for cls in typer.BadParameter.__mro__ if issubclass(cls, Exception) and cls.__name__ == "ClickException"
)
INTERRUPTED = 130
REPLACED = "A worker stopped while some jobs were given"  # loky, of one whose memory had grown by its compiled programs; a fresh one takes over
TROUBLE = ("step_limit", "step_collapsed", "non_finite", "other")  # results of a flow that could not be followed

app = typer.Typer(
    name="riemgn",
    help="Gauss-Newton flows of networks and other least-squares models: solve them, and check what papers claim.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=False,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, with `arguments` in place of the process's own, and leave with its exit status.

    The SIGTERM of a batch system means what Ctrl-C means: what is done is kept, and whoever works for us is ended.
    """
    try:
        with handled(signal.SIGTERM, signal.default_int_handler), warnings.catch_warnings():
            warnings.filterwarnings("ignore", REPLACED, UserWarning)
            status = app(args=None if arguments is None else list(arguments), prog_name="riemgn", standalone_mode=False)
    except ClickException as trouble:
        status = _refuse(_usage(trouble, list(sys.argv[1:] if arguments is None else arguments)))
    except ValueError as trouble:
        status = _refuse(str(trouble))
    except (KeyboardInterrupt, typer.Abort):
        status = _interrupted("nothing is lost but the work under way; give the same command again")
    except BrokenPipeError:
        os._exit(0)  # whoever read the output has left; closing it as usual would complain
    sys.exit(status if isinstance(status, int) else 0)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"riemgn {version('riemgn')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None: ...


@app.command("list")
def list_command(as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False):
    """Claims, figures, data sets, flows and solvers by name."""
    from ..data import DATASETS
    from ..experiment import FLOW_FORMULAS, SOLVERS
    from ..experiment.reproduce import discover
    from ..theory import CLAIMS

    solvers = {
        name: "dopri8 (in exponential time where all modes have one rate), kvaerno5 if stiff"
        if cls is None
        else _first_line(cls)
        for name, cls in SOLVERS.items()
    }
    items = {item.name: f"{item.title} ({item.kind}; arXiv:{item.arxiv.removeprefix('arXiv:')})" for item in discover()}
    claims = {name: f"{claim.statement} ({claim.reference})" for name, claim in CLAIMS.items()}
    sections = {"claims": claims, "figures": items, "data": DATASETS, "flows": FLOW_FORMULAS, "solvers": solvers}
    if as_json:
        return _print_json({name: dict(entries) for name, entries in sections.items()})
    for name, entries in sections.items():
        print_pairs(name, entries or {"-": "none"})
    return 0


@app.command("run")
def run_command(
    data: Annotated[str, typer.Option(help="Data set (see `riemgn list`) or path of a .csv table.")] = "diabetes",
    data_dir: Annotated[str | None, typer.Option(help="Folder with data files.")] = None,
    subset: Annotated[int | None, typer.Option(help="Number of rows to keep.")] = None,
    target: Annotated[str | None, typer.Option(help="value, onehot, binary:LABEL, or a column of a table.")] = None,
    width: Annotated[int, typer.Option(help="Units per hidden layer.")] = 32,
    depth: Annotated[int, typer.Option(help="Hidden layers.")] = 1,
    activation: Annotated[str, typer.Option(help="tanh, softplus, silu, erf, gelu or relu.")] = "tanh",
    scaling: Annotated[str, typer.Option(help="Width scaling: ntk, standard or output.")] = "ntk",
    bias: Annotated[bool, typer.Option(help="Whether layers have biases.")] = True,
    alpha: Annotated[float, typer.Option(help="Output scale.")] = 1000.0,
    centre: Annotated[bool, typer.Option(help="Whether the outputs start at zero.")] = True,
    cond: Annotated[float | None, typer.Option(help="Condition number of the coordinates w = w0 + A v.")] = None,
    loss: Annotated[str, typer.Option(help="squared, pseudo-huber, logistic or poisson.")] = "squared",
    flow: Annotated[str, typer.Option(help="gf, gn, lm, interpolated or ggn.")] = "gn",
    damping: Annotated[float | None, typer.Option(help="rho of lm, interpolated, ggn.")] = None,
    damping_kind: Annotated[
        str, typer.Option(help="constant, exponential, spectral, residual or gradient.")
    ] = "constant",
    damping_rate: Annotated[float, typer.Option(help="Rate of exponential damping.")] = 1.0,
    damping_power: Annotated[float, typer.Option(help="Power of residual and gradient damping.")] = 1.0,
    t1: Annotated[float, typer.Option(help="End time, in the flow's own time.")] = 20.0,
    rtol: Annotated[float, typer.Option(help="Relative tolerance of a step.")] = 1e-8,
    atol: Annotated[float, typer.Option(help="Absolute tolerance of a step.")] = 1e-10,
    max_steps: Annotated[int, typer.Option(help="Steps before the solve gives up.")] = 4096,
    solver: Annotated[str, typer.Option(help="auto, dopri5, dopri8, tsit5 or kvaerno5.")] = "auto",
    seed: Annotated[int, typer.Option(help="Of the subset, the network and the coordinates.")] = 0,
    loss_tol: Annotated[float | None, typer.Option(help="Stop when the loss is this near its infimum.")] = None,
    ball_radius: Annotated[float | None, typer.Option(help="Stop this far from the starting point.")] = None,
    error: Annotated[bool, typer.Option(help="Solve twice to measure the error of the outputs.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for record and picture [runs/DATA-FLOW-HASH].")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")] = False,
):
    """Solve one flow of a network on a data set; save record and picture, show a table."""
    from ..experiment.spec import run_spec, RunSpec

    given = locals()
    spec = run_spec(**{name: given[name] for name in RunSpec.model_fields})
    folder = out if out is not None else Path("runs") / f"{Path(spec.data).stem}-{spec.flow}-{spec.hash[:8]}"
    return _run(spec, folder, as_json)


def _run(spec: Any, folder: Path, as_json: bool) -> int:
    from ..experiment import prepare_folder, run, write_figure, write_record
    from ..plot import style, trajectory_figure

    prepare_jax()
    folder = prepare_folder(folder)
    try:
        record = run(spec, progress=sys.stderr.isatty() and not as_json)
        with style():
            pictures = write_figure(trajectory_figure(record.trajectory, Path(spec.data).stem), folder / "trajectory")
        npz, meta = write_record(folder, record.arrays, record.metadata)
    except KeyboardInterrupt:
        return _interrupted(f"this run is not saved in '{folder}'; give the same command again, or a smaller --t1")
    files = {"arrays": str(npz), "metadata": str(meta), **{kind: str(path) for kind, path in pictures.items()}}
    if as_json:
        _print_json({**record.metadata, "files": files})
    else:
        print_run(record, files)
    # where the flow reached its singular set the run has found something; where it could not be followed it has not
    return 1 if record.metadata["result"] in TROUBLE else 0


@app.command("sweep")
def sweep_command(
    spec: Annotated[Path, typer.Argument(help="TOML file: [base] fields of a run, [axes], [[flows]], seeds.")],
    jobs: Annotated[int, typer.Option(help="Processes side by side.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Take up what the folder holds of this sweep.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the records [runs/NAME-HASH].")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a dask.distributed scheduler whose workers solve the cells.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")] = False,
):
    """Solve every flow at every point of the axes for all seeds; keep a record of each run, show a table."""
    from ..experiment import load_runs, read_sweep_plan, run_plan

    asked, plan = read_sweep_plan(spec)
    folder = out if out is not None else Path("runs") / f"{asked.name}-{asked.hash[:8]}"
    prepare_jax()
    done, total = 0, len(plan.grid)
    try:
        with countdown(asked.name) as say:

            def finished(now: int, cells: int) -> None:
                nonlocal done
                done = now
                say(now, cells)

            run_plan(plan, folder, jobs, resume, scheduler, finished)
    except KeyboardInterrupt:
        return _interrupted(
            f"{done} of {total} cells are saved in '{folder}'; the same command with --resume goes on from there"
        )
    table = load_runs(folder)
    results = {str(name): int(count) for name, count in table["result"].value_counts().items()}
    if as_json:
        _print_json(
            {
                "folder": folder,
                "cells": total,
                "results": results,
                "runs": table.astype(object).to_dict(orient="records"),
            }
        )
    else:
        print_sweep(asked.name, table, list(plan.grid.axes), results, str(folder))
    return 1 if set(results) & {*TROUBLE, "error"} else 0


@app.command("reproduce")
def reproduce_command(
    what: Annotated[list[str] | None, typer.Argument(help="PAPER or PAPER/ITEM; all when none is named.")] = None,
    quick: Annotated[bool, typer.Option("--quick/--full", help="Small sizes, or those of the claims.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for numbers and pictures [figures in a checkout].")] = None,
    jobs: Annotated[int, typer.Option(help="Items at a time.")] = 1,
    data_dir: Annotated[str | None, typer.Option(help="Folder with data files.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Run again what is done.")] = False,
    update_golden: Annotated[bool, typer.Option("--update-golden", help="Rewrite the golden numbers.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the outcome to this file.")] = None,
):
    """Run the experiments made for papers' claims: numbers, pictures, predicted beside measured.

    An item whose data set is not at hand is left out by name; that is status 1 only where the item itself was asked for.
    """
    from ..experiment import reproduce as runner, write_json

    items = runner.select(runner.discover(), what or [])
    if jobs < 1:
        raise ValueError(f"`--jobs` must be at least 1, got {jobs}.")
    if data_dir is not None and not Path(data_dir).expanduser().is_dir():
        raise ValueError(f"`--data-dir` must name a folder, got '{data_dir}'.")
    prepare_jax()
    settings = runner.Settings(out or runner.default_out(), quick, data_dir, force, update_golden)
    done: list[Any] = []
    try:
        with progress(len(items)) as (started, advanced):

            def finish(outcome: Any) -> None:
                done.append(outcome)
                advanced(f"{outcome.item.name}: {outcome.verdict}{' (already done)' if outcome.resumed else ''}")

            outcomes = runner.reproduce(items, settings, jobs=jobs, on_start=started, on_done=finish)
    except KeyboardInterrupt:
        return _interrupted(
            f"{len(done)} of {len(items)} items are saved in '{settings.out}'; the same command goes on from there"
        )
    print_outcomes(outcomes)
    if json_file is not None:
        write_json(json_file, {"quick": quick, "items": [outcome.to_dict() for outcome in outcomes]})
    forgiven = {outcome.item.name for outcome in outcomes if outcome.verdict == "no data"} - set(what or [])
    return 0 if all(outcome.ok or outcome.item.name in forgiven for outcome in outcomes) else 1


@app.command("certify")
def certify_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CLAIM]...", help="Claims (see `riemgn list`); all when none is named."),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick/--full",
            help="A short set of problems and one seed, or all with their own number of seeds, ten for most.",
        ),
    ] = False,
    seeds: Annotated[int | None, typer.Option(help="How many seeds, from 0 [1 with --quick].")] = None,
    rigorous: Annotated[
        bool, typer.Option("--rigorous", help="Prove the hypotheses at the start by ball arithmetic.")
    ] = False,
    rtol: Annotated[float | None, typer.Option(help="Relative tolerance of every solve [each problem's own].")] = None,
    jobs: Annotated[int, typer.Option(help="Problems at a time.")] = 1,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every certificate to this file, each as it is done.")
    ] = None,
):
    """Hold claims against problems: hypotheses, predicted and measured, margin, numerical error, verdict."""
    from ..experiment.certification import examine_cases, seeds_of, select_cases
    from ..experiment.ledger import Ledger
    from ..theory import find_claim

    chosen = [find_claim(name).name for name in names or []]
    if seeds is not None and seeds < 1:
        raise ValueError(f"`--seeds` must be at least 1, got {seeds}.")
    if jobs < 1:
        raise ValueError(f"`--jobs` must be at least 1, got {jobs}.")
    if rtol is not None and not 1e-12 <= rtol < 1:
        raise ValueError(f"`--rtol` must lie in [1e-12, 1), got {rtol:g}.")
    prepare_jax()
    ledger = Ledger(json_file, quick, rigorous, rtol)
    work = [(case, seeds_of(case, quick, seeds)) for case in select_cases(chosen, quick)]
    total = sum(len(seeds) for _, seeds in work)
    try:
        with progress(total) as (_, advanced):
            for entry in examine_cases(work, ledger.known, rigorous, rtol, jobs):
                ledger.add(entry)
                advanced(f"{entry['claim']} on {entry['subject']}: {entry['status']}")
    except KeyboardInterrupt:
        where = (
            "nothing was saved: --json FILE keeps what is done"
            if json_file is None
            else f"they are saved in '{json_file}'; the same command goes on"
        )
        return _interrupted(f"{len(ledger.entries)} of {total} certificates are done; {where}")
    print_certificates(ledger)
    return 0 if ledger.all_hold(chosen) else 1


@app.command("bench")
def bench_command(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Benchmarks; the usual ones when none is named.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick/--full", help="Small sizes and few peers in under three minutes, or all.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every row to this file, each as it is done.")
    ] = None,
):
    """Time the benchmarks of a checkout against the peers that are installed. A target missed is no failure; a failure of ours is."""
    from ..experiment import prepare_folder, write_json
    from ..experiment.provenance import provenance

    benches = _benchmarks()
    unknown = [name for name in names or [] if name not in benches.BENCHMARKS]
    if unknown:
        raise ValueError(f"Unknown benchmark '{unknown[0]}'; known: {', '.join(benches.BENCHMARKS)}.")
    if json_file is not None:
        prepare_folder(json_file.expanduser().parent)
    rows: list[tuple[str, Any]] = []
    try:
        machine = benches.machine()
        print_machine(machine)
        for name, row in benches.measure(names or benches.BY_DEFAULT, quick):
            print_row(row, first=not rows)
            rows.append((name, row))
            if json_file is not None:
                entries = [{"benchmark": name, **row.to_dict()} for name, row in rows]
                write_json(json_file, {"quick": quick, "machine": machine, **provenance(), "rows": entries})
    except KeyboardInterrupt:
        kept = (
            "nothing else is kept: --json FILE keeps the rows"
            if json_file is None
            else f"they are saved in '{json_file}'"
        )
        return _interrupted(f"{len(rows)} rows are done; {kept}")
    best = benches.quickest(row for _, row in rows)
    if len(best) < len(rows):
        print("\nThe quickest peer of each work:\n")
        for place, row in enumerate(best):
            print_row(row, first=not place)
    judged = [row.met for _, row in rows if row.met is not None]
    print(f"\n{len(rows)} rows; {sum(judged)} of {len(judged)} targets met")
    return 0 if all(row.ours.seconds is not None for _, row in rows) else 1


@app.command("report")
def report_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of results, searched to its depths.")],
    out: Annotated[Path | None, typer.Option(help="The page [DIR/report.html].")] = None,
):
    """One HTML page of a folder of results: verdicts, figures, certificates, environment, and the command for each.

    Reads what run, reproduce, certify --json, bench --json and sweep leave, and names what it cannot read. It loads nothing. The status is 0 for
    a written page, whatever it says: the verdicts are its content.
    """
    from ..report import write_report

    report = write_report(folder, out)
    counts = ", ".join(f"{count} {name}" for name, count in report.counts.items())
    print(f"{report.path}: {report.size / 1e6:.2f} MB; {counts}")
    return 0


def _benchmarks() -> Any:
    """The benchmarks' own module, which lies beside the tests."""
    from importlib import import_module

    from ..experiment.provenance import is_checkout, PACKAGE

    root = PACKAGE.parent
    if not (is_checkout(root) and (root / "tests" / "bench").is_dir()):
        raise ValueError(
            f"The benchmarks lie in tests/bench of a checkout and '{root}' is none: clone the repository and run `pip install -e .` there."
        )
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    return import_module("tests.bench.supervisor")


def _first_line(cls: type) -> str:
    return (cls.__doc__ or "").strip().splitlines()[0]


def _print_json(value: dict[str, Any]) -> int:
    from ..experiment.storage import as_json, SCHEMA

    print(json.dumps({"schema": SCHEMA, **as_json(value)}, allow_nan=False))
    return 0


def _usage(trouble: Any, arguments: list[str]) -> str:
    """The parser's sentence, with the value it refused where it names an option."""
    message = trouble.format_message().rstrip(".")
    named = [place for place, word in enumerate(arguments[:-1]) if f"'{word}'" in message]
    value = arguments[named[0] + 1] if named else None
    got = "" if value is None or f"'{value}'" in message else f", got '{value}'"
    return f"{message}{got}; `riemgn --help` lists what there is."


def _refuse(message: str) -> int:
    print(f"riemgn: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _interrupted(what: str) -> int:
    print(f"\nriemgn: interrupted: {what}.", file=sys.stderr)
    return INTERRUPTED
