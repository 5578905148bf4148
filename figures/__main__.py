"""Draw the essays, check their numbers and write the gallery: `python -m figures [ESSAY ...]`."""

import sys

from riemgn.experiment import write_page
from riemgn.experiment.reproduce import discover, reproduce, select, Settings

from .page import essays, PAGE, page, ROOT


def main(wanted: list[str]) -> int:
    update, names = "--update-golden" in wanted, [name for name in wanted if name != "--update-golden"]
    try:
        items = select(discover(ROOT), [f"essays/{name}" for name in names])
        essays()  # refuse a faulty docstring before anything is drawn
    except ValueError as trouble:
        print(trouble, file=sys.stderr)
        return 2
    outcomes = reproduce(items, Settings(out=ROOT, update_golden=update))
    for outcome in outcomes:
        print(f"{outcome.item.name}: {outcome.verdict} in {outcome.seconds:.0f} s, {outcome.pictures.get('png')}")
        for check in outcome.checks:
            print(f"  {check['name']}: {check['measured']:.3g}, {'holds' if check['holds'] else 'fails'}")
        for note in outcome.notes:
            print(f"  {note}")
    write_page(PAGE, page())
    return 0 if all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
