"""Objects as files below a directory, laid out as WAL-G does; on the path of wal-push and wal-fetch.

An object's file appears complete and durable, or not at all: see newfile.py. Directories are made by put alone, and go
when delete empties them.

A missing root directory is an error of every method, and never proof that an object is missing: the root may be a
network file system that is not mounted. (An empty mount point looks like an empty archive: a root *below* the mount
point tells the two apart.) Each method opens the root first and looks up names relative to it, so that a mount coming
or going in between cannot mislead it. What is below the root may be missing: that is an empty archive.

Nothing is repeated: the kernel and its file systems have done so before they report a failure. With a hard-mounted NFS
they try for ever; use soft mounts for calls that must end.
"""

import os
import stat as modes
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from operator import attrgetter
from typing import TYPE_CHECKING

from walpy.errors import ConfigError, ObjectExists, ObjectMissing, StorageError
from walpy.storage.base import Chunk, Folder, StoredObject, check_name, join
from walpy.storage.fs_reader import FsReader, storage_error
from walpy.storage.name_blocks import in_order
from walpy.storage.newfile import OPEN_FOLDER, NewFile, is_temporary, sync_folder

if TYPE_CHECKING:
    from walpy.config import Config

FOLDER_MODE = 0o755  # and the umask; as WAL-G
SCHEME = "file://localhost"


def from_config(config: "Config") -> "FsStorage":
    """Storage in the directory WALG_FILE_PREFIX (or WALE_FILE_PREFIX), below WALG_STORAGE_PREFIX.

    As WAL-G, `file://localhost` in front is dropped and the rest is taken as it is: percent signs mean themselves.
    """
    key = "WALG_FILE_PREFIX" if config.is_set("WALG_FILE_PREFIX") else "WALE_FILE_PREFIX"
    configured = config.text(key)
    root = configured.removeprefix(SCHEME)
    if not root or root.startswith("file:"):
        raise ConfigError(
            f"{key}={configured!r} ({config.origin(key)}) is not a directory",
            f"Give the path of a directory, or {SCHEME} and a path.",
        )
    return FsStorage(root, config.text("WALG_STORAGE_PREFIX"))


