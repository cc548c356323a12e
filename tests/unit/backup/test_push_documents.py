"""Documents of a finished backup."""

import stat
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from walpy.backup.delta_base import Base
from walpy.backup.documents import (
    FinishedBackup,
    files_metadata,
    metadata,
    now_rounded_up,
    sentinel,
)
from walpy.backup.entry import CorruptBlocks, FileEntry
from walpy.backup.file_entries import ALL_BLOCKS, SOME_BLOCKS, local_timestamp, tar_listing
from walpy.backup.files_metadata import FilesMetadata, TarListing
from walpy.backup.model import Spec, Tablespace
from walpy.backup.partition import PartitionResult
from walpy.backup.timestamp import Timestamp
from walpy.postgres.database import Database
from walpy.postgres.entry import Entry
from walpy.postgres.lsn import Lsn

FINISHED = FinishedBackup(
    start_lsn=33554472,
    stop_lsn=33554688,
    start_time=Timestamp.parse("2026-11-21T19:10:32.123457Z"),
    finish_time=Timestamp.parse("2026-11-21T19:10:41.5Z"),
    pg_version=150018,
    system_identifier=7710704239505806382,
    hostname="db1",
    data_directory="/var/lib/postgresql/15/main",
    uncompressed_size=31483904,
    compressed_size=4212345,
    data_catalog_size=48300032,
    spec=Spec("/var/lib/postgresql/15/main", (Tablespace("16384", "/mnt/ts1", "pg_tblspc/16384"),)),
    user_data={"job": "nightly"},
    is_permanent=False,
    files_metadata_disabled=False,
)
# As WAL-G writes them.
SENTINEL = (
    b'{"LSN":33554472,"PgVersion":150018,"FinishLSN":33554688,"SystemIdentifier":7710704239505806382,'
    b'"UncompressedSize":31483904,"CompressedSize":4212345,"DataCatalogSize":48300032,'
    b'"Spec":{"16384":{"loc":"/mnt/ts1","link":"pg_tblspc/16384"},"base_prefix":"/var/lib/postgresql/15/main",'
    b'"tablespaces":["16384"]},"UserData":{"job":"nightly"},"ChkpNum":null,"Version":2,'
    b'"StartTime":"2026-11-21T19:10:32.123457Z","FinishTime":"2026-11-21T19:10:41.5Z",'
    b'"DateFmt":"%Y-%m-%dT%H:%M:%S.%fZ","Hostname":"db1","DataDir":"/var/lib/postgresql/15/main","IsPermanent":false}'
)
METADATA = (
    b'{"start_time":"2026-11-21T19:10:32.123457Z","finish_time":"2026-11-21T19:10:41.5Z",'
    b'"date_fmt":"%Y-%m-%dT%H:%M:%S.%fZ","hostname":"db1","data_dir":"/var/lib/postgresql/15/main",'
    b'"pg_version":150018,"start_lsn":33554472,"finish_lsn":33554688,"is_permanent":false,'
    b'"system_identifier":7710704239505806382,"uncompressed_size":31483904,"compressed_size":4212345,'
    b'"user_data":{"job":"nightly"}}'
)


@pytest.fixture
def moscow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "MSK-3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def file(name: str, mtime_ns: int = 0) -> Entry:
    return Entry(name, f"/data{name}", stat.S_IFREG | 0o600, 8192, mtime_ns, 0, 0)


def test_sentinel_and_metadata() -> None:
    assert sentinel(FINISHED).to_json() == SENTINEL
    assert metadata(FINISHED).to_json() == METADATA


def result(number: int, listing: TarListing) -> PartitionResult:
    return PartitionResult(f"part_{number:03d}.tar", f"x/part_{number:03d}.tar.lz4", 8192, 1, listing)


def test_files_metadata(moscow: None) -> None:
    mtime = Timestamp.parse("2026-11-21T19:10:32.123456789Z").ns
    first = [Entry("/", "/data", stat.S_IFDIR | 0o700, 0, mtime, 0, 0), file("/a"), file("/gone")]
    blocks = tuple(range(20))
    results = [
        result(1, tar_listing(first, {"/gone"}, {}, SOME_BLOCKS)),
        result(2, tar_listing([file("/base/5/1259")], set(), {"/base/5/1259": blocks}, SOME_BLOCKS)),
        result(3, tar_listing([file("/gone too")], {"/gone too"}, {}, SOME_BLOCKS)),
    ]
    databases = {"app": Database(16385)}
    text = b"".join(files_metadata(results, "x/backup_label.tar.lz4", databases))
    document = FilesMetadata.from_json(text)
    assert document.to_json() == text
    assert document.tar_file_sets == {
        "part_001.tar.lz4": ("/", "/a"),
        "part_002.tar.lz4": ("/base/5/1259",),
        "part_003.tar.lz4": (),
        "backup_label.tar.lz4": ("tablespace_map", "backup_label"),
    }
    assert list(document.files) == ["/", "/a", "/base/5/1259"]
    assert document.files["/"].mtime.rfc3339_ns() == "2026-11-21T22:10:32.123456789+03:00"
    assert document.files["/a"] == FileEntry(Timestamp(0, 3 * 3600))
    assert document.files["/base/5/1259"].corrupt_blocks == CorruptBlocks(20, blocks[:10])
    assert document.databases == databases


def test_all_corrupt_blocks_on_demand() -> None:
    blocks = tuple(range(20))
    listing = tar_listing([file("/base/5/1")], set(), {"/base/5/1": blocks}, ALL_BLOCKS)
    document = FilesMetadata.from_json(b"".join(files_metadata([result(1, listing)], "l", {})))
    assert document.files["/base/5/1"].corrupt_blocks == CorruptBlocks(20, blocks)


def test_times_are_whole_microseconds_and_not_in_the_past() -> None:
    before = time.time_ns()
    now = now_rounded_up()
    assert now.ns % 1000 == 0
    assert before <= now.ns <= time.time_ns() + 1000
    assert now.utc_offset_seconds == 0


def test_local_time_of_summer_and_winter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    try:
        winter, summer = (Timestamp.parse(f"2026-{month}-01T00:00:00Z").ns for month in ("01", "07"))
        assert local_timestamp(winter).rfc3339_ns() == "2026-01-01T01:00:00+01:00"
        assert local_timestamp(summer).rfc3339_ns() == "2026-07-01T02:00:00+02:00"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_delta_as_walg_writes_it() -> None:
    base = Base("base_B", "base_A", 2, Lsn(33554472), Lsn(33554688), 7, {}, 0)
    document = sentinel(replace(FINISHED, base=base)).to_json()
    expected = b'{"LSN":33554472,"DeltaLSN":33554472,"DeltaFrom":"base_B","DeltaFullName":"base_A","DeltaCount":2,'
    assert document == SENTINEL.replace(b'{"LSN":33554472,', expected, 1)


def test_unchanged_files_are_in_no_tar() -> None:
    unchanged = Entry("/base/5/1", "/data/base/5/1", stat.S_IFREG, 8192, 5, 0, 0)
    files = FilesMetadata.from_json(b"".join(files_metadata([], "x/backup_label.tar.lz4", {}, [unchanged])))
    assert files.files == {"/base/5/1": FileEntry(local_timestamp(5), is_skipped=True)}
    assert list(files.tar_file_sets) == ["backup_label.tar.lz4"]
