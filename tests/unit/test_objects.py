"""Single objects: stored, read, removed, found by patterns, and checked; WAL-G's cases are in test_st_cases."""

import io
from pathlib import Path

import pytest

from tests.unit.wal.synthetic import archive_in
from walpy.archive import Archive
from walpy.errors import DataCorrupt, ObjectExists, StorageError, UsageError, WalpyError
from walpy.object_listing import list_objects, matching_objects, pattern_fits, stat_object
from walpy.objects import check_read, check_write, fetch_object, remove_objects, store_file, write_object


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    archive = archive_in(tmp_path / "archive")
    for name in ("wal_005/a.lz4", "wal_005/b.lz4", "wal_005/deep/c", "top"):
        archive.put_bytes(name, name.encode())
    return archive


def test_a_stream_is_stored_and_read_back(archive: Archive) -> None:
    data = b"walpy" * 1_000_000
    assert store_file(archive, io.BytesIO(data), "x/y") == "x/y.lz4"
    assert store_file(archive, io.BytesIO(data), "x/raw", compress=False) == "x/raw"
    for name, decompress in (("x/y.lz4", True), ("x/raw", False)):
        stream = io.BytesIO()
        write_object(archive, name, stream, decompress=decompress)
        assert stream.getvalue() == data


def test_an_unknown_extension_is_kept(archive: Archive, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fetch_object(archive, "top", str(tmp_path))
    assert (tmp_path / "top").read_bytes() == b"top"
    assert "the extension of top is no codec's" in caplog.text


def test_a_damaged_object_leaves_no_file(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(DataCorrupt):
        fetch_object(archive, "wal_005/a.lz4", str(tmp_path / "a"))
    assert not (tmp_path / "a").exists()


def test_nothing_is_overwritten_unasked(archive: Archive) -> None:
    with pytest.raises(ObjectExists, match="object top already exists"):
        store_file(archive, io.BytesIO(b"new"), "top", compress=False)
    assert archive.get_bytes("top") == b"top"
    store_file(archive, io.BytesIO(b"new"), "top", compress=False, overwrite=True)
    assert archive.get_bytes("top") == b"new"


def test_removal_takes_the_object_before_the_folder(archive: Archive) -> None:
    archive.put_bytes("top2/inner", b"x")
    assert remove_objects(archive, "top") == 1
    assert remove_objects(archive, "top2/") == 1
    with pytest.raises(StorageError, match='object or folder "wal_00" does not exist'):
        remove_objects(archive, "wal_00")
    assert remove_objects(archive, "wal_005") == 3
    assert list(archive.storage.list()) == []


def test_missing_objects_and_the_reads_of_a_check(archive: Archive) -> None:
    with pytest.raises(StorageError, match='stat object "nope"'):
        stat_object(archive, "nope")
    check_read(archive, ["top", "wal_005/a.lz4"])
    with pytest.raises(StorageError, match="files are missing: a, top3"):
        check_read(archive, ["a", "top", "top3"])
    check_write(archive)
    assert "top" in list_objects(archive)


@pytest.mark.parametrize(
    ("pattern", "fitting"),
    [
        ("*", ["a", "ab", "b", "a-b", ""]),
        ("a*", ["a", "ab", "a-b"]),
        ("?", ["a", "b"]),
        ("[a-b]", ["a", "b"]),
        ("[^a]", ["b"]),
        ("a\\b", ["ab"]),
        ("a?b", ["a-b"]),
        ("a.b", []),
    ],
)
def test_patterns(pattern: str, fitting: list[str]) -> None:
    fits = pattern_fits(pattern)
    assert [text for text in ("a", "ab", "b", "a-b", "") if fits(text)] == fitting


@pytest.mark.parametrize("pattern", ["[a", "a\\", "[z-a]"])
def test_patterns_without_sense(pattern: str) -> None:
    with pytest.raises(UsageError, match="syntax error in pattern"):
        pattern_fits(pattern)


def test_objects_are_found_by_pattern(archive: Archive) -> None:
    assert matching_objects(archive, "wal_*/?.lz4") == ["wal_005/a.lz4", "wal_005/b.lz4"]
    assert matching_objects(archive, "*/deep/*") == ["wal_005/deep/c"]
    assert matching_objects(archive, "t*") == ["top"]
    with pytest.raises(StorageError, match="no object fits"):
        matching_objects(archive, "wal_005/z*")


def test_a_file_that_exists_is_not_fetched_over(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "got").write_text("old")
    with pytest.raises(WalpyError, match="cannot make") as raised:
        fetch_object(archive, "top", str(tmp_path / "got"))
    assert raised.value.hint == "It must not exist yet."
    assert (tmp_path / "got").read_text() == "old"
