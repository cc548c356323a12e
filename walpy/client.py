"""The thin client: what the command `walpy` runs first. It asks the resident agent, in a few milliseconds.

It imports built-in modules alone, and what every interpreter has loaded by then. Any trouble (no agent, an old, a full,
a dead or a hanging one) ends in None: then the command does the work itself. That is safe at any moment, because a WAL
object is created once and compared when it is there, and because a fetched file gets its final name here, never there.

The socket's name is a digest of all that the work depends on: user, version, interpreter, working directory, mount
namespace, flags and environment. Files (configuration, credentials) are watched by the agent. Protocol:

    request   u32 length, then words with a NUL between them: `run`, `status` or `stop`; for `run` the command line
    answer    frames: kind, u32 length, payload, see the constants below; the last one is EXIT, RENAME or DECLINE
"""

import _signal  # type: ignore[import-not-found]  # signal brings enum
import _socket
import os
import sys
import time

import walpy

TYPE_CHECKING = False  # typing costs more than all of this module
if TYPE_CHECKING:
    from collections.abc import Callable

LOG = b"L"  # text for stderr
HEARTBEAT = b"H"  # still at work
STATUS = b"S"  # JSON
RENAME = b"R"  # two paths: give the first file the second name, and exit with 0
EXIT = b"X"  # one byte: the exit code
DECLINE = b"D"  # do the work yourself
HEADER_SIZE = 5

HEARTBEAT_SECONDS = 0.5
SILENCE_SECONDS = 4.0  # an agent that says nothing for so long hangs
CONNECT_SECONDS = 1.0
REGULAR_FILE = 0o100000
FILE_TYPE = 0o170000

ARGUMENT_COUNTS = {"wal-push": 1, "wal-fetch": 2}

# Variables that change from call to call without a meaning for the work; those of SYSTEMD are each service's own.
SHELL = (b"_", b"PWD", b"OLDPWD", b"SHLVL", b"TERM", b"COLUMNS", b"LINES", b"PG_GRANDPARENT_PID")
SYSTEMD = (b"INVOCATION_ID", b"JOURNAL_STREAM", b"NOTIFY_SOCKET", b"WATCHDOG_PID", b"WATCHDOG_USEC", b"LISTEN_PID")
MEANINGLESS = frozenset(SHELL + SYSTEMD)

# The socket on which no agent answered; empty: none was asked, and none is wanted.
unanswered = ""


class NoAnswer(Exception):
    """The agent gave no answer that ends the command."""


def ask() -> int | None:
    """Have the agent do what this process was asked for; its exit code, or None when it has to do it itself."""
    global unanswered
    arguments = sys.argv[1:]
    parts = split(arguments)
    if parts is None or os.environ.get("WALPY_AGENT") == "off":
        return None
    command, flags = parts
    try:
        path = socket_path(flags)
        _catch_signals(command)
        try:
            return converse(path, ["run", *arguments])
        except (NoAnswer, OSError):
            unanswered = path
    except OSError:  # the working directory is gone, perhaps
        pass
    return None


def end(code: int) -> None:
    """End the process without the interpreter's own clean-up: nothing is open."""
    os._exit(code)


def split(arguments: list[str]) -> tuple[str, list[str]] | None:
    """Command and flags of a plain wal-push or wal-fetch; None for all else, and for what needs a closer look."""
    words: list[str] = []
    flags: list[str] = []
    rest = iter(arguments)
    for word in rest:
        if word[:2] == "--" and len(word) > 2:
            flags.append(word)
            if "=" not in word and word != "--turbo":
                flags.append(next(rest, ""))
        elif word[:1] == "-":
            return None
        else:
            words.append(word)
    if not words or ARGUMENT_COUNTS.get(words[0]) != len(words) - 1:
        return None
    return words[0], flags


def runtime_directory() -> str:
    """Where agents have their sockets: a directory of the user's own below $TMPDIR or /tmp."""
    return f"{os.environ.get('TMPDIR') or '/tmp'}/walpy-{os.geteuid()}"


