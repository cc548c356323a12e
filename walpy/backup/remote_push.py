"""backup-push without a data directory: a full backup that comes over the replication protocol, from any host.

What makes it right, in the order of the steps:

- One server answers all: the facts, and the stream, whose system identifier must be theirs.
- The server ends the stream well, and sends a manifest: every file that came has the manifest's size and checksum, none
  is missing and none too many. Only then is pg_control's own tar stored, without which nobody can restore.
- The WAL between start and end is in the archive, and every part is there with the size that was stored, before the
  sentinel is: the backup exists from then on, as a whole.

Whatever fails before, a signal included, ends the backup in the server, and removes what was stored.

Memory: as repack and part_uploads say.
"""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from walpy.archive import open_wal_archive
from walpy.backup import documents
from walpy.backup.commit import StoredBackup
from walpy.backup.files_metadata import files_metadata_json
from walpy.backup.model import Spec, Tablespace
from walpy.backup.part_uploads import PartUploads, StoredPart
from walpy.backup.push_settings import PushOptions, PushSettings, check_settings
from walpy.backup.push_summary import BackupSummary, log_summary
from walpy.backup.rate_limits import DISK_LIMIT, open_limited_archive
from walpy.backup.repack import Repacking
from walpy.backup.special_tars import CONTROL_TAR, put_tar
from walpy.backup.stage_times import SERVER, STORING, Stopwatch, limited_by
from walpy.backup.start_stop import backup_label, check_sizes, warn_of_settings
from walpy.backup.unfinished import unfinished
from walpy.backup.wait import WalWait
from walpy.errors import BackupError, DataCorrupt
from walpy.layout import BACKUP_PREFIX
from walpy.postgres.backup_manifest import ManifestCheck, check_ranges
from walpy.postgres.base_backup import BackupEnd, BackupStart, BaseBackup, BaseBackupOptions
from walpy.postgres.control import CONTROL_FILE
from walpy.postgres.lsn import format_lsn
from walpy.postgres.server import ServerFacts, connect
from walpy.stream.allocator import keep_freed_memory
from walpy.wal.identity import check_identity
from walpy.wal.segment import segment_name, segment_of_lsn

if TYPE_CHECKING:
    from walpy.archive import Archive
    from walpy.backup.timestamp import Timestamp
    from walpy.config import Config
    from walpy.progress import Progress

CHECKING = "receiving and checking"

logger = logging.getLogger(__name__)


def remote_backup_push(
    config: "Config", options: PushOptions, progress: "Progress", *, wal_config: "Config | None" = None
) -> BackupSummary:
    """Take a full backup of the server that the PG* settings lead to, which may be anywhere, and store it.

    progress: counts bytes of the server's tars. wal_config: as for backup_push. Raises WalpyError; no backup is listed
    then, and nothing left in the archive but what could not be removed.
    """
    began = time.monotonic()
    logger.info("Backup will be pushed to storage: %s", config.storage_name())
    settings = check_settings(config, options)
    keep_freed_memory()
    archive = open_limited_archive(config)
    archive.check_writable()
    start_time = documents.now_rounded_up()
    with connect(config) as server:
        facts, address = server.facts(), server.address
    _say_what_is_left_out(config, options, settings)
    check_sizes(config, facts)
    check_identity(archive, facts.system_identifier, None)
    wal_archive = open_wal_archive(wal_config or config, is_writing=True)
    wal = WalWait(wal_archive, facts, settings.wal_timeout)
    with BaseBackup(config, address) as stream:
        push = _RemotePush(config, options, settings, archive, wal, facts, stream, start_time)
        summary = push.run(progress, began)
    log_summary(summary)
    return summary


def _say_what_is_left_out(config: "Config", options: PushOptions, settings: PushSettings) -> None:
    logger.info("Running remote backup through Postgres connection.")
    if settings.delta.max_steps > 0:
        logger.warning("Without the data directory a full backup is taken, never a delta")
    if options.store_all_corrupt:
        logger.info("WALG_STORE_ALL_CORRUPT_BLOCKS has no effect: the server names corrupt blocks in its warnings")
    if settings.stop_timeout:
        logger.info(
            "WALG_STOP_BACKUP_TIMEOUT has no effect: walpy waits for the WAL, for %s",
            config.text("WALPY_WAL_WAIT_TIMEOUT"),
        )


