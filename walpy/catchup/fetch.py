"""catchup-fetch: brings a stopped standby forward with a catchup in the archive.

Everything that can be checked is checked first. Then pg_control is set aside, files and pages are written in worker
processes, all of them must have arrived, what the server does not have any more is removed, and all of it is flushed;
pg_control is last. A catchup that ended early has no pg_control; applying the same one again completes it.

Memory of this process: the catchup's list of files, about 800 bytes a file; for the workers see extract.py.
"""

import logging
import os
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Final

from walpy import layout
from walpy.archive import Archive
from walpy.backup.apply import Applier
from walpy.backup.catalog import find_catchup, read_sentinel
from walpy.backup.chain import Chain, Link, Names, plan_chain
from walpy.backup.completeness import Restored
from walpy.backup.durability import FileSystems
from walpy.backup.extract import ExtractPlan, relative_name
from walpy.backup.fetch_summary import wal_segments
from walpy.backup.files_metadata import FilesMetadata
from walpy.backup.model import Sentinel, Tablespace
from walpy.backup.rate_limits import MeasuredSleep, open_limited_archive
from walpy.backup.restore_spec import chosen_tablespaces
from walpy.backup.restore_target import may_compress
from walpy.backup.restore_tree import finish_tree
from walpy.catchup.data_files import is_standbys_own, remove, remove_others
from walpy.catchup.standby import (
    LABEL_FILE,
    UNFINISHED_CONTROL_FILE,
    Source,
    Standby,
    applying,
    begin,
    check_fits,
    finish,
    read_standby,
    standby_lock,
)
from walpy.catchup.tablespaces import make_links, new_tablespaces
from walpy.config import Config
from walpy.errors import BackupError
from walpy.postgres.control import CONTROL_FILE
from walpy.postgres.lsn import Lsn, format_lsn
from walpy.progress import Progress
from walpy.wal.segment import segment_timeline

TABLESPACE_MAP: Final = "tablespace_map"
_NEEDED: Final = frozenset({"PG_VERSION", "global/pg_filenode.map"})  # in the list of files of any cluster

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Catchup:
    """All that is known before the first byte is written. names: all that the server had."""

    backup: str
    sentinel: Sentinel
    chain: Chain
    names: Names
    tablespaces: tuple[Tablespace, ...]
    new_tablespaces: Sequence[Tablespace]
    plan: ExtractPlan


def catchup_fetch(config: Config, directory: str, name: str, progress: Progress) -> None:
    """Apply a catchup, by its name or LATEST, to a stopped standby's data directory.

    Success means complete and durable. Raises BackupError, UsageError, DataCorrupt or StorageError; a failure after the
    first byte leaves the standby without pg_control, and applying the same catchup again goes on.
    """
    began = time.monotonic()
    directory = os.path.realpath(directory)
    waits = MeasuredSleep()
    with standby_lock(directory), closing(open_limited_archive(config, sleep=waits)) as archive:
        archive.cipher  # noqa: B018 - a wrong key is told before anything is written
        backup = find_catchup(archive, name)
        standby = read_standby(directory)
        catchup = _prepare(archive, backup, standby)
        bare = layout.bare_name(backup)
        begin(standby, bare)
        with applying(standby, f"catchup-fetch of {bare}"):
            restored = _apply(archive, catchup, standby, waits, progress)
    _tell(catchup, standby, restored, time.monotonic() - began)


# ---- before the first byte


