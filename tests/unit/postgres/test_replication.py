"""Messages of the replication protocol."""

import struct

import pytest

from walpy.errors import DataCorrupt
from walpy.postgres.replication import Data, KeepAlive, _parsed


def test_bytes_of_the_wal() -> None:
    message = _parsed(memoryview(struct.pack("!cqqq", b"w", 0x1_0000_0000, 0x2_0000_0000, 5) + b"bytes"))
    assert isinstance(message, Data)
    assert (message.start, bytes(message.content)) == (0x1_0000_0000, b"bytes")


@pytest.mark.parametrize("is_wanted", [False, True])
def test_a_sign_of_life(is_wanted: bool) -> None:
    assert _parsed(memoryview(struct.pack("!cqqB", b"k", 1, 2, is_wanted))) == KeepAlive(is_wanted)


@pytest.mark.parametrize("message", [b"", b"x", b"w", b"w" + bytes(23), b"k", b"k" + bytes(16), b"k" + bytes(18)])
def test_what_makes_no_sense(message: bytes) -> None:
    with pytest.raises(DataCorrupt, match="replication message"):
        _parsed(memoryview(message))
