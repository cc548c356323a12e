"""One partition: files in, a stored tar out, whatever happens to the files meanwhile."""

import contextlib
import dataclasses
import io
import json
import os
import pickle
import random
import stat
import struct
import tarfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from walpy.archive import Archive, open_archive
from walpy.backup import tar
from walpy.backup.cut import WHOLE_FILE, Item, OpenFile, Span, WholeFile, cut
from walpy.backup.members import tar_member
from walpy.backup.partition import Packer, PartitionJob, PartitionResult, pack, start_worker
from walpy.backup.rate_limits import MeasuredSleep, open_limited_archive
from walpy.backup.source_files import Pages
from walpy.config import Config
from walpy.errors import BackupError, StorageUnavailable
from walpy.pipeline import run_jobs
from walpy.postgres.entry import Entry, table_of
from walpy.storage.base import Chunk, Storage

PAGE = 8192
MIB = 1 << 20
KEY = "a key of more than twenty-five bytes"
BACKUP = "base_000000010000000000000002"
SIZES = {
    "empty": 0,
    "one": 1,
    "block": 512,
    "page": PAGE,
    "odd": PAGE + 3,
    "limit": WHOLE_FILE,
    "large": WHOLE_FILE + 1,
    "pieces": 3 * MIB,
    "odd_pieces": 2 * MIB + 5 * PAGE + 17,
}


