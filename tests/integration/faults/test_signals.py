"""SIGTERM and SIGINT end every command within two seconds, whatever it hangs in, and nothing is left behind."""

import os
import random
import shutil
import signal
import socket
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.fixtures.cluster import Cluster
from tests.fixtures.fault_proxy import Trouble
from tests.integration.faults.commands import Ended, Run, environment_of
from tests.integration.faults.scene import COMMANDS, Scene, folder_scene, wait_for_query
from tests.integration.faults.stage import Stage
from walpy.config import Config

ROUNDS = 4

by_signal = pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT], ids=[signal.SIGTERM.name, signal.SIGINT.name]
)


def codes(command: str, number: int) -> set[int]:
    """How a command may end by a signal: docs/failures.md."""
    return {"wal-push": {1}, "wal-fetch": {-number, 128 + number}}.get(command, {128 + number})


def check_end(command: str, ended: Ended, number: int) -> None:
    """The code, and not a word of Python's."""
    assert ended.code in codes(command, number), f"{command}: {ended.log}"
    assert "Traceback" not in ended.log
    assert "unexpected" not in ended.log
    assert "leaked" not in ended.log  # multiprocessing's resource tracker
    assert all("interrupted by SIG" in error for error in ended.errors), ended.log


def check_nothing_is_left(scene: Scene, run: Run, before: Mapping[str, int]) -> None:
    """No process, no object, no temporary file, no backup in the server."""
    run.wait_for_children_to_go()
    assert scene.objects() == before
    assert run.left_in_temporary() == []
    scene.check_no_backup_runs()


@by_signal
def test_in_a_storage_that_never_answers(number: int, stage: Stage) -> None:
    before = stage.scene.objects()
    stage.misbehave(Trouble.SILENT)
    check_that_a_hanging_command_ends(number, stage, before)


@by_signal
def test_in_the_middle_of_a_transfer_that_stalls(number: int, stage: Stage) -> None:
    before = stage.scene.objects()
    stage.misbehave_in_the_middle(Trouble.SILENT)
    check_that_a_hanging_command_ends(number, stage, before)


def check_that_a_hanging_command_ends(number: int, stage: Stage, before: dict[str, int]) -> None:
    stage.start(COMMANDS, WALPY_READ_TIMEOUT="60s", WALPY_STORAGE_DEADLINE="300s")
    for command in COMMANDS:
        assert stage.proxies[command].troubled.wait(30)
        check_end(command, stage.runs[command].signal(number), number)
    stage.heal()
    stage.check_nothing_is_left(before, COMMANDS)


@by_signal
def test_between_two_attempts(number: int, stage: Stage) -> None:
    before = stage.scene.objects()
    stage.misbehave(Trouble.UNAVAILABLE)
    stage.start(COMMANDS, WALPY_STORAGE_DEADLINE="300s")
    for command in COMMANDS:
        while len(stage.proxies[command].requests) < 6:  # by then the pauses are long
            assert stage.runs[command].process.poll() is None
            time.sleep(0.02)
        check_end(command, stage.runs[command].signal(number), number)
    stage.check_nothing_is_left(before, COMMANDS)


@pytest.mark.parametrize("command", ["backup-push", "backup-fetch"])
def test_two_ctrl_c_on_a_terminal(command: str, stage: Stage) -> None:
    before = stage.scene.objects()
    stage.misbehave_in_the_middle(Trouble.SILENT)
    stage.start([command], WALPY_READ_TIMEOUT="60s", WALPY_STORAGE_DEADLINE="300s")
    assert stage.proxies[command].troubled.wait(30)
    run = stage.runs[command]
    assert run.children(), "no worker processes"
    os.killpg(run.process.pid, signal.SIGINT)
    check_end(command, run.signal(signal.SIGINT, whole_group=True), signal.SIGINT)
    stage.heal()
    stage.check_nothing_is_left(before, [command])


@by_signal
def test_a_backup_that_a_signal_ends_is_taken_back(number: int, tmp_path: Path, server: Cluster) -> None:
    scene = folder_scene(tmp_path, server).prepare()
    before = scene.objects()
    run = scene.start("backup-push", WALG_NETWORK_RATE_LIMIT=str(1 << 20))
    wait_for_line(run, "Started backup")
    while not run.children():
        time.sleep(0.01)
    time.sleep(random.Random(number).uniform(0.2, 0.8))
    check_end("backup-push", run.signal(number), number)
    check_nothing_is_left(scene, run, before)


