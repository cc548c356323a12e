from pathlib import Path

import pytest

from benchmarks.rows.catalogue import complete, fill, listed, objects, segments
from benchmarks.tools.walg_like import Place


def test_a_catalogue_has_two_objects_for_each_backup() -> None:
    names = list(objects(300))
    assert len(set(names)) == 600
    assert names[0] == "basebackups_005/base_000000010010000000000000_backup_stop_sentinel.json"
    assert names[1] == "basebackups_005/base_000000010010000000000000/metadata.json"


def test_segments_follow_each_other() -> None:
    names = list(segments(257))
    assert names[0] == "wal_005/000000010000000000000001.lz4"
    assert names[254:] == [
        f"wal_005/{name}.lz4"
        for name in ("0000000100000000000000FF", "000000010000000100000000", "000000010000000100000001")
    ]


def test_a_folder_is_filled_and_cleared(tmp_path: Path) -> None:
    where = Place(tmp_path)
    fill(where, {"a/b": b"1", "a/c/d": b"23", "e": b""})
    assert where.stored is not None
    assert where.stored() == 3
    where.clear("a")
    assert {path.name for path in tmp_path.iterdir()} == {"a", "e"}
    assert where.stored() == 0


def test_wrong_answers_are_noticed() -> None:
    listed("name\nbase_1 x\nbase_2 y\n", 2)
    with pytest.raises(AssertionError, match="1 of 2"):
        listed("base_1\n", 2)
    complete("| 1 | 7 | OK |", 7)
    for wrong in ("| 1 | 6 | OK |", "| 1 | 7 | WARNING |", "OK 7 MISSING_LOST"):
        with pytest.raises(AssertionError):
            complete(wrong, 7)
