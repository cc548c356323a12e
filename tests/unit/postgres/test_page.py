"""Page verification, against a slow and plain reference."""

import random
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from walpy.postgres.checksum import LANE_STARTS, checksums, wrong_pages
from walpy.postgres.page import corrupt_blocks, relation_segment

SIZE = 8192
START = 0x5_0000_0000
OLD = START - 8


def reference_checksum(page: bytes, block: int) -> int:
    """PostgreSQL's algorithm, one lane at a time."""

    def mix(state: int, value: int) -> int:
        mixed = state ^ value
        return (mixed * 16777619 & 0xFFFFFFFF) ^ (mixed >> 17)

    words = struct.unpack(f"={len(page) // 4}I", page[:8] + b"\0\0" + page[10:])
    folded = block
    for lane, state in enumerate(int(start) for start in LANE_STARTS):
        for value in words[lane::32]:
            state = mix(state, value)
        folded ^= mix(mix(state, 0), 0)
    return folded % 65535 + 1


def page(
    block: int,
    seed: int = 0,
    *,
    lsn: int = OLD,
    size: int = SIZE,
    flags: int = 0,
    bounds: tuple[int, int, int] | None = None,
) -> bytearray:
    """A valid page with random content."""
    lower, upper, special = bounds or (28, 400, size)
    content = random.Random(seed).randbytes(size - 24)
    header = struct.pack("=IIHHHHHHI", lsn >> 32, lsn & 0xFFFFFFFF, 0, flags, lower, upper, special, size | 4, 0)
    data = bytearray(header + content)
    data[8:10] = struct.pack("=H", reference_checksum(bytes(data), block))
    return data


def wrong(*pages: bytes, first: int = 0, size: int = SIZE) -> list[int]:
    return wrong_pages(memoryview(b"".join(pages)), first, page_size=size, start_lsn=START)


@given(seed=st.integers(0, 2**32), block=st.integers(0, 2**32 - 1), size=st.sampled_from([1024, 8192, 32768]))
def test_checksums_agree_with_the_reference(seed: int, block: int, size: int) -> None:
    data = random.Random(seed).randbytes(size)
    words = np.frombuffer(data, dtype=np.uint32).reshape(1, -1)
    assert checksums(words, np.array([block], dtype=np.uint32))[0] == reference_checksum(data, block)


def test_right_pages() -> None:
    assert wrong(*(page(block, block) for block in range(5))) == []
    assert wrong(page(131072 + 7), first=131072 + 7) == []
    assert wrong(page(0, size=32768, bounds=(28, 400, 32768)), size=32768) == []


def test_new_pages_are_right() -> None:
    assert wrong(bytes(SIZE), page(1), bytes(SIZE)) == []


def test_a_page_that_only_claims_to_be_new_is_wrong() -> None:
    assert wrong(page(0, bounds=(0, 0, 0))) == [0]


@pytest.mark.parametrize("place", [0, 9, 10, 23, 24, 4096, SIZE - 1])
def test_damage_anywhere_is_noticed(place: int) -> None:
    damaged = page(1)
    damaged[place] ^= 0x04 if place < 8 else 0x40
    if place == 0:
        damaged[0:8] = struct.pack("=II", 0, 1)
    assert wrong(page(0), damaged, page(2)) == [1]


def test_the_block_number_counts() -> None:
    assert wrong(page(0), page(0)) == [1]


def test_a_checksum_of_zero_is_wrong() -> None:
    data = page(0)
    data[8:10] = b"\0\0"
    assert wrong(data) == [0]


@pytest.mark.parametrize("lsn", [START, START + 1, 1 << 63])
def test_pages_changed_since_the_start_are_not_judged(lsn: int) -> None:
    data = page(0, lsn=lsn)
    data[5000] ^= 1
    assert wrong(data) == []


@pytest.mark.parametrize(
    ("flags", "bounds"),
    [(8, None), (0, (500, 400, SIZE)), (0, (28, SIZE + 8, SIZE)), (0, (28, 400, 8188)), (0, (28, 400, 300))],
)
def test_impossible_headers_are_wrong(flags: int, bounds: tuple[int, int, int] | None) -> None:
    assert wrong(page(0, flags=flags, bounds=bounds)) == [0]


def test_a_torn_page_is_read_again() -> None:
    good = page(3, seed=1)
    torn = bytes(page(3, seed=2)[:4096]) + bytes(good[4096:])
    asked: list[int] = []

    def read_again(offset: int) -> bytes:
        asked.append(offset)
        return bytes(good)

    pages = memoryview(bytes(page(2)) + torn)
    arguments = {"segment": 0, "page_size": SIZE, "start_lsn": START}
    assert corrupt_blocks(pages, offset=2 * SIZE, read_again=read_again, **arguments) == []
    assert asked == [3 * SIZE]
    assert corrupt_blocks(pages, offset=2 * SIZE, read_again=lambda offset: torn, **arguments) == [3]
    assert corrupt_blocks(pages, offset=2 * SIZE, read_again=lambda offset: torn[:100], **arguments) == []


def test_blocks_of_later_files_of_a_relation() -> None:
    second = page(131072 + 1)
    arguments = {"page_size": SIZE, "start_lsn": START, "read_again": lambda offset: bytes(second)}
    assert corrupt_blocks(memoryview(second), segment=1, offset=SIZE, **arguments) == []
    assert corrupt_blocks(memoryview(second), segment=0, offset=SIZE, **arguments) == [1]


@pytest.mark.parametrize(
    ("name", "segment"),
    [
        ("/base/5/1259", 0),
        ("/base/5/1259.3", 3),
        ("/base/5/1259_fsm", 0),
        ("/base/5/1259_vm.12", 12),
        ("/base/5/16400_init", 0),
        ("/global/1262", 0),
        ("/pg_tblspc/16384/PG_15_202209061/5/16385.1", 1),
        ("/base/5/t3_16385", None),
        ("/base/5/pg_filenode.map", None),
        ("/base/5/PG_VERSION", None),
        ("/base/5/1259.old", None),
        ("/base/5/01259", None),
        ("/base/5/1259.0", None),
        ("/base/5", None),
        ("/global/pg_control", None),
        ("/pg_xact/0000", None),
        ("/pg_multixact/members/0000", None),
        ("/pg_tblspc/16384/16385", None),
        ("/database/5/1259", None),
    ],
)
def test_which_files_have_pages(name: str, segment: int | None) -> None:
    assert relation_segment(name) == segment
