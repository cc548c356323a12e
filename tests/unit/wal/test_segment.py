"""Names and arithmetic of segments."""

import pytest

from walpy.config import Config
from walpy.errors import ConfigError, InvalidWal
from walpy.postgres.lsn import format_lsn, parse_lsn
from walpy.wal.segment import (
    MIB,
    WalKind,
    configured_segment_size,
    following_segment,
    is_segment_size,
    segment_before_lsn,
    segment_name,
    segment_number,
    segment_of_lsn,
    segment_timeline,
    wal_kind,
)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("000000010000000000000001", WalKind.SEGMENT),
        ("ffffffffffffffff000000ff", WalKind.SEGMENT),
        ("000000010000000000000001.partial", WalKind.PARTIAL),
        ("00000002.history", WalKind.HISTORY),
        ("000000010000000000000016.00000028.backup", WalKind.BACKUP),
        ("test_file.history", WalKind.OTHER),
        ("0SEGMENT", WalKind.OTHER),
        ("00000001000000000000001", WalKind.OTHER),
        ("000000010000000000000001\n", WalKind.OTHER),
        ("000000010000000000000001.lz4", WalKind.OTHER),
        ("", WalKind.OTHER),
    ],
)
def test_kind(name: str, kind: WalKind) -> None:
    assert wal_kind(name) is kind


@pytest.mark.parametrize(
    ("name", "size", "number"),
    [
        ("000000010000000000000001", 16 * MIB, 1),
        ("0000000100000001000000FF", 16 * MIB, 511),
        ("ffffffffffffffff000000ff", 16 * MIB, 2**40 - 1),
        ("000000010000000100000FFF", MIB, 8191),
        ("000000030000000200000003", 1024 * MIB, 11),
    ],
)
def test_number(name: str, size: int, number: int) -> None:
    assert segment_number(name, size) == number
    assert segment_name(segment_timeline(name), number, size) == name.upper()


@pytest.mark.parametrize(("name", "size"), [("000000010000000000000100", 16 * MIB), ("xyz", MIB), ("0" * 25, MIB)])
def test_number_of_a_wrong_name(name: str, size: int) -> None:
    with pytest.raises(InvalidWal):
        segment_number(name, size)


def test_following_carries_into_the_log() -> None:
    assert following_segment("0000000A01000000000000FF", 16 * MIB) == "0000000A0100000100000000"
    assert following_segment("000000010000000000000003", 1024 * MIB) == "000000010000000100000000"
    assert following_segment("000000010000000000000001", MIB, 10) == "00000001000000000000000B"


def test_lsn() -> None:
    lsn = parse_lsn("16/B374D848")
    assert lsn == 0x16B374D848
    assert format_lsn(lsn) == "16/B374D848"
    assert parse_lsn("0/0") == 0
    with pytest.raises(InvalidWal):
        parse_lsn("16B374D848")


def test_segments_of_a_position_on_the_border() -> None:
    lsn = parse_lsn("0/2000000")
    assert segment_of_lsn(lsn, 16 * MIB) == 2
    assert segment_before_lsn(lsn, 16 * MIB) == 1


def test_segment_sizes() -> None:
    sizes = [2**power for power in range(10, 40) if is_segment_size(2**power)]
    assert sizes == [2**power for power in range(20, 31)]
    assert not is_segment_size(3 * MIB)
    assert not is_segment_size(0)


def test_configured_size() -> None:
    assert configured_segment_size(Config.from_mapping({})) == 16 * MIB
    assert configured_segment_size(Config.from_mapping({"WALG_PG_WAL_SIZE": "64"})) == 64 * MIB
    for wrong in ("0", "3", "2048", "x"):
        with pytest.raises(ConfigError):
            configured_segment_size(Config.from_mapping({"WALG_PG_WAL_SIZE": wrong}))
