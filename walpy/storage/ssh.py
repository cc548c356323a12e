"""SshStorage: an archive on a server that speaks SFTP, laid out as WAL-G does.

It runs the system's `ssh` (ssh_process.py says why) and speaks SFTP itself (sftp.py), with many requests on their way
at a time. An object's file appears complete and durable, or not at all: see ssh_upload.py. As in a file system's
storage, the root directory must exist: without it, nothing proves that an object is missing.

Memory: two segments of 8 MiB for each put that runs at the same time, 4 MiB for each reader.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from walpy.errors import ConfigError, ObjectMissing, StorageError
from walpy.storage import sftp
from walpy.storage.base import Chunk, Folder, StoredObject, check_name, join, walk
from walpy.storage.buffers import Buffers
from walpy.storage.newfile import is_temporary
from walpy.storage.retry import Deadline, RetryPolicy
from walpy.storage.sftp import Answer, Attributes, Connection, Fields, SftpRefusal, string
from walpy.storage.sftp_files import sync_folder
from walpy.storage.ssh_process import HOST_KEY_CHECKS, SshSettings
from walpy.storage.ssh_reader import SshReader
from walpy.storage.ssh_server import SshServer
from walpy.storage.ssh_upload import SEGMENT_SIZE, Upload

if TYPE_CHECKING:
    from walpy.config import Config

KEPT_SIZE = 8 * SEGMENT_SIZE  # bytes of buffers kept between puts: those of four at a time
BATCH = 256  # requests on their way at a time, of look-ups and deletes
READ_AHEAD = 8  # of a directory's packets, about a hundred names each
SECOND = 10**9  # nanoseconds


def from_config(config: "Config") -> "SshStorage":
    """The storage of WALG_SSH_PREFIX, `ssh://host/absolute/path`. Raises ConfigError; connects when it is used."""
    settings, root = _settings(config)
    server = SshServer(settings, root, RetryPolicy.from_config(config), fsync=config.boolean("WALPY_SSH_FSYNC"))
    return SshStorage(server, config.storage_prefix())


def _settings(config: "Config") -> tuple[SshSettings, str]:
    prefix = config.prefix()
    url = urlsplit(prefix)
    root = "/" + join(unquote(url.path))
    if not url.scheme or not url.hostname or root == "/" or url.hostname.startswith("-"):
        raise ConfigError(
            f"WALG_SSH_PREFIX has the wrong value {prefix!r}: it needs a host and a path",
            "Write it as ssh://host/absolute/path; SSH_PORT and SSH_USERNAME are settings of their own.",
        )
    check = config.text("WALPY_SSH_HOST_KEY_CHECK")
    if check not in HOST_KEY_CHECKS:
        raise config.invalid("WALPY_SSH_HOST_KEY_CHECK", f"must be one of {', '.join(HOST_KEY_CHECKS)}")
    port = config.storage_key("SSH_PORT")
    return SshSettings(
        host=url.hostname,
        port=str(config.integer(port, minimum=1)) if config.is_set(port) else "",
        user=config.storage_text("SSH_USERNAME"),
        key_path=config.storage_text("SSH_PRIVATE_KEY_PATH"),
        password=config.storage_text("SSH_PASSWORD"),
        passphrase=config.text("WALPY_SSH_KEY_PASSPHRASE"),
        host_key_check=check,
        known_hosts=config.text("WALPY_SSH_KNOWN_HOSTS"),
    ), root


class SshStorage:
    """A Storage below a directory of an SFTP server; one connection, which all threads share."""

    def __init__(self, server: SshServer, prefix: str = "") -> None:
        """prefix: a folder below the server's root, made when something is put."""
        self._server = server
        self._prefix = join(prefix)
        self._buffers = Buffers(KEPT_SIZE)

    @property
    def url(self) -> str:
        """`ssh://host/path`."""
        return f"{self._server.url}/{self._prefix}" if self._prefix else self._server.url

    def put(self, name: str, chunks: Iterable[Chunk], *, create_only: bool = False) -> int:
        """Store an object; see Storage. Returns when file and directory are on the server's disk."""
        check_name(name)
        if is_temporary(name.rpartition("/")[2]):
            raise StorageError(f"not an object name: {name!r} is a temporary file's")
        upload = Upload(self._server, self._path(name), name, self._buffers, create_only=create_only)
        try:
            for chunk in chunks:
                upload.write(chunk)
            return upload.finish()
        except BaseException as error:
            upload.cancel(error)
            raise
        finally:
            upload.close()

    def open(self, name: str, *, offset: int = 0, size: int | None = None) -> SshReader:
        """Open an object for reading; see Storage."""
        check_name(name)
        return SshReader(self._server, self._path(name), name, offset, size)

    def stat(self, name: str) -> StoredObject:
        """Look up one object; see Storage."""
        found = self.stat_many([name])
        if not found:
            raise ObjectMissing(f"object {name!r} does not exist in {self.url}")
        return found[0]

    def stat_many(self, names: Sequence[str]) -> list[StoredObject]:
        """Those of the objects that exist; see Storage. One request for each, BATCH of them at a time."""
        for name in names:
            check_name(name)
        remaining = iter(names)
        found: list[StoredObject] = []
        while batch := tuple(islice(remaining, BATCH)):
            found += self._server.call(partial(self._look_up, batch), f"look-up of {batch[0]!r}")
        return found

    def list_folder(self, folder: str = "") -> Folder:
        """Direct children of a folder; see Storage."""
        found = self._children(folder)
        return Folder(tuple(item for item in found.objects if not is_temporary(item.name)), found.folders)

    def list(self, folder: str = "") -> Iterator[StoredObject]:
        """Every object below a folder, in name order; see Storage. Memory: one directory at each depth."""
        return (item for item in walk(self._children, folder) if not is_temporary(item.name))

    def list_names(self, folder: str = "") -> Iterator[str]:
        """Names of every object below a folder; see Storage. A directory is read as one, whatever is asked of it."""
        return (item.name for item in self.list(folder))

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects, and the directories that this empties; see Storage. Durable when it returns."""
        self._remove(names)

    def discard_unfinished(self, folder: str) -> int:
        """Remove temporary files of puts that were killed, WAL-G's too; see Storage."""
        return self._remove([item.name for item in walk(self._children, folder) if is_temporary(item.name)])

    def close(self) -> None:
        """End the connection."""
        self._server.close()
        self._buffers.close()

    def _path(self, name: str) -> str:
        """Path of an object or folder on the server."""
        return f"{self._server.root}/{inner}" if (inner := join(self._prefix, name)) else self._server.root

    # look-ups

    def _look_up(self, names: Sequence[str], connection: Connection, deadline: Deadline) -> tuple[StoredObject, ...]:
        found = self._attributes(connection, deadline, names)
        missing = [name for name in names if name not in found]
        if missing:
            # Looked up again behind a root that exists: it may have been mounted in between.
            self._server.prove_root(connection, deadline)
            found |= self._attributes(connection, deadline, missing)
        return tuple(_stored(name, found[name]) for name in names if name in found and found[name].is_file)

    def _attributes(self, connection: Connection, deadline: Deadline, names: Iterable[str]) -> dict[str, Attributes]:
        """What exists of the named files and folders; links are followed."""
        answers = [(name, connection.send(sftp.STAT, string(self._path(name)))) for name in names]
        found: dict[str, Attributes] = {}
        for name, answer in answers:
            try:
                found[name] = Fields(connection.wait(answer, deadline).body).attributes()
            except SftpRefusal as refusal:
                if refusal.code != sftp.NO_SUCH_FILE:
                    raise self._server.failure("look up", name, refusal) from refusal
            deadline.restart()
        return found

    # directories

    def _children(self, folder: str) -> Folder:
        """What is in a folder, temporary files included; links are followed."""
        if folder:
            check_name(folder)
        return self._server.call(partial(self._read_folder, folder), f"listing of {folder!r}")

    def _read_folder(self, folder: str, connection: Connection, deadline: Deadline) -> Folder:
        handle = self._open_folder(connection, deadline, folder)
        if handle is None:
            return Folder((), ())
        prefix = f"{folder}/" if folder else ""
        entries = [(prefix + name, found) for name, found in self._entries(connection, deadline, folder, handle)]
        links = [name for name, found in entries if found.is_link]
        targets = self._attributes(connection, deadline, links) if links else {}
        known = [(name, targets.get(name, found)) for name, found in entries]
        objects = [_stored(name, found) for name, found in known if found.is_file]
        folders = sorted(name for name, found in known if found.is_folder)
        return Folder(tuple(sorted(objects, key=attrgetter("name"))), tuple(folders))

    def _open_folder(self, connection: Connection, deadline: Deadline, folder: str) -> bytes | None:
        """A handle of a folder; None when it is missing, behind a root that exists."""
        for attempt in range(2):
            try:
                answer = connection.ask(sftp.OPENDIR, string(self._path(folder)), deadline=deadline)
                return bytes(Fields(answer.body).data())
            except SftpRefusal as refusal:
                if refusal.code != sftp.NO_SUCH_FILE:
                    raise self._server.failure("list", folder, refusal) from refusal
            if not attempt:
                self._server.prove_root(connection, deadline)
        return None

    def _entries(
        self, connection: Connection, deadline: Deadline, folder: str, handle: bytes
    ) -> Iterator[tuple[str, Attributes]]:
        asked: deque[Answer] = deque()
        while True:
            while len(asked) < READ_AHEAD:
                asked.append(connection.send(sftp.READDIR, string(handle)))
            try:
                fields = Fields(connection.wait(asked.popleft(), deadline).body)
            except SftpRefusal as refusal:
                connection.send(sftp.CLOSE, string(handle))
                if refusal.code == sftp.END_OF_FILE:
                    return
                raise self._server.failure("list", folder, refusal) from refusal
            deadline.restart()
            for _ in range(fields.number()):
                name, _, found = fields.text(), fields.data(), fields.attributes()
                if name not in (".", ".."):
                    yield name, found

    # deletes

    def _remove(self, names: Iterable[str]) -> int:
        remaining = iter(names)
        count = 0
        folders: set[str] = set()
        while batch := tuple(islice(remaining, BATCH)):
            for name in batch:
                check_name(name)
            count += self._server.call(partial(self._remove_batch, batch), f"deletion of {batch[0]!r}")
            folders.update(name.rpartition("/")[0] for name in batch)
        for folder in sorted(folders, reverse=True):  # children before their parents
            self._server.call(partial(self._prune, folder), f"deletion of objects in {folder!r}")
        return count

    def _remove_batch(self, names: Sequence[str], connection: Connection, deadline: Deadline) -> int:
        """Remove files; gives how many there were. Folders of these names stay."""
        answers = [(name, connection.send(sftp.REMOVE, string(self._path(name)))) for name in names]
        refused: dict[str, SftpRefusal] = {}
        for name, answer in answers:
            try:
                connection.wait(answer, deadline)
            except SftpRefusal as refusal:
                refused[name] = refusal
            deadline.restart()
        if refused:
            self._server.prove_root(connection, deadline)
        failed = [name for name, refusal in refused.items() if refusal.code != sftp.NO_SUCH_FILE]
        there = self._attributes(connection, deadline, failed)
        for name in failed:
            if not (name in there and there[name].is_folder):
                raise self._server.failure("delete", name, refused[name]) from refused[name]
        return len(names) - len(refused)

    def _prune(self, folder: str, connection: Connection, deadline: Deadline) -> None:
        """Remove a folder and its parents as long as they are empty, and make what happened durable."""
        while folder:
            try:
                connection.ask(sftp.RMDIR, string(self._path(folder)), deadline=deadline)
            except SftpRefusal as refusal:
                if refusal.code != sftp.NO_SUCH_FILE:
                    break  # not empty, a link or not ours to remove: an empty folder is no harm
            folder = folder.rpartition("/")[0]
        try:
            sync_folder(connection, deadline, self._path(folder))
        except SftpRefusal as refusal:
            raise self._server.failure("delete objects of", folder, refusal) from refusal


def _stored(name: str, found: Attributes) -> StoredObject:
    return StoredObject(name, found.size, found.modified * SECOND)
