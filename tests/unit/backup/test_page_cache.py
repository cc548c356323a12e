"""Reading leaves the page cache as it was."""

import ctypes
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from walpy.backup.page_cache import announce, read_part, read_whole

PAGE = mmap.PAGESIZE
MIB = 1 << 20
TRIES = 20  # a disk that is faster than this process between two system calls makes what is absent look cached


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


def read(descriptor: int, offset: int, size: int, *, is_cold: bool = False) -> tuple[bytes, bool]:
    buffer = memoryview(mmap.mmap(-1, size))
    announced = announce(descriptor, offset, size) if is_cold else None
    count, is_cold = read_part(descriptor, buffer, offset, announced)
    return bytes(buffer[:count]), is_cold


def test_what_was_absent_is_absent_again(path: Path, descriptor: int) -> None:
    content = path.read_bytes()
    forget(descriptor)
    is_cold = True
    for offset in range(0, 4 * MIB, MIB):
        data, is_cold = read(descriptor, offset, MIB, is_cold=is_cold)
        assert data == content[offset : offset + MIB]
        assert is_cold
    assert not any(cached(descriptor))


def test_a_part_that_was_absent_is_noticed(path: Path, descriptor: int) -> None:
    content = path.read_bytes()

    def is_noticed() -> bool:
        forget(descriptor)
        data, is_cold = read(descriptor, MIB, MIB)
        assert data == content[MIB : 2 * MIB]
        return is_cold

    assert any(is_noticed() for _ in range(TRIES))


def test_what_was_cached_stays(path: Path, descriptor: int) -> None:
    path.read_bytes()
    assert read(descriptor, MIB, MIB) == (path.read_bytes()[MIB : 2 * MIB], False)
    assert all(cached(descriptor))


@pytest.mark.parametrize("is_cold", [True, False])
def test_of_a_mixed_part_only_what_was_absent_goes(is_cold: bool, path: Path, descriptor: int) -> None:
    content = path.read_bytes()

    def is_noticed() -> bool:
        forget(descriptor)
        for start, count in ((0, 10), (50, 100), (251, 5)):
            os.pread(descriptor, count * PAGE, MIB + start * PAGE)
        before = cached(descriptor)
        assert before.count(True) == 115
        data, was_cold = read(descriptor, MIB, MIB, is_cold=is_cold)
        assert data == content[MIB : 2 * MIB]
        after = cached(descriptor)
        assert [page for page, was in enumerate(before) if was and not after[page]] == []
        if is_cold:  # else the first read, which may not wait, has begun to bring them before they are looked at
            assert after == before
        return was_cold

    assert any(is_noticed() for _ in range(1 if is_cold else TRIES))


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
    for is_cold in (True, False):
        assert read(descriptor, 0, 2 * MIB, is_cold=is_cold)[0] == content[:length]
        assert read(descriptor, 2 * MIB, MIB, is_cold=is_cold)[0] == b""
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
    assert read(descriptor, MIB, MIB) == (content[MIB : 2 * MIB], False)
    buffer = memoryview(bytearray(100))
    assert read_whole(descriptor, buffer) == 100
    assert all(cached(descriptor))


def test_errors_of_the_disk_are_raised(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    with pytest.raises(OSError, match="Bad file descriptor"):
        read_whole(descriptor, memoryview(bytearray(10)))
    os.close(descriptor)
