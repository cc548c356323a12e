"""The increment format, against bytes as WAL-G writes them."""

import random
from collections.abc import Iterator, Sequence

import pytest

from walpy.backup.increment import (
    HEAD_SIZE,
    PAGE_SIZES,
    Head,
    encode_head,
    member_size,
    parse_head,
    parse_numbers,
    read_increment,
)
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


# ---- reading


def cut(data: bytes, *sizes: int) -> Iterator[memoryview]:
    """The data in pieces of these sizes, again and again."""
    rest, count = memoryview(data), 0
    while rest:
        size = sizes[count % len(sizes)]
        yield rest[:size]
        rest, count = rest[size:], count + 1


def read(data: bytes, *sizes: int) -> dict[int, bytes]:
    """What an increment writes, by offset."""
    return {offset: bytes(run) for offset, run in read_increment(len(data), cut(data, *sizes)).runs}


def applied(original: bytes, file_size: int, runs: dict[int, bytes]) -> bytes:
    file = bytearray(original[:file_size].ljust(file_size, b"\0"))
    for offset, run in runs.items():
        assert offset + len(run) <= file_size
        file[offset : offset + len(run)] = run
    return bytes(file)


def test_pages_that_follow_one_another_are_one_run() -> None:
    data = encode_head(9 * 8192, [1, 2, 3, 7]) + bytes(range(4)) * 8192
    assert {offset: len(run) for offset, run in read(data, 1 << 20).items()} == {8192: 3 * 8192, 7 * 8192: 8192}


@pytest.mark.parametrize("sizes", [(1 << 20,), (1,), (8191,), (8192,), (8193,), (3, 20_000), (40_000, 1)])
@pytest.mark.parametrize("page_size", [1024, 8192, 32768])
def test_pages_come_where_they_belong(sizes: Sequence[int], page_size: int) -> None:
    count = 12
    changed = sorted(random.Random(page_size).sample(range(count), 7))
    pages = {block: random.Random(block).randbytes(page_size) for block in changed}
    data = encode_head(count * page_size, changed) + b"".join(pages.values())
    increment = read_increment(len(data), cut(data, *sizes))
    assert (increment.file_size, list(increment.blocks), increment.page_size) == (count * page_size, changed, page_size)
    file = applied(b"o" * (20 * page_size), count * page_size, {place: bytes(run) for place, run in increment.runs})
    for block in range(count):
        assert file[block * page_size : (block + 1) * page_size] == pages.get(block, b"o" * page_size)


def test_pages_behind_the_size_are_left_out() -> None:
    data = encode_head(2 * 8192, [1, 2, 3, 9]) + b"".join(bytes([number]) * 8192 for number in range(4))
    for sizes in ((1 << 20,), (5000,)):
        assert applied(bytes(8192), 2 * 8192, read(data, *sizes)) == bytes(2 * 8192)


def test_no_pages_are_no_runs() -> None:
    assert read(encode_head(8192, []), 3) == {}


@pytest.mark.parametrize("blocks", [[], [0], [0, 4]])
@pytest.mark.parametrize("change", [-8192, -4096, -1, 1, 8192])
def test_a_wrong_size_is_noticed_before_the_first_page(blocks: list[int], change: int) -> None:
    data = encode_head(5 * 8192, blocks) + bytes(len(blocks) * 8192) + bytes(max(change, 0))
    size = len(data) + min(change, 0)
    if blocks and (change + 8192 * len(blocks)) / len(blocks) in PAGE_SIZES:
        return  # an increment of smaller or larger pages; the tar tells that it ends too early
    with pytest.raises(DataCorrupt, match="an increment of"):
        read_increment(size, [memoryview(data)])


@pytest.mark.parametrize("size", [(1 << 63), 8192 + 1])
def test_a_wrong_size_of_the_file(size: int) -> None:
    data = encode_head(size, [0]) + bytes(8192)
    with pytest.raises(DataCorrupt, match=f"1 pages of a file of {size} bytes"):
        read_increment(len(data), [memoryview(data)])


def test_an_end_inside_the_numbers() -> None:
    data = encode_head(8192, [0])
    with pytest.raises(DataCorrupt, match="ends too early"):
        read_increment(len(data) + 8192, [memoryview(data[:-1])])
