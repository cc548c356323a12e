"""What a backup-fetch tells at its end."""

import logging
import os
from dataclasses import dataclass

from walpy import layout
from walpy.backup.model import Sentinel
from walpy.backup.wait import required_segments
from walpy.errors import WalpyError
from walpy.postgres.control import CONTROL_FILE, read_control
from walpy.wal.segment import segment_timeline

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FetchSummary:
    """What was restored, and what to do next, as lines for a person. pg_version: as server_version_num; 0 unknown.

    size: bytes of the files' data. stored_size: of all tars. wal_segments: the first and the last segment that recovery
    needs to become consistent; empty when the backup does not tell. limited_by: a sentence on what took the time.
    steps_when_running: what a partial restore leaves to do in the recovered server.
    """

    backup: str
    destination: str
    files: int
    size: int
    stored_size: int
    seconds: float
    limited_by: str
    pg_version: int
    wal_segments: tuple[str, ...]
    next_steps: tuple[str, ...]
    steps_when_running: tuple[str, ...] = ()

    def log(self) -> None:
        """Write the summary line, and what limited the restore."""
        size, stored = self.size / 1e6, self.stored_size / 1e6
        logger.info(
            "Restored %s: %.1f MB in %.1f s (%.1f MB/s) from %.1f MB stored%s",
            *(self.backup, size, self.seconds, size / max(self.seconds, 1e-3), stored),
            "; recovery needs WAL from {} to {}".format(*self.wal_segments) if self.wal_segments else "",
        )
        if self.limited_by:
            logger.info("%s", self.limited_by)


def wal_segments(backup: str, sentinel: Sentinel, destination: str) -> tuple[str, ...]:
    """First and last segment that recovery of a restored backup needs; nothing when that is not known.

    WAL-E's backups do not tell, and with a mask there may be no pg_control to give the segment size.
    """
    try:
        segment_size = read_control(os.path.join(destination, CONTROL_FILE)).segment_size
        timeline = segment_timeline(backup.removeprefix(layout.BACKUP_PREFIX)[:24])
        names = required_segments(timeline, sentinel.lsn or 0, sentinel.finish_lsn or 0, segment_size)
    except (OSError, WalpyError):
        return ()
    return names[0], names[-1]
