"""Reads the server's files and leaves the page cache as it was: what the server has there stays, what we brought goes.

A read that may not wait tells at no cost whether all of a piece is in the cache. Where it is not, mincore tells which
pages are absent, before they are read; these are given up afterwards. Where the kernel tells neither, nothing is. (Such
a read begins to bring what is absent. When that ends before the look, a piece of ours stays: once for a file, at most.)

A file that is absent is read with the kernel's own read-ahead, in large folios: a third of the time of pieces that are
asked for one by one. So the look goes ahead of that, and what was absent is given up by blocks that hold whole folios.
Source: preadv2(2), mincore(2), posix_fadvise(2).
"""

import ctypes
import errno
import mmap
import os
import threading
from collections.abc import Iterator
from typing import Final

Ranges = list[tuple[int, int]]  # offset and size, bytes

BLOCK_SIZE: Final = 16 << 20  # bytes; a multiple of every folio's, which are given up as a whole or not at all
READ_AHEAD: Final = 2 * BLOCK_SIZE  # bytes that the kernel may bring before they are asked for

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


def read_part(descriptor: int, view: memoryview, offset: int) -> int:
    """The same for a part of a large file, anywhere; the kernel's read-ahead should be off (POSIX_FADV_RANDOM)."""
    done = _read_cached(descriptor, view, offset)
    if done == len(view):
        return done
    absent = list(_absent(descriptor, offset, len(view)))
    count = _read(descriptor, view, offset, max(done, 0))
    _give_up(descriptor, absent)
    return count


class SequentialReads:
    """Reads a large file once, from its begin to its end: by several threads, each of which takes the next part.

    descriptor: of a file of size bytes, whose read-ahead is off, and is so again at the end.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._size = size
        self._lock = threading.Lock()
        self._is_cold = False  # something of the blocks that the kernel may bring next is absent
        self._seen: set[int] = set()  # blocks, by their offset, that were looked at
        self._absent: dict[int, Ranges] = {}  # of blocks that are not read yet
        self._left: dict[int, int] = {}  # bytes of them that are not

    def read(self, view: memoryview, offset: int) -> int:
        """Fill view with what begins at offset; how many bytes came, less where the file ends. Raises OSError."""
        end, done = offset + len(view), 0
        with self._lock:
            if not self._seen:
                self._look(offset, end)
            is_cold = self._is_cold
            if is_cold:
                self._look(offset, end + READ_AHEAD)
        if not is_cold:
            done = _read_cached(self._descriptor, view, offset)
            if done == len(view):
                return done
            is_cold = done != _UNKNOWN
            if is_cold:
                with self._lock:
                    self._look(offset, end + READ_AHEAD)
        count = _read(self._descriptor, view, offset, max(done, 0))
        if is_cold:
            self._note(offset, end)
        return count

    def end(self) -> None:
        """Give up what was brought and not given up yet; the file may be read anew."""
        with self._lock:
            absent = [ranges for block in sorted(self._absent) for ranges in self._absent[block]]
            self._seen.clear()
            self._absent.clear()
            self._left.clear()
        _give_up(self._descriptor, absent)
        self._advise(is_cold=False)

    def _look(self, offset: int, end: int) -> None:
        """Find out what is absent of the blocks of a range, from its begin on."""
        for block in range(offset // BLOCK_SIZE * BLOCK_SIZE, min(end, self._size), BLOCK_SIZE):
            if block in self._seen:
                continue
            self._seen.add(block)
            size = min(BLOCK_SIZE, self._size - block)
            absent = list(_absent(self._descriptor, block, size))
            if absent:
                self._absent[block] = absent
                self._left[block] = size - max(0, offset - block)
        if self._absent and not self._is_cold:
            self._advise(is_cold=True)

    def _note(self, offset: int, end: int) -> None:
        """A range was read: of blocks that are read to their end, what was absent is given up."""
        absent: Ranges = []
        with self._lock:
            for block in range(offset // BLOCK_SIZE * BLOCK_SIZE, end, BLOCK_SIZE):
                if block not in self._left:
                    continue
                self._left[block] -= min(end, block + BLOCK_SIZE) - max(offset, block)
                if self._left[block] <= 0:
                    del self._left[block]
                    absent += self._absent.pop(block)
            if not self._absent and self._is_cold:  # all is cached, as far as the kernel reads ahead
                self._advise(is_cold=False)
        _give_up(self._descriptor, absent)

    def _advise(self, *, is_cold: bool) -> None:
        self._is_cold = is_cold
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_NORMAL if is_cold else os.POSIX_FADV_RANDOM)


def _give_up(descriptor: int, ranges: Ranges) -> None:
    for start, size in ranges:
        os.posix_fadvise(descriptor, start, size, os.POSIX_FADV_DONTNEED)


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
