from benchmarks.model import Cell, Result, Row, RowResult, Target
from benchmarks.report.markdown import amount, not_reached, number, row_section, summary_table, table, whole

ROW = Row("backup", "backup, lz4", "a flush is timed", Target(0.6, 128))


def result(*cells: Cell) -> RowResult:
    return RowResult(ROW, list(cells), floor=0.5)


def test_a_table_is_not_broken_by_its_cells() -> None:
    assert table(["a", "b"], [["tar | lz4", "1"]]) == "| a | b |\n| --- | --- |\n| tar / lz4 | 1 |\n"


def test_numbers_keep_three_digits() -> None:
    assert [number(value) for value in (None, 0, 0.1234, 12.345, 1234.5, 123456.0)] == [
        "-",
        "0",
        "0.123",
        "12.3",
        "1234",
        "123456",
    ]


def test_amounts_have_the_unit_that_fits() -> None:
    assert amount(0.0123, ROW) == "12.3 ms"
    assert amount(1.5, ROW) == "1.5 s"
    assert amount(17.25, Row("r", "r", "r", unit="/s")) == "17.2/s"


def test_a_reached_row_in_short() -> None:
    own = Cell(
        "walpy", "walpy", "measured", values=[1.0, 1.2, 1.1], cpu_per_gb=1.5, memory=90_000_000, stored=5_000_000
    )
    line = summary_table(Result({}, [result(own, Cell("wal-g", "wal-g", "measured", values=[2.2]))])).splitlines()[2]
    expected = "| backup, lz4 | 1.1 s | wal-g 2.2 s | 0.5 | ≤ 0.6 | yes | 2.2 | 1.5, - | 90, - (≤ 128) | 5, - |"
    assert line == expected


def test_a_missed_row_says_so_and_busy_is_shown() -> None:
    own = Cell("walpy", "walpy", "busy", values=[2.0], memory=200_000_000)
    line = summary_table(Result({}, [result(own, Cell("wal-g", "wal-g", "measured", values=[2.0]))])).splitlines()[2]
    assert "2 s (busy)" in line
    assert "| **no** |" in line
    assert "200, - (≤ 128: **no**)" in line


def test_absent_and_failed_programs_are_told_with_the_reason() -> None:
    section = row_section(
        result(Cell("wal-g", "wal-g", "absent", "wal-g is not on PATH"), Cell("x", "x", "failed", "exit 1\nwhy"))
    )
    assert "| wal-g | absent: wal-g is not on PATH |" in section
    assert "| x | failed: exit 1 why |" in section
    assert "Floor: 500 ms." in section


def test_a_row_that_walpy_cannot_run_says_why() -> None:
    text = whole(Result({"data": "none"}, [result(Cell("walpy", "walpy", "absent", "no such command"))]))
    assert "| backup, lz4 | no such command | none measured | - |" in text
    assert "- data: none\n" in text


def test_a_row_without_a_headline_of_walpy_is_not_in_the_short_table() -> None:
    start = RowResult(
        Row("startup", "start", "exec to exit"), [Cell("walpy", "w", "measured", values=[1.0], is_headline=False)]
    )
    assert "start" not in summary_table(Result({}, [start]))
    assert "### start" in whole(Result({}, [start]))


def test_what_is_not_reached_is_listed() -> None:
    peer = Cell("wal-g", "wal-g", "measured", values=[2.0])
    slow, fat = (
        Cell("walpy", "walpy", "measured", values=[1.5], memory=1_000_000),
        Cell("walpy", "walpy", "measured", values=[1.0], memory=130_000_000),
    )
    assert not_reached(Result({}, [result(slow, peer)])) == "- backup, lz4: 0.75 of wal-g, target 0.6\n"
    assert not_reached(Result({}, [result(fat, peer)])) == "- backup, lz4: 130 MB, target 128\n"
    assert "none" in not_reached(Result({}, [result(peer)]))
