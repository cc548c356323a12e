"""Reading leaves the page cache as it was."""

import ctypes
import mmap
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from walpy.backup import page_cache
from walpy.backup.page_cache import BLOCK_SIZE, SequentialReads, read_part, read_whole

PAGE = mmap.PAGESIZE
MIB = 1 << 20
# A disk that is faster than this process between two system calls makes what is absent look cached, and the kernel may
# move or drop pages by itself. What a read does wrong it does each time.
TRIES = 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(4 * MIB))
    return path


@pytest.fixture
def descriptor(path: Path) -> Iterator[int]:
    """Of the file, flushed, so that its pages can be given up."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
    yield descriptor
    os.close(descriptor)


def cached(descriptor: int) -> list[bool]:
    """Which pages of a file are in the cache; the test is skipped where that cannot be told, or not be changed."""
    size = os.fstat(descriptor).st_size
    with mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY) as area:
        pages = ctypes.create_string_buffer(-(-size // PAGE))
        anchor = ctypes.c_char.from_buffer(area)
        assert ctypes.CDLL(None).mincore(ctypes.c_void_p(ctypes.addressof(anchor)), ctypes.c_size_t(size), pages) == 0
        del anchor
    return [bool(page & 1) for page in pages.raw]


def forget(descriptor: int) -> None:
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    if any(cached(descriptor)):
        pytest.skip("this file system keeps its pages")


def lost(before: list[bool], after: list[bool]) -> int:
    """How many pages were in the cache and are not any more."""
    return sum(was and not still for was, still in zip(before, after, strict=True))


def read(descriptor: int, offset: int, size: int) -> bytes:
    buffer = memoryview(mmap.mmap(-1, size))
    return bytes(buffer[: read_part(descriptor, buffer, offset)])


def read_in_order(descriptor: int, size: int, *, threads: int = 2, piece: int = MIB) -> bytes:
    """All of a file by several threads, each of which takes the next piece."""
    reads = SequentialReads(descriptor, size)
    offsets = iter(range(0, size, piece))
    found: dict[int, bytes] = {}

    def run() -> None:
        buffer = memoryview(mmap.mmap(-1, piece))
        for offset in offsets:
            view = buffer[: min(piece, size - offset)]
            found[offset] = bytes(view[: reads.read(view, offset)])

    workers = [threading.Thread(target=run) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    reads.end()
    return b"".join(found[offset] for offset in sorted(found))


@pytest.fixture
def large(tmp_path: Path) -> Iterator[tuple[int, bytes]]:
    """A file of more than three blocks, the last one not whole, and its content."""
    content = random.Random(1).randbytes(MIB + 8192) * 50
    path = tmp_path / "large"
    path.write_bytes(content)
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
    yield descriptor, content
    os.close(descriptor)


def test_what_was_absent_is_absent_again(path: Path, descriptor: int) -> None:
    content = path.read_bytes()

    def is_absent() -> bool:
        forget(descriptor)
        for offset in range(0, 4 * MIB, MIB):
            assert read(descriptor, offset, MIB) == content[offset : offset + MIB]
        return not any(cached(descriptor))

    assert any(is_absent() for _ in range(TRIES))


def test_what_was_cached_stays(path: Path, descriptor: int) -> None:
    def stays() -> bool:
        content = path.read_bytes()
        assert read(descriptor, MIB, MIB) == content[MIB : 2 * MIB]
        return all(cached(descriptor))

    assert any(stays() for _ in range(TRIES))


def test_of_a_mixed_part_what_was_cached_stays(path: Path, descriptor: int) -> None:
    content = path.read_bytes()

    def stays() -> bool:
        forget(descriptor)
        for start, count in ((0, 10), (50, 100), (251, 5)):
            os.pread(descriptor, count * PAGE, MIB + start * PAGE)
        before = cached(descriptor)
        assert read(descriptor, MIB, MIB) == content[MIB : 2 * MIB]
        return before.count(True) == 115 and not lost(before, cached(descriptor))

    assert any(stays() for _ in range(TRIES))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("piece", [MIB, MIB - 8192, 300 * PAGE])
def test_a_large_file_that_was_absent_is_absent_again(threads: int, piece: int, large: tuple[int, bytes]) -> None:
    descriptor, content = large

    def stays() -> int:
        forget(descriptor)
        assert read_in_order(descriptor, len(content), threads=threads, piece=piece) == content
        return cached(descriptor).count(True)

    assert any(not stays() for _ in range(TRIES))


def test_a_large_file_that_was_cached_stays(large: tuple[int, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor, content = large
    looks: list[int] = []
    absent = page_cache._absent
    monkeypatch.setattr(page_cache, "_absent", lambda *place: looks.append(place[1]) or absent(*place))

    def stays() -> bool:
        os.pread(descriptor, len(content), 0)
        looks.clear()
        assert read_in_order(descriptor, len(content)) == content
        return all(cached(descriptor)) and looks == [0]  # one look, then reads that may not wait

    assert any(stays() for _ in range(TRIES))


@pytest.mark.parametrize("start", [0, 3 * MIB, BLOCK_SIZE, 40 * MIB])
@pytest.mark.parametrize("length", [PAGE, 5 * MIB, 18 * MIB])
def test_of_a_large_file_what_was_cached_stays(start: int, length: int, large: tuple[int, bytes]) -> None:
    """A server's island in an absent file; and the absent rest is absent."""
    descriptor, content = large

    def is_as_it_was() -> bool:
        forget(descriptor)
        os.pread(descriptor, length, start)
        before = cached(descriptor)
        assert read_in_order(descriptor, len(content)) == content
        return cached(descriptor) == before

    assert any(is_as_it_was() for _ in range(TRIES))


