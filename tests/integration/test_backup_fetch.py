"""backup-fetch as a process: what it prints, how it ends, and what it leaves when it is stopped or killed."""

import json
import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fixtures.golden import GOLDEN, RICH, golden_archive
from tests.fixtures.stored_backup import DIRECTORIES, FILES, NAME, StoredBackup, tar
from tests.integration.walpy_process import messages, start_walpy, walpy

F1 = "base_000000010000000000000016"
CASES = {case["file"]: case for case in json.loads((GOLDEN / "cli-output/backup-cases.json").read_text())}
SIGNAL_SECONDS = 2.0


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Settings for the archive that the captured outputs are about."""
    archive = golden_archive(RICH)
    return archive.environment(archive.copy(tmp_path_factory.mktemp("golden") / "copy"))


def wal_g_messages(case: dict[str, str], replacements: dict[str, str]) -> list[str]:
    """What WAL-G logged, with this run's paths."""
    text = case["stderr"]
    for old, new in replacements.items():
        text = text.replace(old, new)
    return messages(text)


@pytest.mark.parametrize(
    ("file", "arguments"),
    [
        ("backup-fetch-nonempty.txt", ["full", F1]),
        ("backup-fetch-unknown.txt", ["new", "base_000000010000000000000099"]),
        ("backup-fetch-empty-storage.txt", ["new", "LATEST"]),
        ("backup-fetch-user-data-unknown.txt", ["new", "--target-user-data", '{"z":1}']),
    ],
)
def test_refusals_are_wal_g_s(file: str, arguments: list[str], rich: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").touch()
    places = {"full": str(tmp_path / "full"), "new": str(tmp_path / "new")}
    settings = rich
    if "empty" in file and "non" not in file:
        (tmp_path / "archive").mkdir()
        settings = {"WALG_FILE_PREFIX": str(tmp_path / "archive")}
    result = walpy("backup-fetch", *(places.get(text, text) for text in arguments), cwd=tmp_path, **settings)
    expected = wal_g_messages(CASES[file], {"/srv/walg-cli/nonempty": places["full"]})
    shown = messages("\n".join(line for line in result.stderr.splitlines() if line.startswith(("INFO", "ERROR"))))
    assert (result.returncode, result.stdout) == (CASES[file]["exit"], "")
    assert len(shown) == len(expected)
    for ours, wal_gs in zip(shown, expected, strict=True):
        assert ours.startswith(wal_gs)  # walpy adds a hint to some errors
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("file", ["backup-fetch-no-name.txt", "backup-fetch-name-and-user-data.txt"])
def test_wrong_usage(file: str, rich: dict[str, str], tmp_path: Path) -> None:
    more = [F1, "--target-user-data", "{}"] if "name-and" in file else []
    result = walpy("backup-fetch", str(tmp_path / "new"), *more, cwd=tmp_path, **rich)
    assert result.returncode == 1
    assert messages(CASES[file]["stderr"])[0].removeprefix("ERROR: ") in result.stderr


def test_a_restore_tells_what_scripts_look_for(rich: dict[str, str], tmp_path: Path) -> None:
    spec = {"base_prefix": "/x", "tablespaces": ["16778"], "16778": {"loc": str(tmp_path / "ts"), "link": "x"}}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    result = walpy("backup-fetch", "data", F1, "--restore-spec", "spec.json", cwd=tmp_path, **rich)
    assert (result.returncode, result.stdout) == (0, "")
    shown = messages(result.stderr)
    assert shown[:2] == [
        f"INFO: Selecting the backup with name {F1}...",
        "INFO: Backup to fetch will be searched in storages: [default]",
    ]
    for line in ("part_001.tar.lz4", "pg_control.tar.lz4", "backup_label.tar.lz4"):
        assert f"INFO: Finished extraction of {line}" in shown
    assert "INFO: Backup extraction complete." in shown
    assert any("restore_command = 'walpy wal-fetch %f %p'" in line for line in shown)
    assert os.readlink(tmp_path / "data/pg_tblspc/16778") == str(tmp_path / "ts")
    assert (tmp_path / "ts/PG_15_202209061").is_dir()
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_a_backup_is_restored_by_its_user_data(rich: dict[str, str], tmp_path: Path) -> None:
    spec = {"base_prefix": "/x", "tablespaces": ["16778"], "16778": {"loc": str(tmp_path / "ts"), "link": "x"}}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    user_data = '{"tags":["a","b"],"job":"nightly","n":1}'
    flags = ("--target-user-data", user_data, "--restore-spec", "spec.json")
    assert walpy("backup-fetch", "data", *flags, cwd=tmp_path, **rich).returncode == 0
    assert (tmp_path / "data/PG_VERSION").read_text() == "15\n"


# ---- ends that nobody wants


@pytest.fixture
def slow_restore(tmp_path: Path) -> Iterator[Callable[[], "subprocess.Popen[str]"]]:
    """Starts a restore of three parts that a rate limit draws out over minutes; ended afterwards if it still runs."""
    (tmp_path / "archive").mkdir()
    backup = StoredBackup(tmp_path / "archive", method="none")
    for number in (2, 3):
        backup.parts[f"part_{number:03}"] = tar({f"/base/1/{number}": os.urandom(20_000_000)})
    backup.store()
    started: list[subprocess.Popen[str]] = []

    def start() -> "subprocess.Popen[str]":
        settings = {"WALG_FILE_PREFIX": str(backup.folder), "WALG_NETWORK_RATE_LIMIT": "600000"}
        process = start_walpy("backup-fetch", "data", NAME, cwd=tmp_path, **settings)
        started.append(process)
        deadline = time.monotonic() + 30
        while not (tmp_path / "data/base/1/2").exists():
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def children_of(pid: int) -> list[int]:
    """All processes below one, however deep."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if int(fields[1]) == pid and fields[0] != "Z":
            child = int(entry.parent.name)
            found += [child, *children_of(child)]
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for_end(pids: list[int]) -> None:
    deadline = time.monotonic() + SIGNAL_SECONDS
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline, f"still running: {[pid for pid in pids if is_alive(pid)]}"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_all_of_it_at_once(
    number: signal.Signals, slow_restore: Callable[[], "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    process = slow_restore()
    workers = children_of(process.pid)
    assert workers
    sent = time.monotonic()
    process.send_signal(number)
    _, stderr = process.communicate(timeout=10)
    assert time.monotonic() - sent < SIGNAL_SECONDS
    wait_for_end(workers)
    assert process.returncode != 0
    assert not (tmp_path / "data/global/pg_control").exists()
    assert "without pg_control" in stderr


def test_after_a_kill_no_server_starts_from_what_is_left(
    slow_restore: Callable[[], "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    process = slow_restore()
    workers = children_of(process.pid)
    process.kill()
    process.communicate(timeout=10)
    wait_for_end(workers)
    assert not list((tmp_path / "data").rglob("pg_control*"))


def test_a_killed_worker_is_an_error_that_names_its_part(
    slow_restore: Callable[[], "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    process = slow_restore()
    open_files = {pid: os.listdir(f"/proc/{pid}/fd") for pid in children_of(process.pid)}
    writers = [
        pid
        for pid, descriptors in open_files.items()
        if any(_target(pid, number).startswith(str(tmp_path / "data")) for number in descriptors)
    ]
    os.kill(writers[0], signal.SIGKILL)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "was killed by SIGKILL while it worked on basebackups_005/" in stderr
    assert not (tmp_path / "data/global/pg_control").exists()


def _target(pid: int, descriptor: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/fd/{descriptor}")
    except OSError:
        return ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_disk_that_fills_up_is_named(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    backup = StoredBackup(tmp_path / "archive")
    backup.parts["part_001"] = tar({**FILES, "/base/1/2": os.urandom(3_000_000)}, DIRECTORIES)
    backup.store()
    (tmp_path / "small").mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path / "small")], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        result = walpy("backup-fetch", "small/data", NAME, cwd=tmp_path, WALG_FILE_PREFIX=str(backup.folder))
    finally:
        subprocess.run(["umount", str(tmp_path / "small")], check=True)
    assert result.returncode == 1
    assert "base/1/2': No space left on device" in result.stderr


def test_memory_does_not_grow_with_the_backup(tmp_path: Path) -> None:
    """A part of 400 MB, all zeros and so stored in a few kilobytes, is restored within 120 MB."""
    (tmp_path / "archive").mkdir()
    backup = StoredBackup(tmp_path / "archive", method="zstd")
    backup.parts["part_001"] = tar({**FILES, "/base/1/2": bytes(400 << 20)}, DIRECTORIES)
    backup.store()
    process = start_walpy("backup-fetch", "data", NAME, cwd=tmp_path, WALG_FILE_PREFIX=str(backup.folder))
    peak = 0
    while process.poll() is None:
        peak = max(peak, peak_memory(process.pid))
        time.sleep(0.01)
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert (tmp_path / "data/base/1/2").stat().st_size == 400 << 20
    assert 10 << 20 < peak < 120 << 20


def peak_memory(pid: int) -> int:
    """Most bytes of memory that a process has had so far; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), 0)
