"""SFTP version 3 (draft-ietf-secsh-filexfer-02, and OpenSSH's PROTOCOL extensions) over one connection.

Requests of all threads share the connection: each gets a number, and a thread of the connection hands every answer to
whoever waits for it. So any number of requests may be on their way, which is what makes transfers fast on long lines.
"""

import stat as modes
import struct
import threading
import time
from collections import deque
from contextlib import suppress
from typing import NamedTuple

from walpy.errors import StorageError, StorageUnavailable
from walpy.storage.base import Chunk
from walpy.storage.retry import Deadline
from walpy.storage.ssh_process import SshProcess

# Packet types (draft, section 3)
INIT, VERSION, OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT, SETSTAT = 1, 2, 3, 4, 5, 6, 7, 8, 9
OPENDIR, READDIR, REMOVE, MKDIR, RMDIR, REALPATH, STAT, RENAME = 11, 12, 13, 14, 15, 16, 17, 18
STATUS, HANDLE, DATA, NAME, ATTRS, EXTENDED, EXTENDED_REPLY = 101, 102, 103, 104, 105, 200, 201

# Status codes (draft, section 7)
OK, END_OF_FILE, NO_SUCH_FILE, PERMISSION_DENIED, FAILURE, BAD_MESSAGE = 0, 1, 2, 3, 4, 5
NO_CONNECTION, CONNECTION_LOST, UNSUPPORTED = 6, 7, 8

# Flags of OPEN (draft, section 6.3) and of attributes (section 5)
FOR_READ, FOR_WRITE, CREATE = 0x01, 0x02, 0x08
HAS_SIZE, HAS_OWNER, HAS_MODE, HAS_TIMES, HAS_MORE = 0x01, 0x02, 0x04, 0x08, 0x80000000
NO_ATTRIBUTES = struct.pack(">I", 0)

FSYNC, HARDLINK, POSIX_RENAME = "fsync@openssh.com", "hardlink@openssh.com", "posix-rename@openssh.com"
LIMITS, STATVFS = "limits@openssh.com", "statvfs@openssh.com"

PROTOCOL_VERSION = 3
SAFE_LENGTH = 32768  # bytes of data that every server takes in one packet (draft, section 3)
LONGEST_LENGTH = 255 << 10  # bytes of data in one packet, where the server allows it; OpenSSH's limit
LONGEST_PACKET = 1 << 20  # bytes; a longer one is no SFTP


