"""`walpy daemon SOCKET`: WAL-G's daemon protocol, for WAL-G's daemon client and the archive library walg_archive.

A frame is `u8 type, u16 total length (big endian), body`; the reply is one byte. Source: WAL-G 3's daemon and client.

    C check       body ignored                              O, and the connection stays open
    F wal-push    a file name (a path is understood too)    O, or E for a failure
    f wal-fetch   u8 count, then u16 length and argument    O, N for a file that the archive does not have, or E

Memory: as the agent's.
"""

import contextlib
import logging
import os
import select
import signal
import socket
import stat
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from walpy import interrupts
from walpy.agent.connection import receive
from walpy.agent.downloads import Downloads
from walpy.agent.notify import Notifier
from walpy.agent.uploads import Uploads
from walpy.archive import Archive, open_wal_archives
from walpy.config import Config
from walpy.errors import ConfigError, ObjectMissing, StorageUnavailable, UsageError, WalpyError
from walpy.logs import configure_logging, log_failure
from walpy.stream.allocator import keep_freed_memory
from walpy.wal.target import FetchTarget

DONE, FAILED, ABSENT = b"O", b"E", b"N"
HEADER_SIZE = 3
BACKLOG = 64
MOST_CONNECTIONS = 64
IDLE_SECONDS = 60.0  # for a client to send its next frame
DRAIN_SECONDS = 10.0  # for requests that are under way when the daemon is stopped
WAL_FOLDER = "pg_wal"

logger = logging.getLogger(__name__)


def run_daemon(load: Callable[[], Config], path: str, environ: Mapping[str, str]) -> None:
    """Serve at the socket path until SIGTERM or SIGINT; SIGHUP reads the settings anew, SIGUSR1 opens the log anew.

    load: reads the settings. environ: for NOTIFY_SOCKET and WATCHDOG_USEC. Raises ConfigError, WalpyError.
    """
    keep_freed_memory()
    daemon = Daemon(load)
    listener = _listen(path)
    try:
        daemon.serve(listener, Notifier(environ))
    finally:
        listener.close()
        with contextlib.suppress(OSError):
            os.unlink(path)
    daemon.drain()


class _Service:
    """What one reading of the settings serves requests with. Raises ConfigError, StorageError."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.data_directory = config.text("PGDATA")
        self.push_seconds = config.seconds("WALG_DAEMON_WAL_UPLOAD_TIMEOUT")
        to_push, to_fetch = open_wal_archives(config)
        self.uploads = Uploads(to_push)
        self.downloads = Downloads(to_fetch)
        _tell_if_not_writable(to_push)

    def push(self, name: str) -> None:
        """Archive a file of the server's WAL directory."""
        self.uploads.push(self._path(name if "/" in name else os.path.join(WAL_FOLDER, name)))

    def fetch(self, name: str, destination: str, is_wanted: Callable[[], bool]) -> None:
        """Restore a file, if the client still waits when it is there."""
        path = self._path(destination)
        target = FetchTarget(name, path, self.data_directory)
        with self.downloads.staged(name, path) as staged:
            if not is_wanted():
                raise WalpyError(f"{name!r} is not handed over: the client has gone")
            target.take(staged)

    def look_ahead(self, name: str, destination: str) -> None:
        """Begin to fetch what follows a file that was restored. Never fails."""
        self.downloads.look_ahead(name, self._path(destination))

    def close(self) -> None:
        """Begin nothing more."""
        self.uploads.close()
        self.downloads.close()

    def _path(self, path: str) -> str:
        if "\0" in path:
            raise UsageError("a file name with a NUL byte")
        if not self.data_directory and not os.path.isabs(path):
            raise ConfigError(
                "PGDATA is not set", "Set it to the data directory of the server that this daemon serves."
            )
        return os.path.join(os.path.abspath(self.data_directory), path)


