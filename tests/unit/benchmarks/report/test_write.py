from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.model import Cell, Result, Row, RowResult, Target
from benchmarks.report.write import BEGIN, END, OVERVIEW, generated, replace_generated, write_report


def result(value: float = 1.0, name: str = "push") -> Result:
    cells = [
        Cell("walpy", "walpy", "measured", values=[value], requests={"put": 1}, memory=5),
        Cell("wal-g", "wal-g", "absent", "not here"),
        Cell("pgbackrest", "pgbackrest", "measured", values=[2 * value]),
    ]
    return Result({"data": "some"}, [RowResult(Row(name, name, "rule", Target(0.7)), cells, floor=0.1)])


def test_a_result_survives_its_file(tmp_path: Path) -> None:
    results.save(result(), tmp_path / "result.json")
    assert results.load(tmp_path / "result.json") == result()


def test_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('{"rows": []}')
    with pytest.raises(ValueError, match="no result of this version"):
        results.load(tmp_path / "result.json")


def test_later_rows_replace_earlier_ones() -> None:
    first = Result({"date": "1"}, [*result(1.0, "a").rows, *result(2.0, "b").rows])
    second = Result({"date": "2"}, [*result(3.0, "b").rows, *result(4.0, "c").rows])
    both = results.merged(first, second)
    assert [(one.row.name, one.cells[0].values) for one in both.rows] == [("a", [1.0]), ("b", [3.0]), ("c", [4.0])]
    assert both.conditions == {"date": "2"}


def test_a_report_has_a_plot_for_each_measured_row(tmp_path: Path) -> None:
    empty = RowResult(Row("none", "none", "rule"), [Cell("walpy", "walpy", "failed", "why")])
    write_report(Result({}, [*result().rows, empty]), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"report.md", "push.svg", OVERVIEW}


def test_only_the_generated_part_of_a_page_is_replaced() -> None:
    page = f"before\n{BEGIN}old\n{END}after\n"
    assert replace_generated(page, "new\n") == f"before\n{BEGIN}new\n{END}after\n"
    with pytest.raises(ValueError, match="no generated part"):
        replace_generated("nothing", "new")


def test_the_page_names_the_plot_of_all_rows() -> None:
    assert f"(plots/{OVERVIEW})" in generated(result(), "plots")
