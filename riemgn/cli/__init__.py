"""The command line `riemgn`."""

from .commands import main as main, report_interrupt as report_interrupt, run_and_exit as run_and_exit
