"""`python -m tests.bench.process PLACE`: seconds from the imports until one case of `tests.bench.solve` integrates and has solved."""

import itertools
import json
import sys

from riemgn.cli.session import prepare_jax
from tests.bench.clock import seconds
from tests.bench.solve import cases, repeated


def main(place: int) -> None:
    prepare_jax()
    _, n, width, flow, t1 = next(itertools.islice(cases(), place, None))
    run = repeated(n, width, flow, t1)
    first, later = (seconds(lambda: run(None)) for _ in range(2))
    sys.stdout.write(json.dumps({"starts": first - later, "ends": first}) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
