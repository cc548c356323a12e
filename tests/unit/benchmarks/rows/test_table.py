import pytest

from benchmarks.rows.catalogue import objects
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
    assert chosen([]) == list(all_rows())
    with pytest.raises(LookupError, match="no row 'nonsense'"):
        chosen(["nonsense"])


def test_groups_name_rows_that_exist() -> None:
    assert all(name in all_rows() for names in GROUPS.values() for name in names)


def test_a_catalogue_has_two_objects_for_each_backup() -> None:
    names = list(objects(300))
    assert len(set(names)) == 600
    assert names[0] == "basebackups_005/base_000000010010000000000000_backup_stop_sentinel.json"
    assert names[1] == "basebackups_005/base_000000010010000000000000/metadata.json"
