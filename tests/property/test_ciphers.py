"""Any data, cut anywhere, survive any cipher; noise is refused by all of them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fixtures.ciphers import CIPHERS, opened, sealed
from walpy.errors import DataCorrupt
from walpy.stream.codecs import codec
from walpy.stream.identify import identify
from walpy.stream.transform import pump

MADE = {name: make() for name, make in CIPHERS.items()}


@st.composite
def cut(draw: st.DrawFn) -> list[bytes]:
    """Data of up to 200 kB as chunks of any sizes, some of them empty."""
    data = draw(st.builds(lambda piece, count: piece * count, st.binary(min_size=1, max_size=40), st.integers(1, 5000)))
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@pytest.mark.parametrize("name", CIPHERS)
@given(chunks=cut(), stored_size=st.integers(100, 100_000))
@settings(deadline=None, max_examples=60)
def test_any_chunking_round_trips(name: str, chunks: list[bytes], stored_size: int) -> None:
    stored = sealed(MADE[name], *chunks)
    pieces = [stored[start : start + stored_size] for start in range(0, len(stored), stored_size)]
    assert opened(MADE[name], *pieces) == b"".join(chunks)
    assert identify(stored).codec == ""


@pytest.mark.parametrize("name", CIPHERS)
@pytest.mark.parametrize("method", ["lz4", "brotli"])
@given(chunks=cut())
@settings(deadline=None, max_examples=30)
def test_behind_a_codec(name: str, method: str, chunks: list[bytes]) -> None:
    stored = list(map(bytes, pump(chunks, [codec(method).encoder(), MADE[name].encryptor()])))
    assert b"".join(map(bytes, pump(stored, [MADE[name].decryptor(), codec(method).decoder()]))) == b"".join(chunks)


@pytest.mark.parametrize("name", CIPHERS)
@given(noise=st.binary(max_size=300))
@settings(deadline=None)
def test_noise_is_damage(name: str, noise: bytes) -> None:
    with pytest.raises(DataCorrupt):
        opened(MADE[name], noise)


@given(head=st.binary(max_size=400))
@settings(deadline=None)
def test_whatever_it_is_has_a_description(head: bytes) -> None:
    assert identify(head).text
