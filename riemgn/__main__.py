"""Run `riemgn` with `python -m riemgn`."""

from .cli import main

main()