@dataclass(frozen=True, slots=True)
class _RemotePush:
    """One push, between the checks and the summary."""

    config: "Config"
    options: PushOptions
    settings: PushSettings
    archive: "Archive"
    wal: WalWait
    facts: ServerFacts
    stream: BaseBackup
    start_time: "Timestamp"

    def run(self, progress: "Progress", began: float) -> BackupSummary:
        warn_of_settings(self.facts, verify=self.options.verify)
        server_time = Stopwatch()
        with server_time:
            start = self._start()
        name = self._name(start)
        logger.info("Started backup with name %s at LSN %s", name, format_lsn(start.lsn))
        stored = StoredBackup(self.archive, name)
        with unfinished(stored, self.stream.close):
            uploads, repacked, end = self._receive(start, stored, progress)
            self._put_control(repacked, stored)
            with server_time:
                segments = self.wal.wait(start.timeline, start.lsn, end.lsn)
            stored.confirm()
            finished = self._describe(start, end, repacked.size, stored)
            files = None
            if not self.options.without_files_metadata:
                files = files_metadata_json({}, {}, repacked.listing())
            stored.complete(documents.metadata(finished), files, documents.sentinel(finished))
        seconds = time.monotonic() - began
        waited = server_time.seconds + self.stream.seconds_waited
        times = {CHECKING: max(0.0, seconds - waited - uploads.seconds_waited), STORING: uploads.seconds_waited}
        return BackupSummary(
            name=name,
            uncompressed_size=repacked.size,
            stored_size=stored.stored_size,
            tar_count=stored.part_count,
            seconds=seconds,
            first_segment=segments[0],
            last_segment=segments[-1],
            corrupt_block_count=0,
            limited_by=limited_by(times, SERVER, waited, seconds),
        )

    def _start(self) -> BackupStart:
        identity = self.stream.identify()
        if identity.system_identifier != self.facts.system_identifier:
            raise BackupError(
                f"two servers answer: {self.facts.system_identifier} to queries, "
                f"{identity.system_identifier} to the replication protocol, at {self.stream.place}",
                "Let PGHOST and PGPORT lead to one server, and to it alone.",
            )
        return self.stream.start(
            BaseBackupOptions(
                backup_label(),
                max_rate=self._max_rate(),
                verify_checksums=self.options.verify,
                waits_for_archive=self.wal.is_left_to_server(0),
            )
        )

    def _max_rate(self) -> int:
        """KiB a second; 0 for no limit."""
        limit = self.config.integer(DISK_LIMIT)
        return max(1, limit >> 10) if limit > 0 else 0

    def _name(self, start: BackupStart) -> str:
        size = self.facts.segment_size
        return BACKUP_PREFIX + segment_name(start.timeline, segment_of_lsn(start.lsn, size), size)

    def _receive(
        self, start: BackupStart, stored: StoredBackup, progress: "Progress"
    ) -> tuple[PartUploads, Repacking, BackupEnd]:
        """Store all that the server sends, and compare it with the manifest."""
        is_recorded = not self.options.without_files_metadata
        progress.start(None, stored.name)
        try:
            with PartUploads(self.archive, stored.name, _noting(stored)) as uploads:
                repacked = Repacking(uploads, self.settings.tar_threshold, progress, is_recorded=is_recorded)
                ranges = None
                for archive in self.stream.archives():
                    if archive.is_manifest:
                        check = ManifestCheck(repacked.received)
                        ranges = check.run(archive.chunks, self.facts.system_identifier)
                    else:
                        repacked.add(archive)
                end = self.stream.finish()
                if ranges is None or repacked.received:
                    raise DataCorrupt("the server's last word was no manifest of all that it sent")
                _check_end(start, end)
                check_ranges(ranges, start.timeline, start.lsn, end.lsn)
                uploads.finish()
        finally:
            progress.finish()
        if end.has_corrupt_pages:
            logger.warning("Corruption found: the server's warnings above name the files and blocks")
        return uploads, repacked, end

    def _put_control(self, repacked: Repacking, stored: StoredBackup) -> None:
        if repacked.control is None:
            raise DataCorrupt(f"the server sent no {CONTROL_FILE}")
        part = put_tar(self.archive, stored.name, CONTROL_TAR, [repacked.control])
        stored.add_part(part.name, part.stored_size)

    def _describe(
        self, start: BackupStart, end: BackupEnd, size: int, stored: StoredBackup
    ) -> documents.FinishedBackup:
        return documents.FinishedBackup(
            start_lsn=start.lsn,
            stop_lsn=end.lsn,
            start_time=self.start_time,
            finish_time=documents.now_rounded_up(),
            pg_version=self.facts.version_num,
            system_identifier=self.facts.system_identifier,
            hostname=os.uname().nodename,
            data_directory=self.facts.data_directory,
            uncompressed_size=size,
            compressed_size=stored.stored_size,
            data_catalog_size=0,  # not known here; as in WAL-G's
            spec=_spec(self.facts.data_directory, start),
            user_data=self.settings.user_data,
            is_permanent=self.options.permanent,
            files_metadata_disabled=self.options.without_files_metadata,
        )


def _noting(stored: StoredBackup) -> Callable[[StoredPart], None]:
    def note(part: StoredPart) -> None:
        stored.add_part(part.object_name, part.stored_size)
        logger.info("Stored %s: %d bytes in %d", part.tar_name, part.size, part.stored_size)

    return note


def _spec(data_directory: str, start: BackupStart) -> Spec:
    """Where the tablespaces are; there is one also without any. Those inside of the data directory need no link."""
    tablespaces = [Tablespace(str(oid), location, f"pg_tblspc/{oid}") for oid, location in start.tablespaces]
    return Spec(data_directory, tuple(entry for entry in tablespaces if entry.location.startswith("/")))


def _check_end(start: BackupStart, end: BackupEnd) -> None:
    if end.timeline != start.timeline:
        raise BackupError(
            f"the backup began on timeline {start.timeline} and ended on {end.timeline}: the standby was promoted",
            "Take the backup again.",
        )
