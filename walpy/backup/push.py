"""backup-push: a full or a delta backup of a running server's data directory, from start to sentinel.

What makes it right, in the order of the steps:

- The server starts the backup before the first file is listed, and stops it after the last one was read: recovery from
  backup_label repairs whatever changed in between.
- pg_control is read last: recovery must not begin later than any file's state.
- backup_label and tablespace_map come from the stop alone.
- The WAL between start and stop is in the archive, and every part is there with the size that was stored, before the
  sentinel is: the backup exists from then on, as a whole.

Whatever fails before, a signal included, ends the workers and the backup in the server, and removes what was stored.
"""

import logging
import os
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from walpy import layout
from walpy.archive import open_archive, open_wal_archive
from walpy.backup import documents
from walpy.backup.catchup_base import catchup_base, checked_catchup_base, without_configuration
from walpy.backup.commit import StoredBackup
from walpy.backup.composers import DATABASE, RATING, by_database, by_rating, rated
from walpy.backup.copied_parts import copy_parts
from walpy.backup.delta_base import Base, Division, check_base_is_there, choose_base, divide, is_usable
from walpy.backup.file_entries import ALL_BLOCKS, SOME_BLOCKS
from walpy.backup.lock import backup_lock
from walpy.backup.mark import backup_mark
from walpy.backup.meanwhile import meanwhile
from walpy.backup.packing import Packers, pack_files, packers
from walpy.backup.push_settings import PushOptions, PushSettings, check_settings
from walpy.backup.push_summary import BackupSummary, log_summary
from walpy.backup.rate_limits import RateLimits, open_limited_archive
from walpy.backup.source_files import Pages
from walpy.backup.special_tars import CONTROL_TAR, LABEL_TAR, control_file, label_files, put_tar
from walpy.backup.stage_times import SERVER, Stopwatch, added, limited_by
from walpy.backup.start_stop import (
    RunningBackup,
    check_cluster,
    check_timeline,
    list_files,
    start_backup,
    warn_of_settings,
)
from walpy.backup.summaries import summarized_changes
from walpy.backup.unfinished import unfinished
from walpy.backup.wait import WalWait
from walpy.postgres.control import read_control_bytes
from walpy.postgres.keep_alive import KeepAlive
from walpy.postgres.lsn import format_lsn
from walpy.postgres.relations import collect_relations
from walpy.postgres.server import Server, ServerFacts, connect
from walpy.postgres.statistics import collect_updates
from walpy.wal.identity import check_identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    from walpy.archive import Archive, Stored
    from walpy.backup.change_map import ChangeMap
    from walpy.backup.partition import PartitionResult
    from walpy.backup.special_tars import SmallFile
    from walpy.backup.timestamp import Timestamp
    from walpy.config import Config
    from walpy.postgres.database import Database
    from walpy.postgres.datadir import Listing
    from walpy.postgres.entry import Entry
    from walpy.postgres.lsn import Lsn
    from walpy.postgres.server import StoppedBackup
    from walpy.progress import Progress

WORKERS_AHEAD = 4  # worker processes that are started before it is known how much there is to store

logger = logging.getLogger(__name__)


def backup_push(
    config: "Config",
    data_directory: str,
    options: PushOptions,
    progress: "Progress",
    *,
    wal_config: "Config | None" = None,
    catchup_from: "Lsn | None" = None,
    connecting: "Future[Server] | None" = None,
) -> BackupSummary:
    """Take a backup of the server that the PG* settings lead to, and store it: a delta where the settings allow.

    data_directory: the server's own, on this host. progress: counts bytes of data files. wal_config: of wal-push, which
    with failover storages knows further ones. catchup_from: make a catchup for standbys that have everything up to this
    position. connecting: to the server, already begun. Raises WalpyError; no backup is listed then, and nothing left in
    the archive but what could not be removed.
    """
    began = time.monotonic()
    logger.info("Backup will be pushed to storage: %s", config.storage_name())
    settings = check_settings(config, options)
    limits = RateLimits.from_config(config)
    archive = open_limited_archive(config, limits.network)
    archive.check_writable()
    with connecting.result() if connecting else connect(config) as server:
        facts = server.facts()
        check_cluster(config, facts, data_directory)
        with backup_lock(facts.data_directory):
            check_identity(archive, facts.system_identifier, None)
            choose: Callable[[], Base | None] = partial(choose_base, archive, settings.delta)
            if catchup_from is not None:
                choose = partial(catchup_base, archive, catchup_from, facts.system_identifier)
            wal_archive = open_wal_archive(wal_config or config, is_writing=True)
            push = _Push(config, options, settings, archive, wal_archive, limits, server, facts, choose)
            summary = push.run(progress, began)
    log_summary(summary, config.storage_name())
    return summary


