"""`python -m tests.bench.child NAME quick|full DONE`: one benchmark, its rows as JSON lines. Started by the supervisor."""

import importlib
import json
import sys

import riemgn as rg
from tests.bench.contest import Contest

PARTS = {"stiff-large": ("stiff", "large_rows"), "direction-all": ("direction", "all_rows")}


def say(message: dict) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main(name: str, size: str, done: str) -> None:
    rg.enable_x64()
    contest = Contest(
        size == "quick", json.loads(done), lambda row, limit: say({"call": row.to_dict(), "limit": limit})
    )
    module, rows = PARTS.get(name, (name, "rows"))
    for row in getattr(importlib.import_module(f"tests.bench.{module}"), rows)(contest):
        say({"row": row.to_dict()})


if __name__ == "__main__":
    main(*sys.argv[1:])
