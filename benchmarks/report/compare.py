"""What a row's cells come to: the own median, the best peer, ratios, and whether the targets are reached."""

from dataclasses import dataclass

from benchmarks.bench import SHELL
from benchmarks.model import OWN, Cell, RowResult
from benchmarks.summary import Direction, best, is_reached, spread

MB = 1e6


@dataclass(frozen=True, slots=True)
class Verdict:
    """One row in short. Ratios are own / best peer, and own time / the floor's; None where one side is missing."""

    own: Cell | None
    peer: Cell | None
    ratio: float | None
    floor_ratio: float | None
    is_reached: bool | None
    is_memory_reached: bool | None


def median(cell: Cell) -> float:
    """Median of a cell that has values."""
    return spread(cell.values).median


def measured(result: RowResult, *, own: bool) -> list[Cell]:
    """Cells with values that stand for walpy, or for a peer; one-liners of the shell are neither."""
    cells = [cell for cell in result.cells if cell.values and cell.is_headline]
    return [cell for cell in cells if (cell.program == OWN) == own and cell.program != SHELL]


def verdict(result: RowResult) -> Verdict:
    """Compare walpy's headline cell with the best peer that was measured in the same row."""
    own = pick(result, own=True)
    peer = pick(result, own=False)
    target = result.row.target
    ratio = median(own) / median(peer) if own and peer else None
    floor_ratio = distance(median(own), result.floor, result.row.direction) if own and result.floor else None
    reached = None if ratio is None or target.ratio is None else is_reached(ratio, target.ratio, result.row.direction)
    has_memory = own is not None and own.memory is not None and target.memory is not None
    memory_reached = own.memory <= target.memory * MB if has_memory else None  # type: ignore[union-attr,operator]
    return Verdict(own, peer, ratio, floor_ratio, reached, memory_reached)


def distance(value: float, floor: float, direction: Direction) -> float:
    """How many times the floor's time a value takes, for rates too."""
    return value / floor if direction == "less" else floor / value


def pick(result: RowResult, *, own: bool) -> Cell | None:
    """The best of walpy's headline cells, or of the peers'."""
    cells = {cell.label: cell for cell in measured(result, own=own)}
    found = best(((label, median(cell)) for label, cell in cells.items()), result.row.direction)
    return cells[found[0]] if found else None