def socket_path(flags: list[str]) -> str:
    """Path of the socket of the agent for these flags, in this process's surroundings. Raises OSError."""
    try:
        from _blake2 import blake2b
    except ImportError:
        from hashlib import blake2b  # an interpreter built in another way
    surroundings = [walpy.__version__, __file__, sys.executable, os.getcwd(), os.readlink("/proc/self/ns/mnt")]
    environment = [name + b"=" + value for name, value in os.environb.items() if name not in MEANINGLESS]
    parts = [os.fsencode(part) for part in (*surroundings, *flags)] + sorted(environment)
    digest = blake2b(b"\0".join(parts), digest_size=16).hexdigest()
    return f"{runtime_directory()}/{digest}"


def converse(path: str, words: list[str], show: "Callable[[bytes, bytes], object] | None" = None) -> int:
    """Send one request to the agent at path, pass its log lines on to stderr; the exit code that it answers.

    show: takes frames (kind, payload) of the kinds LOG and STATUS instead. An agent that falls silent is killed, and
    its socket removed: nobody should wait for it again. Raises NoAnswer, OSError.
    """
    if not is_private(os.path.dirname(path)):
        raise NoAnswer
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.settimeout(CONNECT_SECONDS)
        connection.connect(path)
        process, user = _peer(connection)
        if user != os.geteuid():
            raise NoAnswer
        connection.settimeout(SILENCE_SECONDS)
        try:
            payload = b"\0".join([os.fsencode(word) for word in words])
            connection.sendall(len(payload).to_bytes(4, "big") + payload)
            return _answer(connection, show or _show)
        except TimeoutError:
            _end_hanging(process, path)
            raise
    finally:
        connection.close()


def is_private(directory: str) -> bool:
    """Whether a directory belongs to this user, and nobody else may enter it. Raises OSError when it is not there."""
    status = os.lstat(directory)
    return (status.st_mode & FILE_TYPE, status.st_mode & 0o077) == (0o040000, 0) and status.st_uid == os.geteuid()


def _answer(connection: _socket.socket, show: "Callable[[bytes, bytes], object]") -> int:
    received = b""
    while True:
        received = _receive(connection, received, HEADER_SIZE)
        size = HEADER_SIZE + int.from_bytes(received[1:HEADER_SIZE], "big")
        received = _receive(connection, received, size)
        kind, payload, received = received[:1], received[HEADER_SIZE:size], received[size:]
        if kind == EXIT:
            return payload[0]
        if kind == RENAME:
            _take(*payload.split(b"\0"))
            return 0
        if kind == DECLINE:
            raise NoAnswer
        if kind in (LOG, STATUS):
            show(kind, payload)


def _receive(connection: _socket.socket, received: bytes, size: int) -> bytes:
    """What was received before, and more until it has size bytes."""
    while len(received) < size:
        data = connection.recv(65536)
        if not data:
            raise NoAnswer
        received += data
    return received


def _take(staged: bytes, destination: bytes) -> None:
    """Give a fetched file its name, unless something stands there that the one-shot command has its own answer to."""
    try:
        if os.lstat(destination).st_mode & FILE_TYPE != REGULAR_FILE:
            raise NoAnswer
    except FileNotFoundError:
        pass
    os.rename(staged, destination)


def _show(_kind: bytes, text: bytes) -> None:
    try:
        while text:
            text = text[os.write(2, text) :]
    except OSError:
        pass  # nobody reads it: not a reason to fail


def _peer(connection: _socket.socket) -> tuple[int, int]:
    """Process and user at the other end, as the kernel knows them."""
    credentials = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[:4], sys.byteorder), int.from_bytes(credentials[4:8], sys.byteorder)


def _end_hanging(process: int, path: str) -> None:
    try:
        os.unlink(path)
        if process > 1:  # 0: of another process namespace
            os.kill(process, _signal.SIGKILL)
    except OSError:
        pass  # it has ended meanwhile


def _catch_signals(command: str) -> None:
    """End as the command would that does the work itself: wal-fetch by the signal, wal-push with exit code 1."""
    for number in (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP):
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, _end_push if command == "wal-push" else _signal.SIG_DFL)


def _end_push(number: int, _frame: object) -> None:
    moment = time.strftime("%Y/%m/%d %H:%M:%S")
    _show(LOG, f"ERROR: {moment}.000000 interrupted by signal {number}\n".encode())
    os._exit(1)
