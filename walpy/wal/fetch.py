"""wal-fetch: restores one WAL file, from the prefetched files when it can.

Memory: what the storage's reader holds, and one decoded chunk.
"""

import contextlib
import logging
import os
import re
import time
from typing import TYPE_CHECKING

from walpy.errors import DataCorrupt, ObjectMissing
from walpy.wal.files import is_being_written
from walpy.wal.hints import remembered
from walpy.wal.local import find_wal_directory
from walpy.wal.prefetch import PrefetchFolder, check_prefetched
from walpy.wal.segment import is_segment_name
from walpy.wal.target import FetchTarget

if TYPE_CHECKING:
    from walpy.archive import Archive
    from walpy.config import Config

# PostgreSQL takes 1-125 from restore_command as "no such file", and ends recovery there as if all WAL were replayed;
# above 125 it stops instead. A standby asks again, so there any failure may look like absence.
STOP_RECOVERY = 200

STALLED_SECONDS = 2.0  # without growth, a prefetch that is under way is not waited for any longer
POLL_SECONDS = 0.005

logger = logging.getLogger(__name__)

_STANDBY_MODE = re.compile(r"^\s*standby_mode\s*=?\s*'?(on|true|yes|1)\b", re.IGNORECASE | re.MULTILINE)


def wal_fetch(archive: "Archive", name: str, destination: str) -> None:
    """Restore a WAL file to destination (relative to the working directory, or absolute), replacing a file there.

    Raises ObjectMissing when the storage says that it holds no such file, DataCorrupt when what it holds is damaged or
    is not what the name says, StorageError, WalpyError for local trouble.
    """
    if not take_prefetched(archive.config, name, destination):
        download_wal(archive, name, destination)


def download_wal(archive: "Archive", name: str, destination: str) -> None:
    """Restore a WAL file from the storage, whatever was prefetched. Raises as wal_fetch."""
    target = FetchTarget(name, destination, archive.config.text("PGDATA"))
    try:
        with remembered(archive, destination), archive.open_wal(name) as chunks:
            target.receive(chunks)
    except ObjectMissing:
        raise ObjectMissing(f"Archive '{name}' does not exist.") from None


def take_prefetched(config: "Config", name: str, destination: str) -> bool:
    """Move a prefetched segment to destination; False when there is none. Asks no storage.

    Waits for a prefetch of that segment that is under way and grows. A prefetched file that is not what its name says
    is removed. Raises WalpyError for a destination that cannot be written.
    """
    if not is_segment_name(name):
        return False
    folder = PrefetchFolder.of(config, destination)
    path = folder.finished(name)
    _await_download(path, folder.running(name))
    try:
        check_prefetched(config, name, path, folder.directory)
        FetchTarget(name, destination, config.text("PGDATA")).take(path)
    except FileNotFoundError:
        return False
    except (OSError, DataCorrupt) as error:
        logger.warning("prefetched file %s is not used: %s", path, error)
        with contextlib.suppress(OSError):
            os.unlink(path)
        return False
    return True


def failure_code(error: BaseException, destination: str, pgdata: str = "") -> int:
    """Exit code of a failed wal-fetch.

    74 for proven absence. No other failure may look like the end of the archive to a recovery: STOP_RECOVERY when
    destination lies in the WAL directory of a data directory, but 1 for a standby's, and elsewhere.
    """
    if isinstance(error, ObjectMissing):
        return error.exit_code
    directory = find_wal_directory(destination, pgdata)
    return 1 if directory is None or _is_standby(directory.data_directory) else STOP_RECOVERY


def _is_standby(data_directory: str) -> bool:
    if os.path.exists(os.path.join(data_directory, "standby.signal")):
        return True
    try:  # up to PostgreSQL 11
        with open(os.path.join(data_directory, "recovery.conf"), encoding="utf-8", errors="replace") as file:
            return bool(_STANDBY_MODE.search(file.read()))
    except OSError:
        return False


def _await_download(finished: str, running: str) -> None:
    """Wait while a living prefetcher makes progress with a segment."""
    size, deadline = -1, 0.0
    while not os.path.exists(finished) and is_being_written(running):
        now = time.monotonic()
        try:
            size_now = os.path.getsize(running)
        except OSError:
            continue  # it has just been moved, or given up
        if size_now != size:
            size, deadline = size_now, now + STALLED_SECONDS
        elif now >= deadline:
            logger.debug("the prefetch of %s does not grow: downloading it directly", running)
            return
        time.sleep(POLL_SECONDS)
