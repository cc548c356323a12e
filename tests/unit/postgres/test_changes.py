"""Changed pages by their headers, against headers made by hand."""

import struct

import pytest

from walpy.postgres.changes import changed_pages
from walpy.postgres.page import has_increments

PAGE = 8192
SINCE = 0x1_0000_1000


def page(
    lsn: int, *, flags: int = 0, lower: int = 28, upper: int = 8000, special: int = PAGE, version: int = PAGE | 4
) -> bytes:
    head = struct.pack("<IIHHHHHH", lsn >> 32, lsn & 0xFFFFFFFF, 7, flags, lower, upper, special, version)
    return head.ljust(PAGE, b"x")


def changed(*pages: bytes) -> list[int] | None:
    return changed_pages(memoryview(b"".join(pages)), page_size=PAGE, since=SINCE)


def test_positions() -> None:
    assert changed(page(SINCE - 1), page(SINCE), page(1), page(2**64 - 1), page(0xFFFF_FFFF)) == [1, 3]
    assert changed(page(1)) == []


def test_new_pages_are_changed_ones() -> None:
    assert changed(bytes(PAGE), page(1), page(1, upper=0, lower=0)) == [0, 2]


@pytest.mark.parametrize(
    "invalid",
    [
        page(0),
        page(1, flags=8),
        page(1, lower=23),
        page(1, lower=8001),
        page(1, upper=PAGE, special=PAGE - 8),
        page(1, special=PAGE + 8),
        page(1, version=PAGE | 6),
        page(1, version=4096 | 4),
        b"\xff" * PAGE,
    ],
)
def test_a_page_that_does_not_tell(invalid: bytes) -> None:
    assert changed(page(SINCE), invalid) is None


@pytest.mark.parametrize("page_size", [1024, 32768])
def test_other_page_sizes(page_size: int) -> None:
    head = struct.pack("<IIHHHHHH", 0, 5, 7, 0, 24, page_size, page_size, page_size | 4)
    assert changed_pages(memoryview(head.ljust(page_size, b"x") * 2), page_size=page_size, since=5) == [0, 1]


@pytest.mark.parametrize("name", ["/base/5/1259", "/base/5/1259.3", "/pg_tblspc/16384/PG_15_202209061/5/16385"])
def test_files_with_increments(name: str) -> None:
    assert has_increments(name, PAGE, PAGE)
    assert not has_increments(name, 0, PAGE)
    assert not has_increments(name, PAGE + 1, PAGE)


@pytest.mark.parametrize(
    "name",
    [
        "/global/1260",
        "/base/5/1259_fsm",
        "/base/5/1259_vm",
        "/base/5/1259_init",
        "/base/5/t3_1259",
        "/base/5/PG_VERSION",
        "/base/5/pg_filenode.map",
        "/pg_xact/0000",
        "/pg_multixact/members/0000",
        "/base/5/.123",
        "/database/5/1259",
    ],
)
def test_files_without(name: str) -> None:
    assert not has_increments(name, PAGE, PAGE)