class SftpRefusal(Exception):
    """The server's answer was a status other than OK; not for callers of the storage."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


class Attributes(NamedTuple):
    """What the server says about a file: bytes, POSIX mode with its type, seconds since the epoch."""

    size: int
    mode: int
    modified: int

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file; a server that gives no modes has nothing else."""
        return not self.mode or modes.S_ISREG(self.mode)

    @property
    def is_folder(self) -> bool:
        """Whether it is a directory."""
        return modes.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link (LSTAT and READDIR do not follow it)."""
        return modes.S_ISLNK(self.mode)


class Answer:
    """The answer to one request, which may not have come yet."""

    __slots__ = ("_arrived", "body", "error", "kind")

    def __init__(self) -> None:
        self.kind = 0
        self.body = memoryview(b"")
        self.error: StorageError | None = None
        self._arrived = threading.Lock()
        self._arrived.acquire()

    @property
    def is_there(self) -> bool:
        """Whether it has come, or will never come."""
        return not self._arrived.locked()

    def arrive(self) -> None:
        """Let the one who waits go on."""
        self._arrived.release()

    def wait(self, timeout: float) -> bool:
        """Whether it came within timeout seconds. For one thread, and until it is true."""
        if not self._arrived.acquire(timeout=timeout):
            return False
        self._arrived.release()
        return True

    def refused(self) -> SftpRefusal | None:
        """The refusal, when the answer is one; a status of OK is none."""
        if self.kind != STATUS:
            return None
        code = struct.unpack_from(">I", self.body)[0]
        if code == OK:
            return None
        with suppress(struct.error):
            return SftpRefusal(code, Fields(self.body[4:]).text())
        return SftpRefusal(code, "")


class Fields:
    """Reads the fields of a packet one after the other. Raises struct.error when there is no more."""

    def __init__(self, body: memoryview) -> None:
        self._body = body
        self._position = 0

    @property
    def is_end(self) -> bool:
        """Whether everything was read."""
        return self._position >= len(self._body)

    def number(self) -> int:
        """The next 32-bit number."""
        return int(self._take(">I", 4)[0])

    def numbers(self, count: int) -> tuple[int, ...]:
        """The next 64-bit numbers."""
        return self._take(f">{count}Q", 8 * count)

    def data(self) -> memoryview:
        """The next string, as bytes."""
        size = self.number()
        start, self._position = self._position, self._position + size
        if self._position > len(self._body):
            raise struct.error("string beyond the end of the packet")
        return self._body[start : self._position]

    def text(self) -> str:
        """The next string, as text: names may hold bytes that are no UTF-8."""
        return bytes(self.data()).decode(errors="surrogateescape")

    def attributes(self) -> Attributes:
        """The next attributes (draft, section 5)."""
        flags = self.number()
        size = self.numbers(1)[0] if flags & HAS_SIZE else 0
        if flags & HAS_OWNER:
            self._take(">II", 8)
        mode = self.number() if flags & HAS_MODE else 0
        modified = self._take(">II", 8)[1] if flags & HAS_TIMES else 0
        if flags & HAS_MORE:
            for _ in range(2 * self.number()):
                self.data()
        return Attributes(size, mode, modified)

    def _take(self, form: str, size: int) -> tuple[int, ...]:
        values = struct.unpack_from(form, self._body, self._position)
        self._position += size
        return values


def string(value: str | bytes | memoryview) -> bytes:
    """A string as SFTP writes it: its length in 32 bits, then its bytes."""
    data = value.encode(errors="surrogateescape") if isinstance(value, str) else value
    return struct.pack(">I", len(data)) + data


class Connection:
    """One SFTP session. Safe for threads; broken for ever after the first failure of the connection.

    timeout: seconds that nothing may come from the server while an answer is due.
    """

    def __init__(self, process: SshProcess, timeout: float) -> None:
        """Raises StorageError, transient or not, when the session cannot be had."""
        self._process = process
        self._timeout = timeout
        self._socket = process.socket
        self._sending = threading.Lock()
        self._state = threading.Lock()  # of the next three
        self._waiting: dict[int, Answer] = {}
        self._next_number = 0
        self._broken: StorageError | None = None
        self._heard = time.monotonic()
        self.extensions = self._agree()
        self._thread = threading.Thread(target=self._receive_all, name="sftp", daemon=True)
        self._thread.start()

    @property
    def is_broken(self) -> bool:
        """Whether the connection is of no use any more."""
        return self._broken is not None

    def send(self, kind: int, *parts: Chunk) -> Answer:
        """Send a request, whose fields are parts; wait() gives its answer. Raises StorageUnavailable."""
        answer = Answer()
        size = 5 + sum(map(len, parts))
        if not self._sending.acquire(timeout=self._timeout):
            raise self._break_off(f"the server took nothing for {self._timeout:g} s")
        try:
            number = self._expect(answer)
            self._send_all([struct.pack(">IBI", size, kind, number), *parts])
        except OSError as error:
            raise self._break_off(f"the server takes nothing: {error}") from error
        except BaseException:  # half a packet may be out: nothing can follow it
            self._break_off("interrupted")
            raise
        finally:
            self._sending.release()
        return answer

    def extended(self, name: str, *parts: Chunk) -> Answer:
        """Send the request of an extension."""
        return self.send(EXTENDED, string(name), *parts)

    def wait(self, answer: Answer, deadline: Deadline) -> Answer:
        """The answer, once it has come; SftpRefusal when it is a status other than OK.

        Raises StorageUnavailable when the connection broke, or nothing came before the deadline.
        """
        while not answer.wait(deadline.within(self._timeout)):
            silent = time.monotonic() - self._heard
            if silent >= self._timeout:
                raise self._break_off(f"no answer for {silent:.0f} s")
            if not deadline.remaining():
                raise StorageUnavailable("the server did not answer in time")
        if answer.error is not None:
            raise type(answer.error)(*answer.error.args)  # each thread its own: tracebacks grow
        refused = answer.refused()
        if refused is not None:
            raise refused
        return answer

    def ask(self, kind: int, *parts: Chunk, deadline: Deadline) -> Answer:
        """Send a request and wait for its answer."""
        return self.wait(self.send(kind, *parts), deadline)

    def close(self) -> None:
        """End the connection."""
        self._break_off("closed")
        self._thread.join()

    def _agree(self) -> dict[str, bytes]:
        """Exchange versions; give the server's extensions."""
        self._socket.settimeout(self._timeout)
        try:
            self._send_all([struct.pack(">IBI", 5, INIT, PROTOCOL_VERSION)])
            kind, fields = self._receive_packet()
            extensions: dict[str, bytes] = {}
            if kind != VERSION or fields.number() < PROTOCOL_VERSION:
                raise struct.error("no version")
            while not fields.is_end:
                name = fields.text()
                extensions[name] = bytes(fields.data())
            return extensions
        except OSError as error:
            said = self._process_failure()
            if isinstance(error, TimeoutError):
                raise StorageUnavailable(f"the ssh server said nothing for {self._timeout:g} s", said.hint) from error
            raise said from error
        except struct.error as error:
            self._process_failure()
            raise StorageError("what answers is no SFTP server", "Check the host, and its Subsystem sftp.") from error
        except BaseException:
            self._process_failure()
            raise

    def _expect(self, answer: Answer) -> int:
        with self._state:
            if self._broken is not None:
                raise type(self._broken)(*self._broken.args)
            self._next_number = (self._next_number + 1) & 0xFFFFFFFF
            self._waiting[self._next_number] = answer
            return self._next_number

    def _send_all(self, parts: list[Chunk]) -> None:
        left = deque(memoryview(part) for part in parts)
        while left:
            sent = self._socket.sendmsg(left)
            while left and sent >= len(left[0]):
                sent -= len(left.popleft())
            if sent:
                left[0] = left[0][sent:]

    def _receive_all(self) -> None:
        """The connection's thread: hand out answers until the connection ends."""
        problem = ""
        try:
            while True:
                kind, fields = self._receive_packet(idle=True)
                number = fields.number()
                self._heard = time.monotonic()
                with self._state:
                    answer = self._waiting.pop(number, None)
                if answer is not None:
                    answer.kind, answer.body = kind, fields._body[4:]
                    answer.arrive()
        except OSError:
            pass
        except struct.error as error:
            problem = f"what the server sends is no SFTP: {error}"
        said = self._process_failure()
        self._give_up(StorageUnavailable(problem) if problem else said)

    def _receive_packet(self, *, idle: bool = False) -> tuple[int, Fields]:
        """Type and fields of the next packet. idle: whether it may take any time. Raises OSError, struct.error."""
        size, kind = struct.unpack(">IB", self._receive(5, idle))
        if not 5 <= size <= LONGEST_PACKET:
            raise struct.error(f"a packet of {size} bytes")
        return kind, Fields(memoryview(self._receive(size - 1, idle)))

    def _receive(self, size: int, idle: bool) -> bytearray:
        buffer = bytearray(size)
        view = memoryview(buffer)
        while len(view):
            try:
                count = self._socket.recv_into(view)
            except TimeoutError:
                if not idle:
                    raise
                continue
            if not count:
                raise ConnectionResetError("the connection ended")
            view = view[count:]
        return buffer

    def _process_failure(self) -> StorageError:
        self._process.end()
        with self._sending:  # who is sending has met the end of the connection
            self._socket.close()
        return self._process.failure()

    def _break_off(self, why: str) -> StorageUnavailable:
        """Make the connection end, and everybody who waits fail; gives the error to raise."""
        error = StorageUnavailable(f"the connection to the ssh server was given up: {why}")
        self._give_up(error)
        with suppress(OSError):
            self._socket.shutdown(2)  # the connection's thread wakes up, and ends ssh
        return error

    def _give_up(self, error: StorageError) -> None:
        with self._state:
            if self._broken is None:
                self._broken = error
            waiting, self._waiting = list(self._waiting.values()), {}
        for answer in waiting:
            answer.error = self._broken
            answer.arrive()
