"""One put to an SFTP server: a temporary file that gets its name when it is complete and durable.

Written bytes are kept until the server has made them durable (fsync@openssh.com, asked for after each SEGMENT_SIZE
while the next is being sent), and sent again when the connection breaks: so an upload of any length survives a broken
connection, and a server that restarted, with bounded memory.

Create-only is link(2) (hardlink@openssh.com), which never replaces anything. Where the server or its file system has
no hard links it is SFTP's rename, which the draft forbids to replace; OpenSSH's, on such a file system, looks first and
renames then, so that two clients within that moment are not told apart.
"""

import logging
import mmap
import os
import struct
import time
from collections import deque
from typing import NamedTuple

from walpy.errors import ObjectExists, StorageError, StorageUnavailable, WalpyError
from walpy.storage import sftp
from walpy.storage.base import Chunk
from walpy.storage.buffers import Buffers
from walpy.storage.retry import Deadline
from walpy.storage.sftp import NO_ATTRIBUTES, Answer, Connection, Fields, SftpRefusal, string
from walpy.storage.sftp_files import handle_of, ignored, open_folder, sync_folder, sync_handle
from walpy.storage.ssh_server import SshServer, attributes

SEGMENT_SIZE = 8 << 20  # bytes between two fsyncs; a put holds two of these
FOLDER_MODE = 0o755  # as WAL-G
CLEAN_UP_TIME = 5.0  # seconds to remove the temporary file of a put that failed
MOST_FOLDER_ATTEMPTS = 5  # a delete may remove a folder that it emptied, just after it was made

logger = logging.getLogger(__name__)


class Segment:
    """A piece of the file that may have to be sent again: where it begins, its bytes, how many of them were sent."""

    __slots__ = ("buffer", "sent", "start", "used")

    def __init__(self, buffer: mmap.mmap, start: int) -> None:
        self.buffer = buffer
        self.start = start
        self.used = 0
        self.sent = 0

    def view(self, start: int, end: int) -> memoryview:
        """Some of its bytes."""
        return memoryview(self.buffer)[start:end]


class _Opened(NamedTuple):
    """The temporary file and its folder (empty: not to be had), open on a connection."""

    connection: Connection
    file: bytes
    folder: bytes


