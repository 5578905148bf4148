"""`python -m tests.bench [NAME ...]`: `riemgn bench` of this checkout."""

import sys

from riemgn.cli import main

if __name__ == "__main__":
    main(["bench", *sys.argv[1:]])
