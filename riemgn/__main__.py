"""`python -m riemgn` is `riemgn`."""

from .cli import main

main()