class Daemon:
    """The daemon's state. Raises what load and opening the archive raise."""

    def __init__(self, load: Callable[[], Config]) -> None:
        self._load = load
        self._service = _Service(load())
        self._stop, self._wake = threading.Event(), threading.Event()
        self._is_reload_wanted = self._is_reopen_wanted = False
        self._requests = 0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(MOST_CONNECTIONS, "push")

    def serve(self, listener: socket.socket, notifier: Notifier) -> None:
        """Serve until a signal ends it; call in the main thread."""
        self._catch_signals()
        threading.Thread(target=self._accept, args=(listener,), name="accept", daemon=True).start()
        logger.info("serving at %s", listener.getsockname())
        notifier.ready()
        while not self._stop.is_set():
            self._wake.wait(notifier.watchdog_seconds)
            self._wake.clear()
            if self._is_reload_wanted:
                notifier.reloading()
                self._reload()
                notifier.ready()
            if self._is_reopen_wanted:
                self._is_reopen_wanted = False
                configure_logging(self._service.config)
            notifier.alive()
        notifier.stopping()

    def drain(self) -> None:
        """Let requests that are under way end, for DRAIN_SECONDS."""
        self._service.close()
        pause = threading.Event()
        for _ in range(int(DRAIN_SECONDS / 0.05)):
            if not self._requests:
                break
            pause.wait(0.05)

    def _catch_signals(self) -> None:
        interrupts.release()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._end())
        signal.signal(signal.SIGHUP, lambda *_: self._want(reload=True))
        signal.signal(signal.SIGUSR1, lambda *_: self._want(reload=False))

    def _end(self) -> None:
        self._stop.set()
        self._wake.set()

    def _want(self, *, reload: bool) -> None:
        self._is_reload_wanted |= reload
        self._is_reopen_wanted |= not reload
        self._wake.set()

    def _reload(self) -> None:
        """Serve further requests with the settings as they are now; wrong ones change nothing."""
        self._is_reload_wanted = False
        try:
            service = _Service(self._load())
        except WalpyError as error:
            log_failure(error)
            return
        old, self._service = self._service, service
        old.close()
        logger.info("settings were read anew")

    def _accept(self, listener: socket.socket) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = listener.accept()
            except OSError as error:
                if not self._stop.is_set():
                    logger.error("cannot accept connections: %s", error)
                    self._end()
                return
            if self._requests >= MOST_CONNECTIONS:
                connection.close()
                continue
            with self._lock:
                self._requests += 1
            threading.Thread(target=self._converse, args=(connection,), name="request", daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(OSError):  # the client is gone
                connection.settimeout(IDLE_SECONDS)
                while self._answer(connection):
                    pass
        finally:
            with self._lock:
                self._requests -= 1

    def _answer(self, connection: socket.socket) -> bool:
        """Answer one message; whether the connection stays open, as after a check. Raises OSError."""
        follow_up: Callable[[], None] | None = None
        is_check = False
        try:
            kind, body = _receive_frame(connection)
            is_check = kind == b"C"
            if kind == b"F":
                self._push(os.fsdecode(body))
            elif kind == b"f":
                service, (name, destination) = self._service, parse_arguments(body)
                service.fetch(name, destination, partial(_is_alive, connection))
                follow_up = partial(service.look_ahead, name, destination)
            elif not is_check:
                raise UsageError(f"unknown message type {kind!r}")
            reply = DONE
        except ObjectMissing as error:
            logger.info("%s", error)
            reply = ABSENT
        except ConnectionError:
            reply = FAILED
        except Exception as error:  # noqa: BLE001 - the boundary of a request: the client hears of it
            log_failure(error)
            reply = FAILED
        connection.sendall(reply)
        if follow_up:
            follow_up()  # now that the client need not wait for it
        return is_check

    def _push(self, name: str) -> None:
        service = self._service
        try:
            self._pool.submit(service.push, name).result(service.push_seconds or None)
        except TimeoutError:
            raise StorageUnavailable(
                f"{name!r} was not archived within {service.push_seconds:g} seconds (WALG_DAEMON_WAL_UPLOAD_TIMEOUT)"
            ) from None


def _tell_if_not_writable(archive: Archive) -> None:
    """Say at the start that wal-push will fail, and why; a daemon may be there for wal-fetch, which needs less."""
    try:
        archive.check_writable()
    except WalpyError as error:
        log_failure(error)
        logger.warning("wal-push will be refused until that is set right; wal-fetch is served")


def _is_alive(connection: socket.socket) -> bool:
    """Whether the client still waits: it sends nothing after its request, so what can be read is its end."""
    return not select.select([connection], [], [], 0)[0]


def parse_arguments(body: bytes) -> tuple[str, str]:
    """The two arguments of wal-fetch. Raises UsageError for anything else."""
    arguments: list[str] = []
    rest = body[1:]
    while rest:
        size = 2 + int.from_bytes(rest[:2], "big")
        if len(rest) < size:
            raise UsageError("an argument of wal-fetch is cut off")
        arguments.append(os.fsdecode(rest[2:size]))
        rest = rest[size:]
    if len(arguments) != 2 or body[0] != 2:
        raise UsageError(f"wal-fetch takes 2 arguments, not {len(arguments)}")
    return arguments[0], arguments[1]


def _receive_frame(connection: socket.socket) -> tuple[bytes, bytes]:
    header = receive(connection, HEADER_SIZE)
    size = int.from_bytes(header[1:], "big")
    if size < HEADER_SIZE:
        raise UsageError(f"a message of {size} bytes is too short")
    return header[:1], receive(connection, size - HEADER_SIZE)


def _listen(path: str) -> socket.socket:
    """Listen at a path, in the place of a socket that nobody serves any more."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_dead(path)
        listener.bind(path)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise WalpyError(f"cannot listen at {path!r}: {error.strerror or error}") from None
    return listener


def _remove_dead(path: str) -> None:
    try:
        is_socket = stat.S_ISSOCK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise WalpyError(f"cannot listen at {path!r}: it exists and is no socket", "Choose another path, or remove it.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise WalpyError(f"cannot listen at {path!r}: another daemon serves there", "Stop it first.")
