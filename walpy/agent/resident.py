"""The resident agent: serves wal-push and wal-fetch of one cluster and configuration until nobody needs it any more.

It ends (exit status 0) after IDLE_SECONDS without a request, when the server stops, and when anything changes that its
answers depend on; requests that are under way are finished, new ones find no socket and are done by their commands.
Exit status 1: it could not start. Whatever a request meets that the agent has no answer to is declined.

Memory: an interpreter with the storage's client (30 MiB; S3: 60 MiB), and what uploads and downloads state.
"""

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence

import walpy
from walpy import interrupts
from walpy.agent.connection import Connection, RequestHandler, log_to
from walpy.agent.downloads import Downloads
from walpy.agent.runtime import Listener
from walpy.agent.uploads import Uploads
from walpy.agent.watch import Watch
from walpy.archive import open_wal_archives
from walpy.client import DECLINE, EXIT, HEARTBEAT_SECONDS, RENAME, STATUS
from walpy.config import Config, load_config, split_setting_flags
from walpy.errors import AccessDenied, WalpyError
from walpy.logs import configure_logging, log_failure
from walpy.request import Request, parse
from walpy.stream.allocator import keep_freed_memory
from walpy.wal.fetch import failure_code

IDLE_SECONDS = 300.0
CHECK_SECONDS = 1.0  # between looks at what may end the agent
MOST_REQUESTS = 16  # under way at once; further clients do the work themselves
CLIENT_SECONDS = 10.0  # for a client to give a fetched file its name
DRAIN_SECONDS = 1.5  # for requests to end after a signal
GRACE_SECONDS = 60.0  # beyond the storage's deadline, before a request counts as hanging


def main() -> None:
    """Serve at the socket that the first argument names, for the server process of the second; the others: settings."""
    _close_inherited()
    path, server, *flags = sys.argv[1:]
    stop, quick = threading.Event(), threading.Event()

    def end(*_: object) -> None:
        quick.set()
        stop.set()

    for number in (*interrupts.SIGNALS, signal.SIGQUIT):
        signal.signal(number, end)
    try:
        listener = Listener(path)
        _, settings, config_path = split_setting_flags(flags)
        config = load_config(settings, os.environ, config_path)
        configure_logging(config, RequestHandler())
        keep_freed_memory()
        agent = Agent(config, listener, Watch(config, os.environ, int(server)), stop)
    except (OSError, WalpyError):
        os._exit(1)
    agent.serve()
    agent.drain(quick)
    interrupts.remove_unfinished_files()
    os._exit(0)


