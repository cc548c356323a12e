import pytest

from benchmarks.model import Cell, Row, RowResult, Target
from benchmarks.report.compare import verdict


def cell(program: str, label: str, value: float | None, **more: object) -> Cell:
    values = [] if value is None else [value]
    status = "measured" if values else "absent"
    return Cell(program, label, status, values=values, **more)  # type: ignore[arg-type]


def result(*cells: Cell, unit: str = "s", target: Target | None = None, floor: float | None = None) -> RowResult:
    return RowResult(Row("r", "r", "r", target or Target(), unit), list(cells), floor)


def test_the_best_peer_that_was_measured() -> None:
    found = verdict(
        result(
            cell("walpy", "walpy", 2.0),
            cell("wal-g", "wal-g", 5.0),
            cell("wal-g", "wal-g, 2 readers", 4.0),
            cell("pgbackrest", "pgbackrest", None),
            cell("shell", "tar", 1.0),
        )
    )
    assert found.peer is not None
    assert (found.peer.label, found.ratio) == ("wal-g, 2 readers", 0.5)


def test_only_the_headline_stands_for_walpy() -> None:
    found = verdict(
        result(cell("walpy", "defaults", 3.0), cell("walpy", "tuned", 1.0, is_headline=False), cell("wal-g", "w", 3.0))
    )
    assert found.ratio == 1.0


@pytest.mark.parametrize(("own", "is_reached"), [(24.0, True), (23.0, False)])
def test_rates_want_more(own: float, is_reached: bool) -> None:
    row = [cell("walpy", "w", own), cell("wal-g", "g", 15.0), cell("pgbackrest", "p", 20.0)]
    found = verdict(result(*row, unit="/s", target=Target(1.2), floor=48.0))
    assert found.peer is not None
    assert (found.peer.program, found.is_reached) == ("pgbackrest", is_reached)
    assert found.floor_ratio == pytest.approx(48 / own)


def test_distance_to_the_floor_of_a_time() -> None:
    assert verdict(result(cell("walpy", "w", 3.0), floor=1.5)).floor_ratio == 2.0


def test_memory_has_its_own_target() -> None:
    row = [cell("walpy", "w", 1.0, memory=128_000_001), cell("wal-g", "g", 9.0)]
    found = verdict(result(*row, target=Target(0.6, 128)))
    assert (found.is_reached, found.is_memory_reached) == (True, False)


def test_nothing_is_claimed_without_a_peer_or_without_walpy() -> None:
    alone = verdict(result(cell("walpy", "w", 1.0), cell("shell", "s", 2.0), target=Target(0.6)))
    assert (alone.ratio, alone.is_reached) == (None, None)
    without = verdict(result(cell("walpy", "w", None), cell("wal-g", "g", 1.0), target=Target(0.6, 100)))
    assert (without.own, without.ratio, without.is_reached, without.is_memory_reached) == (None, None, None, None)
