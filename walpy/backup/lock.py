"""One backup per cluster at a time: a lock that the kernel drops when its holder ends, however it ends.

The lock is a flock on a file in `pg_wal/walg_data`, where WAL-G keeps its local state too; that folder is in no backup.
The file says who holds it. Where it cannot be written (a read-only mount, another owner) the data directory itself is
locked, which needs no permission to write, and a second start then cannot say who the first is.
"""

import errno
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from walpy.errors import BackupError

LOCK_FILE = "walpy_backup.lock"
HINT = "Wait for it to end; two backups at once would only slow each other down."

logger = logging.getLogger(__name__)


@contextmanager
def backup_lock(data_directory: str) -> Iterator[None]:
    """Hold the cluster's backup lock. Raises BackupError, naming the holder, when somebody else does.

    Where nothing can be locked (some network file systems) the backup goes on with a warning: the lock saves work, the
    backup's consistency does not depend on it.
    """
    descriptor = _open(data_directory)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise BackupError(
                    f"another backup of {data_directory!r} is running{_holder(descriptor)}", HINT
                ) from None
            logger.warning("cannot lock %s against a second backup: %s", data_directory, error.strerror)
        _sign(descriptor)
        yield
    finally:
        os.close(descriptor)


def _open(data_directory: str) -> int:
    folder = os.path.join(data_directory, "pg_wal", "walg_data")
    path = os.path.join(folder, LOCK_FILE)
    try:
        if not os.path.isdir(folder):
            os.mkdir(folder, 0o700)
            _give(folder, data_directory)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        _give(path, data_directory)
        return descriptor
    except OSError as error:
        logger.debug("no lock file in %s (%s), locking the data directory itself", folder, error.strerror)
    try:
        return os.open(data_directory, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    except OSError as error:
        raise BackupError(f"cannot open the data directory {data_directory!r}: {error.strerror}") from error


def _give(path: str, data_directory: str) -> None:
    """Let the server's user have what root made: its own wal-push and wal-fetch keep their state there too."""
    if os.geteuid() == 0:
        owner = os.stat(data_directory)
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _sign(descriptor: int) -> None:
    """Say who we are, for the next one to read; nothing when the lock is on the directory."""
    text = f"pid {os.getpid()}, started {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}\n"
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
    except OSError as error:
        logger.debug("the lock's holder is not recorded: %s", error.strerror)


def _holder(descriptor: int) -> str:
    try:
        text = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
    except OSError:
        return ""
    return f" ({text})" if text else ""
