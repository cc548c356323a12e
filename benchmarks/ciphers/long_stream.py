"""A stream of more than 4 GiB through a cipher and back, a piece of it in memory at a time; digests are compared."""

import hashlib
import multiprocessing
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.ciphers.kinds import kinds
from benchmarks.ciphers.speed import CHUNK, chunks_of

SIZE = (4 << 30) + (32 << 20) + 12_345  # bytes: lengths and positions of more than 32 bits
DIFFERENT = 16  # chunks


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """What came out. growth: bytes by which the highest resident size rose after the first 64 MiB."""

    kind: str
    stored: int
    seconds: float
    growth: int
    is_equal: bool


def round_trip(index: int, size: int) -> RoundTrip:
    """Of one kind, by its place in kinds(); in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_run, (index, size))


def plain(size: int) -> Iterator[memoryview]:
    """Chunks that repeat, the last one shorter."""
    pieces = chunks_of(DIFFERENT * CHUNK)
    for number, start in enumerate(range(0, size, CHUNK)):
        yield memoryview(pieces[number % DIFFERENT])[: size - start]


def peak() -> int:
    """Bytes of the highest resident size so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _run(index: int, size: int) -> RoundTrip:
    kind = kinds()[index]
    encryptor, decryptor = kind.cipher.encryptor(), kind.cipher.decryptor()
    written, read = hashlib.blake2b(), hashlib.blake2b()
    stored = settled = 0
    started = time.process_time()

    def through(chunk: bytes | memoryview) -> None:
        nonlocal stored
        stored += len(chunk)
        for piece in decryptor.pieces(chunk):
            read.update(piece)

    for number, chunk in enumerate(plain(size)):
        written.update(chunk)
        through(encryptor.update(chunk))
        settled = peak() if number == 64 else settled
    through(encryptor.finish())
    read.update(decryptor.finish())
    growth = peak() - settled if settled else 0
    return RoundTrip(kind.name, stored, time.process_time() - started, growth, written.digest() == read.digest())
