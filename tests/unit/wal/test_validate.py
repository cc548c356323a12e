"""Which files are fit to be a segment."""

import pytest

from tests.unit.wal.synthetic import FIRST, OTHER_SYSTEM_IDENTIFIER, SYSTEM_IDENTIFIER, segment
from walpy.errors import InvalidWal
from walpy.wal.segment import MIB
from walpy.wal.validate import Cluster, find_fault, is_newer_magic, parse_header

CLUSTER = Cluster(SYSTEM_IDENTIFIER, MIB)


def fault(name: str, content: bytes, cluster: Cluster | None = CLUSTER) -> str | None:
    return find_fault(name, content[:40], len(content), cluster)


def test_a_good_segment() -> None:
    assert fault(FIRST, segment(FIRST)) is None
    assert fault(FIRST, segment(FIRST), None) is None
    assert fault(f"{FIRST}.partial", segment(FIRST)) is None


def test_the_first_segment_after_a_promotion_starts_on_the_old_timeline() -> None:
    name = "000000030000000000000007"
    assert fault(name, segment(name, timeline=2)) is None


@pytest.mark.parametrize("magic", [0xD087, 0xD093, 0xD097, 0xD098, 0xD101, 0xD106, 0xD10D, 0xD110, 0xD116, 0xD118])
def test_every_known_major(magic: int) -> None:
    content = segment(FIRST, magic=magic)
    assert fault(FIRST, content) is None
    assert not is_newer_magic(content)


def test_a_newer_major_is_credible() -> None:
    content = segment(FIRST, magic=0xD11B)
    assert fault(FIRST, content) is None
    assert is_newer_magic(content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "0 bytes cannot be"),
        (segment(FIRST)[:39], "39 bytes cannot be"),
        (bytes(MIB), "page magic 0x0000"),
        (segment(FIRST, magic=0xD061), "page magic 0xd061"),
        (segment(FIRST, magic=0xE000), "page magic 0xe000"),
        (segment(FIRST, info=0), "no long header"),
        (segment(FIRST)[:-1], "1048575 bytes"),
        (segment(FIRST) + b"x", "1048577 bytes"),
        (segment("000000010000000000000002"), "that of segment 000000010000000000000002"),
        (segment("000000010000000100000001"), "that of segment 000000010000000100000001"),
        (segment(FIRST, timeline=2), "timeline 2"),
        (segment(FIRST, system_identifier=OTHER_SYSTEM_IDENTIFIER), str(OTHER_SYSTEM_IDENTIFIER)),
        (segment(FIRST, system_identifier=OTHER_SYSTEM_IDENTIFIER), str(SYSTEM_IDENTIFIER)),
        (segment(FIRST, size=2 * MIB), "pg_control says 1048576"),
    ],
)
def test_faults(content: bytes, words: str) -> None:
    assert words in (fault(FIRST, content) or "")


def test_an_impossible_segment_size() -> None:
    content = bytearray(segment(FIRST))
    content[32:36] = (3 * MIB).to_bytes(4, "little")
    assert "3145728 bytes as the segment size" in (fault(FIRST, bytes(content)) or "")


def test_a_name_that_the_segment_size_does_not_have() -> None:
    content = segment("000000010000000100000000", size=16 * MIB)
    assert "no WAL segment of 16777216 bytes" in (fault("000000010000000000000100", content, None) or "")


@pytest.mark.parametrize("name", ["00000002.history", f"{FIRST}.00000028.backup", "test_file"])
def test_other_files_have_no_header_to_check(name: str) -> None:
    assert fault(name, b"any") is None


def test_a_short_head_is_no_header() -> None:
    with pytest.raises(InvalidWal):
        parse_header(b"short")