@dataclass(frozen=True, slots=True)
class _Push:
    """One push, between the checks and the summary."""

    config: "Config"
    options: PushOptions
    settings: PushSettings
    archive: "Archive"
    wal_archive: "Archive"
    limits: RateLimits
    server: Server
    facts: ServerFacts
    choose: "Callable[[], Base | None]"

    def run(self, progress: "Progress", began: float) -> BackupSummary:
        start_time = documents.now_rounded_up()
        warn_of_settings(self.facts, verify=self.options.verify)
        wal = WalWait(self.wal_archive, self.facts, self.settings.wal_timeout)
        waits = Stopwatch()
        workers = packers(self.config, self.limits)
        with KeepAlive(self.server, self.settings.alive_interval) as alive, workers:
            starting = meanwhile(partial(start_backup, self.server, self.facts))
            wanted = self.choose()  # while the server makes its checkpoint, as what follows
            workers.start(min(self.settings.workers, WORKERS_AHEAD))
            with waits:
                backup = starting.result()
            base = self._usable_base(wanted, backup)
            origin, base = (base, None) if base is not None and base.copies else (None, base)
            if base is not None:
                backup = replace(backup, name=base.delta_name(backup.name))
            stored = StoredBackup(self.archive, backup.name)
            with unfinished(stored, self.server.close):
                listing = list_files(self.facts.data_directory, recorded=not self.options.without_files_metadata)
                copied, listing = self._copy(listing, origin, stored)
                groups, unchanged = self._compose(listing, base)
                listing = replace(listing, entries=())
                names = meanwhile(self._table_names)
                packed = copied + self._pack(workers, backup, base, groups, stored, progress, alive)
                control = self._put_control(listing, stored)
                databases = names.result()
                alive.check()
                with waits:
                    stopped = self._stop(wal)
                label = self._put_label(stopped, stored)
                check_timeline(self.server, backup)
                with waits:
                    segments = wal.wait(backup.timeline, backup.lsn, stopped.lsn)
                stored.confirm()
                size = sum(result.size for result in packed) + control.size + label.size
                finished = self._describe(backup, base, stopped, listing, stored, start_time=start_time, size=size)
                files = self._files_metadata(packed, label, databases, unchanged)
                self._secure(base)
                stored.complete(documents.metadata(finished), files, documents.sentinel(finished))
        seconds = time.monotonic() - began
        return BackupSummary(
            name=layout.bare_name(backup.name),
            uncompressed_size=size,
            stored_size=stored.stored_size,
            tar_count=stored.part_count,
            seconds=seconds,
            first_segment=segments[0],
            last_segment=segments[-1],
            corrupt_block_count=sum(len(blocks) for result in packed for _, blocks in result.corrupt),
            limited_by=limited_by(added(result.times for result in packed), SERVER, waits.seconds, seconds),
        )

    def _usable_base(self, base: Base | None, backup: RunningBackup) -> Base | None:
        if base is not None and base.is_catchup:
            return checked_catchup_base(base, backup, self.facts, self.wal_archive)
        if base is None or not is_usable(base, backup, self.facts, self.wal_archive):
            return None
        if not base.copies:
            logger.info("Delta backup from %s with LSN %s.", base.name, format_lsn(base.lsn))
        return base

    def _copy(
        self, listing: "Listing", origin: Base | None, stored: StoredBackup
    ) -> "tuple[list[PartitionResult], Listing]":
        """Copy parts of an earlier backup; what they are, and the listing without what is in them."""
        if origin is None:
            return [], listing
        copied = copy_parts(open_archive(self.config), origin, listing.entries, stored)
        return copied.results, replace(listing, entries=copied.rest)

    def _compose(self, listing: "Listing", base: Base | None) -> "tuple[Sequence[Sequence[Entry]], Sequence[Entry]]":
        """What is to be packed, in groups that share no tar; and the files that are as the base has them."""
        composer = self.settings.composer
        entries: Sequence[Entry] = listing.entries
        if composer == RATING:
            entries = rated(entries, collect_updates(self.config, self.server))
        packed, unchanged = self._divide(entries, base)
        if composer == RATING:
            return by_rating(packed, base.files if base else {}), unchanged
        return by_database(packed) if composer == DATABASE else [packed], unchanged

    def _divide(self, entries: "Sequence[Entry]", base: Base | None) -> Division:
        if base is None:
            return Division(entries, ())
        ignores_mtime = self.settings.delta.ignores_mtime
        if base.is_catchup:
            entries = without_configuration(entries)
        return divide(entries, base, self.facts.page_size, ignores_mtime=ignores_mtime)

    def _secure(self, base: Base | None) -> None:
        """What a delta needs must be there, and stay, before it exists itself."""
        if base is None:
            return
        if self.options.permanent:
            backup_mark(self.archive, base.name, permanent=True)
        check_base_is_there(self.archive, base)

    def _pack(
        self,
        workers: Packers,
        backup: RunningBackup,
        base: Base | None,
        groups: "Sequence[Sequence[Entry]]",
        stored: StoredBackup,
        progress: "Progress",
        alive: KeepAlive,
    ) -> "list[PartitionResult]":
        def note(result: "PartitionResult") -> None:
            stored.add_part(result.object_name, result.stored_size)
            logger.info("Stored %s: %d bytes of files in %d", result.tar_name, result.size, result.stored_size)
            for name, blocks in result.corrupt:
                logger.warning(
                    "Corruption found in %s%s, %d blocks: %s%s",
                    *(self.facts.data_directory, name, len(blocks)),
                    *(", ".join(map(str, blocks[:10])), ", ..." if len(blocks) > 10 else ""),
                )

        verify = self.options.verify and self.facts.data_checksums
        return pack_files(
            workers,
            backup.name,
            groups,
            self.settings,
            pages=Pages(self.facts.page_size, backup.lsn if verify else None, base.lsn if base else 0),
            kept_blocks=self._kept_blocks(),
            progress=progress,
            on_result=note,
            heartbeat=alive.check,
            changes=None if base is None else self._changes(backup, base),
        )

    def _changes(self, backup: RunningBackup, base: Base) -> "ChangeMap | None":
        if self.settings.delta.ignores_mtime or base.is_catchup:
            return None
        changes = summarized_changes(self.facts, base, timeline=backup.timeline, lsn=backup.lsn)
        if changes is not None or not self.config.boolean("WALG_USE_WAL_DELTA"):
            return changes
        from walpy.backup.wal_maps import mapped_changes  # imports numpy, for this alone

        return mapped_changes(
            self.wal_archive,
            self.facts,
            base,
            timeline=backup.timeline,
            lsn=backup.lsn,
            is_forced=self.config.boolean("WALG_FORCE_WAL_DELTA"),
        )

    def _put_control(self, listing: "Listing", stored: StoredBackup) -> "Stored":
        content = read_control_bytes(listing.control.path)
        return self._put(stored, CONTROL_TAR, [control_file(listing.control, content)])

    def _put_label(self, stopped: "StoppedBackup", stored: StoredBackup) -> "Stored":
        files = label_files(stopped.label_file.encode(), stopped.tablespace_map.encode())
        return self._put(stored, LABEL_TAR, files)

    def _put(self, stored: StoredBackup, tar_name: str, files: "list[SmallFile]") -> "Stored":
        part = put_tar(self.archive, stored.name, tar_name, files)
        stored.add_part(part.name, part.stored_size)
        return part

    def _stop(self, wal: WalWait) -> "StoppedBackup":
        timeout = self.settings.stop_timeout
        return self.server.stop_backup(timeout, wait_for_archive=wal.is_left_to_server(timeout))

    def _table_names(self) -> "dict[str, Database]":
        return collect_relations(self.config, self.server) if self._has_names() else {}

    def _has_names(self) -> bool:
        return self.settings.with_table_names and not self.options.without_files_metadata

    def _describe(
        self,
        backup: RunningBackup,
        base: Base | None,
        stopped: "StoppedBackup",
        listing: "Listing",
        stored: StoredBackup,
        *,
        start_time: "Timestamp",
        size: int,
    ) -> documents.FinishedBackup:
        return documents.FinishedBackup(
            start_lsn=backup.lsn,
            stop_lsn=stopped.lsn,
            start_time=start_time,
            finish_time=documents.now_rounded_up(),
            pg_version=self.facts.version_num,
            system_identifier=self.facts.system_identifier,
            hostname=os.uname().nodename,
            data_directory=self.facts.data_directory,
            uncompressed_size=size,
            compressed_size=stored.stored_size,
            data_catalog_size=listing.catalog_size,
            spec=documents.tablespace_spec(self.facts.data_directory, listing.tablespaces),
            user_data=self.settings.user_data,
            is_permanent=self.options.permanent,
            files_metadata_disabled=self.options.without_files_metadata,
            base=base,
        )

    def _kept_blocks(self) -> int | None:
        if self.options.without_files_metadata:
            return None
        return ALL_BLOCKS if self.options.store_all_corrupt else SOME_BLOCKS

    def _files_metadata(
        self,
        packed: "list[PartitionResult]",
        label: "Stored",
        databases: "dict[str, Database]",
        unchanged: "Sequence[Entry]",
    ) -> "Iterator[bytes] | None":
        if self.options.without_files_metadata:
            return None
        return documents.files_metadata(packed, label.name, databases, unchanged)
