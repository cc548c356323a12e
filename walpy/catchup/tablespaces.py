"""The tablespaces of a standby that is brought forward: those it has stay where they are, new ones are made.

tablespace_map is never applied: PostgreSQL would lead all links to the places of the server that wrote it, and on the
same host two servers would share them.
"""

import os
from collections.abc import Sequence

from walpy.backup.model import Tablespace
from walpy.backup.restore_spec import TABLESPACE_FOLDER
from walpy.backup.restore_target import check_empty
from walpy.errors import BackupError


def new_tablespaces(directory: str, tablespaces: Sequence[Tablespace]) -> list[Tablespace]:
    """Those that the standby lacks. Raises BackupError when the place of one is not free."""
    new = [entry for entry in tablespaces if not os.path.isdir(os.path.join(directory, entry.link))]
    for entry in new:
        try:
            check_empty(entry.location)
        except BackupError as error:
            raise BackupError(
                f"the new tablespace {entry.name} belongs into {entry.location!r}, which is not empty",
                f"For another place, make {os.path.join(directory, entry.link)!r} a link to an empty directory.",
            ) from error
    return new


def make_links(directory: str, tablespaces: Sequence[Tablespace]) -> None:
    """Make places and links of new tablespaces. Raises BackupError."""
    try:
        for entry in tablespaces:
            os.makedirs(os.path.join(directory, TABLESPACE_FOLDER), mode=0o700, exist_ok=True)
            os.makedirs(entry.location, mode=0o700, exist_ok=True)
            path = os.path.join(directory, entry.link)
            if os.path.islink(path):  # to nowhere
                os.unlink(path)
            os.symlink(entry.location, path)
    except OSError as error:
        raise BackupError(f"cannot make tablespace directory or link {error.filename!r}: {error.strerror}") from error
