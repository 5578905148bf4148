"""The cells of a sweep: every point of the axes, with every flow and every seed, in one fixed order."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST_CELLS = 1_000_000


@dataclass(frozen=True)
class Cell:
    """One run of a sweep: its place in the grid, its point on the axes, the label of its flow, its seed."""

    place: int
    point: Mapping[str, Any]
    flow: str
    seed: int

    @property
    def name(self) -> str:
        """Of its record, in the order of the grid."""
        return f"{self.place:06d}"


@dataclass(frozen=True)
class Grid:
    """Axes times flows times seeds; the seeds vary first, then the last axis, the flows last. No list of cells is kept.

    Raises: `ValueError` for an empty axis, no flow, no seed, or more than `MOST_CELLS` cells.
    """

    axes: Mapping[str, Sequence[Any]]
    flows: Sequence[str]
    seeds: Sequence[int]

    def __post_init__(self):
        for name, values in (*self.axes.items(), ("flows", self.flows), ("seeds", self.seeds)):
            if not len(values):
                raise ValueError(f"`{name}` must hold at least one value, got none.")
        if len(self) > MOST_CELLS:
            raise ValueError(
                f"A sweep has at most {MOST_CELLS} cells, these axes, flows and seeds make {len(self):.3g}."
            )

    def __len__(self) -> int:
        return math.prod(len(values) for values in self.axes.values()) * len(self.flows) * len(self.seeds)

    def cell(self, place: int) -> Cell:
        """The cell at a place from 0 to `len(grid) - 1`."""
        rest, seed = divmod(place, len(self.seeds))
        point: dict[str, Any] = {}
        for name in reversed(list(self.axes)):
            rest, index = divmod(rest, len(self.axes[name]))
            point[name] = self.axes[name][index]
        return Cell(place, {name: point[name] for name in self.axes}, self.flows[rest], self.seeds[seed])

    def chunks(self, size: int) -> Iterator[range]:
        """The places, `size` at a time. They depend on the grid and the size alone, so that an interrupted sweep goes on with the same chunks."""
        for start in range(0, len(self), size):
            yield range(start, min(start + size, len(self)))
