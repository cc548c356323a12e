"""Decodes an object ahead of who reads it, with several threads where its format allows."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from time import perf_counter

from walpy.storage.base import Chunk
from walpy.stream.codecs import Codec
from walpy.stream.units import Source, Unit

Measure = Callable[[float], None]  # takes the seconds of one piece, in the thread of the decoder's caller


def decode_ahead(
    codec: Codec, chunks: Iterable[Chunk], pool: ThreadPoolExecutor, ahead: int, measure: Measure
) -> Generator[bytes, None, None]:
    """As codec.decode, by the pool's threads: so many pieces ahead where the format allows it, else one.

    measure: told what decoding took (where the format cannot be cut, what reading took is in it). Pieces have up to
    4 MiB, and none is empty. Close it, if not read to its end, before the source of the chunks.
    Raises DataCorrupt. Memory: ahead + 1 pieces, as they are and decoded.
    """
    source = Source(chunks)
    is_empty = True
    if codec.units is not None:
        for piece in _decode_units(codec.units(source), pool, ahead, measure):
            is_empty = False
            yield piece
    if is_empty or source.peek(1):
        yield from _one_ahead(codec.decode(source), pool, measure)


def _decode_units(units: Iterable[Unit], pool: ThreadPoolExecutor, ahead: int, measure: Measure) -> Iterator[bytes]:
    pending: deque[tuple[Unit, Future[tuple[bytes, float]]]] = deque()
    try:
        for unit in units:
            pending.append((unit, pool.submit(_timed, unit.decode, unit.data)))
            if len(pending) > ahead:
                yield from _oldest(pending, measure)
        while pending:
            yield from _oldest(pending, measure)
    finally:
        wait([future for _, future in pending])


def _timed(function: Callable[..., bytes], *arguments: object) -> tuple[bytes, float]:
    began = perf_counter()
    return function(*arguments), perf_counter() - began


def _oldest(pending: deque[tuple[Unit, "Future[tuple[bytes, float]]"]], measure: Measure) -> Iterator[bytes]:
    unit, future = pending.popleft()
    plain, seconds = future.result()
    measure(seconds)
    unit.check(plain)
    if plain:
        yield plain


def _one_ahead(pieces: Iterator[bytes], pool: ThreadPoolExecutor, measure: Measure) -> Iterator[bytes]:
    """The pieces of one decoder, the next one being made while a piece is in use."""
    future = pool.submit(_timed, next, pieces, b"")
    try:
        while (made := future.result())[0]:
            future = pool.submit(_timed, next, pieces, b"")
            measure(made[1])
            yield made[0]
    finally:
        wait([future])
