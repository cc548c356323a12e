"""What no program can beat: the codecs' C libraries in memory, one thread, and the disk's writing with a flush."""

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import brotli
import lz4.block
import zstandard

PIECE = 1 << 20  # bytes
SAMPLED = 64 << 20  # bytes of a source that are used, spread over it; a slow codec gets a quarter
WRITTEN = 256 << 20  # bytes
ROUNDS = 3  # the best counts: a floor is what the machine can do

Function = Callable[[bytes], Any]


class Speed(NamedTuple):
    """Plain bytes a second on one core, in both directions, and stored bytes for each plain one."""

    encode: float
    decode: float
    ratio: float


def functions(codec: str) -> tuple[Function, Function]:
    """Encoder and decoder of one piece: lz4, zstd level 1, brotli level 3. Raises KeyError for others."""
    compressor, decompressor = zstandard.ZstdCompressor(level=1), zstandard.ZstdDecompressor()
    return {
        "lz4": (lz4.block.compress, lz4.block.decompress),
        "zstd": (compressor.compress, decompressor.decompress),
        "brotli": (partial(brotli.compress, quality=3), brotli.decompress),
    }[codec]


def codec_speed(codec: str, source: Path) -> Speed:
    """Measure a codec on a file's content; "none" takes no time and changes nothing."""
    if codec == "none":
        return Speed(float("inf"), float("inf"), 1.0)
    pieces = pieces_of(source, SAMPLED // (4 if codec == "brotli" else 1))
    encode, decode = functions(codec)
    encoded = [encode(piece) for piece in pieces]
    size = sum(map(len, pieces))
    times = [fastest(partial(apply, encode, pieces)), fastest(partial(apply, decode, encoded))]
    return Speed(size / times[0], size / times[1], sum(map(len, encoded)) / size)


def pieces_of(source: Path, limit: int) -> list[bytes]:
    """Up to `limit` bytes of a file in pieces, spread over all of it."""
    count = -(-source.stat().st_size // PIECE)
    with source.open("rb") as file:
        starts = range(0, count, max(1, count * PIECE // limit))
        return [read_at(file.fileno(), start * PIECE) for start in starts]


def read_at(descriptor: int, start: int) -> bytes:
    """One piece."""
    return os.pread(descriptor, PIECE, start)


def apply(function: Function, pieces: list[bytes]) -> None:
    """Call a function for its work alone."""
    for piece in pieces:
        function(piece)


def write_speed(directory: Path) -> float:
    """Bytes a second of writing a new file and flushing it."""
    path = directory / "written"
    piece = os.urandom(PIECE)

    def write() -> None:
        with path.open("wb", buffering=0) as file:
            for _ in range(WRITTEN // PIECE):
                file.write(piece)
            os.fdatasync(file.fileno())

    try:
        return WRITTEN / fastest(write)
    finally:
        path.unlink()


def fastest(action: Callable[[], object]) -> float:
    """Seconds of the quickest of some runs."""
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return min(times)
