"""Run `riemgn reproduce` with `python -m paper_repro`."""

import sys

from riemgn.cli import main

main(["reproduce", *sys.argv[1:]])