def content(size: int, seed: int = 0) -> bytes:
    """Half of it compressible."""
    return (random.Random(seed).randbytes(size // 2) + bytes(size))[:size]


def entry(path: Path, name: str | None = None) -> Entry:
    status = path.lstat()
    return Entry(
        name or f"/{path.name}",
        str(path),
        status.st_mode,
        status.st_size if stat.S_ISREG(status.st_mode) else 0,
        status.st_mtime_ns,
        status.st_uid,
        status.st_gid,
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for seed, (name, size) in enumerate(SIZES.items()):
        (folder / name).write_bytes(content(size, seed))
    return folder


@pytest.fixture
def entries(source: Path) -> tuple[Entry, ...]:
    return (entry(source, "/"), *(entry(source / name) for name in SIZES))


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    folder = tmp_path / "storage"
    folder.mkdir()
    return folder


def settings(storage: Path, **more: str) -> Config:
    return Config.from_mapping({"WALG_FILE_PREFIX": str(storage), **more})


def job(entries: Iterable[Entry], *, threads: int = 2, verify_before: int | None = None) -> PartitionJob:
    return PartitionJob(BACKUP, "part_001.tar", tuple(entries), threads, Pages(PAGE, verify_before), 10)


def packed(archive: Archive, job: PartitionJob) -> tuple[PartitionResult, bytes]:
    result = Packer(archive, job, lambda count: None).run()
    with archive.open_object(result.object_name) as chunks:
        return result, b"".join(bytes(chunk) for chunk in chunks)


def contents(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {
            member.name.lstrip("/"): file.read() if (file := archive.extractfile(member)) else b""
            for member in archive
            if member.isfile()
        }


def expected_tar(entries: Iterable[Entry]) -> bytes:
    out = b""
    for item in entries:
        data = Path(item.path).read_bytes() if item.is_file else b""
        out += tar.header(tar_member(item)) + data + bytes(tar.padding(len(data)))
    return out + tar.END


@pytest.mark.parametrize("method", ["lz4", "zstd", "brotli", "lzma", "none"])
@pytest.mark.parametrize("threads", [1, 3])
def test_every_codec_stores_the_same_tar(method: str, threads: int, entries: tuple[Entry, ...], storage: Path) -> None:
    archive = open_archive(settings(storage, WALG_COMPRESSION_METHOD=method))
    result, data = packed(archive, job(entries, threads=threads))
    assert data == expected_tar(entries)
    assert result.size == sum(SIZES.values())
    assert result.stored_size == (storage / result.object_name).stat().st_size
    suffix = f".{archive.codec.extension}" if archive.codec.extension else ""
    assert result.object_name == f"basebackups_005/{BACKUP}/tar_partitions/part_001.tar{suffix}"
    assert json.loads(result.listing.names) == ["/", *(f"/{name}" for name in SIZES)]
    assert result.corrupt == ()


def test_vanished_files_are_left_out(source: Path, entries: tuple[Entry, ...], storage: Path) -> None:
    for name in ("empty", "page", "pieces"):
        (source / name).unlink()
    result, data = packed(open_archive(settings(storage)), job(entries))
    left = [item for item in entries if item.name not in ("/empty", "/page", "/pieces")]
    assert json.loads(result.listing.names) == [item.name for item in left]
    assert list(json.loads(b"{%b}" % result.listing.files)) == [item.name for item in left]
    assert result.size == sum(item.size for item in left)
    assert data == expected_tar(left)


def test_a_partition_whose_files_all_vanished_is_an_empty_tar(source: Path, storage: Path) -> None:
    item = entry(source / "pieces")
    (source / "pieces").unlink()
    result, data = packed(open_archive(settings(storage)), job([item]))
    assert data == tar.END
    assert result.size == 0


@pytest.mark.parametrize("name", ["page", "pieces"])
def test_a_file_that_grew_is_cut_to_its_header(name: str, source: Path, storage: Path) -> None:
    item = entry(source / name)
    before = (source / name).read_bytes()
    with (source / name).open("ab") as file:
        file.write(b"more" * PAGE)
    _, data = packed(open_archive(settings(storage)), job([item, entry(source / "one")]))
    assert contents(data) == {name: before, "one": content(1, 1)}


@pytest.mark.parametrize("name", ["page", "odd", "pieces", "odd_pieces"])
@pytest.mark.parametrize("remaining", [0, 1, 5000])
def test_a_file_that_shrank_is_filled_up_with_zeros(name: str, remaining: int, source: Path, storage: Path) -> None:
    others = [entry(source / "odd_pieces", "/before"), entry(source / "pieces", "/after")]
    item = entry(source / name)
    before = (source / name).read_bytes()
    others = [other for other in others if other.path != item.path]
    os.truncate(source / name, remaining)
    _, data = packed(open_archive(settings(storage)), job([*others, item]))
    assert contents(data)[name] == before[:remaining] + bytes(len(before) - remaining)


def test_a_file_that_was_replaced_by_a_link_is_an_error(source: Path, storage: Path) -> None:
    item = entry(source / "page")
    (source / "page").unlink()
    (source / "page").symlink_to("/etc/passwd")
    with pytest.raises(BackupError, match=r"cannot open .*/page"):
        packed(open_archive(settings(storage)), job([item]))
    assert not [path for path in storage.rglob("*") if path.is_file()]


def test_a_file_that_cannot_be_read_is_an_error(source: Path, storage: Path) -> None:
    folder = source / "page"
    item = entry(folder)
    folder.unlink()
    folder.mkdir()  # opens, but does not read
    with pytest.raises(BackupError, match=r"cannot read '.*/page' at offset 0: Is a directory"):
        packed(open_archive(settings(storage)), job([item]))


class BrokenStorage:
    """Takes some bytes, then fails."""

    def __init__(self, storage: Storage, size: int) -> None:
        self._storage = storage
        self._size = size

    def put(self, name: str, chunks: Iterable[Chunk], *, create_only: bool = False) -> int:
        def passed() -> Iterator[Chunk]:
            size = 0
            for chunk in chunks:
                size += len(chunk)
                if size > self._size:
                    raise StorageUnavailable("cable cut")
                yield chunk

        return self._storage.put(name, passed(), create_only=create_only)


def test_a_failing_storage_closes_every_file(source: Path, storage: Path) -> None:
    archive = open_archive(settings(storage))
    archive.storage = BrokenStorage(archive.storage, MIB)  # type: ignore[assignment]
    with pytest.raises(StorageUnavailable):
        Packer(archive, job([entry(source / "pieces"), entry(source / "odd_pieces")]), lambda count: None).run()
    assert not open_files_below(source)


def open_files_below(folder: Path) -> list[str]:
    """The files below `folder` that this process holds open; whatever else it opens or closes meanwhile."""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that lists
            found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return [path for path in found if path.startswith(f"{folder}/")]


class Blocking:
    """A limiter that lets the first read pass, and no other."""

    def __init__(self) -> None:
        self.cancelled: list[bool] = []
        self._first = threading.Lock()
        self._second = threading.Event()

    def acquire(self, count: int, cancel: threading.Event) -> None:
        if self._first.acquire(blocking=False):
            self._second.wait(20)  # so that the storage fails while another read waits
            return
        self._second.set()
        self.cancelled.append(cancel.wait(20))


def test_a_failing_storage_does_not_wait_for_the_disk_limit(source: Path, storage: Path) -> None:
    archive = open_archive(settings(storage))
    archive.storage = BrokenStorage(archive.storage, 10)  # type: ignore[assignment]
    limiter = Blocking()
    with pytest.raises(StorageUnavailable):
        Packer(archive, job([entry(source / "pieces")]), lambda count: None, limiter).run()  # type: ignore[arg-type]
    assert limiter.cancelled
    assert all(limiter.cancelled)


def test_progress_counts_the_bytes_of_the_files(entries: tuple[Entry, ...], storage: Path) -> None:
    counts: list[int] = []
    Packer(open_archive(settings(storage)), job(entries), counts.append).run()
    assert sum(counts) == sum(SIZES.values())


def test_in_worker_processes_with_rate_limits(entries: tuple[Entry, ...], storage: Path) -> None:
    config = settings(storage, WALG_DISK_RATE_LIMIT=str(100 * MIB), WALG_NETWORK_RATE_LIMIT=str(100 * MIB))
    results: list[PartitionResult] = []
    run_jobs(
        pack,
        [job(entries)],
        processes=1,
        initializer=start_worker,
        initargs=(config, None, None),
        on_result=results.append,
    )
    assert results[0].size == sum(SIZES.values())


class Acquired:
    """A limiter that only counts."""

    def __init__(self) -> None:
        self.total = 0

    def acquire(self, count: int, cancel: threading.Event) -> None:
        assert not cancel.is_set()
        self.total += count


def test_reads_pass_the_disk_limit(entries: tuple[Entry, ...], storage: Path) -> None:
    limiter = Acquired()
    Packer(open_archive(settings(storage)), job(entries, threads=1), lambda count: None, limiter).run()  # type: ignore[arg-type]
    assert limiter.total == sum(SIZES.values())


def bad_page(lsn: int) -> bytes:
    """A page that no checksum fits, last changed at lsn."""
    return struct.pack("=II", lsn >> 32, lsn & 0xFFFFFFFF) + b"\xff" * (PAGE - 8)


@pytest.mark.parametrize("size", [40, 300])  # pages: a whole file, a file in spans
@pytest.mark.parametrize("name", ["/base/5/16384", "/base/5/16384.2", "/pg_tblspc/16400/PG_15_202209061/5/1259"])
def test_corrupt_pages_are_reported_and_stored_as_they_are(name: str, size: int, tmp_path: Path, storage: Path) -> None:
    start = 0x1_0000_0000
    path = tmp_path / "relation"
    pages = [bytes(PAGE)] * size
    pages[3], pages[size - 1], pages[7] = bad_page(start - 1), bad_page(5), bad_page(start)
    path.write_bytes(b"".join(pages) + b"half a page")
    archive = open_archive(settings(storage))
    result, data = packed(archive, job([entry(path, name)], verify_before=start))
    assert result.corrupt == ((name, (3, size - 1)),)
    assert contents(data)[name.lstrip("/")] == path.read_bytes()
    assert packed(archive, job([entry(path, name)]))[0].corrupt == ()


def test_only_relations_are_verified(tmp_path: Path, storage: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bad_page(1))
    result, _ = packed(open_archive(settings(storage)), job([entry(path, "/pg_xact/0000")], verify_before=1 << 40))
    assert result.corrupt == ()


def test_without_a_listing_names_need_not_be_unicode(source: Path, storage: Path) -> None:
    (source / os.fsdecode(b"\xff")).write_bytes(b"x")
    odd = dataclasses.replace(job([entry(source / os.fsdecode(b"\xff"))]), kept_blocks=None)
    result, _ = packed(open_archive(settings(storage)), odd)
    assert result.listing.files == b""


def test_job_is_named_by_its_tar(entries: tuple[Entry, ...]) -> None:
    assert str(job(entries)) == f"{BACKUP}/part_001.tar"


def test_a_job_travels_with_its_entries(entries: tuple[Entry, ...]) -> None:
    elsewhere = Entry("/pg_tblspc/1/x", "/mnt/tablespace/y", stat.S_IFREG, 1, 2, 3, 4)
    for several in ((), entries, (*entries, elsewhere)):
        sent = job(several, verify_before=7)
        assert pickle.loads(pickle.dumps(sent)) == sent
        table = dataclasses.replace(sent, entries=table_of(several))
        arrived = pickle.loads(pickle.dumps(table))
        assert tuple(arrived.entries) == several
        assert dataclasses.replace(arrived, entries=several) == sent


def test_a_table_of_entries_is_packed_as_they_are(entries: tuple[Entry, ...], storage: Path) -> None:
    first, _ = packed(open_archive(settings(storage)), job(entries))
    stored = (storage / first.object_name).read_bytes()
    second, _ = packed(open_archive(settings(storage)), dataclasses.replace(job(entries), entries=table_of(entries)))
    assert (storage / second.object_name).read_bytes() == stored
    assert dataclasses.replace(second, times={}) == dataclasses.replace(first, times={})


def test_a_large_job_is_small_on_its_way(tmp_path: Path) -> None:
    folder = str(tmp_path)
    many = [Entry(f"/base/{n}", f"{folder}/base/{n}", stat.S_IFREG, n, 10**18 + n, 0, 0) for n in range(1000)]
    assert len(pickle.dumps(job(many))) < 60 * len(many)


@pytest.mark.parametrize(("method", "key"), [("lz4", ""), ("brotli", ""), ("lz4", KEY), ("brotli", KEY)])
def test_times_of_all_stages_are_measured(method: str, key: str, tmp_path: Path, storage: Path) -> None:
    path = tmp_path / "16384"
    path.write_bytes(bytes(4 * MIB))
    config = settings(storage, WALG_COMPRESSION_METHOD=method, WALG_NETWORK_RATE_LIMIT=str(MIB), WALG_LIBSODIUM_KEY=key)
    waits = MeasuredSleep()
    archive = open_limited_archive(config, sleep=waits)
    waits.seconds = 100.0  # of earlier parts
    result = Packer(
        archive,
        job([entry(path, "/base/5/16384")], verify_before=1 << 40),
        lambda count: None,
        Slow(),  # type: ignore[arg-type]
        waits,
    ).run()
    encrypting = ["encrypting"] if key else []
    assert list(result.times) == ["reading", "verifying", "compressing", *encrypting, "storing", "the rate limit"]
    assert all(seconds > 0 for seconds in result.times.values())
    threads = 2 if method == "lz4" else 1
    assert Slow.CALLS * Slow.SECONDS / threads < result.times["the rate limit"] < 60


class Slow:
    """A limiter that takes its time."""

    CALLS, SECONDS = 4, 0.01

    def acquire(self, count: int, cancel: threading.Event) -> None:
        cancel.wait(self.SECONDS)


# ---- cutting


def opener(entry: Entry) -> OpenFile:
    return OpenFile(entry, os.open(entry.path, os.O_RDONLY))


def length(item: Item) -> int:
    if isinstance(item, bytes):
        return len(item)
    if isinstance(item, WholeFile):
        return len(item.header) + item.entry.size + tar.padding(item.entry.size)
    return item.length


def test_spans_are_whole_pages_and_cover_the_file(entries: tuple[Entry, ...]) -> None:
    spans: dict[str, list[Span]] = {}
    for items in cut(entries, opener, piece_size=MIB, page_size=PAGE):
        assert 0 < sum(length(item) for item in items) <= MIB
        for item in items:
            if isinstance(item, Span):
                spans.setdefault(item.file.entry.name, []).append(item)
                item.file.release()
    assert set(spans) == {"/large", "/pieces", "/odd_pieces"}
    for parts in spans.values():
        position = 0
        for part in parts:
            assert part.offset == position
            assert part.offset % PAGE == 0
            position += part.length
        assert position == parts[0].file.entry.size
        assert not parts[0].file.is_open


def test_pieces_are_nearly_full(source: Path) -> None:
    pieces = list(cut([entry(source / "pieces")] * 5, opener, piece_size=MIB, page_size=PAGE))
    for items in pieces[:-1]:
        assert sum(length(item) for item in items) > MIB - 2 * PAGE
    for items in pieces:
        for item in items:
            if isinstance(item, Span):
                item.file.release()


def test_no_entry_is_an_end_marker() -> None:
    assert list(cut([], opener, piece_size=MIB, page_size=PAGE)) == [[tar.END]]


@pytest.mark.parametrize("count", [1, 2046, 2047, 2048, 5000])
def test_many_tiny_members(count: int, tmp_path: Path) -> None:
    pieces = list(cut([entry(tmp_path, "/dir")] * count, opener, piece_size=MIB, page_size=PAGE))
    assert sum(len(items) for items in pieces) == count + 1
    assert all(sum(length(part) for part in items) <= MIB for items in pieces)
