"""The WAL commands as PostgreSQL and scripts see them: exit codes, output, files."""

import os
from pathlib import Path

import pytest

from tests.integration.walpy_process import messages, walpy
from tests.unit.wal.synthetic import FIRST, OTHER_SYSTEM_IDENTIFIER, DataDirectory, archive_in, segment

HISTORY = "00000002.history"
SECOND = "000000010000000000000002"


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    (tmp_path / "archive").mkdir()
    return DataDirectory(tmp_path / "data")


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    return {"WALG_FILE_PREFIX": str(tmp_path / "archive"), "WALG_DOWNLOAD_CONCURRENCY": "1"}


def test_push_and_fetch(data: DataDirectory, settings: dict[str, str]) -> None:
    data.add(FIRST)
    pushed = walpy("wal-push", f"pg_wal/{FIRST}", cwd=data.path, **settings)
    assert (pushed.returncode, pushed.stdout) == (0, "")
    assert messages(pushed.stderr) == [
        "INFO: Files will be uploaded to storage: default",
        f"INFO: FILE PATH: {FIRST}.lz4",
    ]
    fetched = walpy("wal-fetch", FIRST, "pg_wal/RECOVERYXLOG", cwd=data.path, **settings)
    assert (fetched.returncode, fetched.stdout, fetched.stderr) == (0, "", "")
    assert (data.wal / "RECOVERYXLOG").read_bytes() == segment(FIRST)


@pytest.mark.parametrize(
    ("prevent", "name", "content", "code", "line"),
    [
        ("", FIRST, segment(FIRST), 0, "INFO: WAL file '{}' already archived with equal content, skipping"),
        ("true", FIRST, segment(FIRST), 0, "INFO: WAL file '{}' already archived with equal content, skipping"),
        ("", FIRST, segment(FIRST, seed=1), 1, "ERROR: WAL file '{}' already archived, contents differ, unable to"),
        ("true", FIRST, segment(FIRST, seed=1), 1, "ERROR: WAL file '{}' already archived, contents differ, unable to"),
        ("false", FIRST, segment(FIRST, seed=1), 0, "INFO: FILE PATH: 000000010000000000000001.lz4"),
        ("false", HISTORY, b"1\t0/2\tother\n", 1, "ERROR: WAL file '{}' already archived, contents differ, unable to"),
    ],
)
def test_push_again(
    data: DataDirectory, settings: dict[str, str], prevent: str, name: str, content: bytes, code: int, line: str
) -> None:
    first = data.add(name, segment(FIRST) if name == FIRST else b"1\t0/1\tone\n")
    assert walpy("wal-push", first, cwd=data.path, **settings).returncode == 0
    data.add(name, content)
    again = walpy("wal-push", f"pg_wal/{name}", cwd=data.path, WALG_PREVENT_WAL_OVERWRITE=prevent, **settings)
    assert again.returncode == code
    assert messages(again.stderr)[-1].startswith(line.format(f"pg_wal/{name}"))


def test_absence_is_74(data: DataDirectory, settings: dict[str, str]) -> None:
    for name in (FIRST, HISTORY):
        for destination in ("pg_wal/RECOVERYXLOG", "../out"):
            result = walpy("wal-fetch", name, destination, cwd=data.path, **settings)
            assert (result.returncode, result.stdout) == (74, "")
            assert messages(result.stderr) == [f"ERROR: Archive '{name}' does not exist."]


def test_failures_of_fetch_stop_a_recovery_but_not_a_standby(data: DataDirectory, settings: dict[str, str]) -> None:
    archive = archive_in(Path(settings["WALG_FILE_PREFIX"]))
    archive.put_wal(FIRST, [segment(FIRST)[:5000]])

    def code(*arguments: str, **changes: str) -> int:
        return walpy("wal-fetch", *arguments, cwd=data.path, **{**settings, **changes}).returncode

    broken: tuple[dict[str, str], ...] = (
        {},  # a truncated segment
        {"WALG_FILE_PREFIX": "/nonexistent"},
        {"WALG_COMPRESSION_METHOD": "rar"},
        {"WALG_PGP_KEY": "x"},
        {"WALG_TARGET_STORAGE": "other"},
        {"WALG_LOG_LEVEL": "LOUD"},
        {"WALG_CONFIG_PATH": "/nonexistent.json"},
    )
    for changes in broken:
        assert code(FIRST, "pg_wal/RECOVERYXLOG", **changes) == 200, changes
    assert code(FIRST) == 200  # wrong usage, in a data directory
    assert code(FIRST, "../out", WALG_FILE_PREFIX="/nonexistent") == 1
    (data.path / "standby.signal").touch()
    for changes in broken:
        assert code(FIRST, "pg_wal/RECOVERYXLOG", **changes) == 1, changes
    assert os.listdir(data.wal) == ["archive_status"]


