"""The change map of a delta backup from WAL delta maps (WALG_USE_WAL_DELTA), for servers without WAL summaries.

What the archive's maps do not hold yet is taken from what wal-push has noted of single segments, else from the segments
themselves, in the server's WAL directory or the archive. Where something is missing, or damaged, the pages' headers are
looked at as without maps, and the log says why; with WALG_FORCE_WAL_DELTA the backup fails instead.
"""

import logging
import os
from typing import TYPE_CHECKING, Final

from walpy.backup.change_bitmaps import changes_of
from walpy.backup.change_map import ChangeMap, MapTooLarge
from walpy.backup.summaries import NotCovered
from walpy.errors import BackupError, DataCorrupt, ObjectMissing, WalpyError
from walpy.postgres.lsn import Lsn, format_lsn
from walpy.postgres.relation_file import Relation
from walpy.postgres.wal_summaries import MAIN_FORK, ForkChanges
from walpy.wal.delta import RECORD_FOLDER, Record, Records, record_of
from walpy.wal.delta_map import GROUP_SEGMENTS, SUFFIX, Covered, MapReader, Unmarked
from walpy.wal.local import STATE_FOLDER, wal_folder
from walpy.wal.records import Joint, unpacked_locator
from walpy.wal.segment import segment_name
from walpy.wal.validate import HEADER_SIZE, Cluster, find_fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from walpy.archive import Archive
    from walpy.backup.delta_base import Base
    from walpy.postgres.server import ServerFacts

# A group's worth at the begin, which archiving met in its midst, one at the end, which is not complete yet.
MOST_SEGMENTS: Final = 2 * GROUP_SEGMENTS

logger = logging.getLogger(__name__)


def mapped_changes(
    archive: "Archive", facts: "ServerFacts", base: "Base", *, timeline: int, lsn: int, is_forced: bool
) -> ChangeMap | None:
    """What changed from the start of the base to lsn, where the backup starts; None when the maps do not tell.

    archive: of the WAL. is_forced: raise BackupError instead.
    """
    try:
        if base.timeline != timeline:
            raise NotCovered(f"the base is on timeline {base.timeline}, this backup on {timeline}")
        reading = _Reading(archive, facts, timeline, lsn)
        reading.read(base.lsn)
    except (NotCovered, MapTooLarge, WalpyError, OSError) as error:
        if is_forced:
            raise BackupError(
                f"WAL delta maps cannot tell what changed: {error}",
                "Take a full backup (--full), or leave WALG_FORCE_WAL_DELTA away.",
            ) from error
        logger.warning("WAL delta maps cannot tell what changed, so all changed files are read: %s", error)
        return None
    logger.info("%s tell what changed since %s", reading.told, format_lsn(base.lsn))
    return reading.changes


class _Reading:
    """The reading of all that tells of the WAL before lsn, on one timeline."""

    def __init__(self, archive: "Archive", facts: "ServerFacts", timeline: int, lsn: int) -> None:
        self.changes = ChangeMap(facts.page_size)
        self._archive = archive
        self._facts = facts
        self._timeline = timeline
        self._lsn = lsn
        self._wal_folder = wal_folder(facts.data_directory) or ""
        self._records = Records(os.path.join(self._wal_folder, STATE_FOLDER, RECORD_FOLDER))
        self._maps = self._segments = 0

    @property
    def told(self) -> str:
        """What was read, for a message."""
        return f"{self._maps} WAL delta maps and {self._segments} segments"

    def read(self, start: Lsn) -> None:
        """Read what tells of the WAL from start on. Raises NotCovered, MapTooLarge, WalpyError, OSError."""
        size = self._facts.segment_size
        number = start // size
        # A segment of which nothing but the first page's header is before lsn is not needed: on every primary.
        last = self._lsn // size - (self._lsn % size <= HEADER_SIZE)
        joint = Joint(None)  # what a record of before start does in the first segment does not matter
        while number <= last:
            first = number - number % GROUP_SEGMENTS
            head = self._add_map(first) if self._segments == 0 or number == first else None
            if head is not None:
                joint, number = Joint(head), first + GROUP_SEGMENTS
            else:
                self._add_segment(number, joint)
                number += 1
        if number <= self._lsn // size and joint.head:
            raise NotCovered(f"a record goes on into the segment of {format_lsn(Lsn(self._lsn))}")

    def _add_map(self, first: int) -> bytes | None:
        """Take a group's map in; the head of what follows. None when there is none to be used."""
        name = self._name(first) + SUFFIX
        try:
            with self._archive.open_wal(name) as chunks:
                reader = MapReader(chunks, f"WAL delta map {name}")
                for places in reader.places():
                    self.changes.add(changes_of(places))
        except ObjectMissing:
            return None
        except Unmarked:
            logger.info("%s is not used: maps that WAL-G makes do not tell what was cut off or removed", name)
            return None
        start, size = first * self._facts.segment_size, GROUP_SEGMENTS * self._facts.segment_size
        expected = Covered(reader.covered.magic, self._facts.system_identifier, start, start + size)
        if reader.covered != expected:
            raise DataCorrupt(f"WAL delta map {name} tells of other WAL: {reader.covered}")
        self.changes.add(_cuts(reader.limits))
        self._maps += 1
        return reader.head

    def _add_segment(self, number: int, joint: Joint) -> None:
        self._segments += 1
        if self._segments > MOST_SEGMENTS:
            raise NotCovered(f"there is no map of the WAL at {self._name(number)}")
        record = self._record(number)
        if record.system != self._facts.system_identifier or record.segment.start != number * self._facts.segment_size:
            raise DataCorrupt(f"{self._name(number)} is another segment, or another cluster's")
        ended = joint.add(record.segment)
        self.changes.add(changes_of(record.places + b"".join(ended.places)))
        for changes in (record.segment.changes, ended):
            self.changes.add(_cuts(changes.limits))

    def _record(self, number: int) -> Record:
        name = self._name(number)
        try:
            return self._records.read(name)
        except FileNotFoundError:
            pass
        except DataCorrupt as error:
            logger.warning("%s", error)
        end = self._lsn if number == self._lsn // self._facts.segment_size else None
        local = self._local_segment(name)
        if local is not None:
            return record_of(local, end)
        try:
            with self._archive.open_wal(name) as chunks:
                return record_of(b"".join(bytes(chunk) for chunk in chunks), end)
        except ObjectMissing as error:
            raise NotCovered(f"{name} is neither in the archive nor in the server's WAL directory") from error

    def _local_segment(self, name: str) -> bytes | None:
        """A segment in the server's WAL directory; None when it is not there, or not yet that segment."""
        try:
            with open(os.path.join(self._wal_folder, name), "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return None
        cluster = Cluster(self._facts.system_identifier, self._facts.segment_size)
        return None if find_fault(name, data[:HEADER_SIZE], len(data), cluster) else data

    def _name(self, number: int) -> str:
        return segment_name(self._timeline, number, self._facts.segment_size)


def _cuts(limits: dict[bytes, int]) -> "Iterator[ForkChanges]":
    for locator, blocks in limits.items():
        yield ForkChanges(Relation(*unpacked_locator(locator)), MAIN_FORK, blocks, {})
