"""Tries walpy's unit under the systemd that booted this machine, with the PostgreSQL of this machine; see boot.sh.

Also its own client of the daemon's protocol, for archive_command: check.py client SOCKET NAME.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

UNIT = "walpy-daemon.service"
SOCKET = Path("/run/walpy/daemon.sock")
ARCHIVE = Path("/var/lib/postgresql/archive/wal_005")
SETTINGS = Path("/var/lib/postgresql/.walg.json")
DROP_IN = Path(f"/run/systemd/system/{UNIT}.d/watchdog.conf")
SECONDS = 240.0  # an emulated processor is slow
WATCHDOG_SECONDS = 20


def push(path: str, name: str) -> bytes:
    """Ask the daemon to archive a segment; its answer."""
    body = name.encode()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(b"F" + (3 + len(body)).to_bytes(2, "big") + body)
        return connection.recv(1)


def systemctl(*words: str) -> str:
    return subprocess.run(["systemctl", *words], check=True, capture_output=True, text=True).stdout.strip()


def shown(name: str) -> str:
    """A property of the unit."""
    return systemctl("show", "--value", "-p", name, UNIT)


def main_pid() -> int:
    return int(shown("MainPID"))


def journal() -> str:
    words = ["journalctl", "-b", "-o", "cat", "-u", UNIT]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def query(statement: str) -> str:
    words = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "psql", "-XAtc", statement]
    return subprocess.run(words, check=True, capture_output=True, text=True, cwd="/").stdout.strip()


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {SECONDS} s")
        time.sleep(0.2)


def archive_one() -> str:
    """Let PostgreSQL archive a segment by the daemon; its file name in the archive."""
    segment = query("SELECT pg_walfile_name(pg_current_wal_lsn()) FROM pg_logical_emit_message(false, 'a', 'b')")
    query("SELECT pg_switch_wal()")
    wait_for(lambda: query("SELECT last_archived_wal FROM pg_stat_archiver") >= segment, f"{segment} archived")
    (found,) = ARCHIVE.glob(f"{segment}.*")
    return found.name


def it_starts_at_boot_and_says_so() -> None:
    wait_for(lambda: shown("ActiveState") == "active", "active after boot")
    assert shown("SubState") == "running"
    assert shown("Type") == "notify"
    assert shown("Result") == "success"
    assert int(shown("NRestarts")) == 0
    assert os.stat(SOCKET.parent).st_mode & 0o777 == 0o700
    assert SOCKET.owner() == "postgres"
    assert Path(f"/proc/{main_pid()}").owner() == "postgres"
    assert systemctl("is-enabled", UNIT) == "enabled"


def a_start_returns_when_it_serves() -> None:
    systemctl("stop", UNIT)
    systemctl("start", UNIT)
    assert push(str(SOCKET), "000000010000000000000099") == b"E"  # no such segment: but there is somebody who says so


def postgresql_archives_through_it() -> None:
    client = shutil.which("walg-daemon-client")
    own = f"/usr/bin/python3 {__file__} client {SOCKET} %f"
    command = f"{client} {SOCKET} wal-push %f" if client else own
    print(f"walpy-check: archive_command = {command}")
    query("ALTER SYSTEM SET archive_mode = on")
    query(f"ALTER SYSTEM SET archive_command = '{command}'")
    systemctl("restart", "postgresql@15-main.service")
    assert archive_one().endswith(".lz4")


def a_reload_reads_the_settings_anew() -> None:
    before = main_pid(), shown("NRestarts")
    SETTINGS.write_text(json.dumps({**json.loads(SETTINGS.read_text()), "WALG_COMPRESSION_METHOD": "zstd"}))
    systemctl("reload", UNIT)
    wait_for(lambda: "settings were read anew" in journal(), "settings read anew")
    assert archive_one().endswith(".zst")
    assert (main_pid(), shown("NRestarts"), shown("ActiveState")) == (*before, "active")
    assert "Reloaded" in journal()


def wrong_settings_at_a_reload_change_nothing() -> None:
    before, right = main_pid(), SETTINGS.read_text()
    SETTINGS.write_text(right.replace("zstd", "rar"))
    systemctl("reload", UNIT)
    wait_for(lambda: "rar" in journal(), "told in the journal")
    assert archive_one().endswith(".zst")
    assert main_pid() == before
    SETTINGS.write_text(right)
    systemctl("reload", UNIT)


def the_watchdog_is_fed_and_bites() -> None:
    DROP_IN.parent.mkdir(parents=True)
    DROP_IN.write_text(f"[Service]\nWatchdogSec={WATCHDOG_SECONDS}\n")
    systemctl("daemon-reload")
    systemctl("restart", UNIT)
    before = main_pid()
    time.sleep(2 * WATCHDOG_SECONDS)
    assert main_pid() == before, "it was not fed"
    os.kill(before, signal.SIGSTOP)
    wait_for(lambda: shown("NRestarts") == "1" and shown("ActiveState") == "active", "restarted by the watchdog")
    assert main_pid() != before
    assert "watchdog" in journal().lower()
    archive_one()


def it_comes_back_after_kill_9() -> None:
    before = main_pid()
    os.kill(before, signal.SIGKILL)
    segment = query("SELECT pg_walfile_name(pg_current_wal_lsn()) FROM pg_logical_emit_message(false, 'a', 'b')")
    query("SELECT pg_switch_wal()")
    wait_for(lambda: query("SELECT last_archived_wal FROM pg_stat_archiver") >= segment, "archived after kill -9")
    assert int(shown("NRestarts")) == 2
    assert main_pid() != before


def it_stops_in_order() -> None:
    pid = main_pid()
    systemctl("stop", UNIT)
    assert (shown("ActiveState"), shown("Result"), shown("ExecMainStatus")) == ("inactive", "success", "0")
    assert not Path(f"/proc/{pid}").exists()
    assert not SOCKET.exists()


CHECKS = (
    it_starts_at_boot_and_says_so,
    a_start_returns_when_it_serves,
    postgresql_archives_through_it,
    a_reload_reads_the_settings_anew,
    wrong_settings_at_a_reload_change_nothing,
    the_watchdog_is_fed_and_bites,
    it_comes_back_after_kill_9,
    it_stops_in_order,
)


def main() -> None:
    """Make all checks in order; the first failure ends them."""
    if sys.argv[1:2] == ["client"]:
        sys.exit(push(*sys.argv[2:]) != b"O")
    for check in CHECKS:
        try:
            check()
        except Exception as error:
            print(f"walpy-check: FAILED {check.__name__}: {error!r}", flush=True)
            print(journal()[-3000:], flush=True)
            raise
        print(f"walpy-check: passed {check.__name__}", flush=True)
    print("walpy-check: all passed", flush=True)


if __name__ == "__main__":
    main()
