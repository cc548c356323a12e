"""Where tablespaces go when a backup is restored: at their old places, or where --restore-spec puts them.

Links are always made in the destination. (WAL-G makes them below the specification's base_prefix, which is the old data
directory unless the user edited it, and then restores the files into plain directories instead.)
"""

import logging
import os
from collections.abc import Sequence

from walpy.backup.model import Spec, Tablespace
from walpy.errors import BackupError, DataCorrupt, UsageError

TABLESPACE_FOLDER = "pg_tblspc"

logger = logging.getLogger(__name__)


def read_restore_spec(path: str) -> Spec:
    """Read the file of --restore-spec. Raises UsageError, in WAL-G's words, when it is missing or malformed."""
    try:
        with open(path, encoding="utf-8") as file:
            return Spec.from_json(file.read())
    except (OSError, UnicodeDecodeError, DataCorrupt) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(
            f"Invalid restore specification path {path}: {reason}",
            'It holds {"base_prefix": DIR, "tablespaces": [OID], OID: {"loc": DIR, "link": "pg_tblspc/OID"}}.',
        ) from error


def chosen_tablespaces(stored: Spec | None, wanted: Spec | None) -> tuple[Tablespace, ...]:
    """The backup's tablespaces, at the places that wanted (the restore specification) gives them.

    Raises UsageError when wanted leaves one of them out: its files would end up inside the data directory.
    """
    tablespaces = stored.tablespaces if stored else ()
    if wanted is None:
        return tuple(_checked(entry) for entry in tablespaces)
    places = {entry.name: entry for entry in wanted.tablespaces}
    missing = [entry.name for entry in tablespaces if entry.name not in places]
    if missing:
        raise UsageError(
            f"restore specification names no place for tablespace {', '.join(missing)}",
            f"The backup has the tablespaces {', '.join(entry.name for entry in tablespaces)}.",
        )
    names = {entry.name for entry in tablespaces}
    for name in places.keys() - names:
        logger.warning("the backup has no tablespace %s; its entry in the restore specification is ignored", name)
    return tuple(_checked(places[entry.name]) for entry in tablespaces)


def _checked(entry: Tablespace) -> Tablespace:
    """The tablespace with the link that PostgreSQL looks for. Raises UsageError for what is no absolute place."""
    if not entry.name.isascii() or not entry.name.isdigit():
        raise UsageError(f"not a tablespace's link name: {entry.name!r}")
    if not os.path.isabs(entry.location):
        raise UsageError(f"location of tablespace {entry.name} is not absolute: {entry.location!r}")
    return Tablespace(entry.name, os.path.normpath(entry.location), f"{TABLESPACE_FOLDER}/{entry.name}")


def make_tablespaces(destination: str, tablespaces: Sequence[Tablespace]) -> None:
    """Make the tablespaces' directories and the links to them, unless an interrupted restore has made them."""
    if not tablespaces:
        return
    try:
        os.makedirs(os.path.join(destination, TABLESPACE_FOLDER), mode=0o700, exist_ok=True)
        for entry in tablespaces:
            os.makedirs(entry.location, mode=0o700, exist_ok=True)
            make_link(entry.location, os.path.join(destination, entry.link))
    except OSError as error:
        raise BackupError(f"cannot make tablespace directory or link {error.filename!r}: {error.strerror}") from error


def make_link(target: str, path: str) -> None:
    """Make a symbolic link unless it is there. Raises OSError."""
    if not os.path.islink(path) or os.readlink(path) != target:
        os.symlink(target, path)