class Upload:
    """One put: write() as often as there are chunks, then finish(); cancel() on any error, close() always."""

    def __init__(self, server: SshServer, path: str, name: str, buffers: Buffers, *, create_only: bool) -> None:
        self._server = server
        self._path = path
        self._folder = path.rpartition("/")[0]
        self._name = name
        self._what = f"upload of {name!r}"
        self._buffers = buffers
        self._create_only = create_only
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self._temporary = f"{path}.tmp.{moment}-{os.urandom(8).hex()}"  # WAL-G's pattern: hidden from its listings
        self._opened: _Opened | None = None
        self._filling = Segment(buffers.take(SEGMENT_SIZE), 0)
        self._flushing: Segment | None = None  # sent, and perhaps not durable yet
        self._flushed: Answer | None = None  # says that it is, unless it came already
        self._due: deque[Answer] = deque()  # answers that have not come, or not been looked at
        self._begun = False  # the temporary file may exist
        self._named = False  # a request went out that may have given the file its name

    @property
    def _size(self) -> int:
        return self._filling.start + self._filling.used

    def write(self, chunk: Chunk) -> None:
        """Take a chunk, of any size; does not keep it."""
        view = memoryview(chunk)
        while len(view):
            if self._filling.used == SEGMENT_SIZE:
                self._server.call(self._rotate, self._what)
            segment = self._filling
            count = min(len(view), SEGMENT_SIZE - segment.used)
            segment.buffer[segment.used : segment.used + count] = view[:count]
            segment.used += count
            view = view[count:]
            if segment.used - segment.sent >= self._server.length:
                self._server.call(self._send, self._what)

    def finish(self) -> int:
        """Make the file durable and give it its name; the object's size. Raises ObjectExists."""
        self._server.call(self._complete, self._what)
        self._server.call(self._publish, self._what)
        return self._size

    def cancel(self, error: BaseException) -> None:
        """Remove the temporary file, unless the server cannot be reached; that it stays is of no consequence."""
        if not self._begun or isinstance(error, StorageUnavailable):
            return
        try:
            self._server.call(self._discard, f"removal of {self._temporary!r}", Deadline(CLEAN_UP_TIME))
        except (SftpRefusal, WalpyError) as problem:
            logger.debug("%s stays behind: %s", self._temporary, problem)

    def close(self) -> None:
        """Give back the buffers."""
        for segment in (self._filling, self._flushing):
            if segment is not None:
                self._buffers.give_back(segment.buffer)
        self._flushing = None

    # bytes

    def _send(self, connection: Connection, deadline: Deadline) -> None:
        """Send what makes whole packets."""
        opened = self._ready(connection, deadline)
        self._send_segment(opened, self._filling, whole=False)
        while self._due and self._due[0].is_there:
            self._await_next(opened, deadline)

    def _rotate(self, connection: Connection, deadline: Deadline) -> None:
        """Have the full segment made durable, and begin the next one in the buffer of the one before."""
        opened = self._ready(connection, deadline)
        self._send_segment(opened, self._filling, whole=True)
        if self._flushing is not None:
            self._await_flushed(opened, deadline)
        finished, full = self._flushing, self._filling
        self._flushed = self._ask_flush(opened)
        self._flushing = full
        buffer = finished.buffer if finished is not None else self._buffers.take(SEGMENT_SIZE)
        self._filling = Segment(buffer, full.start + full.used)

    def _complete(self, connection: Connection, deadline: Deadline) -> None:
        """Send the rest; returns when all of the file is durable."""
        opened = self._ready(connection, deadline)
        self._send_segment(opened, self._filling, whole=True)
        if self._flushing is not None:
            self._await_flushed(opened, deadline)
        self._flushed = self._ask_flush(opened)
        self._await_flushed(opened, deadline)

    def _send_segment(self, opened: _Opened, segment: Segment, *, whole: bool) -> None:
        length = self._server.length
        while segment.used - segment.sent >= (1 if whole else length):
            end = min(segment.used, segment.sent + length)
            data = segment.view(segment.sent, end)
            where = struct.pack(">QI", segment.start + segment.sent, len(data))
            self._due.append(opened.connection.send(sftp.WRITE, string(opened.file), where, data))
            segment.sent = end

    def _ask_flush(self, opened: _Opened) -> Answer | None:
        """The answer that proves, with those before it, that what was sent is safe; None when nothing is due."""
        if sftp.FSYNC in opened.connection.extensions:
            self._due.append(opened.connection.extended(sftp.FSYNC, string(opened.file)))
        return self._due[-1] if self._due else None

    def _await_flushed(self, opened: _Opened, deadline: Deadline) -> None:
        while self._flushed is not None:
            self._await_next(opened, deadline)

    def _await_next(self, opened: _Opened, deadline: Deadline) -> None:
        answer = self._due[0]
        try:
            opened.connection.wait(answer, deadline)
        except SftpRefusal as refusal:
            raise self._failure(opened, deadline, refusal) from refusal
        self._due.popleft()
        if answer is self._flushed:
            self._flushed = None
        deadline.restart()

    # the temporary file

    def _ready(self, connection: Connection, deadline: Deadline) -> _Opened:
        """The temporary file, opened on this connection, with everything sent that may have got lost with another."""
        if self._opened is not None and self._opened.connection is connection:
            return self._opened
        self._due.clear()
        self._flushed = None
        opened = self._open(connection, deadline)
        self._check_durable(opened, deadline)
        self._filling.sent = 0
        if self._flushing is not None:
            self._flushing.sent = 0
            self._send_segment(opened, self._flushing, whole=True)
            self._flushed = self._ask_flush(opened)
        self._opened = opened
        return opened

    def _open(self, connection: Connection, deadline: Deadline) -> _Opened:
        for_write = struct.pack(">I", sftp.FOR_WRITE | sftp.CREATE)
        self._server.check_durable(connection)
        self._begun = True
        for attempt in range(MOST_FOLDER_ATTEMPTS):
            file = connection.send(sftp.OPEN, string(self._temporary), for_write, NO_ATTRIBUTES)
            folder_handle = handle_of(connection, open_folder(connection, self._folder), deadline)
            try:
                return _Opened(connection, bytes(Fields(connection.wait(file, deadline).body).data()), folder_handle)
            except SftpRefusal as refusal:
                if folder_handle:
                    connection.send(sftp.CLOSE, string(folder_handle))
                if refusal.code != sftp.NO_SUCH_FILE or attempt == MOST_FOLDER_ATTEMPTS - 1:
                    failure = self._server.storing_failure(connection, deadline, self._name, refusal)
                    raise failure from refusal
            self._make_folder(connection, deadline, self._folder)
        raise AssertionError("the loop ends by itself")

    def _make_folder(self, connection: Connection, deadline: Deadline, folder: str) -> None:
        """Make a folder and the missing ones above it, durable; the root is not ours to make."""
        if folder == self._server.root or not folder.startswith(self._server.root):
            self._server.prove_root(connection, deadline)
            return
        parent = folder.rpartition("/")[0]
        mode = struct.pack(">II", sftp.HAS_MODE, FOLDER_MODE)
        try:
            connection.ask(sftp.MKDIR, string(folder), mode, deadline=deadline)
        except SftpRefusal as refusal:
            if refusal.code == sftp.NO_SUCH_FILE:
                self._make_folder(connection, deadline, parent)
                with_parent = connection.send(sftp.MKDIR, string(folder), mode)
                ignored(connection, with_parent, deadline)  # opening the file says what is wrong
            elif refusal.code != sftp.FAILURE:  # another put may have been faster
                raise self._server.storing_failure(connection, deadline, self._name, refusal) from refusal
        try:
            sync_folder(connection, deadline, parent)
        except SftpRefusal as refusal:
            raise self._server.storing_failure(connection, deadline, self._name, refusal) from refusal

    def _check_durable(self, opened: _Opened, deadline: Deadline) -> None:
        """What was made durable, and is not kept here any more, must be in the file."""
        durable = (self._flushing or self._filling).start
        if not durable:
            return
        try:
            found = Fields(opened.connection.ask(sftp.FSTAT, string(opened.file), deadline=deadline).body).attributes()
        except SftpRefusal as refusal:
            raise self._failure(opened, deadline, refusal) from refusal
        if found.size < durable:
            raise StorageError(f"{self._what} failed: the server lost the temporary file {self._temporary!r}")

    # the name

    def _publish(self, connection: Connection, deadline: Deadline) -> None:
        """Give the file its name, then make the name durable; in this order."""
        opened = self._opened
        if opened is None or opened.connection is not connection:
            # Everything is durable; only the folder has to be synced, on a connection that works.
            opened = _Opened(connection, b"", handle_of(connection, open_folder(connection, self._folder), deadline))
            self._opened = opened
        try:
            if self._create_only:
                self._name_new(opened, deadline)
            else:
                self._replace(opened, deadline)
        except ObjectExists:
            # Who put the other file may have been killed before this, and its presence will be taken for success.
            self._sync_folder(opened, deadline)
            raise
        self._sync_folder(opened, deadline)
        self._close_files()

    def _discard(self, connection: Connection, deadline: Deadline) -> None:
        connection.ask(sftp.REMOVE, string(self._temporary), deadline=deadline)
        self._close_files()

    def _replace(self, opened: _Opened, deadline: Deadline) -> None:
        connection = opened.connection
        asked_before, self._named = self._named, True
        try:
            if sftp.POSIX_RENAME in connection.extensions:
                connection.wait(
                    connection.extended(sftp.POSIX_RENAME, string(self._temporary), string(self._path)), deadline
                )
            else:
                connection.ask(sftp.RENAME, string(self._temporary), string(self._path), deadline=deadline)
        except SftpRefusal as refusal:
            # Nobody else knows the temporary name: without it, an earlier request was done, and its answer lost.
            if not (asked_before and refusal.code == sftp.NO_SUCH_FILE):
                raise self._failure(opened, deadline, refusal) from refusal

    def _name_new(self, opened: _Opened, deadline: Deadline) -> None:
        connection = opened.connection
        asked_before, self._named = self._named, True
        refusal = self._link(opened, deadline)
        if refusal is not None:
            if self._exists(connection, deadline):
                if not (asked_before and self._is_own(connection, deadline, refusal)):
                    raise ObjectExists(f"object {self._name!r} already exists in {self._server.url}") from refusal
            else:
                self._rename_new(opened, deadline, asked_before)
                return
        ignored(connection, connection.send(sftp.REMOVE, string(self._temporary)), deadline)

    def _link(self, opened: _Opened, deadline: Deadline) -> SftpRefusal | None:
        connection = opened.connection
        if sftp.HARDLINK not in connection.extensions:
            return SftpRefusal(sftp.UNSUPPORTED, "no hard links")
        try:
            connection.wait(connection.extended(sftp.HARDLINK, string(self._temporary), string(self._path)), deadline)
        except SftpRefusal as refusal:
            return refusal
        return None

    def _rename_new(self, opened: _Opened, deadline: Deadline, asked_before: bool) -> None:
        connection = opened.connection
        try:
            connection.ask(sftp.RENAME, string(self._temporary), string(self._path), deadline=deadline)
        except SftpRefusal as refusal:
            exists = self._exists(connection, deadline)
            if exists and asked_before and refusal.code == sftp.NO_SUCH_FILE:
                return  # done by an earlier request, whose answer was lost
            if exists:
                raise ObjectExists(f"object {self._name!r} already exists in {self._server.url}") from refusal
            raise self._failure(opened, deadline, refusal) from refusal

    def _exists(self, connection: Connection, deadline: Deadline) -> bool:
        try:
            attributes(connection, self._path, deadline)
        except SftpRefusal as refusal:
            if refusal.code == sftp.NO_SUCH_FILE:
                return False
            raise self._server.failure("look up", self._name, refusal) from refusal
        return True

    def _is_own(self, connection: Connection, deadline: Deadline, refusal: SftpRefusal) -> bool:
        """Whether the object is this very file, linked by an earlier request whose answer was lost.

        SFTP tells no inodes, but a change of one name's time shows in both.
        """
        if refusal.code == sftp.NO_SUCH_FILE:
            return True  # the temporary name, which nobody else knows, is removed only after that
        try:
            mine, there = (attributes(connection, path, deadline) for path in (self._temporary, self._path))
            if (there.size, there.modified) != (mine.size, mine.modified):
                return False
            mark = struct.pack(">III", sftp.HAS_TIMES, mine.modified - 1, mine.modified - 1)
            connection.ask(sftp.SETSTAT, string(self._temporary), mark, deadline=deadline)
            return attributes(connection, self._path, deadline).modified == mine.modified - 1
        except SftpRefusal as problem:
            raise self._server.failure("look up", self._name, problem) from problem

    def _sync_folder(self, opened: _Opened, deadline: Deadline) -> None:
        try:
            sync_handle(opened.connection, opened.folder, deadline)
        except SftpRefusal as refusal:
            raise self._failure(opened, deadline, refusal) from refusal

    def _close_files(self) -> None:
        if self._opened is None or self._opened.connection.is_broken:
            return
        for handle in (self._opened.file, self._opened.folder):
            if handle:
                self._opened.connection.send(sftp.CLOSE, string(handle))  # its answer is of no interest

    def _failure(self, opened: _Opened, deadline: Deadline, refusal: SftpRefusal) -> StorageError:
        return self._server.storing_failure(opened.connection, deadline, self._name, refusal)
