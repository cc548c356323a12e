"""SshServer: the one connection of a storage, opened when needed and again when it broke; errors of its answers."""

import struct
import threading
from collections.abc import Callable
from typing import TypeVar

from walpy.errors import AccessDenied, StorageError, StorageFull, StorageUnavailable
from walpy.storage import sftp
from walpy.storage.retry import Deadline, RetryPolicy
from walpy.storage.sftp import Attributes, Connection, Fields, SftpRefusal, string
from walpy.storage.ssh_process import SshProcess, SshSettings

T = TypeVar("T")

READ_ONLY = 1  # of the flags that STATVFS gives
MEANINGS: dict[int, tuple[type[StorageError], str]] = {
    sftp.PERMISSION_DENIED: (AccessDenied, "Give the ssh user permission to read and write the storage's directory."),
    sftp.NO_CONNECTION: (StorageUnavailable, ""),
    sftp.CONNECTION_LOST: (StorageUnavailable, ""),
    sftp.BAD_MESSAGE: (StorageError, "The name may be too long for the server's file system."),
    sftp.UNSUPPORTED: (StorageError, "The server cannot do this; OpenSSH's can."),
}
FAILURE_HINT = "The server does not say why: look at its log, the disk and the user's quota."


class SshServer:
    """Runs what needs a connection, and repeats it while it fails for a passing reason.

    root: the storage's directory on the server; fsync: whether to insist on durable files.
    """

    def __init__(self, settings: SshSettings, root: str, policy: RetryPolicy, *, fsync: bool = True) -> None:
        self.policy = policy
        self.root = root
        self.fsync = fsync
        self.url = f"ssh://{settings.host}{root}"
        self._settings = settings
        self._timeout = min(policy.read_timeout, policy.deadline or policy.read_timeout)
        self._lock = threading.Lock()  # of the connection
        self._connection: Connection | None = None
        self._length = 0

    def call(self, function: Callable[[Connection, Deadline], T], what: str, deadline: Deadline | None = None) -> T:
        """Result of function, repeated as RetryPolicy.call does, each time with a connection that is not broken."""
        limit = deadline or self.start()
        repeat_until = limit if self.policy.deadline else None
        return self.policy.call(lambda: function(self.connection(limit), limit), what=what, deadline=repeat_until)

    def start(self) -> Deadline:
        """How long answers may take, from now on; a single attempt (a policy without a deadline) has a limit too."""
        policy = self.policy
        return Deadline(policy.deadline or policy.connect_timeout + policy.read_timeout, policy.clock)

    def connection(self, deadline: Deadline) -> Connection:
        """The connection, opened when there is none that works. Raises StorageError."""
        if not self._lock.acquire(timeout=deadline.within(self._timeout + self.policy.connect_timeout)):
            raise StorageUnavailable("another thread waits for a connection to the ssh server")
        try:
            if self._connection is None or self._connection.is_broken:
                self._connection = self._connect(deadline)
            return self._connection
        finally:
            self._lock.release()

    @property
    def length(self) -> int:
        """Bytes of data that one packet may carry, either way."""
        return self._length or sftp.SAFE_LENGTH

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def check_durable(self, connection: Connection) -> None:
        """Raise StorageError when the server cannot make files durable, unless the settings do without."""
        if self.fsync and sftp.FSYNC not in connection.extensions:
            raise StorageError(
                f"ssh server {self._settings.host!r} cannot make files durable: it lacks {sftp.FSYNC}",
                "WALPY_SSH_FSYNC=false does without: what is archived may then be lost when the server crashes.",
            )

    def prove_root(self, connection: Connection, deadline: Deadline) -> None:
        """Raise StorageError unless the storage's directory is there: what is missing without it proves nothing."""
        try:
            found = attributes(connection, self.root, deadline)
        except SftpRefusal as refusal:
            if refusal.code != sftp.NO_SUCH_FILE:
                raise self.failure("open", self.root, refusal) from refusal
            found = None
        if found is None or not found.is_folder:
            raise StorageError(
                f"the storage's root directory {self.root!r} does not exist on ssh server {self._settings.host!r}",
                "Mount its file system, or make the directory, and let the ssh user own it.",
            )

    def failure(self, doing: str, name: str, refusal: SftpRefusal) -> StorageError:
        """The error for a refusal. doing: what was not done, to the object or folder of that name."""
        kind, hint = MEANINGS.get(refusal.code, (StorageError, FAILURE_HINT))
        said = refusal.message or f"status {refusal.code}"
        return kind(f"cannot {doing} {name!r} in {self.url}: {said}", hint)

    def storing_failure(
        self, connection: Connection, deadline: Deadline, name: str, refusal: SftpRefusal
    ) -> StorageError:
        """The same for a put: asks how full the disk is, because SFTP has no status for that."""
        if refusal.code == sftp.FAILURE and sftp.STATVFS in connection.extensions:
            try:
                answer = connection.wait(connection.extended(sftp.STATVFS, string(self.root)), deadline)
                _, _, _, _, blocks, _, _, files, _, flags, _ = Fields(answer.body).numbers(11)
            except (SftpRefusal, struct.error):
                return self.failure("store", name, refusal)
            if flags & READ_ONLY:
                return AccessDenied(f"cannot store {name!r} in {self.url}: the file system is mounted read-only")
            if not blocks or not files:
                lacking = "space" if not blocks else "inodes"
                return StorageFull(
                    f"cannot store {name!r} in {self.url}: no {lacking} left", "Free space, or make the disk larger."
                )
        return self.failure("store", name, refusal)

    def _connect(self, deadline: Deadline) -> Connection:
        process = SshProcess(self._settings, deadline.within(self.policy.connect_timeout))
        connection = Connection(process, deadline.within(self._timeout))
        try:
            self._length = _agreed_length(connection, deadline)
        except BaseException:
            connection.close()
            raise
        return connection


def attributes(connection: Connection, path: str, deadline: Deadline, kind: int = sftp.STAT) -> Attributes:
    """What the server says about a path. Raises SftpRefusal."""
    return Fields(connection.ask(kind, string(path), deadline=deadline).body).attributes()


def _agreed_length(connection: Connection, deadline: Deadline) -> int:
    if sftp.LIMITS not in connection.extensions:
        return sftp.SAFE_LENGTH
    try:
        answer = connection.wait(connection.extended(sftp.LIMITS), deadline)
    except SftpRefusal:
        return sftp.SAFE_LENGTH
    _, read, write, _ = Fields(answer.body).numbers(4)
    return min(limit or sftp.LONGEST_LENGTH for limit in (read, write, sftp.LONGEST_LENGTH))