class Agent:
    """One agent's state. Raises what opening the archive raises."""

    def __init__(self, config: Config, listener: Listener, watch: Watch, stop: threading.Event) -> None:
        self._config = config
        self._listener = listener
        self._watch = watch
        self._stop = stop
        to_push, to_fetch = open_wal_archives(config)
        self._uploads = Uploads(to_push)
        self._downloads = Downloads(to_fetch)
        self._longest_seconds = config.seconds("WALPY_STORAGE_DEADLINE") + GRACE_SECONDS
        self._lock = threading.Lock()
        self._requests: dict[Connection, float] = {}  # under way -> when it is taken for hanging
        self._served = 0
        self._started = self._last_request = time.monotonic()

    def serve(self) -> None:
        """Serve until there is a reason to end."""
        self._listener.listen()
        threading.Thread(target=self._accept, name="accept", daemon=True).start()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        while not self._stop.wait(CHECK_SECONDS):
            if self._is_idle() or not self._listener.is_in_place() or self._watch.change():
                break

    def drain(self, quick: threading.Event) -> None:
        """Take no further request, and return when those under way have ended; soon when quick is set."""
        self._stop.set()
        self._listener.leave()
        self._uploads.close()
        self._downloads.close()
        deadline = time.monotonic() + IDLE_SECONDS
        while self._is_busy() and time.monotonic() < deadline:
            if quick.is_set():
                deadline = min(deadline, time.monotonic() + DRAIN_SECONDS)
            time.sleep(0.02)

    def _is_busy(self) -> bool:
        return bool(self._requests) or not (self._uploads.is_idle() and self._downloads.is_idle())

    def _is_idle(self) -> bool:
        return not self._is_busy() and time.monotonic() - self._last_request > IDLE_SECONDS

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                connected, _ = self._listener.socket.accept()
            except OSError:  # closed, or out of descriptors
                self._stop.set()
                return
            if len(self._requests) >= MOST_REQUESTS:
                connected.close()
            else:
                self._take(connected)

    def _take(self, connected: socket.socket) -> None:
        connection = Connection(connected)
        with self._lock:
            self._requests[connection] = time.monotonic() + self._longest_seconds
        threading.Thread(target=self._handle, args=(connection,), name="request", daemon=True).start()

    def _beat(self) -> None:
        while True:
            time.sleep(HEARTBEAT_SECONDS)
            now = time.monotonic()
            with self._lock:
                living = [connection for connection, end in self._requests.items() if now < end]
            for connection in living:
                connection.beat()

    def _handle(self, connection: Connection) -> None:
        try:
            with contextlib.suppress(OSError):  # the client is gone
                if connection.is_ours():
                    self._answer(connection, connection.receive())
        finally:
            connection.close()
            self._last_request = time.monotonic()
            with self._lock:
                del self._requests[connection]

    def _answer(self, connection: Connection, words: Sequence[str]) -> None:
        match words:
            case ["run", *arguments]:
                with log_to(connection.send_line):
                    self._run(connection, arguments)
            case ["status"]:
                connection.send(STATUS, json.dumps(self._state()).encode() + b"\n")
                connection.send(EXIT, b"\0")
            case ["stop"]:
                self._stop.set()
                connection.send(EXIT, b"\0")
            case _:
                connection.send(DECLINE)

    def _run(self, connection: Connection, arguments: Sequence[str]) -> None:
        request = parse(arguments)
        if request is None or self._stop.is_set() or self._watch.change():
            self._stop.set()
            connection.send(DECLINE)
            return
        try:
            if request.command == "wal-push":
                self._uploads.push(os.path.abspath(request.arguments[0]))
                connection.send(EXIT, b"\0")
            else:
                self._fetch(connection, *request.arguments)
        except AccessDenied:  # credentials may have been renewed: a fresh process reads them again
            self._stop.set()
            connection.send(DECLINE)
        except WalpyError as error:
            log_failure(error)
            connection.send(EXIT, bytes([self._failure_code(request, error)]))
        except Exception:  # noqa: BLE001 - a defect of the agent must not be one of the command
            connection.send(DECLINE)
        self._served += 1

    def _failure_code(self, request: Request, error: WalpyError) -> int:
        if request.command == "wal-push":
            return 1
        return failure_code(error, request.arguments[1], self._config.text("PGDATA"))

    def _fetch(self, connection: Connection, name: str, destination: str) -> None:
        """Fetch beside the destination: the client, while it lives, gives the file its name."""
        destination = os.path.abspath(destination)
        with self._downloads.staged(name, destination) as path:
            connection.send(RENAME, os.fsencode(path) + b"\0" + os.fsencode(destination))
            self._downloads.look_ahead(name, destination)
            connection.wait_for_end(CLIENT_SECONDS)

    def _state(self) -> dict[str, object]:
        """For people."""
        return {
            "process": os.getpid(),
            "version": walpy.__version__,
            "data_directory": os.getcwd(),
            "archive": self._config.prefix(),
            "seconds": round(time.monotonic() - self._started),
            "requests": self._served,
            "requests_under_way": len(self._requests) - 1,
            "resident_size": _resident_size(),
            **self._uploads.state(),
            **self._downloads.state(),
        }


def _resident_size() -> int:
    """Bytes of memory, shared ones included."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _close_inherited() -> None:
    """Close what the server left open to its commands."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):  # the listing's own
                os.close(int(name))
