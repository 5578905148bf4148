"""Experiments: describe and solve runs, store them, sweep, and reproduce the papers' items."""

from .provenance import provenance as provenance, source_hash as source_hash
from .run import Record as Record, run as run
from .spec import FLOW_FORMULAS as FLOW_FORMULAS, run_spec as run_spec, RunSpec as RunSpec, SOLVERS as SOLVERS
from .storage import (
    load_curves as load_curves,
    load_runs as load_runs,
    prepare_folder as prepare_folder,
    read_json as read_json,
    read_record as read_record,
    svg_text as svg_text,
    write_figure as write_figure,
    write_json as write_json,
    write_page as write_page,
    write_record as write_record,
)
from .sweep import run_plan as run_plan, sweep as sweep, SweepPlan as SweepPlan
from .sweep_spec import read_sweep_plan as read_sweep_plan, read_sweep_spec as read_sweep_spec, SweepSpec as SweepSpec
