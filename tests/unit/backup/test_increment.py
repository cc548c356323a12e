"""The increment format, against bytes as WAL-G writes them."""

import pytest

from walpy.backup.increment import HEAD_SIZE, Head, encode_head, member_size, parse_head, parse_numbers
from walpy.errors import DataCorrupt

# A file of three pages whose page 1 changed.
EXAMPLE = bytes.fromhex("77693155 0060000000000000 01000000 01000000")


def test_what_walg_writes() -> None:
    assert encode_head(3 * 8192, [1]) == EXAMPLE
    assert parse_head(EXAMPLE[:HEAD_SIZE]) == Head(3 * 8192, 1)
    assert list(parse_numbers(EXAMPLE[HEAD_SIZE:])) == [1]
    assert member_size(1, 8192) == len(EXAMPLE) + 8192


def test_no_pages_and_many() -> None:
    assert len(encode_head(0, [])) == HEAD_SIZE == member_size(0, 8192)
    blocks = range(0, 131072, 3)
    data = encode_head(1 << 30, blocks)
    assert parse_head(data[:HEAD_SIZE]) == Head(1 << 30, len(blocks))
    assert list(parse_numbers(memoryview(data)[HEAD_SIZE:])) == list(blocks)


def test_another_version_and_something_else() -> None:
    with pytest.raises(DataCorrupt, match="version b'2', known is b'1'"):
        parse_head(b"wi2U" + bytes(12))
    with pytest.raises(DataCorrupt, match="no increment: it begins with b'PK"):
        parse_head(b"PK\x03\x04" + bytes(12))


@pytest.mark.parametrize("blocks", [[1, 1], [2, 1], [0, 5, 4]])
def test_numbers_that_do_not_ascend(blocks: list[int]) -> None:
    with pytest.raises(DataCorrupt, match="do not ascend"):
        parse_numbers(encode_head(1 << 20, blocks)[HEAD_SIZE:])
