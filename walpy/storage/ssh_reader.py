"""SshReader: the bytes of one file of an SFTP server, asked for ahead of their use."""

import struct
from collections import deque
from collections.abc import Generator
from typing import NamedTuple

from walpy.errors import DataCorrupt, ObjectMissing, StorageError
from walpy.storage import sftp
from walpy.storage.base import READ_SIZE, Chunk
from walpy.storage.retry import Deadline, ResumedReader
from walpy.storage.sftp import NO_ATTRIBUTES, Answer, Attributes, Connection, Fields, SftpRefusal, string
from walpy.storage.ssh_server import SshServer

WINDOW = 4 << 20  # bytes asked for ahead: fills 400 Mbit/s over 80 ms


class _Opened(NamedTuple):
    connection: Connection
    handle: bytes
    found: Attributes


class _Piece(NamedTuple):
    size: int
    answer: Answer


class SshReader(ResumedReader):
    """An ObjectReader that stays with the file it opened. Memory: WINDOW.

    After a broken connection it goes on with the file of that name if its size and time (to the second: SFTP tells no
    more) are still the same, and raises DataCorrupt otherwise.
    """

    def __init__(self, server: SshServer, path: str, name: str, offset: int, size: int | None) -> None:
        """Opens the file. Raises ObjectMissing, StorageError."""
        self._server = server
        self._path = path
        self._name = name
        what = f"download of {name!r}"
        self._opened: _Opened | None = server.call(self._open, what)
        self._found = self._opened.found
        rest = max(0, self._found.size - offset)
        self._offset = offset
        super().__init__(server.policy, rest if size is None else min(size, rest), what)

    def _open(self, connection: Connection, deadline: Deadline) -> _Opened:
        flags = struct.pack(">I", sftp.FOR_READ)
        try:
            opened = connection.ask(sftp.OPEN, string(self._path), flags, NO_ATTRIBUTES, deadline=deadline)
        except SftpRefusal as refusal:
            raise self._open_failure(connection, deadline, refusal) from refusal
        handle = bytes(Fields(opened.body).data())
        try:
            found = Fields(connection.ask(sftp.FSTAT, string(handle), deadline=deadline).body).attributes()
        except SftpRefusal as refusal:
            connection.send(sftp.CLOSE, string(handle))
            raise self._server.failure("look up", self._name, refusal) from refusal
        if not found.is_file:
            connection.send(sftp.CLOSE, string(handle))
            raise self._missing()
        return _Opened(connection, handle, found)

    def _open_failure(self, connection: Connection, deadline: Deadline, refusal: SftpRefusal) -> StorageError:
        """ObjectMissing only when that is certain: servers have other reasons, and one status for most of them."""
        if refusal.code == sftp.NO_SUCH_FILE:
            self._server.prove_root(connection, deadline)
        try:
            found = Fields(connection.ask(sftp.STAT, string(self._path), deadline=deadline).body).attributes()
        except SftpRefusal as again:
            if again.code == sftp.NO_SUCH_FILE == refusal.code:
                return self._missing()
            return self._server.failure("open", self._name, refusal)
        return self._missing() if found.is_folder else self._server.failure("open", self._name, refusal)

    def _missing(self) -> ObjectMissing:
        return ObjectMissing(f"object {self._name!r} does not exist in {self._server.url}")

    def _chunks_from(self, position: int) -> Generator[Chunk, None, None]:
        if position >= self._size:
            return
        deadline = self._server.start()
        opened = self._reopened(deadline)
        pieces: deque[_Piece] = deque()
        asked, ahead = position, 0
        while position < self._size:
            while asked < self._size and ahead < WINDOW:
                size = min(self._server.length, READ_SIZE, self._size - asked)
                pieces.append(self._ask(opened, asked, size))
                asked, ahead = asked + size, ahead + size
            piece = pieces.popleft()
            chunk = self._received(opened, piece, deadline)
            if len(chunk) < piece.size:  # a server may give less than asked
                pieces.appendleft(self._ask(opened, position + len(chunk), piece.size - len(chunk)))
            position, ahead = position + len(chunk), ahead - len(chunk)
            yield chunk
            deadline.restart()

    def _reopened(self, deadline: Deadline) -> _Opened:
        if self._opened is None or self._opened.connection.is_broken:
            self._opened = self._open(self._server.connection(deadline), deadline)
            if (self._opened.found.size, self._opened.found.modified) != (self._found.size, self._found.modified):
                raise DataCorrupt(f"{self._what} failed: the object changed while it was read")
        return self._opened

    def _ask(self, opened: _Opened, position: int, size: int) -> _Piece:
        where = struct.pack(">QI", self._offset + position, size)
        return _Piece(size, opened.connection.send(sftp.READ, string(opened.handle), where))

    def _received(self, opened: _Opened, piece: _Piece, deadline: Deadline) -> memoryview:
        try:
            data = Fields(opened.connection.wait(piece.answer, deadline).body).data()
        except SftpRefusal as refusal:
            if refusal.code == sftp.END_OF_FILE:
                raise DataCorrupt(f"{self._what} failed: the object became shorter while it was read") from refusal
            raise self._server.failure("read", self._name, refusal) from refusal
        if not 0 < len(data) <= piece.size:
            raise StorageError(f"{self._what} failed: the server sent {len(data)} of {piece.size} bytes")
        return data

    def _close(self) -> None:
        """Have the server forget the handle; its answer is of no interest."""
        opened, self._opened = self._opened, None
        if opened is not None and not opened.connection.is_broken:
            try:
                opened.connection.send(sftp.CLOSE, string(opened.handle))
            except StorageError:
                return  # the handle went with the connection
