"""What the parts of the contract share: streams that behave badly, short cuts, and what subclasses may change."""

import itertools
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from walpy.errors import StorageError
from walpy.storage.base import READ_SIZE, Chunk, Storage

MIB = 1 << 20
ODD_SIZES = (1, 7, 4095, 65_537, 300_001)  # bytes; no chunk ends on a boundary that a backend would like

AWKWARD_NAMES = (
    "with space/and more.lz4",
    "ünïcode/日本語/🐘",
    "plus+plus",
    "percent%2Fslash",
    "percent%20space%",
    "hash#tag",
    "question?mark=1&and=2",
    "colon:semi;comma,at@equals=",
    "quote'double\"back\\slash",
    "star*[set]{brace}$dollar!",
    "tilde~(paren)",
    "...",
    ".hidden/.file",
)
BAD_NAMES = ("", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/..", "a/../b", "./a", "a/./b", "nul\0byte")


class SourceFailed(Exception):
    """What a chunk source raises in these tests: no error of walpy's, so that nobody may translate it."""


class SourceStopped(BaseException):
    """The same for errors that are no Exception, such as KeyboardInterrupt."""


def content(size: int, seed: int = 1) -> bytes:
    """Bytes that do not compress, the same for the same seed."""
    return random.Random(seed).randbytes(size)


def odd_chunks(data: bytes) -> Iterator[Chunk]:
    """Data in chunks of changing, odd sizes, with empty ones between them."""
    start = 0
    for size in itertools.cycle(ODD_SIZES):
        yield b""
        if start >= len(data):
            return
        yield data[start : start + size]
        start += size


def reused_chunks(data: bytes, size: int = 100_003) -> Iterator[Chunk]:
    """Data through one buffer, which is overwritten as soon as the next chunk is asked for."""
    buffer = bytearray(size)
    view = memoryview(buffer)
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        buffer[: len(piece)] = piece
        yield view[: len(piece)]
        buffer[:] = b"\xee" * size


def failing_chunks(data: bytes, error: BaseException) -> Iterator[Chunk]:
    """All of data, then error."""
    yield from odd_chunks(data)
    raise error


def read(storage: Storage, name: str, *, offset: int = 0, size: int | None = None) -> bytes:
    """Read an object (or a part of it); checks that the reader kept its promises."""
    with storage.open(name, offset=offset, size=size) as reader:
        promised = reader.size
        pieces = [bytes(chunk) for chunk in reader]
    assert all(0 < len(piece) <= READ_SIZE for piece in pieces)
    data = b"".join(pieces)
    assert len(data) == promised
    return data


def names(storage: Storage, folder: str = "") -> list[str]:
    """Names of all objects below a folder, in the order in which the storage lists them."""
    return [found.name for found in storage.list(folder)]


def put_all(storage: Storage, wanted: Iterable[str]) -> None:
    """Store each name, with its own name as the content."""
    with ThreadPoolExecutor(8) as threads:
        for _ in threads.map(lambda name: storage.put(name, [name.encode()]), wanted):
            pass


def together(calls: Sequence[Callable[[], object]]) -> list[object]:
    """Run calls at the same moment, each in its thread; give each one's result or StorageError, in order."""
    barrier = threading.Barrier(len(calls))

    def run(function: Callable[[], object]) -> object:
        barrier.wait(60)
        try:
            return function()
        except StorageError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


class Contract:
    """What a backend may change."""

    large_size: ClassVar[int] = 9 * MIB + 13  # bytes; must take more than one part, block or upload request
    many: ClassVar[int] = 0  # objects of the paging tests; above one page of a listing and of a batch delete; 0 skips
    racers: ClassVar[int] = 8
    awkward_names: ClassVar[tuple[str, ...]] = AWKWARD_NAMES
