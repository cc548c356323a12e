"""WAL summaries: PostgreSQL's own files, as its own function reads them."""

import json
import shutil
from pathlib import Path

import pytest

from walpy.errors import DataCorrupt
from walpy.postgres.lsn import Lsn
from walpy.postgres.wal_summaries import (
    BITMAP_WORDS,
    FOLDER,
    NO_LIMIT,
    WalSummary,
    covering,
    list_summaries,
    read_summary,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "wal_summaries"


@pytest.fixture
def data_directory(tmp_path: Path) -> Path:
    folder = tmp_path / FOLDER
    folder.mkdir(parents=True)
    for path in GOLDEN.glob("*.summary"):
        shutil.copy(path, folder)
    return tmp_path


def test_what_the_server_says(data_directory: Path) -> None:
    expected = json.loads((GOLDEN / "expected.json").read_text())
    summaries = list_summaries(str(data_directory))
    assert [Path(summary.path).name for summary in summaries] == sorted(expected)
    kinds = set()
    for summary in summaries:
        found = {}
        for relation, fork, limit, chunks in read_summary(summary):
            blocks = []
            for number, words in sorted(chunks.items()):
                kinds.add(len(words) == BITMAP_WORDS)
                offsets = words.tolist()
                if len(words) == BITMAP_WORDS:
                    offsets = [
                        16 * place + bit for place, word in enumerate(offsets) for bit in range(16) if word >> bit & 1
                    ]
                blocks += [number << 16 | offset for offset in sorted(offsets)]
            key = " ".join(map(str, (*relation, fork)))
            found[key] = [None if limit == NO_LIMIT else limit, blocks]
        wanted = {
            key: [limit, [block for first, last in ranges for block in range(first, last + 1)]]
            for key, (limit, ranges) in expected[Path(summary.path).name].items()
        }
        assert found == wanted
    assert kinds == {True, False}


def test_files_of_other_kinds_are_no_summaries(data_directory: Path) -> None:
    before = list_summaries(str(data_directory))
    (data_directory / FOLDER / "temp.summary").touch()
    (data_directory / FOLDER / f"{'0' * 40}.partial").touch()
    assert list_summaries(str(data_directory)) == before
    assert list_summaries("/nowhere") == []


@pytest.mark.parametrize("place", [0, 30, 700, -5, -1])
def test_a_damaged_summary(place: int, data_directory: Path) -> None:
    summary = max(list_summaries(str(data_directory)), key=lambda summary: Path(summary.path).stat().st_size)
    content = bytearray(Path(summary.path).read_bytes())
    content[place] ^= 1
    Path(summary.path).write_bytes(content)
    with pytest.raises(DataCorrupt, match="summary of WAL from 0/1721918 to 0/202D7B8"):
        list(read_summary(summary))


@pytest.mark.parametrize("size", [0, 3, 100, 9049])
def test_a_summary_that_is_cut_off(size: int, data_directory: Path) -> None:
    summary = max(list_summaries(str(data_directory)), key=lambda summary: Path(summary.path).stat().st_size)
    content = Path(summary.path).read_bytes()
    Path(summary.path).write_bytes(content[:size])
    with pytest.raises(DataCorrupt, match="cut off"):
        list(read_summary(summary))


def summary_of(start: int, end: int, timeline: int = 1) -> WalSummary:
    return WalSummary(timeline, Lsn(start), Lsn(end), f"{timeline} {start} {end}")


A, B, C = summary_of(10, 20), summary_of(20, 30), summary_of(30, 40)
OTHER, MERGED = summary_of(10, 40, timeline=2), summary_of(15, 40)


@pytest.mark.parametrize(
    ("there", "start", "end", "expected"),
    [
        ([A, B, C], 10, 40, [A, B, C]),
        ([C, OTHER, A, B], 15, 30, [A, B]),
        ([A, B, C], 20, 30, [B]),
        ([A, B, C], 19, 31, [A, B, C]),
        ([A, MERGED], 12, 40, [A, MERGED]),
        ([A, B, C], 25, 25, []),
        ([A, C], 10, 40, None),
        ([A, B], 10, 31, None),
        ([B, C], 10, 40, None),
        ([OTHER], 10, 40, None),
        ([], 10, 11, None),
    ],
)
def test_covering(there: list[WalSummary], start: int, end: int, expected: list[WalSummary] | None) -> None:
    assert covering(there, 1, start, end) == expected