def _prepare(archive: Archive, backup: str, standby: Standby) -> _Catchup:
    """Read what the catchup consists of, and check that it fits to the standby."""
    sentinel, bare, directory = read_sentinel(archive, backup), layout.bare_name(backup), standby.directory
    if standby.unfinished and standby.unfinished != bare:
        begin(standby, bare)  # refuses
    listed: list[FilesMetadata] = []

    def choose(files: FilesMetadata) -> Names:
        listed.append(files)
        names = (name for name in map(relative_name, files.files) if not is_standbys_own(name))
        return frozenset([*names, CONTROL_FILE, LABEL_FILE])

    chain = plan_chain(archive, (Link(backup, sentinel._replace(delta_from="")),), choose)
    names = frozenset(map(relative_name, listed[0].files))
    tablespaces = chosen_tablespaces(sentinel.spec, None)
    _check_list(bare, listed[0], names, tablespaces)
    source = Source(
        standby.control.system_identifier if sentinel.system_identifier is None else sentinel.system_identifier,
        segment_timeline(bare.removeprefix(layout.BACKUP_PREFIX)[:24]),
        *(Lsn(lsn or 0) for lsn in (sentinel.delta_lsn, sentinel.lsn, sentinel.finish_lsn)),
    )
    check_fits(standby, source, has_increments=bool(chain.newest.increments))
    places = [directory, *(entry.location for entry in tablespaces)]
    plan = ExtractPlan(
        directory,
        links=frozenset([*(entry.link for entry in tablespaces), *_own_links(directory)]),
        control_file="",
        is_in_place=True,
        retries=archive.config.integer("WALG_DOWNLOAD_FILE_RETRIES", minimum=0),
        reserves_room=not may_compress(places),
        is_flushed=not archive.config.boolean("WALG_TAR_DISABLE_FSYNC"),
    )
    new = new_tablespaces(directory, tablespaces) if not standby.unfinished else _missing(directory, tablespaces)
    return _Catchup(backup, sentinel, chain, names, tablespaces, new, plan)


def _check_list(backup: str, files: FilesMetadata, names: Names, tablespaces: Sequence[Tablespace]) -> None:
    """Raise BackupError when the list of files cannot be all that the server had: the rest would be removed."""
    lacking = [name for name in _NEEDED if name not in names]
    lacking += [entry.link for entry in tablespaces if not any(name.startswith(f"{entry.link}/") for name in names)]
    if lacking or any(entry.is_skipped for entry in files.files.values()):
        raise BackupError(
            f"catchup {backup} does not hold all that the server had{': ' + ', '.join(lacking) if lacking else ''}",
            "Push another one.",
        )


def _own_links(directory: str) -> list[str]:
    """Directories at the top that the standby has elsewhere, such as pg_wal."""
    return [entry.name for entry in os.scandir(directory) if entry.is_symlink() and entry.is_dir()]


def _missing(directory: str, tablespaces: Sequence[Tablespace]) -> list[Tablespace]:
    return [entry for entry in tablespaces if not os.path.lexists(os.path.join(directory, entry.link))]


# ---- from the first byte on


def _apply(archive: Archive, catchup: _Catchup, standby: Standby, waits: MeasuredSleep, progress: Progress) -> Restored:
    directory, plan = standby.directory, catchup.plan
    make_links(directory, catchup.new_tablespaces)
    concurrency = archive.config.integer("WALG_DOWNLOAD_CONCURRENCY", minimum=1)
    applier = Applier(archive, None, plan, concurrency, waits, progress)
    restored = Restored()
    with FileSystems([directory, *(os.path.join(directory, entry.link) for entry in catchup.tablespaces)]) as places:
        applier.restore_newest(catchup.chain.newest, catchup.chain.special_parts[:-1], restored)
        removed = remove_others(directory, catchup.names)
        if removed:
            logger.info("Removed %d files and directories that the server does not have any more", removed)
        remove(directory, TABLESPACE_MAP)
        restored.links.clear()  # links at the top are the standby's own, those of tablespaces are made
        finish_tree(directory, restored, is_whole=True)
        control = replace(plan, control_file=UNFINISHED_CONTROL_FILE)
        applier.extract_here(catchup.chain.special_parts[-1:], control, restored)
        if plan.is_flushed:
            places.sync()
        finish(standby)
    return restored


def _tell(catchup: _Catchup, standby: Standby, restored: Restored, seconds: float) -> None:
    bare = layout.bare_name(catchup.backup)
    segments = wal_segments(bare, catchup.sentinel, standby.directory)
    logger.info(
        "Brought %s from %s to %s: %.1f MB in %.1f s; it needs WAL from %s on",
        *(standby.directory, format_lsn(standby.position), format_lsn(catchup.sentinel.lsn or 0)),
        *(restored.size / 1e6, seconds, segments[0] if segments else "the start of the catchup"),
    )
    tell_how_to_start(standby.directory)


def tell_how_to_start(directory: str) -> None:
    """Warn when a standby would not start as one."""
    names = ("standby.signal", "recovery.conf")
    if not any(os.path.exists(os.path.join(directory, name)) for name in names):
        logger.warning(
            "there is no standby.signal in %s: without it, the server does not start as a standby", directory
        )
