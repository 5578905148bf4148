"""Examining the standing problems one after the other, or several at a time."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from ..theory import certify
from .cases import Case, CASES
from .parallel import side_by_side

Entry = dict[str, Any]


def select_cases(claims: Sequence[str], quick: bool) -> list[Case]:
    """The cases of the named claims, of all when none is named; the short set keeps what is marked `quick`."""
    return [case for case in CASES if (not claims or case.claim in claims) and (case.quick or not quick)]


def seeds_of(case: Case, quick: bool, seeds: int | None = None) -> range:
    """The seeds a case is examined with: as many as asked, or one in the short set and the case's own number in the full one."""
    asked = seeds if seeds is not None else 1 if quick else case.seeds
    return range(asked if case.seeds > 1 else 1)


def examine_cases(
    work: Sequence[tuple[Case, Sequence[int]]],
    known: Callable[[str, str, int], Entry | None] = lambda *key: None,
    rigorous: bool = False,
    rtol: float | None = None,
    jobs: int = 1,
) -> Iterator[Entry]:
    """Solve and certify: the certificates' own entries, with problem, seed and seconds, each as it is done.

    Arguments:

    - `work`: cases, each with its seeds.
    - `known`: function of (claim, problem, seed) that gives the entry of an earlier run, or None.
    - `rigorous`: prove the hypotheses at the starting points by ball arithmetic.
    - `rtol`: relative tolerance of every solve, by default each case's own.
    - `jobs`: cases at a time, each in a process of its own; their entries then come in the order in which cases end.
    """
    left = []
    for case, seeds in work:
        entries = [known(case.claim, case.title, seed) for seed in seeds]
        yield from (entry for entry in entries if entry is not None)
        missing = [seed for seed, entry in zip(seeds, entries, strict=True) if entry is None]
        left += [(case, missing)] if missing else []
    if jobs == 1:
        for case, seeds in left:
            yield from _examined(case, seeds, rigorous, rtol)
        return
    places = {(case.claim, case.title): place for place, case in enumerate(CASES)}
    tasks = ((places[case.claim, case.title], seeds, rigorous, rtol) for case, seeds in left)
    for entries in side_by_side(_examined_here, tasks, jobs):
        yield from entries


def _examined(case: Case, seeds: Sequence[int], rigorous: bool, rtol: float | None) -> Iterator[Entry]:
    for seed in seeds:
        start = time.perf_counter()
        title = f"{case.title}, seed {seed}" if case.seeds > 1 else case.title
        certificate = certify(case.claim, case.evidence(seed, rtol), subject=title, rigorous=rigorous)
        yield {**certificate.to_dict(), "problem": case.title, "seed": seed, "seconds": time.perf_counter() - start}
    if len(seeds) > 1:  # the programs of a long run add up to more memory maps than a process may have
        jax.clear_caches()


def _examined_here(place: int, seeds: Sequence[int], rigorous: bool, rtol: float | None) -> list[Entry]:
    """In a process of its own, where a case (it holds functions without a name) arrives as its place in the list."""
    return list(_examined(CASES[place], seeds, rigorous, rtol))
