import pytest

from benchmarks.rows.table import GROUPS, all_rows, chosen


def test_rows_have_names_of_their_own_and_a_rule() -> None:
    rows = [row for row, _ in all_rows().values()]
    assert len({row.title for row in rows}) == len(rows)
    assert all(row.rule for row in rows)


def test_rates_want_more_than_the_peer_and_times_less() -> None:
    for row, _ in all_rows().values():
        if row.direction == "more":
            assert row.target.ratio is not None
            assert row.target.ratio > 1


def test_rows_are_chosen_by_name_by_group_and_by_beginning() -> None:
    assert chosen(["burst-lz4"]) == ["burst-lz4"]
    assert chosen(["memory"]) == GROUPS["memory"]
    assert chosen(["restore"]) == ["restore-lz4", "restore-zstd"]
    assert chosen([]) == [name for name in all_rows() if not name.startswith(("crowd-", "million-"))]
    assert chosen(["crowd"]) == GROUPS["crowd"]
    assert chosen(["million"]) == GROUPS["million"]
    with pytest.raises(LookupError, match="no row 'nonsense'"):
        chosen(["nonsense"])


def test_groups_name_rows_that_exist() -> None:
    assert all(name in all_rows() for names in GROUPS.values() for name in names)
