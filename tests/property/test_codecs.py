"""Any data, cut anywhere, survive any codec; damage is noticed."""

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walpy.errors import DataCorrupt
from walpy.stream.codecs import codec, codec_for_extension
from walpy.stream.transform import pump

METHODS = ("lz4", "zstd", "brotli", "lzma", "none")
CHECKED = ("lz4", "zst", "gz")  # brotli and lzma have no checksums: a flipped bit may pass for other data
TRUNCATABLE = ("lz4", "zst", "gz", "br", "lzma")

repetitive = st.builds(lambda piece, count: piece * count, st.binary(max_size=40), st.integers(0, 3000))
plain_data = st.one_of(st.binary(max_size=3000), repetitive)


@st.composite
def cut_data(draw: st.DrawFn) -> list[bytes]:
    """Data as chunks of any sizes, some of them empty."""
    data = draw(plain_data)
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


def encoded(extension: str, data: bytes) -> bytes:
    if extension == "gz":
        compressor = zlib.compressobj(wbits=31)
        return compressor.compress(data) + compressor.flush()
    encoder = codec_for_extension(extension).encoder()
    return encoder.update(data) + encoder.finish()


def decoded(extension: str, data: bytes) -> bytes:
    return b"".join(codec_for_extension(extension).decode([data]))


@pytest.mark.parametrize("method", METHODS)
@given(chunks=cut_data(), stored_size=st.integers(1, 5000))
@settings(deadline=None)
def test_any_chunking_round_trips(method: str, chunks: list[bytes], stored_size: int) -> None:
    stored = b"".join(bytes(chunk) for chunk in pump(chunks, [codec(method).encoder()]))
    pieces = [stored[start : start + stored_size] for start in range(0, len(stored), stored_size)]
    assert b"".join(bytes(chunk) for chunk in pump(pieces, [codec(method).decoder()])) == b"".join(chunks)
    assert b"".join(codec(method).decode(pieces)) == b"".join(chunks)


@pytest.mark.parametrize("method", ["lz4", "zstd", "none"])
@given(plain=st.lists(plain_data.filter(len), min_size=1, max_size=6))
@settings(deadline=None)
def test_any_pieces_decode_as_one(method: str, plain: list[bytes]) -> None:
    pieces = codec(method).pieces
    assert pieces is not None
    tail = pieces.tail()
    stored = pieces.head
    for piece in plain:
        stored += pieces.encode(piece)
        tail.update(piece)
    assert decoded(codec(method).extension, stored + tail.finish()) == b"".join(plain)


@pytest.mark.parametrize("extension", TRUNCATABLE)
@given(data=plain_data, share=st.floats(0, 1, exclude_max=True))
@settings(deadline=None)
def test_any_truncation_is_noticed(extension: str, data: bytes, share: float) -> None:
    stored = encoded(extension, data)
    with pytest.raises(DataCorrupt):
        decoded(extension, stored[: int(len(stored) * share)])


@pytest.mark.parametrize("extension", CHECKED)
@given(data=plain_data, share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(deadline=None)
def test_a_flipped_bit_is_noticed_or_changes_nothing(extension: str, data: bytes, share: float, bit: int) -> None:
    stored = bytearray(encoded(extension, data))
    stored[int(len(stored) * share)] ^= 1 << bit
    try:
        out = decoded(extension, bytes(stored))
    except DataCorrupt:
        return
    assert out == data


@pytest.mark.parametrize("extension", ["lz4", "lzma", "gz", "br", "lzo", "zst"])
@given(data=st.binary(min_size=1, max_size=300))
@settings(deadline=None)
def test_noise_raises_nothing_but_data_corrupt(extension: str, data: bytes) -> None:
    try:
        decoded(extension, data)
    except DataCorrupt:
        return
    assert extension == "br"  # a few bytes may happen to be a stream
