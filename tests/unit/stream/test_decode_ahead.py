"""Decoding ahead gives what decoding in a row gives, and refuses the same."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from walpy.errors import DataCorrupt
from walpy.stream.codecs import codec
from walpy.stream.decode_ahead import decode_ahead

PLAIN = [random.Random(number).randbytes(1 << 19) + bytes(1 << 19) for number in range(4)] + [b"the last"]
METHODS = ("lz4", "zstd", "none", "brotli")


def stored(method: str) -> bytes:
    """An object made of pieces where the format has them, as parts of backups are."""
    form = codec(method).pieces
    if form is None:
        encoder = codec(method).encoder()
        return b"".join(map(encoder.update, PLAIN)) + encoder.finish()
    tail = form.tail()
    for piece in PLAIN:
        tail.update(piece)
    return form.head + b"".join(map(form.encode, PLAIN)) + tail.finish()


def streamed(method: str) -> bytes:
    encoder = codec(method).encoder()
    return b"".join(map(encoder.update, PLAIN)) + encoder.finish()


def reused(data: bytes, size: int) -> Iterator[memoryview]:
    """Chunks in one buffer that is used again, as a storage's reader gives them."""
    buffer = bytearray(size)
    for start in range(0, len(data), size):
        chunk = data[start : start + size]
        buffer[: len(chunk)] = chunk
        yield memoryview(buffer)[: len(chunk)]
        buffer[:] = b"\xff" * size


def decoded(method: str, data: bytes, size: int = 1 << 20) -> bytes:
    with ThreadPoolExecutor(2) as pool:
        return b"".join(decode_ahead(codec(method), reused(data, size), pool, 2, lambda seconds: None))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [1000, 1 << 20])
def test_pieces_streams_and_both_in_a_row(method: str, size: int) -> None:
    plain = b"".join(PLAIN)
    assert decoded(method, stored(method), size) == plain
    assert decoded(method, streamed(method), size) == plain
    if method in ("lz4", "zstd"):
        assert decoded(method, stored(method) + streamed(method) + stored(method), size) == 3 * plain


@pytest.mark.parametrize("method", ["lz4", "zstd"])
@pytest.mark.parametrize("cut", [1, 4, 7, 100, 1 << 19])
def test_a_truncated_object_is_damaged(method: str, cut: int) -> None:
    with pytest.raises(DataCorrupt):
        decoded(method, stored(method)[:-cut])


@pytest.mark.parametrize("method", ["lz4", "zstd"])
@pytest.mark.parametrize("place", [0, 5, 6, 8, 100_000, -1])
def test_a_flipped_bit_is_damage(method: str, place: int) -> None:
    data = bytearray(stored(method))
    data[place] ^= 1
    with pytest.raises(DataCorrupt):
        decoded(method, bytes(data))


@pytest.mark.parametrize("method", ["lz4", "zstd"])
@pytest.mark.parametrize("more", [b"\0", b"other data behind the end"])
def test_other_data_behind_the_end_are_damage(method: str, more: bytes) -> None:
    with pytest.raises(DataCorrupt):
        decoded(method, stored(method) + more)


@pytest.mark.parametrize("method", METHODS)
def test_decoding_is_measured(method: str) -> None:
    seconds: list[float] = []
    with ThreadPoolExecutor(2) as pool:
        pieces = list(decode_ahead(codec(method), [stored(method)], pool, 2, seconds.append))
    assert len(seconds) >= len(pieces)
    assert all(spent > 0 for spent in seconds)
