"""Finishes a restored directory tree: links, directory modes, and what PostgreSQL expects but backups may lack."""

import logging
import os
import stat

from walpy.backup.completeness import Restored
from walpy.backup.restore_spec import TABLESPACE_FOLDER, make_link
from walpy.errors import BackupError

_WAL_FOLDER = "pg_wal"  # left out of backups where it was a link; no server starts without it
_PRIVATE = 0o700
_TOO_OPEN = 0o027  # PostgreSQL refuses a data directory that is open to others, or writable for its group

logger = logging.getLogger(__name__)


def finish_tree(destination: str, restored: Restored, *, is_whole: bool) -> None:
    """Make links, apply directory modes (cut to 0777, as in WAL-G) and, in a whole restore, add a missing pg_wal."""
    try:
        for name, target in sorted(restored.links.items()):
            _make_link(destination, name, target)
        if is_whole and not os.path.lexists(os.path.join(destination, _WAL_FOLDER)):
            os.mkdir(os.path.join(destination, _WAL_FOLDER), _PRIVATE)
        for name in sorted(restored.directories, reverse=True):  # children first: a parent may become read-only
            os.chmod(os.path.join(destination, name), restored.directories[name])
        if stat.S_IMODE(os.stat(destination).st_mode) & _TOO_OPEN:
            os.chmod(destination, _PRIVATE)
    except OSError as error:
        raise BackupError(f"cannot finish {error.filename!r}: {error.strerror}") from error


def _make_link(destination: str, name: str, target: str) -> None:
    """Make a symbolic link that the backup holds, where it says where the link led.

    WAL-G stores a link's own name instead of its target, and would restore a link that leads nowhere.
    """
    base = name.rpartition("/")[2]
    if name.startswith(f"{TABLESPACE_FOLDER}/"):
        logger.info("link %r is a tablespace's and was made from the backup's specification", name)
    elif target in ("", base, name, f"/{name}"):
        logger.warning("link %r was stored without its target and is not restored", name)
    else:
        path = os.path.join(destination, name)
        os.makedirs(os.path.dirname(path), mode=_PRIVATE, exist_ok=True)
        make_link(target, path)