class FsStorage:
    """Storage in a directory. Memory: one chunk a put, and one a reader."""

    def __init__(self, root: str, prefix: str = "") -> None:
        """root: an existing directory, or a link to one; prefix: a folder below it, made when something is put."""
        self._root = os.path.abspath(root)
        self._prefix = join(prefix)
        self._anonymous = True  # until a file shows that it does not work here

    @property
    def url(self) -> str:
        """Where it is: file:// and the path."""
        return f"file://{os.path.join(self._root, self._prefix) if self._prefix else self._root}"

    def put(self, name: str, chunks: Iterable[Chunk], *, create_only: bool = False) -> int:
        """Store an object; see Storage. Returns when file and directory are on disk."""
        check_name(name)
        folder, _, base = name.rpartition("/")
        if is_temporary(base):
            raise StorageError(f"not an object name: {name!r} is a temporary file's")
        try:
            file = NewFile(lambda: self._make_folder(folder), base, anonymous=self._anonymous)
        except OSError as error:
            raise self._failure("store", name, error) from error
        try:
            size = self._write(file, name, chunks)
            self._publish(file, name, create_only)
        finally:
            file.close()
            self._anonymous = self._anonymous and file.anonymous
        return size

    def open(self, name: str, *, offset: int = 0, size: int | None = None) -> FsReader:
        """Open an object for reading; see Storage."""
        check_name(name)
        with self._opened_root() as root:
            try:
                file = FileIO(self._path(name), opener=lambda path, flags: os.open(path, flags, dir_fd=root))
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise self._missing(name) from None
            except OSError as error:
                raise self._failure("open", name, error) from error
        return FsReader(f"{self.url}/{name}", file, offset, size)

    def stat(self, name: str) -> StoredObject:
        """Look up one object; see Storage."""
        found = self.stat_many([name])
        if not found:
            raise self._missing(name)
        return found[0]

    def stat_many(self, names: Sequence[str]) -> list[StoredObject]:
        """Those of the objects that exist; see Storage. One system call for each."""
        found: list[StoredObject] = []
        with self._opened_root() as root:
            for name in names:
                check_name(name)
                try:
                    status = os.stat(self._path(name), dir_fd=root)
                except (FileNotFoundError, NotADirectoryError):
                    continue
                except OSError as error:
                    raise self._failure("look up", name, error) from error
                if modes.S_ISREG(status.st_mode):
                    found.append(_stored(name, status))
        return found

    def list_folder(self, folder: str = "") -> Folder:
        """Direct children of a folder; see Storage."""
        found = self._children(folder)
        return Folder(tuple(item for item in found.objects if not is_temporary(item.name)), found.folders)

    def list(self, folder: str = "") -> Iterator[StoredObject]:
        """Every object below a folder, in name order; see Storage. Memory: names of one directory at each depth."""
        return (item for item in self._walk(folder) if not is_temporary(item.name))

    def list_names(self, folder: str = "") -> Iterator[str]:
        """Names of every object below a folder; see Storage. Looks at no file: a directory tells what is one."""
        folders: list[str] = []
        with self._opened_folder(folder) as directory:
            if directory is None:
                return
            prefix = f"{folder}/" if folder else ""
            try:
                with os.scandir(directory) as entries:
                    for entry in entries:
                        name = prefix + entry.name
                        if entry.is_dir():
                            folders.append(name)
                        elif entry.is_file() and not is_temporary(name):
                            yield name
            except OSError as error:
                raise self._failure("list", folder, error) from error
        for inner in folders:
            yield from self.list_names(inner)

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects, and the directories that this empties; see Storage. Durable when it returns."""
        self._unlink(names)

    def discard_unfinished(self, folder: str) -> int:
        """Remove temporary files of puts that were killed; see Storage. There are none where anonymous files work."""
        return self._unlink([item.name for item in self._walk(folder) if is_temporary(item.name)])

    def close(self) -> None:
        """Nothing to release: no file stays open between calls."""

    def _write(self, file: NewFile, name: str, chunks: Iterable[Chunk]) -> int:
        size = 0
        for chunk in chunks:  # outside of the try: what reading the source raises is not this storage's error
            try:
                file.write(chunk)
            except OSError as error:
                raise self._failure("store", name, error) from error
            size += len(chunk)
        return size

    def _publish(self, file: NewFile, name: str, create_only: bool) -> None:
        try:
            file.publish(create_only=create_only)
        except FileExistsError as error:
            if self.stat_many([name]):
                raise ObjectExists(f"object {name!r} already exists in {self.url}") from error
            raise self._failure("store", name, error) from error  # a directory, or a link to nowhere
        except OSError as error:
            raise self._failure("store", name, error) from error

    def _unlink(self, names: Iterable[str]) -> int:
        count = 0
        folders: set[str] = set()
        with self._opened_root() as root:
            for name in names:
                check_name(name)
                try:
                    os.unlink(self._path(name), dir_fd=root)
                except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                    continue
                except OSError as error:
                    raise self._failure("delete", name, error) from error
                count += 1
                folders.add(name.rpartition("/")[0])
            for folder in sorted(folders, reverse=True):  # children before their parents
                self._prune(root, folder)
        return count

    def _make_folder(self, folder: str) -> int:
        """Open a folder's directory, after making it and its parents when they are missing."""
        with self._opened_root() as root:
            return _open_made(root, self._path(folder))

    def _prune(self, root: int, folder: str) -> None:
        """Remove a folder and its parents as long as they are empty, and make what happened durable."""
        try:
            while folder:
                try:
                    os.rmdir(self._path(folder), dir_fd=root)
                except FileNotFoundError:
                    pass
                except OSError:
                    break  # not empty, a link, a mount point or not ours to remove: an empty folder is no harm
                folder = folder.rpartition("/")[0]
            _sync_path(root, self._path(folder))
        except OSError as error:
            raise self._failure("delete objects of", folder, error) from error

    def _walk(self, folder: str) -> Iterator[StoredObject]:
        """All files below a folder, temporary ones included, in name order."""
        prefix = f"{folder}/" if folder else ""
        with self._opened_folder(folder) as directory:
            if directory is None:
                return
            try:
                for name in in_order(_names(directory)):
                    if name.endswith("/"):
                        yield from self._walk(f"{prefix}{name[:-1]}")
                    else:
                        yield from _if_stored(directory, prefix, name)
            except OSError as error:
                raise self._failure("list", folder, error) from error

    def _children(self, folder: str) -> Folder:
        """What is in a folder, temporary files included; links are followed."""
        with self._opened_folder(folder) as directory:
            if directory is None:
                return Folder((), ())
            try:
                return _scan(directory, f"{folder}/" if folder else "")
            except OSError as error:
                raise self._failure("list", folder, error) from error

    @contextmanager
    def _opened_folder(self, folder: str) -> Iterator[int | None]:
        """A descriptor of a folder; None when it does not exist."""
        if folder:
            check_name(folder)
        with self._opened_root() as root:
            try:
                directory = os.open(self._path(folder), OPEN_FOLDER, dir_fd=root)
            except (FileNotFoundError, NotADirectoryError):
                directory = None
            except OSError as error:
                raise self._failure("list", folder, error) from error
        try:
            yield directory
        finally:
            if directory is not None:
                os.close(directory)

    def _path(self, name: str) -> str:
        """Path of an object or folder, relative to the root."""
        return join(self._prefix, name) or "."

    @contextmanager
    def _opened_root(self) -> Iterator[int]:
        """A descriptor of the root directory, which is proof that it exists."""
        try:
            # The dot makes the kernel mount what an automounter keeps ready, which O_PATH alone does not.
            root = os.open(f"{self._root}/.", os.O_PATH | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            raise StorageError(
                f"the storage's root directory {self._root!r} does not exist",
                "Mount its file system, or make the directory, and let the user that runs walpy own it.",
            ) from None
        except OSError as error:
            raise self._failure("open", self._root, error) from error
        try:
            yield root
        finally:
            os.close(root)

    def _missing(self, name: str) -> ObjectMissing:
        return ObjectMissing(f"object {name!r} does not exist in {self.url}")

    def _failure(self, doing: str, name: str, error: OSError) -> StorageError:
        return storage_error(error, f"cannot {doing} {name!r} in {self.url}")


def _stored(name: str, status: os.stat_result) -> StoredObject:
    return StoredObject(name, status.st_size, status.st_mtime_ns)


def _names(directory: int) -> Iterator[str]:
    """Names of a directory's entries, those of directories with a slash behind: so they sort as what they hold."""
    with os.scandir(directory) as entries:
        for entry in entries:
            yield f"{entry.name}/" if entry.is_dir() else entry.name


def _if_stored(directory: int, prefix: str, name: str) -> Iterator[StoredObject]:
    """The object of a file; none when it was deleted meanwhile, is a link to nowhere, or no file."""
    with suppress(FileNotFoundError):
        status = os.stat(name, dir_fd=directory)
        if modes.S_ISREG(status.st_mode):
            yield _stored(prefix + name, status)


def _scan(directory: int, prefix: str) -> Folder:
    objects: list[StoredObject] = []
    folders: list[str] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir():
                folders.append(prefix + entry.name)
                continue
            try:
                status = entry.stat()
            except FileNotFoundError:  # deleted meanwhile, or a link to nowhere
                continue
            if modes.S_ISREG(status.st_mode):
                objects.append(_stored(prefix + entry.name, status))
    return Folder(tuple(sorted(objects, key=attrgetter("name"))), tuple(sorted(folders)))


def _open_made(root: int, path: str) -> int:
    try:
        return os.open(path, OPEN_FOLDER, dir_fd=root)
    except FileNotFoundError:
        if path == ".":
            raise
    parent_path, _, base = path.rpartition("/")
    parent = _open_made(root, parent_path or ".")
    try:
        with suppress(FileExistsError):  # another put was faster
            os.mkdir(base, FOLDER_MODE, dir_fd=parent)
        sync_folder(parent)
        return os.open(base, OPEN_FOLDER, dir_fd=parent)
    finally:
        os.close(parent)


def _sync_path(root: int, path: str) -> None:
    try:
        folder = os.open(path, OPEN_FOLDER, dir_fd=root)
    except FileNotFoundError:
        return
    try:
        sync_folder(folder)
    finally:
        os.close(folder)
