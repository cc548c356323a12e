"""The disk side of PostgreSQL: everything in a data directory that a base backup holds.

Objects come depth first, the entries of a directory in byte-wise order of their names, tablespaces before the
directory pg_tblspc: WAL-G's order. 100 000 files take about a second, and 70 bytes of memory each.
"""

import logging
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from walpy.errors import BackupError
from walpy.postgres.entry import Entry, EntryTable
from walpy.postgres.exclusions import is_excluded_directory, is_excluded_file

logger = logging.getLogger(__name__)

ROOT = "/"  # name of the data directory itself
CONTROL_NAME = "/global/pg_control"
TABLESPACES = "/pg_tblspc"


@dataclass(frozen=True, slots=True)
class TablespaceLink:
    """A symbolic link in pg_tblspc: its name (the tablespace's OID) and its target, without slashes at the end."""

    name: str
    location: str

    @property
    def link(self) -> str:
        """The link, below the data directory: `pg_tblspc/16384`."""
        return f"{TABLESPACES[1:]}/{self.name}"


@dataclass(frozen=True, slots=True)
class Listing:
    """What a walk found.

    entries: files and directories, in order, without pg_control. control: pg_control, which a backup stores last.
    tablespaces: in order of their names. catalog_size: bytes of every object met, also of those left out
    (WAL-G's DataCatalogSize).
    """

    entries: Sequence[Entry]
    control: Entry
    tablespaces: tuple[TablespaceLink, ...]
    catalog_size: int


def walk(data_directory: str) -> Listing:
    """List a data directory and its tablespaces.

    A file that vanishes meanwhile is left out. Symbolic links outside pg_tblspc are replaced by what they point to,
    since a restored link would point to nowhere. Sockets, pipes and devices are left out with a warning. Of a
    tablespace's location, the directory that belongs to this major version is listed: as in PostgreSQL's own backups.
    Raises BackupError for what cannot be read, and when there is no PG_VERSION or pg_control.
    """
    return _Walk(data_directory).run()


def tablespace_links(data_directory: str) -> tuple[TablespaceLink, ...]:
    """The symbolic links in pg_tblspc, in order of their names. Raises BackupError when they cannot be read."""
    folder = data_directory.rstrip("/") + TABLESPACES
    links = []
    for found in _scan(folder):
        if found.is_symlink():
            target = os.readlink(found.path)
            links.append(TablespaceLink(found.name, os.path.join(folder, target).rstrip("/") or "/"))
    return tuple(links)


class _Walk:
    def __init__(self, data_directory: str) -> None:
        self._root = os.path.realpath(data_directory)
        self._entries = EntryTable()
        self._control: Entry | None = None
        self._catalog_size = 0
        self._version_prefix = ""
        self._tablespaces: tuple[TablespaceLink, ...] = ()
        self._tablespace_paths: frozenset[str] = frozenset()
        self._chain: list[str] = []  # real paths of the directories that are being listed, from the top

    def run(self) -> Listing:
        self._version_prefix = f"PG_{_major_version(self._root)}_"
        self._tablespaces = tablespace_links(self._root)
        self._tablespace_paths = frozenset(os.path.realpath(link.location) for link in self._tablespaces)
        status = os.lstat(self._root)
        self._catalog_size += status.st_size
        self._add(ROOT, self._root, status)
        self._descend(ROOT, self._root)
        if self._control is None:
            raise _not_a_data_directory(self._root, CONTROL_NAME[1:])
        return Listing(self._entries, self._control, self._tablespaces, self._catalog_size)

    def _descend(self, name: str, path: str, only: str = "") -> None:
        """Visit what is in a directory; only: what the names must begin with."""
        prefix = "" if name == ROOT else name
        self._chain.append(path)
        for found in _scan(path):
            if not found.name.startswith(only):
                logger.info("%s does not belong to this cluster, and is left out of the backup", found.path)
                continue
            status = _status(found.path)
            if status is None:
                logger.info("%s vanished during the walk", found.path)
            else:
                self._visit(found.name, f"{prefix}/{found.name}", found.path, status, parent=name)
        self._chain.pop()

    def _visit(self, base: str, name: str, path: str, status: os.stat_result, parent: str) -> None:
        self._catalog_size += status.st_size
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFREG:
            self._file(base, name, path, status, parent)
        elif kind == stat.S_IFDIR:
            self._directory(base, name, path, status)
        elif kind == stat.S_IFLNK:
            self._link(base, name, path, parent)
        elif not is_excluded_file(base, parent):
            logger.warning("%s is not a file or a directory, and is left out of the backup", path)

    def _file(self, base: str, name: str, path: str, status: os.stat_result, parent: str) -> None:
        if name == CONTROL_NAME:
            self._control = _entry(name, path, status)
        elif not is_excluded_file(base, parent):
            self._add(name, path, status)

    def _directory(self, base: str, name: str, path: str, status: os.stat_result) -> None:
        if name == TABLESPACES:
            for link in self._tablespaces:
                self._tablespace(f"{name}/{link.name}", link)
        self._add(name, path, status)
        if not is_excluded_directory(base) and path not in self._tablespace_paths:
            self._descend(name, path)

    def _tablespace(self, name: str, link: TablespaceLink) -> None:
        """Walk a tablespace; neither it nor its link has an entry: whoever restores it decides where it goes."""
        path = os.path.realpath(link.location)
        if _status(path) is None:
            raise BackupError(f"tablespace {link.name} at {link.location!r} does not exist")
        self._descend(name, path, only=self._version_prefix)

    def _link(self, base: str, name: str, path: str, parent: str) -> None:
        if parent == TABLESPACES or is_excluded_file(base, parent):
            return
        target = os.path.realpath(path)
        status = _status(target)
        if status is None:
            logger.warning("%s is a symbolic link to nowhere, and is left out of the backup", path)
        elif any(directory == target or directory.startswith(f"{target}/") for directory in self._chain):
            logger.warning("%s is a symbolic link that leads back to itself, and is left out of the backup", path)
        else:
            excluded = is_excluded_directory(os.path.basename(target))
            self._visit(os.path.basename(target) if excluded else base, name, target, status, parent)

    def _add(self, name: str, path: str, status: os.stat_result) -> None:
        self._entries.append(_entry(name, path, status))


def _major_version(root: str) -> str:
    """What PG_VERSION says: `15`."""
    try:
        with open(os.path.join(root, "PG_VERSION")) as file:
            return file.read().strip()
    except FileNotFoundError as error:
        raise _not_a_data_directory(root, "PG_VERSION") from error
    except OSError as error:
        raise _unreadable(root, error) from error


def _not_a_data_directory(root: str, missing: str) -> BackupError:
    return BackupError(f"{root!r} has no {missing}", "Name PostgreSQL's data directory, as `SHOW data_directory` does.")


def _entry(name: str, path: str, status: os.stat_result) -> Entry:
    size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    return Entry(name, path, status.st_mode, size, status.st_mtime_ns, status.st_uid, status.st_gid)


def _scan(path: str) -> "list[os.DirEntry[str]]":
    """Entries of a directory, in byte-wise order of their names; none when it vanished."""
    try:
        with os.scandir(path) as found:
            return sorted(found, key=lambda entry: os.fsencode(entry.name))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unreadable(path, error) from error


def _status(path: str) -> os.stat_result | None:
    """lstat; None when there is nothing."""
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError) -> BackupError:
    return BackupError(
        f"cannot read {path!r}: {error.strerror}", "Run backup-push as the user who owns PostgreSQL's data directory."
    )
