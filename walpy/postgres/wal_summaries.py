"""WAL summaries, which PostgreSQL 17 and later keep with summarize_wal: which blocks a stretch of WAL changed.

A file holds an entry for each fork of a relation: its limit block (the smallest length, in blocks, that the fork had
meanwhile; none if it was not truncated) and its changed blocks, in chunks of 65,536: offsets where they are few, else a
bitmap, both in 16-bit words. Memory: one entry at a time, a word for each changed block and at most 8 KiB a chunk.
Source: PostgreSQL, src/common/blkreftable.c, src/backend/backup/walsummary.c.
"""

import os
import re
import sys
from array import array
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import BinaryIO, Final, NamedTuple

import google_crc32c

from walpy.errors import DataCorrupt
from walpy.postgres.lsn import Lsn, format_lsn
from walpy.postgres.relation_file import Relation

FOLDER: Final = "pg_wal/summaries"  # below the data directory
CHUNK_BLOCKS: Final = 1 << 16
BITMAP_WORDS: Final = CHUNK_BLOCKS // 16  # a chunk of so many words is a bitmap
MAIN_FORK: Final = 0
NO_LIMIT: Final = 0xFFFFFFFF

_NAME: Final = re.compile(r"(?P<timeline>[0-9A-F]{8})(?P<start>[0-9A-F]{16})(?P<end>[0-9A-F]{16})\.summary")
_MAGIC: Final = Struct("<I").pack(0x652B137B)
_ENTRY: Final = Struct("<IIIiII")
_CRC: Final = Struct("<I")
_WORD_SIZE: Final = 2


class WalSummary(NamedTuple):
    """A file: the WAL from start to end (excluded) of a timeline is in it."""

    timeline: int
    start: Lsn
    end: Lsn
    path: str


class ForkChanges(NamedTuple):
    """What a summary says of one fork. limit: a length that it was cut to, in blocks; NO_LIMIT if it was not.

    chunks: the changed blocks below that were found, as words (type code H), by the number of their chunk: see the
    module.
    """

    relation: Relation
    fork: int
    limit: int
    chunks: "dict[int, array[int]]"


def list_summaries(data_directory: str) -> list[WalSummary]:
    """The summaries that there are, by timeline and position; empty when there never was one. Raises OSError."""
    folder = os.path.join(data_directory, FOLDER)
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    matches = filter(None, map(_NAME.fullmatch, names))
    return sorted(
        WalSummary(
            *(int(match["timeline"], 16), Lsn(int(match["start"], 16)), Lsn(int(match["end"], 16))),
            path=os.path.join(folder, match[0]),
        )
        for match in matches
    )


def covering(summaries: Sequence[WalSummary], timeline: int, start: int, end: int) -> list[WalSummary] | None:
    """Those that together hold the WAL from start to end of a timeline, in order; None when some of it is in none."""
    chosen, reached = [], start
    for summary in sorted(summaries):
        if summary.timeline != timeline or summary.end <= reached or reached >= end:
            continue
        if summary.start > reached:
            return None
        chosen.append(summary)
        reached = summary.end
    return chosen if reached >= end else None


def read_summary(summary: WalSummary) -> Iterator[ForkChanges]:
    """What a summary says, one fork after the other.

    Raises DataCorrupt when it is damaged or cut off, maybe after some forks were given: they are of no use then.
    Raises OSError, FileNotFoundError when the server has removed it meanwhile.
    """
    with open(summary.path, "rb") as stream:
        reader = _Reader(stream, summary)
        if reader.take(len(_MAGIC)) != _MAGIC:
            raise DataCorrupt(f"{reader.name} does not begin as a WAL summary")
        while any(entry := _ENTRY.unpack(reader.take(_ENTRY.size))):
            *locator, fork, limit, chunk_count = entry
            sizes = reader.words(chunk_count)
            chunks = {number: reader.words(size) for number, size in enumerate(sizes) if size}
            yield ForkChanges(Relation(*locator), fork, limit, chunks)
        reader.check_end()


class _Reader:
    """Reads a summary and sums up what was read."""

    def __init__(self, stream: BinaryIO, summary: WalSummary) -> None:
        first, last = format_lsn(summary.start), format_lsn(summary.end)
        self.name = f"the summary of WAL from {first} to {last} on timeline {summary.timeline}"
        self._stream = stream
        self._crc = 0

    def take(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise DataCorrupt(f"{self.name} is cut off")
        self._crc = google_crc32c.extend(self._crc, data)
        return data

    def words(self, count: int) -> "array[int]":
        if count > (1 << 32) // CHUNK_BLOCKS:  # more chunks than a relation has, or a chunk has words
            raise DataCorrupt(f"{self.name} is damaged")
        words = array("H", self.take(count * _WORD_SIZE))
        if sys.byteorder == "big":
            words.byteswap()
        return words

    def check_end(self) -> None:
        computed = self._crc
        if self.take(_CRC.size) != _CRC.pack(computed):
            raise DataCorrupt(f"{self.name} is damaged: its checksum is wrong")
