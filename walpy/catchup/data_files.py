"""Which files of a standby a catchup replaces and removes, and which are the standby's own.

PostgreSQL's folders are what the server's are: what is not there goes, or a segment of a relation that was truncated
since would come back to life when the relation grows again. Files at the top of the data directory, such as
certificates and pg_ident.conf, are each server's own. WAL-G replaces these, and its catchup-fetch removes nothing.
"""

import logging
import os
import shutil
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from walpy.backup.restore_spec import TABLESPACE_FOLDER
from walpy.errors import BackupError
from walpy.postgres.control import CONTROL_FILE
from walpy.postgres.datadir import tablespace_links
from walpy.postgres.exclusions import CONFIGURATION, is_excluded_directory, is_excluded_file

FOLDERS: Final = (
    "base",
    "global",
    "pg_commit_ts",
    "pg_logical",
    "pg_multixact",
    "pg_stat",
    TABLESPACE_FOLDER,
    "pg_twophase",
    "pg_xact",
)
VERSION_FILE: Final = "PG_VERSION"
TEMPORARY_SUFFIX: Final = ".walpy_catchup"  # of files that are not complete yet

logger = logging.getLogger(__name__)


class DataFile(NamedTuple):
    """A file or directory in PostgreSQL's folders; name: below the data directory."""

    name: str
    is_directory: bool
    status: os.stat_result


def is_standbys_own(name: str) -> bool:
    """Whether a file of the server must not come into the standby. name: below the data directory."""
    folder, _, base = name.rpartition("/")
    return base in CONFIGURATION or (not folder and name != VERSION_FILE)


def data_files(directory: str) -> Iterator[DataFile]:
    """What is in PostgreSQL's folders, those of tablespaces included, parents first; what backups leave out is not.

    Raises BackupError for what cannot be read.
    """
    with open(os.path.join(directory, VERSION_FILE), encoding="ascii") as file:
        prefix = f"PG_{file.read().strip()}_"
    for folder in FOLDERS:
        if os.path.isdir(os.path.join(directory, folder)):
            yield from _below(directory, folder, prefix)


def _below(directory: str, folder: str, version_prefix: str) -> Iterator[DataFile]:
    is_tablespace = folder.rpartition("/")[0] == TABLESPACE_FOLDER
    try:
        found = sorted(os.scandir(os.path.join(directory, folder)), key=lambda entry: entry.name)
    except OSError as error:
        raise BackupError(f"cannot list {error.filename!r}: {error.strerror}") from error
    for entry in found:
        name = f"{folder}/{entry.name}"
        if is_tablespace and not entry.name.startswith(version_prefix):
            continue
        is_tablespace_link = folder == TABLESPACE_FOLDER and entry.is_symlink()
        if entry.is_dir(follow_symlinks=is_tablespace_link):
            if is_excluded_directory(entry.name):
                continue
            if not is_tablespace_link:
                yield DataFile(name, is_directory=True, status=entry.stat(follow_symlinks=False))
            yield from _below(directory, name, version_prefix)
        elif not name.startswith(CONTROL_FILE) and not is_excluded_file(entry.name, f"/{folder}"):
            yield DataFile(name, is_directory=False, status=entry.stat(follow_symlinks=False))


def remove_others(directory: str, kept: Collection[str]) -> int:
    """Remove what is in PostgreSQL's folders and not kept, directories with all that is in them; how many there were.

    kept: names below the data directory, also of directories. Raises BackupError.
    """
    others = [file for file in data_files(directory) if file.name not in kept]
    for file in others:
        remove(directory, file.name)
    _remove_dead_links(directory)
    return len(others)


def remove(directory: str, name: str) -> None:
    """Remove a file, or a directory with all that is in it; it may be gone. Raises BackupError."""
    path = os.path.join(directory, name)
    try:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise BackupError(f"cannot remove {error.filename!r}: {error.strerror}") from error
    logger.debug("removed %s", name)


def _remove_dead_links(directory: str) -> None:
    """Remove the links of tablespaces in which nothing is left: they were dropped."""
    for link in tablespace_links(directory):
        if not os.path.isdir(link.location) or not os.listdir(link.location):
            remove(directory, link.link)