@pytest.mark.parametrize("start", [5 * MIB, 20 * MIB])
def test_a_hole_in_a_large_file_stays_one(start: int, large: tuple[int, bytes]) -> None:
    """The begin was cached: that the rest is absent shows by a read, which may bring a piece before the look."""
    descriptor, content = large

    def stays() -> bool:
        forget(descriptor)
        os.pread(descriptor, start, 0)
        before = cached(descriptor)
        assert read_in_order(descriptor, len(content)) == content
        after = cached(descriptor)
        return not lost(before, after) and after.count(True) - before.count(True) <= 3 * MIB // PAGE

    assert any(stays() for _ in range(TRIES))


def test_a_large_file_is_read_twice(large: tuple[int, bytes]) -> None:
    descriptor, content = large
    reads = SequentialReads(descriptor, len(content))
    view = memoryview(mmap.mmap(-1, BLOCK_SIZE))

    def is_absent_again() -> bool:
        for offset in range(0, len(content), BLOCK_SIZE):
            part = view[: min(BLOCK_SIZE, len(content) - offset)]
            assert reads.read(part, offset) == len(part)
        reads.end()
        return not any(cached(descriptor))

    def are_both() -> bool:
        forget(descriptor)
        return is_absent_again() and is_absent_again()

    assert any(are_both() for _ in range(TRIES))


@pytest.mark.parametrize("is_cached", [True, False])
def test_small_files(is_cached: bool, tmp_path: Path) -> None:
    content = os.urandom(3 * PAGE + 100)
    (tmp_path / "small").write_bytes(content)
    descriptor = os.open(tmp_path / "small", os.O_RDONLY)
    os.fsync(descriptor)

    def stays_as_it_was() -> bool:
        if not is_cached:
            forget(descriptor)
        buffer = memoryview(bytearray(len(content)))
        assert read_whole(descriptor, buffer) == len(content)
        assert bytes(buffer) == content
        return set(cached(descriptor)) == {is_cached}

    assert any(stays_as_it_was() for _ in range(TRIES))
    os.close(descriptor)


@pytest.mark.parametrize("length", [0, 100, MIB + 1])
def test_a_file_that_became_shorter(length: int, path: Path, descriptor: int) -> None:
    content = path.read_bytes()
    os.truncate(path, length)
    assert read(descriptor, 0, 2 * MIB) == content[:length]
    assert read(descriptor, 2 * MIB, MIB) == b""
    assert read_in_order(descriptor, 4 * MIB) == content[:length]
    buffer = memoryview(bytearray(MIB))
    assert read_whole(descriptor, buffer) == min(length, MIB)


def test_a_file_system_that_cannot_tell(path: Path, descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    preadv = os.preadv

    def without_flags(descriptor: int, buffers: list[memoryview], offset: int, flags: int = 0) -> int:
        if flags:
            raise OSError(95, "Operation not supported")
        return preadv(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", without_flags)
    content = path.read_bytes()
    assert read(descriptor, MIB, MIB) == content[MIB : 2 * MIB]
    assert read_in_order(descriptor, len(content)) == content
    buffer = memoryview(bytearray(100))
    assert read_whole(descriptor, buffer) == 100
    assert all(cached(descriptor))


def test_errors_of_the_disk_are_raised(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    with pytest.raises(OSError, match="Bad file descriptor"):
        read_whole(descriptor, memoryview(bytearray(10)))
    os.close(descriptor)
