"""The command as a process of its own: signals, streams, exit codes."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def silent_server() -> Iterator[socket.socket]:
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def start(arguments: list[str], settings: dict[str, str]) -> "subprocess.Popen[str]":
    environ = {"PATH": os.environ["PATH"], "HOME": "/nowhere", **settings}
    return subprocess.Popen(
        [sys.executable, "-m", "walpy", *arguments],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_a_command_that_hangs_in_the_storage(
    silent_server: socket.socket, number: signal.Signals
) -> None:
    settings = {
        "WALG_S3_PREFIX": "s3://bucket/path",
        "AWS_ENDPOINT": f"http://127.0.0.1:{silent_server.getsockname()[1]}",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
        "AWS_S3_FORCE_PATH_STYLE": "true",
    }
    with start(["backup-list"], settings) as process:
        connection, _ = silent_server.accept()
        connection.recv(1)  # the request is on its way
        started = time.monotonic()
        process.send_signal(number)
        out, _ = process.communicate(timeout=30)
        connection.close()
    assert process.returncode == 128 + number
    assert time.monotonic() - started < 2.5
    assert out == ""


def test_results_and_messages_do_not_mix(tmp_path: Path) -> None:
    process = start(["backup-list", "--json"], {"WALG_FILE_PREFIX": str(tmp_path), "WALG_LOG_LEVEL": "DEVEL"})
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "[]\n")


def test_the_last_line_of_a_failure_says_why(tmp_path: Path) -> None:
    process = start(["backup-list"], {"WALG_FILE_PREFIX": str(tmp_path / "absent")})
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert err.splitlines()[-1].startswith("ERROR: ")
    assert "absent" in err.splitlines()[-1]


def test_log_file(tmp_path: Path) -> None:
    log = tmp_path / "walpy.log"
    settings = {"WALG_FILE_PREFIX": str(tmp_path / "absent"), "WALG_LOG_DESTINATION": str(log)}
    process = start(["backup-list"], settings)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 1
    assert log.read_text("utf-8").splitlines()[-1].startswith("ERROR: ")
