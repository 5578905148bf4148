"""`python -m paper_repro` is `riemgn reproduce`."""

import sys

from riemgn.cli import main

main(["reproduce", *sys.argv[1:]])
