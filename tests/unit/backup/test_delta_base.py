"""The base of a delta: on WAL-G's archive, which holds a chain, a permanent backup, two timelines."""

import logging
import stat
from pathlib import Path

import pytest

from tests.fixtures.golden import RICH, golden_archive
from tests.unit.backup.test_mark import D1, D2, D3, F1, F2
from walpy import layout
from walpy.archive import Archive, open_archive
from walpy.backup.catalog import list_backups, read_metadata, read_sentinel
from walpy.backup.delta_base import (
    UNCERTAIN_NS,
    Base,
    DeltaChoice,
    check_base_is_there,
    choose_base,
    divide,
    is_usable,
)
from walpy.backup.entry import FileEntry
from walpy.backup.start_stop import RunningBackup
from walpy.backup.timestamp import Timestamp
from walpy.config import Config
from walpy.errors import BackupError
from walpy.postgres.entry import Entry
from walpy.postgres.lsn import Lsn
from walpy.postgres.server import ServerFacts

PAGE = 8192


@pytest.fixture
def archive(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Archive:
    caplog.set_level(logging.INFO, "walpy")
    folder = golden_archive(RICH).copy(tmp_path / "copy") / "archive"
    return open_archive(Config.from_mapping({"WALG_FILE_PREFIX": str(folder)}))


def choose(archive: Archive, **wanted: object) -> Base | None:
    return choose_base(archive, DeltaChoice(**{"max_steps": 5, **wanted}))  # type: ignore[arg-type]


def test_a_named_delta(archive: Archive) -> None:
    base = choose(archive, from_name=D1)
    sentinel = read_sentinel(archive, D1)
    assert base is not None
    assert base[:6] == (D1, F1, 2, sentinel.lsn, sentinel.finish_lsn, sentinel.system_identifier)
    assert base.suffix == "_D_000000010000000000000019"
    assert base.timeline == 1
    assert len(base.files) > 400


def test_the_newest_backup(archive: Archive) -> None:
    newest = list_backups(archive)[-1].name
    base = choose(archive, permanent=read_metadata(archive, newest).is_permanent)
    assert base is not None
    assert base.name == newest


def test_the_full_backup_below(archive: Archive) -> None:
    base = choose(archive, from_name=D2, origin="LATEST_FULL")
    assert base is not None
    assert base[:3] == (F1, F1, 3)  # WAL-G counts on
    assert base.lsn == read_sentinel(archive, F1).lsn
    base = choose(archive, from_name=F1, origin="LATEST_FULL")
    assert base is not None
    assert base[:3] == (F1, F1, 1)


def test_enough_steps(archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    assert choose(archive, from_name=D2, max_steps=2) is None
    assert f"A full backup is taken instead of a delta on {D2}: WALG_DELTA_MAX_STEPS is 2" in caplog.text
    assert choose(archive, max_steps=0) is None


def test_no_backup(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "walpy")
    archive = open_archive(Config.from_mapping({"WALG_FILE_PREFIX": str(tmp_path)}))
    assert choose(archive) is None
    assert choose(archive, from_user_data='"x"') is None
    assert caplog.text.count("There is no backup to continue") == 2
    with pytest.raises(BackupError, match="does not exist"):
        choose(archive, from_name="base_000000010000000000000001")


def test_a_permanent_base_is_for_permanent_deltas(archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    assert choose(archive, from_name=F2) is None
    assert "it is permanent, and the new one is not" in caplog.text
    assert choose(archive, from_name=F2, permanent=True) is not None
    assert choose(archive, from_name=F2, origin="LATEST_FULL") is not None


def test_a_broken_chain(archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    archive.storage.delete([layout.sentinel(F1)])
    assert choose(archive, from_name=D2) is None
    assert f"its chain is broken: Backup '{F1}' does not exist." in caplog.text


@pytest.mark.parametrize(
    ("document", "reason"), [(layout.metadata, "its metadata"), (layout.files_metadata, "no list")]
)
def test_lost_documents(document: object, reason: str, archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    archive.storage.delete([document(F1)])  # type: ignore[operator]
    assert choose(archive, from_name=F1) is None
    assert reason in caplog.text


def facts(system_identifier: int, data_directory: Path) -> ServerFacts:
    return ServerFacts(
        150000, str(data_directory), system_identifier, 1, 16 << 20, PAGE, PAGE, False, "on", "x", "", True
    )


def usable(archive: Archive, base: Base, folder: Path, *, lsn: int, timeline: int = 1, identifier: int = 0) -> bool:
    backup = RunningBackup("base_X", lsn, timeline, on_standby=False)
    return is_usable(base, backup, facts(identifier or base.system_identifier or 0, folder), archive)


def test_checks_once_the_backup_has_begun(archive: Archive, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    base = choose(archive, from_name=D1)
    assert base is not None
    assert usable(archive, base, tmp_path, lsn=base.finish_lsn)
    assert not usable(archive, base, tmp_path, lsn=base.finish_lsn - 1)
    assert "greater than current LSN" in caplog.text
    assert not usable(archive, base, tmp_path, lsn=1 << 60, identifier=5)
    assert "belongs to the cluster with system identifier" in caplog.text
    assert usable(archive, base._replace(system_identifier=None), tmp_path, lsn=1 << 60, identifier=5)


def test_the_way_of_the_timelines(archive: Archive, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    base = choose(archive, from_name=D2)
    assert base is not None
    assert usable(archive, base, tmp_path, lsn=1 << 60, timeline=2)  # the archive's history file tells
    (tmp_path / "pg_wal").mkdir()
    history = tmp_path / "pg_wal/00000002.history"
    history.write_text(f"1\t{base.finish_lsn >> 32:X}/{base.finish_lsn & 0xFFFFFFFF:X}\tno reason\n")
    assert usable(archive, base, tmp_path, lsn=1 << 60, timeline=2)
    history.write_text("1\t0/1000\tno reason\n")
    assert not usable(archive, base, tmp_path, lsn=1 << 60, timeline=2)
    assert "it ended behind 0/1000, where timeline 1 was left" in caplog.text
    assert not usable(archive, base, tmp_path, lsn=1 << 60, timeline=7)
    assert "nothing tells how timeline 7 began" in caplog.text
    newer = choose(archive, from_name=D3)
    assert newer is not None
    (tmp_path / "pg_wal/00000007.history").write_text("1\tF/1000\tno reason\n")
    assert not usable(archive, newer, tmp_path, lsn=1 << 60, timeline=7)
    assert "timeline 2 does not lead to timeline 7" in caplog.text


def test_a_base_that_is_deleted_meanwhile(archive: Archive) -> None:
    base = choose(archive, from_name=D1)
    assert base is not None
    check_base_is_there(archive, base)
    archive.storage.delete([layout.sentinel(D1)])
    with pytest.raises(BackupError, match="was deleted meanwhile"):
        check_base_is_there(archive, base)


STARTED = 1_800_000_000_000_000_000
BEFORE = STARTED - UNCERTAIN_NS - 1


def entry(name: str, mtime_ns: int, *, size: int = PAGE, mode: int = stat.S_IFREG) -> Entry:
    return Entry(name, f"/data{name}", mode | 0o600, size, mtime_ns, 0, 0)


def base_of(**mtimes: int) -> Base:
    files = {f"/base/5/{name}": FileEntry(Timestamp(mtime, 3600)) for name, mtime in mtimes.items()}
    return Base("base_X", "base_X", 1, Lsn(1), Lsn(2), 7, files, STARTED)


def test_what_is_stored() -> None:
    base = base_of(**{"1": BEFORE, "2": BEFORE, "3": BEFORE + 1, "4": BEFORE, "5_fsm": BEFORE, "d": BEFORE})
    same = entry("/base/5/1", BEFORE)
    changed = entry("/base/5/2", BEFORE + 1)
    too_near = entry("/base/5/3", BEFORE + 1)
    odd = entry("/base/5/4", BEFORE + 1, size=PAGE + 1)
    fork = entry("/base/5/5_fsm", BEFORE + 1)
    new = entry("/base/5/6", BEFORE)
    directory = entry("/base/5/d", BEFORE, mode=stat.S_IFDIR)
    entries = [directory, same, changed, too_near, odd, fork, new]
    division = divide(entries, base, PAGE)
    assert list(division.unchanged) == [same]
    assert [item.name for item in division.entries] == [item.name for item in entries if item is not same]
    assert [item.name for item in division.entries if item.has_base] == [changed.name, too_near.name]
    division = divide(entries, base, PAGE, ignores_mtime=True)
    assert list(division.unchanged) == []
    assert [item.name for item in division.entries if item.has_base] == [same.name, changed.name, too_near.name]
