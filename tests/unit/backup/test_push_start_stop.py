"""What is checked around the start and the stop of a backup, with a stand-in for the server."""

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import cast

import lz4.frame
import pytest

from walpy.backup.start_stop import (
    RunningBackup,
    check_cluster,
    check_timeline,
    list_files,
    start_backup,
    warn_of_settings,
)
from walpy.config import Config
from walpy.errors import BackupError, ConfigError
from walpy.postgres.control import parse_control
from walpy.postgres.server import Server, ServerFacts, StartedBackup

GOLDEN = Path(__file__).parents[2] / "golden" / "backup"
CONTROL = lz4.frame.decompress((GOLDEN / "pg_control.tar.lz4").read_bytes())[512 : 512 + 8192]
MIB = 1 << 20


@pytest.fixture
def data_directory(tmp_path: Path) -> Path:
    (tmp_path / "global").mkdir()
    (tmp_path / "global" / "pg_control").write_bytes(CONTROL)
    (tmp_path / "PG_VERSION").write_text("15\n")
    return tmp_path


@pytest.fixture
def facts(data_directory: Path) -> ServerFacts:
    control = parse_control(CONTROL, "pg_control")
    return ServerFacts(
        version_num=150018,
        data_directory=str(data_directory),
        system_identifier=control.system_identifier,
        timeline=3,
        segment_size=MIB,
        page_size=8192,
        wal_page_size=8192,
        in_recovery=False,
        archive_mode="on",
        archive_command="walpy wal-push %p",
        archive_library="",
        data_checksums=True,
    )


class FakeServer:
    """Answers what it was given."""

    def __init__(self, facts: ServerFacts, started: StartedBackup | None = None) -> None:
        self._facts = facts
        self._started = started

    def facts(self) -> ServerFacts:
        return self._facts

    def start_backup(self, label: str) -> StartedBackup:
        assert self._started is not None
        return self._started


def server(facts: ServerFacts, started: StartedBackup | None = None) -> Server:
    return cast("Server", FakeServer(facts, started))


def test_the_servers_own_directory_passes(data_directory: Path, facts: ServerFacts) -> None:
    check_cluster(Config(), facts, f"{data_directory}/")
    sizes = {"WALG_PG_WAL_SIZE": "1", "WALG_PG_BLOCK_SIZE": "8192", "WALG_PG_WAL_PAGE_SIZE": "8192"}
    check_cluster(Config.from_mapping(sizes), facts, str(data_directory))


def test_another_directory(data_directory: Path, facts: ServerFacts) -> None:
    with pytest.raises(BackupError, match="is not the server's, which is"):
        check_cluster(Config(), facts, str(data_directory / "global"))


@pytest.mark.parametrize("name", ["PG_VERSION", "global/pg_control"])
def test_files_that_are_missing(name: str, data_directory: Path, facts: ServerFacts) -> None:
    (data_directory / name).unlink()
    with pytest.raises(BackupError, match=f"cannot read .*{name}"):
        check_cluster(Config(), facts, str(data_directory))


def test_a_server_elsewhere_with_an_equal_path(data_directory: Path, facts: ServerFacts) -> None:
    with pytest.raises(BackupError, match="belongs to the cluster with system identifier"):
        check_cluster(Config(), replace(facts, system_identifier=5), str(data_directory))


@pytest.mark.parametrize("key", ["WALG_PG_WAL_SIZE", "WALG_PG_BLOCK_SIZE", "WALG_PG_WAL_PAGE_SIZE"])
def test_sizes_that_are_not_the_servers(key: str, data_directory: Path, facts: ServerFacts) -> None:
    with pytest.raises(ConfigError, match=f"{key} is 4"):
        check_cluster(Config.from_mapping({key: "4"}), facts, str(data_directory))


def test_name_on_a_primary(facts: ServerFacts) -> None:
    started = StartedBackup("000000030000000000000016", 0x1600028, False)
    backup = start_backup(server(facts, started), facts)
    assert backup == RunningBackup("base_000000030000000000000016", 0x1600028, 3, False)


@pytest.mark.parametrize(("lsn", "segment"), [(0x1600028, "16"), (0x1600000, "15"), (0x1600001, "16")])
def test_name_on_a_standby_is_that_of_the_byte_before(lsn: int, segment: str, facts: ServerFacts) -> None:
    backup = start_backup(server(facts, StartedBackup("", lsn, True)), facts)
    assert backup.name == f"base_0000000300000000000000{segment}"
    assert backup.on_standby


def test_a_promoted_standby(facts: ServerFacts) -> None:
    backup = RunningBackup("base_X", 1, 3, True)
    check_timeline(server(replace(facts, in_recovery=True)), backup)
    check_timeline(server(replace(facts, timeline=4)), replace(backup, on_standby=False))
    for changed in (replace(facts, in_recovery=True, timeline=4), facts):
        with pytest.raises(BackupError, match="was promoted while"):
            check_timeline(server(changed), backup)


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({}, ""),
        ({"archive_mode": "off"}, "archive_mode is off"),
        ({"archive_command": ""}, "archive_command is not set"),
        ({"archive_mode": "off", "in_recovery": True}, ""),
        ({"data_checksums": False}, "data_checksums is off"),
    ],
)
def test_warnings(changes: dict[str, str], warning: str, facts: ServerFacts, caplog: pytest.LogCaptureFixture) -> None:
    warn_of_settings(replace(facts, **changes), verify=True)  # type: ignore[arg-type]
    assert (warning in caplog.text) if warning else not caplog.messages


def test_listing(data_directory: Path) -> None:
    listing = list_files(str(data_directory), recorded=True)
    assert [entry.name for entry in listing.entries] == ["/", "/PG_VERSION", "/global"]
    assert stat.S_ISREG(listing.control.mode)


def test_a_name_that_cannot_be_recorded_fails_at_the_start(data_directory: Path) -> None:
    with open(os.fsencode(data_directory) + b"/bad\xff", "w"):
        pass
    with pytest.raises(BackupError, match="not valid UTF-8"):
        list_files(str(data_directory), recorded=True)
    assert "/bad\udcff" in [entry.name for entry in list_files(str(data_directory), recorded=False).entries]
