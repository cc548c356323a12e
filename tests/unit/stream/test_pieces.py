"""Objects that are put together from pieces."""

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fixtures.require import missing
from walpy.stream.codecs import PieceFormat, codec

DIVISIBLE = ("lz4", "zstd", "none")
PLAIN = [bytes([number % 251]) * (1 << 20) for number in range(5)]
PLAIN += [
    b"".join(b"%d;%d\n" % (row, row * 7919 % 10007) for row in range(90_000))[: 1 << 20],
    b"the last, shorter one",
]


def piece_format(method: str) -> PieceFormat:
    found = codec(method).pieces
    assert found is not None
    return found


def put_together(pieces: PieceFormat, plain: list[bytes]) -> bytes:
    tail = pieces.tail()
    with ThreadPoolExecutor(4) as pool:
        encoded = list(pool.map(pieces.encode, plain))
    for piece in plain:
        tail.update(piece)
    return pieces.head + b"".join(encoded) + tail.finish()


@pytest.mark.parametrize("method", DIVISIBLE)
@pytest.mark.parametrize("count", [1, 2, len(PLAIN)])
def test_pieces_made_in_threads_decode_as_one(method: str, count: int) -> None:
    data = put_together(piece_format(method), PLAIN[:count])
    assert b"".join(codec(method).decode([data])) == b"".join(PLAIN[:count])


@pytest.mark.parametrize("method", ["brotli", "lzma"])
def test_formats_that_cannot_be_put_together(method: str) -> None:
    assert codec(method).pieces is None


def test_lz4_pieces_are_one_frame_like_any_other() -> None:
    """WAL-G up to 3.0.8 reads the first of several frames alone, and refuses right checksums of blocks."""
    data = put_together(piece_format("lz4"), [b"a"])
    encoder = codec("lz4").encoder()
    assert data == encoder.update(b"a") + encoder.finish()
    assert put_together(piece_format("lz4"), PLAIN).count(bytes.fromhex("04224d18")) == 1


def test_zstd_pieces_are_frames_with_checksums() -> None:
    data = piece_format("zstd").encode(PLAIN[5])
    assert data[:4].hex() == "28b52ffd"
    assert data[4] & 0x04


@pytest.mark.parametrize("method", ["lz4", "zstd"])
def test_tools_read_pieces(method: str) -> None:
    if shutil.which(method) is None:
        missing(method, f"no {method} here")
    data = put_together(piece_format(method), PLAIN)
    result = subprocess.run([method, "-dc"], input=data, capture_output=True, check=True)
    assert result.stdout == b"".join(PLAIN)


@pytest.mark.parametrize("method", DIVISIBLE)
def test_encode_takes_views_and_keeps_nothing(method: str) -> None:
    pieces = piece_format(method)
    buffer = bytearray(PLAIN[5])
    tail = pieces.tail()
    tail.update(memoryview(buffer))
    encoded = pieces.encode(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    data = pieces.head + encoded + tail.finish()
    assert b"".join(codec(method).decode([data])) == PLAIN[5]
