"""The time between start and stop of a backup: what is checked before, what its name is, what makes it fail."""

import logging
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from walpy.backup.gojson import text_v2
from walpy.backup.wait import archives_wal
from walpy.errors import BackupError, ConfigError
from walpy.layout import BACKUP_PREFIX
from walpy.postgres.control import CONTROL_FILE, read_control
from walpy.postgres.datadir import walk
from walpy.postgres.lsn import format_lsn
from walpy.wal.segment import segment_before_lsn, segment_name

if TYPE_CHECKING:
    from walpy.config import Config
    from walpy.postgres.datadir import Listing
    from walpy.postgres.server import Server, ServerFacts, StartedBackup

MIB = 1 << 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunningBackup:
    """A backup that the server has started: its name, and where it starts."""

    name: str
    lsn: int
    timeline: int
    on_standby: bool


def check_cluster(config: "Config", facts: "ServerFacts", data_directory: str) -> None:
    """Make sure that the directory is the server's. Raises BackupError, ConfigError.

    As WAL-G, by comparing paths; also by the system identifier, because a server in another container or on another
    host may have an equal path.
    """
    resolved = os.path.realpath(os.path.abspath(data_directory))
    if resolved != facts.data_directory:
        raise BackupError(
            f"data directory {resolved!r} is not the server's, which is {facts.data_directory!r}",
            "Give the server's data_directory, or connect to the other server (PGHOST, PGPORT).",
        )
    for name in (CONTROL_FILE, "PG_VERSION"):
        if not os.access(os.path.join(resolved, name), os.R_OK):
            raise BackupError(
                f"cannot read {os.path.join(resolved, name)!r}", "Run backup-push as the server's user, on its host."
            )
    control = read_control(os.path.join(resolved, CONTROL_FILE))
    if control.system_identifier != facts.system_identifier:
        raise BackupError(
            f"data directory {resolved!r} belongs to the cluster with system identifier {control.system_identifier}, "
            f"the server says {facts.system_identifier}",
            "PGHOST and PGPORT lead to another server: run backup-push on the host of the one to back up.",
        )
    check_sizes(config, facts)


def check_sizes(config: "Config", facts: "ServerFacts") -> None:
    """Settings that say how the server was built must be right when they are set. Raises ConfigError."""
    sizes = (
        ("WALG_PG_WAL_SIZE", MIB, facts.segment_size),
        ("WALG_PG_BLOCK_SIZE", 1, facts.page_size),
        ("WALG_PG_WAL_PAGE_SIZE", 1, facts.wal_page_size),
    )
    for key, unit, actual in sizes:
        if config.is_set(key) and config.integer(key) * unit != actual:
            raise ConfigError(
                f"{key} is {config.text(key)} ({config.origin(key)}), the server has {actual // unit}",
                f"Set {key}={actual // unit}.",
            )


def warn_of_settings(facts: "ServerFacts", *, verify: bool) -> None:
    """Warn of what makes a backup less than it looks; as in WAL-G, nothing of it is an error."""
    if not facts.in_recovery and facts.archive_mode not in ("on", "always"):
        logger.warning("archive_mode is %s: the server archives no WAL, which every restore needs", facts.archive_mode)
    elif not facts.in_recovery and not archives_wal(facts):
        logger.warning("archive_command is not set: the server archives no WAL, which every restore needs")
    if verify and not facts.data_checksums:
        logger.warning("data_checksums is off in this cluster: there are no page checksums to verify")


def backup_label() -> str:
    """What the server calls a backup: free text, for whoever looks at it."""
    return f"walpy on {socket.gethostname()}, pid {os.getpid()}"


def start_backup(server: "Server", facts: "ServerFacts") -> RunningBackup:
    """Start a backup in the server; it ends with the server's connection. Raises PostgresError.

    On a primary it is named after the WAL file of its start, on a standby after that of the byte before, on the
    timeline of the last checkpoint: as WAL-G.
    """
    started = server.start_backup(backup_label())
    # The server may have been promoted, or restarted with other timelines, since the first look.
    timeline = server.facts().timeline
    name = BACKUP_PREFIX + (started.name_file or _standby_name(started, timeline, facts.segment_size))
    logger.info("Started backup with name %s at LSN %s", name, format_lsn(started.lsn))
    return RunningBackup(name, started.lsn, timeline, started.in_recovery)


def _standby_name(started: "StartedBackup", timeline: int, segment_size: int) -> str:
    return segment_name(timeline, segment_before_lsn(started.lsn, segment_size), segment_size)


def check_timeline(server: "Server", backup: RunningBackup) -> None:
    """Make sure that a standby was not promoted meanwhile. Raises BackupError."""
    if not backup.on_standby:
        return
    facts = server.facts()
    if facts.timeline != backup.timeline or not facts.in_recovery:
        raise BackupError(
            f"the standby was promoted while the backup {backup.name} was taken (timeline {backup.timeline}, "
            f"now {facts.timeline})",
            "Take the backup again.",
        )


def list_files(data_directory: str, *, recorded: bool) -> "Listing":
    """Everything to pack. recorded: the names go into files_metadata.json.

    Raises BackupError, also for a name that could not be recorded: now, not after hours.
    """
    listing = walk(data_directory)
    for entry in listing.entries:
        if recorded and not entry.name.isascii():
            text_v2(entry.name)
    return listing
