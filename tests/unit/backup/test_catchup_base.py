"""What a catchup is made on: a position, and which files there were then."""

import logging
import stat
from pathlib import Path

import pytest

from tests.fixtures.golden import RICH, golden_archive
from tests.unit.backup.test_delta_base import PAGE, facts
from tests.unit.backup.test_mark import D1, F1
from walpy import layout
from walpy.archive import Archive, open_archive
from walpy.backup.catalog import find_catchup, read_sentinel
from walpy.backup.catchup_base import catchup_base, checked_catchup_base, without_configuration
from walpy.backup.delta_base import check_base_is_there, divide
from walpy.backup.documents import FinishedBackup, sentinel
from walpy.backup.listing import catchup_list
from walpy.backup.start_stop import RunningBackup
from walpy.backup.timestamp import Timestamp
from walpy.config import Config
from walpy.errors import BackupError
from walpy.postgres.datadir import Entry
from walpy.postgres.lsn import Lsn
from walpy.postgres.page import has_increments

NAME = "base_000000010000000000000042"


@pytest.fixture
def archive(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Archive:
    caplog.set_level(logging.INFO, "walpy")
    folder = golden_archive(RICH).copy(tmp_path / "copy") / "archive"
    return open_archive(Config.from_mapping({"WALG_FILE_PREFIX": str(folder)}))


def entry(name: str, mode: int = stat.S_IFREG) -> Entry:
    return Entry(name, name, mode, PAGE, 1, 0, 0)


def test_the_files_are_those_of_a_backup_that_had_ended(archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    full, delta = read_sentinel(archive, F1), read_sentinel(archive, D1)
    assert full.finish_lsn
    assert delta.finish_lsn
    identifier = full.system_identifier or 0
    assert catchup_base(archive, Lsn(delta.finish_lsn), identifier).name == D1
    base = catchup_base(archive, Lsn(delta.finish_lsn - 1), identifier)
    assert (base.name, base.lsn, base.is_catchup) == (F1, delta.finish_lsn - 1, True)
    assert base.delta_name(NAME) == f"catchup_005/{NAME}"
    for position, cluster in ((full.finish_lsn - 1, identifier), (delta.finish_lsn, 5)):
        assert catchup_base(archive, Lsn(position), cluster).files == {}
    check_base_is_there(archive, base._replace(name="base_gone"))  # it is not needed


def test_once_the_backup_has_begun(archive: Archive, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    full = read_sentinel(archive, F1)
    server = facts(full.system_identifier or 0, tmp_path)
    base = catchup_base(archive, Lsn(full.finish_lsn or 0), full.system_identifier or 0)
    running = RunningBackup("base_X", base.lsn, 1, on_standby=False)
    assert checked_catchup_base(base, running, server, archive) == base
    assert "base_" not in caplog.text
    other_way = RunningBackup("base_X", base.lsn, 7, on_standby=False)
    assert checked_catchup_base(base, other_way, server, archive) == base._replace(files={})
    assert "All files are stored whole" in caplog.text
    with pytest.raises(BackupError, match="is greater than current LSN"):
        checked_catchup_base(base, RunningBackup("base_X", base.lsn - 1, 1, on_standby=False), server, archive)


def test_files_that_were_there_are_looked_at_whatever_their_times_say(archive: Archive) -> None:
    full = read_sentinel(archive, F1)
    base = catchup_base(archive, Lsn(full.finish_lsn or 0), full.system_identifier or 0)
    known = next(name for name in base.files if has_increments(name, PAGE, PAGE))
    same = Entry(known, known, stat.S_IFREG, PAGE, base.files[known].mtime.ns, 0, 0)
    division = divide([same, entry("/base/1/99999"), entry("/global/1262")], base, PAGE)
    assert not division.unchanged
    assert [item.has_base for item in division.entries] == [True, False, False]


def test_the_configuration_stays_out() -> None:
    entries = [
        entry("/postgresql.conf"),
        entry("/pg_hba.conf"),
        entry("/postgresql.auto.conf"),
        entry("/pg_ident.conf"),
    ]
    assert [item.name for item in without_configuration(entries)] == ["/pg_ident.conf"]


def test_the_sentinel_is_walgs(archive: Archive) -> None:
    base = catchup_base(archive, Lsn(33554472), 7)
    moment = Timestamp(1_700_000_000_000_000_000)
    finished = FinishedBackup(
        *(100663336, 100663608, moment, moment, 150018, 7710704239505806382, "db1", "/data", 1, 1, 1, None, None),
        is_permanent=False,
        files_metadata_disabled=False,
        base=base,
    )
    text = sentinel(finished).to_json().decode()
    assert text.startswith(
        '{"LSN":100663336,"DeltaLSN":33554472,"DeltaFrom":"","DeltaFullName":"","DeltaCount":1,"PgVersion":150018,'
    )


def test_catchups_are_found_in_their_own_folder(archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    assert catchup_list(archive) == ""
    assert caplog.messages == ["No backups found"]  # WAL-G's only line
    assert catchup_list(archive, json=True) == "[]\n"
    with pytest.raises(BackupError, match="No backups found"):
        find_catchup(archive, "LATEST")
    for name in (NAME, F1, f"../basebackups_005/{F1}"):
        with pytest.raises(BackupError, match="does not exist"):
            find_catchup(archive, name)
    archive.put_bytes(layout.sentinel(layout.catchup(NAME)), b"{}")
    archive.put_bytes(layout.metadata(layout.catchup(NAME)), b'{"start_lsn":1,"hostname":"db1"}')
    assert find_catchup(archive, "LATEST") == find_catchup(archive, NAME) == f"catchup_005/{NAME}"
    assert catchup_list(archive).splitlines()[1].split()[0] == NAME
    assert '"start_lsn":1,' in catchup_list(archive, detail=True, json=True)
