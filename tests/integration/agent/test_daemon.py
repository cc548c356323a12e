"""`walpy daemon SOCKET`: WAL-G's protocol as its client and the archive library walg_archive speak it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.agent.agents import SECONDS, WALPY, Site, wait_for
from tests.unit.wal.synthetic import OTHER_SYSTEM_IDENTIFIER, segment
from walpy.wal.segment import MIB, following_segment


def frame(kind: bytes, body: bytes) -> bytes:
    """A message: type, total length, body."""
    return kind + (3 + len(body)).to_bytes(2, "big") + body


def arguments(*words: str) -> bytes:
    """The body of wal-fetch."""
    return bytes([len(words)]) + b"".join(len(word).to_bytes(2, "big") + word.encode() for word in words)


class Daemon:
    """A daemon of a site and a client for it."""

    def __init__(self, site: Site, **settings: str) -> None:
        self.site = site
        self.socket = site.runtime / "daemon"
        self.log = site.runtime / "log"
        environment = {**site.environment, "PGDATA": str(site.data.path), **settings}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [WALPY, "daemon", str(self.socket)], env=environment, cwd=site.runtime, stderr=log
            )

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(SECONDS)
        connection.connect(str(self.socket))
        return connection

    def ask(self, message: bytes) -> bytes:
        """The whole answer to one message, until the daemon closes the connection."""
        with self.connect() as connection:
            connection.sendall(message)
            return b"".join(iter(lambda: connection.recv(16), b""))

    def push(self, name: str) -> bytes:
        return self.ask(frame(b"F", name.encode()))

    def fetch(self, name: str, destination: str = "pg_wal/RECOVERYXLOG") -> bytes:
        return self.ask(frame(b"f", arguments(name, destination)))

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def start(site: Site) -> Iterator[Callable[..., Daemon]]:
    """Starts a daemon and waits until it serves."""
    started: list[Daemon] = []

    def start(**settings: str) -> Daemon:
        daemon = Daemon(site, **settings)
        started.append(daemon)
        wait_for(lambda: "serving at" in daemon.log.read_text() or daemon.process.poll() is not None)
        return daemon

    yield start
    for daemon in started:
        daemon.end()


@pytest.fixture
def daemon(start: Callable[..., Daemon]) -> Daemon:
    """A daemon with nothing special."""
    return start()


def test_a_check_is_answered_and_leaves_the_connection_open(daemon: Daemon) -> None:
    with daemon.connect() as connection:
        for body in (b"CHECK", b""):
            connection.sendall(frame(b"C", body))
            assert connection.recv(16) == b"O"
        connection.sendall(frame(b"F", b"000000010000000000000099"))
        assert connection.recv(16) == b"E"  # there is no such file
        assert connection.recv(16) == b""


def test_segments_are_pushed_and_fetched(daemon: Daemon) -> None:
    site = daemon.site
    names = site.segments(3)
    for name in names:
        assert daemon.push(name) == b"O"
        assert site.stored(name)
    assert daemon.push(f"pg_wal/{names[0]}") == b"O"  # a path, as %p gives it
    assert daemon.push(str(site.data.wal / names[0])) == b"O"
    for name in names:
        assert daemon.fetch(name) == b"O"
        assert (site.data.wal / "RECOVERYXLOG").read_bytes() == (site.data.wal / name).read_bytes()
    assert daemon.fetch(names[0], str(site.archive / "elsewhere")) == b"O"
    assert (site.archive / "elsewhere").stat().st_size == MIB
    assert daemon.fetch(following_segment(names[-1], MIB)) == b"N"
    assert daemon.process.poll() is None


def test_a_key_that_cannot_encrypt_is_told_at_the_start_and_fetches_go_on(start: Callable[..., Daemon]) -> None:
    path = Path(__file__).resolve().parents[2] / "golden/openpgp/unusable/expired.asc"
    daemon = start(WALG_PGP_KEY_PATH=str(path))
    assert "because it expired on 2020-01-02" in daemon.log.read_text()
    (name,) = daemon.site.segments(1)
    assert daemon.push(name) == b"E"
    assert list(daemon.site.archive.iterdir()) == []
    assert daemon.fetch("000000010000000000000099") == b"N"


def test_what_waits_is_archived_ahead(daemon: Daemon) -> None:
    names = daemon.site.segments(5)
    assert daemon.push(names[0]) == b"O"
    wait_for(lambda: all((daemon.site.archive / f"wal_005/{name}.lz4").exists() for name in names))


def test_failures_are_answered_and_logged(daemon: Daemon) -> None:
    site = daemon.site
    name = site.segments(1)[0]
    assert daemon.push(name) == b"O"
    site.data.add(name, segment(name, seed=1))
    assert daemon.push(name) == b"E"
    other = following_segment(name, MIB)
    site.data.add(other, segment(other, system_identifier=OTHER_SYSTEM_IDENTIFIER))
    assert daemon.push(other) == b"E"
    log = daemon.log.read_text()
    assert "already archived, contents differ, unable to overwrite" in log
    assert f"'{site.data.wal / other}' is not archived" in log


@pytest.mark.parametrize(
    "message",
    [
        frame(b"F", b"0000000100000000\x0000000001"),
        frame(b"x", b""),
        b"F\x00\x01",
        frame(b"f", arguments("000000010000000000000001")),
        frame(b"f", arguments("000000010000000000000001", "a", "b")),
        frame(b"f", b"\x02\x00\x18short"),
        frame(b"f", b""),
    ],
    ids=["NUL", "unknown type", "length too short", "one argument", "three arguments", "cut off", "empty"],
)
def test_messages_without_sense_are_refused(message: bytes, daemon: Daemon) -> None:
    assert daemon.ask(message) == b"E"
    assert daemon.ask(frame(b"C", b"")[:3] + frame(b"x", b"")) == b"OE"  # it goes on serving


def test_a_message_that_ends_early_is_refused(daemon: Daemon) -> None:
    with daemon.connect() as connection:
        connection.sendall(b"F\x00\x1b0000")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(16) == b"E"


def test_a_client_that_is_gone_gets_no_file(daemon: Daemon) -> None:
    """A late answer must not replace what a later request has put there."""
    name = daemon.site.segments(1)[0]
    daemon.push(name)
    with daemon.connect() as connection:
        connection.sendall(frame(b"f", arguments(name, "pg_wal/late")))
        connection.shutdown(socket.SHUT_RDWR)
    wait_for(lambda: "the client has gone" in daemon.log.read_text())
    assert not list(daemon.site.data.wal.glob("*late*"))


def test_an_upload_that_takes_too_long_is_a_failure(start: Callable[..., Daemon]) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        settings = {
            "WALG_FILE_PREFIX": "",
            "WALG_S3_PREFIX": "s3://bucket/x",
            "AWS_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_REGION": "us-east-1",
            "WALG_DAEMON_WAL_UPLOAD_TIMEOUT": "1s",
        }
        daemon = start(**settings)
        assert daemon.push(daemon.site.segments(1)[0]) == b"E"
        assert "was not archived within 1 seconds (WALG_DAEMON_WAL_UPLOAD_TIMEOUT)" in daemon.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_orderly(number: signal.Signals, daemon: Daemon) -> None:
    daemon.process.send_signal(number)
    assert daemon.process.wait(SECONDS) == 0
    assert not daemon.socket.exists()


def test_settings_are_read_anew(start: Callable[..., Daemon], site: Site) -> None:
    config = site.runtime / "walg.json"
    config.write_text(f'{{"WALG_FILE_PREFIX": "{site.archive}"}}')
    daemon = start(WALG_FILE_PREFIX="", WALG_CONFIG_PATH=str(config))
    first, second = site.segments(2)
    os.unlink(site.data.status(second))
    assert daemon.push(first) == b"O"
    elsewhere = site.archive / "elsewhere"
    elsewhere.mkdir()
    config.write_text("{")
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "cannot parse configuration file" in daemon.log.read_text())
    config.write_text(f'{{"WALG_FILE_PREFIX": "{elsewhere}"}}')
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "settings were read anew" in daemon.log.read_text())
    assert daemon.push(second) == b"O"
    assert (elsewhere / f"wal_005/{second}.lz4").exists()


def test_its_log_file_is_opened_anew(start: Callable[..., Daemon], site: Site) -> None:
    log = site.runtime / "walpy.log"
    daemon = Daemon(site, WALG_LOG_DESTINATION=str(log))
    try:
        wait_for(lambda: log.exists() and "serving at" in log.read_text())
        log.rename(site.runtime / "walpy.log.1")
        daemon.process.send_signal(signal.SIGUSR1)
        wait_for(log.exists)
        daemon.push("000000010000000000000099")
        assert "000000010000000000000099" in log.read_text()
    finally:
        daemon.end()


def test_systemd_is_told(start: Callable[..., Daemon], site: Site) -> None:
    address = site.runtime / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(address))
        notify.settimeout(SECONDS)
        daemon = start(NOTIFY_SOCKET=str(address), WATCHDOG_USEC="200000")
        assert notify.recv(100) == b"READY=1"
        assert notify.recv(100) == b"WATCHDOG=1"
        assert notify.recv(100) == b"WATCHDOG=1"
        daemon.process.send_signal(signal.SIGHUP)
        states = [notify.recv(100) for _ in range(4)]
        reload = next(state for state in states if state.startswith(b"RELOADING=1\nMONOTONIC_USEC="))
        assert b"READY=1" in states[states.index(reload) :]
        daemon.process.send_signal(signal.SIGTERM)
        while notify.recv(100) != b"STOPPING=1":
            pass
        assert daemon.process.wait(SECONDS) == 0


def test_what_stands_at_its_path_is_respected(daemon: Daemon, site: Site) -> None:
    second = Daemon(site)
    assert second.process.wait(SECONDS) == 1
    assert "another daemon serves there" in second.log.read_text()
    assert daemon.ask(frame(b"C", b"")[:3] + frame(b"x", b"")) == b"OE"
    file = site.runtime / "file"
    file.write_text("precious")
    result = site.run("daemon", str(file))
    assert result.returncode == 1
    assert "it exists and is no socket" in result.stderr
    assert file.read_text() == "precious"


def test_a_killed_daemons_socket_is_taken_over(start: Callable[..., Daemon]) -> None:
    daemon = start()
    daemon.end()
    assert daemon.socket.exists()
    again = start()
    assert again.push(again.site.segments(1)[0]) == b"O"


def test_it_needs_the_data_directory(site: Site) -> None:
    daemon = Daemon(site, PGDATA="")
    try:
        wait_for(lambda: daemon.socket.exists())
        assert daemon.push("000000010000000000000001") == b"E"
        assert "PGDATA is not set" in daemon.log.read_text()
    finally:
        daemon.end()


def test_wrong_settings_end_it_at_once(site: Site) -> None:
    environment = {**site.environment, "WALG_COMPRESSION_METHOD": "snappy"}
    result = subprocess.run(
        [sys.executable, "-m", "walpy", "daemon", str(site.runtime / "daemon")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert result.returncode == 1
    assert "snappy" in result.stderr
    assert not Path(site.runtime / "daemon").exists()
