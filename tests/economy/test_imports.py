"""Modules that whole commands import: few, and none that the command does not use."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.economy.remote import S3
from tests.integration.walpy_process import environment
from tests.unit.wal.synthetic import FIRST, segment

MOST_MODULES = 125  # of a push to a folder, beyond the interpreter's own: each costs 0.2 ms of every segment's turn
MOST_OF_S3 = 145
SDK = {"azure", "boto3", "botocore", "urllib3", "requests", "google", "s3transfer", "dateutil", "jmespath"}
HEAVY = {"http.client", "email", "xml", "dataclasses", "inspect", "asyncio", "multiprocessing", "numpy", "ssl", "typer"}
PROGRAM = """
import sys
before = set(sys.modules)
import os
leave = os._exit
os._exit = lambda code: (print("\\n".join(set(sys.modules) - before), flush=True), leave(code))
from walpy.__main__ import main
main(sys.argv[1:])
"""


def imported(tmp_path: Path, *arguments: str, **settings: str) -> set[str]:
    """What a command imports from its start to its end, beyond what every interpreter has."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=tmp_path,
        env=environment({"WALPY_AGENT": "off", "WALG_DOWNLOAD_CONCURRENCY": "1", **settings}),
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return set(ended.stdout.split())


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / FIRST
    path.write_bytes(segment(FIRST))
    return str(path)


def test_a_folder_needs_the_standard_library_and_a_codec(tmp_path: Path, source: str) -> None:
    (tmp_path / "archive").mkdir()
    folder = str(tmp_path / "archive")
    for arguments in (["wal-push", source], ["wal-fetch", FIRST, str(tmp_path / "target")]):
        found = imported(tmp_path, *arguments, WALG_FILE_PREFIX=folder)
        foreign = {name.partition(".")[0] for name in found} - sys.stdlib_module_names - {"walpy"}
        assert foreign == {"lz4", "xxhash"}
        assert not found & (HEAVY | {"socket", "hashlib"})
        assert len(found) <= MOST_MODULES


def test_s3_needs_no_sdk_as_long_as_all_goes_well(tmp_path: Path, source: str) -> None:
    with S3() as remote:
        settings = {key: setting.value for key, setting in remote.config().settings.items()}
        for arguments in (["wal-push", source], ["wal-fetch", FIRST, str(tmp_path / "target")]):
            found = imported(tmp_path, *arguments, **settings)
            assert not {name.partition(".")[0] for name in found} & SDK
            assert not found & HEAVY
            assert len(found) <= MOST_OF_S3


CATALOGUE = (["backup-list"], ["backup-list", "--json", "--pretty"], ["wal-show"], ["wal-show", "--detailed-json"])


def test_short_commands_need_no_command_line_library(tmp_path: Path, source: str) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    imported(tmp_path, "wal-push", source, WALG_FILE_PREFIX=str(folder))
    for arguments in CATALOGUE:
        assert not imported(tmp_path, *arguments, WALG_FILE_PREFIX=str(folder)) & {"typer", "walpy.cli", "rich"}


def test_short_commands_on_s3_need_no_sdk_as_long_as_all_goes_well(tmp_path: Path, source: str) -> None:
    with S3() as remote:
        settings = {key: setting.value for key, setting in remote.config().settings.items()}
        imported(tmp_path, "wal-push", source, **settings)
        for arguments in CATALOGUE:
            found = imported(tmp_path, *arguments, **settings)
            assert not {name.partition(".")[0] for name in found} & (SDK | {"typer"})


@pytest.mark.parametrize("module", ["walpy.backup.push", "walpy.backup.partition", "walpy.backup.change_map"])
def test_a_delta_backup_needs_no_numpy(module: str) -> None:
    """Its import takes as long as looking through a few hundred MB; to verify, for maps of the WAL it is needed."""
    program = f"import sys, {module}; sys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
