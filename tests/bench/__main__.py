"""`python -m tests.bench [NAME ...]`: what a user waits for, compile time apart from run time. Not a test: nothing here can fail."""

import sys

import riemgn as rg

from . import directions, geometry, kernel, solve, stiff

BENCHMARKS = {"solve": solve.main, "geometry": geometry.main, "directions": directions.main, "kernel": kernel.main, "stiff": stiff.main}


def main(wanted: list[str]) -> int:
    unknown = [name for name in wanted if name not in BENCHMARKS]
    if unknown:
        print(f"Unknown benchmark {unknown[0]!r}; known: {', '.join(BENCHMARKS)}.", file=sys.stderr)
        return 2
    rg.enable_x64()
    for name in wanted or BENCHMARKS:
        BENCHMARKS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
