import json
from pathlib import Path

import pytest

from benchmarks.rows.crowd import half_planned, objects, store_segments
from benchmarks.sink.crowd import Crowd, segment_of


def test_the_listing_is_that_of_stored_segments(tmp_path: Path) -> None:
    store = Crowd(tmp_path, "bucket/x/wal_005/", 700)
    found: list[str] = []
    after, is_truncated = "", True
    while is_truncated:
        page = store.page("bucket", "x/wal_005/", "", after, 300)
        found += page.keys
        after, is_truncated = page.last, page.is_truncated
    assert found == sorted(f"x/wal_005/{segment_of(number)}.lz4" for number in range(1, 701))
    assert store.get(f"bucket/{found[0]}") is not None
    assert store.page("bucket", "x/basebackups_005/", "/", "", 300).keys == []


def test_files_and_backups(tmp_path: Path) -> None:
    store_segments(tmp_path / "wal_005", 300)
    assert sorted(path.name for path in tmp_path.rglob("*.lz4"))[-1] == "00000001000000010000002C.lz4"
    made = objects(3, 300)
    assert [name[16:45] for name in made][::2] == [f"base_{segment_of(number)}" for number in (1, 101, 201)]


def test_a_wrong_plan_is_noticed() -> None:
    plan = {"kept_backups": [{}, {}], "objects": 2 * 75 + 4}
    half_planned(f"INFO: log\n{json.dumps(plan)}\n", 4, 300)
    with pytest.raises(AssertionError, match="153 objects would go, not 154"):
        half_planned(json.dumps({**plan, "objects": 153}), 4, 300)
