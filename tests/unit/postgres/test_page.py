"""Page verification, against a slow and plain reference."""

import random
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walpy.postgres.checksum import LANE_STARTS, PageBatch, is_wrong
from walpy.postgres.page import relation_segment
from walpy.postgres.verifier import BATCH_SIZE, PageVerifier

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
    batch = PageBatch(size, len(pages) + 1)
    batch.add(memoryview(b"".join(pages)), first)
    assert batch.room == 1
    return batch.take_wrong(START)


@given(seed=st.integers(0, 2**32), block=st.integers(0, 2**32 - 1), size=st.sampled_from([1024, 8192, 32768]))
def test_checksums_agree_with_the_reference(seed: int, block: int, size: int) -> None:
    data = random.Random(seed).randbytes(size)
    batch = PageBatch(size, 1)
    batch.add(memoryview(data), block)
    assert batch.take_checksums().tolist() == [reference_checksum(data, block)]


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


def test_pages_of_several_relations_in_one_batch() -> None:
    batch = PageBatch(SIZE, 9)
    for first, numbers in ((7, (7, 8)), (0, (0, 5, 2)), (1 << 20, (1 << 20,))):
        batch.add(memoryview(b"".join(page(number, number) for number in numbers)), first)
    batch.add(memoryview(bytes(SIZE)), 0)
    assert batch.room == 2
    assert batch.take_wrong(START) == [3]
    assert batch.room == 9
    batch.add(memoryview(page(4)), 4)
    assert batch.take_wrong(START) == [], "nothing of the batch before is left"
    assert is_wrong(bytes(page(4)), 5, START)
    assert not is_wrong(bytes(page(4)), 4, START)


def verified(path: Path, data: bytes, *, offset: int = 0, name: str = "/base/5/1259") -> dict[str, list[int]]:
    """What is wrong with data that was read from a file, which may have changed since."""
    verifier = PageVerifier(SIZE, START)
    verifier.add(name, str(path), offset, memoryview(data))
    verifier.finish()
    return verifier.corrupt


def test_a_torn_page_is_read_again(tmp_path: Path) -> None:
    good, path = bytes(page(3, seed=1)), tmp_path / "1259"
    torn = bytes(page(3, seed=2)[:4096]) + good[4096:]
    data, before = bytes(page(2)) + torn, bytes(2 * SIZE)
    path.write_bytes(before + bytes(page(2)) + good)
    assert verified(path, data, offset=2 * SIZE) == {}
    path.write_bytes(before + data)
    assert verified(path, data, offset=2 * SIZE) == {"/base/5/1259": [3]}
    path.write_bytes((before + data)[:-100])
    assert verified(path, data, offset=2 * SIZE) == {}, "the file has been truncated"
    path.unlink()
    assert verified(path, data, offset=2 * SIZE) == {}, "the file has been removed"
    path.symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic"):
        verified(path, data, offset=2 * SIZE)


def test_blocks_of_later_files_of_a_relation(tmp_path: Path) -> None:
    path, second = tmp_path / "file", bytes(page(131072 + 1))
    path.write_bytes(bytes(SIZE) + second)
    assert verified(path, second, offset=SIZE, name="/base/5/1259.1") == {}
    assert verified(path, second, offset=SIZE, name="/base/5/1259") == {"/base/5/1259": [1]}


def test_many_reads_of_many_files_in_several_batches(tmp_path: Path) -> None:
    """Whatever the sizes of the reads, each wrong page is told once, as its file's."""
    choose = random.Random(11)
    verifier, expected = PageVerifier(SIZE, START), dict[str, list[int]]()
    good = [bytes(page(block, block)) for block in range(60)]
    bad = struct.pack("=II", 0, 1) + b"\xff" * (SIZE - 8)
    for number in range(1, 21):
        damaged = sorted(choose.sample(range(60), choose.choice([0, 0, 1, 5])))
        pages = [bad if block in damaged else good[block] for block in range(60)]
        path, name = tmp_path / str(number), f"/base/5/{number}"
        path.write_bytes(b"".join(pages) + b"half a page")
        if damaged:
            expected[name] = damaged
        block = 0
        while block < 60:
            count = choose.choice([1, 3, 20, 60])
            data = path.read_bytes()[block * SIZE : (block + count) * SIZE]
            verifier.add(name, str(path), block * SIZE, memoryview(data))
            block += count
        verifier.add("/pg_xact/0000", str(path), 0, memoryview(b"\xff" * SIZE))
    assert 20 * 60 * SIZE > 3 * BATCH_SIZE
    verifier.finish()
    verifier.finish()
    assert verifier.corrupt == expected


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