def test_failures_of_push_are_1(data: DataDirectory, settings: dict[str, str]) -> None:
    data.add(FIRST, segment(FIRST, system_identifier=OTHER_SYSTEM_IDENTIFIER))
    data.add(SECOND)
    for path, changes in [
        (FIRST, {}),
        (f"pg_wal/{FIRST}", {}),
        (f"pg_wal/{SECOND}", {"WALG_FILE_PREFIX": "/nonexistent"}),
        (f"pg_wal/{SECOND}", {"WALG_UPLOAD_WAL_METADATA": "some"}),
        (f"pg_wal/{SECOND}", {"WALG_FILE_PREFIX": ""}),
    ]:
        result = walpy("wal-push", path, cwd=data.path, **{**settings, **changes})
        assert (result.returncode, result.stdout) == (1, "")
        assert messages(result.stderr)[-1].startswith("ERROR: ")
    assert list(Path(settings["WALG_FILE_PREFIX"]).rglob("*.lz4")) == []


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["wal-push"], "Error: accepts 1 arg(s), received 0"),
        (["wal-push", "x", "y"], "Error: accepts 1 arg(s), received 2"),
        (["wal-fetch", "x"], "Error: accepts 2 arg(s), received 1"),
        (["wal-push", "--frob", "x"], "Error: unknown flag: --frob"),
        (["wal-push", "x", "--config"], "Error: flag needs an argument: --config"),
        (["frobnicate"], 'Error: unknown command "frobnicate" for "walpy"'),
    ],
)
def test_wrong_usage(tmp_path: Path, arguments: list[str], line: str) -> None:
    result = walpy(*arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.splitlines()[0] == line


@pytest.mark.parametrize("command", ["wal-push", "wal-fetch", "wal-prefetch"])
def test_help(tmp_path: Path, command: str) -> None:
    result = walpy(command, "--help", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"walpy {command}" in result.stdout


def test_an_admitted_cluster(data: DataDirectory, settings: dict[str, str]) -> None:
    archive = archive_in(Path(settings["WALG_FILE_PREFIX"]))
    archive.put_json("walpy_005/identity.json", {"system_identifier": str(OTHER_SYSTEM_IDENTIFIER)})
    data.add(FIRST)
    refused = walpy("wal-push", f"pg_wal/{FIRST}", cwd=data.path, **settings)
    assert refused.returncode == 1
    command = refused.stderr.rstrip().rpartition("walpy wal-admit ")
    assert walpy("wal-admit", command[2], cwd=data.path, **settings).returncode == 0
    assert walpy("wal-push", f"pg_wal/{FIRST}", cwd=data.path, **settings).returncode == 0


def test_fetch_starts_the_prefetch_of_what_follows(data: DataDirectory, settings: dict[str, str]) -> None:
    data.serve()
    archive = archive_in(Path(settings["WALG_FILE_PREFIX"]))
    names = [f"0000000100000000000000{number:02X}" for number in range(1, 12)]
    for name in names:
        archive.put_wal(name, [segment(name)])
    del settings["WALG_DOWNLOAD_CONCURRENCY"]
    prefix = f"--walg-file-prefix={settings['WALG_FILE_PREFIX']}"  # flags reach the prefetcher as well
    assert walpy("wal-fetch", FIRST, "pg_wal/RECOVERYXLOG", prefix, cwd=data.path).returncode == 0
    folder = data.wal / ".wal-g/prefetch"
    # It works on its own; another one at its place returns when there is nothing left to do.
    while walpy("wal-prefetch", FIRST, "pg_wal/RECOVERYXLOG", cwd=data.path, **settings).returncode == 0:
        if set(names[1:]) <= set(os.listdir(folder)):
            break
    (Path(settings["WALG_FILE_PREFIX"]) / "wal_005").rename(data.path / "gone")
    for name in names[1:]:
        assert walpy("wal-fetch", name, "pg_wal/RECOVERYXLOG", cwd=data.path, **settings).returncode == 0
        assert (data.wal / "RECOVERYXLOG").read_bytes() == segment(name)
