"""Which backup a user means."""

from pathlib import Path

import pytest

from tests.fixtures.golden import RICH, golden_archive
from walpy.archive import Archive, open_archive
from walpy.backup.catalog import (
    BackupSelector,
    find_backup,
    is_wale,
    list_backups,
    read_sentinel,
)
from walpy.backup.files_metadata import FilesMetadata, read_files_metadata
from walpy.backup.model import Sentinel
from walpy.config import Config
from walpy.errors import BackupError, DataCorrupt, UsageError

F1 = "base_000000010000000000000016"
D2 = "base_00000001000000000000001D_D_000000010000000000000019"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return golden_archive(RICH).copy(tmp_path / "copy") / "archive"


@pytest.fixture
def archive(folder: Path) -> Archive:
    return open_archive(Config.from_mapping({"WALG_FILE_PREFIX": str(folder)}))


def test_all_backups_in_wal_g_s_order(archive: Archive) -> None:
    assert [backup.name for backup in list_backups(archive)] == golden_archive(RICH).expected["backups"]


def test_only_sentinels_directly_in_the_folder_count(archive: Archive, folder: Path) -> None:
    base = folder / "basebackups_005"
    (base / F1 / "base_00000001000000000000AAAA_backup_stop_sentinel.json").write_text("{}")
    (base / "_backup_stop_sentinel.json").write_text("{}")
    (base / "notes.txt").write_text("")
    assert len(list_backups(archive)) == 6


def test_latest_is_the_sentinel_stored_last(archive: Archive) -> None:
    assert find_backup(archive, BackupSelector("LATEST")) == golden_archive(RICH).expected["backups"][-1]


def test_a_name_must_exist(archive: Archive) -> None:
    assert find_backup(archive, BackupSelector(F1)) == F1
    with pytest.raises(BackupError, match=r"^Backup 'base_X' does not exist\.$"):
        find_backup(archive, BackupSelector("base_X"))


@pytest.mark.parametrize(
    "user_data", ['{"tags":["a","b"],"n":1,"job":"nightly"}', '{"job":"nightly","n":1.0,"tags":["a","b"]}']
)
def test_user_data_is_compared_by_value(archive: Archive, user_data: str) -> None:
    assert find_backup(archive, BackupSelector(user_data=user_data)) == F1


@pytest.mark.parametrize("user_data", ['{"job":"nightly"}', '{"job":"nightly","n":1,"tags":["b","a"]}', "null", "1"])
def test_user_data_that_no_backup_has(archive: Archive, user_data: str) -> None:
    with pytest.raises(BackupError, match=r"^No backups found$"):
        find_backup(archive, BackupSelector(user_data=user_data))


def test_user_data_of_two_backups_is_ambiguous(archive: Archive, folder: Path) -> None:
    stored = (folder / "basebackups_005" / F1 / "metadata.json").read_bytes()
    (folder / "basebackups_005" / D2 / "metadata.json").write_bytes(stored)
    with pytest.raises(BackupError, match=rf"too many backups \(2\).*{F1} {D2}"):
        find_backup(archive, BackupSelector(user_data='{"job":"nightly","n":1,"tags":["a","b"]}'))


def test_unreadable_metadata_is_passed_over(archive: Archive, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "basebackups_005" / D2 / "metadata.json").write_text("{")
    assert find_backup(archive, BackupSelector(user_data='{"job":"hourly","n":2}')).endswith(
        "_D_000000010000000000000016"
    )
    assert f"cannot use the metadata of backup {D2}" in caplog.text


def test_user_data_must_be_json(archive: Archive) -> None:
    with pytest.raises(UsageError, match="not JSON"):
        find_backup(archive, BackupSelector(user_data="nightly"))


def test_an_empty_archive(tmp_path: Path) -> None:
    archive = open_archive(Config.from_mapping({"WALG_FILE_PREFIX": str(tmp_path)}))
    assert list_backups(archive) == []
    with pytest.raises(BackupError, match=r"^No backups found$"):
        find_backup(archive, BackupSelector("LATEST"))


def test_a_selector_is_one_thing() -> None:
    with pytest.raises(UsageError, match="insufficient arguments"):
        BackupSelector()
    with pytest.raises(UsageError, match="Specify target backup name OR target userdata, not both"):
        BackupSelector(F1, "{}")


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        (BackupSelector("LATEST"), "Selecting the latest backup..."),
        (BackupSelector("base_1"), "Selecting the backup with name base_1..."),
        (BackupSelector(user_data="{}"), "Selecting the backup with the specified user data..."),
    ],
)
def test_log_lines_are_wal_g_s(selector: BackupSelector, text: str) -> None:
    assert selector.describe() == text


def test_a_sentinel_that_is_gone_or_damaged(archive: Archive, folder: Path) -> None:
    with pytest.raises(BackupError, match="does not exist"):
        read_sentinel(archive, "base_X")
    (folder / f"basebackups_005/{F1}_backup_stop_sentinel.json").write_text("{}x")
    with pytest.raises(DataCorrupt, match=F1):
        read_sentinel(archive, F1)


def test_files_metadata_comes_from_where_the_version_put_it(archive: Archive) -> None:
    assert "/PG_VERSION" in read_files_metadata(archive, F1, Sentinel()).files
    assert read_files_metadata(archive, F1, Sentinel(files_metadata_disabled=True)) == FilesMetadata()
    old = Sentinel.from_json('{"Files":{"/x":{"MTime":"2020-01-01T00:00:00Z"}}}')
    assert list(read_files_metadata(archive, F1, old).files) == ["/x"]
    assert read_files_metadata(archive, "base_000000010000000000000005_00000040", Sentinel()) == FilesMetadata()


def test_lost_files_metadata_is_a_warning_and_damaged_an_error(
    archive: Archive, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stored = folder / "basebackups_005" / F1 / "files_metadata.json"
    stored.write_text('{"Files":[]}')
    with pytest.raises(DataCorrupt, match=F1):
        read_files_metadata(archive, F1, Sentinel())
    stored.unlink()
    assert read_files_metadata(archive, F1, Sentinel()) == FilesMetadata()
    assert "without the list of files" in caplog.text


def test_wale_names() -> None:
    assert is_wale("base_000000010000DD170000000C_00743784")
    assert not is_wale("base_000000010000000000000019_D_000000010000000000000016")
    assert not is_wale("base_456")
