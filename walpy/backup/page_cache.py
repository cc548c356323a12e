"""Reads the server's files and leaves the page cache as it was: what the server has there stays, what we brought goes.

A read that may not wait tells at no cost whether all of a piece is in the cache. Where it is not, mincore tells which
pages are absent, before they are read; these are given up afterwards. Where the kernel tells neither, nothing is. (Such
a read begins to bring what is absent. When that ends before the look, a piece of ours stays: once for a file, at most.)
Source: preadv2(2), mincore(2), posix_fadvise(2).
"""

import ctypes
import errno
import mmap
import os
from collections.abc import Iterator
from typing import Final

Ranges = list[tuple[int, int]]  # offset and size, bytes

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_UNKNOWN: Final = -1
_IS_CACHED: Final = bytes(number & 1 for number in range(256))  # of mincore's bytes only the lowest bit means something


def read_whole(descriptor: int, view: memoryview) -> int:
    """Fill view with the beginning of a small file; how many bytes came, less where the file ends. Raises OSError."""
    done = _read_cached(descriptor, view, 0)
    if done == len(view):
        return done
    count = _read(descriptor, view, 0, max(done, 0))
    if not done:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    return count


def announce(descriptor: int, offset: int, size: int) -> Ranges:
    """What of a part of a large file is not in the cache; the kernel begins to bring it.

    The kernel's own read-ahead should be off (POSIX_FADV_RANDOM): what it brings looks like the server's. offset: a
    multiple of the kernel's pages.
    """
    absent = list(_absent(descriptor, offset, size))
    for start, length in absent:
        os.posix_fadvise(descriptor, start, length, os.POSIX_FADV_WILLNEED)
    return absent


def read_part(descriptor: int, view: memoryview, offset: int, announced: Ranges | None) -> tuple[int, bool]:
    """The same for a part of a large file, and whether some of it was not in the cache.

    announced: what announce() gave for it; None when nobody asked, because it is expected to be in the cache.
    """
    done = _UNKNOWN if announced is not None else _read_cached(descriptor, view, offset)
    if done == len(view):
        return done, False
    absent = announced if announced is not None else list(_absent(descriptor, offset, len(view)))
    count = _read(descriptor, view, offset, max(done, 0))
    for start, size in absent:
        os.posix_fadvise(descriptor, start, size, os.POSIX_FADV_DONTNEED)
    return count, bool(absent) or done != _UNKNOWN


def _read_cached(descriptor: int, view: memoryview, offset: int) -> int:
    """Bytes from the cache, up to the first that is not there; _UNKNOWN where the file system cannot tell."""
    try:
        count = os.preadv(descriptor, [view], offset, os.RWF_NOWAIT)
    except BlockingIOError:
        return 0
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            return _UNKNOWN
        raise
    return count or _UNKNOWN  # none: the end of the file


def _read(descriptor: int, view: memoryview, offset: int, done: int) -> int:
    while done < len(view):
        count = os.preadv(descriptor, [view[done:]], offset + done)
        if not count:
            break
        done += count
    return done


def _absent(descriptor: int, offset: int, size: int) -> Iterator[tuple[int, int]]:
    """Ranges of a file, offset and size, that are not in the cache; none where that cannot be found out."""
    try:
        area = mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY, offset=offset)
    except (OSError, ValueError):  # the file became shorter, or cannot be mapped
        return
    pages = ctypes.create_string_buffer(-(-size // mmap.PAGESIZE))
    anchor = ctypes.c_char.from_buffer(area)
    failed = _LIBC.mincore(ctypes.c_void_p(ctypes.addressof(anchor)), ctypes.c_size_t(size), pages)
    del anchor
    area.close()
    if not failed:
        yield from ((offset + start * mmap.PAGESIZE, count * mmap.PAGESIZE) for start, count in _runs(pages.raw))


def _runs(pages: bytes) -> Iterator[tuple[int, int]]:
    """Runs of absent pages, start and length, in mincore's answer."""
    cached = pages.translate(_IS_CACHED)
    start = cached.find(0)
    while start >= 0:
        end = cached.find(1, start)
        yield start, (end if end >= 0 else len(cached)) - start
        start = cached.find(0, end) if end >= 0 else -1