@by_signal
def test_while_the_request_that_completes_the_backup_hangs(number: int, stage: Stage) -> None:
    before = stage.scene.objects()
    proxy = stage.proxies["backup-push"]
    proxy.misbehave(Trouble.SILENT, method="PUT", part="sentinel.json")
    stage.start(["backup-push"], WALPY_READ_TIMEOUT="60s", WALPY_STORAGE_DEADLINE="300s")
    assert proxy.troubled.wait(60)
    ended = stage.runs["backup-push"].signal(number)
    check_end("backup-push", ended, number)
    assert "did not end by itself in time" in ended.log
    stage.heal()
    shown = {name: size for name, size in stage.scene.objects().items() if not is_of_a_new_backup(name, before)}
    assert shown == before
    stage.scene.check_no_backup_runs()


def is_of_a_new_backup(name: str, before: Mapping[str, int]) -> bool:
    """Whether it is a part or document, but no sentinel, of a backup that was not there before."""
    return name not in before and name.startswith("basebackups_005/") and not name.endswith("sentinel.json")


# The server waits for its archiver before it stops the backup, and walpy for the server.
SERVER_WAITS = {"WALPY_WAL_WAIT_TIMEOUT": "0"}


@by_signal
def test_while_the_server_waits_for_its_archiver(number: int, tmp_path: Path, archiving_nowhere: Cluster) -> None:
    scene = folder_scene(tmp_path, archiving_nowhere).prepare()
    before = scene.objects()
    run = scene.start("backup-push", **SERVER_WAITS)
    wait_for_query(scene.server, "%pg_backup_stop%")
    check_end("backup-push", run.signal(number), number)
    check_nothing_is_left(scene, run, before)


@by_signal
def test_while_walpy_waits_for_the_archive(number: int, tmp_path: Path, archiving_nowhere: Cluster) -> None:
    archiving_nowhere.execute("alter system set archive_command = 'true'")  # lost, while the server believes it safe
    archiving_nowhere.execute("select pg_reload_conf()")
    scene = folder_scene(tmp_path, archiving_nowhere).prepare()
    before = scene.objects()
    run = scene.start("backup-push")
    wait_for_line(run, "Waiting for WAL to be archived")
    check_end("backup-push", run.signal(number), number)
    check_nothing_is_left(scene, run, before)


@by_signal
def test_in_a_server_that_never_answers(number: int, tmp_path: Path, server: Cluster) -> None:
    scene = folder_scene(tmp_path, server).prepare()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        run = scene.start("backup-push", PGHOST="127.0.0.1", PGPORT=port)
        listener.settimeout(30)
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(8)
            check_end("backup-push", run.signal(number), number)
    assert run.left_in_temporary() == []


@pytest.mark.slow
@by_signal
def test_at_a_random_moment(number: int, tmp_path: Path, server: Cluster) -> None:
    scene = folder_scene(tmp_path, server).prepare()
    chance = random.Random(number)
    commands = [command for command in COMMANDS if command != "wal-fetch"]  # it says nothing before its end
    for command in commands * ROUNDS:
        before = [name for name in scene.objects() if name.endswith("sentinel.json")]
        run = scene.start(command)
        assert run.process.stderr is not None
        assert run.process.stderr.readline()  # from here on it is walpy that decides how it ends
        time.sleep(chance.uniform(0, 0.5))
        ended = run.signal(number)
        if ended.code != 0:  # a signal that comes later than the sentinel is not heard
            check_end(command, ended, number)
            assert [name for name in scene.objects() if name.endswith("sentinel.json")] == before
        run.wait_for_children_to_go()
        assert run.left_in_temporary() == []
        shutil.rmtree(scene.destination, ignore_errors=True)
    scene.check_no_backup_runs()


SLOW_IMPORT = """
import os, time
open(os.environ["MARKER"], "w").close()
while True:
    time.sleep(1)
"""


@by_signal
@pytest.mark.parametrize("command", ["backup-push", "backup-fetch"])  # backup-list needs no library
def test_while_the_program_is_loaded(command: str, number: int, tmp_path: Path) -> None:
    """A slow disk at the start: the libraries of the command line take their time."""
    (tmp_path / "lib/typer").mkdir(parents=True)
    (tmp_path / "lib/typer/__init__.py").write_text(SLOW_IMPORT)
    marker = tmp_path / "marker"
    project = environment_of(Config()) | {"MARKER": str(marker)}
    path = f"{tmp_path / 'lib'}:{Path(__file__).resolve().parents[3]}"
    run = Run(command, cwd=tmp_path, temporary=tmp_path / "t", settings={**project, "PYTHONPATH": path})
    while not marker.exists():
        assert run.process.poll() is None
        time.sleep(0.01)
    check_end(command, run.signal(number), number)


def wait_for_line(run: Run, part: str) -> None:
    """Read the log until a line contains part."""
    assert run.process.stderr is not None
    lines = []
    while part not in (lines[-1] if lines else ""):
        line = run.process.stderr.readline()
        assert line, "".join(lines)
        lines.append(line)
