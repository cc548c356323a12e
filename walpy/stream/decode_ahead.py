"""Decodes an object ahead of who reads it, with several threads where its format allows."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

from walpy.storage.base import Chunk
from walpy.stream.codecs import Codec
from walpy.stream.units import Source, Unit


def decode_ahead(
    codec: Codec, chunks: Iterable[Chunk], pool: ThreadPoolExecutor, ahead: int
) -> Generator[bytes, None, None]:
    """As codec.decode, by the pool's threads: so many pieces ahead where the format allows it, else one.

    Pieces have up to 4 MiB, and none is empty. Close it, if not read to its end, before the source of the chunks.
    Raises DataCorrupt. Memory: ahead + 1 pieces, as they are and decoded.
    """
    source = Source(chunks)
    is_empty = True
    if codec.units is not None:
        for piece in _decode_units(codec.units(source), pool, ahead):
            is_empty = False
            yield piece
    if is_empty or source.peek(1):
        yield from _one_ahead(codec.decode(source), pool)


def _decode_units(units: Iterable[Unit], pool: ThreadPoolExecutor, ahead: int) -> Iterator[bytes]:
    pending: deque[tuple[Unit, Future[bytes]]] = deque()
    try:
        for unit in units:
            pending.append((unit, pool.submit(unit.decode, unit.data)))
            if len(pending) > ahead:
                yield from _oldest(pending)
        while pending:
            yield from _oldest(pending)
    finally:
        wait([future for _, future in pending])


def _oldest(pending: deque[tuple[Unit, "Future[bytes]"]]) -> Iterator[bytes]:
    unit, future = pending.popleft()
    plain = future.result()
    unit.check(plain)
    if plain:
        yield plain


def _one_ahead(pieces: Iterator[bytes], pool: ThreadPoolExecutor) -> Iterator[bytes]:
    """The pieces of one decoder, the next one being made while a piece is in use."""
    future = pool.submit(next, pieces, b"")
    try:
        while piece := future.result():
            future = pool.submit(next, pieces, b"")
            yield piece
    finally:
        wait([future])
